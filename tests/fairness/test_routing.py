"""Routes of experts against counts by hand, an angle in closed form, and intervals over many draws."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from little_models import Plain, codes, context, sigmoid, subject, table
from scipy.stats import binomtest

from audit.core import ModelError, UsageError
from audit.fairness.routing import routing, total_variation


class Signed(Plain):
    """Two experts; the sign of x0 says which."""

    offers = frozenset({"experts"})

    def routes(self, inputs):
        first = inputs.values[:, 0] < 0
        return np.column_stack([first, ~first]) * 0.7


def made(n=600, shift=0.0, seed=0):
    rng = np.random.default_rng(seed)
    sex = rng.choice(["f", "m"], size=n)
    values = rng.normal(size=(n, 2)) + np.outer(sex == "f", [shift, 0])
    y = (rng.random(n) < sigmoid(values[:, 1])).astype(np.int64)
    return subject(Signed(lambda v: sigmoid(v[:, 1])), table(values), y, {"sex": codes(sex, ("f", "m"))}), sex


def one(evidence, name, **where):
    (found,) = [e for e in evidence if e.name == name and dict(getattr(e, "where", {})) == where]
    return found


def test_shares_and_accuracies_are_counts():
    s, sex = made(shift=0.8)
    found = one(list(routing(s, context(), replicates=50)), "experts_by_sex")
    positive = s.data.inputs.values[:, 0] >= 0
    right = s.decision == s.y
    for group, expert, rows, share, low, high, accuracy, *_ in found.rows:
        own = sex == group
        there = own & (positive == (expert == 2))
        peer = binomtest(int(there.sum()), int(own.sum())).proportion_ci(method="wilson")
        assert rows == there.sum()
        assert (share, low, high) == pytest.approx((there.sum() / own.sum(), peer.low, peer.high))
        assert accuracy == pytest.approx(right[there].mean())
    assert len(found.rows) == 4


def test_distance_is_the_difference_of_two_shares():
    s, sex = made(shift=0.8)
    measure = one(list(routing(s, context())), "routing_distance", sex="*")
    positive = s.data.inputs.values[:, 0] >= 0
    assert measure.value == pytest.approx(abs(positive[sex == "f"].mean() - positive[sex == "m"].mean()))
    assert 0 < measure.interval.low < measure.value < measure.interval.high < 1


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 4), st.integers(2, 5))
def test_total_variation_is_the_largest_gap_over_sets_of_experts(seed, groups, experts):
    table_ = np.random.default_rng(seed).integers(1, 30, size=(groups, experts)).astype(float)
    shares = table_ / table_.sum(axis=1, keepdims=True)
    sets = np.array(list(np.ndindex(*(2,) * experts)))
    brute = max(np.ptp(shares @ members) for members in sets)
    assert total_variation(table_) == pytest.approx(brute)
    empty = np.vstack([table_, np.zeros(experts)])
    assert total_variation(empty) == pytest.approx(brute), "a group without cases is passed over"
    assert np.isnan(total_variation(table_[:1]))


@pytest.mark.parametrize(("shift", "truth"), [(0.0, 0.0), (0.8, 0.2881446)])
def test_the_interval_holds_the_truth_as_often_as_it_says(shift, truth):
    """Φ(0.8) - Φ(0) = 0.2881."""
    held = 0
    for seed in range(60):
        s, _ = made(300, shift, seed)
        interval = one(list(routing(s, context(seed), replicates=200)), "routing_distance", sex="*").interval
        held += interval.low <= truth <= interval.high
    assert held >= 53, "of 60 at 95 %: fewer than 53 in one of a hundred tries"


def test_switches_under_noise_are_an_angle():
    """x ~ N(0, 1) and x + s e have correlation 1/sqrt(1 + s^2); their signs differ with probability arccos(r) / pi."""
    s, _ = made(4000)
    measure = one(list(routing(s, context(), scale=0.3, replicates=20)), "route_switch_rate")
    truth = np.arccos(1 / np.sqrt(1.09)) / np.pi
    assert measure.interval.low < truth < measure.interval.high
    assert one(list(routing(s, context(), scale=0.0, replicates=20)), "route_switch_rate").value == 0


def test_wrong_routes_and_parameters_are_told():
    s, _ = made(50)
    for bad in ({"scale": -1.0}, {"repeats": 0}, {"replicates": 0}):
        with pytest.raises(UsageError, match="got"):
            list(routing(s, context(), **bad))
    s.model.routes = lambda inputs: np.full(len(inputs), 1.0)
    with pytest.raises(ModelError, match=r"\(n, experts\)"):
        list(routing(s, context()))
