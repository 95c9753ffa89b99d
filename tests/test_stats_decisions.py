"""Exact intervals, tests, corrections, equivalence and power, each against a second derivation."""

import itertools

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from audit import stats


@st.composite
def proportions(draw, most=120):
    n = draw(st.integers(1, most))
    return draw(st.integers(0, n)), n


# ---------------------------------------------------------------------------------------------- exact intervals
@given(proportions(), st.sampled_from([0.8, 0.95, 0.99]))
@settings(max_examples=40, deadline=None)
def test_exact_and_jeffreys_intervals_equal_scipy(kn, level):
    k, n = kn
    peer = scipy.stats.binomtest(k, n).proportion_ci(confidence_level=level, method="exact")
    np.testing.assert_allclose(stats.clopper_pearson(k, n, level), (peer.low, peer.high), atol=1e-10)
    tail = (1 - level) / 2
    low = 0.0 if k == 0 else scipy.stats.beta.ppf(tail, k + 0.5, n - k + 0.5)
    high = 1.0 if k == n else scipy.stats.beta.ppf(1 - tail, k + 0.5, n - k + 0.5)
    np.testing.assert_allclose(stats.jeffreys(k, n, level), (low, high), atol=1e-10)


def coverage(bounds, p, n):
    """The exact chance that the interval holds p, by summing over every possible count."""
    k = np.arange(n + 1)
    low, high = bounds(k, np.full(n + 1, n))
    return float(scipy.stats.binom.pmf(k, n, p)[(low <= p) & (p <= high)].sum())


def test_intervals_of_a_rate_cover():
    rates = np.linspace(0.02, 0.98, 97)
    for n in (20, 50, 200):
        for bounds in (stats.wilson, stats.jeffreys):
            assert 0.93 <= np.mean([coverage(bounds, p, n) for p in rates]) <= 0.97
        assert min(coverage(stats.clopper_pearson, p, n) for p in rates) >= 0.95


def test_nobody_at_all_is_undefined():
    for bounds in (stats.jeffreys, stats.clopper_pearson):
        assert np.isnan(bounds(0, 0)).all()
        assert np.shape(bounds(np.ones((2, 3)), np.full((2, 3), 5))) == (2, 2, 3)
    with pytest.raises(ValueError, match="level must lie in"):
        stats.jeffreys(1, 2, 1.5)


# ------------------------------------------------------------------------------------------------ all pairs
@given(st.integers(0, 2**32 - 1), st.sampled_from([-1, 1]), st.booleans())
@settings(max_examples=20, deadline=None)
def test_the_widest_pair_is_found_among_many_groups_as_by_looking_at_all(seed, sign, some):
    rng = np.random.default_rng(seed)
    size = int(rng.integers(257, 420))
    value, a, b = rng.normal(size=size), rng.gamma(1.0, size=size), rng.gamma(1.0, size=size)
    if seed % 2:  # one group that is wide in both directions, and ties
        a[0], b[0], value = 50.0, 50.0, np.round(value, 1)
    first = rng.random(size) < 0.5 if some else None
    score = value[:, None] - value + sign * np.hypot(a[:, None], b)
    np.fill_diagonal(score, -np.inf)
    assert stats.widest(value, a, b, sign, first) == pytest.approx(
        float((score if first is None else score[first]).max()), rel=1e-12
    )


@given(proportions(), proportions())
@settings(max_examples=40, deadline=None)
def test_independent_estimates_give_newcombe_from_wilson(first, second):
    (k1, n1), (k2, n2) = first, second
    low, high = stats.mover(k1 / n1, stats.wilson(k1, n1), k2 / n2, stats.wilson(k2, n2))
    np.testing.assert_allclose((max(-1, low), min(1, high)), stats.newcombe(k1, n1, k2, n2), atol=1e-12)


def test_ten_thousand_groups_have_a_gap():
    rng = np.random.default_rng(3)
    n = rng.integers(0, 200, 10_000)
    k = rng.binomial(n, 0.4)
    low, high = stats.gap_interval(k, n)
    assert low == 0.0
    assert 0.9 < high <= 1.0
    assert stats.ratio_interval(k, n)[0] == 0.0


