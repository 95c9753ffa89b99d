"""Accumulated local effects against closed forms and the definition in loops."""

import numpy as np
import pytest
from little_models import Plain, context, sigmoid, subject, table

from audit.core import Curve, NotApplicable, Table, UsageError
from audit.explain import game
from audit.explain.ale import accumulated_local_effects
from audit.explain.ale_pairs import ale_pair
from audit.explain.ale_steps import ale, bin_of, cut, level_order


def numbers(function, x, **facts):
    return game(Plain(function), table(x, **facts), output="value")


def correlated(n, r, seed=0):
    rng = np.random.default_rng(seed)
    one = rng.normal(size=n)
    return np.column_stack([one, r * one + np.sqrt(1 - r * r) * rng.normal(size=n)])


def test_an_additive_model_gives_each_its_own_effect_without_doubt():
    x = correlated(200, 0.9)
    found = ale(numbers(lambda v: v[:, 0] ** 3 + np.sin(v[:, 1]), x), "x0")
    mids = (found.at[1:] ** 3 + found.at[:-1] ** 3) / 2
    counts = np.bincount(bin_of(x[:, 0], found.at))
    np.testing.assert_allclose(found.effect, found.at**3 - (counts * mids).sum() / 200, atol=1e-10)
    np.testing.assert_allclose(found.error, 0, atol=1e-12)


def test_a_product_of_correlated_features_has_half_r_x_squared():
    """E[d(x1 x2)/dx1 | x1] = r x1, so the effect is r (x1² - 1) / 2, and partial dependence is flat."""
    found = ale(numbers(lambda v: v[:, 0] * v[:, 1], correlated(20_000, 0.8)), "x0", bins=40)
    inner = np.abs(found.at) < 2
    away = found.effect - 0.4 * (found.at**2 - 1)
    np.testing.assert_allclose(away[inner], away[inner].mean(), atol=0.03)  # the shape
    assert abs(away[inner].mean()) < 0.1  # the centre, which wide bins at the ends move


def test_the_band_covers():
    covered = []
    for seed in range(300):
        found = ale(numbers(lambda v: v[:, 0] * v[:, 1], correlated(120, 0.0, seed)), "x0", bins=6)
        value, influence = found.effect[-1] - found.effect[0], found.influence[:, -1] - found.influence[:, 0]
        covered.append(abs(value) <= 1.96 * np.linalg.norm(influence))  # truth 0: x1, x2 independent, with mean 0
    assert 0.91 <= np.mean(covered) <= 0.98


@pytest.mark.parametrize(("rows", "bins"), [(256, 12), (120, 6)])
def test_the_range_of_a_flat_effect_is_rarely_called_more_than_nought(rows, bins):
    alarms = []
    for seed in range(400):
        found = ale(numbers(lambda v: v[:, 0] * v[:, 1], correlated(rows, 0.0, seed)), "x0", bins=bins)
        value, low, high = found.span(0.95, np.random.default_rng(seed))
        assert 0 <= low <= value <= high
        alarms.append(low > 0)
    assert np.mean(alarms) <= 0.07


def test_the_interval_of_a_range_covers_it():
    """Along x1 the effect of x1 (b + x2) is b x1 + constant, of range b times the width of the edges."""
    covered, above = [], []
    for seed in range(200):
        found = ale(numbers(lambda v: v[:, 0] * (0.5 + v[:, 1]), correlated(256, 0.0, seed)), "x0", bins=12)
        _, low, high = found.span(0.95, np.random.default_rng(seed))
        covered.append(low <= 0.5 * np.ptp(found.at) <= high)
        above.append(low > 0)
    assert np.mean(covered) >= 0.93
    assert np.mean(above) > 0.8


def test_the_definition_in_loops():
    x = correlated(37, 0.5, 3)

    def f(v):
        return v[:, 0] * v[:, 1] + np.exp(v[:, 0])

    found = ale(numbers(f, x), "x0", bins=5)
    total, effect = 0.0, [0.0]
    for low, high in zip(found.at[:-1], found.at[1:], strict=True):
        inside = [row for row in x if low < row[0] <= high or (low == found.at[0] and row[0] == low)]
        steps = [f(np.array([[high, row[1]]]))[0] - f(np.array([[low, row[1]]]))[0] for row in inside]
        total += np.mean(steps)
        effect.append(total)
    place = bin_of(x[:, 0], found.at)
    centre = np.mean([(effect[k] + effect[k + 1]) / 2 for k in place])
    np.testing.assert_allclose(found.effect, np.array(effect) - centre, atol=1e-12)


