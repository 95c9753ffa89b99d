"""The linear map against games whose Shapley values are known, and against brute force over orders and subsets."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.core import UsageError, stream
from audit.explain.coalitions import design, exact_square, exact_weights, linear_map
from audit.explain.permutation import orders


def odd_part(game, present):
    both = [np.array([game(frozenset(np.flatnonzero(z))) for z in side], dtype=float) for side in (present, ~present)]
    return ((both[0] - both[1]) / 2)[None]


def solved(game, players, budget=None, seed=0):
    plan = design(players, budget or max(2**players, 2), np.random.default_rng(seed))
    return linear_map(plan)(odd_part(game, plan.present))[0]


def brute_force(game, players):
    """The definition: the marginal contribution averaged over all orders."""
    values = np.zeros(players)
    for order in itertools.permutations(range(players)):
        for place, player in enumerate(order):
            values[player] += game(frozenset(order[: place + 1])) - game(frozenset(order[:place]))
    return values / math.factorial(players)


GAMES = {
    "gloves": (lambda s: float(min(len(s & {0, 1}), len(s & {2}))), 3, [1 / 6, 1 / 6, 2 / 3]),
    "airport": (lambda s: float(max((p + 1 for p in s), default=0)), 3, [1 / 3, 5 / 6, 11 / 6]),
    "vote": (lambda s: float(sum((50, 49, 1)[p] for p in s) >= 51), 3, [2 / 3, 1 / 6, 1 / 6]),
    "product": (lambda s: 24.0 if len(s) == 3 else 0.0, 3, [8, 8, 8]),
    "one player": (lambda s: 5.0 * len(s) + 1, 1, [5]),
    "two players": (lambda s: float({0: 0, 1: 1, 2: 7}[sum(p + 1 for p in s) if len(s) < 2 else 2]), 2, None),
}


@pytest.mark.parametrize("name", GAMES)
def test_known_games(name):
    game, players, expected = GAMES[name]
    expected = brute_force(game, players) if expected is None else expected
    np.testing.assert_allclose(solved(game, players), expected, atol=1e-12)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_enumeration_is_the_definition(players, seed):
    rng = np.random.default_rng(seed)
    table = {frozenset(s): rng.normal() for k in range(players + 1) for s in itertools.combinations(range(players), k)}
    np.testing.assert_allclose(solved(table.__getitem__, players), brute_force(table.__getitem__, players), atol=1e-10)


@settings(max_examples=25, deadline=None)
@given(st.integers(5, 40), st.integers(0, 700), st.integers(0, 99))
def test_design_is_paired_unique_within_budget_and_efficient(players, extra, seed):
    budget = min(2**players, 4 * players + 2 + extra)
    plan = design(players, budget, np.random.default_rng(seed))
    both = np.concatenate([plan.present, ~plan.present])
    assert len({row.tobytes() for row in both}) == len(both) <= budget
    assert plan.present[0].all()
    assert plan.exact == (len(both) == 2**players)
    weights = np.random.default_rng(seed).normal(size=players)
    odd = odd_part(lambda s: sum(weights[p] for p in s) + 3.0 * (len(s) > 2), plan.present)
    assert linear_map(plan)(odd).sum() == pytest.approx(2 * odd[0, 0], abs=1e-10)


@pytest.mark.parametrize(("players", "budget"), [(7, 40), (12, 60), (30, 140)])
def test_an_additive_game_is_exact_at_any_budget(players, budget):
    weights = np.linspace(-1, 2, players)
    plan = design(players, budget, np.random.default_rng(3))
    assert not plan.exact
    solve = linear_map(plan)
    odd = odd_part(lambda s: float(sum(weights[p] for p in s)) + 4, plan.present)
    np.testing.assert_allclose(solve(odd)[0], weights, atol=1e-10)
    np.testing.assert_allclose(solve.standard_error(odd), 0, atol=1e-10)


def test_sampling_is_unbiased_and_its_standard_error_says_how_far_off_it_is():
    rng = np.random.default_rng(5)
    players = 10
    pairs = {(i, j, k): rng.normal() for i, j, k in itertools.combinations(range(players), 3) if rng.random() < 0.3}

    def game(s):
        return sum(weight for triple, weight in pairs.items() if s.issuperset(triple))

    truth = np.zeros(players)
    for triple, weight in pairs.items():
        truth[list(triple)] += weight / 3
    errors, claimed = [], []
    for seed in range(60):
        plan = design(players, 120, np.random.default_rng(seed))
        solve = linear_map(plan)
        odd = odd_part(game, plan.present)
        errors.append(solve(odd)[0] - truth)
        claimed.append(solve.standard_error(odd)[0])
    errors, claimed = np.array(errors), np.array(claimed)
    assert np.abs(errors.mean(axis=0)).max() < 4 * errors.std() / np.sqrt(60)
    ratio = np.sqrt((claimed**2).mean() / (errors**2).mean())
    assert 0.75 < ratio < 1.35, ratio
    assert np.mean(np.abs(errors) < 1.96 * claimed) > 0.88


def test_the_error_is_zero_when_every_coalition_is_there():
    plan = design(6, 64, np.random.default_rng(0))
    solve = linear_map(plan)
    assert plan.exact
    assert (solve.standard_error(odd_part(lambda s: float(len(s)) ** 2, plan.present)) == 0).all()


@pytest.mark.parametrize(("players", "budget"), [(20, 81), (4, 15), (0, 100)])
def test_a_budget_that_cannot_identify_the_values_is_refused(players, budget):
    with pytest.raises(UsageError, match=r"budget: .* at least .* got|players: at least one"):
        design(players, budget, np.random.default_rng(0))


@settings(max_examples=25, deadline=None)
@given(st.integers(4, 30), st.lists(st.integers(0, 600), min_size=1, max_size=3), st.integers(0, 99))
def test_a_larger_design_begins_with_the_smaller(players, more, seed):
    rng = np.random.default_rng(seed)
    budget, plan = min(2**players, 4 * players + 2), None
    for step in more:
        budget = min(budget + step, 2**players)
        grown = design(players, budget, rng, plan)
        if plan is not None:
            np.testing.assert_array_equal(grown.present[: len(plan.present)], plan.present)
        both = np.concatenate([grown.present, ~grown.present])
        assert len({row.tobytes() for row in both}) == len(both) <= budget
        assert grown.exact == (len(both) == 2**players)
        size = np.minimum(grown.present.sum(axis=1), players - grown.present.sum(axis=1))
        np.testing.assert_array_equal(size, grown.size)
        weights = np.linspace(-1, 2, players)
        odd = odd_part(lambda s: float(sum(weights[p] for p in s)), grown.present)  # noqa: B023
        np.testing.assert_allclose(linear_map(grown)(odd)[0], weights, atol=1e-8)
        plan = grown


@pytest.mark.parametrize("players", [1, 2, 3, 6, 9])
def test_exact_weights_are_the_definition(players):
    rng = np.random.default_rng(players)
    plan = design(players, 2**players, rng)
    weights = exact_weights(plan.present)
    np.testing.assert_allclose(weights, linear_map(plan).matrix, atol=1e-9)
    np.testing.assert_allclose((weights[:, 1:] ** 2).sum(axis=1), exact_square(players), atol=1e-12)


def test_weights_of_a_thousand_players_are_finite():
    present = np.random.default_rng(0).random((5, 1100)) < 0.5
    present[0] = True
    assert np.isfinite(exact_weights(present)).all()
    assert 0 < exact_square(1100) < 1


def test_orders_with_their_reverses_are_permutation_sampling():
    rng = np.random.default_rng(0)
    worth = {frozenset(s): rng.normal() for k in range(6) for s in itertools.combinations(range(5), k)}
    plan = orders(5, 30, rng)
    found = plan.estimate(odd_part(worth.__getitem__, plan.present))
    each = []
    for order in plan.orders:
        values = np.zeros(5)
        for way in (order, order[::-1]):
            for place, player in enumerate(way):
                gain = worth[frozenset(way[: place + 1])] - worth[frozenset(way[:place])]
                values[player] += gain / 2
        each.append(values)
    np.testing.assert_allclose(found.values[0], np.mean(each, axis=0), atol=1e-12)
    assert len(each) == 3
    # the 97.5 % points of Student's law with 2 degrees of freedom and of the normal law
    wider = 4.302652729911275 / 1.959963984540054
    np.testing.assert_allclose(found.error[0], wider * np.std(each, axis=0, ddof=1) / np.sqrt(3), atol=1e-12)
    more = orders(5, 60, rng, plan)
    np.testing.assert_array_equal(more.present[: len(plan.present)], plan.present)
    assert 2 * len(plan.present) <= 30


@pytest.mark.parametrize(("players", "budget", "seed"), [(20, 4096, 1), (20, 4096, 11), (40, 1000, 4), (49, 4096, 3)])
def test_rounding_never_opens_the_direction_that_efficiency_closes(players, budget, seed):
    """Designs whose centred moments have an eigenvalue of 0 that rounding puts above 1e-15 of the largest."""
    matrix = linear_map(design(players, budget, stream(seed, "x"))).matrix
    sums = matrix.sum(axis=0)
    assert sums[0] == pytest.approx(2)
    np.testing.assert_allclose(sums[1:], 0, atol=1e-10)
