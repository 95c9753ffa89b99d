"""Named disparities against fairlearn, the formulas of AIF360, loops over people, and real data."""

import json

import numpy as np
import pandas as pd
import pytest
from fairlearn import metrics as peer
from hypothesis import given, settings
from hypothesis import strategies as st
from subjects import context_of, find, subject_of

from audit import stats
from audit.core import Measure, UsageError
from audit.fairness import (
    NAMED,
    all_disparities,
    between_group_generalized_entropy_index,
    bias_amplification,
    conditional_demographic_disparity,
    count,
    differential_fairness,
    differential_fairness_bias_amplification,
    directional_bias_amplification,
    disparity,
    from_counts,
    generalized_entropy_index,
    theil_index,
)
from audit.fairness.disparities import named_disparities

PEERS = {
    "demographic_parity_difference": peer.demographic_parity_difference,
    "demographic_parity_ratio": peer.demographic_parity_ratio,
    "equal_opportunity_difference": peer.equal_opportunity_difference,
    "equal_opportunity_ratio": peer.equal_opportunity_ratio,
    "equalized_odds_difference": peer.equalized_odds_difference,
    "equalized_odds_ratio": peer.equalized_odds_ratio,
    "selection_rate_difference": peer.selection_rate_difference,
    "selection_rate_ratio": peer.selection_rate_ratio,
    "accuracy_difference": peer.accuracy_score_difference,
    "accuracy_ratio": peer.accuracy_score_ratio,
    "error_rate_difference": peer.zero_one_loss_difference,
    "error_rate_ratio": peer.zero_one_loss_ratio,
    "tpr_difference": peer.true_positive_rate_difference,
    "tpr_ratio": peer.true_positive_rate_ratio,
    "tnr_difference": peer.true_negative_rate_difference,
    "tnr_ratio": peer.true_negative_rate_ratio,
    "fpr_difference": peer.false_positive_rate_difference,
    "fpr_ratio": peer.false_positive_rate_ratio,
    "fnr_difference": peer.false_negative_rate_difference,
    "fnr_ratio": peer.false_negative_rate_ratio,
}


def table(seed: int, groups: int = 3, most: int = 30):
    return np.random.default_rng(seed).integers(1, most, (groups, 4))


def of(cells):
    tn, fp, fn, tp = np.asarray(cells).T
    return from_counts({"g": [f"g{i}" for i in range(len(cells))]}, tn=tn, fp=fp, fn=fn, tp=tp)


def people(cells):
    where = np.repeat(np.arange(np.size(cells)), np.ravel(cells))
    return where % 4 // 2, where % 2, where // 4


@given(st.integers(0, 2**32 - 1), st.integers(2, 4))
@settings(max_examples=6, deadline=None)
def test_every_named_metric_of_fairlearn_agrees(seed, groups):
    cells = table(seed, groups)
    y, p, group = people(cells)
    for name, theirs in PEERS.items():
        expected = theirs(y, p, sensitive_features=group)
        assert disparity(of(cells), name).value == pytest.approx(expected, abs=1e-12), name
    for name in ("equalized_odds_difference", "equalized_odds_ratio"):
        expected = PEERS[name](y, p, sensitive_features=group, agg="mean")
        assert disparity(of(cells), name, agg="mean").value == pytest.approx(expected, abs=1e-12), name


def test_undefined_where_fairlearn_says_one():
    cells = [[5, 5, 0, 0], [2, 3, 4, 6]]  # no positive label in the first group
    y, p, group = people(cells)
    assert peer.equalized_odds_difference(y, p, sensitive_features=group) >= 0.6
    for name in ("equalized_odds_difference", "equal_opportunity_ratio", "average_odds_difference"):
        found = disparity(of(cells), name)
        assert np.isnan([found.value, found.low, found.high]).all()


def odds(cells):
    tn, fp, fn, tp = np.asarray(cells, dtype=float).T
    return fp / (fp + tn), tp / (tp + fn)


@given(st.integers(0, 2**32 - 1), st.integers(2, 5))
@settings(max_examples=40, deadline=None)
def test_average_odds_and_treatment_equality_equal_their_formulas(seed, groups):
    cells = table(seed, groups)
    fpr, tpr = odds(cells)
    pairs = [(i, j) for i in range(groups) for j in range(groups)]
    signed = max(((fpr[i] - fpr[j]) + (tpr[i] - tpr[j])) / 2 for i, j in pairs)
    absolute = max((abs(fpr[i] - fpr[j]) + abs(tpr[i] - tpr[j])) / 2 for i, j in pairs)
    ratio = cells[:, 2] / cells[:, 1]
    counts = of(cells)
    assert disparity(counts, "average_odds_difference").value == pytest.approx(signed, abs=1e-12)
    assert disparity(counts, "average_abs_odds_difference").value == pytest.approx(absolute, abs=1e-12)
    assert disparity(counts, "treatment_equality_difference").value == pytest.approx(np.ptp(ratio), abs=1e-12)
    assert disparity(counts, "treatment_equality_ratio").value == pytest.approx(ratio.min() / ratio.max(), abs=1e-12)
    for found in all_disparities(counts):
        if not np.isnan([found.value, found.low]).any():
            assert found.low <= found.value + 1e-12, found.name
            assert found.value <= found.high + 1e-12, found.name


