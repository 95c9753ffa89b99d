"""What the families trained under a bound promise on unseen rows of a planted world, and what they say of their choice."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator

from audit.core import Dataset, Model
from audit.data.worlds.base import Stratified
from audit.data.worlds.credit import best_accuracy
from audit.models.debias.selection import Debiased, gap
from audit.models.encoding import group_of
from audit.models.promises import Promise

PRICE = 0.03  # of accuracy, that a network trained by gradients may lie below the best rule of the world


def keeps_the_bound(model: Model, data: Dataset, world: Stratified) -> Iterator[Promise]:
    """The gap is at most eps and two standard errors; the accuracy at least the optimum less .03 and two standard errors.

    Criterion, eps and attribute are those that the model was trained with; the optimum is the best accuracy of any rule of
    the world that keeps the same bound. Both are read on the rows of `data`, which the model has not seen.
    """
    assert data.y is not None
    options = json.loads(model.card.trained["options"])
    criterion, eps, attribute = options["criterion"], options["eps"], options["attribute"]
    decided, a = (model.predict(data.inputs) >= 0.5).astype(int), group_of(data, attribute)
    found = gap(decided, data.y, a, criterion)
    doubt = gap(decided, data.y, a, criterion, margin=2.0) - found
    yield Promise(name="|gap of decisions|", value=found, high=eps + doubt, why=f"{eps:g} and two standard errors")
    best = best_accuracy(world, eps, constraint=criterion, attribute=None if attribute is None else [attribute])
    doubt = 2 * math.sqrt(best * (1 - best) / len(decided))
    right = float((decided == data.y).mean())
    yield Promise(name="accuracy", value=right, low=best - PRICE - doubt, why=f"best under the bound {best:.4f}")


def told(found: Debiased) -> str:
    """Which epoch was chosen, by what, and whether it kept the bound where it was chosen."""
    first = (
        f"Chosen: epoch {found.chosen.number} of {len(found.history)}, on {found.rows[1]} rows held back: gap "
        f"{found.chosen.gap:.3f}, accuracy {found.chosen.accuracy:.3f}; the bound of {found.eps:g} was "
        f"{'kept' if found.kept else 'not kept'} there."
    )
    return " ".join([first, *found.notes])
