"""Every named comparison of groups, each a row of one table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from audit import stats
from audit.core import Context, Evidence, Floats, Measure, Subject, UsageError, suggest
from audit.fairness.comparisons import Gap, How, gap
from audit.fairness.counts import Counts
from audit.fairness.inequality import (
    between_group_generalized_entropy_index,
    bias_amplification,
    by_stratum,
    conditional_demographic_disparity,
    differential_fairness,
    differential_fairness_bias_amplification,
    directional_bias_amplification,
    generalized_entropy_index,
)
from audit.fairness.measures import bounded, measured
from audit.fairness.rates import COMPOSITES, FIGURES, RATES, defined, rate_of
from audit.fairness.slices import Slice, counts_of, overall, require_binary, slices
from audit.registry import check

Fold = Literal["worst_case", "mean"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A named comparison: the gaps of one or two rates, and with two the worse of them or their mean."""

    rates: tuple[str, ...]
    how: How


@dataclass(frozen=True, slots=True, kw_only=True)
class Disparity:
    """A named comparison over all groups; value, low and high are NaN where undefined, `gaps` say what it came from."""

    name: str
    value: float
    low: float
    high: float
    n: int
    how: How
    gaps: tuple[Gap, ...]
    level: float


_FAMILIES = {
    "demographic_parity": ("selection_rate",),
    "equal_opportunity": ("tpr",),
    "predictive_equality": ("fpr",),
    "predictive_parity": ("ppv",),
    "equalized_odds": ("tpr", "fpr"),
    "treatment_equality": ("treatment_equality",),
    **{rate: (rate,) for rate in (*RATES, *COMPOSITES) if rate != "base_rate"},
}
# Over all pairs of groups, the mean of the absolute differences of tpr and fpr is the larger one of the differences of
# (tpr + fpr)/2 and (tpr - fpr)/2, and the latter is that of balanced accuracy.
NAMED: Mapping[str, Named] = {
    **{
        f"{name}_{how}": Named(rates=rates, how=how)
        for name, rates in _FAMILIES.items()
        for how in ("difference", "ratio")
    },
    "average_odds_difference": Named(rates=("average_odds",), how="difference"),
    "average_abs_odds_difference": Named(rates=("average_odds", "balanced_accuracy"), how="difference"),
}


def disparity(counts: Counts, name: str, *, level: float = 0.95, agg: Fold = "worst_case") -> Disparity:
    """A named comparison over all groups of the counts, with an interval that holds for all pairs of groups at once.

    name: one of NAMED, a difference (largest minus smallest) or a ratio (smallest over largest). agg: whether two rates
    give the worse of their gaps or the mean. Groups without a rate are left out; the result is undefined where a gap is.
    average_odds_difference is that of (tpr + fpr)/2, without a sign (hardt2016, bellamy2019, berk2021). Raises DataError
    and UsageError.
    """
    if name not in NAMED:
        raise UsageError(f"disparity: allowed are {list(NAMED)}, got {name!r}{suggest(name, NAMED)}")
    named = NAMED[name]
    each = stats.bonferroni(level, len(named.rates))
    gaps = tuple(gap(counts, rate, how=named.how, level=each) for rate in named.rates)
    worst: Callable[[Sequence[float]], float] = max if named.how == "difference" else min
    ends = np.array([(one.value, one.low, one.high) for one in gaps])
    folded = [float(np.mean(end)) if agg == "mean" else worst(end.tolist()) for end in ends.T]
    value, low, high = (float("nan") if np.isnan(ends[:, i]).any() else folded[i] for i in range(3))
    return Disparity(
        name=name, value=value, low=low, high=high, n=max(one.n for one in gaps), how=named.how, gaps=gaps, level=level
    )


def all_disparities(
    counts: Counts, names: Sequence[str] | None = None, *, level: float = 0.95
) -> tuple[Disparity, ...]:
    """The named comparisons, by default all that the counts allow. Raises DataError and UsageError."""
    possible = defined(counts.labels, counts.decisions, FIGURES)
    chosen = [name for name, named in NAMED.items() if set(named.rates) <= set(possible)] if names is None else names
    return tuple(disparity(counts, name, level=level) for name in chosen)


