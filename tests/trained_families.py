"""Rows of the credit world for tests of reference families, drawn once."""

import functools

import numpy as np

from audit import codec
from audit.core import Dataset, Spec
from audit.data.worlds.base import planted

OPTIONS: Spec = codec.spec_from_toml('[data]\nworld = "credit"\n[run]\nthreads = 1\ndevice = "cpu"\n')
WORLD = planted(OPTIONS.data)
DATA: Dataset = WORLD.draw(8000, np.random.default_rng(0))


@functools.cache
def unseen(rows: int = 20_000) -> Dataset:
    return WORLD.draw(rows, np.random.default_rng(1))
