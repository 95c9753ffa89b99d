"""Questions asked on several threads at once, answered in their order; the first error, Ctrl-C or a deadline ends all."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from audit.core import Stopped

T = TypeVar("T")
A = TypeVar("A")
LOOK = 0.1  # seconds after which the waiting thread looks around


def asked(
    ask: Callable[[T, threading.Event], A],
    items: Sequence[T],
    *,
    workers: int,
    end: float,
    look: Callable[[], None],
    stop: Callable[[], None],
) -> list[A]:
    """ask(item, halt) for each item, in their order, on so many threads.

    halt is set when nobody waits any more. look() is called while waiting, stop() at the end, to wake up who still works.
    Raises Stopped once time.monotonic() has passed `end`, and whatever ask raised first.
    """
    todo: queue.SimpleQueue[int] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[int, Any, BaseException | None]] = queue.SimpleQueue()
    halt = threading.Event()
    for number in range(len(items)):
        todo.put(number)

    def work() -> None:
        while not halt.is_set():
            try:
                number = todo.get_nowait()
                done.put((number, ask(items[number], halt), None))
            except queue.Empty:
                return
            except BaseException as error:  # raised where the answers are awaited
                done.put((-1, None, error))
                return

    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(workers, len(items)))]
    found: dict[int, A] = {}
    try:
        for thread in threads:
            thread.start()
        while len(found) < len(items):
            number, answer, error = _next(done, end, look)
            if error is not None:
                raise error
            found[number] = answer
    finally:
        halt.set()
        stop()
        for thread in threads:
            if thread.ident is not None:  # it was started
                thread.join(timeout=1.0)
    return [found[number] for number in range(len(items))]


def _next(done: queue.SimpleQueue[Any], end: float, look: Callable[[], None]) -> Any:
    while time.monotonic() < end:
        try:
            return done.get(timeout=min(LOOK, max(end - time.monotonic(), 0.0)))
        except queue.Empty:
            look()
    raise Stopped("the deadline (max_seconds) has passed")
