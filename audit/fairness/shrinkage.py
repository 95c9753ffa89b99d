"""Rates of small groups: each is drawn towards the others as far as its own people do not speak against it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from audit import stats
from audit.core import Cell, Context, DataError, Evidence, Floats, Measure, Subject, Table
from audit.fairness.measures import bounded, measured
from audit.fairness.rates import RATES, defined
from audit.fairness.slices import Slice, require_binary, slice_of
from audit.registry import check

FEWEST = 3  # groups with cases from which their spread can be learnt
_GRID = 24  # points on each side of the grid over the two parameters
_WIDEST = 2.0  # of (alpha + beta)^-1/2: beyond, almost every rate would be 0 or 1
_METHOD = "beta-binomial"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shrunken:
    """Rates (g,) as counted and as shrunken, each with its bounds; NaN where undefined.

    mean, strength: of the beta distribution that the groups' rates seem to come from, and how many people it is worth;
    both are averages over all such distributions, as the estimates are.
    """

    raw: Floats
    raw_low: Floats
    raw_high: Floats
    estimate: Floats
    low: Floats
    high: Floats
    mean: float
    strength: float


def shrink(k: ArrayLike, n: ArrayLike, level: float = 0.95) -> Shrunken:
    """Shrink the rates k/n of many groups (g,) towards each other, by a beta-binomial model (efron1975, gelman2013).

    The rates of the groups are taken to come from one beta distribution, which the groups together reveal; a group of few
    people moves far towards its mean, one of many hardly. The two parameters are not plugged in, but integrated over
    (uniform in the mean and in (alpha + beta)^-1/2), so that the intervals allow for not knowing them. A group without
    people gets what is known of all groups. NaN below three groups with cases. Raises DataError.
    """
    hits, size = stats.as_floats(k, n)
    if hits.ndim != 1 or hits.shape != size.shape or (hits < 0.0).any() or (hits > size).any():
        raise DataError("k and n: allowed are two columns (g,) with 0 <= k <= n, got others")
    raw_low, raw_high = stats.wilson(hits, size, level)
    estimate, low, high = (np.full(len(hits), np.nan) for _ in range(3))
    mean = strength = float("nan")
    if (size > 0.0).sum() >= FEWEST:
        centre, spread, chance = _posterior(hits, size)
        mean, strength = float(chance @ centre), 1.0 / float(chance @ spread**2)
        estimate, low, high = _mixture(hits, size, centre, spread, chance, level)
    return Shrunken(
        raw=stats.divide(hits, size),
        raw_low=raw_low,
        raw_high=raw_high,
        estimate=estimate,
        low=low,
        high=high,
        mean=mean,
        strength=strength,
    )


def log_likelihood(k: Floats, n: Floats, mean: Floats, strength: Floats) -> Floats:
    """Beta-binomial log likelihood (m,) of k of n (g,) for means and strengths (m,), without the binomial constants."""
    from scipy.special import betaln

    a, b = mean * strength, (1.0 - mean) * strength
    pairs, times = np.unique(np.stack([k, n]), axis=1, return_counts=True)
    total = np.zeros(len(mean))
    for start in range(0, pairs.shape[1], 512):
        hits, size = pairs[:, start : start + 512, None]
        total += times[start : start + 512] @ (betaln(hits + a, size - hits + b) - betaln(a, b))
    return np.asarray(total)


def _posterior(k: Floats, n: Floats) -> tuple[Floats, Floats, Floats]:
    """Points of mean and of (alpha + beta)^-1/2 (m,), and their posterior probabilities, on a grid that zooms in."""
    sides = [(1e-4, 1.0 - 1e-4), (1e-3, _WIDEST)]
    for _ in range(4):
        centre, spread = (axis.ravel() for axis in np.meshgrid(*(_midpoints(*side) for side in sides), indexing="ij"))
        logarithm = log_likelihood(k, n, centre, spread**-2.0)
        chance = np.exp(logarithm - logarithm.max())
        near = chance > 1e-6
        steps = [(high - low) / _GRID for low, high in sides]
        sides = [
            (max(low, float(axis[near].min()) - step), min(high, float(axis[near].max()) + step))
            for (low, high), axis, step in zip(sides, (centre, spread), steps, strict=True)
        ]
    return centre, spread, chance / chance.sum()


def _midpoints(low: float, high: float) -> Floats:
    return low + (high - low) * (np.arange(_GRID) + 0.5) / _GRID


def _mixture(
    k: Floats, n: Floats, centre: Floats, spread: Floats, chance: Floats, level: float
) -> tuple[Floats, Floats, Floats]:
    """Mean and bounds of each group's mixture of beta distributions, equal groups taken together.

    Along the mean, the mixture of each strength is taken as the beta distribution of its moments.
    """
    pairs, place = np.unique(np.stack([k, n]), axis=1, return_inverse=True)
    hits, size = pairs[0][:, None, None], pairs[1][:, None, None]
    kept = chance.reshape(_GRID, _GRID).max(axis=0) > 1e-6
    m, s, weight = (part.reshape(_GRID, _GRID)[:, kept] for part in (centre, spread**-2.0, chance))
    share = weight / weight.sum(axis=0)
    mean = (share * (hits + m * s) / (size + s)).sum(axis=1)
    square = (share * (hits + m * s) * (hits + m * s + 1.0) / ((size + s) * (size + s + 1.0))).sum(axis=1)
    total = np.maximum(mean * (1.0 - mean) / np.maximum(square - mean**2, 1e-300) - 1.0, 1e-9)
    weight = weight.sum(axis=0) / weight.sum()
    tails = ((1.0 - level) / 2.0, (1.0 + level) / 2.0)
    low, high = (_quantile(mean * total, (1.0 - mean) * total, weight, tail) for tail in tails)
    place = place.ravel()
    return (mean @ weight)[place], low[place], high[place]


def _quantile(a: Floats, b: Floats, weight: Floats, tail: float) -> Floats:
    """Where mixtures (g,) of beta distributions a, b (g, c) have so much of their mass below, by bisection."""
    from scipy.special import betainc

    low, high = np.zeros(len(a)), np.ones(len(a))
    for _ in range(26):
        middle = (low + high) / 2.0
        below = betainc(a, b, middle[:, None]) @ weight < tail
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return np.asarray((low + high) / 2.0)


# ------------------------------------------------------------------------------------------------------ check
@check(
    "fairness.small_groups",
    title="Small groups, raw and shrunken",
    needs={"decisions", "groups"},
    sources=("efron1975", "gelman2013", "wilson1927"),
)
def small_groups(
    subject: Subject, context: Context, *, rates: tuple[str, ...] = ("selection_rate", "tpr", "fpr")
) -> Iterator[Evidence]:
    """Which rates of small groups would stand if we knew more people like them?

    For every slice, and for the intersection of all attributes, the rate of each group is given as counted (Wilson's
    interval) and shrunken: a beta-binomial model learns from all groups of the slice how much they differ, and draws each
    towards their mean, a group of few people far and one of many hardly. RATE_shrunken carries the credible interval,
    which allows for not knowing how much the groups differ. The table says which groups have fewer than min_n people in
    the rate's denominator. Rates that need labels are left out where there are none.

    A shrunken rate is nearer to the truth on average over the groups, and not for each of them: a small group that is
    truly treated apart is drawn towards the others as well, which is why the raw rate stands beside it. Its interval
    holds the true rate of as many groups as it says on average, if the groups' rates are like draws from one
    distribution. Below three groups nothing can be learnt and nothing is shrunken.
    """
    require_binary(subject)
    allowed = defined(subject.y is not None, subject.decision is not None)
    for name in rates:
        if name not in RATES:
            raise DataError(f"fairness.small_groups: rates: allowed are {list(RATES)}, got {name!r}")
    rows: list[tuple[Cell, ...]] = []
    for attributes in _slices(subject):
        part = slice_of(subject, context, attributes)
        for rate in (name for name in rates if name in allowed):
            yield from _measures(subject, part, rate, context.confidence, rows)
    yield Table(
        name="small_groups",
        title="Rates as counted and shrunken",
        columns=(
            *("attribute", "group", "rate", "n", "raw", "raw low", "raw high", "shrunken", "low", "high"),
            f"fewer than {subject.min_n}",
        ),
        rows=tuple(rows),
    )


def _slices(subject: Subject) -> list[tuple[str, ...]]:
    """The slices, and the intersection of all attributes where it has not too many cells."""
    every = tuple(subject.groups)
    cells = np.prod([float(len(codes.levels)) for codes in subject.groups.values()])
    wanted = [*subject.slices, every] if len(every) > 1 and cells <= 2**12 else [*subject.slices]
    return list({tuple(sorted(names)): names for names in reversed(wanted)}.values())[::-1]


def _measures(
    subject: Subject, part: Slice, rate: str, level: float, rows: list[tuple[Cell, ...]]
) -> Iterator[Measure]:
    value, n, effective = part.rates.column(rate)
    found = shrink(np.nan_to_num(value) * effective, effective, level)
    columns = (found.raw, found.raw_low, found.raw_high, found.estimate, found.low, found.high)
    known = f"mean {found.mean:.3f}, worth {found.strength:.0f} people"
    for group in range(len(value)):
        cells = [None if np.isnan(column[group]) else float(column[group]) for column in columns]
        small = "yes" if n[group] < subject.min_n else "no"
        rows.append((part.name, part.label(group), rate, int(n[group]), *cells, small))
        yield measured(
            f"{rate}_shrunken",
            found.estimate[group],
            n=n[group],
            where=part.where(group),
            better=RATES[rate].better,
            interval=bounded((found.low[group], found.high[group]), level, _METHOD),
            note="" if np.isnan(found.mean) else f"all groups: {known}",
            why=f"fewer than {FEWEST} groups have this rate, too few to learn from",
        )
