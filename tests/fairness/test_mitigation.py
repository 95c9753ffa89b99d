"""Reweighing, thresholds and reductions: formulas by hand, brute force, fairlearn, and the audit of the result."""

import builtins
from itertools import product

import numpy as np
import pandas as pd
import pytest
from fairlearn.metrics import demographic_parity_difference
from fairlearn.postprocessing import ThresholdOptimizer
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression

from audit.core import DataError, UsageError
from audit.fairness import (
    compare,
    count,
    exponentiated_gradient,
    group_metrics,
    optimise_thresholds,
    rates,
    reweighing,
)


# ----------------------------------------------------------------------------------------------- reweighing
@pytest.fixture(scope="module")
def german(test_data):
    frame = pd.read_csv(test_data / "german_credit" / "german.data", sep=r"\s+", header=None)
    return (frame[20] == 1).astype(int).to_numpy(), np.where(frame[12] > 25, "older", "younger")


def test_reweighing_is_the_published_formula(german):
    y, age = german
    found = reweighing(y, sensitive_features=age)
    n = len(y)
    for group in ("older", "younger"):
        for label in (0, 1):
            cell = (age == group) & (y == label)
            formula = (age == group).sum() * (y == label).sum() / (n * cell.sum())  # AIF360's Reweighing
            np.testing.assert_allclose(found[cell], formula, atol=1e-12)
    assert found.sum() == pytest.approx(n)
    # Kamiran & Calders' statement: weighted, the label no longer depends on the group
    weighted = rates(count(y, sensitive_features=age, weights=found), ["base_rate"]).value[:, 0]
    np.testing.assert_allclose(weighted, y.mean(), atol=1e-12)


@given(seed=st.integers(0, 10**6), classes=st.integers(2, 4))
def test_label_and_group_are_independent_afterwards(seed, classes):
    rng = np.random.default_rng(seed)
    n = 60
    y, w = rng.integers(0, classes, n), rng.random(n)
    groups = {"a": rng.integers(0, 2, n), "b": rng.choice(["x", "ÿ", "z"], n)}
    found = reweighing(y, sensitive_features=groups, weights=w)
    name = np.array([f"{a}{b}" for a, b in zip(groups["a"], groups["b"], strict=True)])
    table = pd.crosstab(name, y, values=found, aggfunc="sum").to_numpy(na_value=0.0)
    before = pd.crosstab(name, y, values=w, aggfunc="sum").to_numpy(na_value=0.0)
    if (before > 0).all():
        np.testing.assert_allclose(table * table.sum(), np.outer(table.sum(1), table.sum(0)), atol=1e-9)
        np.testing.assert_allclose(table.sum(0), before.sum(0), atol=1e-9)
        np.testing.assert_allclose(table.sum(1), before.sum(1), atol=1e-9)


def test_reweighing_at_the_edges():
    assert reweighing([], sensitive_features=np.array([], dtype=str)).shape == (0,)
    np.testing.assert_allclose(reweighing([1, 1, 0], sensitive_features=["a", "a", "a"]), 1)
    np.testing.assert_allclose(reweighing([1, 0, 1], sensitive_features=["a", "b", None]), [2 / 3, 1 / 3, 2 / 3])
    np.testing.assert_array_equal(reweighing([1, 0], sensitive_features=["a", "b"], weights=[0, 0]), 0)
    with pytest.raises(DataError, match="differ in length"):
        reweighing([1, 0], sensitive_features=["a"])
    with pytest.raises(DataError, match="weights"):
        reweighing([1, 0], sensitive_features=["a", "b"], weights=[1, -1])


