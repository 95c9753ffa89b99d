"""Individual fairness: are similar people treated alike, and does the protected attribute itself move a decision?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from audit import stats
from audit.core import (
    ALL,
    Better,
    Codes,
    Context,
    DataError,
    Evidence,
    Floats,
    Ints,
    Measure,
    Model,
    NotApplicable,
    Subject,
    UsageError,
)
from audit.data.tabular import Tabular
from audit.fairness.measures import bounded, measured
from audit.fairness.slices import require_binary
from audit.registry import check

BLOCK = 2**22  # distances held at a time
TIE = 1e-12  # relative difference up to which two distances are the same
Predict = Callable[[Any], Floats]


# -------------------------------------------------------------------------------------- means over people
def mean_measure(
    name: str,
    values: ArrayLike,
    *,
    level: float,
    weights: Floats | None = None,
    where: Mapping[str, str] | None = None,
    unit: str = "",
    better: Better = "none",
    floor: float = -np.inf,
    note: str = "",
) -> Measure:
    """The mean of one number a person (n,): Wilson's interval where unit is "proportion", else Student's t."""
    x = np.asarray(values, dtype=np.float64)
    w = np.ones(len(x)) if weights is None else weights
    n = float(stats.effective_n(w)) if len(x) else 0.0
    mean = float(stats.divide(w @ x, w.sum()))
    if unit == "proportion":
        interval = bounded(stats.wilson(mean * n, n, level), level, "Wilson")
    else:
        low, high = stats.mean_interval(x, level, weights=w)
        interval = bounded((max(low, floor), high), level, "t")
    weighted = "" if weights is None else f"weighted, effective n {n:.1f}"
    return measured(
        name,
        mean,
        n=len(x),
        where=where or {},
        unit=unit,
        better=better,
        interval=interval,
        note="; ".join(part for part in (note, weighted) if part),
        why="there is no case",
    )


def by_group(codes: Codes, attribute: str) -> Iterator[tuple[Mapping[str, str], NDArray[np.bool_]]]:
    """`where` and members (n,) of everyone whose group is known, and of each group."""
    yield {attribute: ALL}, codes.known()
    for index, level in enumerate(codes.levels):
        yield {attribute: level}, np.asarray(codes.values == index)


def sampled(rng: np.random.Generator, size: int, rows: int) -> Ints:
    """At most `rows` row numbers of `size`, in order; all of them where there are no more."""
    if rows < 1:
        raise UsageError(f"rows: at least 1, got {rows}")
    return np.arange(size) if size <= rows else np.sort(rng.choice(size, size=rows, replace=False))


def tabular_model(subject: Subject) -> tuple[Model, Tabular]:
    """The model and its tabular inputs; raises NotApplicable."""
    if subject.model is None or not isinstance(subject.data.inputs, Tabular):
        raise NotApplicable("features are changed in tabular inputs of a model that answers new ones")
    return subject.model, subject.data.inputs


def decided(score: Floats, threshold: float) -> Ints:
    """The decision (n,) of scores (n,), or the most probable class of scores (n, k)."""
    return np.asarray(score.argmax(axis=1) if score.ndim == 2 else score >= threshold, dtype=np.int64)


# ----------------------------------------------------------------------------------------- similar people
def consistency_score(X: ArrayLike, y_pred: ArrayLike, *, n_neighbors: int = 5) -> float:
    """1 - mean |ŷ - mean ŷ of the nearest neighbours|, 1 = similar people are treated alike (zemel2013).

    X (n, d): features, compared by Euclidean distance as they are. y_pred (n,): decisions or scores. As in AIF360, a
    person is among the own n_neighbors. Raises UsageError.
    """
    return 1.0 - float(neighbour_distance(X, y_pred, n_neighbors=n_neighbors).mean())


def neighbour_distance(X: ArrayLike, y_pred: ArrayLike, *, n_neighbors: int = 5, rows: Ints | None = None) -> Floats:
    """|ŷ - mean ŷ of the n_neighbors nearest in X| (k,) of some rows, by default all (zemel2013).

    Those who are equally far at the edge of the neighbourhood share its last places, so that the order of rows does not
    matter. Raises UsageError.
    """
    from scipy.spatial.distance import cdist

    x, y = np.asarray(X, dtype=np.float64), np.asarray(y_pred, dtype=np.float64)
    if x.ndim != 2 or y.shape != (len(x),):
        raise UsageError(f"X, y_pred: allowed are (n, d) and (n,), got {x.shape} and {y.shape}")
    if not 1 <= n_neighbors <= len(x):
        raise UsageError(f"n_neighbors: allowed are 1 to {len(x)}, the number of rows; got {n_neighbors}")
    asked = np.arange(len(x)) if rows is None else rows
    found = np.empty(len(asked))
    step = max(1, BLOCK // len(x))
    for start in range(0, len(asked), step):
        block = asked[start : start + step]
        distance = cdist(x[block], x, "sqeuclidean")
        edge = np.partition(distance, n_neighbors - 1, axis=1)[:, n_neighbors - 1 : n_neighbors]
        inside = distance < edge * (1.0 - TIE)
        tied = (distance <= edge * (1.0 + TIE)) & ~inside
        places = n_neighbors - inside.sum(axis=1)
        mean = (inside @ y + places * stats.divide(tied @ y, tied.sum(axis=1), 0.0)) / n_neighbors
        found[start : start + step] = np.abs(y[block] - mean)
    return found


def similarity_features(inputs: Tabular, leave_out: Sequence[str] = ()) -> Floats:
    """Columns (n, d) for comparing people: numbers in standard deviations, a category as one column a level.

    Missing numbers stand at the mean, missing categories at no level; columns without spread are dropped.
    """
    parts: list[Floats] = []
    for index, name in enumerate(inputs.columns):
        column = inputs.values[:, index]
        if name in leave_out:
            continue
        if name in inputs.categories:
            parts.append((column[:, None] == np.arange(len(inputs.categories[name]))) / np.sqrt(2.0))
            continue
        there = np.isfinite(column)
        spread = float(column[there].std()) if there.any() else 0.0
        if spread > 0.0:
            parts.append(np.where(there, (column - column[there].mean()) / spread, 0.0)[:, None])
    return np.concatenate(parts, axis=1) if parts else np.empty((len(inputs), 0))


@check(
    "fairness.individual",
    title="Similar people, similar decisions",
    needs={"decisions", "rows"},
    sources=("dwork2012", "zemel2013", "student1908"),
)
def individual(
    subject: Subject, context: Context, *, n_neighbors: int = 5, rows: int = 4000, protected: bool = False
) -> Iterator[Evidence]:
    """Are people who resemble each other treated alike?

    consistency is 1 less the mean distance between a person's decision and the mean decision of the n_neighbors who
    resemble that person most, the person included; score_consistency is the same for the score. Resemblance is Euclidean
    distance over the features, numbers in standard deviations and a category as one column a level; the protected
    attributes are left out unless `protected`. At most `rows` people are asked, their neighbours are sought among
    all. Intervals are Student's t over people.

    A consistent model may still be unfair to a whole group: those who resemble each other may all be wronged. What
    resemblance should mean is a judgement that these features do not settle. Neighbourhoods overlap, so that the interval
    is a little too narrow.
    """
    require_binary(subject)
    inputs = subject.data.inputs
    if not isinstance(inputs, Tabular) or subject.decision is None:
        raise NotApplicable("people are compared by tabular features, and there are none")
    features = similarity_features(inputs, () if protected else tuple(subject.groups))
    if not features.shape[1]:
        raise NotApplicable("no feature varies, so that nobody resembles anybody more than others")
    if len(features) < n_neighbors:
        raise NotApplicable(f"needs at least {n_neighbors} rows to find neighbours, got {len(features)}")
    asked = sampled(context.rng, len(features), rows)
    answers = {"consistency": subject.decision.astype(np.float64)}
    if subject.score is not None and subject.score.ndim == 1:
        answers["score_consistency"] = subject.score
    for name, answer in answers.items():
        alike = 1.0 - neighbour_distance(features, answer, n_neighbors=n_neighbors, rows=asked)
        for where, inside in _everyone_and_groups(subject, asked):
            yield mean_measure(
                name,
                alike[inside],
                level=context.confidence,
                weights=None if subject.data.weights is None else subject.data.weights[asked][inside],
                where=where,
                better="higher",
                note=f"{n_neighbors} neighbours over {features.shape[1]} columns",
            )


def _everyone_and_groups(subject: Subject, rows: Ints) -> Iterator[tuple[Mapping[str, str], NDArray[np.bool_]]]:
    """Everyone under {}, then the groups of each attribute, among some rows."""
    yield {}, np.ones(len(rows), dtype=bool)
    for attribute, codes in subject.groups.items():
        for index, level in enumerate(codes.levels):
            yield {attribute: level}, np.asarray(codes.values[rows] == index)


# ------------------------------------------------------------------------------------------- the flip test
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Flips:
    """What happens to people when their protected attribute alone is changed; one entry a row of known group.

    rows (k,): which rows. flipped (k,): does the decision change under at least one other level. moved (k,): largest
    absolute change of the score. change (k,): mean change of the score over the other levels; NaN with several classes.
    """

    rows: Ints
    flipped: NDArray[np.bool_]
    moved: Floats
    change: Floats


def level_values(inputs: Tabular, attribute: str, codes: Codes) -> Floats:
    """The number (levels,) that stands for each level in the feature column of this name; NaN for an empty level.

    Raises DataError where there is no such column, or a level is not one number in it.
    """
    if attribute not in inputs.columns:
        raise DataError(f"{attribute!r} is not among the features, which are {list(inputs.columns)}")
    column = inputs.values[:, inputs.columns.index(attribute)]
    values = np.full(len(codes.levels), np.nan)
    for index, level in enumerate(codes.levels):
        found = np.unique(column[codes.values == index])
        if len(found) > 1 or np.isnan(found).any():
            raise DataError(f"feature {attribute!r} has {len(found)} values among {level!r}, so the group is not in it")
        values[index] = found[0] if len(found) else np.nan
    there = values[~np.isnan(values)]
    if len(np.unique(there)) < max(len(there), 2):
        raise DataError(f"feature {attribute!r} does not tell the groups {list(codes.levels)} apart")
    return values


def flip_test(
    predict: Predict,
    inputs: Tabular,
    attribute: str,
    codes: Codes,
    *,
    threshold: float = 0.5,
    values: Floats | None = None,
) -> Flips:
    """Predict again with the protected attribute's column set to every other level, all else left as it is.

    predict: inputs -> scores (n,) or (n, k). values (levels,): the numbers of the levels, by default as found in the
    column. Raises DataError where the attribute is not a feature.
    """
    numbers = level_values(inputs, attribute, codes) if values is None else values
    rows = np.flatnonzero(codes.known())
    own, known = codes.values[rows], inputs.take(rows)
    before = predict(known)
    first = decided(before, threshold)
    flipped, moved, change = np.zeros(len(rows), dtype=bool), np.zeros(len(rows)), np.zeros(len(rows))
    for index in np.flatnonzero(~np.isnan(numbers)):
        other = own != index
        after = predict(known.with_values(with_column(known, attribute, numbers[index])))
        flipped |= other & (decided(after, threshold) != first)
        moved = np.maximum(moved, np.abs(after - before).reshape(len(rows), -1).max(axis=1) * other)
        change += (after - before) * other if before.ndim == 1 else np.nan
    return Flips(rows=rows, flipped=flipped, moved=moved, change=change / (np.sum(~np.isnan(numbers)) - 1))


def with_column(inputs: Tabular, name: str, values: ArrayLike) -> Floats:
    """A copy of the numbers (n, d) with one column replaced."""
    copied = inputs.values.copy()
    copied[:, inputs.columns.index(name)] = values
    return copied


@check(
    "fairness.flip",
    title="Decisions when only the protected attribute is changed",
    needs={"model", "rows", "groups"},
    sources=("kusner2017", "wilson1927", "student1908"),
)
def flip(subject: Subject, context: Context, *, rows: int = 10_000) -> Iterator[Evidence]:
    """Would anyone have got another decision, had only the recorded group been another?

    Where the protected attribute is itself a feature, every person is put to the model again with each other level of
    it, all other features left as they are. flip_rate is the share of people whose decision changes under at least one
    other level (Wilson's interval), mean_abs_score_change the mean of the largest change of the score, and
    mean_score_change the mean change with its sign (t intervals): positive where the people of a group would score
    higher as members of another. At most `rows` people are asked.

    This is the direct effect of the column alone. A person of another group would often have another income or address
    too, and a model that never sees the attribute may still follow such proxies: a flip rate of 0 is therefore no proof
    of counterfactual fairness.
    """
    model, inputs = tabular_model(subject)
    chosen = sampled(context.rng, len(inputs), rows)
    problems = {}
    for attribute, codes in subject.groups.items():
        try:
            numbers = level_values(inputs, attribute, codes)
        except DataError as error:
            problems[attribute] = str(error)
            continue
        part = Codes(values=codes.values[chosen], levels=codes.levels)
        found = flip_test(
            model.predict, inputs.take(chosen), attribute, part, threshold=subject.threshold, values=numbers
        )
        yield from _flip_measures(subject, context, attribute, chosen, found)
    if len(problems) == len(subject.groups):
        raise NotApplicable("; ".join(problems.values()))
    for attribute, problem in problems.items():
        yield measured("flip_rate", np.nan, n=0, where={attribute: ALL}, better="lower", why=problem)


def _flip_measures(subject: Subject, context: Context, attribute: str, chosen: Ints, found: Flips) -> Iterator[Measure]:
    rows = chosen[found.rows]
    codes = subject.groups[attribute]
    people = None if subject.data.weights is None else subject.data.weights[rows]
    for where, inside in by_group(Codes(values=codes.values[rows], levels=codes.levels), attribute):
        facts: dict[str, Any] = {
            "level": context.confidence,
            "where": where,
            "weights": None if people is None else people[inside],
        }
        yield mean_measure("flip_rate", found.flipped[inside], unit="proportion", better="lower", **facts)
        yield mean_measure("mean_abs_score_change", found.moved[inside], better="lower", floor=0.0, **facts)
        if not np.isnan(found.change).any():
            yield mean_measure("mean_score_change", found.change[inside], better="zero", **facts)