def test_the_worse_of_two_gaps_shares_the_error_between_them():
    cells = table(3)
    tn, fp, fn, tp = cells.T
    found = disparity(of(cells), "equalized_odds_difference")
    parts = [stats.gap_interval(tp, tp + fn, 0.975), stats.gap_interval(fp, fp + tn, 0.975)]
    assert (found.low, found.high) == (max(low for low, _ in parts), max(high for _, high in parts))


def test_decisions_alone_have_fewer_names_and_unknown_ones_are_refused():
    counts = from_counts({"g": ["a", "b"]}, n=[10, 20], selected=[4, 6])
    assert {found.name for found in all_disparities(counts)} == {
        "demographic_parity_difference",
        "demographic_parity_ratio",
        "selection_rate_difference",
        "selection_rate_ratio",
    }
    with pytest.raises(UsageError, match="did you mean 'equalized_odds_ratio'"):
        disparity(counts, "equalised_odds_ratio")
    assert len(NAMED) > 35


# ---------------------------------------------------------------------------------------------- inequality
def entropy_of_people(benefit, alpha):
    """AIF360's generalised entropy, from one benefit a person."""
    share = benefit / benefit.mean()
    if alpha == 1:
        return np.mean([b * np.log(b) if b > 0 else 0.0 for b in share])
    if alpha == 0:
        return -np.mean(np.log(share))
    return np.mean(share**alpha - 1.0) / (alpha * (alpha - 1.0))


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.5, 1.0, 2.0, 3.0]))
@settings(max_examples=40, deadline=None)
def test_entropy_equals_its_definition_over_people_and_their_groups(seed, alpha):
    cells = table(seed)
    y, p, group = people(cells)
    benefit = (p - y + 1).astype(float)
    whole = generalized_entropy_index(cells.sum(axis=0), alpha)
    assert float(whole) == pytest.approx(entropy_of_people(benefit, alpha), rel=1e-10)
    means = np.array([benefit[group == g].mean() for g in range(3)])[group]
    between = float(between_group_generalized_entropy_index(cells, alpha))
    assert between == pytest.approx(entropy_of_people(means, alpha), rel=1e-9, abs=1e-15)
    assert -1e-12 <= between <= float(whole) + 1e-12


def test_entropy_at_its_edges():
    assert float(generalized_entropy_index(np.array([3, 2, 0, 4]), 0.0)) == pytest.approx(
        entropy_of_people(np.repeat([1.0, 2.0], [7, 2]), 0)
    )
    assert np.isnan(generalized_entropy_index(np.array([[3, 2, 1, 4], [0, 0, 0, 0], [0, 0, 5, 0]]), 0.0)).all()
    assert np.isnan(theil_index(np.array([[0, 0, 5, 0], [0, 0, 0, 0]]))).all()
    assert float(generalized_entropy_index(np.array([3, 0, 0, 4]))) == 0.0


# -------------------------------------------------------------------------------------- differential fairness
def epsilon(k, n, concentration):
    """AIF360's empirical differential fairness, by its loops."""
    p = (np.asarray(k) + concentration / 2) / (np.asarray(n) + concentration)
    return max(
        abs(np.log(a[i]) - np.log(a[j])) for a in (p, 1 - p) for i in range(len(p)) for j in range(len(p)) if i != j
    )


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 1.0, 5.0]))
@settings(max_examples=40, deadline=None)
def test_differential_fairness_equals_a_loop_over_pairs(seed, concentration):
    cells = table(seed, 4)
    n, k, positive = cells.sum(axis=1), cells[:, 1] + cells[:, 3], cells[:, 2] + cells[:, 3]
    assert float(differential_fairness(k, n, concentration)) == pytest.approx(epsilon(k, n, concentration), rel=1e-12)
    amplified = float(differential_fairness_bias_amplification(cells, concentration))
    expected = epsilon(k, n, concentration) - epsilon(positive, n, concentration)
    assert amplified == pytest.approx(expected, abs=1e-12)


