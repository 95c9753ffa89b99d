"""Single decisions, explained."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle, islice

import numpy as np

from audit.core import (
    BudgetSpent,
    Context,
    Evidence,
    Floats,
    Inputs,
    Ints,
    Measure,
    ModelError,
    NotApplicable,
    Subject,
    Table,
    UsageError,
)
from audit.data.captioned import Captioned
from audit.data.graphs import Graphs
from audit.data.images import Images
from audit.data.tabular import Tabular
from audit.explain import captioned_views, views
from audit.explain.attribution import Attribution
from audit.explain.features import said
from audit.explain.games import Link
from audit.explain.graph_cases import graph_cases
from audit.explain.path_gradients import integrated_gradients
from audit.explain.ranks import rank_correlations
from audit.explain.sample import costs, game_of, model_and_inputs, seed_of, shapley_of
from audit.registry import check

MOST = 200  # cases that one page can tell


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
    most confident wrong approval; of several classes the closest call, the most confident mistake and the most
    confident answer of each class. A table's row is drawn as the way from the base to the output, a text as coloured
    words, a picture as a map over its parts, with a caption beside its words, a sequence along its time, a node of a
    graph among its neighbours. Each has its Shapley values with their standard errors and, for models that offer
    gradients, its integrated gradients of the log-odds; where the two methods rank the features differently, neither
    should be read as the reason.

    The numbers are about the model, not the world: they do not say what a person should change to be approved.
    """
    _, inputs = model_and_inputs(subject)
    if subject.score is None:
        raise NotApplicable("single decisions are explained where the model has given scores")
    if not 1 <= rows <= MOST:
        raise UsageError(f"rows: from 1 to {MOST} cases, got {rows}")
    chosen = choose(subject, rows)
    titles = {row: f"Row {row}: {why} ({_scored(subject, row)})" for row, why in chosen.items()}
    if isinstance(inputs, Graphs):
        yield from graph_cases(subject, context, inputs, titles, background=background, budget=budget, link=link)
        return
    picked = np.array(list(chosen), dtype=np.int64)
    shap = shapley_of(subject, context, picked, background=background, budget=budget, link=link)
    gradients, reason = _gradients(subject, context, picked, background)
    for place, title in enumerate(titles.values()):
        yield from _case(place, title, inputs.take(picked), shap, gradients, reason)
    yield from _quality(shap, gradients, reason)


def _gradients(subject: Subject, context: Context, picked: Ints, background: int) -> tuple[Attribution | None, str]:
    """Integrated gradients of the log-odds of the same rows, or why there are none."""
    if subject.model is None or "gradients" not in subject.model.offers:
        return None, "no integrated gradients: the model does not offer gradients"
    try:
        played = game_of(subject, context, picked, background=background, link="logit")
        found = integrated_gradients(played, seed=seed_of(context, "explain.gradients"))
    except BudgetSpent:
        raise
    except (ModelError, NotApplicable, RuntimeError) as error:
        return None, f"no integrated gradients: {type(error).__name__}: {error}"
    return found, found.note


def _scored(subject: Subject, row: int) -> str:
    """What the model said of a row, in words."""
    assert subject.score is not None
    score, classes = subject.score[row], subject.data.classes
    if subject.score.ndim == 2:
        return f"probability {score.max():.6g} of {classes[int(score.argmax())]}"
    limit = f", threshold {subject.threshold:.6g}" if subject.decision is not None else ""
    return f"score {score:.6g}{limit}"


def choose(subject: Subject, count: int) -> dict[int, str]:
    """Row to why it was chosen, at most `count` of them; ties go to the first row."""
    decided = subject.decision is not None and subject.score is not None and subject.score.ndim == 1
    kinds = _about_decisions(subject) if decided else _about_answers(subject)
    queues = [(why, iter(_first(among, order, count))) for why, among, order in kinds]
    chosen: dict[int, str] = {}
    for why, queue in islice(cycle(queues), count * len(queues)):
        row = next((int(row) for row in queue if int(row) not in chosen), None)
        if row is not None and len(chosen) < count:
            chosen[row] = why
    return chosen


def _about_decisions(subject: Subject) -> list[tuple[str, np.ndarray, Floats]]:
    """What to look at where there is a yes or no: (why, among which rows, in which order)."""
    assert subject.score is not None
    assert subject.decision is not None
    score, refused = subject.score, subject.decision == 0
    (no, yes), (negative, _) = _decided(subject)
    kinds = [
        (f"{no}, nearest to the threshold", refused, -score),
        (f"{no}, the lowest score of all", refused, score),
        *_wrong_refusals(subject, refused, score),
        (f"{yes}, nearest to the threshold", ~refused, score),
    ]
    if subject.y is not None:
        kinds.append((f"{yes} although the label is {negative}, most confident", ~refused & (subject.y != 1), -score))
    return kinds


def _decided(subject: Subject) -> tuple[tuple[str, str], tuple[str, str]]:
    """What the decisions and the labels are called, negative first: where the classes have names of their own, by them."""
    first, second = subject.data.classes[0], subject.data.classes[-1]
    if {first, second} <= {"0", "1", "0.0", "1.0", "-1", "False", "True", "false", "true"}:
        return ("refused", "approved"), ("negative", "positive")
    return (f"found to be {first}", f"found to be {second}"), (first, second)


