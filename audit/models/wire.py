"""JSON over HTTP with the standard library: time limits, retries, bounded answers, no redirects."""

from __future__ import annotations

import contextlib
import email.utils
import ipaddress
import json
import math
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection, IncompleteRead
from typing import Any
from urllib.parse import urlsplit

from audit.core import HttpSpec, ModelError, Stopped

AGAIN = (408, 425, 429, 500, 502, 503, 504)  # answers that another try may mend
PATIENCE = 60.0  # the longest wait, in seconds, that a Retry-After is granted
FIRST = 0.2  # seconds before the first retry; every further one waits twice as long
HEAD, PER_ROW = 1 << 20, 1 << 14  # bytes of an answer that are read: so many, and so many for each row asked
SHOWN = 200  # characters of an answer that a message quotes


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where requests go: nowhere else, whatever a proxy setting or a redirect says."""

    secure: bool
    host: str
    port: int | None
    path: str

    def connection(self, timeout: float) -> HTTPConnection:
        """A connection that is not open yet."""
        if self.secure:
            return HTTPSConnection(self.host, self.port, timeout=timeout, context=ssl.create_default_context())
        return HTTPConnection(self.host, self.port, timeout=timeout)

    @property
    def nearby(self) -> bool:
        """Whether it is this very machine."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def endpoint(url: str) -> Address:
    """The parts of an address; raises ModelError for what is none, and for one that holds a password."""
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        raise ModelError(f"[model.http] url: the port must be a number from 0 to 65535, got {parts.netloc!r}") from None
    if parts.username is not None or parts.password is not None:
        raise ModelError(
            "[model.http] url: must hold no user and no password, which every record would show: use token"
        )
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ModelError(f"[model.http] url: must read http://host/path or https://host/path, got {url!r}")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if any(c <= " " or c > "~" for c in path):
        raise ModelError(f"[model.http] url: a space or a letter beyond ASCII must be written as %XX, got {url!r}")
    return Address(secure=parts.scheme == "https", host=parts.hostname, port=port, path=path)