# ------------------------------------------------------------------------------------------------------ the check
@check(
    "fairness.disparities",
    title="Named disparities between groups",
    needs={"decisions", "groups"},
    sources=(
        "hardt2016",
        "bellamy2019",
        "berk2021",
        "foulds2020",
        "zhao2017",
        "wang2021",
        "speicher2018",
        "wachter2021",
        "newcombe1998",
        "katz1978",
        "zou2008",
        "dunn1961",
        "efron1993",
    ),
)
def named_disparities(
    subject: Subject, context: Context, *, alpha: float = 2.0, concentration: float = 1.0, replicates: int = 1000
) -> Iterator[Evidence]:
    """How far do the groups lie apart, by each of the names that this is called by?

    Every difference is the largest minus the smallest figure over all groups of an attribute, every ratio the smallest
    over the largest: demographic parity (selection_rate), equal opportunity (tpr), predictive equality (fpr), predictive
    parity (ppv), equalized odds (the worse of tpr and fpr), average odds (the mean of tpr and fpr), treatment equality
    (false negatives per false positive), and each single rate. Their intervals hold for all pairs of groups at once and
    reach 0, or 1, where equal groups are compatible with the data. differential_fairness is the largest log ratio between
    two groups of the chance of either outcome, without and with Dirichlet smoothing of the given concentration; its
    bias_amplification compares decisions with labels, as do bias_amplification (what a group has of an outcome) and
    directional_bias_amplification (what an outcome is given the group). The generalised entropy index of order alpha tells
    how unequal the benefits (decision minus label plus one) are, between_group what remains of it when everyone had the
    mean of their group. conditional_demographic_disparity is, within strata, a group's share of the rejected less its
    share of the selected. These last have bootstrap intervals of `replicates` draws.

    The names answer different questions and cannot all be 0 at once where base rates differ: choose the one that fits the
    harm before looking. A bootstrap interval of the between-group index does not reach 0, which is where the index stops.
    """
    require_binary(subject)
    level = context.confidence
    everyone = overall(subject, context)
    labelled = everyone.counts.labels
    if labelled:
        yield _drawn(everyone, "generalized_entropy_index", {}, replicates, context, _first(alpha))
    for part in slices(subject, context):
        yield from (_measure(part, each) for each in all_disparities(part.counts, level=level))
        yield from _epsilons(part, concentration, level)
        for name, statistic in _table_figures(alpha, concentration).items() if labelled else ():
            yield _drawn(part, name, part.everywhere, replicates, context, statistic)
        if subject.data.strata:
            yield from _conditional(subject, part, replicates, context)


def _measure(part: Slice, found: Disparity) -> Measure:
    known = not np.isnan(found.value)
    single = rate_of(NAMED[found.name].rates[0]).composite is None
    method = "all pairs, Bonferroni" if single else "all pairs of independent estimates, Bonferroni"
    notes = []
    for one in found.gaps:
        prefix = f"{one.rate}: " if len(found.gaps) > 1 else ""
        ends = f"lowest: {' × '.join(one.lowest)}, highest: {' × '.join(one.highest)}" if one.lowest else ""
        lost = f"{len(one.left_out)} groups left out because {rate_of(one.rate).empty}" if one.left_out else ""
        notes.append(prefix + "; ".join(text for text in (ends, lost) if text))
    return measured(
        found.name,
        found.value,
        n=found.n,
        where=part.everywhere,
        unit=_unit(found),
        better="zero" if found.how == "difference" else "one",
        interval=bounded((found.low, found.high), found.level, method),
        note="; ".join(notes) if known else "",
        why=_why(found),
    )


def _why(found: Disparity) -> str:
    if any(not one.highest or (np.isnan(one.value) and one.how == "difference") for one in found.gaps):
        return "fewer than two groups have " + " and ".join(one.rate for one in found.gaps)
    return "there is no ratio to a figure of 0 or between figures below 0"


def _unit(found: Disparity) -> str:
    """Differences of shares in percentage points; of MCC, F1 and the quotient of errors, plain."""
    plain = any(gap.rate in ("mcc", "f1", "treatment_equality") for gap in found.gaps)
    return "" if plain and found.how == "difference" else found.how


