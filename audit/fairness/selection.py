"""Who is selected: rates by group, and how far they lie apart."""

from __future__ import annotations

from collections.abc import Iterator

from audit.core import Cell, Context, Evidence, Measure, Subject, Table
from audit.fairness.measures import difference_measures, gap_measure, quotient_measure, rate_measure, rate_measures
from audit.fairness.slices import Slice, counts_of, overall, require_binary, slice_of, slices
from audit.registry import check

_RATE = "selection_rate"


@check(
    "fairness.selection",
    title="Selection rates by group",
    needs={"decisions", "groups"},
    sources=("calders2009", "wilson1927", "newcombe1998", "katz1978", "dunn1961"),
)
def selection(subject: Subject, context: Context, *, strata: bool = True) -> Iterator[Evidence]:
    """Is each group selected as often as the others?

    The selection rate is the share of people with a positive decision, for everyone and for every group of every slice,
    with Wilson's interval. Each group is compared with the reference group (the one named in the configuration, else
    the one with the highest rate among those of at least min_n people) by Newcombe's interval.
    demographic_parity_difference is the largest minus the smallest rate over all groups, demographic_parity_ratio the
    smallest over the largest; their intervals hold for all pairs of groups at once and reach 0, or 1, where equal groups
    are compatible with the data. Where labels exist, base_rate is the share of positive labels. With strata (a
    department, a product), the rates are also given within each stratum, because a gap may turn round there.

    The numbers do not say whether a gap is justified, nor whether anyone was selected by mistake. People whose group is
    unknown are left out of the group figures and counted in the table of sizes.
    """
    require_binary(subject)
    level = context.confidence
    everyone = overall(subject, context)
    names = [_RATE, "base_rate"] if everyone.counts.labels else [_RATE]
    yield from rate_measures(everyone, names, level)
    for part in slices(subject, context):
        yield from rate_measures(part, names, level)
        yield from difference_measures(subject, part, _RATE, level)
        yield gap_measure(part, "demographic_parity_difference", _RATE, level)
        yield quotient_measure(part, "demographic_parity_ratio", _RATE, level)
    if strata:
        for stratum in subject.data.strata:
            for attributes in subject.slices:
                yield from _within(slice_of(subject, context, (stratum, *attributes)), level)
    yield sizes(subject, context)


def _within(part: Slice, level: float) -> Iterator[Measure]:
    """The selection rates of the groups in each stratum that has cases."""
    for group, cells in enumerate(part.counts.cells()):
        if cells.sum() > 0:
            yield rate_measure(part, _RATE, group, level)


def sizes(subject: Subject, context: Context) -> Table:
    """How many people each group has, how many of them were selected, and how many are in no known group."""
    rows: list[tuple[Cell, ...]] = []
    for part in slices(subject, context):
        for group, (tn, fp, fn, tp) in enumerate(part.counts.cells().tolist()):
            rows.append((part.name, part.label(group), tn + fp + fn + tp, fp + tp, "known"))
        if part.counts.unknown:
            lost = counts_of(subject, context).table - part.counts.cells().sum(axis=0).reshape(2, 2)
            rows.append((part.name, None, int(lost.sum()), int(lost[:, 1].sum()), "unknown, left out"))
    return Table(
        name="sizes",
        title="People by group",
        columns=("attribute", "group", "n", "selected", "status"),
        rows=tuple(rows),
    )
