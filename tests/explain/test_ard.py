"""Relevances fitted row by row: their kernel by brute force, their gradient by differences, sparse games."""

import itertools

import numpy as np
import pytest
from known_games import halves, network, shapley_of, tabulated

from audit.explain.ard import Relevance, covariance, misfit, odd_gp_ard, prior_variance
from audit.explain.coalitions import design
from audit.explain.odd_gp import odd_gp


def test_kernel_covariance_and_variance_are_sums_over_odd_sets():
    rng = np.random.default_rng(0)
    signs = np.where(rng.random((20, 7)) < 0.5, 1.0, -1.0)
    relevance = Relevance(b=rng.uniform(0.05, 0.9, 7), own=1e-8)
    whole, cross, spread = 0.0, np.zeros((7, 20)), np.zeros(7)
    for size in (1, 3, 5, 7):
        for held in map(list, itertools.combinations(range(7), size)):
            variance = relevance.b[held].prod()
            whole += variance
            cross[held] += 2 / size * variance * signs[:, held].prod(axis=1)
            spread[held] += 4 / size**2 * variance
    assert np.exp(relevance.scale) == pytest.approx(whole)
    np.testing.assert_allclose(covariance(signs, relevance), cross / whole, atol=1e-12)
    np.testing.assert_allclose(prior_variance(relevance), spread / whole, atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_the_gradient_is_that_of_the_misfit(seed):
    rng = np.random.default_rng(seed)
    signs = np.where(rng.random((25, 6)) < 0.5, 1.0, -1.0)
    signs[0] = 1
    odd, point = rng.normal(size=25), rng.normal(size=7) - 1
    steps = 1e-5 * np.eye(7)
    slope = [(misfit(signs, odd, point + step)[0] - misfit(signs, odd, point - step)[0]) / 2e-5 for step in steps]
    np.testing.assert_allclose(misfit(signs, odd, point)[1], slope, atol=1e-6)


def test_few_players_that_matter_need_few_coalitions():
    """14 players of which 4 matter, with an interaction of all of them: half the error of one prior for all."""
    rng = np.random.default_rng(2)
    games = []
    for _ in range(4):
        w = rng.normal(size=4)
        signs = np.where((np.arange(2**14)[:, None] >> np.arange(4) & 1) > 0, 1.0, -1.0)
        games.append(signs @ w + np.tanh(2 * signs @ w) + signs[:, :3].prod(axis=1))
    games = np.array(games)
    truth = np.array([shapley_of(game[:16]) for game in games])  # the other ten are absent in the first 16
    truth = np.pad(truth, ((0, 0), (0, 10)))
    plan = design(14, 200, np.random.default_rng(0))
    odd, _ = halves(games, plan.present)
    alike = odd_gp(plan.present, odd)
    found = odd_gp_ard(plan.present, odd, alike.values)
    assert np.abs(found.values - truth).mean() < 0.5 * np.abs(alike.values - truth).mean()
    assert (found.misfit < alike.misfit).all()
    chosen = alike.or_likelier(found)
    np.testing.assert_array_equal(chosen.values, found.values)


def test_error_and_coverage_on_a_network():
    rng = np.random.default_rng(7)
    games = tabulated(network(12), rng.normal(size=(8, 12)), rng.normal(size=(10, 12)))
    truth = np.array([shapley_of(game) for game in games])
    inside = []
    for seed in range(3):
        plan = design(12, 256, np.random.default_rng(seed))
        odd, _ = halves(games, plan.present)
        found = odd_gp_ard(plan.present, odd, odd_gp(plan.present, odd).values)
        inside.append(np.abs(found.values - truth) < 1.96 * found.error)
        np.testing.assert_allclose(found.values.sum(axis=1), 2 * odd[:, 0], atol=1e-12)
    assert 0.9 < np.mean(inside) < 0.99


def test_a_game_that_does_nothing_has_values_of_zero():
    plan = design(8, 60, np.random.default_rng(0))
    odd = np.zeros((1, len(plan.present)))
    found = odd_gp_ard(plan.present, odd, np.zeros((1, 8)))
    assert (found.values == 0).all()
    assert np.abs(found.error).max() < 1e-100
