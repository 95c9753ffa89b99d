"""Comparisons within strata: Berkeley as published, brute-force derivations, coverage, and Simpson's reversal."""

import numpy as np
import pandas as pd
import pytest
import scipy.optimize
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from subjects import context_of, find, subject_of

from audit.core import DataError, Measure, Table
from audit.fairness import breslow_day, mantel_haenszel, simpson, standardised_difference
from audit.fairness.strata import strata


@pytest.fixture(scope="module")
def frame(test_data):
    rows = pd.read_csv(test_data / "berkeley" / "UCBAdmissions.csv")
    return rows.assign(admitted=(rows["Admit"] == "Admitted").astype(int))


@pytest.fixture(scope="module")
def berkeley(frame):
    """k and n of men, k and n of women, by department."""
    wide = frame.pivot_table(index="Dept", columns=["Gender", "admitted"], values="Freq")
    return tuple(
        column
        for gender in ("Male", "Female")
        for column in (wide[gender][1].to_numpy(), wide[gender].sum(axis=1).to_numpy())
    )


def test_berkeley_as_published(berkeley):
    # R: mantelhaen.test(UCBAdmissions), with and without correct = FALSE; DescTools::BreslowDayTest
    found = mantel_haenszel(*berkeley)
    assert found.odds_ratio == pytest.approx(0.9046968, abs=1e-7)
    assert found.odds_ratio_interval == pytest.approx((0.7719074, 1.0603298), abs=1e-6)
    assert found.chi2 == pytest.approx(1.5246, abs=5e-5)
    assert found.chi2_corrected == pytest.approx(1.4269, abs=5e-5)
    assert found.p_corrected == pytest.approx(0.2323, abs=5e-5)
    equal = breslow_day(*berkeley)
    assert (equal.chi2, equal.p) == pytest.approx((18.826, 0.002071), abs=6e-4)
    assert equal.df == 5


def test_figures_of_another_implementation():
    # statsmodels 0.15 StratifiedTable
    found = mantel_haenszel([3, 10, 7], [20, 30, 15], [5, 4, 9], [25, 10, 30])
    assert found.odds_ratio == pytest.approx(1.1113360323886639, rel=1e-12)
    assert found.odds_ratio_interval == pytest.approx((0.49223637903934514, 2.5090948769283394), rel=1e-10)
    assert (found.chi2, found.p) == pytest.approx((0.06489833731532509, 0.7989150208842164), rel=1e-10)
    equal = breslow_day([3, 10, 7], [20, 30, 15], [5, 4, 9], [25, 10, 30])
    assert (equal.chi2, equal.p) == pytest.approx((1.4750376067412403, 0.47829919881242555), rel=1e-9)
    assert (equal.tarone_chi2, equal.tarone_p) == pytest.approx((1.4749834552195877, 0.47831214930245725), rel=1e-9)


def columns(strata=st.integers(1, 6)):
    one = st.tuples(st.integers(0, 30), st.integers(0, 30), st.integers(0, 30), st.integers(0, 30))
    cells = strata.flatmap(lambda size: st.lists(one, min_size=size, max_size=size))
    return cells.map(
        lambda rows: tuple(
            np.array(column) for column in zip(*((a, a + b, c, c + d) for a, b, c, d in rows), strict=True)
        )
    )


@given(columns())
@settings(max_examples=100, deadline=None)
def test_swapping_the_groups_or_the_order_of_strata_changes_nothing_else(data):
    k1, n1, k2, n2 = data
    one, other = mantel_haenszel(k1, n1, k2, n2), mantel_haenszel(k2, n2, k1, n1)
    np.testing.assert_allclose(one.risk_difference, -other.risk_difference, atol=1e-12)
    np.testing.assert_allclose(one.risk_difference_interval, -np.array(other.risk_difference_interval)[::-1], atol=1e-9)
    np.testing.assert_allclose(one.chi2, other.chi2, rtol=1e-9, atol=1e-9)
    if 0 < one.odds_ratio < np.inf:
        np.testing.assert_allclose(one.odds_ratio * other.odds_ratio, 1.0, rtol=1e-9)
    turned = mantel_haenszel(*(column[::-1] for column in data))
    np.testing.assert_allclose(
        [turned.odds_ratio, turned.chi2, turned.risk_difference],
        [one.odds_ratio, one.chi2, one.risk_difference],
        rtol=1e-9,
        atol=1e-12,
    )


