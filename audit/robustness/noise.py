"""How often small measurement errors in the inputs change a decision."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audit import stats
from audit.core import (
    ALL,
    Context,
    Curve,
    Evidence,
    Floats,
    Interval,
    Ints,
    Measure,
    Model,
    NotApplicable,
    Subject,
    UsageError,
)
from audit.data.tabular import Tabular, noisy_columns
from audit.registry import check

_WILSON = "Wilson, a row counted once"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shaken:
    """What noise of one scale did to each row (rows,).

    flips: share of repeats whose decision changed. lost: right before (0 or 1) less share of repeats right after, None
    without labels. moved: largest change of a score over the repeats.
    """

    flips: Floats
    lost: Floats | None
    moved: Floats


@check(
    "robustness.noise",
    title="Decisions under noise in the inputs",
    needs={"model", "rows"},
    sources=("hendrycks2019", "wilson1927", "newcombe1998", "kish1965"),
)
def noise(
    subject: Subject,
    context: Context,
    *,
    scales: Sequence[float] = (0.05, 0.1, 0.25, 0.5),
    scale: float = 0.1,
    rows: int = 2000,
    repeats: int = 3,
) -> Iterator[Evidence]:
    """How often would the decision have been another one had the inputs been measured with a small error?

    Gaussian noise in units of each numeric feature's standard deviation is added to sampled rows, the same draws at
    every scale; the flip rate is the share of decisions that change, averaged over the repeats. Categories, and
    numeric features with two values, stay as they are. Intervals count each row once, however often it was repeated.
    The measures without a scale, and those by group, are at `scale`.

    The numbers say nothing about errors that are not small, independent and Gaussian, nor about an adversary who
    looks for the worst one. Noise can leave the range of real values, where a model has never been tested.
    """
    model, inputs = _tabular(subject)
    if rows < 1 or repeats < 1:
        raise UsageError(f"rows and repeats: at least 1 each, got {rows} and {repeats}")
    ladder = sorted({float(step) for step in (*scales, scale)})
    if not all(np.isfinite(ladder)) or ladder[0] < 0:
        raise UsageError(f"scales: finite multiples of a standard deviation, 0 or more, got {ladder}")
    chosen = np.sort(context.rng.choice(len(subject), size=min(rows, len(subject)), replace=False))
    spread = noisy_columns(inputs)
    if not (spread > 0).any():
        raise NotApplicable("no numeric feature with more than two values: there is nothing to add noise to")
    draws = context.rng.standard_normal((repeats, len(chosen), inputs.values.shape[1])) * spread
    found = {step: _shake(subject, model, inputs, chosen, draws * step) for step in context.track(ladder, "noise")}
    weights = np.ones(len(chosen)) if subject.data.weights is None else subject.data.weights[chosen]
    kept = sum(spread == 0)
    note = f"{repeats} repeats; noise on {len(spread) - kept} of {len(spread)} features, categories and two-valued ones left alone"
    for step, shaken in found.items():
        told = f"noise of {step:g} standard deviations; {note}"
        yield from _measures(shaken, weights, context.confidence, {"scale": f"{step:g}"}, told)
    here = f"noise of {scale:g} standard deviations; {note}"
    yield from _measures(found[float(scale)], weights, context.confidence, {}, here)
    yield from flips_by_group(subject, chosen, found[float(scale)].flips, weights, context.confidence, {}, here)
    yield _curve(found, weights, context.confidence, note)


def _tabular(subject: Subject) -> tuple[Model, Tabular]:
    if subject.model is None or not isinstance(subject.data.inputs, Tabular):
        raise NotApplicable("noise is added to tabular inputs of a model that answers new ones")
    if subject.score is None:
        raise NotApplicable("the model's output is a number and no score of the label: noise turns no decision of it")
    return subject.model, subject.data.inputs


def decide(scores: Floats, threshold: float) -> Ints:
    """The class (n,) that scores (n,) or (n, k) stand for."""
    if scores.ndim == 2:
        return np.asarray(scores.argmax(axis=1), dtype=np.int64)
    return (scores >= threshold).astype(np.int64)


def _shake(subject: Subject, model: Model, inputs: Tabular, chosen: Ints, draws: Floats) -> Shaken:
    """The model's answers on the chosen rows before and after noise `draws` (repeats, rows, columns)."""
    still = inputs.take(chosen)
    before = model.predict(still)
    first = decide(before, subject.threshold)
    truth = None if subject.y is None else subject.y[chosen]
    flips, lost, moved = np.zeros(len(chosen)), np.zeros(len(chosen)), np.zeros(len(chosen))
    for draw in draws:
        after = model.predict(still.with_values(still.values + draw))
        second = decide(after, subject.threshold)
        flips += first != second
        moved = np.maximum(moved, np.abs(after - before).reshape(len(chosen), -1).max(axis=1))
        if truth is not None:
            lost += (first == truth).astype(np.int64) - (second == truth).astype(np.int64)
    return Shaken(flips=flips / len(draws), lost=None if truth is None else lost / len(draws), moved=moved)