def test_a_model_trained_on_the_weights_has_a_smaller_gap():
    x, sex, y = people(6000, 3)
    plain = LogisticRegression().fit(x, y).predict(x)
    fair = LogisticRegression().fit(x, y, sample_weight=reweighing(y, sensitive_features=sex)).predict(x)
    metrics = ["selection_rate", "accuracy"]
    before, after = (group_metrics(y, d, sensitive_features={"sex": sex}, metrics=metrics) for d in (plain, fair))
    shown = compare(before, after)
    assert after.difference[0] < before.difference[0]
    assert shown.frame().loc[("selection_rate", "difference"), "after"] == after.difference[0]


# ----------------------------------------------------------------------------------------------- thresholds
def people(n, seed):
    rng = np.random.default_rng(seed)
    sex = rng.integers(0, 2, n)
    x = np.column_stack([rng.normal(size=n) + 0.8 * sex, rng.normal(size=n)])
    y = (rng.random(n) < 1 / (1 + np.exp(-(x @ [1.2, 0.8] - 0.4)))).astype(int)
    return x, np.where(sex == 1, "m", "f"), y


RATES = {
    "demographic_parity": ("selection_rate",),
    "equal_opportunity": ("tpr",),
    "predictive_equality": ("fpr",),
    "equalized_odds": ("tpr", "fpr"),
}


def audit_of(y, decision, group, constraint):
    """Largest difference of the constrained rates, by the counts."""
    found = rates(count(y, decision, sensitive_features={"g": group}), RATES[constraint]).value
    gaps = np.nanmax(found, axis=0) - np.nanmin(found, axis=0)
    return float(np.nanmax(np.append(gaps, 0.0)))


def objective_of(y, decision, objective):
    right = decision == y
    if objective == "accuracy":
        return right.mean()
    return (right[y == 1].mean() + right[y == 0].mean()) / 2


@settings(max_examples=120)
@given(
    seed=st.integers(0, 10**6),
    constraint=st.sampled_from(list(RATES)),
    objective=st.sampled_from(["accuracy", "balanced_accuracy"]),
    limit=st.sampled_from([0.0, 0.1, 0.25, 1.0]),
    groups=st.integers(1, 3),
)
def test_thresholds_by_brute_force(seed, constraint, objective, limit, groups):
    rng = np.random.default_rng(seed)
    n = 18
    group, score = rng.choice(list("aβc")[:groups], n), rng.integers(0, 6, n) / 5
    y = np.append(rng.integers(0, 2, n - 2), [0, 1])
    rule = optimise_thresholds(
        y, score, sensitive_features={"g": group}, constraint=constraint, objective=objective, limit=limit
    )
    decision = rule.predict(score, sensitive_features={"g": group})
    assert audit_of(y, decision, group, constraint) == pytest.approx(rule.gap, abs=1e-12)
    assert rule.gap <= limit + 1e-9
    assert rule.value == pytest.approx(objective_of(y, decision, objective), abs=1e-12)
    names, best = np.unique(group), -1.0
    for cuts in product([0.0, 0.2, 0.4, 0.6, 0.8, 1.0, np.inf], repeat=len(names)):
        tried = (score >= np.array(cuts)[np.searchsorted(names, group)]).astype(int)
        if audit_of(y, tried, group, constraint) <= limit + 1e-9:
            best = max(best, objective_of(y, tried, objective))
    assert rule.value == pytest.approx(best, abs=1e-12)


