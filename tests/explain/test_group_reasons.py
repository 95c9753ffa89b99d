"""Reasons by group: the tests' error rates, exact permutation p values, and the credit world's known attributions."""

from itertools import permutations

import numpy as np
import pytest
from little_models import Plain, codes, context, sigmoid, subject, table
from scipy.stats import permutation_test, spearmanr

from audit.core import ALL, DataSpec, Measure, ModelSpec, Spec, Table
from audit.data.worlds.credit import credit
from audit.explain.group_reasons import group_reasons
from audit.explain.group_tests import group_means, group_test, rank_correlation, reason_distance
from audit.models.adapters.oracle import oracle


def test_means_of_groups():
    values, labels = np.array([[1.0, 2], [3, 4], [5, 9]]), np.array([0, 1, 0])
    np.testing.assert_allclose(group_means(values, labels[None], 2), [[[3, 5.5], [3, 4]]])


def test_p_values_equal_all_permutations_and_scipy():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(7, 2))
    values[:3, 0] += 1.5
    labels = np.array([0, 0, 0, 1, 1, 1, 1])

    def between(some):
        means = np.array([values[some == g].mean(axis=0) for g in (0, 1)])
        return (np.array([3, 4])[:, None] * (means - values.mean(axis=0)) ** 2).sum(axis=0)

    every = np.array([between(np.array(order)) for order in set(permutations(labels.tolist()))])
    seen = between(labels)
    exact = (every >= seen - 1e-12).mean(axis=0)
    found = group_test(values, labels, 2, permutations=8000)
    np.testing.assert_allclose(found.between, seen)
    np.testing.assert_allclose(found.p, exact, atol=0.02)
    assert found.p_global == pytest.approx((every.sum(axis=1) >= seen.sum() - 1e-12).mean(), abs=0.02)
    theirs = permutation_test(
        (values[:3, 0], values[3:, 0]),
        lambda a, b: (a.mean() - b.mean()) ** 2,
        n_resamples=10_000,
        alternative="greater",
    )
    assert found.p[0] == pytest.approx(theirs.pvalue, abs=0.02)


def test_exchangeable_groups_are_alarmed_about_at_the_level_and_not_more():
    alarms, single = [], []
    for seed in range(400):
        rng = np.random.default_rng(seed)
        values = np.abs(rng.standard_t(4, size=(60, 5))) * [3, 1, 1, 0.5, 0.1]
        found = group_test(values, np.repeat([0, 1, 2], [40, 14, 6]), 3, permutations=199, seed=seed)
        alarms.append(found.p_global <= 0.05)
        single.append((found.p_holm <= 0.05).any())
    assert 0.02 <= np.mean(alarms) <= 0.085
    assert np.mean(single) <= 0.085


def test_blocks_of_shuffles_change_nothing():
    rng = np.random.default_rng(1)
    values, labels = rng.normal(size=(30, 3)), rng.integers(0, 2, 30)
    one = group_test(values, labels, 2, permutations=99, chunk=7)
    other = group_test(values, labels, 2, permutations=99, chunk=99)
    np.testing.assert_array_equal(one.p, other.p)


def test_a_column_that_moves_nobody_is_not_tested():
    values = np.column_stack([np.arange(8.0), np.zeros(8)])
    found = group_test(values, np.array([0, 1] * 4), 2)
    assert np.isnan(found.p[1])
    assert found.p_holm[0] == found.p[0]


def test_distance_of_the_mixes():
    means = np.array([[[1.0, 1, 0], [2, 2, 0], [0, 0, 5]], [[1, 1, 2], [2, 2, 4], [3, 3, 6]]])
    np.testing.assert_allclose(reason_distance(means), [1, 0])
    assert np.isnan(reason_distance(np.zeros((1, 2, 3))))


def test_ranks():
    rng = np.random.default_rng(2)
    means = rng.random((3, 6))
    want = min(spearmanr(means[i], means[j]).statistic for i in range(3) for j in range(i))
    assert rank_correlation(means) == pytest.approx(want)
    assert np.isnan(rank_correlation(np.ones((2, 3))))


def credit_subject(rows=600, seed=0, **knobs):
    world = credit(**knobs)
    data = world.draw(rows, np.random.default_rng(seed))
    model = oracle(Spec(model=ModelSpec(kind="oracle"), data=DataSpec(world="credit", knobs=knobs)), data)
    return subject(model, data.inputs, data.y, dict(data.groups)), world


def by_feature(found, name):
    return {m.where["feature"]: m for m in found if isinstance(m, Measure) and m.name == name and m.where["sex"] == ALL}


