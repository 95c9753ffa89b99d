"""Groups compared within strata: one common odds ratio or difference, whether it is common, and Simpson's reversal."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from audit import stats
from audit.core import ALL, Cell, Context, DataError, Evidence, Floats, Interval, Ints, Measure, Subject, Table
from audit.fairness.counts import Counts
from audit.fairness.measures import NAMED, bounded, measured
from audit.fairness.rates import RATES
from audit.fairness.slices import counts_of, reference, require_binary, slice_of
from audit.registry import check


@dataclass(frozen=True, slots=True, kw_only=True)
class MantelHaenszel:
    """A common comparison of two groups over strata; NaN where undefined.

    odds_ratio and risk_difference, each with its interval. chi2, p: the test of no difference in any stratum;
    chi2_corrected, p_corrected: the same with the continuity correction. strata: how many hold both groups.
    """

    odds_ratio: float
    odds_ratio_interval: tuple[float, float]
    risk_difference: float
    risk_difference_interval: tuple[float, float]
    chi2: float
    p: float
    chi2_corrected: float
    p_corrected: float
    strata: int


def mantel_haenszel(k1: ArrayLike, n1: ArrayLike, k2: ArrayLike, n2: ArrayLike, level: float = 0.95) -> MantelHaenszel:
    """Compare k1 of n1 with k2 of n2 within strata, all (strata,), and pool the comparison (mantel1959).

    The interval of the odds ratio is that of robins1986, of the risk difference that of sato1989, the test is that of
    Cochran, Mantel and Haenszel. Strata without one of the groups say nothing and are left out.
    """
    a, n1, c, n2 = _both(k1, n1, k2, n2)
    b, d, n = n1 - a, n2 - c, n1 + n2
    r, s = a * d / n, b * c / n
    ratio = float(stats.divide(r.sum(), s.sum()))
    weight = n1 * n2 / n
    difference = float(stats.divide((weight * (a / n1 - c / n2)).sum(), weight.sum()))
    chi2, p, corrected, p_corrected = _cochran(a, a + c, n1, n)
    z = stats.z_quantile(level)
    half = z * _robins(a, b, c, d, n) ** 0.5
    variance = _sato(a, n1, c, n2, difference) if len(n) else 0.0
    step = z * variance**0.5 if variance > 0.0 else np.nan  # no variance seen is no certainty
    with np.errstate(invalid="ignore", divide="ignore"):
        bounds = np.exp(np.log(ratio) + np.array([-half, half]))
    return MantelHaenszel(
        odds_ratio=ratio,
        odds_ratio_interval=(float(bounds[0]), float(bounds[1])),
        risk_difference=difference,
        risk_difference_interval=(
            float(np.maximum(-1.0, difference - step)),
            float(np.minimum(1.0, difference + step)),
        ),
        chi2=chi2,
        p=p,
        chi2_corrected=corrected,
        p_corrected=p_corrected,
        strata=len(n),
    )


def _both(*columns: ArrayLike) -> tuple[Floats, ...]:
    """The strata that hold both groups; raises DataError for columns that do not belong together."""
    k1, n1, k2, n2 = (np.atleast_1d(np.asarray(column, dtype=np.float64)) for column in columns)
    if len({column.shape for column in (k1, n1, k2, n2)}) != 1 or k1.ndim != 1:
        raise DataError(f"allowed are four columns (strata,), got the shapes {[np.shape(c) for c in columns]}")
    if (k1 < 0).any() or (k2 < 0).any() or (k1 > n1).any() or (k2 > n2).any():
        raise DataError("k1 and k2: allowed are counts from 0 to n1 and n2, got others")
    there = (n1 > 0) & (n2 > 0)
    return tuple(column[there] for column in (k1, n1, k2, n2))


def _cochran(a: Floats, hits: Floats, n1: Floats, n: Floats) -> tuple[float, float, float, float]:
    """Statistic and p value without and with the continuity correction."""
    from scipy.stats import chi2

    excess = abs(float((a - n1 * hits / n).sum()))
    spread = float(stats.divide(n1 * (n - n1) * hits * (n - hits), n**2 * (n - 1.0), 0.0).sum())
    plain = float(stats.divide(excess**2, spread))
    corrected = float(stats.divide(max(excess - 0.5, 0.0) ** 2, spread))
    return plain, float(chi2.sf(plain, 1)), corrected, float(chi2.sf(corrected, 1))


def _robins(a: Floats, b: Floats, c: Floats, d: Floats, n: Floats) -> float:
    """Variance of the logarithm of the common odds ratio."""
    p, q, r, s = (a + d) / n, (b + c) / n, a * d / n, b * c / n
    parts = (
        stats.divide((p * r).sum(), 2.0 * r.sum() ** 2),
        stats.divide((p * s + q * r).sum(), 2.0 * r.sum() * s.sum()),
        stats.divide((q * s).sum(), 2.0 * s.sum() ** 2),
    )
    return float(sum(parts))


def _sato(a: Floats, n1: Floats, c: Floats, n2: Floats, difference: float) -> float:
    """Variance of the common risk difference."""
    n = n1 + n2
    p = (n1**2 * c - n2**2 * a + n1 * n2 * (n2 - n1) / 2.0) / n**2
    q = (a * (n2 - c) + c * (n1 - a)) / (2.0 * n)
    return float(stats.divide(difference * p.sum() + q.sum(), (n1 * n2 / n).sum() ** 2))


@dataclass(frozen=True, slots=True, kw_only=True)
class BreslowDay:
    """The test that the odds ratio is the same in every stratum, as published and with Tarone's correction."""

    chi2: float
    p: float
    tarone_chi2: float
    tarone_p: float
    df: int


