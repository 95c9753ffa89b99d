"""The impact ratio: each group's selection rate over that of the reference group."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from audit import stats
from audit.core import Context, Evidence, Measure, Subject
from audit.fairness.measures import against, bounded, measured, ratio_measures, too_few
from audit.fairness.slices import Slice, reference, require_binary, slices
from audit.registry import check

_RATE, _NAME = "selection_rate", "impact_ratio"


@check(
    "fairness.impact_ratio",
    title="Impact ratio",
    needs={"decisions", "groups"},
    sources=("ugesp1978", "katz1978", "walter1975", "dunn1961"),
)
def impact_ratio(subject: Subject, context: Context) -> Iterator[Evidence]:
    """How large is each group's selection rate, as a fraction of the rate of the group that is selected most?

    The reference is the group named in the configuration, else the group with the highest selection rate among those of
    at least min_n people; it stands at 1. The interval is Katz's logarithmic one with 1/2 added to the counts. The
    measure over all groups is the smallest ratio; its interval allows for having looked at every group.

    A ratio below 4/5 is a rule of thumb for looking closer and not a test: in small groups it falls below by chance,
    which the interval shows. The intervals of single groups take the reference as given, even where the data chose it.
    """
    require_binary(subject)
    for part in slices(subject, context):
        yield from ratio_measures(subject, part, _NAME, _RATE, context.confidence)
        yield _smallest(subject, part, context.confidence)


def _smallest(subject: Subject, part: Slice, level: float) -> Measure:
    """The smallest ratio to the reference group, over all groups with cases, the reference included."""
    value, n, effective = part.rates.column(_RATE)
    base = reference(subject, part, _RATE)
    groups = np.flatnonzero(~np.isnan(value))
    if base is None or len(groups) < 2 or base not in groups:
        return measured(
            _NAME, np.nan, n=n.sum(), where=part.everywhere, unit="ratio", better="one", why=too_few(part, _RATE)
        )
    named = all(name in subject.reference for name in part.attributes)
    comparisons = len(groups) - 1 if named else stats.pairs(len(groups))  # the data may have chosen any reference
    k, others = value * effective, groups[groups != base]
    low, high = stats.katz(k[others], effective[others], k[base], effective[base], stats.bonferroni(level, comparisons))
    ratios = stats.divide(value[groups], value[base])
    lowest = "" if np.isnan(ratios).any() else f"lowest: {part.label(int(groups[np.argmin(ratios)]))}; "
    return measured(
        _NAME,
        float(ratios.min()),
        n=n.sum(),
        where=part.everywhere,
        unit="ratio",
        better="one",
        interval=bounded((min(1.0, low.min()), min(1.0, high.min())), level, "Katz+1/2, Bonferroni"),
        note=lowest + against(part, base, float(effective[base])),
        why=f"the rate of {part.label(base)} is 0",
    )
