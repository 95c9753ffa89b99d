"""Associations in embeddings: the published GloVe figures, brute force, and words planted on a line."""

import json
import math
from itertools import combinations
from statistics import NormalDist

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from little_models import Plain, context, subject, table
from subjects import find

from audit.core import Measure, NotApplicable, Table, UsageError
from audit.fairness import WEAT, effect_interval, relative_norm, ripa, sentences, weat, wefat, word_association
from audit.fairness.association import association_check, noncentrality


class Words(Plain):
    """An embedding: a dictionary of vectors, a text being the mean of the words that it knows."""

    def __init__(self, vectors):
        super().__init__(lambda values: np.zeros(len(values)), offers=frozenset({"embedding"}))
        self.vectors = vectors
        self.width = len(next(iter(vectors.values())))

    def embed(self, texts):
        unknown = np.full(self.width, np.nan)
        rows = [[self.vectors[w] for w in text.rstrip(".").split() if w in self.vectors] for text in texts]
        return np.array([np.mean(row, axis=0) if row else unknown for row in rows])


def audited(model, **params):
    return list(association_check(subject(model, table(np.zeros((2, 1)))), context(), **params))


@pytest.fixture(scope="module")
def glove(test_data):
    frame = pd.read_csv(test_data / "weat" / "cbn_item_vectors.csv", keep_default_na=False, index_col="word")
    return dict(zip(frame.index, frame.to_numpy(float), strict=True))


@pytest.fixture(scope="module")
def items(test_data):
    return pd.read_csv(test_data / "weat" / "cbn_items.csv", keep_default_na=False)


@pytest.fixture(scope="module")
def expected(test_data):
    return json.loads((test_data / "expected_A.json").read_text())["weat_glove"]


def stack(glove, words):
    return np.array([glove[word] for word in words])


@pytest.mark.parametrize("number", range(1, 11))
def test_every_published_effect_size(glove, items, expected, number):
    truth = expected["tests"][f"WEAT{number}"]
    rows = items[items["Study"] == f"WEAT{number}"]
    sets = [stack(glove, rows.loc[rows["Condition"] == truth[side], "Word"]) for side in "XYAB"]
    rng = np.random.default_rng(1)
    found = weat(*sets, rng=rng, splits=2000)
    assert found.effect_size == pytest.approx(truth["d_ddof1"], abs=1e-9)
    assert weat(*sets, ddof=0, rng=rng, splits=1).effect_size == pytest.approx(truth["d_ddof0"], abs=1e-9)
    assert found.statistic == pytest.approx(truth["statistic"], abs=1e-9)
    assert found.mean_difference == pytest.approx(truth["mean_diff"], abs=1e-9)
    assert found.exact == ("permutations" in truth)
    if found.exact:
        assert found.splits == truth["permutations"]
        assert found.p_value == pytest.approx(truth["exact_one_sided_p_ge"], abs=1e-15)
        sampled = weat(*sets, rng=rng, exact=0, splits=20_000)
        p = found.p_value
        assert abs(sampled.p_value - p) < 4 * math.sqrt(p * (1 - p) / 20_000) + 1e-4
    assert found.low < found.effect_size < found.high <= 2


def test_every_published_single_word(glove, items, expected):
    rows = items[items["Study"] == "WEFAT2"]
    women, men = (
        stack(glove, rows.loc[rows["Condition"] == side, "Word"]) for side in ("FemaleAttributes", "MaleAttributes")
    )
    found = wefat(stack(glove, expected["wefat2"]), women, men)
    np.testing.assert_allclose(found, list(expected["wefat2"].values()), atol=1e-9)


def test_the_built_in_lists_are_the_published_ones(items):
    for number, words in zip(range(6, 11), WEAT.values(), strict=True):
        rows = items[items["Study"] == f"WEAT{number}"]
        published = [frozenset(group) for _, group in rows.groupby("Condition")["Word"]]
        assert sorted(map(sorted, published)) == sorted(sorted(getattr(words, side)) for side in "xyab")