def breslow_day(k1: ArrayLike, n1: ArrayLike, k2: ArrayLike, n2: ArrayLike) -> BreslowDay:
    """Is the odds ratio of k1 of n1 against k2 of n2 the same in all strata (strata,)? (breslow1980, tarone1985).

    Strata in which nobody or everybody was counted say nothing and are left out; NaN below two others.
    """
    from scipy.stats import chi2 as law

    a, n1, c, n2 = _both(k1, n1, k2, n2)
    ratio = mantel_haenszel(a, n1, c, n2).odds_ratio
    told = (a + c > 0) & (a + c < n1 + n2)
    a, n1, hits, n = a[told], n1[told], (a + c)[told], (n1 + n2)[told]
    df = len(n) - 1
    if df < 1 or not 0.0 < ratio < np.inf:
        return BreslowDay(chi2=np.nan, p=np.nan, tarone_chi2=np.nan, tarone_p=np.nan, df=max(df, 0))
    expected = _expected(ratio, n1, hits, n)
    variance = 1.0 / (1 / expected + 1 / (hits - expected) + 1 / (n1 - expected) + 1 / (n - n1 - hits + expected))
    chi2 = float(((a - expected) ** 2 / variance).sum())
    tarone = chi2 - float((a - expected).sum()) ** 2 / float(variance.sum())
    return BreslowDay(
        chi2=chi2, p=float(law.sf(chi2, df)), tarone_chi2=tarone, tarone_p=float(law.sf(tarone, df)), df=df
    )


def _expected(ratio: float, n1: Floats, hits: Floats, n: Floats) -> Floats:
    """The number of hits in group 1 at which each stratum with these margins has the common odds ratio."""
    if abs(ratio - 1.0) < 1e-9:
        return n1 * hits / n
    # e (n2 - hits + e) = ratio (n1 - e)(hits - e), of whose two roots one lies inside the margins
    x = ratio - 1.0
    half = -(n - n1 - hits + ratio * (n1 + hits)) / 2.0
    inside = np.sqrt(half**2 - x * ratio * n1 * hits)
    return np.asarray(ratio * n1 * hits / (-half + inside))


def standardised_difference(
    k1: ArrayLike, n1: ArrayLike, k2: ArrayLike, n2: ArrayLike, level: float = 0.95
) -> tuple[float, float, float]:
    """k1/n1 - k2/n2 within each stratum (strata,), averaged over everyone: difference, low, high (miettinen1972).

    Each stratum weighs as many people as it holds of both groups; the variance of each rate takes (k+1/2)/(n+1).
    """
    a, n1, c, n2 = _both(k1, n1, k2, n2)
    weight = stats.divide(n1 + n2, (n1 + n2).sum())
    value = float((weight * (a / n1 - c / n2)).sum()) if len(weight) else np.nan
    p, q = (a + 0.5) / (n1 + 1.0), (c + 0.5) / (n2 + 1.0)
    spread = float((weight**2 * (p * (1 - p) / n1 + q * (1 - q) / n2)).sum()) ** 0.5
    half = stats.z_quantile(level) * spread
    return value, max(-1.0, value - half), min(1.0, value + half)


