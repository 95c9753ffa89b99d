"""Who stands where in a ranking by score: exposure, skew at the top, and divergence along the whole list.

Ties are not broken: people with equal scores share their places, and every count is the one expected over all orders of
the tied. So the order of rows changes nothing, and nothing is left to chance.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from audit import stats
from audit.core import Context, Evidence, Floats, Interval, Ints, Measure, Subject
from audit.fairness import parts
from audit.fairness.measures import bounded, measured
from audit.fairness.parts import Kind, Number, Rows
from audit.fairness.scores import one_score
from audit.registry import check

STEP = 10  # places between the points at which rND and its like look
CURVES = ("rnd", "rkl")
KINDS = {"exposure": Kind("", "none", "t, places taken as given", "there is no case")}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _List:
    """A ranking with ties: people (b + 1,) down to the end of each block of equal scores, and each row's block (n,)."""

    ends: Ints
    block: Ints

    def counts(self, inside: Ints) -> Floats:
        """People of a group (b + 1,) down to the end of each block."""
        found = np.bincount(self.block[inside], minlength=len(self.ends) - 1)
        return np.concatenate([[0.0], np.cumsum(found)])

    def reached(self, inside: Ints, at: Ints) -> Floats:
        """The expected number of people of a group in the first `at` (k,) places."""
        return np.interp(at, self.ends, self.counts(inside))

    def shared(self, places: Floats) -> Floats:
        """The mean of what the places (n,) give, over the block of each row (n,)."""
        total = np.concatenate([[0.0], np.cumsum(places)])[self.ends]
        return (np.diff(total) / np.diff(self.ends))[self.block]


def _ranked(score: Floats) -> _List:
    _, block, sizes = np.unique(-score, return_inverse=True, return_counts=True)
    return _List(ends=np.concatenate([[0], np.cumsum(sizes)]), block=block)


# ----------------------------------------------------------------------------------------------- over arrays
def exposure(y_score: ArrayLike, *, sensitive_features: Any) -> Floats:
    """Mean exposure (g,) of every group, a place i giving 1 / log2(i + 1); NaN for an empty group (singh2018)."""
    rows, score = _read(y_score, sensitive_features)
    return _means(rows, _ranked(score).shared(_discount(len(score))))


def attention(y_score: ArrayLike, *, sensitive_features: Any, stop: float = 0.1) -> tuple[Floats, Floats]:
    """The share of all attention (g,) that every group receives, and its share of people (sapiezynski2019).

    A reader goes down the list and stops at each place with the chance `stop`.
    """
    rows, score = _read(y_score, sensitive_features)
    return _attention(rows, _ranked(score), stop)


def skew(y_score: ArrayLike, k: int, *, sensitive_features: Any) -> Floats:
    """The logarithm (g,) of each group's share in the first k places over its share of all people (geyik2019).

    Minus infinity for a group with nobody there, NaN for an empty group. k is at most n.
    """
    rows, score = _read(y_score, sensitive_features)
    return _skew(rows, _ranked(score), k)[0]


def ndkl(y_score: ArrayLike, *, sensitive_features: Any) -> float:
    """Divergence of the groups' shares in the first i places from those of all people, over all i (geyik2019).

    The mean of the Kullback-Leibler divergences with weights 1 / log2(i + 1); 0 where every start of the list is a
    picture of the whole. NaN without people of known groups.
    """
    rows, score = _read(y_score, sensitive_features)
    return _ndkl(_ranked(score), rows.members)


def rank_divergence(y_score: ArrayLike, protected: ArrayLike, kind: Literal["rnd", "rkl", "rrd"] = "rnd") -> float:
    """RND, rKL or rRD of one group, given as a mask (n,), against the rest: 0 fair, 1 most unfair (yang2017).

    The difference, divergence or ratio of shares in the first 10, 20, ... places to those of all, with weights
    1 / log2(i), over that of the worse of the two lists that put the group first or last. NaN for lists under 10, for
    an empty group, and for rRD of a group of more than half. rRD, whose ratios over 0 are published as 0, passes 1
    where a group of ten or more nearly fills the first places, and so the check leaves it out.
    """
    inside = np.flatnonzero(np.asarray(protected))
    return _divergence(_ranked(parts.column(y_score, "y_score")), inside, kind)


