"""Explanations against the truth, where the model is one whose explanations are known in closed form."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, cast

import numpy as np

from audit.core import Cell, Context, Evidence, Floats, Measure, NotApplicable, Subject, Table, UsageError
from audit.data.tabular import Tabular
from audit.explain.attribution import Attribution
from audit.explain.games import Game
from audit.explain.masking.tabular import TabularMasker
from audit.explain.quality import figures
from audit.explain.quality.panel import BACKGROUND, BUDGET, ROWS, Found, attempted, defined, missing, panel, sizes
from audit.explain.ranks import rank_correlations
from audit.explain.sample import affordable, model_and_inputs, seed_of
from audit.explain.shapley import shapley
from audit.registry import check

if TYPE_CHECKING:
    from audit.data.worlds.base import Explained
from audit.stats import z_quantile

Truth = Callable[["Explained", Floats, Floats], "Floats | None"]
DRAWN = "shapley (population)"  # Shapley values with an error of their own: on few players the others are exact


def expected(form: Explained, x: Floats, background: Floats) -> Floats | None:
    """Integrated gradients (n, d) averaged over every background row as the baseline."""
    found = [form.gradients_truth(x, row) for row in background]
    known = [each for each in found if each is not None]
    return np.asarray(np.mean(known, axis=0)) if len(known) == len(found) else None


def straight(form: Explained, x: Floats, background: Floats) -> Floats | None:
    """Integrated gradients (n, d) from the background's mean row."""
    return form.gradients_truth(x, background.mean(axis=0))


def sloped(change: Callable[[Floats, Floats], Floats]) -> Truth:
    """What becomes of rows and their gradient, where there is one."""

    def known(form: Explained, x: Floats, background: Floats) -> Floats | None:
        slopes = form.slopes(x)
        return None if slopes is None else change(x, slopes)

    return known


# What each explainer is meant to find, of the log-odds. One whose law the form does not settle is not here; gradients of
# log-odds that jump are None.
TRUTHS: Mapping[str, Truth] = {
    "shapley": lambda form, x, background: form.shapley_truth(x, background),
    DRAWN: lambda form, x, background: form.shapley_truth(x, background),
    "additive_shapley": lambda form, x, background: form.shapley_truth(x, background),
    "linear_shapley": lambda form, x, background: form.shapley_truth(x, background),
    "integrated_gradients": straight,
    "expected_gradients": expected,
    "saliency": sloped(lambda x, slopes: np.abs(slopes)),
    "input_x_gradient": sloped(lambda x, slopes: x * slopes),
    "smooth_grad": sloped(lambda x, slopes: slopes),  # the slope is linear, so noise about 0 leaves it
}


@check(
    "explain.truth",
    title="How far are explanations from the truth?",
    needs={"model", "rows"},
    sources=("shapley1953", "sundararajan2017", "erion2021", "smilkov2017"),
)
def truth(
    subject: Subject, context: Context, *, rows: int = 2 * ROWS, background: int = BACKGROUND, repeats: int = 16
) -> Iterator[Evidence]:
    """How far is each explainer from the explanation that is known to be true?

    On a planted world the model's weights are set, so Shapley values, path gradients and slopes of its log-odds are
    known in closed form; where the log-odds jump, as those of rules do, there is no truth of gradients. Each explainer is compared with what it itself is meant to find: the mean absolute error, the
    same as a share of the mean absolute truth, and the share of attributions whose interval (from its stated standard
    errors) holds the truth. Shapley values with drawn background rows are there for the last, found `repeats` times: on
    few players the others are exact. For every explainer, whatever it is meant to find, also how its ranking agrees with the ranking
    by true Shapley values.

    The numbers calibrate the instruments on a logistic model, or on rules, of a few features: they do not say how large the error is
    on another model, and none of them can be computed there.
    """
    form = _form(subject)
    game, found = panel(subject, context, rows=rows, background=background, link="logit")
    if not isinstance(game.masker, TabularMasker):
        raise NotApplicable("the truth is known of tables only")
    again = _again(game, context, repeats)
    found = found | {DRAWN: again[0]}
    x, behind = game.masker.inputs.values, game.masker.rows.values
    whole = form.shapley_truth(x, behind)
    for id, each in defined(found).items():
        known = TRUTHS[id](form, x, behind) if id in TRUTHS else None
        if known is not None:
            runs = [one for one in again if isinstance(one, Attribution)] if id == DRAWN else [each]
            yield from _errors(id, runs, known, context.confidence)
        agree = rank_correlations(sizes(each.values), sizes(whole))
        yield figures.mean(
            "rank_correlation_with_shapley",
            agree,
            explainer=id,
            level=context.confidence,
            better="higher",
            note="Spearman's, of absolute values with the true Shapley values, mean over rows",
            why="no row where both rank two players",
            least=-1.0,
            most=1.0,
        )
    yield _table(game, found, form, x, behind)
    yield from missing(found)