@dataclass(frozen=True, slots=True, kw_only=True)
class Simpson:
    """The difference of two groups overall and within strata.

    aggregate: over everybody; adjusted: averaged over the strata (standardised). agree, against: strata whose
    difference has the sign of the aggregate one, or the opposite sign. reversed: aggregate and adjusted have opposite
    signs.
    """

    aggregate: float
    adjusted: float
    agree: tuple[int, ...]
    against: tuple[int, ...]
    reversed: bool

    @property
    def word(self) -> str:
        """What it is called: "reversal", "reversal in every stratum", "mixed" or "none"."""
        if np.isnan(self.aggregate) or np.isnan(self.adjusted):
            return "undefined"
        if self.reversed:
            return "reversal" if self.agree else "reversal in every stratum"
        return "mixed" if self.against else "none"


def simpson(k1: ArrayLike, n1: ArrayLike, k2: ArrayLike, n2: ArrayLike) -> Simpson:
    """Does the difference k1/n1 - k2/n2 turn round within strata, all (strata,)? (simpson1951, bickel1975)."""
    k, n, k0, n0 = (np.atleast_1d(np.asarray(column, dtype=np.float64)) for column in (k1, n1, k2, n2))
    aggregate = float(stats.divide(k.sum(), n.sum()) - stats.divide(k0.sum(), n0.sum()))
    within = stats.divide(k, n) - stats.divide(k0, n0)
    adjusted = standardised_difference(k, n, k0, n0)[0]
    side = np.sign(within) * np.sign(aggregate)
    return Simpson(
        aggregate=aggregate,
        adjusted=adjusted,
        agree=tuple(np.flatnonzero(side > 0).tolist()),
        against=tuple(np.flatnonzero(side < 0).tolist()),
        reversed=bool(aggregate * adjusted < 0),
    )


# ----------------------------------------------------------------------------------------------------- check
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Pair:
    """One group against its reference within the strata: hits and denominators (strata,), effective where weighted.

    people (strata,): how many both groups have in the denominator.
    """

    k1: Floats
    n1: Floats
    k2: Floats
    n2: Floats
    people: Ints
    where: Mapping[str, str]
    stratified: tuple[str, ...]
    strata: tuple[tuple[str, ...], ...]
    note: str

    @property
    def columns(self) -> tuple[Floats, Floats, Floats, Floats]:
        return self.k1, self.n1, self.k2, self.n2

    @property
    def everywhere(self) -> Mapping[str, str]:
        """All strata at once."""
        return {**dict.fromkeys(self.stratified, ALL), **self.where}


@check(
    "fairness.strata",
    title="Groups compared within strata",
    needs={"decisions", "groups", "strata"},
    sources=(
        *("mantel1959", "robins1986", "sato1989", "breslow1980", "tarone1985", "miettinen1972", "simpson1951"),
        *("bickel1975", "newcombe1998"),
    ),
)
def strata(subject: Subject, context: Context, *, rate: str = "selection_rate") -> Iterator[Evidence]:
    """Does a gap between groups remain, vanish or turn round when like is compared with like, stratum by stratum?

    Each group is compared with the reference group within the strata of each stratum column, and of all together where
    there are several. mantel_haenszel_odds_ratio and mantel_haenszel_difference pool the strata into one common odds
    ratio (Robins, Breslow and Greenland's interval) and difference (Sato's); cmh_p tests that there is no difference in
    any stratum, and breslow_day_p (with Tarone's correction) that the odds ratio is the same in all of them.
    standardised_difference weighs each stratum by its people. The table names Simpson's reversals: the difference
    over everybody has one sign, and the standardised one the other. `rate` is any rate of decisions and labels.

    A stratum explains a gap only if belonging to it is itself fair: where one group is steered into a department with
    few places, comparing within departments hides that. A common odds ratio says little where breslow_day_p is small. A
    reversal of signs is not a proof: see whether the interval of the standardised difference holds 0. Strata in which a
    group is missing say nothing, and are left out.
    """
    require_binary(subject)
    _require_rate(subject, rate)
    level = context.confidence
    reversals: list[tuple[Cell, ...]] = []
    for pair in _pairs(subject, context, rate):
        yield from _pooled(pair, level)
        yield from _each(pair, rate, level)
        reversals.append(_reversal(pair, level))
    yield Table(
        name="reversals",
        title="Gaps overall and within strata",
        columns=(
            *("attribute", "group", "reference", "strata", "n", "difference overall", "standardised difference"),
            *("low", "high", "strata of the same sign", "strata of the opposite sign", "Simpson's reversal"),
        ),
        rows=tuple(reversals),
    )


def _require_rate(subject: Subject, rate: str) -> None:
    from audit.fairness.rates import defined

    allowed = defined(subject.y is not None, subject.decision is not None)
    if rate not in allowed:
        raise DataError(f"fairness.strata: rate: allowed are {list(allowed)}, got {rate!r}")