# ------------------------------------------------------------------------------------------- two proportions
@given(proportions(60), proportions(60))
@settings(max_examples=60, deadline=None)
def test_p_values_of_two_proportions_equal_scipy(first, second):
    (k1, n1), (k2, n2) = first, second
    table = [[k1, n1 - k1], [k2, n2 - k2]]
    fisher = scipy.stats.fisher_exact(table).pvalue
    assert float(stats.two_proportions_p(k1, n1, k2, n2)) == pytest.approx(fisher, abs=1e-9)
    if 0 < k1 + k2 < n1 + n2:
        chi2 = scipy.stats.chi2_contingency(table, correction=False)
        assert float(stats.two_proportions_p(k1, n1, k2, n2, "z")) == pytest.approx(chi2.pvalue, rel=1e-9)
        assert float(stats.z_statistic(k1, n1, k2, n2)) ** 2 == pytest.approx(chi2.statistic, abs=1e-9)


def test_ricci_v_destefano():
    """The tests in the opinion: captains, and lieutenants of two groups, each against the white candidates."""
    p = stats.two_proportions_p([3, 6, 3], [8, 19, 15], [16, 25, 25], [25, 43, 43])
    assert np.round(p, 3).tolist() == [0.238, 0.097, 0.016]


def test_false_positive_rates_are_compared_among_negatives():
    """COMPAS: testing false positives among the predicted positives gives 0.0504, which is a test of another rate."""
    assert float(stats.two_proportions_p(805, 1795, 349, 1488, "z")) == pytest.approx(2.1e-37, rel=0.02)
    assert float(stats.two_proportions_p(532, 1901, 461, 966, "z")) == pytest.approx(8.8e-26, rel=0.02)
    assert float(stats.two_proportions_p(805, 2174, 349, 854, "z")) == pytest.approx(0.0504, abs=5e-5)


def test_p_values_without_cases_or_difference():
    assert np.isnan(stats.two_proportions_p([0, 1], [0, 2], [1, 0], [2, 0])).all()
    assert stats.two_proportions_p([0, 5], [3, 5], [0, 9], [4, 9], "z").tolist() == [1.0, 1.0]


# ----------------------------------------------------------------------------------------------- corrections
def closed_testing(p):
    """Holm's procedure from its principle: the largest Bonferroni p value of all subfamilies that hold the test."""
    tests = range(len(p))
    families = [f for size in range(1, len(p) + 1) for f in itertools.combinations(tests, size)]
    return [max(min(1.0, len(f) * min(p[i] for i in f)) for f in families if test in f) for test in tests]


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=7))
@settings(max_examples=60, deadline=None)
def test_corrections_equal_closed_testing_and_scipy(p):
    np.testing.assert_allclose(stats.holm(p), closed_testing(p), atol=1e-12)
    np.testing.assert_allclose(stats.benjamini_hochberg(p), scipy.stats.false_discovery_control(p), atol=1e-12)


def test_undefined_tests_take_no_part():
    for correct in (stats.holm, stats.benjamini_hochberg):
        adjusted = correct([0.01, np.nan, 0.04])
        assert np.isnan(adjusted[1])
        np.testing.assert_array_equal(adjusted[[0, 2]], correct([0.01, 0.04]))
        assert correct([]).size == 0


def families(seed, nulls, real, draws=4000):
    """P values of families of tests, of which the last `real` are of true differences."""
    z = np.random.default_rng(seed).normal(size=(draws, nulls + real))
    z[:, nulls:] += 3.0
    return stats.two_sided_p(z)


def test_corrections_hold_their_level():
    p = families(1, 25, 0)
    assert np.mean([(stats.holm(row) <= 0.05).any() for row in p]) <= 0.06
    assert np.mean([(stats.benjamini_hochberg(row) <= 0.05).any() for row in p]) <= 0.06


