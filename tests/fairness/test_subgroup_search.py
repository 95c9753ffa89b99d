"""The search of subgroups against brute force; its p values hold their level; its figures keep their conventions."""

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from subjects import context_of, find, subject_of

from audit.core import Codes, DataError, NotApplicable, Table, UsageError
from audit.data.tabular import Tabular
from audit.fairness import bins, find_subgroups
from audit.fairness.subgroups import subgroups


def table(seed: int, n: int, features: int = 4, levels: int = 3, unknown: bool = False) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({f"x{i}": rng.choice(list("abc")[:levels], n) for i in range(features)})
    if unknown:
        frame.loc[rng.random(n) < 0.1, "x0"] = None
    return frame


def search(y, frame, seed=0, **options):
    return find_subgroups(y, frame, rng=np.random.default_rng(seed), **options)


def brute(y, frame, depth, support, w=None):
    """Every subgroup with enough people: {literals: (n, mean inside, mean outside, z)}."""
    w = np.ones(len(y)) if w is None else w
    value = w * (y - np.average(y, weights=w))
    n, found = len(y), {}
    for size in range(1, depth + 1):
        for columns in itertools.combinations(frame.columns, size):
            for levels in itertools.product(*(sorted(frame[c].dropna().unique()) for c in columns)):
                inside = np.all([frame[c] == v for c, v in zip(columns, levels, strict=True)], axis=0)
                m = int(inside.sum())
                if m < support or m == n:
                    continue
                spread = np.sqrt(m * (n - m) / (n - 1) * value.var())
                z = value[inside].sum() / spread if spread else 0.0
                means = [np.average(y[part], weights=w[part]) for part in (inside, ~inside)]
                found[tuple(zip(columns, levels, strict=True))] = (m, *means, z)
    return found


@given(st.integers(0, 10_000), st.sampled_from(["both", "low", "high"]), st.booleans(), st.booleans())
@settings(max_examples=20, deadline=None)
def test_every_subgroup_is_looked_at(seed, side, loss, unknown):
    frame = table(seed, 150, unknown=unknown)
    rng = np.random.default_rng(seed)
    y = rng.random(150) if loss else rng.integers(0, 2, 150).astype(float)
    expected = brute(y, frame, 3, 6)
    found = search(y, frame, min_support=6, min_share=0.0, side=side, permutations=0, top=100_000)
    assert found.candidates == len(expected)
    facing = {key: abs(z) if side == "both" else z if side == "high" else -z for key, (*_, z) in expected.items()}
    assert facing[found.found[0].literals] == pytest.approx(max(facing.values()), rel=1e-9)
    for each in found.found:
        m, rate, rest, z = expected[each.literals]
        assert (each.n, each.rate, each.rest, each.z) == pytest.approx((m, rate, rest, z), rel=1e-9, abs=1e-9)
        assert each.difference == pytest.approx(rate - rest, abs=1e-9)
    order = [facing[each.literals] for each in found.found]
    assert order == sorted(order, reverse=True) or np.allclose(order, sorted(order, reverse=True), atol=1e-8)
    listed = [set(each.literals) for each in found.found]
    assert not any(a < b for i, a in enumerate(listed) for b in listed[i + 1 :])


def test_weights_and_frequency():
    frame = table(1, 200)
    rng = np.random.default_rng(1)
    y, w, f = rng.integers(0, 2, 200).astype(float), rng.gamma(2.0, size=200), rng.integers(0, 4, 200)
    weighted = search(y, frame, weights=w, permutations=20, min_share=0.0, min_support=10)
    expected = brute(y, frame, 3, 10, w)
    for each in weighted.found:
        assert (each.n, each.rate, each.rest, each.z) == pytest.approx(expected[each.literals], rel=1e-9)
    rows = np.repeat(np.arange(200), f)
    spread = frame.iloc[rows].reset_index(drop=True)
    for outcome in (y, rng.random(200)):
        one = search(outcome, frame, frequency=f, permutations=30, min_support=10)
        two = search(outcome[rows], spread, permutations=30, min_support=10)
        assert one.found[0].literals == two.found[0].literals
        assert one.found[0].z == pytest.approx(two.found[0].z, rel=1e-9)
        assert one.found[0].p == two.found[0].p
        assert one.overall == pytest.approx(two.overall)
        assert one.n == two.n == f.sum()


