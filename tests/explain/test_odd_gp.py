"""The process against its own definition: a Bayesian regression on all parities, and how often its intervals cover."""

import itertools

import numpy as np
import pytest
from known_games import everyone, halves, network, shapley_of, tabulated

from audit.explain.coalitions import design, exact_weights, linear_map
from audit.explain.odd_gp import Prior, covariance, distances, kernel, matrix, odd_gp, prior_variance

PLAYERS = 6
RNG = np.random.default_rng(0)


def parities(present, sizes):
    signs = np.where(present, 1.0, -1.0)
    sets = [held for size in sizes for held in itertools.combinations(range(present.shape[1]), size)]
    return np.array([signs[:, held].prod(axis=1) for held in sets]).T, sets


def regression(present, odd, prior):
    """Mean and covariance of the Shapley values under independent coefficients of odd parities, by brute force."""
    basis, sets = parities(present, (1, 3, 5))
    variance = np.array(
        [
            prior.decay ** ((len(held) - 1) / 2) / len(list(itertools.combinations(range(PLAYERS - 1), len(held) - 1)))
            for held in sets
        ]
    )
    whole = parities(everyone(PLAYERS), (1, 3, 5))[0]
    rough = prior.rough * variance.sum()
    # the rough part: each pair of coalitions but (everyone, no one) has a value of its own
    signs = everyone(PLAYERS)[:32]
    own = np.where(signs.any(axis=1), 1.0, 0.0)
    share = exact_weights(~signs)  # the complements hold the last player: each pair once, everyone first
    seen = (present[:, None] == ~signs[None]).all(axis=2) * 1.0 - (present[:, None] == signs[None]).all(axis=2)
    blocks = np.concatenate([basis * np.sqrt(variance), seen * np.sqrt(rough * own)], axis=1)
    to_values = np.array([[2 / len(held) * (player in held) for held in sets] for player in range(PLAYERS)])
    outcome = np.concatenate([to_values * np.sqrt(variance), share * np.sqrt(rough * own)], axis=1)
    covered = blocks @ blocks.T + np.diag(np.where(present.all(axis=1), 0, prior.noise * variance.sum()))
    gain = outcome @ blocks.T @ np.linalg.inv(covered)
    scale = odd @ np.linalg.inv(covered) @ odd / len(odd)
    left = outcome @ outcome.T - gain @ blocks @ outcome.T
    assert whole.shape == (64, 32)
    return gain @ odd, np.sqrt(scale * np.diag(left))


@pytest.mark.parametrize("prior", [Prior(decay=0.1, rough=0.02), Prior(decay=0.3, rough=1e-8, noise=0.05)])
def test_it_is_the_regression_on_all_odd_parities(prior):
    present = design(PLAYERS, 40, np.random.default_rng(1)).present
    odd = RNG.normal(size=len(present))
    values, error = regression(present, odd, prior)
    found = odd_gp(present, odd[None], priors=(prior,))
    gap = (2 * odd[0] - values.sum()) / PLAYERS
    np.testing.assert_allclose(found.values[0], values + gap, atol=1e-6)
    np.testing.assert_allclose(found.error[0], error, rtol=1e-4)
    np.testing.assert_allclose(matrix(present, prior) @ odd, values, atol=1e-6)


def test_kernel_and_covariance_are_sums_over_parities():
    present = everyone(7)
    basis, sets = parities(present, (1, 3, 5, 7))
    sizes = np.array([len(held) for held in sets])
    variance = 0.2 ** ((sizes - 1) / 2) / np.array([1, 0, 15, 0, 15, 0, 1])[sizes - 1]
    np.testing.assert_allclose(kernel(7, 0.2)[distances(present, present)], (basis * variance) @ basis.T, atol=1e-12)
    held = np.array([[player in each for each in sets] for player in range(7)])
    wanted = (held * 2 / sizes * variance) @ basis.T
    np.testing.assert_allclose(covariance(present, Prior(decay=0.2, rough=0)), wanted, atol=1e-12)
    assert prior_variance(7, Prior(decay=0.2, rough=0)) == pytest.approx((held * 4 / sizes**2 * variance)[0].sum())


def test_the_rough_part_is_a_game_without_structure():
    """A game of independent values: each seen pair tells its own share of the values, the rest stays unknown."""
    rng = np.random.default_rng(4)
    present = design(8, 120, rng).present
    rough = Prior(decay=1e-9, rough=1e6)
    odd = rng.normal(size=(400, len(present))) * np.append(0.0, np.ones(len(present) - 1))
    found = odd_gp(present, odd, priors=(rough,))
    weights = exact_weights(present)
    np.testing.assert_allclose(found.values, odd @ weights.T - (odd @ weights.T).mean(axis=1, keepdims=True), atol=0.02)


@pytest.mark.parametrize(("budget", "most"), [(128, 0.1), (512, 0.03), (2048, 0.004)])
def test_error_and_coverage_on_a_network_of_twelve_features(budget, most):
    rng = np.random.default_rng(7)
    games = tabulated(network(12), rng.normal(size=(16, 12)), rng.normal(size=(10, 12)))
    truth = np.array([shapley_of(game) for game in games])
    inside, gap, theirs = [], [], []
    for seed in range(3):
        plan = design(12, budget, np.random.default_rng(seed))
        odd, _ = halves(games, plan.present)
        found = odd_gp(plan.present, odd)
        inside.append(np.abs(found.values - truth) < 1.96 * found.error)
        gap.append(np.abs(found.values - truth).mean())
        theirs.append(np.abs(linear_map(plan)(odd) - truth).mean())
        np.testing.assert_allclose(found.values.sum(axis=1), 2 * odd[:, 0], atol=1e-12)
    assert np.mean(gap) < most * np.abs(truth).mean()
    assert np.mean(gap) < 0.8 * np.mean(theirs)
    assert 0.92 < np.mean(inside) < 0.985


def test_part_of_many_pairs_chooses_the_prior_and_all_of_them_the_values():
    rng = np.random.default_rng(3)
    games = tabulated(network(10), rng.normal(size=(4, 10)), rng.normal(size=(5, 10)))
    present = design(10, 600, np.random.default_rng(0)).present
    odd, _ = halves(games, present)
    whole, part = odd_gp(present, odd), odd_gp(present, odd, judged=150)
    truth = np.array([shapley_of(game) for game in games])
    assert np.abs(part.values - truth).mean() < 1.5 * np.abs(whole.values - truth).mean()
    np.testing.assert_allclose(part.values.sum(axis=1), 2 * odd[:, 0], atol=1e-12)
    alone = [odd_gp(present, odd[[row]], judged=150).values[0] for row in range(4)]
    np.testing.assert_allclose(part.values, alone, atol=1e-10)
