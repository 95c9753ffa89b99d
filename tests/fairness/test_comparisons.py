"""Composite rates, comparisons to any reference, and the widest gap, with their intervals."""

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from audit import stats
from audit.core import DataError, UsageError
from audit.fairness import compare_groups, count, from_counts, gap, group_metrics
from audit.fairness.rates import FIGURES, INDEXES, bounds_of, shares

COMPOSITES = {
    "balanced_accuracy": sklearn.metrics.balanced_accuracy_score,
    "f1": sklearn.metrics.f1_score,
    "mcc": sklearn.metrics.matthews_corrcoef,
}


def table(seed: int, groups: int = 3, most: int = 40):
    """Cells (g, 4), none empty."""
    return np.random.default_rng(seed).integers(1, most, (groups, 4))


def of(cells, names=None):
    tn, fp, fn, tp = np.asarray(cells).T
    return from_counts({"g": names or [f"g{i}" for i in range(len(cells))]}, tn=tn, fp=fp, fn=fn, tp=tp)


def people(cells):
    """Rows of y, ŷ and group."""
    where = np.repeat(np.arange(np.size(cells)), np.ravel(cells))
    return where % 4 // 2, where % 2, where // 4


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_composites_equal_scikit_learn(seed):
    cells = table(seed)
    y, p, group = people(cells)
    mine = group_metrics(y, p, sensitive_features=group, metrics=list(COMPOSITES)).by_group
    theirs = [[f(y[group == g], p[group == g]) for f in COMPOSITES.values()] for g in range(3)]
    np.testing.assert_allclose(mine, theirs, atol=1e-12)


def test_weighted_composites_equal_scikit_learn():
    y, p, group = people(table(4))
    w = np.random.default_rng(4).gamma(2.0, size=len(y))
    mine = group_metrics(y, p, sensitive_features=group, metrics=list(COMPOSITES), weights=w)
    inside = group == 1
    theirs = [f(y[inside], p[inside], sample_weight=w[inside]) for f in COMPOSITES.values()]
    np.testing.assert_allclose(mine.by_group[1], theirs, atol=1e-12)
    low, high = mine.intervals().by_group
    assert (low <= mine.by_group).all()
    assert (mine.by_group <= high).all()


def test_composites_are_undefined_where_scikit_learn_says_zero():
    cells = np.array([[3, 2, 0, 0], [5, 0, 0, 0], [0, 0, 4, 0]])
    names = ("balanced_accuracy", "f1", "mcc", "average_odds", "treatment_equality")
    undefined = np.isnan(shares(cells, names))
    assert undefined.tolist() == [
        [True, False, True, True, False],
        [True, True, True, True, True],
        [True, False, True, True, True],
    ]
    for i, name in enumerate(names):
        assert np.isnan(bounds_of(cells, name, 0.95)[0]).tolist() == undefined[:, i].tolist()


LAW = np.array([0.42, 0.13, 0.12, 0.33])


@pytest.mark.parametrize("name", [*COMPOSITES, *INDEXES])
@pytest.mark.parametrize("n", [80, 400])
def test_intervals_of_composites_cover(name, n):
    draws = np.random.default_rng(11).multinomial(n, LAW, size=6000).astype(float)
    low, high = bounds_of(draws, name, 0.95)
    truth = shares(LAW, (name,))[0]
    assert 0.93 <= np.mean((low <= truth) & (truth <= high)) <= 0.97


@given(st.integers(0, 2**32 - 1), st.sampled_from([*FIGURES]), st.floats(0.5, 0.99))
@settings(max_examples=60, deadline=None)
def test_every_interval_holds_its_estimate_and_grows_with_its_level(seed, name, level):
    cells = np.random.default_rng(seed).integers(0, 12, (20, 4)).astype(float)
    value = shares(cells, (name,))[:, 0]
    low, high = bounds_of(cells, name, level)
    wide = bounds_of(cells, name, (1.0 + level) / 2.0)
    there = ~np.isnan(value)
    for smaller, larger in ((low, value), (value, high), (wide[0], low), (high, wide[1])):
        assert (smaller[there] <= larger[there] + 1e-12).all()


# ----------------------------------------------------------------------------------------------- references
def test_all_pairs_equal_a_loop():
    counts = of(table(1, 4))
    for rate in ("tpr", "selection_rate"):
        found = compare_groups(counts, rate, reference="all")
        value = shares(counts.cells(), (rate,))[:, 0]
        place = {name: i for i, name in enumerate(counts.groups)}
        assert len(found.value) == 6
        for a, b, difference in zip(found.groups, found.against, found.value, strict=True):
            assert difference == pytest.approx(value[place[a]] - value[place[b]], abs=1e-12)


def test_intervals_against_a_named_group_are_those_of_newcombe_and_katz():
    cells = table(2)
    fn, tp = cells.T[2:]
    counts = of(cells)
    found = compare_groups(counts, "tpr", reference="g1")
    expected = stats.newcombe(tp[[0, 2]], (tp + fn)[[0, 2]], tp[1], (tp + fn)[1])
    np.testing.assert_allclose((found.low, found.high), expected, atol=1e-12)
    assert found.n_against.tolist() == [tp[1] + fn[1]] * 2
    ratio = compare_groups(counts, "tpr", how="ratio", reference=("g1",), simultaneous=True)
    expected = stats.katz(tp[[0, 2]], (tp + fn)[[0, 2]], tp[1], (tp + fn)[1], 0.975)
    np.testing.assert_allclose((ratio.low, ratio.high), expected, atol=1e-12)