def _about_answers(subject: Subject) -> list[tuple[str, np.ndarray, Floats]]:
    """What to look at where there are several classes, or a number."""
    assert subject.score is not None
    score = subject.score
    everyone = np.ones(len(score), dtype=bool)
    if score.ndim == 1:
        return [("the lowest number of all", everyone, score), ("the highest number of all", everyone, -score)]
    ranked = np.sort(score, axis=1)
    kinds = [("the two likeliest classes nearest to each other", everyone, ranked[:, -1] - ranked[:, -2])]
    if subject.y is not None:
        wrong = score.argmax(axis=1) != subject.y
        kinds.append(("another class than the label, most confident", wrong, -ranked[:, -1]))
    named = subject.data.classes
    kinds += [
        (f"found to be {named[place]}, most confident", score.argmax(axis=1) == place, -score[:, place])
        for place in range(score.shape[1])
    ]
    return kinds


def _first(among: np.ndarray, order: Floats, count: int) -> Ints:
    rows = np.flatnonzero(among)
    return rows[np.argsort(order[rows], kind="stable")[:count]]


def _wrong_refusals(subject: Subject, refused: np.ndarray, score: Floats) -> list[tuple[str, np.ndarray, Floats]]:
    if subject.y is None:
        return []
    (no, _), (_, positive) = _decided(subject)
    wrong = refused & (subject.y == 1)
    return [
        (
            f"{no} although the label is {positive}, most confident in {name} = {level}",
            wrong & (codes.values == index),
            score,
        )
        for name, codes in subject.groups.items()
        for index, level in enumerate(codes.levels)
    ]


def _case(
    place: int, title: str, inputs: Inputs, shap: Attribution, gradients: Attribution | None, reason: str
) -> Iterator[Table]:
    """The picture of one case and its figures; those of the second method stand in a column of their own."""
    if isinstance(inputs, Images):
        yield _picture(inputs, place, title)
        row = title.partition(":")[0]
        yield replace(views.heat_map(shap, place, title=f"{row}: Shapley values"), name="shap")
        if gradients is not None and np.isfinite(gradients.values[place]).any():
            yield replace(views.heat_map(gradients, place, title=f"{row}: integrated gradients"), name="ig")
        return
    if isinstance(inputs, Captioned):
        yield _picture(inputs.images, place, f"{title}: {inputs.texts.strings()[place]!r}")
        told = f"{title.partition(':')[0]}: Shapley values"
        yield from captioned_views.pair(shap, inputs, place, title=told, name="shap")
        return
    was = None
    if isinstance(inputs, Tabular) and shap.players[0] == inputs.columns:
        was = [said(inputs, k, float(inputs.values[place, k])) for k in range(len(inputs.columns))]
    table = views.case(shap, place, title=title, was=was)
    called = {"player": "feature", "what it was": "value", "value": "shap", "SE": "shap SE"}
    if table.view == "tokens":
        called = {"value": "shap", "SE": "shap SE"}
    columns = tuple(called.get(column, column) for column in table.columns)
    if table.view == "timeline":  # the columns of a sequence keep their names
        columns = (*table.columns[:-2], "shap", "shap SE")
    note = "; ".join(filter(None, (table.note, reason)))
    if gradients is None:
        yield replace(table, columns=columns, note=note)
        return
    names = shap.players[place]
    in_order = table.view in ("tokens", "timeline")  # in the order of the players
    order = range(len(names)) if in_order else [names.index(str(row[0])) for row in table.rows]
    other = tuple((*row, views.defined(gradients.values[place, k])) for row, k in zip(table.rows, order, strict=True))
    yield replace(table, columns=(*columns, f"integrated gradients ({gradients.scale})"), rows=other, note=note)


def _picture(inputs: Images, place: int, title: str) -> Table:
    """What the model saw: of three channels their colours as #rrggbb, else the channels' mean as numbers."""
    step = views.step_of(inputs.values.shape[2:])
    seen = inputs.values[place, :, ::step, ::step]
    rows: tuple[tuple[str | float, ...], ...]
    if len(seen) == 3:
        share = np.clip((seen - inputs.black) / (inputs.white - inputs.black), 0.0, 1.0)
        levels = np.rint(255 * share).astype(int).transpose(1, 2, 0)
        rows = tuple(tuple("#{:02x}{:02x}{:02x}".format(*colour) for colour in row) for row in levels)
    else:
        rows = tuple(tuple(map(float, row)) for row in seen.mean(axis=0))
    columns = tuple(str(k) for k in range(seen.shape[2]))
    return Table(name="picture", title=title, columns=columns, rows=rows, view="image")


def _quality(shap: Attribution, gradients: Attribution | None, reason: str) -> Iterator[Measure]:
    error = _largest(shap.delta)
    note = shap.method if error is not None else f"{shap.method}: no case has a finite sum"
    yield Measure(name="completeness_error", value=error, where={"method": "shap"}, better="lower", note=note)
    yield from costs(shap)
    if gradients is None:
        yield Measure(name="shap_ig_rank_correlation", value=None, better="higher", note=reason)
        return
    there = np.isfinite(gradients.values).any(axis=1)
    note = gradients.note or f"{gradients.method}; baseline: {gradients.background}"
    worst = _largest(gradients.delta[there])
    where = {"method": "integrated gradients"}
    yield Measure(name="completeness_error", value=worst, where=where, better="lower", note=note)
    yield from costs(gradients)
    each = rank_correlations(shap.values, gradients.values)
    each = each[~np.isnan(each)]
    name, mean = "shap_ig_rank_correlation", float(each.mean()) if len(each) else None
    note = "mean over the cases" if len(each) else f"no case where both methods rank at least two features ({note})"
    yield Measure(name=name, value=mean, n=len(each) or None, better="higher", note=note)


def _largest(errors: Floats) -> float | None:
    """The largest of the finite errors in size; None where none is."""
    finite = np.abs(errors[np.isfinite(errors)])
    return float(finite.max()) if len(finite) else None
