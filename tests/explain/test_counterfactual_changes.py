"""Nearest feasible changes against linear programming, brute force and the constraints themselves."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from little_models import Plain, sigmoid, table

from audit.core import NotApplicable, UsageError
from audit.explain import counterfactual, counterfactuals, game, search
from audit.explain.counterfactual import ALREADY

W = np.array([1.2, -0.9, 0.7, 0.0, 0.3, 0.1, -0.4])


def linear(weights=W, bias=-0.5):
    return Plain(lambda v: sigmoid(v @ weights + bias))


def normal(n, d=7, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d))


def mad(x):
    return np.median(np.abs(x - np.median(x, axis=0)), axis=0)


def programme(x, seen, weights, need, unit):
    """The cheapest change of a linear score, by linear programming over rises and falls within what was seen."""
    from scipy.optimize import linprog

    up, down = np.maximum(seen.max(axis=0) - x, 0), np.maximum(x - seen.min(axis=0), 0)
    solved = linprog(
        np.r_[unit, unit],
        A_ub=[-np.r_[weights, -weights]],
        b_ub=[-need],
        bounds=[(0, high) for high in np.r_[up, down]],
    )
    return solved.fun if solved.success else np.inf


# --------------------------------------------------------------------------------------------- how near is nearest
def test_the_change_of_a_linear_model_is_that_of_linear_programming():
    x, seen = normal(120), normal(64, seed=1)
    found = counterfactuals(game(linear(), table(x), table(seen)))
    unit = 1 / mad(seen)
    np.testing.assert_allclose(list(found.unit.values()), unit)
    refused = np.flatnonzero(found.before < 0.5)
    truth = np.array([programme(x[row], seen, W, 0.5 - x[row] @ W, unit) for row in refused])
    assert (found.cost[refused, 0] >= truth - 1e-9).all()
    np.testing.assert_allclose(found.cost[refused, 0], truth, rtol=1e-3)
    assert found.found[refused, 0].all()


def test_one_feature_crosses_at_the_boundary_itself():
    """With one free feature the nearest change is logit / |w|."""
    x, seen = normal(50), 30 * normal(64, seed=1)
    found = counterfactuals(game(linear(), table(x), table(seen)), immutable=[f"x{i}" for i in range(1, 7)], count=1)
    refused = found.before < 0.5
    distance = -(x @ W - 0.5) / W[0]
    np.testing.assert_allclose(found.changed[0].values[refused, 0] - x[refused, 0], distance[refused], rtol=1e-3)
    assert (found.sparsity[refused] == 1).all()


@pytest.mark.parametrize("kind", ["boosting", "forest", "rules"])
def test_few_changes_on_a_small_grid_are_dearer_than_the_best_of_all(kind):
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier

    rng = np.random.default_rng(1)
    levels, d = 6, 3
    x = rng.integers(0, levels, size=(500, d)).astype(float)
    z = x - 2.5
    y = (z[:, 0] * z[:, 1] + 1.5 * z[:, 2] + rng.normal(size=500) > 0.8).astype(int)
    if kind == "rules":
        model = Plain(lambda v: 0.9 * ((v[:, 0] >= 4) & (v[:, 1] <= 1) | (v[:, 2] == 5)) + 0.05)
    else:
        made = (
            HistGradientBoostingClassifier(random_state=0, max_iter=30)
            if kind == "boosting"
            else RandomForestClassifier(20, random_state=0)
        )
        made.fit(x, y)
        model = Plain(lambda v: made.predict_proba(v)[:, 1])
    t = table(x, integers=frozenset({"x0", "x1", "x2"}))
    found = counterfactuals(game(model, t.take(np.arange(60)), t.take(np.arange(60, 260))), count=1)
    grid = np.array(list(itertools.product(range(levels), repeat=d)), dtype=float)
    good = grid[model.function(grid) >= 0.5]
    refused = np.flatnonzero(found.before < 0.5)
    unit = np.array(list(found.unit.values()))
    best = np.array([(np.abs(good - x[row]) * unit).sum(axis=1).min() for row in refused])
    excess = found.cost[refused, 0] / best - 1
    assert (excess >= -1e-9).all()
    assert (excess < 1e-9).mean() >= 0.9
    assert excess.mean() < 0.02


def test_reach_is_found_where_only_steps_that_add_up_lead_there():
    """No background person is approved; the threshold is met only with all three features at their best."""
    seen = normal(40, 3, seed=2)
    seen = seen[seen.sum(axis=1) < 2]
    best = seen.max(axis=0)
    model = Plain(lambda v: sigmoid(v.sum(axis=1) - best.sum() + 1e-6))
    found = counterfactuals(game(model, table(seen[:5]), table(seen)), count=1)
    assert found.found.all()
    np.testing.assert_allclose(found.changed[0].values, np.tile(best, (5, 1)), atol=1e-3)


# ------------------------------------------------------------------------------------------------ what is feasible
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), scale=st.sampled_from(["mad", "quantile"]), count=st.integers(1, 4))
def test_every_change_obeys_its_constraints_and_is_approved(seed, scale, count):
    rng = np.random.default_rng(seed)
    n = 60
    values = np.column_stack(
        [
            rng.normal(size=n),
            rng.normal(size=n),
            rng.integers(18, 70, n),
            rng.integers(0, 4, n),
            np.eye(3)[rng.integers(0, 3, n)],
        ]
    )
    values[rng.random(n) < 0.1, 1] = np.nan
    names = ("income", "debt", "age", "home", "j=a", "j=b", "j=c")
    t = table(values, names, categories={"home": ("rent", "own", "free", "never seen")}, integers=frozenset({"age"}))
    t = t.with_values(np.where(np.arange(7) == 3, np.minimum(values, 2), values) if seed % 2 else values)
    effect = rng.normal(size=7)

    def score(v):
        return sigmoid(np.nan_to_num(v) @ (effect * [1, 1, 0.05, 1, 1, 1, 1]) + np.sin(3 * v[:, 0]) - 0.5)

    chosen, behind = t.take(np.arange(12)), t.take(np.arange(12, n))
    players = {"job": names[4:]}
    found = counterfactuals(
        game(Plain(score), chosen, behind, players=players),
        immutable=["debt"] if seed % 3 else [],
        monotone={"age": +1},
        scale=scale,
        count=count,
    )
    x, seen = chosen.values, behind.values
    for place in range(count):
        new = found.changed[place].values
        here = found.found[:, place]
        np.testing.assert_array_equal(new[~here], x[~here])
        assert (score(new[here]) >= 0.5).all()
        np.testing.assert_allclose(found.outputs[here, place], score(new[here]))
        assert (found.cost[here, place] > 0).all()
        assert all(found.words(row, place) for row in np.flatnonzero(here))
        if seed % 3:
            np.testing.assert_array_equal(new[:, 1], x[:, 1])
        assert (new[:, 2] >= x[:, 2]).all()
        assert (new[:, 2] == np.rint(new[:, 2])).all()
        moved = new != x
        for column in (0, 2, 3):
            inside = (new[:, column] >= np.minimum(seen[:, column].min(), x[:, column])) & (
                new[:, column] <= np.maximum(seen[:, column].max(), x[:, column])
            )
            assert inside.all()
        assert np.isin(new[moved[:, 3], 3], seen[:, 3]).all()
        assert (new[:, 4:].sum(axis=1) == 1).all()
    assert (np.diff(found.cost, axis=1)[found.found[:, 1:]] >= -1e-12).all()
    for row in range(12):
        assert bool(found.reasons[row]) != bool(found.found[row, 0])
        assert (found.reasons[row] == ALREADY) == (score(x[row : row + 1])[0] >= 0.5)


def test_costs_are_what_their_scale_says():
    x, seen = normal(20), normal(64, seed=1)
    found = counterfactuals(game(linear(), table(x), table(seen)), scale="quantile", weights={"x0": 5.0})
    row, place = map(int, np.argwhere(found.found)[0])
    new = found.changed[place].values[row]

    def rank(number, column):
        known = np.sort(seen[:, column])  # all different: the k-th has k - 1/2 of 64 people below it
        return np.interp(number, known, (np.arange(64) + 0.5) / 64)

    price = [(5 if j == 0 else 1) * abs(rank(new[j], j) - rank(x[row, j], j)) for j in range(7)]
    np.testing.assert_allclose(found.by_player[row, place], price, atol=1e-12)
    assert found.cost[row, place] == pytest.approx(sum(price))


def test_dear_features_are_left_alone():
    x, seen = normal(60), normal(64, seed=1)
    cheap = counterfactuals(game(linear(), table(x), table(seen)), count=1)
    dear = counterfactuals(game(linear(), table(x), table(seen)), count=1, weights={"x0": 50.0})
    assert (cheap.by_player[:, 0, 0] > 0).sum() > 20
    assert (dear.by_player[:, 0, 0] > 0).sum() <= 3


def test_low_can_be_the_good_side_and_the_threshold_itself_is_high():
    x, seen = normal(60), normal(64, seed=1)
    high = counterfactuals(game(linear(), table(x), table(seen)))
    low = counterfactuals(game(linear(-W, 0.5), table(x), table(seen)), favourable="low")
    np.testing.assert_allclose(low.cost, high.cost, rtol=1e-3)
    assert (low.outputs[low.found] < 0.5).all()
    flat = Plain(lambda v: np.full(len(v), 0.5))
    assert set(counterfactuals(game(flat, table(x[:3]), table(seen))).reasons) == {ALREADY}
    stuck = counterfactuals(game(flat, table(x[:3]), table(seen)), favourable="low")
    assert not stuck.found.any()


def test_the_log_odds_of_a_game_have_their_own_threshold():
    x, seen = normal(40), normal(64, seed=1)
    odds = counterfactuals(game(linear(), table(x), table(seen), link="logit"), threshold=0.0)
    plain = counterfactuals(game(linear(), table(x), table(seen)))
    np.testing.assert_allclose(odds.cost, plain.cost, rtol=1e-6)


# ----------------------------------------------------------------------------------------- several, none, and again
def test_further_changes_differ():
    x, seen = normal(60), normal(64, seed=1)
    found = counterfactuals(game(linear(), table(x), table(seen)), count=3)
    refused = np.flatnonzero(found.before < 0.5)
    assert found.found[refused].mean() > 0.95
    unit = np.array(list(found.unit.values()))
    for row in refused:
        versions = [one.values[row] for one, there in zip(found.changed, found.found[row], strict=True) if there]
        for one, other in itertools.combinations(versions, 2):
            assert (np.abs(one - other) * unit).sum() > 0.1 * found.cost[row, 0]
    sets = [{tuple(found.by_player[row, k] > 0) for k in range(3)} for row in refused]
    assert np.mean([len(each) == 3 for each in sets]) > 0.8


def test_none_is_said_with_its_reason():
    x, seen = normal(10), normal(30, seed=1)
    never = Plain(lambda v: np.full(len(v), 0.1))
    found = counterfactuals(game(never, table(x), table(seen)))
    assert not found.found.any()
    assert np.isnan(found.cost).all()
    assert np.isnan(found.sparsity).all()
    assert "30 people were tried" in found.reasons[0]
    assert found.words(0) == found.reasons[0]
    fixed = counterfactuals(game(linear(), table(x), table(seen)), immutable=[f"x{i}" for i in range(7)])
    assert {r for r in fixed.reasons if r != ALREADY} == {"no feature may change"}
    one = counterfactuals(game(linear(), table(x), table(x[:1])))
    assert all(bool(reason) != there for reason, there in zip(one.reasons, one.found[:, 0], strict=True))


def needs_most(d=14, needed=13):
    """A sum of d features of which each can gain 1: all but d - needed of them must change."""
    model = Plain(lambda v: sigmoid(v.sum(axis=1) - (needed - 0.5)))
    seen = np.tile(np.eye(d), (2, 1))  # nobody is approved, every value 0 or 1 is seen
    return game(model, table(np.zeros((2, d))), table(seen))


def test_a_change_of_nearly_all_features_is_found():
    found = counterfactuals(needs_most(), count=1)
    assert found.found.all()
    assert found.sparsity.tolist() == [13, 13]
    assert not found.unsettled.any()
    assert (found.outputs >= 0.5).all()
    never = counterfactuals(needs_most(needed=16), count=1)  # the sum of 14 cannot be 15.5
    assert not never.found.any()
    assert not never.unsettled.any(), "all steps were taken"
    assert "no feasible change found" in never.reasons[0]


def test_a_search_that_is_stopped_does_not_say_that_nothing_exists(monkeypatch):
    monkeypatch.setattr(search, "TRIALS", 1)
    found = counterfactuals(needs_most(), count=1)
    assert not found.found.any()
    assert found.unsettled.all()
    assert found.reasons[0] == "the search stopped after 10 steps: a change of more features may exist"


def test_rows_do_not_see_each_other(monkeypatch):
    x, seen = normal(30), normal(40, seed=1)
    whole = counterfactuals(game(linear(), table(x), table(seen)))
    again = counterfactuals(game(linear(), table(x), table(seen)))
    np.testing.assert_array_equal(whole.cost, again.cost)
    monkeypatch.setattr(counterfactual, "BLOCK", 4)
    parts = counterfactuals(game(linear(), table(x), table(seen)))
    np.testing.assert_allclose(parts.cost, whole.cost, rtol=1e-9)
    assert parts.evaluations == whole.evaluations
    model = linear()
    counted = counterfactuals(game(model, table(x), table(seen)))
    assert counted.evaluations == sum(model.calls)


def test_words_and_frame():
    t = table([[1.0, 0.0], [9.0, 1.0]], ["income", "home"], categories={"home": ("rent", "own")}, integers={"income"})
    model = Plain(lambda v: 0.2 + 0.6 * v[:, 1])
    found = counterfactuals(game(model, t.take(np.array([0])), t))
    assert found.words(0) == "home: rent to own"
    assert found.words(0, 2) == "no further change that differs"
    frame = found.frame()
    assert frame.loc[0, ["home", "income"]].tolist() == ["own", 1]
    assert frame.loc[0, "cost"] == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"favourable": "up"}, "favourable"),
        ({"count": 0}, "count"),
        ({"tries": 1}, "tries"),
        ({"scale": "euclid"}, "scale"),
        ({"immutable": ["x9"]}, "immutable: allowed: x0"),
        ({"monotone": {"x0": 2}}, "monotone"),
        ({"monotone": {"y": 1}}, "monotone: allowed"),
        ({"weights": {"x0": 0.0}}, "positive"),
        ({"weights": {"x0": float("nan")}}, "positive"),
    ],
)
def test_what_cannot_be_understood_says_so(options, message):
    with pytest.raises(UsageError, match=message):
        counterfactuals(game(linear(), table(normal(3)), table(normal(9))), **options)


def test_only_tables_change():
    from audit.data.images import Images

    pictures = Images(values=np.zeros((2, 1, 4, 4)))
    played = game(Plain(lambda v: np.zeros(len(v))), pictures, pictures)
    with pytest.raises(NotApplicable, match="tables"):
        counterfactuals(played)