def test_the_check_on_glove(glove, expected):
    evidence = audited(Words(glove))
    for number, name in zip(range(6, 11), WEAT, strict=True):
        truth = expected["tests"][f"WEAT{number}"]
        effect = find(evidence, "effect_size", test=name)
        assert effect.value == pytest.approx(truth["d_ddof1"], abs=1e-9)
        assert effect.interval.low > 0
        assert find(evidence, "p_value", test=name).value == pytest.approx(truth["exact_one_sided_p_ge"])
    words = next(e for e in evidence if isinstance(e, Table))
    assert not any(row[3] for row in words.rows)


@given(seed=st.integers(0, 10**6), n=st.integers(2, 4), m=st.integers(2, 4))
def test_p_values_by_brute_force(seed, n, m):
    rng = np.random.default_rng(seed)
    x, y, a, b = (rng.integers(-2, 3, size=(k, 3)) + 0.25 for k in (n, m, 2, 3))
    found = weat(x, y, a, b)

    def s(w):
        cos = lambda u, v: u @ v / np.sqrt((u @ u) * (v @ v))  # noqa: E731
        return np.mean([cos(w, v) for v in a]) - np.mean([cos(w, v) for v in b])

    each = [s(w) for w in [*x, *y]]
    np.testing.assert_allclose(word_association(np.concatenate([x, y]), a, b), each, atol=1e-12)
    splits = [
        np.mean([each[i] for i in chosen]) - np.mean([each[i] for i in range(n + m) if i not in chosen])
        for chosen in combinations(range(n + m), n)
    ]
    seen = np.mean(each[:n]) - np.mean(each[n:])
    assert found.p_value == pytest.approx(np.mean([v >= seen - 1e-10 for v in splits]))
    assert found.p_two_sided == pytest.approx(np.mean([abs(v) >= abs(seen) - 1e-10 for v in splits]))
    if found.effect_size == found.effect_size:
        assert found.effect_size == pytest.approx(seen / np.std(each, ddof=1))


def test_algebra():
    rng = np.random.default_rng(5)
    x, y, a, b = (rng.normal(size=(6, 4)) for _ in range(4))
    one, swapped, other = weat(x, y, a, b), weat(y, x, a, b), weat(x, y, b, a)
    assert swapped.effect_size == pytest.approx(-one.effect_size)
    assert other.effect_size == pytest.approx(-one.effect_size)
    assert other.p_two_sided == one.p_two_sided
    assert (other.low, other.high) == pytest.approx((-one.high, -one.low), abs=1e-6)
    longer = weat(3 * x, y, a, 0.1 * b)
    assert longer.effect_size == pytest.approx(one.effect_size)


def test_p_is_uniform_when_there_is_nothing():
    rng = np.random.default_rng(6)
    p = [weat(*(rng.normal(size=(5, 8)) for _ in range(4))).p_two_sided for _ in range(400)]
    assert np.mean(np.array(p) <= 0.05) <= 0.075
    assert 0.44 < np.mean(p) < 0.58


@pytest.mark.parametrize(("n", "m", "within"), [(8, 8, 0.0), (8, 8, 1.5), (6, 12, 0.8), (25, 25, 2.5)])
def test_the_interval_covers(n, m, within):
    """Normal associations `within` standard deviations apart; the truth is in standard deviations of both together."""
    rng = np.random.default_rng(n + m)
    share = n * m / (n + m) ** 2
    truth = within / math.sqrt(1 + share * within**2)
    hits = 0
    for _ in range(250):
        low, high = effect_interval(rng.normal(size=n) + within, rng.normal(size=m), 0.9, ddof=0)
        hits += low <= truth <= high
    assert abs(hits / 250 - 0.9) < 0.05


@pytest.mark.parametrize(("t", "degrees"), [(0.3, 2), (-4.0, 10), (10.0, 14), (2.5, 48)])
def test_the_noncentral_t_is_that_of_scipy(t, degrees):
    for chance in (0.025, 0.4, 0.95):
        assert scipy.stats.nct.cdf(t, degrees, noncentrality(t, degrees, chance)) == pytest.approx(chance, abs=1e-9)


