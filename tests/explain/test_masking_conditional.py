"""Fillings given the present columns, against closed forms, brute force and peers."""

import itertools
import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from little_models import Plain, table
from sklearn.covariance import ledoit_wolf
from sklearn.neighbors import NearestNeighbors

from audit.core import DataError, UsageError
from audit.explain import game, shapley
from audit.explain.masking import masker
from audit.explain.masking.conditional import shrunk, smallest

EVERY = np.array(list(itertools.product([False, True], repeat=4)))


def correlated(rows, seed=0):
    mix = np.array([[1.0, 0, 0, 0], [0.8, 0.6, 0, 0], [-0.5, 0.3, 1, 0], [0.2, 0.9, -0.4, 0.5]])
    return np.random.default_rng(seed).normal(size=(rows, 4)) @ mix.T * [1, 10, 0.1, 3] + [5, -20, 0, 100]


def law(values):
    """Mean and shrunk covariance in the units of the columns, by scikit-learn."""
    centre, scale = values.mean(axis=0), values.std(axis=0)
    return centre, ledoit_wolf((values - centre) / scale, assume_centered=True)[0] * np.outer(scale, scale)


def conditional(centre, covariance, x, present):
    """E[X | X_present = x_present] and the covariance of what is absent, from the textbook."""
    mean, spread = x.copy(), np.zeros_like(covariance)
    p, a = np.flatnonzero(present), np.flatnonzero(~present)
    slope = covariance[np.ix_(a, p)] @ np.linalg.inv(covariance[np.ix_(p, p)])
    mean[a] = centre[a] + slope @ (x[p] - centre[p])
    spread[np.ix_(a, a)] = covariance[np.ix_(a, a)] - slope @ covariance[np.ix_(p, a)]
    return mean, spread


def shapley_by_hand(value, players):
    phi = np.zeros(players)
    for i in range(players):
        for size in range(players):
            for others in itertools.combinations([j for j in range(players) if j != i], size):
                share = math.factorial(size) * math.factorial(players - size - 1) / math.factorial(players)
                phi[i] += share * (value((*others, i)) - value(others))
    return phi


def test_shrinkage_is_that_of_scikit_learn():
    values = correlated(40)
    values = (values - values.mean(axis=0)) / values.std(axis=0)
    np.testing.assert_allclose(shrunk(values), ledoit_wolf(values, assume_centered=True)[0], rtol=1e-12)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_the_mean_over_the_draws_is_the_conditional_mean(size):
    rows, background = correlated(3, seed=1), correlated(50)
    filler = masker(table(rows), table(background), fill="gaussian", size=size)
    filled = filler.fill(np.arange(3), EVERY).values.reshape(3, 16, size, 4)
    for row, (place, present) in itertools.product(range(3), enumerate(EVERY)):
        mean, _ = conditional(*law(background), rows[row], present)
        np.testing.assert_allclose(filled[row, place].mean(axis=0), mean, rtol=1e-9, atol=1e-9)


def test_the_draws_spread_as_the_conditional_law():
    background = correlated(50)
    filler = masker(table(correlated(1, seed=1)), table(background), fill="gaussian", size=20_000)
    present = np.array([True, False, False, True])
    filled = filler.fill(np.array([0]), present[None]).values
    _, spread = conditional(*law(background), filler.inputs.values[0], present)
    deviations = np.sqrt(np.diag(law(background)[1]))
    off = (np.cov(filled.T, ddof=0) - spread) / np.outer(deviations, deviations)
    assert np.abs(off).max() < 0.02


def test_shapley_values_of_a_linear_model_are_those_of_conditional_expectations():
    rows, background, weights = correlated(3, seed=1), correlated(60), np.array([0.3, -0.02, 4.0, 0.1])
    found = shapley(game(Plain(lambda x: x @ weights), table(rows), table(background), fill="gaussian", size=3))
    for row, x in enumerate(rows):

        def value(present, x=x):
            return conditional(*law(background), x, np.isin(np.arange(4), present))[0] @ weights

        np.testing.assert_allclose(found.values[row], shapley_by_hand(value, 4), rtol=1e-8, atol=1e-9)


def test_two_correlated_columns_have_the_closed_form():
    """phi_1 = w_1 x_1 + rho / 2 (w_2 x_1 - w_1 x_2) for unit variances and means 0; the interventional one is w_1 x_1."""
    rho, weights, x = 0.7, np.array([1.0, 0.0]), np.array([[1.0, -2.0]])
    drawn = np.random.default_rng(0).normal(size=(200_000, 2)) @ np.array([[1, 0], [rho, np.sqrt(1 - rho**2)]]).T
    found = shapley(game(Plain(lambda x: x @ weights), table(x), table(drawn), fill="gaussian", size=2))
    expected = weights * x[0] + rho / 2 * (weights[::-1] * x[0] - weights * x[0, ::-1])
    np.testing.assert_allclose(found.values[0], expected, atol=0.01)
    assert found.values[0, 1] == pytest.approx(-0.7, abs=0.01)  # credit for a column that the model never reads