def _form(subject: Subject) -> Explained:
    """The closed form of the model; raises NotApplicable for a model without one."""
    model, inputs = model_and_inputs(subject)
    reason = 'the truth is known on planted worlds only, of their own model (model.kind = "oracle")'
    if model.card.kind != "oracle" or not isinstance(inputs, Tabular):
        raise NotApplicable(reason)
    from audit.models.adapters.oracle import form_of

    form = form_of(model)
    if form is None:
        raise NotApplicable(reason)
    return cast("Explained", form)


def _again(game: Game, context: Context, repeats: int) -> list[Attribution | str]:
    """Shapley values with drawn background rows, each time drawn afresh."""
    if repeats < 1:
        raise UsageError(f"repeats: at least 1, got {repeats}")
    run = partial(shapley, estimand="population", budget=affordable(game, BUDGET, context))
    return [attempted(run, game, seed_of(context, f"explain.truth.shapley/{k}")) for k in range(repeats)]


def _errors(id: str, runs: Sequence[Attribution], known: Floats, level: float) -> Iterator[Measure]:
    errors = np.mean([np.abs(run.values - known).mean(axis=1) for run in runs], axis=0)
    size, apart = float(np.abs(known).mean()), errors[np.isfinite(errors)]
    reading = f"{apart.mean() / size:.2g} of the mean absolute truth, {size:.3g}" if len(apart) and size > 0 else ""
    yield figures.mean(
        "mean_absolute_error", errors, explainer=id, level=level, better="lower", note=reading, least=0.0
    )
    if all(run.se_sampling is None for run in runs):
        where = {"explainer": id}
        yield Measure(name="coverage", value=None, where=where, better="higher", note="it states no standard errors")
        return
    held = [covered(run.values, known, run.se_sampling, level) for run in runs if run.se_sampling is not None]
    # What one run draws is shared by its rows: only runs are independent.
    each = np.array([float(one.mean()) if len(one) else np.nan for one in held])
    note = f"of {sum(map(len, held))} attributions with a standard error; {level:.0%} are promised"
    if len(runs) == 1:
        note += "; one run, whose attributions share their draws, so there is no interval"
    why = "its errors are nought: it is exact, or says that it is (see mean_absolute_error)"
    yield figures.mean(
        "coverage",
        each,
        explainer=id,
        level=level,
        better="higher",
        unit="proportion",
        note=note,
        why=why,
        what="runs",
        least=0.0,
        most=1.0,
    )


def covered(values: Floats, known: Floats, error: Floats, level: float) -> np.ndarray:
    """Whether the interval of a value, from its standard error, holds what is known (all of one shape), as a list (m,).

    Values without an error, and errors that are mere rounding, are left out.
    """
    least = 1e-9 * max(float(np.abs(known).max()), 1e-300)
    said = np.isfinite(error) & np.isfinite(values) & (error > least)
    return np.asarray(np.abs(values - known)[said] <= z_quantile(level) * error[said])


def _table(game: Game, found: Found, form: Explained, x: Floats, behind: Floats) -> Table:
    """The mean absolute value of each feature, found and true."""
    lines: list[tuple[Cell, ...]] = []
    for id, each in defined(found).items():
        known = TRUTHS[id](form, x, behind) if id in TRUTHS else None
        for place, name in enumerate(game.masker.players[0]):
            there = each.values[np.isfinite(each.values[:, place]), place]
            lines.append(
                (
                    id,
                    name,
                    float(np.abs(there).mean()) if len(there) else None,
                    None if known is None else float(np.abs(known[:, place]).mean()),
                )
            )
    return Table(
        name="truth",
        title="Mean absolute attribution of each feature, found and true (log-odds)",
        columns=("explainer", "feature", "found", "true"),
        rows=tuple(lines),
        note="no truth where the closed form does not settle what the explainer is meant to find",
    )