@given(columns(st.just(1)))
@settings(max_examples=60, deadline=None)
def test_one_stratum_is_a_plain_table(data):
    (k1,), (n1,), (k2,), (n2,) = (column.tolist() for column in data)
    found = mantel_haenszel(*data)
    if min(n1, n2) == 0:
        assert np.isnan(found.risk_difference)
        assert found.strata == 0
        return
    assert found.risk_difference == pytest.approx(k1 / n1 - k2 / n2, abs=1e-12)
    assert standardised_difference(*data)[0] == pytest.approx(k1 / n1 - k2 / n2, abs=1e-12)
    if 0 < k1 + k2 < n1 + n2:
        pearson = scipy.stats.chi2_contingency([[k1, n1 - k1], [k2, n2 - k2]], correction=False).statistic
        assert found.chi2 == pytest.approx(pearson * (n1 + n2 - 1) / (n1 + n2), rel=1e-9, abs=1e-12)
        # the variance of the hypergeometric law, from scipy
        law = scipy.stats.hypergeom(n1 + n2, k1 + k2, n1)
        assert found.chi2 == pytest.approx((k1 - law.mean()) ** 2 / law.var(), rel=1e-9, abs=1e-12)


def test_breslow_day_finds_the_tables_of_the_common_odds_ratio():
    rng = np.random.default_rng(1)
    n1, n2 = rng.integers(10, 60, 5), rng.integers(10, 60, 5)
    k1, k2 = rng.integers(1, n1), rng.integers(1, n2)
    ratio = mantel_haenszel(k1, n1, k2, n2).odds_ratio
    chi2 = 0.0
    for a, n, c, m in zip(k1, n1, k2, n2, strict=True):
        hits = a + c
        low, high = max(0, hits - m) + 1e-9, min(hits, n) - 1e-9

        def odds(e, hits=hits, n=n, m=m):
            return np.log(e) + np.log(m - hits + e) - np.log(n - e) - np.log(hits - e) - np.log(ratio)

        e = scipy.optimize.brentq(odds, low, high, xtol=1e-13)
        chi2 += (a - e) ** 2 * (1 / e + 1 / (hits - e) + 1 / (n - e) + 1 / (m - hits + e))
    assert breslow_day(k1, n1, k2, n2).chi2 == pytest.approx(chi2, rel=1e-6)


def test_intervals_cover_the_true_difference_and_ratio():
    rng = np.random.default_rng(2)
    n1, n2 = np.array([40, 80, 25, 60]), np.array([70, 30, 50, 60])
    base = np.array([0.1, 0.3, 0.5, 0.7])
    ratio, tries = 1.6, 1500
    odds = ratio * base / (1 - base)
    raised = odds / (1 + odds)
    weight = (n1 + n2) / (n1 + n2).sum()
    shared, standard = base + 0.1, float(weight @ (raised - base))
    held = np.zeros(3)
    for _ in range(tries):
        k2 = rng.binomial(n2, base)
        by_ratio, by_difference = rng.binomial(n1, raised), rng.binomial(n1, shared)
        low, high = mantel_haenszel(by_ratio, n1, k2, n2).odds_ratio_interval
        held[0] += low <= ratio <= high
        low, high = mantel_haenszel(by_difference, n1, k2, n2).risk_difference_interval
        held[1] += low <= 0.1 <= high
        _, low, high = standardised_difference(by_ratio, n1, k2, n2)
        held[2] += low <= standard <= high
    assert (held / tries > 0.93).all()
    assert (held / tries < 0.97).all()


def test_the_tests_hold_their_level():
    rng = np.random.default_rng(3)
    n1, n2, rate = np.array([40, 80, 25]), np.array([70, 30, 50]), np.array([0.2, 0.5, 0.7])
    p = np.array(
        [
            (mantel_haenszel(k1, n1, k2, n2).p, breslow_day(k1, n1, k2, n2).tarone_p)
            for k1, k2 in zip(rng.binomial(n1, rate, (1000, 3)), rng.binomial(n2, rate, (1000, 3)), strict=True)
        ]
    )
    assert ((p < 0.05).mean(axis=0) <= 0.065).all()


def test_empty_strata_and_impossible_columns():
    whole = mantel_haenszel([3, 10], [20, 30], [5, 4], [25, 10])
    assert mantel_haenszel([3, 10, 4], [20, 30, 9], [5, 4, 0], [25, 10, 0]) == whole
    none = mantel_haenszel([0], [5], [0], [5])
    assert np.isnan(none.odds_ratio)
    assert np.isnan(none.p)
    assert none.risk_difference == 0.0
    assert np.isnan(breslow_day([1], [5], [2], [5]).p)
    assert np.isnan(mantel_haenszel([], [], [], []).risk_difference)
    assert np.isnan(standardised_difference([], [], [], [])[0])
    with pytest.raises(DataError, match="counts from 0"):
        mantel_haenszel([6], [5], [2], [5])
    with pytest.raises(DataError, match="four columns"):
        mantel_haenszel([1, 2], [5], [2], [5])


