"""Shrunken rates: against scipy's beta-binomial law, quadrature, and coverage by simulation."""

import numpy as np
import pandas as pd
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from subjects import context_of, find, subject_of

from audit.core import DataError, Measure, Table
from audit.fairness import shrink
from audit.fairness.shrinkage import log_likelihood, small_groups
from audit.stats import wilson


def drawn(rng, groups, size, a, b):
    n, rate = rng.integers(*size, groups), rng.beta(a, b, groups)
    return rng.binomial(n, rate), n, rate


def test_likelihood_is_that_of_scipy():
    rng = np.random.default_rng(0)
    k, n, _ = drawn(rng, 40, (1, 60), 2, 5)
    mean, strength = np.array([0.1, 0.3, 0.6]), np.array([2.0, 20.0, 500.0])
    constant = np.log(scipy.special.comb(n, k)).sum()
    expected = [
        scipy.stats.betabinom(n, m * s, (1 - m) * s).logpmf(k).sum() for m, s in zip(mean, strength, strict=True)
    ]
    np.testing.assert_allclose(log_likelihood(k.astype(float), n.astype(float), mean, strength) + constant, expected)


def test_estimates_and_bounds_against_quadrature():
    k, n = np.array([1.0, 9.0, 12.0, 30.0]), np.array([4.0, 40.0, 30.0, 60.0])
    found = shrink(k, n)
    m, s = np.meshgrid(np.linspace(1e-4, 1 - 1e-4, 500), np.linspace(1e-3, 2.0, 800), indexing="ij")
    logarithm = log_likelihood(k, n, m.ravel(), s.ravel() ** -2.0).reshape(m.shape)
    chance = np.exp(logarithm - logarithm.max())
    chance /= chance.sum()
    for group in range(4):
        a, b = k[group] + m / s**2, n[group] - k[group] + (1 - m) / s**2
        assert found.estimate[group] == pytest.approx((chance * a / (a + b)).sum(), abs=1e-3)
        for bound, tail in ((found.low[group], 0.025), (found.high[group], 0.975)):
            assert (chance * scipy.special.betainc(a, b, bound)).sum() == pytest.approx(tail, abs=2e-3)
    assert found.mean == pytest.approx((chance * m).sum(), abs=1e-3)
    assert found.strength == pytest.approx(1.0 / (chance * s**2).sum(), rel=0.02)


@pytest.mark.parametrize(
    ("tries", "groups", "size", "a", "b"),
    [(150, 8, (5, 50), 4, 6), (100, 20, (2, 60), 4, 6), (30, 100, (1, 30), 2, 8), (100, 30, (10, 200), 40, 60)],
)
def test_intervals_hold_the_rates_of_as_many_groups_as_they_say(tries, groups, size, a, b):
    rng = np.random.default_rng(5)
    held, wilson_width, width, error, raw_error = [], 0.0, 0.0, 0.0, 0.0
    for _ in range(tries):
        k, n, rate = drawn(rng, groups, size, a, b)
        found = shrink(k, n)
        held.append(((found.low <= rate) & (rate <= found.high)).mean())
        width += (found.high - found.low).mean()
        wilson_width += (found.raw_high - found.raw_low).mean()
        error += ((found.estimate - rate) ** 2).mean()
        raw_error += ((found.raw - rate) ** 2).mean()
    assert 0.93 <= np.mean(held) <= 0.97
    assert width < wilson_width
    assert error < raw_error


def test_equal_groups_are_pooled_and_unequal_large_ones_stand():
    equal = shrink([3, 30, 60], [10, 100, 200])
    assert np.ptp(equal.estimate) < 0.01
    apart = shrink([100, 5000, 9000], [10_000, 10_000, 10_000])
    np.testing.assert_allclose(apart.estimate, apart.raw, atol=2e-3)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=3, max_size=12), st.randoms())
