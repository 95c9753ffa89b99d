"""A service on this machine that answers rows as JSON, and misbehaves where it is told to."""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

Reply = tuple[int, dict[str, str], bytes | list[bytes]]  # a list is sent piece by piece, a tenth of a second apart


def ok(predictions: Any) -> Reply:
    return 200, {}, json.dumps({"predictions": predictions}).encode()


def logistic(rows: list[Any]) -> list[float]:
    """The chance that a row is positive: of objects the sum of their numbers counts, of arrays that of their entries."""
    values = [list(row.values()) if isinstance(row, dict) else row for row in rows]
    return [float(1 / (1 + np.exp(-sum(v for v in row if isinstance(v, int | float))))) for row in values]


@dataclass
class Service:
    """What was asked, and how many requests were under way at once; `reply(number, rows)` may be replaced."""

    reply: Callable[[int, list[Any]], Reply] = lambda number, rows: ok(logistic(rows))
    delay: float = 0.0
    url: str = ""
    requests: list[list[Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    now: int = 0
    most: int = 0
    lock: Any = field(default_factory=threading.Lock)

    @property
    def rows(self) -> int:
        return sum(map(len, self.requests))


@contextlib.contextmanager
def serving(**facts: Any) -> Iterator[Service]:
    service = Service(**facts)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            rows = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["instances"]
            with service.lock:
                number = len(service.requests)
                service.requests.append(rows)
                service.headers.append(dict(self.headers))
                service.now += 1
                service.most = max(service.most, service.now)
            time.sleep(service.delay)
            status, headers, body = service.reply(number, rows)
            with service.lock:
                service.now -= 1
            with contextlib.suppress(OSError):  # the client may be gone
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                for piece in [body] if isinstance(body, bytes) else body:
                    self.wfile.write(piece)
                    time.sleep(0.0 if isinstance(body, bytes) else 0.1)

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=lambda: server.serve_forever(poll_interval=0.02), daemon=True).start()
    service.url = f"http://127.0.0.1:{server.server_port}/v1/models/credit:predict"
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