def _pairs(subject: Subject, context: Context, rate: str) -> Iterator[_Pair]:
    names = tuple(subject.data.strata)
    stratifications = [(name,) for name in names] + ([names] if len(names) > 1 else [])
    for attributes in subject.slices:
        part = slice_of(subject, context, attributes)
        base = reference(subject, part, rate)
        for stratified in stratifications if base is not None else ():
            counts = counts_of(subject, context, (*stratified, *attributes))
            k, n, people = hits(counts, rate, len(part.counts.groups))
            for group in range(len(part.counts.groups)):
                if group == base or not n[:, group].any():
                    continue
                weighted = "weighted; " if counts.weight is not None else ""
                yield _Pair(
                    k1=k[:, group],
                    n1=n[:, group],
                    k2=k[:, base],
                    n2=n[:, base],
                    people=people[:, group] + people[:, base],
                    where=part.where(group),
                    stratified=stratified,
                    strata=tuple(itertools.product(*counts.levels[: len(stratified)])),
                    note=f"{weighted}reference: {part.label(base or 0)}",
                )


def hits(counts: Counts, rate: str, groups: int) -> tuple[Floats, Floats, Ints]:
    """Hits, denominators (effective where weighted) and people (strata, groups) of a rate."""
    top, bottom = np.array(RATES[rate].top), np.array(RATES[rate].bottom)
    cells = counts.cells(counts.effective).reshape(-1, groups, 4)
    people = counts.cells().reshape(-1, groups, 4) @ bottom
    return (cells @ top).astype(np.float64), (cells @ bottom).astype(np.float64), people


def _pooled(pair: _Pair, level: float) -> Iterator[Measure]:
    found, equal = mantel_haenszel(*pair.columns, level), breslow_day(*pair.columns)
    value, low, high = standardised_difference(*pair.columns, level)

    def told(name: str, value: float, unit: str, better: Any, interval: Interval | None = None) -> Measure:
        note = f"{pair.note}; {found.strata} of {len(pair.strata)} strata hold both groups"
        why = "no stratum holds both groups with some, but not all, selected"
        return measured(
            name,
            value,
            n=pair.people.sum(),
            where=pair.everywhere,
            unit=unit,
            better=better,
            interval=interval,
            note=note,
            why=why,
        )

    odds = bounded(found.odds_ratio_interval, level, "Robins-Breslow-Greenland")
    risk = bounded(found.risk_difference_interval, level, "Sato")
    yield told("mantel_haenszel_odds_ratio", found.odds_ratio, "ratio", "one", odds)
    yield told("mantel_haenszel_difference", found.risk_difference, "difference", "zero", risk)
    yield told("cmh_p", found.p, "", "none")
    yield told("breslow_day_p", equal.tarone_p, "", "none")
    yield told("standardised_difference", value, "difference", "zero", bounded((low, high), level, "normal"))


def _each(pair: _Pair, rate: str, level: float) -> Iterator[Measure]:
    """The difference within each stratum that holds both groups."""
    low, high = stats.newcombe(*pair.columns, level)
    value = stats.divide(pair.k1, pair.n1) - stats.divide(pair.k2, pair.n2)
    for index in np.flatnonzero(~np.isnan(value)):
        yield measured(
            f"{rate}_difference",
            value[index],
            n=pair.people[index],
            where={**dict(zip(pair.stratified, pair.strata[index], strict=True)), **pair.where},
            unit="difference",
            better="zero",
            interval=bounded((low[index], high[index]), level, "Newcombe"),
            note=pair.note,
        )


def _reversal(pair: _Pair, level: float) -> tuple[Cell, ...]:
    found = simpson(*pair.columns)
    value, low, high = standardised_difference(*pair.columns, level)
    cells = [None if np.isnan(number) else number for number in (found.aggregate, value, low, high)]
    word = found.word
    if found.reversed and low <= 0.0 <= high:
        word = f"{word} of signs, though the difference within strata may be 0"
    return (
        " × ".join(pair.where),
        " × ".join(pair.where.values()),
        pair.note.removeprefix("weighted; ").removeprefix("reference: "),
        " × ".join(pair.stratified),
        int(pair.people.sum()),
        *cells,
        _named(pair, found.agree),
        _named(pair, found.against),
        word,
    )


def _named(pair: _Pair, places: Sequence[int]) -> str:
    """How many strata, and the names of the first."""
    names = ", ".join(" × ".join(pair.strata[place]) for place in places[:NAMED])
    more = f" and {len(places) - NAMED} more" if len(places) > NAMED else ""
    return f"{len(places)}: {names}{more}" if places else "0"