def test_the_order_of_rows_is_nothing_and_the_same_seed_gives_the_same():
    frame, y = table(2, 400), np.random.default_rng(2).integers(0, 2, 400)
    order = np.random.default_rng(3).permutation(400)
    for options in ({}, {"holdout": 0.4}):
        first = search(y, frame, permutations=40, **options)
        assert first == search(y, frame, permutations=40, **options)
        shuffled = search(y[order], frame.iloc[order].reset_index(drop=True), permutations=40, **options)
        assert shuffled == first


def test_a_planted_subgroup_is_found_confirmed_and_its_difference_held():
    rng = np.random.default_rng(4)
    frame = table(4, 6000, features=8)
    inside = ((frame["x1"] == "a") & (frame["x4"] == "b") & (frame["x6"] == "c")).to_numpy()
    y = (rng.random(6000) < np.where(inside, 0.55, 0.85)).astype(int)
    found = search(y, frame, side="low", holdout=0.5)
    worst = found.found[0]
    assert worst.literals == (("x1", "a"), ("x4", "b"), ("x6", "c"))
    assert worst.name == "x1 = a and x4 = b and x6 = c"
    assert worst.p == pytest.approx(1 / 201)
    assert worst.interval[0] < -0.3 < worst.interval[1] < 0
    assert worst.holdout_p < 0.001
    assert worst.holdout_difference == pytest.approx(-0.3, abs=0.1)
    assert worst.n + worst.holdout_n == inside.sum()


def test_holdout_figures_are_those_of_fisher_and_holm():
    frame, y = table(5, 300), np.random.default_rng(5).integers(0, 2, 300)
    found = search(y, frame, holdout=0.5, permutations=0, top=5, min_support=10)
    assert all(each.p is None and each.interval is None for each in found.found)
    # with everybody kept aside but for the search, the held people are those not seen: check through totals
    for each in found.found:
        inside = np.all([frame[c] == v for c, v in each.literals], axis=0)
        assert each.n + each.holdout_n == inside.sum()
    loss = search(np.random.default_rng(6).random(300), frame, holdout=0.5, permutations=0, top=3, min_support=10)
    assert all(0.0 <= each.holdout_p <= 1.0 for each in loss.found)


@pytest.mark.parametrize("merged", [True, False])
def test_the_corrected_p_holds_its_level(merged):
    # equal rates everywhere: in 300 searches, at most a chance share of the worst subgroups is called significant
    rng = np.random.default_rng(7)
    frame = table(7, 400, features=2 if merged else 6)
    p = np.array([search(rng.integers(0, 2, 400), frame, seed=i, permutations=59).found[0].p for i in range(300)])
    assert (p <= 0.05).mean() <= 0.08
    assert scipy.stats.kstest(p, "uniform").pvalue > 1e-3
    naive = [
        2 * scipy.stats.norm.sf(abs(search(rng.integers(0, 2, 400), frame, permutations=0).found[0].z))
        for _ in range(60)
    ]
    assert np.mean(np.array(naive) <= 0.05) > 0.3  # what it would be without paying for the search


def test_drawing_counts_and_shuffling_people_have_the_same_null():
    rng = np.random.default_rng(8)
    frame, y = table(8, 500, features=2, levels=2), rng.integers(0, 2, 500)
    wide = frame.assign(id=np.arange(500).astype(str))  # every person apart: nothing can be counted together
    counted = search(y, frame, permutations=2000)
    shuffled = search(y, wide, permutations=2000, min_support=30)
    assert counted.found[0].literals == shuffled.found[0].literals
    assert counted.found[0].p == pytest.approx(shuffled.found[0].p, abs=0.04)


