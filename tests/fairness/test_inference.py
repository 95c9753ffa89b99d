"""Permutation tests, the declared family, and the four outcomes."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from subjects import context_of, find, subject_of

from audit import stats
from audit.core import Table, UsageError
from audit.fairness import (
    Plan,
    classify,
    count,
    from_counts,
    gap,
    joint_null,
    permutation_test,
    significance,
)
from audit.fairness.inference import METRICS, significant_gaps


def selected(n, k):
    return from_counts({"g": [f"g{i}" for i in range(len(n))]}, n=n, selected=k)


# ------------------------------------------------------------------------------------------ the permutation test
def test_two_groups_give_the_exact_test():
    """With two groups the shuffles are those of Fisher's test, two-sided by the size of the difference."""
    counts = selected([25, 8], [16, 3])
    k = np.arange(3 + 16 + 1)[: 8 + 1]
    law = scipy.stats.hypergeom(33, 19, 8).pmf(k)
    difference = np.abs(k / 8 - (19 - k) / 25)
    exact = law[difference >= abs(3 / 8 - 16 / 25) - 1e-12].sum()
    found = permutation_test(counts, "selection_rate", np.random.default_rng(1), replicates=40_000)
    assert found.p_value == pytest.approx(exact, abs=0.01)
    assert found.expected == pytest.approx(float(law @ difference), abs=0.003)
    assert found.observed == pytest.approx(0.265)


@pytest.mark.parametrize(("groups", "n"), [(2, 1000), (8, 200)])
@pytest.mark.parametrize("how", ["difference", "ratio"])
def test_false_alarms_of_the_permutation_test(groups, n, how):
    rng = np.random.default_rng(groups)
    draws = rng.binomial(n, 0.4, (500, groups))
    p = [
        permutation_test(selected([n] * groups, k), "selection_rate", rng, how=how, replicates=199).p_value
        for k in draws
    ]
    assert np.mean(np.array(p) <= 0.05) <= 0.06


def test_a_gap_that_is_there_is_found():
    rng = np.random.default_rng(5)
    draws = rng.binomial(1000, [0.5, *[0.4] * 7], (100, 8))
    p = [permutation_test(selected([1000] * 8, k), "selection_rate", rng, replicates=199).p_value for k in draws]
    assert np.mean(np.array(p) <= 0.05) > 0.95


def test_the_gap_expected_by_chance_is_that_of_shuffled_people():
    rng = np.random.default_rng(7)
    y, p, g = rng.integers(0, 2, 300), rng.integers(0, 2, 300), rng.integers(0, 3, 300)
    counts = count(y, p, sensitive_features=g)
    for rate, shuffled in (("selection_rate", np.arange(300)), ("tpr", np.flatnonzero(y == 1))):
        gaps = []
        for _ in range(1500):
            decided = p.copy()
            decided[shuffled] = rng.permutation(p[shuffled])
            gaps.append(gap(count(y, decided, sensitive_features=g), rate).value)
        found = permutation_test(counts, rate, rng, replicates=4000)
        assert found.expected == pytest.approx(np.mean(gaps), abs=0.004)
        assert found.extreme == pytest.approx(np.quantile(gaps, 0.95), abs=0.01)


def test_composites_are_shuffled_with_their_labels():
    rng = np.random.default_rng(8)
    equal = [permutation_test(four(rng.multinomial(150, LAW, 3)), "f1", rng, replicates=99).p_value for _ in range(200)]
    assert np.mean(np.array(equal) <= 0.05) <= 0.08
    apart = four([[160, 40, 60, 140], [100, 100, 100, 100]])
    assert permutation_test(apart, "mcc", rng, replicates=199).p_value == 0.005


LAW = np.array([0.4, 0.1, 0.15, 0.35])


def four(cells):
    tn, fp, fn, tp = np.asarray(cells).T
    return from_counts({"g": [f"g{i}" for i in range(len(cells))]}, tn=tn, fp=fp, fn=fn, tp=tp)


def test_nothing_to_compare_is_undefined():
    found = permutation_test(selected([9, 0], [3, 0]), "selection_rate", np.random.default_rng(0))
    assert np.isnan(list(found)).all()
    everyone = permutation_test(selected([9, 5], [9, 5]), "selection_rate", np.random.default_rng(0))
    assert (everyone.observed, everyone.p_value, everyone.expected) == (0.0, 1.0, 0.0)


# ------------------------------------------------------------------------------------------------ the family
def people(seed: int, n: int = 900, gap: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"sex": rng.choice(["F", "M"], n), "race": rng.choice(["r1", "r2", "r3"], n)})
    frame["y"] = rng.integers(0, 2, n)
    frame["p"] = (rng.random(n) < 0.3 + 0.3 * frame["y"] + gap * (frame["sex"] == "M")).astype(int)
    frame["w"] = rng.gamma(2.0, size=n)
    return frame


