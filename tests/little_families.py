"""Every family trained on a few rows of its world, once a process; what several tests look at."""

import functools

from audit import registry
from audit.core import Dataset, RunSpec, Spec, stream
from audit.data.worlds.base import planted
from audit.models.family_model import FamilyModel
from audit.models.reference import trained
from audit.workflows.calibrate import wanted

FAMILIES = registry.entries("families")
CPU = RunSpec(device="cpu", threads=1)
SEED = 3


def spec_of(id: str, run: RunSpec = CPU) -> Spec:
    facts = FAMILIES[id].facts
    return wanted(Spec(run=run), facts["world"], facts["knobs"], id)


def few(id: str) -> int:
    """Rows to train quickly on: of dear families fewer."""
    return max(200, min(500, FAMILIES[id].facts["rows"] // 16))


def drawn(id: str, rows: int, seed: int, name: str) -> Dataset:
    return planted(spec_of(id).data).draw(rows, stream(seed, name))


def training_rows(id: str) -> Dataset:
    return drawn(id, few(id), 0, "test.training")


@functools.cache
def unseen(id: str) -> Dataset:
    """300 rows that the little model has not seen."""
    return drawn(id, 300, 1, "test.unseen")


@functools.cache
def little(id: str) -> FamilyModel:
    """The family trained on few rows; every test reads it, none may change it."""
    return trained(id, training_rows(id), spec_of(id), seed=SEED)