def test_what_is_missing_stays_missing_and_says_nothing():
    background, rows = correlated(50), correlated(2, seed=1)
    rows[0, 1] = np.nan
    filler = masker(table(rows), table(np.vstack([background, [[np.nan] * 4]])), fill="gaussian", size=2)
    filled = filler.fill(np.arange(2), EVERY).values.reshape(2, 16, 2, 4)
    for place, present in enumerate(EVERY):
        assert np.isnan(filled[0, place, :, 1]).all() == present[1]
        mean, _ = conditional(*law(background), rows[0], present & [True, False, True, True])
        left = [0, 2, 3] if present[1] else [0, 1, 2, 3]
        np.testing.assert_allclose(filled[0, place].mean(axis=0)[left], mean[left], rtol=1e-9, atol=1e-9)
    assert not np.isnan(filled[1]).any()


def test_constant_and_repeated_columns():
    base = np.random.default_rng(0).normal(size=(500, 1))
    background = np.hstack([base, 2 * base + 1, np.full((500, 1), 0.1)])
    row = table([[3.0, 7.0, 9.0]])
    filled = masker(row, table(background), fill="gaussian", size=4).fill(
        np.array([0]), np.array([[True, False, False], [False, False, True]])
    )
    np.testing.assert_allclose(filled.values[:4, 1], 7, atol=0.5)  # of a standard deviation of 2; shrinkage leaves some
    np.testing.assert_array_equal(filled.values[:4, 2], background[0, 2])
    np.testing.assert_allclose(filled.values[4:, 0].mean(), base.mean(), atol=1e-9)


def test_a_normal_law_needs_numbers_and_two_rows():
    cat = {"x0": ("a", "b")}
    with pytest.raises(UsageError, match="'x0' holds categories"):
        masker(table([[0, 1.0]], categories=cat), fill="gaussian")
    with pytest.raises(DataError, match=r"got 1 of 2; missing values are in x1"):
        masker(table([[0, 1.0], [0, np.nan]]), fill="gaussian")


def test_nearest_is_what_scikit_learn_finds():
    rows, background = correlated(4, seed=1), correlated(30)
    scaled = background.std(axis=0)
    filler = masker(table(rows), table(background), fill="nearest", size=5)
    filled = filler.fill(np.arange(4), EVERY).values.reshape(4, 16, 5, 4)
    for place, present in enumerate(EVERY[1:], start=1):
        peer = NearestNeighbors(n_neighbors=5).fit((background / scaled)[:, present])
        chosen = peer.kneighbors((rows / scaled)[:, present], return_distance=False)
        expected = background[chosen].copy()
        expected[:, :, present] = rows[:, None, present]
        got = filled[:, place]
        for row in range(4):
            assert sorted(map(tuple, got[row])) == sorted(map(tuple, expected[row]))


def test_nearest_of_many_columns_is_bounded_in_memory_and_knows_no_blocks():
    rng = np.random.default_rng(0)
    rows, background = rng.normal(size=(200, 100)), rng.normal(size=(200, 100))
    filler = masker(table(rows), table(background), fill="nearest", size=2)
    present = rng.random((2, 100)) < 0.5
    tracemalloc.start()
    whole = filler.fill(np.arange(200), present).values
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * 8 * 2_000_000  # all differences at once are 32 MB, held five times
    parts = [filler.fill(np.array([row]), present).values for row in range(0, 200, 17)]
    np.testing.assert_array_equal(whole.reshape(200, 4, 100)[::17], parts)


@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 4))
def test_the_smallest_are_those_of_a_stable_sort(seed, count, levels):
    values = np.random.default_rng(seed).integers(0, levels, (3, 2, 12)).astype(float)
    np.testing.assert_array_equal(
        smallest(values, count), np.sort(np.argsort(values, axis=2, kind="stable")[:, :, :count])
    )


def test_nearest_counts_categories_and_gaps_as_one():
    background = table([[0, 5.0], [1, 5], [2, np.nan], [1, 6]], categories={"x0": ("a", "b", "c")})
    filler = masker(
        table([[1, np.nan]], categories=background.categories), background, fill="nearest", size=1, players=None
    )
    by_category = filler.fill(np.array([0]), np.array([[True, False]])).values
    assert by_category[0, 0] == 1
    assert by_category[0, 1] in (5, 6)
    by_gap = filler.fill(np.array([0]), np.array([[False, True]])).values
    np.testing.assert_array_equal(by_gap, [[2, np.nan]])


def test_ties_go_by_the_seed_and_size_has_an_end():
    background = table(np.arange(40.0)[:, None])
    none = np.zeros((1, 1), dtype=bool)
    drawn = [
        masker(table([[0.0]]), background, fill="nearest", size=10, seed=seed).fill(np.array([0]), none).values.mean()
        for seed in (0, 0, 1)
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    assert drawn[0] > 9.5  # not simply the first ten
    with pytest.raises(UsageError, match="at most the 40 background rows, got 41"):
        masker(table([[0.0]]), background, fill="nearest", size=41)
    assert masker(table([[0.0]]), table([[1.0]]), fill="nearest").fillings == 1
