"""Single decisions, explained."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle, islice

import numpy as np

from audit.core import (
    Cell,
    Context,
    Evidence,
    Floats,
    Ints,
    Measure,
    ModelError,
    NotApplicable,
    Subject,
    Table,
    UsageError,
)
from audit.data.tabular import Tabular
from audit.explain.attribution import Attribution
from audit.explain.games import Link
from audit.explain.gradients import integrated_gradients
from audit.explain.sample import game_of, model_and_inputs, seed_of, shapley_of
from audit.registry import check


@check(
    "explain.cases",
    title="Single decisions, explained",
    needs={"model", "rows"},
    sources=("shapley1953", "lundberg2017", "sundararajan2017", "krishna2022"),
)
def cases(
    subject: Subject,
    context: Context,
    *,
    rows: int = 6,
    background: int = 64,
    budget: int = 512,
    link: Link = "identity",
) -> Iterator[Evidence]:
    """Why did the model decide as it did about the people who most deserve an explanation?

    The cases are chosen by rule, not by hand: in turn the refusal nearest to the threshold, the strongest refusal, the
    most confident wrong refusal in each group (where labels are known), the approval nearest to the threshold and the
    most confident wrong approval. Each has its Shapley values with their standard errors and, for models that offer
    gradients, its integrated gradients of the log-odds; where the two methods rank the features differently, neither
    should be read as the reason.

    The numbers are about the model, not the world: they do not say what a person should change to be approved.
    """
    model, inputs = model_and_inputs(subject)
    if not isinstance(inputs, Tabular):
        raise NotApplicable(f"explained are tabular inputs, not {type(inputs).__name__}")
    if subject.score is None or subject.score.ndim != 1 or subject.decision is None:
        raise NotApplicable("single decisions are explained where there is one score and a decision by a threshold")
    if rows < 1:
        raise UsageError(f"rows: at least 1 case is needed, got {rows}")
    chosen = choose(subject, rows)
    picked = np.array(list(chosen), dtype=np.int64)
    shap = shapley_of(subject, context, picked, background=background, budget=budget, link=link)
    gradients, reason = None, "no integrated gradients: the model does not offer gradients"
    if "gradients" in model.offers:
        try:
            gradients = integrated_gradients(
                game_of(subject, context, picked, background=background), seed=seed_of(context, "explain.gradients")
            )
            reason = gradients.note
        except (ModelError, RuntimeError) as error:
            reason = f"no integrated gradients: {type(error).__name__}: {error}"
    for place, (row, why) in enumerate(chosen.items()):
        title = f"Row {row}: {why} (score {subject.score[row]:.6g}, threshold {subject.threshold:.6g})"
        yield _case(place, title, inputs.take(picked), shap, gradients, reason)
    yield from _quality(shap, gradients, reason)


def choose(subject: Subject, count: int) -> dict[int, str]:
    """Row to why it was chosen, at most `count` of them; ties go to the first row."""
    assert subject.score is not None
    assert subject.decision is not None
    score, refused = subject.score, subject.decision == 0
    kinds = [
        ("refused, nearest to the threshold", refused, -score),
        ("refused, the lowest score of all", refused, score),
        *_wrong_refusals(subject, refused, score),
        ("approved, nearest to the threshold", ~refused, score),
    ]
    if subject.y is not None:
        kinds.append(("approved although the label is negative, most confident", ~refused & (subject.y != 1), -score))
    queues = [(why, iter(_first(among, order, count))) for why, among, order in kinds]
    chosen: dict[int, str] = {}
    for why, queue in islice(cycle(queues), count * len(queues)):
        row = next((int(row) for row in queue if int(row) not in chosen), None)
        if row is not None and len(chosen) < count:
            chosen[row] = why
    return chosen


def _first(among: np.ndarray, order: Floats, count: int) -> Ints:
    rows = np.flatnonzero(among)
    return rows[np.argsort(order[rows], kind="stable")[:count]]


def _wrong_refusals(subject: Subject, refused: np.ndarray, score: Floats) -> list[tuple[str, np.ndarray, Floats]]:
    if subject.y is None:
        return []
    wrong = refused & (subject.y == 1)
    return [
        (
            f"refused although the label is positive, most confident in {name} = {level}",
            wrong & (codes.values == index),
            score,
        )
        for name, codes in subject.groups.items()
        for index, level in enumerate(codes.levels)
    ]


def _case(
    place: int, title: str, inputs: Tabular, shap: Attribution, gradients: Attribution | None, reason: str
) -> Table:
    order = np.argsort(-np.abs(shap.values[place]), kind="stable")
    error = np.hypot(
        *(np.zeros_like(shap.values) if se is None else se for se in (shap.se_background, shap.se_sampling))
    )
    lines: list[tuple[Cell, ...]] = []
    for index in order:
        line = (
            shap.features[index],
            shown(inputs, place, int(index)),
            float(shap.values[place, index]),
            float(error[place, index]),
        )
        lines.append(line if gradients is None else (*line, _defined(gradients.values[place, index])))
    unit = "probability" if shap.link == "identity" else "log-odds"
    ends = f"base {shap.base[place]:.4g}, output {shap.outputs[place]:.4g} ({unit})"
    columns = ("feature", "value", "shap", "shap SE")
    return Table(
        name="case",
        title=title,
        columns=columns if gradients is None else (*columns, "integrated gradients (log-odds)"),
        rows=tuple(lines),
        note="; ".join(filter(None, (ends, reason))),
    )


def shown(inputs: Tabular, row: int, column: int) -> Cell:
    """The value of a feature as a person would read it: a category by its name, a gap as "missing"."""
    value = float(inputs.values[row, column])
    name = inputs.columns[column]
    if np.isnan(value):
        return "missing"
    if not np.isfinite(value):
        return str(value)
    if name in inputs.categories:
        return inputs.categories[name][int(value)]
    return int(value) if name in inputs.integers else value


def _defined(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _quality(shap: Attribution, gradients: Attribution | None, reason: str) -> Iterator[Measure]:
    error = float(np.abs(shap.delta).max())
    yield Measure(name="completeness_error", value=error, where={"method": "shap"}, better="lower", note=shap.method)
    if gradients is None:
        yield Measure(name="shap_ig_rank_correlation", value=None, better="higher", note=reason)
        return
    there = ~np.isnan(gradients.values).any(axis=1)
    note = gradients.note or f"{gradients.method}; baseline: {gradients.background}"
    worst = float(np.abs(gradients.delta[there]).max()) if there.any() else None
    where = {"method": "integrated gradients"}
    yield Measure(name="completeness_error", value=worst, where=where, better="lower", note=note)
    yield _agreement(shap.values[there], gradients.values[there], note)


def _agreement(first: Floats, second: Floats, note: str) -> Measure:
    """Spearman's rank correlation between two methods' attributions, averaged over the cases where it is defined."""
    from scipy.stats import rankdata

    centred = [
        ranks - ranks.mean(axis=1, keepdims=True) for ranks in (rankdata(side, axis=1) for side in (first, second))
    ]
    spread = np.sqrt((centred[0] ** 2).sum(axis=1) * (centred[1] ** 2).sum(axis=1))
    each = (centred[0] * centred[1]).sum(axis=1)[spread > 0] / spread[spread > 0]
    if not len(each):
        missing = f"no case where both methods rank at least two features ({note})"
        return Measure(name="shap_ig_rank_correlation", value=None, better="higher", note=missing)
    value = float(np.clip(each.mean(), -1, 1))
    return Measure(
        name="shap_ig_rank_correlation", value=value, n=len(each), better="higher", note="mean over the cases"
    )