def test_levels_are_laid_side_by_side_by_likeness_and_add_up():
    rng = np.random.default_rng(4)
    level = rng.integers(0, 4, 400)
    other = np.array([3.0, 0.0, 2.0, 1.0])[level] + 0.2 * rng.normal(size=400)
    x = table(np.column_stack([level, other]), ["job", "pay"], categories={"job": ("a", "b", "c", "d")})
    order = level_order(x, 0).tolist()
    assert order in ([1, 3, 2, 0], [0, 2, 3, 1])
    effects = np.array([0.5, -1.0, 2.0, 0.0])
    found = ale(game(Plain(lambda v: effects[v[:, 0].astype(int)] + v[:, 1]), x, output="value"), "job")
    want = effects[found.at.astype(int)]
    np.testing.assert_allclose(found.effect, want - effects[level].mean(), atol=1e-12)
    assert found.levels == tuple("abcd"[int(place)] for place in order)


def test_gaps_take_no_part():
    x = correlated(60, 0.5)
    holed = np.vstack([x, [[np.nan, 1.0]] * 7])
    assert ale(numbers(lambda v: v[:, 0] * v[:, 1], holed), "x0").rows == 60
    np.testing.assert_array_equal(
        ale(numbers(lambda v: v[:, 0] * v[:, 1], holed), "x0").effect,
        ale(numbers(lambda v: v[:, 0] * v[:, 1], x), "x0").effect,
    )
    assert ale(numbers(lambda v: v[:, 1], np.column_stack([np.ones(5), np.arange(5)])), "x0").effect.tolist() == [0]
    assert (
        ale(numbers(lambda v: v[:, 1], np.column_stack([np.full(5, np.nan), np.arange(5)])), "x0").effect.tolist() == []
    )


def test_second_order_is_zero_for_additive_models_and_the_centred_product_else():
    x = correlated(3000, 0.0)
    *_, none = ale_pair(numbers(lambda v: v[:, 0] ** 3 + np.exp(v[:, 1]), x), "x0", "x1")
    np.testing.assert_allclose(none, 0, atol=1e-9)
    one, two, effect = ale_pair(numbers(lambda v: v[:, 0] * v[:, 1], x), "x0", "x1", bins=10)
    inner = np.ix_(np.abs(one) < 2, np.abs(two) < 2)
    np.testing.assert_allclose(effect[inner], np.outer(one, two)[inner], atol=0.25)
    # independent of the data's draw: the second difference of the product is exact
    exact = np.diff(np.diff(effect, axis=0), axis=1)
    np.testing.assert_allclose(exact, np.outer(np.diff(one), np.diff(two)), atol=1e-9)


def test_empty_cells_take_their_neighbours_change():
    x = correlated(80, 0.98, 5)
    one, two, effect = ale_pair(numbers(lambda v: v[:, 0] + 2 * v[:, 1], x), "x0", "x1", bins=6)
    assert effect.shape == (len(one), len(two))
    np.testing.assert_allclose(effect, 0, atol=1e-9)


def test_edges_occur_and_every_bin_has_somebody():
    x = np.array([0.0] * 50 + [1, 2, 2, 2, 9])
    edges = cut(x, 10)
    assert set(edges) <= set(x)
    assert np.bincount(bin_of(x, edges), minlength=len(edges) - 1).min() >= 1
    with pytest.raises(UsageError, match="bins"):
        cut(x, 0)


def test_the_check():
    rng = np.random.default_rng(6)
    values = np.column_stack([correlated(200, 0.5), rng.integers(0, 3, 200)])
    inputs = table(values, ["a", "b", "kind"], categories={"kind": ("p", "q", "r")})

    def f(v):
        return sigmoid(v[:, 0] * v[:, 1] + (v[:, 2] == 2))

    found = list(accumulated_local_effects(subject(Plain(f), inputs), context()))
    assert {e.view for e in found if isinstance(e, Table)} == {"bars", "matrix"}
    assert len([e for e in found if isinstance(e, Curve)]) == 2
    assert list(accumulated_local_effects(subject(Plain(f, batch=9), inputs), context())) == found
    with pytest.raises(NotApplicable, match="category"):
        ale_pair(game(Plain(f), inputs), "a", "kind")
    with pytest.raises(NotApplicable, match="one value"):
        list(accumulated_local_effects(subject(Plain(f), table(np.ones((9, 3)))), context()))