@pytest.mark.parametrize(
    ("constraint", "peer"),
    [
        ("demographic_parity", "demographic_parity"),
        ("equal_opportunity", "true_positive_rate_parity"),
        ("predictive_equality", "false_positive_rate_parity"),
        ("equalized_odds", "equalized_odds"),
    ],
)
def test_thresholds_without_chance_come_close_to_randomised_ones(constraint, peer):
    x, sex, y = people(4000, 5)
    model = LogisticRegression().fit(x, y)
    score = model.predict_proba(x)[:, 1]
    rule = optimise_thresholds(y, score, sensitive_features=sex, constraint=constraint, limit=0.01)
    decision = rule.predict(score, sensitive_features=sex)
    known = ThresholdOptimizer(
        estimator=model, constraints=peer, objective="accuracy_score", prefit=True, predict_method="predict_proba"
    ).fit(x, y, sensitive_features=sex)
    chance = known._pmf_predict(x, sensitive_features=sex)[:, 1]
    theirs = np.where(y == 1, chance, 1 - chance).mean()
    assert audit_of(y, decision, sex, constraint) <= 0.01 + 1e-12
    slack = (
        0.03 if constraint == "equalized_odds" else 0.005
    )  # without chance, a point inside the curve is out of reach
    assert theirs - slack <= rule.value <= theirs + 0.01
    assert rule.value <= optimise_thresholds(y, score, sensitive_features=sex, limit=1.0).value + 1e-12
    if constraint == "demographic_parity":
        assert demographic_parity_difference(y, decision, sensitive_features=sex) == pytest.approx(rule.gap)


def test_a_looser_limit_is_never_worse():
    x, sex, y = people(1500, 8)
    score = x[:, 0]
    for constraint in RATES:
        values = [
            optimise_thresholds(y, score, sensitive_features=sex, constraint=constraint, limit=limit).value
            for limit in (0, 0.02, 0.1, 0.3, 1)
        ]
        assert (np.diff(values) >= -1e-12).all()


def test_thresholds_with_weights_are_those_of_repeated_rows():
    rng = np.random.default_rng(2)
    group, score, y = rng.choice(["a", "b"], 40), rng.integers(0, 9, 40) / 8, rng.integers(0, 2, 40)
    times = rng.integers(0, 4, 40)
    one = optimise_thresholds(y, score, sensitive_features=group, limit=0.1, weights=times)
    other = optimise_thresholds(
        np.repeat(y, times), np.repeat(score, times), sensitive_features=np.repeat(group, times), limit=0.1
    )
    assert (one.value, one.gap) == pytest.approx((other.value, other.gap))


def test_unknown_and_unseen_groups_get_the_common_threshold():
    score, y = np.array([0.1, 0.4, 0.6, 0.9]), np.array([0, 0, 1, 1])
    rule = optimise_thresholds(y, score, sensitive_features={"g": ["a", "a", "b", "b"]}, limit=1.0)
    assert rule.default == 0.6
    assert rule.groups == (("a",), ("b",))
    assert rule.thresholds.tolist() == [np.inf, 0.6]
    np.testing.assert_array_equal(
        rule.predict([0.5, 0.7, 0.99], sensitive_features={"g": ["ny", None, "a"]}), [0, 1, 0]
    )
    with pytest.raises(DataError, match="allowed are"):
        rule.predict(score, sensitive_features={"h": ["a"] * 4})
    mixed = optimise_thresholds(y, score, sensitive_features={"g": ["a", "a", "b", None]}, limit=1.0)
    assert mixed.value == 1.0
    with pytest.raises(DataError, match="nobody of known group"):
        optimise_thresholds(y, score, sensitive_features={"g": pd.Series([None] * 4, dtype=object)})


def test_equal_scores_and_one_class():
    group = ["a", "b"] * 3
    flat = optimise_thresholds([1, 0, 1, 0, 1, 1], np.ones(6), sensitive_features=group, limit=0.0)
    assert (flat.value, flat.gap) == (pytest.approx(4 / 6), 0.0)
    assert set(flat.thresholds) == {1.0}
    one = optimise_thresholds(np.ones(6), np.arange(6), sensitive_features=group, constraint="equalized_odds")
    assert one.value == 1.0
    with pytest.raises(DataError, match="both labels"):
        optimise_thresholds(np.ones(6), np.arange(6), sensitive_features=group, objective="balanced_accuracy")