def _measures(shaken: Shaken, weights: Floats, level: float, where: dict[str, str], note: str) -> Iterator[Measure]:
    yield flip_rate(shaken.flips, weights, level, where, note)
    yield Measure(
        name="max_score_change", value=float(shaken.moved.max()), n=len(weights), where=where, better="lower", note=note
    )
    if shaken.lost is None:
        reason = f"needs labels, and there are none; {note}"
        yield Measure(name="accuracy_drop", value=None, unit="difference", where=where, better="lower", note=reason)
        return
    value, interval = _drop(shaken, weights, level)
    yield Measure(
        name="accuracy_drop",
        value=value,
        unit="difference",
        n=len(weights),
        interval=interval,
        where=where,
        better="lower",
        note=note,
    )


def flip_rate(flips: Floats, weights: Floats, level: float, where: Mapping[str, str], note: str) -> Measure:
    """The share of decisions that turned: flips, weights (k,), with Wilson's interval on the effective number of rows."""
    count = float(stats.effective_n(weights)) if len(weights) else 0.0
    if count == 0:
        return Measure(
            name="flip_rate", value=None, unit="proportion", n=0, where=where, better="lower", note=f"no row; {note}"
        )
    value = float(np.average(flips, weights=weights))
    low, high = _wilson(value, count, level)
    return Measure(
        name="flip_rate",
        value=value,
        unit="proportion",
        n=len(flips),
        interval=Interval(low=low, high=high, level=level, method=_WILSON),
        where=where,
        better="lower",
        note=note,
    )


def _wilson(share: float, count: float, level: float) -> tuple[float, float]:
    """Bounds of a mean of shares in [0, 1]: never narrower than if each row were flipped or not, once."""
    low, high = stats.wilson(share * count, count, level)
    return min(float(low), share), max(float(high), share)


def _drop(shaken: Shaken, weights: Floats, level: float) -> tuple[float | None, Interval | None]:
    """Mean loss of accuracy with the t interval of paired differences; where none differs, what flips could hide."""
    assert shaken.lost is not None
    value = float(np.average(shaken.lost, weights=weights))
    low, high = stats.mean_interval(shaken.lost, level, weights=weights)
    if not low < high:
        unseen = _wilson(float(np.average(shaken.flips, weights=weights)), float(stats.effective_n(weights)), level)[1]
        low, high = max(value - unseen, -1.0), min(value + unseen, 1.0)
        return value, Interval(low=low, high=high, level=level, method="Wilson bound on the flips")
    return value, Interval(low=low, high=high, level=level, method="t over rows")


def flips_by_group(
    subject: Subject,
    chosen: Ints,
    flips: Floats,
    weights: Floats,
    level: float,
    where: Mapping[str, str],
    note: str,
) -> Iterator[Measure]:
    """The rate in every group and its largest difference; flips, weights (k,) of chosen rows (k,); where: added to each."""
    for attributes in subject.slices:
        each = [subject.groups[name] for name in attributes]
        rates, counts = [], []
        for place in np.ndindex(*(len(codes.levels) for codes in each)):
            inside: NDArray[np.bool_] = np.ones(len(chosen), dtype=bool)
            for codes, index in zip(each, place, strict=True):
                inside &= codes.values[chosen] == index
            group = {name: codes.levels[i] for name, codes, i in zip(attributes, each, place, strict=True)}
            rates.append(flip_rate(flips[inside], weights[inside], level, {**where, **group}, note))
            counts.append(float(stats.effective_n(weights[inside])))
            yield rates[-1]
        yield _gap(rates, counts, level, {**where, **dict.fromkeys(attributes, ALL)}, note)


def _gap(rates: list[Measure], counts: list[float], level: float, where: dict[str, str], note: str) -> Measure:
    """The largest difference of flip rates among the groups that have rows."""
    there = [(rate.value, count) for rate, count in zip(rates, counts, strict=True) if rate.value is not None]
    size = sum(rate.n or 0 for rate in rates)
    if len(there) < 2:
        reason = f"needs two groups with rows; {note}"
        return Measure(
            name="flip_rate_difference", value=None, unit="difference", n=size, where=where, better="zero", note=reason
        )
    values, sizes = np.array(there).T
    low, high = stats.gap_interval(values * sizes, sizes, level)
    value = float(values.max() - values.min())
    return Measure(
        name="flip_rate_difference",
        value=value,
        unit="difference",
        n=size,
        interval=Interval(low=min(low, value), high=max(high, value), level=level, method="Newcombe, all pairs"),
        where=where,
        better="zero",
        note=note,
    )


def _curve(found: dict[float, Shaken], weights: Floats, level: float, note: str) -> Curve:
    rates = [flip_rate(shaken.flips, weights, level, {}, note) for shaken in found.values()]
    bounds = [rate.interval for rate in rates]
    return Curve(
        name="flip_rate_by_scale",
        x=tuple(found),
        y=tuple(rate.value for rate in rates),
        low=tuple(None if bound is None else bound.low for bound in bounds),
        high=tuple(None if bound is None else bound.high for bound in bounds),
        x_label="noise, in standard deviations of each feature",
        y_label="share of decisions that change",
        unit="proportion",
        n=len(weights),
        note=note,
    )