def test_the_best_is_the_lowest_of_what_had_better_be_low():
    counts = of([[80, 20, 10, 90], [50, 50, 40, 60]])
    best = {rate: compare_groups(counts, rate).against[0][0] for rate in ("tpr", "fpr", "selection_rate")}
    assert best == {"tpr": "g0", "fpr": "g0", "selection_rate": "g0"}
    assert compare_groups(counts, "fpr", reference="worst").against[0] == ("g1",)


@given(st.integers(0, 2**32 - 1), st.booleans())
@settings(max_examples=25, deadline=None)
def test_against_overall_equals_fairlearn(seed, weighted):
    from fairlearn.metrics import MetricFrame, selection_rate

    y, p, group = people(table(seed))
    w = np.random.default_rng(seed).gamma(2.0, size=len(y)) if weighted else None
    counts = count(y, p, sensitive_features=group, weights=w)
    params = {"sample_weight": w} if weighted else None
    peer = MetricFrame(metrics=selection_rate, y_true=y, y_pred=p, sensitive_features=group, sample_params=params)
    for how in ("difference", "ratio"):
        found = compare_groups(counts, "selection_rate", how=how, reference="overall")
        theirs = peer.by_group - peer.overall if how == "difference" else peer.by_group / peer.overall
        np.testing.assert_allclose(found.value, theirs, atol=1e-12)
        assert (found.low <= found.value + 1e-12).all()
        assert (found.value <= found.high + 1e-12).all()


def test_intervals_against_overall_cover():
    rng, n, p = np.random.default_rng(3), np.array([60, 120, 300]), np.array([0.3, 0.5, 0.4])
    overall = n @ p / n.sum()
    hits = {"difference": 0, "ratio": 0}
    for _ in range(1500):
        counts = from_counts({"g": ["a", "b", "c"]}, n=n, selected=rng.binomial(n, p))
        for how, truth in (("difference", p[0] - overall), ("ratio", p[0] / overall)):
            found = compare_groups(counts, "selection_rate", how=how, reference="overall")
            hits[how] += found.low[0] <= truth <= found.high[0]
    for held in hits.values():
        assert 0.93 <= held / 1500 <= 0.97


def test_a_group_that_is_everyone_equals_everyone():
    one = from_counts({"g": ["a"]}, n=[10], selected=[4])
    for how, value in (("difference", 0.0), ("ratio", 1.0)):
        found = compare_groups(one, "selection_rate", how=how, reference="overall")
        assert (found.value[0], found.low[0], found.high[0]) == (value, value, value)
    assert compare_groups(one, "selection_rate").value.size == 0


def test_comparisons_of_composites_and_frames():
    counts = of(table(7), names=["Ünï 女", "b", "c"])
    for reference in ("best", "worst", "overall", "all", "b"):
        for how in ("difference", "ratio"):
            for rate in ("f1", "balanced_accuracy", "treatment_equality"):
                found = compare_groups(counts, rate, how=how, reference=reference)
                assert (found.low <= found.value).all()
                assert (found.value <= found.high).all()
    frame = compare_groups(counts, "f1", reference="b").frame()
    assert list(frame["group"]) == ["c", "Ünï 女"]
    assert isinstance(frame, pd.DataFrame)


def test_a_ratio_of_figures_below_zero_is_undefined():
    counts = of([[1, 9, 9, 1], [9, 1, 1, 9]])
    assert np.isnan(compare_groups(counts, "mcc", how="ratio").value).all()
    assert np.isnan(gap(counts, "mcc", how="ratio").value)
    assert gap(counts, "mcc").value == pytest.approx(1.6)


def test_undefined_groups_are_told():
    counts = of([[5, 5, 0, 0], [5, 5, 5, 5], [4, 6, 2, 8]])
    found = gap(counts, "tpr")
    assert found.left_out == (("g0",),)
    assert found.value == pytest.approx(0.3)
    assert np.isnan(compare_groups(counts, "tpr", reference="g1").value[0])
    nobody = gap(of([[5, 5, 0, 0], [5, 5, 0, 0]]), "tpr")
    assert np.isnan([nobody.value, nobody.low, nobody.high]).all()
    assert nobody.highest == ()
    assert compare_groups(of([[5, 5, 0, 0]]), "tpr").value.size == 0


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda c: compare_groups(c, "tpr", how="odds"), UsageError, "how: allowed are 'difference' and 'ratio'"),
        (lambda c: compare_groups(c, "tpr", reference="gg"), DataError, r"reference: allowed are .* got 'gg'"),
        (lambda c: compare_groups(c, "auc"), DataError, "rate 'auc' is not to be had"),
    ],
)
def test_errors_of_comparisons(call, error, message):
    with pytest.raises(error, match=message):
        call(of(table(1)))


# ------------------------------------------------------------------------------------------------- the widest
@pytest.mark.parametrize("rate", ["selection_rate", "average_odds", "f1"])
def test_the_interval_of_the_widest_gap_covers_equal_groups(rate):
    rng, held = np.random.default_rng(5), 0
    for _ in range(300):
        found = gap(of(rng.multinomial(150, LAW, size=4)), rate)
        held += found.low == 0.0
        assert found.low <= found.value <= found.high
    assert held / 300 >= 0.95


def test_the_gap_of_ten_thousand_groups_of_any_kind():
    rng = np.random.default_rng(6)
    counts = of(rng.multinomial(100, LAW, size=10_000))
    for rate in ("tpr", "balanced_accuracy"):
        found = gap(counts, rate)
        assert found.low == 0.0
        assert 0.3 < found.value < found.high
