"""Shares of groups, their distance from a target, and the correction for annotators' errors."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog, minimize
from scipy.stats import binomtest
from subjects import context_of, find, subject_of

from audit.core import ALL, DataError, UsageError
from audit.fairness import group_shares, retrieval, rogan_gladen, total_variation
from audit.fairness.ranking import ndkl, skew
from audit.fairness.representation import _distance_bounds, _nearest_shares, representation_check


def test_shares_are_wilson():
    found = group_shares([30, 50, 20], [0.2, 0.5, 0.3])
    np.testing.assert_allclose(found.share, [0.3, 0.5, 0.2])
    for k, low, high in zip((30, 50, 20), found.low, found.high, strict=True):
        peer = binomtest(k, 100).proportion_ci(method="wilson")
        assert (low, high) == pytest.approx((peer.low, peer.high), abs=1e-12)
    assert found.total_variation == pytest.approx(0.1)
    assert total_variation([1, 0], [0, 1]) == 1.0
    assert group_shares([5, 5]).total_variation == 0.0


@given(seed=st.integers(0, 10**6), groups=st.integers(2, 5))
def test_the_bounds_of_the_distance_are_those_of_a_linear_programme(seed, groups):
    rng = np.random.default_rng(seed)
    share, target = rng.dirichlet(np.ones(groups)), rng.dirichlet(np.ones(groups))
    low, high = np.maximum(share - rng.random(groups) / 4, 0), np.minimum(share + rng.random(groups) / 4, 1)
    least, most = _distance_bounds(low, high, target)
    # shares p and distances d: minimise sum d / 2 with d >= |p - target|
    zero, one = np.zeros((groups, groups)), np.eye(groups)
    solved = linprog(
        np.concatenate([np.zeros(groups), np.full(groups, 0.5)]),
        A_ub=np.block([[one, -one], [-one, -one]]),
        b_ub=np.concatenate([target, -target]),
        A_eq=np.concatenate([np.ones(groups), np.zeros(groups)])[None],
        b_eq=[1.0],
        bounds=[*zip(low, high, strict=True), *[(0, None)] * groups],
    )
    assert zero.sum() == 0
    assert least == pytest.approx(solved.fun, abs=1e-7)
    for _ in range(50):  # no share in the box lies further
        p = low + rng.random(groups) * (high - low)
        p = p + (1 - p.sum()) / groups
        if (p >= low).all() and (p <= high).all():
            assert total_variation(p, target) <= most + 1e-9


def test_the_distance_covers_its_truth():
    rng, truth, target = np.random.default_rng(1), np.array([0.5, 0.3, 0.2]), np.array([0.4, 0.4, 0.2])
    for aim, distance in ((target, 0.1), (truth, 0.0)):
        hits = 0
        for _ in range(400):
            low, high = group_shares(rng.multinomial(150, truth), aim).total_variation_bounds
            hits += low - 1e-12 <= distance <= high
        assert hits / 400 >= 0.94  # conservative: simultaneous over the shares


def test_rogan_gladen_of_two_groups_is_the_published_formula():
    sensitivity, specificity, n1, n0, n = 0.9, 0.8, 200, 300, 1000
    confusion = np.array([[n1 * sensitivity, n1 * (1 - sensitivity)], [n0 * (1 - specificity), n0 * specificity]])
    q = 0.45
    found = rogan_gladen([n * q, n * (1 - q)], confusion)
    youden = sensitivity + specificity - 1
    p = (q + specificity - 1) / youden
    variance = (
        q * (1 - q) / n
        + p**2 * sensitivity * (1 - sensitivity) / n1
        + (1 - p) ** 2 * specificity * (1 - specificity) / n0
    ) / youden**2
    assert found.share[0] == pytest.approx(p, abs=1e-12)
    half = 1.959963984540054 * variance**0.5
    assert (found.low[0], found.high[0]) == pytest.approx((p - half, p + half), abs=1e-12)
    assert (found.low[1], found.high[1]) == pytest.approx((1 - p - half, 1 - p + half), abs=1e-12)


@pytest.mark.parametrize("replicates", [0, 300])
def test_rogan_gladen_covers_three_groups(replicates):
    rng, truth = np.random.default_rng(7), np.array([0.6, 0.3, 0.1])
    errors = np.array([[0.85, 0.1, 0.05], [0.1, 0.8, 0.1], [0.05, 0.15, 0.8]])
    hits, naive, trials = np.zeros(3), np.zeros(3), 300 if replicates else 600
    for _ in range(trials):
        true = rng.multinomial(600, truth)
        observed = sum(rng.multinomial(k, row) for k, row in zip(true, errors, strict=True))
        confusion = np.array([rng.multinomial(150, row) for row in errors])
        found = rogan_gladen(observed, confusion, replicates=replicates, rng=rng)
        hits += (found.low <= truth) & (truth <= found.high)
        plain = group_shares(observed)
        naive += (plain.low <= truth) & (truth <= plain.high)
    assert (np.abs(hits / trials - 0.95) < 0.04).all(), hits / trials
    assert (naive / trials).min() < 0.3  # uncorrected shares miss


def test_a_perfect_annotator_changes_nothing():
    found = rogan_gladen([30, 50, 20], 100 * np.eye(3))
    plain = group_shares([30, 50, 20])
    np.testing.assert_allclose(found.share, plain.share, atol=1e-12)
    np.testing.assert_allclose(found.high - found.low, plain.high - plain.low, rtol=0.06)


@given(st.lists(st.floats(-1, 2), min_size=2, max_size=5))
def test_projection_on_shares(values):
    values = np.array(values)
    found = _nearest_shares(values)
    assert found.sum() == pytest.approx(1)
    assert found.min() >= 0
    start = np.full(len(values), 1 / len(values))
    solved = minimize(
        lambda p: ((p - values) ** 2).sum(),
        start,
        bounds=[(0, 1)] * len(values),
        constraints={"type": "eq", "fun": lambda p: p.sum() - 1},
    )
    assert ((found - values) ** 2).sum() <= solved.fun + 1e-6


def test_shares_below_nothing_are_brought_back():
    found = rogan_gladen([1, 99], [[90, 10], [20, 80]])
    np.testing.assert_allclose(found.share, [0, 1])
    assert found.low[0] == 0.0
    assert found.high[1] == 1.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rogan_gladen([5, 5], np.ones((2, 2))), "tell the groups apart"),
        (lambda: rogan_gladen([5, 5], np.ones((3, 3))), r"\(2, 2\)"),
        (lambda: rogan_gladen([5, 5], [[1, 0], [0, 0]]), "at least one case"),
        (lambda: rogan_gladen([5, 5], np.eye(2), replicates=5), "rng"),
        (lambda: group_shares([1, -1]), "at least 0"),
        (lambda: group_shares([]), "at least 0"),
        (lambda: group_shares([1, 1], [0.5, 0.6]), "sum to 1"),
    ],
)
def test_mistakes(call, message):
    with pytest.raises(UsageError, match=message):
        call()


def test_nobody():
    found = group_shares([0, 0])
    assert np.isnan(found.share).all()
    assert np.isnan(found.total_variation_bounds).all()


# ------------------------------------------------------------------------------------------------ retrieval
@given(seed=st.integers(0, 10**6), groups=st.integers(2, 4))
def test_retrieval_by_brute_force(seed, groups):
    rng = np.random.default_rng(seed)
    shown, target, k = rng.integers(0, groups, (3, 8)), rng.dirichlet(np.ones(groups)), 6
    found = retrieval(shown, target, k=k)
    for query, row in enumerate(shown):
        skews, total, weights = [], 0.0, 0.0
        for i in range(1, k + 1):
            share = [np.mean(row[:i] == g) for g in range(groups)]
            divergence = sum(p * np.log(p / t) for p, t in zip(share, target, strict=True) if p)
            total, weights = total + divergence / np.log2(i + 1), weights + 1 / np.log2(i + 1)
        skews = [np.log(p / t) if p else -np.inf for p, t in zip(share, target, strict=True)]
        assert found.max_skew[query] == pytest.approx(max(skews))
        assert found.min_skew[query] == pytest.approx(min(skews))
        assert found.ndkl[query] == pytest.approx(total / weights)


def test_retrieval_is_the_ranking_of_one_list():
    rng = np.random.default_rng(3)
    row = rng.permutation(np.repeat([0, 1, 2], [10, 6, 4]))
    found = retrieval(row[None], [0.5, 0.3, 0.2], k=20)
    score = -np.arange(20.0)
    assert found.ndkl[0] == pytest.approx(ndkl(score, sensitive_features=row), abs=1e-12)
    short = retrieval(row[None], [0.5, 0.3, 0.2], k=12)
    skews = skew(score, 12, sensitive_features=row)
    assert (short.max_skew[0], short.min_skew[0]) == pytest.approx((skews.max(), skews.min()))
    assert (found.max_skew[0], found.min_skew[0]) == pytest.approx((0, 0), abs=1e-12)


def test_retrieval_means_and_edges():
    rng = np.random.default_rng(0)
    shown = rng.integers(0, 2, (400, 10))
    means = retrieval(shown).means()
    peer = retrieval(shown).ndkl
    assert means["ndkl"][0] == pytest.approx(peer.mean())
    assert means["ndkl"][1] < peer.mean() < means["ndkl"][2]
    one = retrieval(np.zeros((2, 3), dtype=int), [0.5, 0.5], k=3)
    np.testing.assert_allclose(one.max_skew, np.log(2))
    assert one.means()["min_skew"][0] == -np.inf
    unwanted = retrieval([[1, 1]], [1.0, 0.0], k=2)
    assert unwanted.max_skew[0] == np.inf
    assert unwanted.ndkl[0] == np.inf
    nobody = retrieval([[0, 0]], [1.0, 0.0], k=2)  # a group neither wanted nor shown has no skew
    assert (nobody.max_skew[0], nobody.min_skew[0], nobody.ndkl[0]) == (0.0, 0.0, 0.0)
    unknown = retrieval([[-1, -1, 0], [-1, 0, 1]], [0.5, 0.5], k=2)
    assert np.isnan([unknown.max_skew[0], unknown.min_skew[0], unknown.ndkl[0]]).all()
    assert unknown.max_skew[1] == pytest.approx(np.log(2))
    for groups, facts in (([0, 1], {}), ([[0, 1]], {"k": 3}), ([[0, 5]], {"k": 2, "target": [0.5, 0.5]})):
        with pytest.raises(UsageError, match="groups"):
            retrieval(groups, **facts)


# ------------------------------------------------------------------------------------------------- the check
def people(**facts):
    frame = pd.DataFrame({"sex": ["f"] * 30 + ["m"] * 60 + [None] * 10, "hår": ["rød"] * 100})
    frame["w"] = np.where(frame["sex"] == "f", 2.0, 1.0)
    return subject_of(frame, attributes=("sex", "hår"), **facts)


def test_the_check_reads_shares_against_a_target():
    evidence = list(representation_check(people(), context_of(), target=[["sex", "f", 0.5], ["sex", "m", 0.5]]))
    share = find(evidence, "group_share", sex="f")
    assert (share.value, share.n) == (pytest.approx(1 / 3), 90)
    assert find(evidence, "share_difference", sex="f").value == pytest.approx(1 / 3 - 0.5)
    distance = find(evidence, "total_variation", sex=ALL)
    assert distance.value == pytest.approx(1 / 6)
    assert distance.interval.low > 0
    assert distance.note == "target: as configured"
    assert find(evidence, "total_variation", **{"hår": ALL}).value == 0.0


def test_weights_count_in_the_shares():
    evidence = list(representation_check(people(weights="w"), context_of()))
    assert find(evidence, "group_share", sex="f").value == pytest.approx(0.5)
    wide, narrow = (
        find(e, "group_share", sex="f").interval for e in (evidence, list(representation_check(people(), context_of())))
    )
    assert wide.high - wide.low > narrow.high - narrow.low


@pytest.mark.parametrize(
    ("target", "error", "message"),
    [
        ([["age", "old", 1.0]], UsageError, "attribute, group, share"),
        ([["sex", "f"]], UsageError, "attribute, group, share"),
        ([["sex", "x", 1.0]], DataError, "has the groups"),
        ([["sex", "f", 0.2]], UsageError, "sum to 1"),
    ],
)
def test_targets_that_cannot_be(target, error, message):
    with pytest.raises(error, match=message):
        list(representation_check(people(), context_of(), target=target))