def counted(frame, **more):
    return count(frame["y"], frame["p"], sensitive_features=frame[["sex", "race"]], **more)


def test_the_joint_null_agrees_with_shuffling_people():
    frame = people(1, 240)
    counts = counted(frame)
    by, rng = [("sex",), ("race",), ("race", "sex")], np.random.default_rng(2)
    observed, null = joint_null(counts, by, ["selection_rate", "tpr"], rng, replicates=1500)
    expected = [gap(counts.marginal(list(one)), rate).value for one in by for rate in ("selection_rate", "tpr")]
    np.testing.assert_allclose(observed, expected, atol=1e-12)
    shuffled = []
    for _ in range(400):
        order = rng.permutation(len(frame))
        mixed = frame.assign(y=frame["y"].to_numpy()[order], p=frame["p"].to_numpy()[order])
        again = counted(mixed)
        shuffled.append(
            [gap(again.marginal(list(one)), rate).value for one in by for rate in ("selection_rate", "tpr")]
        )
    np.testing.assert_allclose(null.mean(axis=0), np.mean(shuffled, axis=0), atol=0.012)
    together = np.corrcoef(null.T)[0, 1], np.corrcoef(np.array(shuffled).T)[0, 1]
    assert together[0] == pytest.approx(together[1], abs=0.15)


def test_a_family_of_nulls_raises_no_alarm_at_its_level():
    alarms = {"p_adjusted": 0, "p_max_t": 0}
    plan = Plan(metrics=("selection_rate", "tpr", "accuracy"), replicates=99)
    for seed in range(120):
        found = significance(counted(people(seed, 300)), np.random.default_rng(seed), plan=plan)
        for name in alarms:
            alarms[name] += any(getattr(one, name) <= 0.05 for one in found)
    assert alarms["p_adjusted"] / 120 <= 0.075
    assert alarms["p_max_t"] / 120 <= 0.075


def test_the_findings_are_those_of_their_parts():
    counts = counted(people(3, gap=0.25))
    found = significance(counts, np.random.default_rng(4), plan=Plan(replicates=499))
    assert [(one.attributes, one.metric) for one in found] == [((a,), m) for a in ("sex", "race") for m in METRICS]
    for one in found:
        part = counts.marginal(one.attributes)
        own = gap(part, one.metric)
        assert (one.gap, one.low, one.high, one.n) == (own.value, own.low, own.high, own.n)
        assert one.p_adjusted >= one.p_value
        assert one.p_max_t >= one.p_value
    np.testing.assert_allclose([one.p_adjusted for one in found], stats.holm([one.p_value for one in found]))
    sex = found[0]
    assert (sex.outcome, sex.lowest, sex.highest) == ("disparity", "F", "M")
    assert sex.expected < sex.extreme < sex.gap
    again = significance(counts, np.random.default_rng(4), plan=Plan(replicates=499))
    assert again == found


def test_corrections_can_be_chosen():
    counts = counted(people(5, gap=0.1))
    kinds = {
        name: significance(counts, np.random.default_rng(6), plan=Plan(correction=name, replicates=99))
        for name in ("none", "holm", "benjamini_hochberg")
    }
    for plain, step, false in zip(*kinds.values(), strict=True):
        assert plain.p_value == plain.p_adjusted <= false.p_adjusted <= step.p_adjusted


def test_a_large_equal_world_is_surely_equal_and_a_small_one_is_not():
    def outcome(n, k):
        return significance(selected(n, k), np.random.default_rng(1), plan=Plan(replicates=999))[0]

    large = outcome([20_000, 20_000], [8_000, 8_100])
    assert large.outcome == "no material disparity"
    assert large.p_equivalence < 1e-6
    significant = outcome([200_000, 200_000], [80_000, 82_000])
    assert significant.p_adjusted <= 0.05
    assert significant.outcome == "no material disparity"
    small = outcome([40, 40], [16, 19])
    assert small.outcome == "inconclusive"
    assert small.n_needed == int(np.ceil(float(stats.n_needed(35 / 80, 35 / 80 + 0.05))))
    assert small.minimum_detectable_gap == pytest.approx(float(stats.minimum_detectable_gap(40, 40, 35 / 80)))
    none = outcome([40, 0], [16, 0])
    assert (none.outcome, none.gap, none.p_value, none.p_equivalence) == ("undefined", None, None, None)


@pytest.mark.parametrize(
    ("facts", "word"),
    [
        ((None, 0.01, 0.01), "undefined"),
        ((float("nan"), 0.01, 0.01), "undefined"),
        ((0.2, 0.01, 0.9), "disparity"),
        ((0.01, 0.01, 0.01), "no material disparity"),
        ((0.1, 0.3, 0.3), "inconclusive"),
        ((0.1, None, None), "inconclusive"),
    ],
)
def test_four_outcomes(facts, word):
    assert classify(*facts) == word


