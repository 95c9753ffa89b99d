"""Integrated gradients that say how complete they are, and are undefined where they are not."""

from __future__ import annotations

import numpy as np

from audit.core import Floats, Ints, MissingOffer, NotApplicable
from audit.data.tabular import Tabular
from audit.explain import _foreign
from audit.explain.attribution import Attribution, attribution
from audit.explain.games import Game
from audit.explain.masking.tabular import TabularMasker
from audit.registry import explainer


def baseline_of(background: Tabular) -> Tabular:
    """The mean row of a tabular background; a categorical column takes its most frequent level."""
    centre = np.nanmean(background.values, axis=0)
    for index, name in enumerate(background.columns):
        if name in background.categories:
            levels, counts = np.unique(background.values[:, index], return_counts=True)
            centre[index] = levels[counts.argmax()]
    return background.with_values(centre[None, :])


@explainer(
    "integrated_gradients",
    title="Integrated gradients of the log-odds from the background's mean",
    needs=frozenset({"model", "rows", "gradients"}),
    sources=("sundararajan2017",),
)
def integrated_gradients(
    game: Game, *, steps: int = 32, tolerance: float = 1e-3, max_steps: int = 1024, seed: int = 0
) -> Attribution:
    """Integrated gradients of every row's log-odds along the straight line from the background's mean row.

    Steps are doubled, for the rows that need it, until the completeness error is within `tolerance` of the sum of the
    row's absolute attributions; a row that is not there at `max_steps` is undefined (NaN), and the note says so.
    `seed` is the library's. Raises MissingOffer for a model without gradients.
    """
    model, filler = game.model, game.masker
    if "gradients" not in model.offers:
        raise MissingOffer(
            f'integrated gradients need a model that offers "gradients"; it offers {sorted(model.offers)}'
        )
    if not isinstance(filler, TabularMasker):
        raise NotApplicable(f"integrated gradients need tabular inputs here, got {type(filler.inputs).__name__}")
    start, inputs = baseline_of(filler.rows), filler.inputs
    count = len(inputs)
    values, ends = np.zeros((count, len(start.columns))), np.zeros((2, count))
    pending: Ints = np.arange(count)
    spent, step = 0, steps
    while len(pending):
        found, delta, *both = _foreign.integrated_gradients(model, inputs.take(pending), start, step, seed=seed)
        values[pending], ends[:, pending] = found, both
        spent += len(pending) * (step + 2)
        pending = pending[~(_relative(found, delta) <= tolerance)]
        if not len(pending) or 2 * step > max_steps:
            break
        step *= 2
    values[pending] = np.nan
    return attribution(
        game,
        filler.pool(values),
        base=ends[1],
        outputs=ends[0],
        method=f"integrated gradients, up to {step} Gauss-Legendre steps",
        link="logit",
        params={"steps": steps, "tolerance": tolerance, "max_steps": max_steps},
        seed=seed,
        evaluations=spent,
        forwards=3.0 * spent,
        background=f"the mean of {filler.background} (categories: the most frequent level)",
        note=_undefined(len(pending), step, tolerance),
    )


def _relative(values: Floats, delta: Floats) -> Floats:
    """Completeness error (rows,) relative to all that was attributed, which is no less than the change in log-odds."""
    scale = np.abs(values).sum(axis=1)
    return np.asarray(np.divide(np.abs(delta), scale, out=np.abs(delta), where=scale > 0))


def _undefined(rows: int, steps: int, tolerance: float) -> str:
    if not rows:
        return ""
    return f"undefined for {rows} rows: the completeness error stayed above {tolerance:g} with {steps} steps"