def test_the_rank_is_the_place_in_order_and_not_what_argsort_returns():
    """A known mistake: `p.argsort() + 1` taken as the rank lets through far more false alarms than were asked for."""

    def realised(reject):
        return np.mean([row[:20].sum() / max(1, row.sum()) for row in reject])

    p = families(2, 20, 5)
    wrong = []
    for row in p:
        below = row <= 0.10 * (row.argsort() + 1) / len(row)
        wrong.append(row <= (row[below].max() if below.any() else -1.0))
    assert realised([stats.benjamini_hochberg(row) <= 0.10 for row in p]) <= 0.09
    assert realised(wrong) > 0.13


@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 60))
@settings(max_examples=30, deadline=None)
def test_max_t_equals_a_loop_over_what_is_not_yet_rejected(seed, tests, replicates):
    rng = np.random.default_rng(seed)
    null, observed = rng.gamma(2.0, size=(replicates, tests)), rng.gamma(2.0, size=tests) + 1.0
    spread = null.std(axis=0)
    spread[spread == 0.0] = 1.0
    scaled, t = (null - null.mean(axis=0)) / spread, (observed - null.mean(axis=0)) / spread
    left, before, expected = list(range(tests)), 0.0, np.zeros(tests)
    while left:
        largest = max(left, key=lambda i: t[i])
        p = (1 + sum(max(row[i] for i in left) >= t[largest] - 1e-12 for row in scaled)) / (1 + replicates)
        expected[largest] = before = max(before, p)
        left.remove(largest)
    np.testing.assert_allclose(stats.westfall_young(observed, null), expected, atol=1e-12)


def test_max_t_leaves_out_what_has_no_null():
    null = np.array([[1.0, np.nan], [2.0, np.nan]])
    assert np.isnan(stats.westfall_young([1.5, 1.0], null)).tolist() == [False, True]
    assert np.isnan(stats.westfall_young([np.nan], [[1.0]])).all()


# ------------------------------------------------------------------------------------------------ shuffles
def test_shuffled_hits_have_the_law_of_shuffling_people():
    rng = np.random.default_rng(5)
    sizes, hits = np.array([5, 9, 3]), 7
    drawn = stats.permuted_hits(sizes, hits, 20_000, rng)
    assert (drawn.sum(axis=1) == hits).all()
    who = np.repeat(np.arange(3), sizes)
    shuffled = np.array([np.bincount(rng.permutation(who)[:hits], minlength=3) for _ in range(20_000)])
    for group in range(3):
        both = [np.bincount(some[:, group], minlength=8) for some in (drawn, shuffled)]
        kept = np.array(both)[:, np.sum(both, axis=0) > 20]
        assert scipy.stats.chi2_contingency(kept).pvalue > 1e-3


def test_shuffled_tables_keep_their_margins_and_have_the_exact_law():
    table = np.array([[4, 2, 1, 0], [0, 0, 0, 0], [1, 5, 2, 3]])
    drawn = stats.permuted_tables(table, 20_000, np.random.default_rng(6))
    assert (drawn.sum(axis=2) == table.sum(axis=1)).all()
    assert (drawn.sum(axis=1) == table.sum(axis=0)).all()
    for column in range(4):  # one column against the others is hypergeometric
        k = np.arange(8)
        law = scipy.stats.hypergeom(table.sum(), table[:, column].sum(), table[0].sum()).pmf(k)
        seen = np.bincount(drawn[:, 0, column], minlength=8)[:8]
        kept = law > 1e-3
        expected = law[kept] / law[kept].sum() * seen[kept].sum()
        assert scipy.stats.chisquare(seen[kept], expected).pvalue > 1e-3


def test_a_permutation_p_value_counts_the_observed_draw():
    assert stats.permutation_p(2.0, np.array([1.0, 2.0, 3.0])) == pytest.approx(3 / 4)
    assert np.isnan(stats.permutation_p(np.nan, np.array([1.0])))


@pytest.mark.parametrize("scale", [1e-15, 1e-7, 1.0, 1e9])
def test_the_share_of_extreme_draws_knows_no_unit(scale):
    null = np.random.default_rng(0).random(499)
    assert stats.permutation_p(2.0 * scale, null * scale) == pytest.approx(1 / 500)
    # what equals the observed but for rounding counts as extreme
    assert stats.permutation_p(0.3 * scale, np.array([(0.1 + 0.2) * scale, 0.3 * scale * (1 - 1e-15)])) == 1.0