def test_too_large_a_table_has_no_joint_null():
    rng = np.random.default_rng(1)
    n = 20_000
    counts = count(None, rng.integers(0, 2, n), sensitive_features={"g": rng.integers(0, 4000, n)})
    (found,) = significance(counts, rng, plan=Plan(replicates=2000))
    assert found.p_max_t is None
    assert found.p_value is not None
    assert found.outcome == "inconclusive"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metrics": ("acuracy",)}, "metrics: allowed are .* got 'acuracy'"),
        ({"correction": "sidak"}, "correction: allowed are .* got 'sidak'"),
        ({"margin": 0.0}, "margin: allowed is a number between 0 and 1, got 0.0"),
        ({"power": 1.0}, "power: allowed is a number between 0 and 1, got 1.0"),
        ({"replicates": 0}, "replicates: at least 1 is needed, got 0"),
    ],
)
def test_a_plan_says_what_is_allowed(change, message):
    with pytest.raises(UsageError, match=message):
        Plan(**change)


# ------------------------------------------------------------------------------------------------- the check
def test_the_check_tests_every_metric_of_every_slice():
    frame = people(7, gap=0.25)
    subject = subject_of(frame, attributes=["sex", "race"], intersect=[("sex", "race")], y="y", decision="p")
    found = list(significant_gaps(subject, context_of(3), replicates=300))
    (table,) = [one for one in found if isinstance(one, Table)]
    assert len(table.rows) == 3 * len(METRICS)
    rows = {(row[0], row[1]): dict(zip(table.columns, row, strict=True)) for row in table.rows}
    row = rows["sex", "selection_rate"]
    assert row["outcome"] == "disparity"
    for name, column in (("p_value", "p_value"), ("gap_expected_by_chance", "expected_by_chance")):
        assert find(found, name, sex="*", metric="selection_rate").value == row[column]
    p = [row["p_value"] for row in rows.values()]
    np.testing.assert_allclose([row["p_adjusted"] for row in rows.values()], stats.holm(p))
    assert find(found, "p_value", sex="*", race="*", metric="tpr").n == int(frame["y"].sum())


def test_the_check_without_labels_on_weights_and_on_one_group():
    frame = people(8)
    bare = list(significant_gaps(subject_of(frame, attributes=["sex"], decision="p"), context_of(), replicates=99))
    assert [row[1] for row in bare[-1].rows] == ["selection_rate"]
    weighted = subject_of(frame, attributes=["sex"], y="y", decision="p", weights="w")
    found = list(significant_gaps(weighted, context_of(), replicates=99, metrics=("accuracy", "f1")))
    assert find(found, "p_value", sex="*", metric="accuracy").value > 0.01
    assert find(found, "minimum_detectable_gap", sex="*", metric="f1").note.startswith("undefined: no gap")
    alone = subject_of(frame.assign(sex="F"), attributes=["sex"], decision="p")
    found = list(significant_gaps(alone, context_of(), replicates=99))
    assert find(found, "p_value", sex="*", metric="selection_rate").value is None
    assert found[-1].rows[0][found[-1].columns.index("outcome")] == "undefined"


def test_compas_false_positive_rates_differ(test_data):
    frame = pd.read_csv(test_data / "aequitas_predictions" / "compas_for_aequitas.csv")
    two = frame[frame["race"].isin(["African-American", "Caucasian"])]
    counts = count(two["label_value"], two["score"], sensitive_features=two["race"])
    found = {one.metric: one for one in significance(counts, np.random.default_rng(1), plan=Plan(replicates=999))}
    assert found["fpr"].outcome == "disparity"
    assert found["fpr"].gap == pytest.approx(0.448468 - 0.234543, abs=1e-6)
    assert found["fpr"].p_value == 0.001


def test_a_handful_of_people_do_not_hide_the_gap_between_large_groups():
    """Two groups of thousands lie far apart, one of four lies anywhere."""
    cells = {"large": (3000, 1000), "other": (1000, 3000), "tiny": (4, 0)}
    group = np.repeat(list(cells), [sum(pair) for pair in cells.values()])
    decision = np.concatenate([np.repeat([1, 0], pair) for pair in cells.values()])
    counts = count(None, decision, sensitive_features={"g": group})
    plan = Plan(metrics=("selection_rate",), replicates=500, min_n=30)
    (found,) = significance(counts, np.random.default_rng(0), plan=plan)
    assert (found.left_out, found.outcome, found.n) == (("tiny",), "disparity", 8000)
    assert found.gap == pytest.approx(0.5)
    assert (found.lowest, found.highest) == ("other", "large")
    (everyone,) = significance(counts, np.random.default_rng(0), plan=replace(plan, min_n=0))
    assert (everyone.left_out, everyone.n) == ((), 8004)
    assert everyone.highest == "tiny"
    (only_small,) = significance(counts, np.random.default_rng(0), plan=replace(plan, min_n=5000))
    assert only_small.left_out == ()
