"""How many threads engines may use: what the user gave, never more."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from audit.core import UsageError


def allowed(threads: int | None = None) -> int:
    """The number of threads an engine other than torch may start: as given, else OMP_NUM_THREADS, else this process's cores."""
    if threads is not None:
        return threads
    given = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    return int(given) if given.isdigit() and int(given) > 0 else len(os.sched_getaffinity(0))


@contextmanager
def limited(threads: int | None) -> Iterator[None]:
    """Torch uses at most so many threads inside, None for as many as it had; the number before comes back after."""
    if threads is not None and threads < 1:
        raise UsageError(f"threads: 1 or more, got {threads}")
    if threads is None:
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(min(threads, before))
    try:
        yield
    finally:
        torch.set_num_threads(before)