def test_bootstrap_in_blocks_draws_every_replicate():
    assert sum(stats.blocks(1000, 2**21)) == 1000
    assert max(stats.blocks(1000, 2**21)) == 2
    assert stats.blocks(10, 0) == [10]
    low, high = stats.bootstrap_interval([30, 70], lambda draws: draws[:, 1] / 100.0, 4000, np.random.default_rng(1))
    np.testing.assert_allclose((low, high), scipy.stats.binom.ppf([0.025, 0.975], 100, 0.7) / 100.0, atol=0.011)


# ---------------------------------------------------------------------------------------- equivalence, power
@given(proportions(), proportions(), st.floats(0.02, 0.6))
@settings(max_examples=60, deadline=None)
def test_equivalence_is_the_interval_inside_the_margin(first, second, margin):
    (k1, n1), (k2, n2) = first, second
    p = float(stats.tost(k1, n1, k2, n2, margin))
    if abs(k1 / n1 - k2 / n2) >= margin:
        assert p == 1.0
        return
    for alpha, inside in ((p * 1.001, True), (p * 0.999, False)):
        if 1e-12 < alpha < 0.499:
            low, high = stats.newcombe(k1, n1, k2, n2, 1 - 2 * alpha)
            assert bool(-margin < low and high < margin) == inside


def test_equivalence_of_many_groups_is_that_of_the_worst_pair():
    k, n = np.array([30, 33, 36, 0]), np.array([100, 90, 110, 0])
    pairs = list(itertools.combinations(range(3), 2))
    worst = max(float(stats.tost(k[i], n[i], k[j], n[j], 0.2)) for i, j in pairs)
    assert stats.equivalence_p(k, n, 0.2) == pytest.approx(worst, rel=1e-6)
    assert np.isnan(stats.equivalence_p([3], [9], 0.1))
    with pytest.raises(ValueError, match="margin must lie above 0"):
        stats.equivalence_p([3, 4], [9, 9], 0.0)


def test_equivalence_holds_its_level_at_the_margin():
    rng = np.random.default_rng(8)
    k1, k2 = rng.binomial(400, 0.4, 400), rng.binomial(400, 0.5, 400)
    assert np.mean(stats.tost(k1, 400, k2, 400, 0.1) <= 0.05) <= 0.07


def test_cases_needed_equal_the_published_example():
    """R's documentation of power.prop.test: 0.50 against 0.75 with power 0.90 needs 76.7 in each group."""
    assert float(stats.n_needed(0.50, 0.75, power=0.90)) == pytest.approx(76.7, abs=0.05)
    assert float(stats.n_needed(0.3, 0.3)) == np.inf


@given(st.integers(20, 4000), st.integers(20, 4000), st.floats(0.05, 0.95))
@settings(max_examples=40, deadline=None)
def test_the_detectable_gap_has_its_power(n1, n2, p):
    gap = float(stats.minimum_detectable_gap(n1, n2, p))
    if np.isnan(gap):
        return
    other = p + gap if p <= 0.5 else p - gap
    assert float(stats.power_of(n1, n2, other, p)) == pytest.approx(0.8, abs=1e-6)
    if n1 == n2:
        assert float(stats.n_needed(p, other)) == pytest.approx(n1, rel=1e-6)


def test_power_equals_simulation():
    rng = np.random.default_rng(9)
    z = stats.z_statistic(rng.binomial(300, 0.4, 20_000), 300, rng.binomial(200, 0.5, 20_000), 200)
    assert float(stats.power_of(300, 200, 0.4, 0.5)) == pytest.approx(np.mean(z < -1.96), abs=0.02)


def test_what_cannot_be_seen():
    assert np.isnan(stats.minimum_detectable_gap([2, 0], [2, 9], [0.5, 0.5])).all()
    with pytest.raises(ValueError, match="power must lie in"):
        stats.n_needed(0.1, 0.2, power=1.0)
