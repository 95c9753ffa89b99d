"""Who is judged wrongly: error rates by group, and how far they lie apart."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from audit import stats
from audit.core import Cell, Context, Evidence, Measure, Subject, Table
from audit.fairness.counts import Counts
from audit.fairness.inequality import theil_index
from audit.fairness.measures import bounded, difference_measures, gap_measure, measured, quotient_measure, rate_measures
from audit.fairness.slices import Slice, overall, require_binary, slices
from audit.registry import check

_RATES = ("tpr", "fpr", "fnr", "tnr", "ppv", "npv", "accuracy")
_GAPS = {
    "equal_opportunity_difference": "tpr",
    "fpr_difference": "fpr",
    "fnr_difference": "fnr",
    "predictive_parity_difference": "ppv",
    "accuracy_difference": "accuracy",
}


@check(
    "fairness.error_rates",
    title="Error rates by group",
    needs={"labels", "decisions", "groups"},
    sources=("hardt2016", "chouldechova2017", "speicher2018", "wilson1927", "newcombe1998", "dunn1961", "efron1993"),
)
def error_rates(subject: Subject, context: Context, *, replicates: int = 1000) -> Iterator[Evidence]:
    """Is each group judged rightly as often as the others, and wrongly in the same way?

    Decisions are compared with labels: true and false positive rates (tpr, fpr) and their complements (fnr, tnr), the
    share of right decisions among the selected and the rejected (ppv, npv), and accuracy, for everyone and every group
    of every slice, with Wilson's interval. tpr and fpr of each group are compared with the reference group by
    Newcombe's interval. Over all groups, each difference is the largest minus the smallest rate, with an interval that
    holds for all pairs at once; equalized_odds_difference is the larger of those of tpr and fpr. A rate without a
    denominator is undefined and is left out of the difference; it is not 0. theil_index measures how unequally the
    benefit (decision minus label plus one) is spread over all people, 0 for equally, with a bootstrap interval of
    `replicates` draws.

    The labels are taken at their word: where they are themselves biased, equal error rates are no proof of fairness.
    Where base rates differ, equal tpr and fpr exclude equal ppv, so not every difference can be 0 at once.
    """
    require_binary(subject)
    level = context.confidence
    everyone = overall(subject, context)
    yield from rate_measures(everyone, _RATES, level)
    yield _theil(everyone.counts, replicates, context)
    for part in slices(subject, context):
        yield from rate_measures(part, _RATES, level)
        yield from difference_measures(subject, part, "tpr", level)
        yield from difference_measures(subject, part, "fpr", level)
        for name, rate in _GAPS.items():
            yield gap_measure(part, name, rate, level)
        yield _equalized_odds(part, level)
        yield quotient_measure(part, "tpr_ratio", "tpr", level)
        yield quotient_measure(part, "fpr_ratio", "fpr", level)
    yield _confusion(subject, context)


def _equalized_odds(part: Slice, level: float) -> Measure:
    """The larger of the gaps of tpr and fpr; each interval takes half of the error."""
    halves = [gap_measure(part, rate, rate, (1.0 + level) / 2.0) for rate in ("tpr", "fpr")]
    values = [np.nan if half.value is None else half.value for half in halves]
    intervals = [half.interval for half in halves if half.interval is not None]
    bounds = (max((i.low for i in intervals), default=np.nan), max((i.high for i in intervals), default=np.nan))
    larger = halves[0] if values[0] >= values[1] else halves[1]
    return measured(
        "equalized_odds_difference",
        max(values) if not np.isnan(values).any() else np.nan,
        n=part.rates.column("accuracy")[1].sum(),
        where=part.everywhere,
        unit="difference",
        better="zero",
        interval=bounded(bounds, level, "all pairs, Bonferroni"),
        note=f"from {larger.name}; {larger.note}" if not np.isnan(values).any() else "",
        why="; ".join(f"{half.name} {half.note}" for half in halves if half.value is None),
    )


def _theil(counts: Counts, replicates: int, context: Context) -> Measure:
    effective = counts.cells(counts.effective)
    draws = stats.bootstrap_counts(effective[0], replicates, context.rng)
    low, high = stats.percentile_interval(theil_index(draws), context.confidence)
    return measured(
        "theil_index",
        float(theil_index(effective)[0]),
        n=counts.n,
        where={},
        unit="",
        better="zero",
        interval=bounded((low, high), context.confidence, f"count bootstrap, {replicates} replicates"),
        note=f"weighted, effective n {effective.sum():.1f}" if counts.weight is not None else "",
        why="there is no benefit to share" if counts.n else "there is no case",
    )


def _confusion(subject: Subject, context: Context) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for part in (overall(subject, context), *slices(subject, context)):
        for group, (tn, fp, fn, tp) in enumerate(part.counts.cells().tolist()):
            rows.append((part.name or None, part.label(group) or None, tp + fp + tn + fn, tp, fp, tn, fn))
    return Table(
        name="confusion",
        title="Decisions against labels by group",
        columns=("attribute", "group", "n", "tp", "fp", "tn", "fn"),
        rows=tuple(rows),
        note="The first row counts everyone.",
    )
