import itertools

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from audit import stats


@st.composite
def proportions(draw):
    n = draw(st.integers(1, 300))
    return draw(st.integers(0, n)), n


# ---------------------------------------------------------------------------------------------- proportions
@given(proportions(), st.sampled_from([0.8, 0.9, 0.95, 0.99]))
@settings(max_examples=60, deadline=None)
def test_wilson_equals_scipy(kn, level):
    peer = scipy.stats.binomtest(*kn).proportion_ci(confidence_level=level, method="wilson")
    np.testing.assert_allclose(stats.wilson(*kn, level), (peer.low, peer.high), atol=1e-12)


def test_wilson_is_vectorised_and_undefined_without_cases():
    low, high = stats.wilson([[0, 3], [10, 0]], [[10, 10], [10, 0]])
    assert low.shape == (2, 2)
    assert (low[0, 0], high[1, 0]) == (0.0, 1.0)
    assert np.isnan([low[1, 1], high[1, 1]]).all()


@given(st.floats(0.01, 0.99), st.floats(0.5, 1e6))
@settings(max_examples=40, deadline=None)
def test_wilson_holds_its_estimate_and_its_equation_for_fractional_n(p, n):
    low, high = stats.wilson(p * n, n)
    assert 0.0 <= low <= p <= high <= 1.0
    z = scipy.stats.norm.ppf(0.975)
    for bound in (low, high):  # the score equation that defines both bounds
        assert (p - bound) ** 2 == pytest.approx(z * z * bound * (1 - bound) / n, rel=1e-6, abs=1e-12)


def test_levels_outside_the_open_interval_are_refused():
    for level in (0.0, 1.0, 95.0):
        with pytest.raises(ValueError, match="level must lie in"):
            stats.wilson(1, 2, level)


# Newcombe (1998), table II, method 10
@pytest.mark.parametrize(
    ("counts", "low", "high"),
    [
        ((56, 70, 48, 80), 0.0524, 0.3339),
        ((9, 10, 3, 10), 0.1705, 0.8090),
        ((6, 7, 2, 7), 0.0582, 0.8062),
        ((5, 56, 0, 29), -0.0381, 0.1926),
        ((0, 10, 0, 20), -0.1611, 0.2775),
        ((0, 10, 0, 10), -0.2775, 0.2775),
        ((10, 10, 0, 20), 0.6791, 1.0000),
        ((10, 10, 0, 10), 0.6075, 1.0000),
    ],
)
def test_newcombe_reproduces_the_published_table(counts, low, high):
    k1, n1, k2, n2 = counts
    np.testing.assert_allclose(stats.newcombe(k1, n1, k2, n2), (low, high), atol=5e-5)


@given(proportions(), proportions())
@settings(max_examples=60, deadline=None)
def test_newcombe_turns_its_sign_with_the_groups(first, second):
    low, high = stats.newcombe(*first, *second)
    back = stats.newcombe(*second, *first)
    np.testing.assert_allclose((low, high), (-back[1], -back[0]), atol=1e-12)
    assert low <= first[0] / first[1] - second[0] / second[1] <= high


@given(proportions(), proportions())
@settings(max_examples=60, deadline=None)
def test_katz_holds_the_ratio_and_inverts_with_the_groups(first, second):
    low, high = stats.katz(*first, *second)
    assert 0.0 <= low < high
    if first[0] and second[0]:
        assert low <= (first[0] / first[1]) / (second[0] / second[1]) <= high
        back = stats.katz(*second, *first)
        np.testing.assert_allclose((low, high), (1 / back[1], 1 / back[0]), rtol=1e-9)


def test_katz_equals_the_written_formula():
    k1, n1, k2, n2 = 12, 40, 30, 60
    estimate = np.log((12.5 / 40.5) / (30.5 / 60.5))
    half = 1.959963984540054 * np.sqrt(1 / 12.5 - 1 / 40.5 + 1 / 30.5 - 1 / 60.5)
    np.testing.assert_allclose(stats.katz(k1, n1, k2, n2), np.exp([estimate - half, estimate + half]), rtol=1e-12)


def test_katz_at_the_edges():
    assert stats.katz(0, 20, 5, 20)[0] == 0.0
    assert stats.katz(5, 20, 0, 20)[1] == np.inf
    assert np.isnan(stats.katz(0, 0, 5, 20)).all()
    low, high = stats.katz(20, 20, 20, 20)  # everybody selected: still no certainty
    assert low < 0.97
    assert high > 1.03