def test_interval_covers_the_difference_of_the_subgroup_chosen():
    rng = np.random.default_rng(9)
    frame = table(9, 600, features=3)
    lift = np.where(frame["x0"] == "a", 0.1, 0.0)
    held = 0
    for i in range(150):
        y = (rng.random(600) < 0.4 + lift).astype(int)
        worst = search(y, frame, seed=i, permutations=99, top=1).found[0]
        inside = np.all([frame[c] == v for c, v in worst.literals], axis=0)
        truth = lift[inside].mean() - lift[~inside].mean()
        held += worst.interval[0] <= truth <= worst.interval[1]
    assert held / 150 >= 0.93


@pytest.mark.parametrize("n", [0, 1, 40])
def test_no_case_one_case_and_one_outcome(n):
    frame = table(0, max(n, 1)).iloc[:n]
    found = search(np.ones(n), frame, permutations=10)
    assert found.found == ()
    assert found.n == n


def test_many_levels_unicode_and_long_keys():
    rng = np.random.default_rng(10)
    n = 20_000
    frame = pd.DataFrame(
        {"gruppe ü": rng.integers(0, 10_000, n).astype(str)}
        | {f"c{i}": rng.integers(0, 30, n).astype(str) for i in range(15)}
    )
    y = (rng.random(n) < np.where(frame["c3"] == "7", 0.9, 0.5)).astype(int)
    found = search(y, frame, depth=1, permutations=20)
    assert found.found[0].literals == (("c3", "7"),)
    assert found.candidates == 15 * 30


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"depth": 0}, UsageError, "depth >= 1"),
        ({"holdout": 1.0}, UsageError, "0 <= holdout < 1"),
    ],
)
def test_errors(options, error, message):
    with pytest.raises(error, match=message):
        search([0, 1], pd.DataFrame({"a": ["x", "y"]}), **options)


def test_bad_outcomes():
    with pytest.raises(DataError, match="finite outcomes"):
        search([0.0, np.nan], pd.DataFrame({"a": ["x", "y"]}))
    with pytest.raises(DataError, match="same length"):
        search([0.0], pd.DataFrame({"a": ["x", "y"]}))


# ------------------------------------------------------------------------------------------------------- bins
def test_bins_hold_equally_many_and_keep_few_values():
    values = np.random.default_rng(0).normal(size=1000)
    codes = bins(values)
    assert np.bincount(codes.values).tolist() == [250] * 4
    assert codes.levels[0].startswith("up to ")
    assert " to " in codes.levels[3]
    few = bins([3.0, 1.0, np.nan, 3.0, 2.0])
    assert few.levels == ("1", "2", "3")
    assert few.values.tolist() == [2, 0, 3, 2, 1]
    skewed = bins([0.0] * 90 + list(range(1, 11)))
    assert skewed.levels == ("up to 0", "above 0 to 10")
    assert np.bincount(skewed.values).tolist() == [90, 10]
    assert bins([np.nan, np.nan]).levels == ()
    assert bins(np.full(9, 5.0)).levels == ("5",)


@given(st.lists(st.floats(-1e6, 1e6) | st.just(float("nan")), max_size=60), st.integers(2, 6))
@settings(max_examples=60, deadline=None)
def test_bins_are_ordered_and_complete(values, count):
    codes = bins(values, count)
    known = ~np.isnan(np.array(values, dtype=float))
    assert len(codes.levels) <= count
    assert (codes.known() == known).all()
    ordered = codes.values[known][np.argsort(np.array(values)[known], kind="stable")] if known.any() else np.zeros(0)
    assert (np.diff(ordered.astype(int)) >= 0).all()
    assert set(codes.values[known].tolist()) == set(range(len(codes.levels)))


