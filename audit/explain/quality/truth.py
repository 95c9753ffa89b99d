"""Explanations against the truth, where the model is one whose explanations are known in closed form."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from audit.core import Cell, Context, Evidence, Floats, Measure, NotApplicable, Subject, Table, UsageError
from audit.data.worlds.additive import LinearForm, NodeForm, TokenForm
from audit.data.worlds.forms import LogisticForm, RuleForm
from audit.data.worlds.matching import MatchForm
from audit.explain.attribution import Attribution
from audit.explain.games import Game
from audit.explain.quality import figures
from audit.explain.quality.known import DRAWN, known
from audit.explain.quality.panel import BACKGROUND, BUDGET, ROWS, Found, attempted, defined, missing, panel, sizes
from audit.explain.ranks import rank_correlations
from audit.explain.sample import affordable, model_and_inputs, seed_of
from audit.explain.shapley import shapley
from audit.registry import check
from audit.stats import z_quantile

if TYPE_CHECKING:
    from audit.data.worlds.base import Explained

MOST = 24  # players in the table


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
    known in closed form; where the log-odds jump, as those of rules do, there is no truth of gradients. Of pictures,
    sequences and texts the truth of a part is the sum over what it holds, under the filling that was used; of a
    graph the players are features, each taken away in every node around. Each explainer is compared with what it itself is meant to find: the mean absolute error, the same as a share of the mean absolute truth, and the share of attributions whose interval (from its stated standard
    errors) holds the truth. Shapley values with drawn background rows are there for the last, found `repeats` times: on
    few players the others are exact. For every explainer, whatever it is meant to find, also how its ranking agrees with the ranking
    by true Shapley values.

    The numbers calibrate the instruments on a logistic model, or on rules, of a few features, or on log-odds that add up
    over the elements of an input: they do not say how large the error is on another model, and none of them can be
    computed there.
    """
    form = _form(subject)
    game, found = panel(subject, context, rows=rows, background=background, link="logit")
    again = _again(game, context, repeats)
    found = found | {DRAWN: again[0]}
    truths = {id: known(form, game, id) for id in ("shapley", *defined(found))}
    whole = truths["shapley"]
    assert whole is not None
    for id, each in defined(found).items():
        if (expected := truths[id]) is not None:
            runs = [one for one in again if isinstance(one, Attribution)] if id == DRAWN else [each]
            yield from _errors(id, runs, expected, context.confidence)
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
    if len(set(game.masker.players)) == 1:
        yield _table(game, found, truths)
    yield from missing(found)


def _form(subject: Subject) -> Explained:
    """The closed form of the model; raises NotApplicable for a model without one."""
    model, inputs = model_and_inputs(subject)
    if model.card.kind != "oracle":
        raise NotApplicable('the truth is known on planted worlds only, of their own model (model.kind = "oracle")')
    from audit.models.adapters.oracle import form_of

    form = form_of(model)
    if not isinstance(form, LogisticForm | RuleForm | LinearForm | TokenForm | NodeForm | MatchForm):
        raise NotApplicable(f"no closed form says what parts of {type(inputs).__name__} are worth to this oracle")
    return form


def _again(game: Game, context: Context, repeats: int) -> list[Attribution | str]:
    """Shapley values with drawn background rows, each time drawn afresh."""
    if repeats < 1:
        raise UsageError(f"repeats: at least 1, got {repeats}")
    run = partial(shapley, estimand="population", budget=affordable(game, BUDGET, context))
    return [attempted(run, game, seed_of(context, f"explain.truth.shapley/{k}")) for k in range(repeats)]


def _errors(id: str, runs: Sequence[Attribution], known: Floats, level: float) -> Iterator[Measure]:
    there = np.isfinite(known)
    wrong = np.mean([np.where(there, np.abs(run.values - known), 0.0) for run in runs], axis=0)
    errors = wrong.sum(axis=1) / there.sum(axis=1)
    size, apart = float(np.abs(known[there]).mean()), errors[np.isfinite(errors)]
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
    least = 1e-9 * max(float(np.nanmax(np.abs(known))), 1e-300)
    said = np.isfinite(known) & np.isfinite(error) & np.isfinite(values) & (error > least)
    return np.asarray(np.abs(values - known)[said] <= z_quantile(level) * error[said])


def _table(game: Game, found: Found, truths: Mapping[str, Floats | None]) -> Table:
    """The mean absolute value of each feature, found and true: of many those with the largest true Shapley values."""
    names, whole = game.masker.players[0], truths["shapley"]
    assert whole is not None
    shown = np.sort(np.argsort(-np.abs(whole).mean(axis=0), kind="stable")[:MOST])
    lines: list[tuple[Cell, ...]] = []
    for id, each in defined(found).items():
        expected = truths[id]
        for place in shown:
            there = each.values[np.isfinite(each.values[:, place]), place]
            mean = float(np.abs(there).mean()) if len(there) else None
            true = None if expected is None else float(np.abs(expected[:, place]).mean())
            lines.append((id, names[place], mean, true))
    note = "no truth where the closed form does not settle what the explainer is meant to find"
    if len(names) > MOST:
        note += f"; the {MOST} of {len(names)} features with the largest true Shapley values"
    return Table(
        name="truth",
        title="Mean absolute attribution of each feature, found and true (log-odds)",
        columns=("explainer", "feature", "found", "true"),
        rows=tuple(lines),
        note=note,
    )
