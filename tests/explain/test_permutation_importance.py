"""Permutation importance against scikit-learn, closed forms, and the coverage of its intervals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from little_models import Plain, codes, context, sigmoid, subject, table
from sklearn.inspection import permutation_importance as peer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, brier_score_loss, log_loss, roc_auc_score

from audit import stats
from audit.core import Measure, NotApplicable, UsageError
from audit.data.images import Images
from audit.explain import game
from audit.explain.influences import performance
from audit.explain.permutation_importance import (
    permutation,
    permutation_importance,
    shuffles,
    strata_of,
)


def free(n, repeats, seed=0):
    return shuffles(np.zeros(n, dtype=int), repeats, np.random.default_rng(seed))


@pytest.mark.parametrize(
    ("metric", "scoring"), [("auc", "roc_auc"), ("log_loss", "neg_log_loss"), ("accuracy", "accuracy")]
)
def test_equals_scikit_learn_on_its_own_shuffles(metric, scoring):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 3))
    y = (rng.random(80) < sigmoid(x @ [2.0, -1.0, 0.0])).astype(int)
    fitted = LogisticRegression().fit(x, y)
    theirs = peer(fitted, x, y, scoring=scoring, n_repeats=4, random_state=3)
    for column in range(3):
        seed = np.random.RandomState(3).randint(np.iinfo(np.int32).max + 1)
        state, order, step, orders = np.random.RandomState(seed), np.arange(80), np.arange(80), []
        for _ in range(4):
            state.shuffle(step)
            order = order[step]
            orders.append(order)
        found = permutation_importance(game(fitted, x), f"x{column}", np.array(orders), y, metrics=(metric,))[metric]
        np.testing.assert_allclose(found.each, theirs.importances[column], atol=1e-12)


def test_metrics_equal_scikit_learns_with_ties_and_several_classes():
    rng = np.random.default_rng(1)
    y, score = rng.integers(0, 2, 60), np.round(rng.random((3, 60)), 1)
    for place in range(3):
        assert performance(score, y, "auc")[0][place] == pytest.approx(roc_auc_score(y, score[place]))
        assert performance(score, y, "brier")[0][place] == pytest.approx(brier_score_loss(y, score[place]))
        assert performance(score, y, "accuracy")[0][place] == pytest.approx(accuracy_score(y, score[place] >= 0.5))
    inner = np.clip(score, 0.01, 0.99)
    assert performance(inner, y, "log_loss")[0][0] == pytest.approx(log_loss(y, inner[0]))
    wide, classes = rng.dirichlet(np.ones(3), (2, 60)), rng.integers(0, 3, 60)
    assert performance(wide, classes, "log_loss")[0][1] == pytest.approx(log_loss(classes, wide[1]))
    assert performance(wide, classes, "accuracy")[0][0] == pytest.approx((wide[0].argmax(axis=1) == classes).mean())
    assert performance(wide, classes, "brier")[0][0] == pytest.approx(
        np.mean([((wide[0, i] - np.eye(3)[classes[i]]) ** 2).sum() for i in range(60)])
    )
    assert np.isnan(performance(wide, classes, "auc")[0]).all()
    assert np.isnan(performance(score, np.ones(60), "auc")[0]).all()


def test_a_certain_wrong_answer_has_a_finite_log_loss():
    assert performance(np.array([[0.0, 1.0]]), np.array([1, 1]), "log_loss")[0][0] == pytest.approx(36.04 / 2, abs=0.01)


def test_influence_of_the_auc_gives_delongs_variance():
    rng = np.random.default_rng(2)
    y = rng.integers(0, 2, 400)
    score = np.round(sigmoid(rng.normal(size=400) + y), 2)
    _, variance = stats.delong(score, y)
    influence = performance(score[None], y, "auc")[1][0]
    assert influence.mean() == pytest.approx(0, abs=1e-12)
    assert influence.var() / 400 == pytest.approx(variance, rel=0.01)


def test_linear_regression_gains_twice_the_squared_effect_and_intervals_cover():
    """Independent features: E[(y - f(permuted))²] - E[(y - f)²] = 2 w² var."""
    weights, covered = np.array([1.0, -0.5]), []
    model = Plain(lambda v: v @ weights)
    for seed in range(150):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(150, 2)) * [1, 2]
        y = x @ weights + rng.normal(size=150)
        for column, name in enumerate(("x0", "x1")):
            orders = free(150, 8, seed + 1000 * column)
            found = permutation_importance(
                game(model, x, x[:1], output="value"), name, orders, y, metrics=("squared_error",)
            )["squared_error"]
            low, high = found.interval(0.95)
            covered.append(low <= 2 * weights[column] ** 2 * (1, 4)[column] <= high)
    assert 0.92 <= np.mean(covered) <= 0.995


def test_an_ignored_feature_costs_nothing_and_has_no_doubt():
    x = np.random.default_rng(3).normal(size=(50, 2))
    y = (x[:, 0] > 0).astype(int)
    played = game(Plain(lambda v: sigmoid(v[:, 0])), table(x), table(x[:1]))
    for metric, found in permutation_importance(
        played, "x1", free(50, 3), y, metrics=("auc", "log_loss", "score_change")
    ).items():
        assert found.value == 0, metric
        assert found.interval() == (0, 0)


def test_score_change_is_the_mean_absolute_move():
    x = np.random.default_rng(4).normal(size=(30, 2))
    orders = free(30, 2)
    found = permutation_importance(game(Plain(lambda v: sigmoid(v @ [1.0, 2.0])), table(x)), "x0", orders)
    by_hand = [
        np.mean([abs(sigmoid(x[o[i], 0] + 2 * x[i, 1]) - sigmoid(x[i] @ [1, 2])) for i in range(30)]) for o in orders
    ]
    np.testing.assert_allclose(found["score_change"].each, by_hand, atol=1e-12)


def test_columns_of_a_group_travel_together():
    x = np.random.default_rng(5).normal(size=(40, 3))
    x[:, 1] = x[:, 0]
    model = Plain(lambda v: (v[:, 0] == v[:, 1]) * 0.8 + 0.1)
    together = game(model, table(x), players={"pair": ("x0", "x1")})
    assert permutation_importance(together, "pair", free(40, 3))["score_change"].value == 0
    assert permutation_importance(game(model, table(x)), "x0", free(40, 3))["score_change"].value > 0.7


@given(st.lists(st.integers(0, 3), min_size=1, max_size=30), st.integers(0, 99))
def test_shuffles_are_permutations_within_strata(strata, seed):
    strata = np.array(strata)
    for order in shuffles(strata, 3, np.random.default_rng(seed)):
        assert sorted(order) == list(range(len(strata)))
        assert (strata[order] == strata).all()


def test_shuffles_reach_every_order():
    drawn = shuffles(np.zeros(3, dtype=int), 600, np.random.default_rng(0))
    _, counts = np.unique(drawn, axis=0, return_counts=True)
    assert len(counts) == 6
    assert counts.min() > 60


def test_conditional_importance_is_what_a_feature_tells_beyond_the_others():
    """Gaussian with correlation r: the conditional importance is 2 w² (1 - r²), up to the width of the strata."""
    rng = np.random.default_rng(6)
    one = rng.normal(size=2000)
    x = np.column_stack([one, 0.95 * one + np.sqrt(1 - 0.95**2) * rng.normal(size=2000), rng.normal(size=2000)])
    played = game(Plain(lambda v: v[:, 0] + v[:, 2]), table(x), output="value")
    strata = {name: strata_of(played, name) for name in ("x0", "x2")}
    assert np.bincount(strata["x0"])[np.unique(strata["x0"])].min() >= 20
    found = {
        name: permutation_importance(
            played,
            name,
            shuffles(strata[name], 5, np.random.default_rng(0)),
            x[:, 0] + x[:, 2],
            metrics=("squared_error",),
        )["squared_error"].value
        for name in strata
    }
    assert 2 * (1 - 0.95**2) <= found["x0"] < 0.45
    assert found["x2"] == pytest.approx(2, rel=0.15)


def test_strata_read_gaps_and_categories():
    rng = np.random.default_rng(7)
    kind = rng.integers(0, 3, 300).astype(float)
    number = kind * 10 + rng.normal(size=300)
    number[::7] = np.nan
    kind[::11] = np.nan
    x = table(np.column_stack([kind, number]), ["kind", "number"], categories={"kind": ("a", "b", "c")})
    played = game(Plain(lambda v: np.full(len(v), 0.5)), x)
    strata = strata_of(played, "number")
    there = ~np.isnan(x.values).any(axis=1)
    for stratum in np.unique(strata[there]):
        assert len(np.unique(kind[there & (strata == stratum)])) == 1
    assert len(np.unique(strata_of(played, "kind"))) >= 3


def credit_like(n=200, model=None, **facts):
    rng = np.random.default_rng(8)
    x = rng.normal(size=(n, 3))
    y = (rng.random(n) < sigmoid(x @ [1.5, -0.8, 0.0])).astype(np.int64)
    model = model or Plain(lambda v: sigmoid(v @ [1.5, -0.8, 0.0]))
    facts = {"y": y} | facts
    return subject(model, table(x), groups={"sex": codes(["f", "m"] * (n // 2))}, **facts)


def named(evidence, name):
    return [e for e in evidence if e.name == name]


def test_the_check_ranks_the_features_and_does_not_depend_on_batches():
    found = list(permutation(credit_like(), context()))
    auc = {
        m.where["feature"]: m
        for m in named(found, "permutation_importance")
        if isinstance(m, Measure) and m.where["metric"] == "auc"
    }
    assert auc["x0"].value > auc["x1"].value > auc["x2"].value == 0
    assert auc["x0"].interval.low > 0
    assert len(named(found, "conditional_permutation_importance")) == 6
    assert len(found) == 12
    small = Plain(lambda v: sigmoid(v @ [1.5, -0.8, 0.0]), batch=7)
    assert list(permutation(credit_like(model=small), context())) == found


def test_the_check_without_labels_with_one_class_with_numbers_and_with_several_classes():
    bare = list(permutation(credit_like(y=None), context(), conditional=False))
    assert {m.where["metric"] for m in bare if isinstance(m, Measure)} == {"score_change"}
    one = list(permutation(credit_like(y=np.ones(200, dtype=int)), context(), conditional=False))
    undefined = [m for m in one if isinstance(m, Measure) and m.where["metric"] == "auc"]
    assert all(m.value is None and "two classes" in m.note for m in undefined)
    wide = Plain(lambda v: np.exp(v) / np.exp(v).sum(axis=1, keepdims=True), classes=("a", "b", "c"))
    several = list(permutation(credit_like(model=wide), context(), conditional=False))
    assert {m.where["metric"] for m in several if isinstance(m, Measure)} == {"log_loss", "accuracy"}


def test_what_cannot_be_done_says_so():
    played = game(Plain(lambda v: sigmoid(v[:, 0])), table(np.zeros((4, 2))))
    with pytest.raises(UsageError, match="x0, x1, got 'x9'"):
        permutation_importance(played, "x9", free(4, 1))
    with pytest.raises(UsageError, match="did you mean 'log_loss'"):
        permutation_importance(played, "x0", free(4, 1), np.zeros(4), metrics=("logloss",))
    with pytest.raises(UsageError, match="needs labels"):
        permutation_importance(played, "x0", free(4, 1), metrics=("auc",))
    with pytest.raises(UsageError, match="repeats"):
        free(4, 0)
    pictures = Images(values=np.zeros((4, 1, 2, 2)))
    with pytest.raises(NotApplicable, match="Images"):
        list(permutation(subject(Plain(lambda v: v[:, 0, 0, 0]), pictures), context()))
