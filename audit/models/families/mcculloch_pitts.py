"""The McCulloch-Pitts neuron: inputs that are on or off, a threshold, and inhibition that nothing outvotes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import torch
from torch import Tensor

from audit.core import DataError, Dataset, Model, UsageError, suggest
from audit.data.rules import Clause, Literal, Rules
from audit.data.worlds.base import World
from audit.models.encoding import table_of
from audit.models.promises import Promise
from audit.models.reference import Reference
from audit.registry import family


def fires(excited: Tensor, inhibited: Tensor, threshold: int) -> Tensor:
    """Whether (n,) at least `threshold` excitatory inputs (n, e) are on and no inhibitory one (n, i) is."""
    return (excited.sum(dim=1) >= threshold) & ~inhibited.any(dim=1)


class McCullochPitts(Reference):
    """A unit over columns that are on above their cut; its output is 0 or 1.

    excitatory, inhibitory: places of columns. threshold: how many excitatory ones must be on. cuts: of every column.
    """

    cuts: Tensor
    output = "probability"
    differentiable = False
    offers = frozenset({"rules"})
    notes = ("Its output is a decision, 0 or 1: it ranks nobody.", "A missing value is an input that is off.")

    def __init__(
        self, *, columns: Sequence[str], excitatory: Sequence[int], inhibitory: Sequence[int], threshold: int
    ) -> None:
        super().__init__()
        if not isinstance(threshold, int) or isinstance(threshold, bool) or not 0 <= threshold <= len(excitatory):
            raise UsageError(f"threshold: a whole number from 0 to {len(excitatory)} inputs, got {threshold!r}")
        self.config = {
            "columns": list(columns),
            "excitatory": list(excitatory),
            "inhibitory": list(inhibitory),
            "threshold": threshold,
        }
        self.columns, self.threshold = tuple(columns), threshold
        self.excitatory, self.inhibitory = list(excitatory), list(inhibitory)
        # In double precision, so that a row on a cut is on the same side of it as for the exported rules.
        self.register_buffer("cuts", torch.zeros(len(columns), dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        """0 or 1 (n,) of raw rows (n, d)."""
        on = x > self.cuts
        return fires(on[:, self.excitatory], on[:, self.inhibitory], self.threshold).to(x.dtype)

    def rules(self) -> Rules:
        """The unit as clauses: any `threshold` excitatory inputs accept, every inhibitory one denies."""
        groups = combinations(self.excitatory, self.threshold)
        accepting = [Clause(literals=tuple(self._on(i) for i in group)) for group in groups]
        denying = [Clause(literals=(self._on(i),), accepts=False) for i in self.inhibitory]
        return Rules(columns=self.columns, clauses=(*accepting, *denying))

    def _on(self, column: int) -> Literal:
        return Literal(column=column, name=self.columns[column], op=">", threshold=float(self.cuts[column]))


def keeps_its_word(model: Model, data: Dataset, world: World) -> Iterator[Promise]:
    """The decisions are those of the clauses that the unit is written down as, on every row."""
    decided = model.rules().decide(data.inputs.values)  # type: ignore[attr-defined, union-attr]
    agreement = float((model.predict(data.inputs) == decided).mean())
    yield Promise(name="agreement with its clauses", value=agreement, low=1.0, why="the unit is set, not trained")


@family(
    "mcculloch_pitts",
    title="McCulloch-Pitts neuron",
    world="credit",
    offers=("rules",),
    promise=keeps_its_word,
    sources=("mcculloch1943",),
)
def mcculloch_pitts(
    data: Dataset,
    *,
    seed: int = 0,
    device: str = "cpu",
    excitatory: Sequence[str] = ("income", "history"),
    inhibitory: Sequence[str] = ("debt",),
    threshold: int = 1,
) -> McCullochPitts:
    """A unit whose wiring is set by hand, on columns that are on above their mean in the data; nothing is trained.

    excitatory, inhibitory: names of columns. threshold: how many excitatory ones make it fire. Raises DataError for an
    unknown column or a category, UsageError for another threshold.
    """
    table = table_of(data)
    module = McCullochPitts(
        columns=table.columns,
        excitatory=_places("excitatory", excitatory, table.columns, table.categories),
        inhibitory=_places("inhibitory", inhibitory, table.columns, table.categories),
        threshold=threshold,
    )
    seen = np.isfinite(table.values)
    sums = np.where(seen, table.values, 0.0).sum(axis=0)
    module.cuts.copy_(torch.from_numpy(sums / np.maximum(seen.sum(axis=0), 1)))
    return module.to(device).eval()


def _places(option: str, names: Sequence[str], columns: Sequence[str], categories: Mapping[str, Any]) -> list[int]:
    numbers = [name for name in columns if name not in categories]
    for name in names:
        if name not in numbers:
            raise DataError(f"{option}: columns of numbers: {', '.join(numbers)}; got {name!r}{suggest(name, numbers)}")
    return [list(columns).index(name) for name in names]