def test_differential_fairness_of_german_credit(test_data):
    expected = json.loads((test_data / "expected_A.json").read_text())["german_credit"]
    found = {}
    for attribute in ("age_gt_25", "sex"):
        groups = expected[attribute]["by_group"].values()
        k, n = [g["positives"] for g in groups], [g["n"] for g in groups]
        found[attribute] = round(float(differential_fairness(k, n, 1.0)), 6)
    assert found == {"age_gt_25": 0.438354, "sex": 0.239384}


def test_differential_fairness_at_its_edges():
    assert float(differential_fairness([0, 3], [5, 5])) == np.inf
    assert np.isfinite(differential_fairness([0, 3], [5, 5], 1.0))
    assert np.isnan(differential_fairness([0, 3], [0, 5]))
    assert float(differential_fairness([0, 0], [4, 5])) == 0.0


# ------------------------------------------------------------------------------------------ amplified bias
@given(st.integers(0, 2**32 - 1), st.integers(2, 4), st.integers(2, 4))
@settings(max_examples=30, deadline=None)
def test_amplified_bias_equals_loops_over_people(seed, groups, classes):
    rng = np.random.default_rng(seed)
    cells = rng.integers(1, 9, (groups, classes, classes))
    where = np.repeat(np.arange(cells.size), cells.ravel())
    group, y, p = np.unravel_index(where, cells.shape)
    towards = from_labels = 0.0
    for c in range(classes):
        for g in range(groups):
            before, after = np.mean(group[y == c] == g), np.mean(group[p == c] == g)
            from_labels += (after - before) / classes if before > 1 / groups else 0.0
            together = np.mean((group == g) & (y == c)) > np.mean(group == g) * np.mean(y == c)
            change = np.mean(p[group == g] == c) - np.mean(y[group == g] == c)
            towards += (change if together else -change) / (groups * classes)
    assert float(bias_amplification(cells)) == pytest.approx(from_labels, abs=1e-12)
    assert float(directional_bias_amplification(cells)) == pytest.approx(towards, abs=1e-12)


def test_decisions_like_the_labels_amplify_nothing():
    right = np.array([[[30, 0], [0, 10]], [[20, 0], [0, 40]]])
    assert float(bias_amplification(right)) == 0.0
    assert float(directional_bias_amplification(right)) == 0.0
    assert np.isnan(bias_amplification(np.array([[[3, 0], [0, 0]], [[2, 0], [0, 0]]])))
    further = np.array([[[30, 0], [5, 5]], [[10, 10], [0, 40]]])  # fewer of the first group, more of the second
    assert float(bias_amplification(further)) > 0.0
    assert float(directional_bias_amplification(further)) > 0.0


# --------------------------------------------------------------------------------------------------- strata
@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_conditional_disparity_equals_its_definition(seed):
    cells = np.random.default_rng(seed).integers(0, 9, (4, 3, 2))
    top, bottom = np.zeros(3), 0.0
    for stratum in cells:
        rejected, selected = stratum[:, 0], stratum[:, 1]
        if rejected.sum() and selected.sum():
            top += stratum.sum() * (rejected / rejected.sum() - selected / selected.sum())
            bottom += stratum.sum()
    if bottom:
        np.testing.assert_allclose(conditional_demographic_disparity(cells), top / bottom, atol=1e-12)


def test_women_in_berkeley_are_rejected_more_in_all_and_less_in_departments(test_data):
    frame = pd.read_csv(test_data / "berkeley" / "UCBAdmissions.csv")
    frame["admitted"] = (frame["Admit"] == "Admitted").astype(int)
    frame["sex"], frame["dept"] = frame["Gender"], frame["Dept"]
    wide = frame.pivot_table(index=["dept", "sex"], columns="admitted", values="Freq", sort=True)
    cells = wide.to_numpy().reshape(6, 2, 2)
    whole = conditional_demographic_disparity(cells.sum(axis=0, keepdims=True))
    within = conditional_demographic_disparity(cells)
    assert whole[0] == pytest.approx(1278 / 2771 - 557 / 1755, abs=1e-12)
    assert within[0] < 0.0 < whole[0]
    subject = subject_of(
        frame, attributes=["sex"], decision="admitted", frequency="Freq", strata=["dept"], reference={"sex": "Male"}
    )
    found = list(named_disparities(subject, context_of()))
    measure = find(found, "conditional_demographic_disparity", sex="Female")
    assert measure.value == pytest.approx(within[0], abs=1e-12)
    assert measure.n == 1835
    assert measure.interval.low < within[0] < measure.interval.high