def _epsilons(part: Slice, concentration: float, level: float) -> Iterator[Measure]:
    """Differential fairness, plain and smoothed."""
    cells = part.counts.cells(part.counts.effective).astype(np.float64)
    n, k = cells.sum(axis=1), cells[:, 1] + cells[:, 3]
    half = (1.0 + level) / 2.0  # two outcomes share the error
    ratios = [stats.ratio_interval(hits, n, half) for hits in (k, n - k)]
    with np.errstate(divide="ignore"):
        low, high = (max(float(-np.log(ratio[side])) for ratio in ratios) for side in (1, 0))
    for name, weight in (("differential_fairness", 0.0), ("smoothed_differential_fairness", concentration)):
        yield measured(
            name,
            float(differential_fairness(k, n, weight)),
            n=int(part.counts.cells().sum()),
            where=part.everywhere,
            unit="",
            better="zero",
            interval=bounded((max(0.0, low), high), level, "all pairs, Bonferroni") if not weight else None,
            note=f"concentration {weight:g}" if weight else "",
            why="fewer than two groups have cases"
            if (n > 0).sum() < 2
            else "an outcome never occurs in one of the groups",
        )


def _table_figures(alpha: float, concentration: float) -> dict[str, Callable[[NDArray[Any]], Floats]]:
    """Figures of draws (b, g, 4), by name."""
    return {
        "differential_fairness_bias_amplification": lambda cells: differential_fairness_bias_amplification(
            cells, concentration
        ),
        "bias_amplification": lambda cells: bias_amplification(_square(cells)),
        "directional_bias_amplification": lambda cells: directional_bias_amplification(_square(cells)),
        "between_group_generalized_entropy_index": lambda cells: between_group_generalized_entropy_index(cells, alpha),
    }


def _square(cells: NDArray[Any]) -> NDArray[Any]:
    return cells.reshape(*cells.shape[:-1], 2, 2)


def _first(alpha: float) -> Callable[[NDArray[Any]], Floats]:
    return lambda cells: generalized_entropy_index(cells[..., 0, :], alpha)


def _drawn(
    part: Slice,
    name: str,
    where: Mapping[str, str],
    replicates: int,
    context: Context,
    statistic: Callable[[NDArray[Any]], Floats],
) -> Measure:
    """A figure of the whole table with its bootstrap interval."""
    counts = part.counts
    cells = counts.cells(counts.effective)
    bounds = stats.bootstrap_interval(cells, statistic, replicates, context.rng, context.confidence)
    return measured(
        name,
        float(statistic(cells)),
        n=int(counts.cells().sum()),
        where=where,
        unit="",
        better="zero",
        interval=bounded(bounds, context.confidence, f"count bootstrap, {replicates} replicates"),
        note=f"weighted, effective n {cells.sum():.1f}" if counts.weight is not None else "",
        why="an outcome never occurs, or there is no benefit to share",
    )


def _conditional(subject: Subject, part: Slice, replicates: int, context: Context) -> Iterator[Measure]:
    """Conditional demographic disparity of every group, all strata together."""
    strata = tuple(subject.data.strata)
    counts, places = by_stratum(counts_of(subject, context, (*strata, *part.attributes)), strata)
    cells = counts.cells(counts.effective).reshape(places, -1, 2, 2).sum(axis=2)
    value = conditional_demographic_disparity(cells)
    low, high = stats.bootstrap_interval(
        cells, conditional_demographic_disparity, replicates, context.rng, context.confidence
    )
    people = counts.cells().reshape(places, -1, 4).sum(axis=(0, 2))
    idle = int((cells.sum(axis=1).min(axis=1) <= 0).sum())
    for group in range(len(value)):
        yield measured(
            "conditional_demographic_disparity",
            value[group],
            n=people[group],
            where=part.where(group),
            unit="difference",
            better="zero",
            interval=bounded(
                (low[group], high[group]), context.confidence, f"count bootstrap, {replicates} replicates"
            ),
            note=f"within {', '.join(strata)}; {idle} of {places} strata left out"
            if idle
            else f"within {', '.join(strata)}",
            why="in no stratum were some selected and others not",
        )
