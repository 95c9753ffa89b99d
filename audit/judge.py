"""Gates judge evidence: promises made beforehand against intervals, and the verdict they add up to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from audit.core import ALL, Gate, Judgement, Measure, Outcome, Report, Ruling, SliceRuling, Verdict, suggest

# The worst slice decides, in this order.
RANK: dict[Judgement, int] = {"error": 0, "fail": 1, "not_tested": 2, "inconclusive": 3, "undefined": 4, "pass": 5}
HEADLINES = (
    ("performance.overall", "auc"),
    ("performance.overall", "accuracy"),
    ("fairness.impact_ratio", "impact_ratio"),
    ("fairness.selection", "demographic_parity_difference"),
    ("fairness.error_rates", "equalized_odds_difference"),
    ("fairness.selection", "selection_rate"),
)
# Promises nobody has to make: not required, but broken ones are worth a finding.
DEFAULT_GATES = (
    Gate(
        check="performance.overall",
        measure="auc",
        min=0.5,
        required=False,
        severity="medium",
        why="a score that ranks worse than chance is often inverted: look at which class it speaks for",
    ),
)


def judge(gates: Sequence[Gate], outcomes: Sequence[Outcome], min_n: int = 0) -> tuple[Ruling, ...]:
    """One ruling per gate, and one per default gate whose measure is there and which no gate of the user names."""
    named = {(gate.check, gate.measure) for gate in gates}
    measured = {
        (o.check, e.name) for o in outcomes for e in o.evidence if isinstance(e, Measure) and e.value is not None
    }
    extra = [g for g in DEFAULT_GATES if (g.check, g.measure) in measured - named]
    rulings = [_rule(gate, outcomes, min_n) for gate in gates]
    return (*rulings, *(replace(_rule(gate, outcomes, min_n), origin="default") for gate in extra))


def compare(gates: Sequence[Gate], outcomes: Sequence[Outcome], old: Report, worse_by: float) -> tuple[Ruling, ...]:
    """A ruling per gated measure of an older record: `fail` where it surely got worse by more than worse_by."""
    return tuple(
        Ruling(gate=promise, outcome=ruling.outcome, reason=ruling.reason, slices=(ruling,), origin="baseline")
        for gate in gates
        for before in (m for _, m in _slices(gate, old.all_outcomes) if m.value is not None)
        for ref, now in _slices(gate, outcomes)
        if now.where == before.where
        for promise in [_no_worse(gate, before, worse_by)]
        for ruling in [_rule_slice(promise, ref, now, 0)]
    )


def _no_worse(gate: Gate, before: Measure, worse_by: float) -> Gate:
    assert before.value is not None
    return replace(
        gate,
        min=None if gate.min is None else before.value - worse_by,
        max=None if gate.max is None else before.value + worse_by,
        required=False,
        severity="medium",
        why="must not be worse than in the baseline",
    )


def _rule(gate: Gate, outcomes: Sequence[Outcome], min_n: int) -> Ruling:
    outcome = next((o for o in outcomes if o.check == gate.check), None)
    if outcome is None:
        return Ruling(gate=gate, outcome="not_tested", reason="the check was not run")
    slices = [_rule_slice(gate, ref, measure, min_n) for ref, measure in _slices(gate, [outcome])]
    if outcome.status != "done" and not any(ruling.outcome == "fail" for ruling in slices):
        # What a broken check had yielded before may convict, but never acquit.
        judgement: Judgement = "error" if outcome.status == "error" else "not_tested"
        return Ruling(gate=gate, outcome=judgement, reason=outcome.reason, slices=tuple(slices))
    if not slices:
        return Ruling(gate=gate, outcome="error", reason=_no_such_measure(gate, outcome))
    slices.sort(key=lambda ruling: RANK[ruling.outcome])
    return Ruling(gate=gate, outcome=slices[0].outcome, reason=slices[0].reason, slices=tuple(slices))


def _slices(gate: Gate, outcomes: Iterable[Outcome]) -> list[tuple[str, Measure]]:
    """The measures a gate speaks of: those of every group of `by`, or the one over all groups if there are no others."""
    found = [
        (f"{outcome.check}#{index}", evidence)
        for outcome in outcomes
        if outcome.check == gate.check
        for index, evidence in enumerate(outcome.evidence)
        if isinstance(evidence, Measure) and evidence.name == gate.measure and set(evidence.where) == set(gate.by)
    ]
    groups = [(ref, measure) for ref, measure in found if ALL not in measure.where.values()]
    return groups or found


def _no_such_measure(gate: Gate, outcome: Outcome) -> str:
    measures = [e for e in outcome.evidence if isinstance(e, Measure)]
    slices = sorted({" x ".join(sorted(m.where)) or "everyone" for m in measures if m.name == gate.measure})
    by = " x ".join(gate.by) or "everyone"
    if slices:
        return f"{gate.check} has no {gate.measure} by {by}; it has it by: {', '.join(slices)}"
    names = sorted({m.name for m in measures})
    return f"{gate.check} has no measure {gate.measure!r}; it has: {', '.join(names)}{suggest(gate.measure, names)}"


def _rule_slice(gate: Gate, ref: str, measure: Measure, min_n: int) -> SliceRuling:
    """Judge one measure; the reason speaks without numbers, which the reader finds through `ref`."""
    if measure.value is None:
        return SliceRuling(ref=ref, outcome="undefined", reason=measure.note)
    interval = measure.interval
    low, high = (interval.low, interval.high) if interval else (measure.value, measure.value)
    detectable = (high - low) / 2 if interval else None
    if measure.n is not None and measure.n < min_n:
        reason = "there are fewer cases than the smallest number that is judged (min_n)"
        return SliceRuling(ref=ref, outcome="inconclusive", reason=reason, detectable=detectable)
    if measure.n is not None and interval is None:
        reason = "the figure rests on a sample and has no interval, so chance cannot be told from fact"
        return SliceRuling(ref=ref, outcome="inconclusive", reason=reason)
    subject = "the interval lies" if interval else "the value, which is no estimate, lies"
    below = gate.min is not None and high < gate.min
    above = gate.max is not None and low > gate.max
    if below or above:
        return SliceRuling(
            ref=ref, outcome="fail", reason=f"{subject} wholly {'below' if below else 'above'} the limit"
        )
    inside = (gate.min is None or low >= gate.min) and (gate.max is None or high <= gate.max)
    if inside:
        return SliceRuling(ref=ref, outcome="pass", reason=f"{subject} wholly on the promised side of the limit")
    return SliceRuling(ref=ref, outcome="inconclusive", reason="the interval spans the limit", detectable=detectable)


def verdict(
    rulings: Sequence[Ruling], outcomes: Sequence[Outcome], *, complete: bool, allow_inconclusive: bool = False
) -> Verdict:
    """The worst required ruling in one word, with the exit code: 0 pass, 1 fail, 2 error, 3 undecided."""
    required = Counter(ruling.outcome for ruling in rulings if ruling.gate.required)
    headline = tuple(dict.fromkeys(_headlines(rulings, outcomes)))[:3]
    undecided = required["inconclusive"] + required["undefined"] + required["not_tested"] > 0 or not complete
    counts: dict[str, int] = {name: required[name] for name in RANK}
    if required["error"]:
        return Verdict(outcome="error", required=counts, headline=headline, exit_code=2)
    if required["fail"]:
        return Verdict(outcome="fail", required=counts, headline=headline, exit_code=1)
    if undecided:
        code = 0 if allow_inconclusive else 3
        return Verdict(outcome="inconclusive", required=counts, headline=headline, exit_code=code)
    return Verdict(outcome="pass" if required else "ungated", required=counts, headline=headline, exit_code=0)


def _headlines(rulings: Sequence[Ruling], outcomes: Sequence[Outcome]) -> Iterator[str]:
    """References worth a headline: what decided the worst required rulings, then the usual key figures."""
    defined = {
        f"{o.check}#{i}": e
        for o in outcomes
        for i, e in enumerate(o.evidence)
        if isinstance(e, Measure) and e.value is not None
    }
    judged = sorted((r for r in rulings if r.outcome in ("fail", "inconclusive")), key=lambda r: RANK[r.outcome])
    for ruling in sorted(judged, key=lambda r: not r.gate.required):
        if ruling.slices and ruling.slices[0].ref in defined:
            yield ruling.slices[0].ref
    for check, name in HEADLINES:
        overall = [
            ref
            for ref, measure in defined.items()
            if ref.startswith(f"{check}#") and measure.name == name and set(measure.where.values()) <= {ALL}
        ]
        yield from overall[:1]