def _read(y_score: ArrayLike, sensitive_features: Any) -> tuple[Rows, Floats]:
    rows = parts.rows_by_group(sensitive_features)
    return rows, parts.column(y_score, "y_score", len(rows.code))


def _discount(n: int) -> Floats:
    return np.asarray(1.0 / np.log2(np.arange(2, n + 2)))


def _means(rows: Rows, each: Floats) -> Floats:
    total = np.bincount(rows.code, weights=each, minlength=len(rows.groups) + 1)[:-1]
    return stats.divide(total, _sizes(rows))


def _sizes(rows: Rows) -> Floats:
    """Rows (g,) of each group: a ranking is of people, not of weights."""
    return np.array([len(inside) for inside in rows.members], dtype=np.float64)


def _attention(rows: Rows, ranked: _List, stop: float) -> tuple[Floats, Floats]:
    n = len(rows.code)
    each = ranked.shared(np.asarray(stop * (1.0 - stop) ** np.arange(n), dtype=np.float64))
    total = np.bincount(rows.code, weights=each, minlength=len(rows.groups) + 1)[:-1]
    sizes = _sizes(rows)
    return stats.divide(total, total.sum()), stats.divide(sizes, sizes.sum())


def _skew(rows: Rows, ranked: _List, k: int) -> tuple[Floats, Floats, Floats]:
    """Skew, expected people in the first k places and share of all people (g,)."""
    top = np.array([ranked.reached(inside, np.array([k]))[0] for inside in rows.members])
    sizes = _sizes(rows)
    share, whole = stats.divide(top, top.sum()), stats.divide(sizes, sizes.sum())
    ratio = stats.divide(share, whole)
    return np.log(ratio, out=np.where(ratio == 0.0, -np.inf, np.nan), where=ratio > 0.0), top, whole


def _ndkl(ranked: _List, members: Sequence[Ints]) -> float:
    filled = [inside for inside in members if len(inside)]
    if not filled:
        return np.nan
    n = len(ranked.block)
    seen, found = (_untied if len(ranked.ends) == n + 1 else _tied)(ranked, filled)
    weight = np.where(seen > 0.0, _discount(n), 0.0)
    return max(0.0, float(weight @ found) / float(weight.sum()))