# -------------------------------------------------------------------------------------------------- reversal
def test_simpson_is_found_and_named(berkeley):
    men_k, men_n, women_k, women_n = berkeley
    found = simpson(women_k, women_n, men_k, men_n)
    assert found.aggregate == pytest.approx(557 / 1835 - 1198 / 2691)
    assert found.adjusted == pytest.approx(0.04263679777130291, abs=1e-12)
    assert (found.against, found.agree, found.reversed, found.word) == ((0, 1, 3, 5), (2, 4), True, "reversal")
    # kidney stones (Charig 1986): the open operation is ahead for small and large stones, and behind in all
    every = simpson([81, 192], [87, 263], [234, 55], [270, 80])
    assert every.word == "reversal in every stratum"
    assert simpson([5, 5], [10, 10], [4, 4], [10, 10]).word == "none"
    assert simpson([9, 4], [10, 10], [4, 5], [10, 10]).word == "mixed"
    assert simpson([1], [0 + 1], [0], [0]).word == "undefined"


def test_check_on_berkeley(frame, berkeley):
    subject = subject_of(
        frame,
        attributes=("Gender",),
        decision="admitted",
        frequency="Freq",
        strata=("Dept",),
        reference={"Gender": "Male"},
    )
    evidence = list(strata(subject, context_of()))
    men_k, men_n, women_k, women_n = berkeley
    everywhere = {"Gender": "Female", "Dept": "*"}
    odds = find(evidence, "mantel_haenszel_odds_ratio", **everywhere)
    assert odds.value == pytest.approx(1 / 0.9046968282586231, rel=1e-12)
    assert odds.n == 4526
    assert find(evidence, "standardised_difference", **everywhere).value == pytest.approx(0.04263679777130291)
    assert find(evidence, "cmh_p", **everywhere).value == pytest.approx(0.216924, abs=1e-6)
    assert find(evidence, "breslow_day_p", **everywhere).value == pytest.approx(0.002071, abs=1e-5)
    for index, dept in enumerate("ABCDEF"):
        gap = find(evidence, "selection_rate_difference", Gender="Female", Dept=dept)
        assert gap.value == pytest.approx(women_k[index] / women_n[index] - men_k[index] / men_n[index])
        assert gap.n == women_n[index] + men_n[index]
    table = next(e for e in evidence if isinstance(e, Table))
    (row,) = table.rows
    cells = dict(zip(table.columns, row, strict=True))
    assert cells["Simpson's reversal"] == "reversal"
    assert cells["strata of the opposite sign"] == "4: A, B, D, F"
    assert cells["n"] == 4526


def test_check_with_two_strata_weights_and_another_rate():
    rng = np.random.default_rng(5)
    n = 800
    rows = pd.DataFrame(
        {
            "g": rng.choice(["a", "b", "ü"], n),
            "job": rng.choice(["x", "y"], n),
            "town": rng.choice(["u", "v", None], n),
            "y": rng.integers(0, 2, n),
            "d": rng.integers(0, 2, n),
            "w": 2.0,
        }
    )
    plain = subject_of(rows, attributes=("g",), y="y", decision="d", strata=("job", "town"))
    heavy = subject_of(rows, attributes=("g",), y="y", decision="d", strata=("job", "town"), weights="w")
    one, two = (list(strata(s, context_of(), rate="tpr")) for s in (plain, heavy))
    assert len([e for e in one if isinstance(e, Measure) and e.name == "cmh_p"]) == 2 * 3
    for first, second in zip(one, two, strict=True):
        if isinstance(first, Measure) and first.value is not None:
            assert second.value == pytest.approx(first.value, abs=1e-12)
            assert second.n == first.n
            if first.interval is not None:
                assert first.interval.low <= first.value <= first.interval.high
    part = rows[(rows["g"] != "ü") & (rows["y"] == 1)]
    both = find(one, "tpr_difference", **{"job": "x", "g": "b"}) if _reference(one) == "a" else None
    if both is not None:
        rates = part[part["job"] == "x"].groupby("g")["d"].mean()
        assert both.value == pytest.approx(rates["b"] - rates["a"])
    with pytest.raises(DataError, match="rate: allowed are"):
        list(strata(plain, context_of(), rate="tprr"))


def _reference(evidence):
    return next(e.note for e in evidence if isinstance(e, Measure)).split("; ")[0].removeprefix("reference: ")