# ------------------------------------------------------------------------------------------------ the check
def test_parity_of_adult_german_and_compas(test_data):
    expected = json.loads((test_data / "expected_A.json").read_text())

    def parity(part):
        groups = part["by_group"]
        counts = from_counts(
            {"g": list(groups)}, n=[g["n"] for g in groups.values()], selected=[g["positives"] for g in groups.values()]
        )
        return [round(disparity(counts, f"demographic_parity_{how}").value, 6) for how in ("difference", "ratio")]

    assert parity(expected["adult"]["sex_train_only"]) == [0.196276, 0.358023]
    assert parity(expected["german_credit"]["age_gt_25"]) == [0.149448, 0.794826]
    assert parity(expected["german_credit"]["sex"]) == [0.074801, 0.896567]
    groups = expected["compas"]["race"]["by_group"]
    two = {name: groups[name] for name in ("African-American", "Caucasian")}
    cells = {side.lower(): [g[side] for g in two.values()] for side in ("TN", "FP", "FN", "TP")}
    counts = from_counts({"race": list(two)}, **cells)
    assert disparity(counts, "predictive_equality_difference").value == pytest.approx(0.448468 - 0.234543, abs=1e-6)
    assert disparity(counts, "equal_opportunity_difference").value == pytest.approx(0.720147 - 0.522774, abs=1e-6)


def world(seed: int, n: int = 600) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"g": rng.choice(["a", "b", "c"], n), "y": rng.integers(0, 2, n), "w": rng.gamma(3, size=n)})
    frame["p"] = np.where(rng.random(n) < 0.7, frame["y"], 1 - frame["y"])
    return frame


def test_the_check_gives_every_name_with_an_interval():
    frame = world(1)
    found = list(named_disparities(subject_of(frame, attributes=["g"], y="y", decision="p"), context_of()))
    counts = count(frame["y"], frame["p"], sensitive_features=frame["g"])
    for name in NAMED:
        measure = find(found, name, g="*")
        assert measure.value == pytest.approx(disparity(counts, name).value, abs=1e-12)
        assert measure.interval.low <= measure.value <= measure.interval.high, name
    assert find(found, "generalized_entropy_index").interval.method.startswith("count bootstrap")
    odds_gap = find(found, "equalized_odds_difference", g="*")
    assert odds_gap.note.startswith("tpr: lowest: ")
    plain, smooth = (find(found, f"{prefix}differential_fairness", g="*") for prefix in ("", "smoothed_"))
    assert plain.interval.low <= plain.value <= plain.interval.high
    assert smooth.note == "concentration 1"


def test_the_check_on_weights_on_one_group_and_on_one_class():
    frame = world(2)
    weighted = list(
        named_disparities(subject_of(frame, attributes=["g"], y="y", decision="p", weights="w"), context_of())
    )
    assert "effective n" in find(weighted, "bias_amplification", g="*").note
    counts = count(frame["y"], frame["p"], sensitive_features=frame["g"], weights=frame["w"])
    assert find(weighted, "f1_difference", g="*").value == pytest.approx(disparity(counts, "f1_difference").value)
    alone = list(
        named_disparities(subject_of(frame.assign(g="a"), attributes=["g"], y="y", decision="p"), context_of())
    )
    assert find(alone, "demographic_parity_difference", g="*").value is None
    assert find(alone, "differential_fairness", g="*").note == "undefined: fewer than two groups have cases"
    same = frame.assign(y=1, p=1)
    for measure in named_disparities(subject_of(same, attributes=["g"], y="y", decision="p"), context_of()):
        if isinstance(measure, Measure) and measure.value is None:
            assert measure.note.startswith("undefined: ")
    none = frame.assign(p=0)
    found = list(named_disparities(subject_of(none, attributes=["g"], y="y", decision="p"), context_of()))
    assert find(found, "demographic_parity_ratio", g="*").note == (
        "undefined: there is no ratio to a figure of 0 or between figures below 0"
    )
    assert find(found, "predictive_parity_difference", g="*").note == "undefined: fewer than two groups have ppv"


def test_bootstrap_intervals_of_table_figures_cover():
    law = np.array([[0.25, 0.05, 0.04, 0.16], [0.12, 0.08, 0.10, 0.20]])
    rng, held = np.random.default_rng(4), np.zeros(3)
    figures = [
        lambda cells: generalized_entropy_index(cells.sum(axis=-2)),
        lambda cells: directional_bias_amplification(cells.reshape(*cells.shape[:-1], 2, 2)),
        between_group_generalized_entropy_index,
    ]
    for _ in range(400):
        cells = rng.multinomial(800, law.ravel()).reshape(2, 4)
        for i, figure in enumerate(figures):
            low, high = stats.bootstrap_interval(cells, figure, 400, rng)
            held[i] += low <= figure(law) <= high
    assert (held / 400 >= 0.92).all(), held / 400
    assert (held / 400 <= 0.98).all(), held / 400