def test_many_groups():
    rng = np.random.default_rng(0)
    group = rng.integers(0, 2000, 20_000)
    score, y = rng.random(20_000), rng.integers(0, 2, 20_000)
    rule = optimise_thresholds(y, score, sensitive_features=group, limit=0.2)
    decision = rule.predict(score, sensitive_features=group)
    found = rates(count(y, decision, sensitive_features={"g": group}), ["selection_rate"]).value
    assert np.ptp(found) <= 0.2 + 1e-9


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"constraint": "parity"}, "constraint: allowed"),
        ({"objective": "profit"}, "objective"),
        ({"limit": -0.1}, "limit"),
        ({"grid": 1}, "grid"),
    ],
)
def test_threshold_calls_that_cannot_be(facts, message):
    with pytest.raises(UsageError, match=message):
        optimise_thresholds([0, 1], [0.1, 0.2], sensitive_features=["a", "b"], **facts)


@pytest.mark.parametrize(("y", "score"), [([0, 2], [0.1, 0.2]), ([0, 1], [0.1]), ([0, 1], [0.1, np.nan])])
def test_threshold_data_that_cannot_be(y, score):
    with pytest.raises(DataError):
        optimise_thresholds(y, score, sensitive_features=["a", "b"])


# ------------------------------------------------------------------------------------------------ reductions
def test_reductions_close_the_gap():
    x, sex, y = people(3000, 11)
    plain = LogisticRegression().fit(x, y).predict(x)
    fair = exponentiated_gradient(LogisticRegression(), x, y, sensitive_features=sex, limit=0.02)
    decision = fair.predict(x, random_state=7)
    before, after = (group_metrics(y, d, sensitive_features=sex, metrics=["selection_rate"]) for d in (plain, decision))
    assert before.difference[0] > 0.2
    assert after.difference[0] < 0.08


def test_reductions_without_fairlearn(monkeypatch):
    kept = builtins.__import__

    def absent(name, *args, **facts):
        if name.startswith("fairlearn"):
            raise ImportError(name)
        return kept(name, *args, **facts)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(UsageError, match="pip install fairlearn"):
        exponentiated_gradient(DummyClassifier(), [[0]], [1], sensitive_features=["a"])
    with pytest.raises(UsageError, match="constraint: allowed"):
        exponentiated_gradient(DummyClassifier(), [[0]], [1], sensitive_features=["a"], constraint="x")


# ------------------------------------------------------------------------------------------ before and after
def test_compare_shows_the_audit_of_both():
    y = np.array([0, 1, 1, 0, 1, 0, 1, 1])
    group = {"sex": ["f", "f", "f", "f", "m", "m", "m", "m"]}
    metrics = ["selection_rate", "tpr", "fpr"]
    before = group_metrics(y, [0, 0, 1, 0, 1, 1, 1, 1], sensitive_features=group, metrics=metrics)
    after = group_metrics(y, [0, 1, 1, 0, 1, 0, 1, 1], sensitive_features=group, metrics=metrics)
    found = compare(before, after, level=0.9)
    frame = found.frame()
    bounds = after.intervals(0.9)
    row = frame.loc[("tpr", "f")]
    assert (row["before"], row["after"]) == (0.5, 1.0)
    assert (row["after_low"], row["after_high"]) == tuple(bounds.by_group[:, 0, 1])
    assert frame.loc[("selection_rate", "ratio"), "before"] == 0.25
    text = str(found)
    assert "intervals at 90%" in text
    assert "undefined" in text  # the ratio of two false positive rates of 0
    lines = text.splitlines()
    assert lines[1].startswith("selection_rate")
    assert "0.250 [" in lines[1]


def test_compare_refuses_what_is_not_alike():
    y = [0, 1, 1, 0]
    one = group_metrics(y, y, sensitive_features={"s": ["a", "a", "b", "b"]}, metrics=["tpr"])
    other = group_metrics(y, y, sensitive_features={"s": ["a", "a", "b", "b"]}, metrics=["fpr"])
    with pytest.raises(UsageError, match="differ in their metrics"):
        compare(one, other)