# ------------------------------------------------------------------------------------------------- coverage
def _coverage(bounds, truth) -> float:
    low, high = bounds
    return float(((low <= truth) & (truth <= high)).mean())


@pytest.mark.parametrize(("p1", "n1", "p2", "n2"), [(0.3, 15, 0.5, 20), (0.05, 100, 0.1, 60), (0.6, 200, 0.6, 30)])
def test_two_group_intervals_cover(p1, n1, p2, n2):
    rng = np.random.default_rng(20)
    k1, k2 = rng.binomial(n1, p1, 20_000), rng.binomial(n2, p2, 20_000)
    assert 0.93 <= _coverage(stats.newcombe(k1, n1, k2, n2), p1 - p2) <= 0.98
    assert 0.92 <= _coverage(stats.katz(k1, n1, k2, n2), p1 / p2) <= 0.98


@pytest.mark.parametrize("rates", [(0.3, 0.3), (0.3,) * 8, (0.2, 0.3, 0.4, 0.3)])
@pytest.mark.parametrize("n", [40, 400])
def test_simultaneous_intervals_cover_the_largest_gap_and_the_smallest_ratio(rates, n):
    rng = np.random.default_rng(21)
    draws = rng.binomial(n, rates, (400, len(rates)))
    sizes = np.full(len(rates), n)
    gaps = np.array([stats.gap_interval(k, sizes) for k in draws]).T
    ratios = np.array([stats.ratio_interval(k, sizes) for k in draws]).T
    assert _coverage(gaps, max(rates) - min(rates)) >= 0.94
    assert _coverage(ratios, min(rates) / max(rates)) >= 0.93


def test_the_percentile_bootstrap_of_the_largest_gap_does_not_cover_equality():
    """Why gap_interval exists: the bootstrap of max - min never reaches 0."""
    rng = np.random.default_rng(22)
    covered = 0
    for _ in range(40):
        k = rng.binomial(200, 0.3, 4)
        draws = stats.bootstrap_counts(np.stack([200 - k, k], axis=1), 200, rng)
        rates = draws[..., 1] / draws.sum(axis=-1)
        covered += stats.percentile_interval(np.ptp(rates, axis=1))[0] <= 0.0
    assert covered == 0


@given(st.lists(proportions(), min_size=2, max_size=6))
@settings(max_examples=40, deadline=None)
def test_gap_and_ratio_intervals_hold_their_estimates_and_equal_a_loop_over_pairs(groups):
    k, n = np.array(groups).T
    level = 1 - 0.05 / len(list(itertools.combinations(groups, 2)))
    bounds = [stats.newcombe(*a, *b, level) for a, b in itertools.permutations(groups, 2)]
    low, high = stats.gap_interval(k, n)
    assert low == pytest.approx(max(0.0, max(float(b[0]) for b in bounds)), abs=1e-12)
    assert high == pytest.approx(max(float(b[1]) for b in bounds), abs=1e-12)
    rates = k / n
    assert low <= np.ptp(rates) + 1e-12
    assert high >= np.ptp(rates) - 1e-12
    low, high = stats.ratio_interval(k, n)
    assert 0.0 <= low <= high <= 1.0
    if rates.min() > 0:
        assert low <= rates.min() / rates.max() + 1e-12


def test_gaps_leave_out_groups_without_cases_and_need_two():
    assert stats.gap_interval([5, 10, 0], [10, 20, 0]) == stats.gap_interval([5, 10], [10, 20])
    assert np.isnan(stats.gap_interval([5, 0], [10, 0])).all()
    assert np.isnan(stats.ratio_interval([5], [10])).all()


# ----------------------------------------------------------------------------------------------------- means
def test_mean_interval_equals_scipy():
    values = np.random.default_rng(3).gamma(2.0, size=17)
    peer = scipy.stats.t.interval(0.9, 16, values.mean(), scipy.stats.sem(values))
    np.testing.assert_allclose(stats.mean_interval(values, 0.9), peer, rtol=1e-10)
    assert np.isnan(stats.mean_interval([1.0])).all()


def test_equal_weights_and_counts_change_nothing():
    values = np.array([0.1, 0.4, 0.4, 0.9])
    np.testing.assert_allclose(stats.mean_interval(values, weights=np.full(4, 3.0)), stats.mean_interval(values))
    counted = stats.mean_interval_counts([0.1, 0.4, 0.9], [1, 2, 1])
    np.testing.assert_allclose(counted, stats.mean_interval(values))
    assert stats.effective_n(np.full(4, 3.0)) == pytest.approx(4.0)
    assert stats.effective_n([1.0, 0.0, 0.0]) == 1.0
    assert stats.effective_n([0.0]) == 0.0