def test_the_credit_world_recovers_its_known_differences():
    """Of the log-odds: sex moves men and women 2 tau apart, another feature its weight times their difference in it."""
    s, _ = credit_subject(tau=0.4)
    found = list(group_reasons(s, context(), rows=600, link="logit"))
    apart = by_feature(found, "mean_shap_difference")
    assert apart["sex"].value == pytest.approx(0.8)
    x, men = s.data.inputs.values, s.groups["sex"].values == 1
    for place, weight, population in ((0, 1.2, 1.2), (1, -0.9, 0.45), (2, 0.7, 0.42)):
        one = apart[s.data.inputs.columns[place]]
        truth = weight * (x[men, place].mean() - x[~men, place].mean())
        assert one.value == pytest.approx(truth)
        assert one.value == pytest.approx(population, abs=0.25)
        assert one.interval.low < one.value < one.interval.high
        assert "p = 0.0" in one.note
    assert apart["zip"].value == apart["n1"].value == 0
    p = {m.name: m.value for m in found if isinstance(m, Measure) and m.name.endswith("_p")}
    assert p["directions_p"] == 0.001
    assert p["same_value_p"] is None  # the log-odds add up, so at the same value a feature counts alike
    reasons, directions, _ = (e for e in found if isinstance(e, Table))
    assert directions.rows[0][0] == "income"
    assert reasons.columns[1:3] == ("female", "male")


def test_an_interaction_counts_differently_at_the_same_value():
    """With omega income history, men's higher income makes their history count for more."""
    s, _ = credit_subject(omega=0.8)
    found = list(group_reasons(s, context(), rows=400, permutations=199, link="logit"))
    (p,) = [m for m in found if m.name == "same_value_p"]
    assert p.value < 0.05
    assert p.note.endswith(("income", "history"))


def test_groups_that_are_judged_alike_and_groups_that_are_not():
    rng = np.random.default_rng(3)
    sex = rng.integers(0, 2, 400)
    x = rng.normal(size=(400, 3))
    group = {"sex": codes(np.array(["f", "m"])[sex])}
    alike = subject(Plain(lambda v: sigmoid(v @ [1.0, -1.0, 0.5])), table(x), groups=group)
    found = {
        m.name: m for m in group_reasons(alike, context()) if isinstance(m, Measure) and m.where.get("feature") is None
    }
    assert found["reasons_p"].value > 0.05
    assert found["reason_distance"].interval.low < 0.02
    with_sex = np.column_stack([x, sex])
    other = Plain(lambda v: sigmoid(np.where(v[:, 3] == 1, 2 * v[:, 0], 2 * v[:, 1])))
    differs = subject(other, table(with_sex), groups=group)
    found = {
        m.name: m
        for m in group_reasons(differs, context())
        if isinstance(m, Measure) and m.where.get("feature") is None
    }
    assert found["reasons_p"].value == 0.001
    assert found["reason_distance"].interval.low > 0.05
    assert found["reason_rank_correlation"].value < 0.9


def test_unknown_and_single_people_take_no_part():
    x = np.random.default_rng(4).normal(size=(60, 2))
    group = codes(["f", "m"] * 29 + ["x", "?"], levels=("f", "m", "x"))
    s = subject(Plain(lambda v: sigmoid(v[:, 0])), table(x), groups={"sex": group})
    (distance,) = [m for m in group_reasons(s, context()) if m.name == "reason_distance"]
    assert distance.n == 58
    alone = subject(Plain(lambda v: sigmoid(v[:, 0])), table(x), groups={"sex": codes(["f"] * 60, levels=("f", "m"))})
    (nothing,) = list(group_reasons(alone, context()))
    assert nothing.value is None
    assert "fewer than two groups" in nothing.note


def test_a_constant_model_has_no_reasons():
    x = np.random.default_rng(5).normal(size=(60, 2))
    s = subject(Plain(lambda v: np.full(len(v), 0.4)), table(x), groups={"sex": codes(["f", "m"] * 30)})
    found = list(group_reasons(s, context()))
    (distance,) = [m for m in found if m.name == "reason_distance"]
    assert distance.value is None
    assert [m.value for m in found if isinstance(m, Measure) and m.name.endswith("_p")] == [1, 1, None]


def test_the_single_figures_can_be_few_and_the_tables_show_all():
    s, _ = credit_subject(rows=120)
    found = list(group_reasons(s, context(), features=2))
    assert set(by_feature(found, "mean_abs_shap_difference")) == {"income", "debt"}
    assert all(len(e.rows) == 7 for e in found if isinstance(e, Table))