# ------------------------------------------------------------------------------------------------------ check
def people(seed=0, n=2000):
    rng = np.random.default_rng(seed)
    frame = table(seed, n, features=1).rename(columns={"x0": "g"})
    frame["income"], frame["kind"] = rng.normal(size=n), rng.integers(0, 2, n)
    frame["y"] = rng.integers(0, 2, n)
    right = rng.random(n) < np.where((frame["g"] == "a") & (frame["income"] < -0.67), 0.5, 0.8)
    frame["d"] = np.where(right, frame["y"], 1 - frame["y"])
    frame["s"] = np.where(frame["d"] == 1, 0.9, 0.2)
    return frame


def subject_with_features(frame, **more):
    subject = subject_of(frame, attributes=("g",), y="y", decision="d", score="s", **more)
    inputs = Tabular(
        values=frame[["income", "kind"]].to_numpy(float), columns=("income", "kind"), categories={"kind": ("no", "yes")}
    )
    return replace(subject, data=replace(subject.data, inputs=inputs))


def test_check_finds_where_the_model_errs():
    frame = people()
    evidence = list(subgroups(subject_with_features(frame), context_of()))
    worst = find(evidence, "worst_subgroup_difference")
    assert worst.value < -0.2
    assert "accuracy in g = a and income = up to -0.70" in worst.note
    assert worst.interval.low <= worst.value <= worst.interval.high < 0
    assert find(evidence, "worst_subgroup_p").value == pytest.approx(1 / 201)
    rows = next(e for e in evidence if isinstance(e, Table))
    assert rows.columns[1] == "n"
    assert rows.rows[0][1] == worst.n
    brier = list(subgroups(subject_with_features(frame), context_of(), rate="brier"))
    assert find(brier, "worst_subgroup_difference").value > 0.1


def test_check_on_a_rate_with_a_denominator_and_on_named_columns():
    frame = people(1)
    evidence = list(subgroups(subject_with_features(frame), context_of(), rate="tpr", columns=("g",), holdout=0.3))
    (first, *_) = next(e for e in evidence if isinstance(e, Table)).rows
    chosen = frame[frame["y"] == 1]
    assert find(evidence, "worst_subgroup_p").n == len(chosen)
    level = first[0].removeprefix("g = ")
    assert first[1] + first[7] == (chosen["g"] == level).sum()
    with pytest.raises(DataError, match="columns: allowed are"):
        list(subgroups(subject_with_features(frame), context_of(), columns=("incme",)))
    with pytest.raises(DataError, match="rate: allowed are"):
        list(subgroups(subject_with_features(frame), context_of(), rate="tprr"))
    plain = subject_of(frame, attributes=("g",), decision="d")
    assert find(list(subgroups(plain, context_of())), "worst_subgroup_difference").unit == "difference"
    for rate in ("tpr", "brier", "absolute_error"):
        with pytest.raises(NotApplicable):
            list(subgroups(plain, context_of(), rate=rate))


def test_check_on_published_counts_and_on_too_few_people():
    frame = pd.DataFrame({"g": ["a", "a", "b", "b"], "d": [1, 0, 1, 0], "n": [300, 700, 500, 500]})
    counted = subject_of(frame, attributes=("g",), decision="d", frequency="n")
    evidence = list(subgroups(counted, context_of()))
    assert find(evidence, "worst_subgroup_difference").value == pytest.approx(-0.2)
    assert find(evidence, "worst_subgroup_difference").n == 1000
    few = list(subgroups(subject_of(frame, attributes=("g",), decision="d"), context_of()))
    assert "no subgroup has enough people" in find(few, "worst_subgroup_difference").note
    assert find(few, "worst_subgroup_p").value is None
    codes = Codes(values=np.zeros(50, dtype=np.uint8), levels=("only",))
    one = find_subgroups(np.arange(50) % 2, {"a": codes}, rng=np.random.default_rng(0))
    assert one.candidates == 0