@settings(max_examples=30, deadline=None)
def test_algebra(pairs, random):
    k, n = np.array([a for a, _ in pairs]), np.array([a + b for a, b in pairs])
    found = shrink(k, n)
    np.testing.assert_array_equal((found.raw_low, found.raw_high), wilson(k, n))
    if (n > 0).sum() < 3:
        assert np.isnan(found.estimate).all()
        assert np.isnan(found.mean)
        return
    assert ((found.low <= found.estimate) & (found.estimate <= found.high)).all()
    assert ((found.low >= 0) & (found.high <= 1)).all()
    known = n > 0
    inside = found.estimate[known]
    assert (inside >= min(found.raw[known].min(), 0.5) - 1e-9).all()
    assert (inside <= max(found.raw[known].max(), 0.5) + 1e-9).all()
    order = list(range(len(k)))
    random.shuffle(order)
    turned = shrink(k[order], n[order])
    np.testing.assert_allclose(turned.estimate, found.estimate[order], atol=1e-9)
    opposite = shrink(n - k, n)
    np.testing.assert_allclose(opposite.estimate, 1 - found.estimate, atol=2e-3)


def test_the_empty_group_gets_what_all_groups_say():
    found = shrink([3, 4, 5, 0], [10, 10, 10, 0])
    assert np.isnan(found.raw[3])
    assert found.estimate[3] == pytest.approx(0.4, abs=0.03)
    assert found.high[3] - found.low[3] > found.high[0] - found.low[0]


def test_ten_thousand_groups_and_bad_columns():
    rng = np.random.default_rng(2)
    k, n, rate = drawn(rng, 10_000, (1, 60), 3, 7)
    found = shrink(k, n)
    assert found.mean == pytest.approx(0.3, abs=0.01)
    assert found.strength == pytest.approx(10, rel=0.1)
    assert ((found.low <= rate) & (rate <= found.high)).mean() == pytest.approx(0.95, abs=0.01)
    with pytest.raises(DataError, match="0 <= k <= n"):
        shrink([2], [1])


def test_check():
    rng = np.random.default_rng(4)
    rows = pd.DataFrame(
        {
            "sex": rng.choice(["f", "m"], 300),
            "race": rng.choice(["a", "b", "ç", "d"], 300, p=[0.6, 0.3, 0.08, 0.02]),
            "y": rng.integers(0, 2, 300),
            "d": rng.integers(0, 2, 300),
        }
    )
    subject = subject_of(rows, attributes=("sex", "race"), y="y", decision="d")
    evidence = list(small_groups(subject, context_of()))
    k, n = rows.groupby(["sex", "race"])["d"].sum(), rows.groupby(["sex", "race"])["d"].count()
    expected = shrink(k, n)
    for place, (sex, race) in enumerate(k.index):
        each = find(evidence, "selection_rate_shrunken", sex=sex, race=race)
        assert each.value == pytest.approx(expected.estimate[place])
        assert (each.interval.low, each.interval.high) == pytest.approx((expected.low[place], expected.high[place]))
        assert each.n == n[sex, race]
    alone = find(evidence, "tpr_shrunken", sex="f")
    assert alone.value is None
    assert "fewer than 3 groups" in alone.note
    table = next(e for e in evidence if isinstance(e, Table))
    cells = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    tiny = next(row for row in cells if row["attribute"] == "race" and row["group"] == "d" and row["rate"] == "tpr")
    assert tiny["fewer than 30"] == "yes"
    assert tiny["n"] == int(((rows["race"] == "d") & (rows["y"] == 1)).sum())
    assert {row["attribute"] for row in cells} == {"sex", "race", "sex × race"}
    only = subject_of(rows, attributes=("race",), decision="d")
    names = {e.name for e in small_groups(only, context_of()) if isinstance(e, Measure)}
    assert names == {"selection_rate_shrunken"}
    with pytest.raises(DataError, match="rates: allowed are"):
        list(small_groups(only, context_of(), rates=("tprr",)))