class _Again(Exception):
    """A request that failed in a way that another try may mend; wait: seconds that the service asked for."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


@dataclass(slots=True, kw_only=True)
class Wire:
    """How rows travel; `lock` guards what its threads share, under_way are the open sockets and when their time is up."""

    http: HttpSpec
    address: Address
    token: str | None
    lock: Any = field(default_factory=threading.Lock)
    under_way: dict[socket.socket, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.token and not self.address.secure and not self.address.nearby:
            raise ModelError(
                f"[model.http] token: anyone on the way to http://{self.address.host} could read it: use an https:// address"
            )

    def ask(self, rows: Sequence[str], *, before: Callable[[], None], halt: threading.Event) -> list[tuple[float, ...]]:
        """The numbers for each row (a JSON text); `before` is called before every try, `halt` ends every wait.

        Raises ModelError, Stopped when halted, MemoryError where the service finds the rows too many.
        """
        for tried in range(self.http.retries + 1):
            before()
            try:
                return self._predictions(self._sent(rows, halt), len(rows))
            except _Again as failure:
                wait = failure.wait if failure.wait is not None else FIRST * 2**tried
                if tried == self.http.retries or wait > PATIENCE:
                    times = "once" if tried == 0 else f"{tried + 1} times"
                    patience = f"; it asks to wait {wait:.0f} s, allowed are {PATIENCE:.0f}" if wait > PATIENCE else ""
                    raise ModelError(f"{self._name} failed {times}, at last: {failure}{patience}") from failure
                if halt.wait(wait):
                    raise Stopped("the requests were stopped") from failure
        raise AssertionError("unreachable")

    def cut(self, *, everything: bool = False) -> None:
        """End the requests whose time is up, or all of them."""
        now = time.monotonic()
        with self.lock:
            for each, end in self.under_way.items():
                if everything or now > end:
                    with contextlib.suppress(OSError):  # it ended by itself
                        socket.socket.shutdown(each, socket.SHUT_RDWR)  # wakes its reader, under TLS as well

    @property
    def _name(self) -> str:
        return self.http.url.partition("?")[0]

    def _sent(self, rows: Sequence[str], halt: threading.Event) -> bytes:
        """The body of the answer to one request, in no more time and no more bytes than allowed."""
        body = b'{"instances": [' + ", ".join(rows).encode() + b"]}"
        headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "audit"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        end = time.monotonic() + self.http.timeout
        connection, sock = self.address.connection(self.http.timeout), None
        try:
            connection.connect()
            with self.lock:
                sock = connection.sock  # the connection itself may let go of it
                self.under_way[sock] = end
            if halt.is_set():
                raise Stopped("the requests were stopped")
            connection.request("POST", self.address.path, body=body, headers=headers)
            with contextlib.closing(connection.getresponse()) as response:
                content = _content(response, HEAD + PER_ROW * len(rows))
        except ssl.SSLCertVerificationError as error:
            raise ModelError(f"{self._name}: its certificate cannot be trusted: {error.verify_message}") from error
        except (OSError, HTTPException) as error:
            if isinstance(error, TimeoutError) or time.monotonic() > end:
                raise _Again(f"no answer within {self.http.timeout:g} s ([model.http] timeout)") from error
            raise _Again(f"{type(error).__name__}: {error}") from error
        finally:
            with self.lock:
                if sock is not None:
                    self.under_way.pop(sock, None)
            connection.close()
        self._refuse(response, content, len(rows))
        return content

    def _refuse(self, response: HTTPResponse, content: bytes, rows: int) -> None:
        """Raises for every status but 200."""
        status = f"{response.status} {response.reason}"
        if response.status == 200:
            return
        if 300 <= response.status < 400:
            target = self._quoted(response.headers.get("Location", "").encode())
            raise ModelError(
                f"{self._name} answered {status} (to {target}): redirects are not followed; name that address"
            )
        if response.status == 413 and rows > 1:
            raise MemoryError(f"{self._name} answered {status} to {rows} rows")  # base halves the batch
        if response.status in AGAIN:
            raise _Again(f"{status}: {self._quoted(content)}", _wait(response.headers.get("Retry-After")))
        raise ModelError(f"{self._name} answered {status}: {self._quoted(content)}")

    def _predictions(self, content: bytes, rows: int) -> list[tuple[float, ...]]:
        try:
            found = json.loads(content)
        except (ValueError, RecursionError):
            raise ModelError(f"{self._name} did not answer JSON: {self._quoted(content)}") from None
        if not isinstance(found, dict) or not isinstance(found.get("predictions"), list):
            raise ModelError(f'{self._name} must answer {{"predictions": [...]}}, it answered {self._quoted(content)}')
        predictions = found["predictions"]
        if len(predictions) != rows:
            raise ModelError(f"{self._name} answered {len(predictions)} predictions for {rows} rows")
        return [self._numbers(each, row) for row, each in enumerate(predictions)]

    def _numbers(self, prediction: Any, row: int) -> tuple[float, ...]:
        numbers = prediction if isinstance(prediction, list) else [prediction]
        if not numbers or any(isinstance(each, bool) or not isinstance(each, int | float) for each in numbers):
            shown = self._quoted(json.dumps(prediction).encode())
            raise ModelError(
                f"{self._name}: prediction {row} (from 0) must be a number or a list of numbers, got {shown}"
            )
        try:
            return tuple(float(each) for each in numbers)
        except OverflowError:
            raise ModelError(f"{self._name}: prediction {row} (from 0) is too large a number") from None

    def _quoted(self, content: bytes) -> str:
        """The beginning of an answer for a message, without the token should the service repeat it."""
        text = content[: 4 * SHOWN + len(self.token or "")].decode(errors="replace")
        text = text.replace(self.token, "***") if self.token else text
        return repr(text[:SHOWN] + ("..." if len(text) > SHOWN else ""))


def _content(response: HTTPResponse, most: int) -> bytes:
    """All of an answer; raises ModelError where it is longer than `most` bytes, IncompleteRead where it ends early."""
    parts, total = [], 0
    while part := response.read1(1 << 16):
        parts.append(part)
        total += len(part)
        if total > most:
            raise ModelError(f"the service answered more than {most:,} bytes: that is no list of predictions")
    if response.length:
        raise IncompleteRead(b"", response.length)
    return b"".join(parts)


def _wait(header: str | None) -> float | None:
    """The seconds that a Retry-After header asks for, as a number or as a date; None where it says neither."""
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(header).timestamp() - time.time()
        except ValueError:
            return None
    return max(seconds, 0.0) if math.isfinite(seconds) else None
