"""Accuracy, ranking and calibration, for everyone and for each group."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from audit import stats
from audit.core import Context, Curve, Evidence, Floats, Interval, Ints, Measure, NotApplicable, Subject
from audit.fairness.calibration import places
from audit.fairness.measures import bounded, measured
from audit.registry import check

_OUT_OF_RANGE = "the scores do not lie in [0, 1], so they are no probabilities"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Rows:
    """The rows of one group: label (n,), decision and score where they exist, how much each row counts.

    With more than two classes, decision is a class and score the chance given to the true one.
    people: how many persons a row stands for. weight: the same, scaled so that its sum is the effective n. place: the
    calibration bin of each row.
    """

    y: Ints
    decision: Ints | None
    score: Floats | None
    place: Ints
    people: Floats
    weight: Floats
    where: Mapping[str, str]
    weighted: bool
    binary: bool

    @property
    def n(self) -> int:
        return int(self.people.sum())

    @property
    def note(self) -> str:
        return f"weighted, effective n {self.weight.sum():.1f}" if self.weighted else ""


@check(
    "performance.overall",
    title="Accuracy, ranking and calibration",
    needs={"labels"},
    sources=("wilson1927", "delong1988", "sun2014", "brier1950", "student1908", "naeini2015"),
)
def overall(subject: Subject, context: Context, *, by_group: bool = True) -> Iterator[Evidence]:
    """How often is the model right, does its score rank people rightly, and does its score mean what it says?

    accuracy is the share of decisions that equal the label (Wilson's interval). auc is the chance that a random positive
    case scores above a random negative one, ties counting half (DeLong's interval on the logit scale). brier and
    log_loss are the mean squared and logarithmic errors of the score as a probability (t intervals); they need scores in
    [0, 1]. The calibration curve gives the observed share of positives at each score, or in ten bins of equally many
    people where there are more than 20 distinct scores, with Wilson bands; expected_calibration_error is the mean
    distance between score and observed share over these bins. With more than two classes, only accuracy (of the most
    probable class) and log_loss (of the true class) are defined. All are given for everyone and, with by_group, for each
    group of each attribute.

    Accuracy says little where one outcome is rare: compare it with base_rate. An auc is free of any threshold, and
    therefore says nothing about the one in use. expected_calibration_error is never quite 0, even of a perfect score,
    and is larger in small groups.
    """
    level = context.confidence
    everyone = _everyone(subject)
    yield from _evidence(everyone, level)
    for attribute, codes in subject.groups.items() if by_group else ():
        for index, name in enumerate(codes.levels):
            yield from _evidence(_part(everyone, codes.values == index, {attribute: name}), level)


def _everyone(subject: Subject) -> _Rows:
    if subject.y is None:
        raise NotApplicable("there are no labels")
    data, ones = subject.data, np.ones(len(subject.y))
    people = ones if data.frequency is None else data.frequency.astype(np.float64)
    binary, decision, score = len(data.classes) <= 2, subject.decision, subject.score
    if score is not None and score.ndim == 1 and not binary:
        decision, score = None, None  # one score says nothing about three classes
    if score is not None and score.ndim == 2:
        decision, score = score.argmax(axis=1), score[np.arange(len(score)), 1 if binary else subject.y]
    place = np.zeros(len(subject.y), dtype=np.int64) if score is None or not binary else places(score, people)
    rows = _Rows(
        y=subject.y,
        decision=decision,
        score=score,
        place=place,
        people=people,
        weight=people if data.weights is None else people * data.weights,
        where={},
        weighted=data.weights is not None,
        binary=binary,
    )
    return _scaled(rows)


def _part(rows: _Rows, inside: np.ndarray, where: Mapping[str, str]) -> _Rows:
    part = replace(
        rows,
        y=rows.y[inside],
        decision=None if rows.decision is None else rows.decision[inside],
        score=None if rows.score is None else rows.score[inside],
        place=rows.place[inside],
        people=rows.people[inside],
        weight=rows.weight[inside],
        where=where,
    )
    return _scaled(part)


def _scaled(rows: _Rows) -> _Rows:
    """Survey weights made to sum to Kish's effective n; people are left as they are."""
    if not rows.weighted:
        return rows
    each = np.divide(rows.weight, rows.people, out=np.zeros(len(rows.weight)), where=rows.people > 0)
    squares = float((each * rows.weight).sum())
    return replace(rows, weight=rows.weight * (float(rows.weight.sum()) / squares if squares else 0.0))


def _evidence(rows: _Rows, level: float) -> Iterator[Evidence]:
    if rows.binary:
        yield _rate(rows, "base_rate", rows.y == 1, level)
    if rows.decision is None:
        yield measured("accuracy", np.nan, n=rows.n, where=rows.where, better="higher", why="there are no decisions")
    else:
        yield _rate(rows, "accuracy", rows.decision == rows.y, level)
    if rows.score is None:
        for name in ("auc", "brier", "log_loss", "expected_calibration_error") if rows.binary else ("log_loss",):
            yield measured(name, np.nan, n=rows.n, where=rows.where, unit="", why="there are no scores")
        return
    if not rows.binary:
        yield _loss(rows, "log_loss", _logarithmic(rows.score, np.ones_like(rows.y)), level)
        return
    yield _auc(rows, rows.score, level)
    yield from _errors(rows, rows.score, level)
    if rows.weight.sum() > 0.0:
        yield _calibration(rows, rows.score, level)


def _rate(rows: _Rows, name: str, hit: np.ndarray, level: float) -> Measure:
    k, n = float(rows.weight @ hit), float(rows.weight.sum())
    return measured(
        name,
        float(stats.divide(k, n)),
        n=rows.n,
        where=rows.where,
        better="higher" if name == "accuracy" else "none",
        interval=bounded(stats.wilson(k, n, level), level, "Wilson"),
        note=rows.note,
        why="there is no case",
    )


def _auc(rows: _Rows, score: Floats, level: float) -> Measure:
    positives = float(rows.weight @ (rows.y == 1))
    negatives = float(rows.weight.sum()) - positives
    value, variance = stats.delong(score, rows.y, rows.weight)
    low, high = stats.auc_interval(value, variance, min(positives, negatives), level)
    inverted = "the score ranks the wrong way round: is it inverted, or the positive class the other one?"
    notes = [rows.note, inverted if high < 0.5 else ""]
    return measured(
        "auc",
        value,
        n=rows.n,
        where=rows.where,
        unit="",
        better="higher",
        interval=bounded((low, high), level, "DeLong"),
        note="; ".join(note for note in notes if note),
        why=f"there is no {'positive' if positives <= 0 else 'negative'} label to rank against",
    )


def _errors(rows: _Rows, score: Floats, level: float) -> Iterator[Measure]:
    """Brier score, log loss and expected calibration error."""
    for name, loss in (("brier", _squared), ("log_loss", _logarithmic)):
        yield _loss(rows, name, loss(score, rows.y), level)
    _, counts, mean, rate = _bins(rows, score)
    distance = float(stats.divide(counts @ np.abs(mean - rate), counts.sum())) if _probable(score) else np.nan
    why = "there is no case" if _probable(score) else _OUT_OF_RANGE
    yield measured(
        "expected_calibration_error", distance, n=rows.n, where=rows.where, better="lower", note=rows.note, why=why
    )


def _loss(rows: _Rows, name: str, loss: Floats, level: float) -> Measure:
    value, interval, why = _mean_loss(rows, loss, level)
    return measured(
        name, value, n=rows.n, where=rows.where, unit="", better="lower", interval=interval, note=rows.note, why=why
    )


def _mean_loss(rows: _Rows, loss: Floats, level: float) -> tuple[float, Interval | None, str]:
    """The mean loss, its interval, and why there is none."""
    if rows.score is not None and not _probable(rows.score):
        return np.nan, None, _OUT_OF_RANGE
    if np.isinf(loss[rows.weight > 0.0]).any():
        return np.nan, None, "it is infinite, because a score of exactly 0 or 1 was wrong"
    loss = np.where(rows.weight > 0.0, loss, 0.0)
    low, high = stats.mean_interval_counts(loss, rows.weight, level)
    value = float(stats.divide(rows.weight @ loss, rows.weight.sum()))
    return value, bounded((max(0.0, low), high), level, "t"), "there is no case"


def _probable(score: Floats) -> bool:
    return bool(((score >= 0.0) & (score <= 1.0)).all())


def _squared(score: Floats, y: Ints) -> Floats:
    return np.asarray((score - y) ** 2)


def _logarithmic(score: Floats, y: Ints) -> Floats:
    right = np.clip(np.where(y == 1, score, 1.0 - score), 0.0, None)
    return np.asarray(-np.log(right, out=np.full(len(right), -np.inf), where=right > 0.0))


# ----------------------------------------------------------------------------------------------- calibration
def _bins(rows: _Rows, score: Floats) -> tuple[Ints, Floats, Floats, Floats]:
    """People (b,), effective n, mean score and observed rate of the bins that have cases."""
    weight = np.bincount(rows.place, weights=rows.weight).astype(np.float64)
    kept = weight > 0.0
    people = np.bincount(rows.place, weights=rows.people)[kept].astype(np.int64)
    mean = np.bincount(rows.place, weights=rows.weight * score)[kept] / weight[kept]
    rate = np.bincount(rows.place, weights=rows.weight * (rows.y == 1))[kept] / weight[kept]
    return people, weight[kept], mean, rate


def _calibration(rows: _Rows, score: Floats, level: float) -> Curve:
    people, n, mean, rate = _bins(rows, score)
    low, high = stats.wilson(rate * n, n, level)
    return Curve(
        name="calibration",
        x=tuple(mean.tolist()),
        y=tuple(rate.tolist()),
        low=tuple(low.tolist()),
        high=tuple(high.tolist()),
        x_label="score",
        y_label="observed share of positives",
        unit="proportion",
        n=int(people.sum()),
        where=rows.where,
        note=rows.note,
    )
