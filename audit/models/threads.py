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
    """Torch, BLAS and OpenMP use at most so many threads inside, None for as many as they had; as before afterwards.

    Also those that are loaded inside, by OMP_NUM_THREADS. Nothing gets more than it had. Raises UsageError.
    """
    if threads is not None and threads < 1:
        raise UsageError(f"threads: 1 or more, got {threads}")
    if threads is None:
        yield
        return
    import torch
    from threadpoolctl import threadpool_info, threadpool_limits

    before, given = torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS")
    most = min(threads, max((pool["num_threads"] for pool in threadpool_info()), default=threads))
    os.environ["OMP_NUM_THREADS"] = str(min(threads, allowed()))
    torch.set_num_threads(min(threads, before))
    try:
        with threadpool_limits(limits=most):
            yield
    finally:
        torch.set_num_threads(before)
        if given is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = given
