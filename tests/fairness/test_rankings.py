"""Rankings against loops over places, all orders of the tied, and every possible list."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from subjects import context_of, find, subject_of

from audit.core import NotApplicable
from audit.fairness.ranking import attention, exposure, ndkl, rank_divergence, ranking, skew


def people(seed: int, n: int, groups: int = 3, shift: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    group = rng.integers(0, groups, n)
    return pd.DataFrame({"g": np.array(["a", "b", "ç女"])[group], "s": rng.normal(shift * group)})


def order_of(frame) -> list[str]:
    return frame.sort_values("s", ascending=False).g.tolist()


def loop_ndkl(listed):
    whole = {name: listed.count(name) / len(listed) for name in set(listed)}
    total = weights = 0.0
    for i in range(1, len(listed) + 1):
        top = listed[:i]
        shares = {name: top.count(name) / i for name in whole}
        total += sum(p * math.log(p / whole[name]) for name, p in shares.items() if p) / math.log2(i + 1)
        weights += 1 / math.log2(i + 1)
    return total / weights


def loop_divergence(listed, name, kind):
    """The published definition, with the larger of the lists that put the group first or last as normaliser."""
    n, size = len(listed), listed.count(name)

    def raw(inside):
        total = 0.0
        for i in range(10, n + 1, 10):
            s = sum(inside[:i])
            p, q = s / i, size / n
            if kind == "rnd":
                distance = abs(p - q)
            elif kind == "rrd":
                distance = abs((s / (i - s) if s and i - s else 0.0) - size / (n - size))
            else:
                distance = sum(a * math.log(a / b) for a, b in ((p, q), (1 - p, 1 - q)) if a)
            total += distance / math.log2(i)
        return total

    first = [True] * size + [False] * (n - size)
    return raw([each == name for each in listed]) / max(raw(first), raw(first[::-1]))


@given(st.integers(0, 2**32 - 1), st.integers(20, 90))
@settings(max_examples=25, deadline=None)
def test_lists_without_ties_equal_loops_over_places(seed, n):
    frame = people(seed, n)
    listed = order_of(frame)
    assert ndkl(frame.s, sensitive_features=frame.g) == pytest.approx(loop_ndkl(listed), abs=1e-12)
    names = sorted(set(listed))
    exposed = exposure(frame.s, sensitive_features=frame.g)
    skewed = skew(frame.s, 10, sensitive_features=frame.g)
    received, whole = attention(frame.s, sensitive_features=frame.g, stop=0.2)
    weight = [0.2 * 0.8**i for i in range(n)]
    for i, name in enumerate(names):
        places = [place for place, each in enumerate(listed, 1) if each == name]
        assert exposed[i] == pytest.approx(np.mean([1 / math.log2(1 + place) for place in places]), abs=1e-12)
        share = listed[:10].count(name) / 10 / (len(places) / n)
        assert skewed[i] == (pytest.approx(math.log(share), abs=1e-12) if share else -math.inf)
        got = sum(w for w, each in zip(weight, listed, strict=True) if each == name) / sum(weight)
        assert (received[i], whole[i]) == pytest.approx((got, len(places) / n), abs=1e-12)
        for kind in ("rnd", "rkl", "rrd"):
            mine = rank_divergence(frame.s, frame.g == name, kind)
            if kind == "rrd" and 2 * len(places) > n:
                assert np.isnan(mine)
            else:
                assert mine == pytest.approx(loop_divergence(listed, name, kind), abs=1e-12)


def test_ties_are_the_mean_over_all_orders():
    score, group = np.array([5.0, 5, 5, 3, 2, 2]), list("abbaba")
    orders = [
        [*map(group.__getitem__, top), group[3], *map(group.__getitem__, end)]
        for top in itertools.permutations((0, 1, 2))
        for end in itertools.permutations((4, 5))
    ]
    for i, name in enumerate("ab"):
        each = [np.mean([1 / math.log2(p + 2) for p, g in enumerate(o) if g == name]) for o in orders]
        assert exposure(score, sensitive_features=group)[i] == pytest.approx(np.mean(each), abs=1e-12)
        shares = np.mean([o[:2].count(name) / 2 for o in orders])
        assert skew(score, 2, sensitive_features=group)[i] == pytest.approx(math.log(shares / 0.5), abs=1e-12)
    # the divergence is that of the expected shares
    total = weights = 0.0
    for i in range(1, 7):
        p = np.mean([o[:i].count("a") / i for o in orders])
        total += sum(q * math.log(2 * q) for q in (p, 1 - p) if q > 1e-12) / math.log2(i + 1)
        weights += 1 / math.log2(i + 1)
    assert ndkl(score, sensitive_features=group) == pytest.approx(total / weights, abs=1e-12)


@pytest.mark.parametrize("kind", ["rnd", "rkl", "rrd"])
@pytest.mark.parametrize(("n", "size"), [(20, 4), (20, 9), (20, 10), (30, 3)])
def test_no_list_is_more_unfair_than_one(kind, n, size):
    # what counts of a list is how many of the group are in the first 10, 20, ... places: all such counts are tried
    values = []
    for tops in itertools.product(range(size + 1), repeat=n // 10):
        steps = np.diff([0, *tops])
        if tops[-1] == size and (steps >= 0).all() and (steps <= 10).all():
            listed = [flag for step in steps for flag in [1] * step + [0] * (10 - step)]
            values.append(rank_divergence(-np.arange(n), listed, kind))
    if kind == "rrd" and size >= 10:
        assert max(values) > 2.0  # as published: a group that fills the first ten places has a ratio of 0 there
    else:
        assert max(values) == pytest.approx(1.0)
    assert min(values) >= 0.0


def subject(frame, **more):
    return subject_of(frame, attributes=("g",), score="s", **more)


def test_the_check():
    frame = people(3, 300, shift=0.5)
    evidence = list(ranking(subject(frame), context_of(), k=(10, 50, 1000), replicates=99))
    assert find(evidence, "ndkl", g="*").value == pytest.approx(loop_ndkl(order_of(frame)), abs=1e-12)
    chance = find(evidence, "ndkl_expected_by_chance", g="*")
    assert chance.interval.low < chance.value < chance.interval.high < find(evidence, "ndkl", g="*").value
    assert find(evidence, "ndkl_p_value", g="*").value == 0.01
    skews = [find(evidence, "skew@50", g=name) for name in ("a", "b", "ç女")]
    assert find(evidence, "min_skew@50", g="*").value == skews[0].value == min(each.value for each in skews)
    assert find(evidence, "max_skew@50", g="*").value == skews[2].value
    assert all(each.interval.low <= each.value <= each.interval.high for each in skews)
    assert "only 300 people are ranked" in find(evidence, "skew@1000", g="a").note
    exposed = [find(evidence, "exposure", g=name).value for name in ("a", "ç女")]
    assert find(evidence, "exposure_ratio", g="*").value == pytest.approx(exposed[0] / exposed[1], abs=1e-12)
    shares = [find(evidence, "attention_share", g=name).value for name in ("a", "b", "ç女")]
    assert sum(shares) == pytest.approx(1.0)
    half = np.abs(np.array(shares) - np.bincount(frame.g.astype("category").cat.codes) / 300).sum() / 2
    assert find(evidence, "attention_difference", g="*").value == pytest.approx(half, abs=1e-12)


def test_the_p_value_holds_its_level():
    found = []
    for seed in range(200):
        evidence = ranking(subject(people(seed, 60, groups=2)), context_of(seed), k=(), replicates=39)
        found.append(next(e for e in evidence if e.name == "ndkl_p_value").value)
    assert 0.01 <= np.mean(np.array(found) <= 0.05) <= 0.09
    assert 0.4 <= np.mean(found) <= 0.6


def test_edges():
    frame = people(1, 40).assign(g=lambda f: pd.Categorical(f.g, categories=["a", "b", "ç女", "never"]))
    flat = list(ranking(subject(frame.assign(s=0.5)), context_of(), k=(10,), replicates=9))
    assert find(flat, "ndkl", g="*").value == pytest.approx(0.0, abs=1e-12)
    assert find(flat, "skew@10", g="a").value == pytest.approx(0.0, abs=1e-12)
    assert find(flat, "rnd", g="a").value == pytest.approx(0.0, abs=1e-12)
    assert find(flat, "exposure", g="never").value is None
    assert find(flat, "skew@10", g="never").value is None
    alone = list(ranking(subject(frame.assign(g="a")), context_of(), replicates=9))
    assert find(alone, "ndkl", g="*").value is None
    assert find(alone, "rnd", g="a").value is None
    assert find(alone, "rkl", g="a").value is None
    assert find(alone, "exposure_ratio", g="*").value is None
    low = frame.assign(s=np.where(frame.g == "a", -100.0 - np.arange(40), frame.s))
    none = list(ranking(subject(low), context_of(), k=(5,), replicates=9))
    assert "nobody of the group is among them" in find(none, "skew@5", g="a").note
    assert find(none, "min_skew@5", g="*").value is None
    with pytest.raises(NotApplicable, match="one for each class"):
        list(ranking(replace(subject(frame), score=np.ones((40, 3)) / 3), context_of()))


def test_people_of_unknown_groups_keep_their_places():
    group = np.array(["a", None, "b", "a", "b", "b"], dtype=object)
    score = -np.arange(6.0)
    assert exposure(score, sensitive_features=group)[1] == pytest.approx(
        np.mean([1 / math.log2(p + 1) for p in (3, 5, 6)]), abs=1e-12
    )
    assert skew(score, 2, sensitive_features=group)[0] == pytest.approx(math.log(1 / 0.4), abs=1e-12)


def test_ten_thousand_groups():
    rng = np.random.default_rng(0)
    group = rng.integers(0, 10_000, 50_000)
    assert ndkl(rng.random(50_000), sensitive_features=group) > 0.0
    assert len(exposure(rng.random(50_000), sensitive_features=group)) == len(set(group))