def test_equal_associations_have_no_effect_size():
    x = np.ones((3, 2))
    found = weat(x, x, np.eye(2), np.eye(2)[::-1])
    assert math.isnan(found.effect_size)
    assert found.p_value == 1.0
    assert all(map(math.isnan, effect_interval(np.ones(3), np.zeros(3))))
    with pytest.raises(UsageError, match="at least two"):
        weat(x[:1], x, x, x)
    with pytest.raises(UsageError, match="at least two"):
        weat(0 * x, x, x, x)
    with pytest.raises(UsageError, match="rng"):
        weat(*(np.random.default_rng(0).normal(size=(30, 2)) for _ in range(4)))


def test_ripa_and_relative_norm_on_known_geometry():
    pair = np.array([[[1.0, 2.0, 0.0], [-1.0, 2.0, 0.0]]])
    words = np.array([[3.0, 1.0, 5.0], [-0.5, 9.0, 0.0]])
    np.testing.assert_allclose(ripa(words, pair), [3.0, -0.5], atol=1e-12)
    np.testing.assert_allclose(ripa(words, pair[:, ::-1]), [-3.0, 0.5], atol=1e-12)
    rng = np.random.default_rng(0)
    many = rng.normal(size=(5, 2, 3))
    steps = many[:, 0] - many[:, 1]
    vectors = np.linalg.eigh(steps.T @ steps)[1]  # the principal direction another way
    top = vectors[:, -1] * np.sign(steps.sum(axis=0) @ vectors[:, -1])
    np.testing.assert_allclose(ripa(words, many), words @ top, atol=1e-10)
    with pytest.raises(UsageError, match="pairs"):
        ripa(words, many[:, :1])
    first, second = np.array([[2.0, 0.0]]), np.array([[0.0, 5.0]])
    np.testing.assert_allclose(
        relative_norm([[1, 0], [0, 3], [1, 1]], first, second), [-(2**0.5), 2**0.5, 0], atol=1e-12
    )


# ------------------------------------------------------------------------------------------------- the check
def planted(unknown=()):
    """Words on two axes: x and a lie along the first, y and b along the second."""
    rng = np.random.default_rng(2)
    words = {}
    for side, axis in (("x", 0), ("a", 0), ("y", 1), ("b", 1)):
        for i in range(6):
            words[f"{side}{i}"] = np.eye(2)[axis] + rng.normal(scale=0.05, size=2)
    return {word: vector for word, vector in words.items() if word not in unknown}


LISTS = {side: [f"{side}{i}" for i in range(6)] for side in "xyab"}


def test_own_words_and_unknown_ones():
    evidence = audited(Words(planted(("x0", "b3"))), **LISTS)
    effect = find(evidence, "effect_size", test="own words")
    assert effect.value > 1.8
    assert effect.n == 11
    assert find(evidence, "p_value", test="own words").value == pytest.approx(1 / math.comb(11, 5))
    words = next(e for e in evidence if isinstance(e, Table))
    assert [row[2:] for row in words.rows] == [(5, "x0"), (6, ""), (6, ""), (5, "b3")]


def test_sentences_keep_the_association():
    assert sentences(["a", "b"], ["This is {}.", "{}!"]) == ("This is a.", "a!", "This is b.", "b!")
    evidence = audited(Words(planted()), **LISTS, templates=["This is {}.", "That is {}."], splits=500)
    assert find(evidence, "effect_size", test="own words").n == 24
    p = find(evidence, "p_value", test="own words")
    assert p.value == pytest.approx(1 / 501)
    assert "random 500 splits" in p.note


def test_too_few_words():
    evidence = audited(Words(planted()), x=["x0"], y=LISTS["y"], a=LISTS["a"], b=[])
    assert [e.value for e in evidence if isinstance(e, Measure)] == [None]
    with pytest.raises(NotApplicable, match="none of the words"):
        audited(Words(planted()))
    with pytest.raises(NotApplicable, match="too few words of every built-in test"):
        audited(Words(planted() | {"he": np.ones_like(planted()["x0"]), "math": np.ones_like(planted()["x0"])}))


def test_a_normal_quantile_bounds_the_large_sample_interval():
    rng = np.random.default_rng(1)
    low, high = effect_interval(rng.normal(size=4000), rng.normal(size=4000))
    assert high - low == pytest.approx(2 * NormalDist().inv_cdf(0.975) * math.sqrt(2 / 4000), rel=0.05)