def _untied(ranked: _List, members: Sequence[Ints]) -> tuple[Floats, Floats]:
    """People of known groups (n,) in the first i places, and the divergence there.

    With c people of each group, m in all, the divergence is (sum of c log c - c log whole) / m - log m, and each place
    adds to one c only: the time does not depend on the number of groups.
    """
    n, sizes = len(ranked.block), np.array([len(inside) for inside in members])
    place, group = ranked.block[np.concatenate(members)], np.repeat(np.arange(len(sizes)), sizes)
    ordered = np.sort(group * n + place)  # by group, then by place
    c = np.arange(len(ordered)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    more = (c + 1.0) * np.log(c + 1.0) - c * np.log(np.maximum(c, 1.0)) - np.log(sizes / sizes.sum())[ordered // n]
    seen = np.cumsum(np.bincount(place, minlength=n)).astype(np.float64)
    total = np.cumsum(np.bincount(ordered % n, weights=more, minlength=n))
    return seen, stats.divide(total, seen, 0.0) - np.log(np.maximum(seen, 1.0))


def _tied(ranked: _List, members: Sequence[Ints]) -> tuple[Floats, Floats]:
    """The same where people share places, group by group."""
    at, known = np.arange(1, len(ranked.block) + 1), sum(map(len, members))
    seen, found = ranked.reached(np.concatenate(members), at), np.zeros(len(at))
    for inside in members:
        share = stats.divide(ranked.reached(inside, at), seen, 0.0)
        found += share * np.log(share * (known / len(inside)), out=np.zeros(len(at)), where=share > 0.0)
    return seen, found


def _divergence(ranked: _List, inside: Ints, kind: str) -> float:
    n, size = len(ranked.block), len(inside)
    at = np.arange(STEP, n + 1, STEP)
    if not len(at) or not 0 < size < n or (kind == "rrd" and 2 * size > n):
        return np.nan
    first, last = np.minimum(at, size), np.maximum(at - (n - size), 0)
    values = [
        _distance(kind, top, at, size / n) @ (1.0 / np.log2(at)) for top in (ranked.reached(inside, at), first, last)
    ]
    return float(stats.divide(values[0], max(values[1:])))


def _distance(kind: str, top: Floats | Ints, at: Ints, whole: float) -> Floats:
    """How far the share of a group in the first `at` places lies from its share of all."""
    share = top / at
    if kind == "rnd":
        return np.asarray(np.abs(share - whole))
    if kind == "rrd":
        return np.asarray(np.abs(stats.divide(share, 1.0 - share, 0.0) - whole / (1.0 - whole)))
    total = np.zeros(len(at))
    for p, q in ((share, whole), (1.0 - share, 1.0 - whole)):
        total += p * np.log(p / q, out=np.zeros(len(at)), where=p > 0.0)
    return total


# ----------------------------------------------------------------------------------------------------- the check
@check(
    "fairness.ranking",
    title="Places in the ranking",
    needs={"scores", "groups", "rows"},
    sources=("singh2018", "geyik2019", "yang2017", "sapiezynski2019", "wilson1927", "student1908", "dunn1961"),
)
def ranking(
    subject: Subject, context: Context, *, k: tuple[int, ...] = (10, 100), stop: float = 0.1, replicates: int = 200
) -> Iterator[Evidence]:
    """If people are shown in the order of their scores, does every group get its share of the places that are seen?

    People are ranked by descending score; those with equal scores share their places in expectation. exposure is the
    mean of 1 / log2(place + 1) over a group (t interval, places taken as given), exposure_ratio the smallest over the
    largest. attention_share is what a group receives from readers who stop at each place with the chance `stop`, and
    attention_difference (over all groups) half the sum of its absolute differences to the shares of people. skew@k is
    the logarithm of a group's share in the first k places over its share of all people (Wilson's interval for the share
    at the top), min_skew@k and max_skew@k the extremes. ndkl is the mean divergence of the first i places from all
    people, for every i; ndkl_expected_by_chance is its mean over `replicates` random orders of the groups, with the range
    that they fill, and ndkl_p_value the share of them that reach it. rnd and rkl compare a group with all others in
    the first 10, 20, ... places and are divided by the most unfair list: 0 is fair, 1 the worst.

    The target is each group's share of the people ranked, which is only fair if these are the people who should be
    ranked. Whether a group's people are as suitable is not asked. Survey weights are not used. ndkl is never quite 0.
    """
    score = one_score(subject)
    ranked = _ranked(score)
    for attributes in context.track(subject.slices, "ranking by group"):
        rows = parts.rows_of(subject, attributes)
        yield from _exposures(rows, ranked, context.confidence)
        yield from _attentions(rows, ranked, stop)
        for places in k:
            yield from _skews(rows, ranked, int(places), context.confidence)
        yield from _lists(rows, ranked, context, replicates)
        yield from _rank_divergences(rows, ranked)


def _exposures(rows: Rows, ranked: _List, level: float) -> Iterator[Measure]:
    each = ranked.shared(_discount(len(rows.code)))

    def measure(inside: Ints, level: float) -> list[Number]:
        return [parts.mean_number(each[inside], np.ones(len(inside)), float(len(inside)), level)]

    yield from parts.figure_measures(rows, parts.figures(rows, ("exposure",), measure, level), KINDS)
    wide = parts.figures(rows, ("exposure",), measure, parts.together(rows, level))
    yield from parts.ratio_measures(rows, wide, ("exposure",), KINDS, level)


def _attentions(rows: Rows, ranked: _List, stop: float) -> Iterator[Measure]:
    found, whole = _attention(rows, ranked, stop)
    sizes = _sizes(rows)
    for group in range(len(rows.groups)):
        yield measured(
            "attention_share",
            found[group] if sizes[group] else np.nan,
            n=int(sizes[group]),
            where=rows.where(group),
            note=f"share of people: {whole[group]:.4g}" if sizes[group] else "",
            why="there is no case",
        )
    yield measured(
        "attention_difference",
        float(np.abs(found - whole).sum() / 2.0) if np.count_nonzero(sizes) > 1 else np.nan,
        n=int(sizes.sum()),
        where=rows.everywhere,
        unit="difference",
        better="zero",
        why="there are fewer than two groups",
    )


def _skews(rows: Rows, ranked: _List, k: int, level: float) -> Iterator[Measure]:
    n, sizes = len(rows.code), _sizes(rows)
    value, top, whole = _skew(rows, ranked, min(k, n))
    short = f"only {n} people are ranked" if k > n else ""
    why = [short or ("nobody of the group is among them" if size else "there is no case") for size in sizes]
    low, high = (stats.divide(side, whole) for side in stats.wilson(top, np.full(len(top), top.sum()), level))
    for group in range(len(rows.groups)):
        yield measured(
            f"skew@{k}",
            np.nan if short else value[group],
            n=int(sizes[group]),
            where=rows.where(group),
            unit="",
            better="zero",
            interval=_logs(low[group], high[group], level),
            note=f"{top[group]:.4g} in the first {k} places" if not short else "",
            why=why[group],
        )
    there = value[~np.isnan(value)]
    for name, extreme in (("min_skew", np.min), ("max_skew", np.max)):
        undefined = short or len(there) < 2
        yield measured(
            f"{name}@{k}",
            np.nan if undefined else float(extreme(there)),
            n=int(sizes.sum()),
            where=rows.everywhere,
            unit="",
            better="zero",
            note="" if undefined else f"in {rows.label(int(np.flatnonzero(value == extreme(there))[0]))}",
            why=short or ("there are fewer than two groups" if len(there) < 2 else "a group has nobody among them"),
        )


def _logs(low: float, high: float, level: float) -> Interval | None:
    if not (low > 0.0 and high > 0.0):
        return None
    return bounded((np.log(low), np.log(high)), level, "Wilson")


def _lists(rows: Rows, ranked: _List, context: Context, replicates: int) -> Iterator[Measure]:
    """The divergence along the list against random orders of the groups."""
    sizes = _sizes(rows).astype(np.int64)
    facts: dict[str, Any] = {
        "n": int(sizes.sum()),
        "where": rows.everywhere,
        "unit": "",
        "why": "there are fewer than two groups",
    }
    if np.count_nonzero(sizes) < 2:
        for name in ("ndkl", "ndkl_expected_by_chance", "ndkl_p_value"):
            yield measured(name, np.nan, **facts)
        return
    value, edges = _ndkl(ranked, rows.members), np.cumsum(sizes)[:-1]
    known = np.concatenate(rows.members)
    places = known[np.argsort(ranked.block[known], kind="stable")]  # a draw then does not depend on the order of rows
    turns = context.track(range(replicates), "random orders")
    drawn = np.array([_ndkl(ranked, np.split(context.rng.permutation(places), edges)) for _ in turns])
    low, high = stats.percentile_interval(drawn, context.confidence)
    yield measured("ndkl", value, better="zero", **facts)
    if replicates:
        chance = bounded((low, high), context.confidence, f"permutation, {replicates} orders")
        yield measured("ndkl_expected_by_chance", float(drawn.mean()), interval=chance, **facts)
        p = (1.0 + np.count_nonzero(drawn >= value - 1e-12)) / (1.0 + replicates)
        yield measured("ndkl_p_value", float(p), **facts)


def _rank_divergences(rows: Rows, ranked: _List) -> Iterator[Measure]:
    for group, inside in enumerate(rows.members):
        for name in CURVES:
            yield measured(
                name,
                _divergence(ranked, inside, name),
                n=len(inside),
                where=rows.where(group),
                unit="",
                better="zero",
                why="it needs ten people, some in the group and some outside",
            )