# ------------------------------------------------------------------------------------------- area under ROC
def _delong_by_hand(score, y):
    """DeLong's own definition: structural components over all pairs."""
    positive, negative = score[y == 1], score[y == 0]
    psi = (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)
    spread = psi.mean(axis=1).var(ddof=1) / len(positive) + psi.mean(axis=0).var(ddof=1) / len(negative)
    return psi.mean(), spread


@given(st.integers(0, 2**32 - 1), st.integers(4, 60), st.integers(2, 30))
@settings(max_examples=60, deadline=None)
def test_delong_equals_all_pairs(seed, n, distinct):
    rng = np.random.default_rng(seed)
    score = rng.integers(0, distinct, n) / distinct
    y = np.concatenate([[0, 0, 1, 1], rng.integers(0, 2, n - 4)])
    np.testing.assert_allclose(stats.delong(score, y), _delong_by_hand(score, y), atol=1e-12)


def test_delong_counts_frequencies_as_people():
    score, y, times = np.array([0.1, 0.5, 0.5, 0.9]), np.array([0, 1, 0, 1]), np.array([3, 2, 4, 1])
    spread_out = stats.delong(np.repeat(score, times), np.repeat(y, times))
    np.testing.assert_allclose(stats.delong(score, y, times), spread_out, rtol=1e-12)


def test_delong_is_undefined_where_it_must_be():
    assert np.isnan(stats.delong([0.1, 0.2], [1, 1])).all()
    area, variance = stats.delong([0.1, 0.2, 0.3], [0, 0, 1])
    assert area == 1.0
    assert np.isnan(variance)
    assert np.isnan(stats.auc_interval(area, variance, 1)).all()


def test_the_interval_of_a_perfect_ranking_is_not_a_point():
    low, high = stats.auc_interval(*stats.delong([1, 2, 3, 4, 5, 6], [0, 0, 0, 1, 1, 1]), 3)
    assert high == 1.0
    assert low < 0.6
    assert stats.auc_interval(0.5, 1e9, 3) == pytest.approx((0.0, 1.0))


def test_delong_intervals_cover():
    rng = np.random.default_rng(8)
    truth = scipy.stats.norm.cdf(1.0 / np.sqrt(2.0))
    covered = 0
    for _ in range(400):
        score = np.concatenate([rng.normal(1.0, 1.0, 40), rng.normal(0.0, 1.0, 60)])
        low, high = stats.auc_interval(*stats.delong(score, np.repeat([1, 0], [40, 60])), 40)
        covered += low <= truth <= high
    assert 0.92 <= covered / 400 <= 0.98


# ------------------------------------------------------------------------------------------------- bootstrap
def test_count_bootstrap_equals_row_bootstrap_in_law():
    rng = np.random.default_rng(5)
    rows = rng.choice(6, 300, p=[0.3, 0.25, 0.2, 0.15, 0.1, 0.0])
    counts = np.bincount(rows, minlength=6).reshape(2, 3)
    draws = stats.bootstrap_counts(counts, 3000, rng)
    assert draws.shape == (3000, 2, 3)
    assert (draws.sum(axis=(1, 2)) == 300).all()
    assert (draws[:, 1, 2] == 0).all()
    by_rows = np.stack([np.bincount(rng.choice(rows, 300), minlength=6) for _ in range(3000)]).reshape(3000, 2, 3)
    for cell in np.ndindex(2, 3):
        assert scipy.stats.ks_2samp(draws[:, *cell], by_rows[:, *cell]).pvalue > 1e-3


def test_bootstrap_of_nothing_is_nothing():
    assert (stats.bootstrap_counts([0, 0], 3, np.random.default_rng(0)) == 0).all()


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_percentile_interval_equals_nanquantile(seed):
    rng = np.random.default_rng(seed)
    draws = rng.normal(size=(50, 3, 2))
    draws[rng.random(draws.shape) < 0.2] = np.nan
    draws[:, 2, 1] = 7.0
    expected = np.nanquantile(draws, [0.05, 0.95], axis=0)
    np.testing.assert_allclose(stats.percentile_interval(draws, 0.9), expected, atol=1e-12)


def test_percentile_interval_without_any_draw_is_undefined():
    assert np.isnan(stats.percentile_interval(np.full((5, 1), np.nan))).all()
