"""The best accuracy under a bound, in every world: closed forms, brute force, and models that may not better it."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.ensemble import HistGradientBoostingClassifier

from audit.core import DataError
from audit.data.worlds.credit import best_accuracy, credit
from audit.data.worlds.frontier import CONSTRAINTS
from audit.data.worlds.long_tail import long_tail
from audit.data.worlds.rules import rules

HARD = {"noise": 0.7, "selection": 0.25, "flip": 0.1, "omega": 0.5, "p": 0.6, "race": 1.0}


def test_the_credit_world_has_the_published_figures():
    world = credit()
    assert best_accuracy(world, math.inf) == pytest.approx(world.truth()["accuracy"], abs=1e-5)
    found = [best_accuracy(world, gap) for gap in (0.0, 0.05, 0.15, math.inf)]
    assert found == pytest.approx([0.7188, 0.7335, 0.7601, 0.8116], abs=5e-4)
    sd, shares = math.sqrt(3.82), np.linspace(0.01, 0.99, 99)

    def right(mean, share):
        score = stats.norm(mean, sd)
        z = np.linspace(mean - 9 * sd, mean + 9 * sd, 40_001)
        good = 1 / (1 + np.exp(-z))
        return np.trapezoid(score.pdf(z) * np.where(z >= score.isf(share), good, 1 - good), z)

    women, men = (np.array([right(mean, share) for share in shares]) for mean in (-1.435, 1.435))
    assert found[0] == pytest.approx(((women + men) / 2).max(), abs=2e-4)


def test_equalised_odds_cost_what_brute_force_over_thresholds_finds():
    mean, sd, z = 1.435, math.sqrt(3.82), np.linspace(-12, 12, 4001)
    rates = []
    for s in (-1, 1):
        mass = stats.norm(s * mean, sd).pdf(z)
        chance = 1 / (1 + np.exp(-z))
        above = [np.cumsum((mass * part)[::-1])[::-1] for part in (chance, 1 - chance)]
        rates.append([each / each[0] for each in above] + [above[0][0] / mass.sum()])
    (t0, f0, pi0), (t1, f1, pi1) = rates
    # Equal odds: the ROC region of both; the upper edge at each false positive rate is the lower of the two curves.
    at = np.linspace(0, 1, 20_001)
    hit = np.minimum(np.interp(at, f0[::-1], t0[::-1]), np.interp(at, f1[::-1], t1[::-1]))
    pi = (pi0 + pi1) / 2
    expected = (pi * hit + (1 - pi) * (1 - at)).max()
    assert best_accuracy(credit(), 0.0, constraint="equalized_odds") == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize("world", [credit(**HARD), rules(noise=0.1, strength=0.6), long_tail(share=0.3)])
def test_the_posterior_is_calibrated_and_its_strata_are_those_of_the_draws(world):
    data = world.draw(200_000, np.random.default_rng(11))
    chance, y = world.posterior(data), data.y
    codes = np.ravel_multi_index(
        [each.values for each in data.groups.values()], [len(each.levels) for each in data.groups.values()]
    )
    for place, stratum in enumerate(world.strata()):
        inside = codes == place
        share = stratum.mass.sum()
        assert abs(inside.mean() - share) <= 4 * math.sqrt(share * (1 - share) / len(y))
        for edge in (0.25, 0.5, 0.8):
            low = (stratum.mass * (stratum.chance < edge)).sum() / share
            assert abs((chance[inside] < edge).mean() - low) <= 4 * math.sqrt(low * (1 - low) / inside.sum()) + 0.004
        order = np.argsort(chance[inside])
        for part in np.array_split(order, 5):
            mean = chance[inside][part].mean()
            error = math.sqrt(mean * (1 - mean) / len(part))
            assert abs(y[inside][part].mean() - mean) <= 4.5 * error
    best = np.maximum(chance, 1 - chance)
    assert abs(best.mean() - best_accuracy(world, 1.0)) <= 4 * best.std() / math.sqrt(len(y))


def test_no_model_betters_the_best_and_a_good_one_comes_near():
    world, rng = credit(**HARD), np.random.default_rng(12)
    here, there = world.draw(60_000, rng), world.draw(60_000, rng)

    def columns(data):
        return np.column_stack([data.inputs.values[:, [0, 1, 2, 6]], data.groups["race"].values])

    model = HistGradientBoostingClassifier(max_iter=60, max_leaf_nodes=8, random_state=0).fit(columns(here), here.y)
    accuracy, best = model.score(columns(there), there.y), best_accuracy(world, 1.0)
    error = math.sqrt(best * (1 - best) / 60_000)
    assert best - 0.008 - 2 * error < accuracy < best + 3 * error
    decided = world.oracle().logit(there.inputs.values) >= 0
    assert (decided == there.y).mean() < best  # what wrongs the data also wrongs the world's own logit


@settings(max_examples=5, deadline=None)
@given(
    st.sampled_from([credit(omega=0.6, flip=0.2), credit(race=1.0), rules(noise=0.2), long_tail(share=0.3, twist=0.6)]),
    st.sampled_from(list(CONSTRAINTS)),
    st.floats(0, 0.3),
)
def test_a_looser_bound_never_costs_and_equal_odds_cost_more_than_equal_opportunity(world, constraint, gap):
    tight, loose = (best_accuracy(world, each, constraint=constraint) for each in (gap, gap + 0.05))
    assert tight <= loose + 1e-9
    assert loose <= best_accuracy(world, 1.0) + 1e-9
    odds, opportunity = (best_accuracy(world, gap, constraint=each) for each in ("equalized_odds", "equal_opportunity"))
    assert odds <= opportunity + 1e-9


def test_finer_groups_cost_more():
    world = credit(race=1.5)
    sex, both = (best_accuracy(world, 0.02, attribute=names) for names in (["sex"], ["sex", "race"]))
    race = best_accuracy(world, 0.02, attribute=["race"])
    assert both < sex < race < best_accuracy(world, 1.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"gap": -0.1}, "gap must be 0 or more, got -0.1"),
        ({"gap": 0.1, "constraint": "parity"}, "constraint must be one of .*demographic_parity.*got 'parity'"),
        ({"gap": 0.1, "attribute": ["race"]}, "attribute must be among .*sex.*got 'race'"),
    ],
)
def test_what_the_bound_refuses(arguments, message):
    with pytest.raises(DataError, match=message):
        best_accuracy(credit(), **arguments)
