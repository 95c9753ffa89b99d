"""Torch's random numbers inside, from one seed; what they were before comes back after."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from audit.core import UsageError


@contextmanager
def seeded(seed: int) -> Iterator[torch.Generator]:
    """Initial weights, dropout and draws inside come from the seed; yields a CPU generator of the same seed.

    The global state of torch, on the CPU and on every CUDA device in use, is as before afterwards. Raises UsageError.
    """
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise UsageError(f"seed: a whole number from 0 on, got {seed!r}")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield torch.Generator().manual_seed(seed)
