"""Gates against the verdict rule, stated a second time in the tests."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.core import Gate, Interval, Measure, Outcome
from audit.judge import compare, judge, verdict

numbers = st.floats(-1e6, 1e6, allow_nan=False)


def outcome(*measures: Measure, check: str = "fairness.x", status: str = "done", reason: str = "") -> Outcome:
    return Outcome(check=check, title="X", status=status, evidence=measures, reason=reason)


def measure(value: float | None, low: float | None = None, high: float | None = None, **rest) -> Measure:
    interval = None if low is None or high is None else Interval(low=low, high=high, level=0.95, method="m")
    return Measure(name="rate", value=value, interval=interval, note="" if value is not None else "no cases", **rest)


def gate(**rest) -> Gate:
    return Gate(check="fairness.x", measure="rate", **rest)


@given(numbers, numbers, numbers, numbers)
def test_a_pass_and_a_fail_need_the_whole_interval(a, b, c, limit):
    low, value, high = sorted((a, b, c))
    (ruling,) = judge([gate(min=limit)], [outcome(measure(value, low, high))])
    expected = "pass" if low >= limit else "fail" if high < limit else "inconclusive"
    assert ruling.outcome == expected
    (mirrored,) = judge([gate(max=-limit)], [outcome(measure(-value, -high, -low))])
    assert mirrored.outcome == expected


@given(numbers, numbers, numbers, numbers, numbers)
def test_a_two_sided_gate_is_both_of_its_sides(a, b, c, d, e):
    low, value, high = sorted((a, b, c))
    least, most = sorted((d, e))
    found = outcome(measure(value, low, high))
    both, lower, upper = judge([gate(min=least, max=most), gate(min=least), gate(max=most)], [found])
    sides = {lower.outcome, upper.outcome}
    assert both.outcome == ("fail" if "fail" in sides else "pass" if sides == {"pass"} else "inconclusive")


@given(st.lists(st.tuples(numbers, numbers, numbers), min_size=1, max_size=6), numbers)
def test_the_worst_slice_decides_and_comes_first(triples, limit):
    measures = []
    for index, triple in enumerate(triples):
        low, value, high = sorted(triple)
        measures.append(measure(value, low, high, where={"sex": str(index)}))
    (ruling,) = judge([gate(min=limit, by=("sex",))], [outcome(*measures)])
    alone = [judge([gate(min=limit, by=("sex",))], [outcome(m)])[0].outcome for m in measures]
    worst = min(alone, key=["fail", "inconclusive", "pass"].index)
    assert ruling.outcome == worst == ruling.slices[0].outcome
    assert len(ruling.slices) == len(measures)


def test_undefined_never_passes():
    (ruling,) = judge([gate(min=0.0)], [outcome(measure(None))])
    assert (ruling.outcome, ruling.reason) == ("undefined", "no cases")
    assert verdict([ruling], [], complete=True).exit_code == 3


def test_a_small_group_is_undecided_whatever_its_interval():
    small = measure(0.1, 0.0, 0.2, where={"sex": "f"}, n=29)
    (ruling,) = judge([gate(min=0.8, by=("sex",))], [outcome(small)], min_n=30)
    assert ruling.outcome == "inconclusive"
    assert ruling.slices[0].detectable == pytest.approx(0.1)
    (ruling,) = judge([gate(min=0.8, by=("sex",))], [outcome(replace(small, n=30))], min_n=30)
    assert ruling.outcome == "fail"


def test_an_estimate_without_an_interval_is_undecided_and_a_plain_number_is_not():
    estimate, plain = measure(0.9, n=500), measure(0.9)
    assert [judge([gate(min=0.5)], [outcome(m)])[0].outcome for m in (estimate, plain)] == ["inconclusive", "pass"]
    few = measure(0.9, 0.8, 0.95, n=2)
    assert judge([gate(min=0.5)], [outcome(few)], min_n=30)[0].outcome == "inconclusive"


def test_a_gate_reads_its_own_slices_only():
    found = outcome(
        measure(0.9),
        measure(0.1, where={"race": "b"}),
        measure(0.5, where={"sex": "f"}),
        measure(0.2, where={"sex": "*"}),
        measure(0.0, where={"sex": "f", "race": "b"}),
    )
    rulings = judge([gate(min=0.3), gate(min=0.3, by=("sex",)), gate(min=0.3, by=("race", "sex"))], [found])
    assert [r.outcome for r in rulings] == ["pass", "pass", "fail"]
    assert [[s.ref for s in r.slices] for r in rulings] == [["fairness.x#0"], ["fairness.x#2"], ["fairness.x#4"]]
    (over_all,) = judge([gate(max=0.1, by=("age",))], [outcome(measure(0.3, where={"age": "*"}))])
    assert over_all.outcome == "fail"


@pytest.mark.parametrize(
    ("found", "expected", "words"),
    [
        (None, "not_tested", "not run"),
        (outcome(status="error", reason="ValueError: x"), "error", "ValueError"),
        (outcome(status="stopped", reason="the deadline"), "not_tested", "deadline"),
        (outcome(status="not_applicable", reason="no labels"), "not_tested", "no labels"),
        (outcome(measure(0.1), status="stopped", reason="late"), "fail", "below"),
        (outcome(measure(0.9), status="error", reason="late"), "error", "late"),
        (outcome(replace(measure(0.9), name="rat")), "error", "did you mean 'rat'"),
        (outcome(measure(0.9, where={"sex": "f"})), "error", "by: sex"),
    ],
)
def test_what_was_not_measured_never_passes(found, expected, words):
    (ruling,) = judge([gate(min=0.5)], [found] if found else [])
    assert ruling.outcome == expected
    assert words in ruling.reason


@pytest.mark.parametrize(
    ("judgements", "complete", "word", "code"),
    [
        ([], True, "ungated", 0),
        ([], False, "inconclusive", 3),
        (["pass"], True, "pass", 0),
        (["pass", "inconclusive"], True, "inconclusive", 3),
        (["pass", "undefined"], True, "inconclusive", 3),
        (["pass", "not_tested"], True, "inconclusive", 3),
        (["fail", "inconclusive"], True, "fail", 1),
        (["fail"], False, "fail", 1),
        (["fail", "error"], True, "error", 2),
    ],
)
def test_exit_codes(judgements, complete, word, code):
    def rulings(required: bool):
        base = judge([gate(min=0.0, required=required)], [outcome(measure(1.0))])[0]
        return [replace(base, outcome=judgement) for judgement in judgements]

    found = verdict(rulings(True), [], complete=complete)
    assert (found.outcome, found.exit_code) == (word, code)
    lenient = verdict(rulings(True), [], complete=complete, allow_inconclusive=True)
    assert lenient.exit_code == (0 if code == 3 else code)
    if complete:
        assert verdict(rulings(False), [], complete=True).exit_code == 0


def test_a_score_that_ranks_backwards_is_found_without_being_asked_for():
    auc = Measure(name="auc", value=0.3, interval=Interval(low=0.2, high=0.4, level=0.95, method="DeLong"))
    rulings = judge([], [outcome(auc, check="performance.overall")])
    assert [(r.outcome, r.origin, r.gate.required) for r in rulings] == [("fail", "default", False)]
    asked = Gate(check="performance.overall", measure="auc", min=0.1)
    assert [r.origin for r in judge([asked], [outcome(auc, check="performance.overall")])] == ["spec"]


def test_baseline_finds_what_surely_got_worse(report_of):
    old = report_of(outcome(measure(0.9, 0.8, 0.95, where={"sex": "f"}), measure(0.9, 0.8, 0.95, where={"sex": "m"})))
    now = [outcome(measure(0.6, 0.5, 0.7, where={"sex": "f"}), measure(0.9, 0.85, 0.95, where={"sex": "m"}))]
    rulings = compare([gate(min=0.5, by=("sex",))], now, old, worse_by=0.1)
    assert [(r.outcome, r.gate.min, r.gate.required) for r in rulings] == [
        ("fail", pytest.approx(0.8), False),
        ("pass", pytest.approx(0.8), False),
    ]
