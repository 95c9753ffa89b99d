"""Whether what explanations rank highest is also what another model would need (ROAR, light)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from audit.core import Context, Evidence, Floats, Measure, NotApplicable, Subject, UsageError, stream
from audit.data.tabular import Tabular
from audit.explain.attribution import Attribution
from audit.explain.games import Link
from audit.explain.masking.tabular import mean_row
from audit.explain.quality import figures
from audit.explain.quality.agreement import top
from audit.explain.quality.panel import BACKGROUND, defined, missing, panel
from audit.explain.sample import model_and_inputs
from audit.registry import check

FOLDS = 4


def held_out(values: Floats, y: Floats, seed: int) -> Floats:
    """Squared errors (n,) of a light model of y (n,), each of rows that it was not fitted on."""
    from sklearn.ensemble import ExtraTreesRegressor

    fold = stream(seed, "explain.retraining.folds").permutation(len(y)) % FOLDS
    errors = np.empty(len(y))
    for held in range(FOLDS):
        light = ExtraTreesRegressor(n_estimators=12, min_samples_leaf=2, n_jobs=1, random_state=seed)
        light.fit(values[fold != held], y[fold != held])
        errors[fold == held] = (light.predict(values[fold == held]) - y[fold == held]) ** 2
    return errors


@check(
    "explain.retraining",
    title="Is what explanations name missed when it is gone?",
    needs={"model", "rows"},
    sources=("hooker2019",),
)
def retraining(
    subject: Subject,
    context: Context,
    *,
    rows: int = 160,
    background: int = BACKGROUND,
    link: Link = "identity",
    share: float = 0.3,
    repeats: int = 4,
) -> Iterator[Evidence]:
    """Can the model's answers still be learnt when what an explanation ranks highest is gone from every row?

    Remove and retrain, made light: in each row the share `share` of the features with the largest absolute attribution
    (at least one) is replaced by the background's mean, a small model (extremely random trees) is fitted anew to the audited
    model's own outputs, and its fit on rows left out is compared with the fit after as many features were removed at
    random. The drop is the share of the outputs' variance that is lost beyond chance; above 0 the explainer removes what
    matters. Because the light model is fitted to what it then sees, the loss is not one of unusual inputs.

    The numbers do not say that features with a substitute are unimportant to the audited model: where two tell the same,
    a refitted model does not miss either. Which features were removed may itself betray the output.
    """
    if not 0 < share < 1 or repeats < 1:
        raise UsageError(f"share, repeats: between 0 and 1, and at least 1; got {share}, {repeats}")
    _, inputs = model_and_inputs(subject)
    if not isinstance(inputs, Tabular):
        raise NotApplicable(f"light models are fitted to tables, not to {type(inputs).__name__}")
    game, found = panel(subject, context, rows=rows, background=background, link=link)
    if len(game) < 5 * FOLDS or len(inputs.columns) < 2:
        raise NotApplicable(
            f"refitting needs {5 * FOLDS} rows and 2 features; there are {len(game)} and {len(inputs.columns)}"
        )
    values, y = np.nan_to_num(game.masker.inputs.values), game.outputs()
    if np.ptp(y) <= 1e-12 * float(np.abs(y).max()):
        raise NotApplicable("the model's outputs do not vary over these rows, so there is nothing to fit")
    middle = np.nan_to_num(mean_row(game.masker.rows).values)[0]  # type: ignore[attr-defined]
    yield from _drops(context, defined(found), values, y, middle, share, repeats)
    yield from missing(found)


def _drops(
    context: Context,
    here: dict[str, Attribution],
    values: Floats,
    y: Floats,
    middle: Floats,
    share: float,
    repeats: int,
) -> Iterator[Measure]:
    """The fit with everything there, and what each explainer's features are worth beyond features drawn at random."""
    rng = context.stream("explain.retraining")
    seed, count = int(rng.integers(2**31)), max(1, round(share * values.shape[1]))
    variance = float(y.var())

    def lost(gone: np.ndarray) -> Floats:
        """Squared errors (n,) without these cells, as shares of the outputs' variance."""
        return held_out(np.where(gone, middle, values), y, seed) / variance

    full = 1 - lost(np.zeros(values.shape, dtype=bool))
    level = context.confidence
    yield figures.mean("fit", full, explainer="nothing removed", level=level, note="R2 on rows left out")
    places = np.arange(values.shape[1])
    chance = np.mean([lost(rng.permuted(np.tile(places, (len(y), 1)), axis=1) < count) for _ in range(repeats)], axis=0)
    yield figures.mean(
        "fit",
        1 - chance,
        explainer="random features",
        level=level,
        note=f"{count} removed in each row, {repeats} draws",
    )
    for id, each in context.track(list(here.items()), "refitting"):
        known = each.values.shape == values.shape and bool(np.isfinite(each.values).all())
        drop = lost(top(each.values, count)) - chance if known else np.zeros(0)
        found = figures.mean(
            "fit_lost_beyond_chance",
            drop,
            explainer=id,
            level=level,
            better="higher",
            why="it leaves rows undefined, or its players are no columns",
        )
        if found.value is None or found.interval is None:
            yield found
            continue
        reading = "no more than chance can be told"
        if found.interval.low > 0:
            reading = "what it ranks highest is missed"
        elif found.interval.high < 0:
            reading = "random features are missed more"
        note = f"{reading}: {count} of {len(places)} features removed in each row, share of the outputs' variance"
        yield replace(found, note=note)
