"""Unknown groups: bounds against brute force and linear programs, and the three ways to treat them."""

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import scipy.optimize
from hypothesis import given, settings
from hypothesis import strategies as st
from subjects import context_of, find, subject_of

from audit import codec
from audit.core import DataError, GroupSpec, Measure, Spec, Table
from audit.data.readers import from_frame
from audit.data.tabular import Tabular
from audit.fairness import count, from_counts, proxy_bounds, proxy_rates, worst_case
from audit.fairness.missing import missing
from audit.subject import prepare


def allocations(people: int, groups: int):
    """Every way to spread so many people over the groups."""
    for cuts in itertools.combinations(range(people + groups - 1), groups - 1):
        ends = [-1, *cuts, people + groups - 1]
        yield np.array([b - a - 1 for a, b in itertools.pairwise(ends)])


def brute(k, n, hit, missed):
    rates = [
        (k + a) / (n + a + b)
        for a in allocations(hit, len(k))
        for b in allocations(missed, len(k))
        if ((n + a + b) > 0).all()
    ]
    return np.array(rates)


cells = st.tuples(st.integers(1, 5), st.integers(1, 5))


@given(st.lists(cells, min_size=2, max_size=3), st.integers(0, 4), st.integers(0, 4))
@settings(max_examples=60, deadline=None)
def test_worst_case_against_every_allocation(pairs, hit, missed):
    k, n = np.array([a for a, _ in pairs]), np.array([a + b for a, b in pairs])
    names = [f"g{i}" for i in range(len(k))]
    table = {"g": [*names, None]}
    counts = from_counts(table, n=[*n, hit + missed], selected=[*k, hit])
    found = worst_case(counts)
    rates = brute(k, n, hit, missed)
    assert found.unknown == hit + missed
    np.testing.assert_allclose(found.known, k / n)
    np.testing.assert_allclose(found.low, rates.min(axis=0))
    np.testing.assert_allclose(found.high, rates.max(axis=0))
    gap, ratio = np.ptp(rates, axis=1), rates.min(axis=1) / rates.max(axis=1)
    assert found.difference[1] == pytest.approx(gap.max())
    assert found.ratio[0] == pytest.approx(ratio.min())
    assert found.difference[0] <= gap.min() + 1e-12
    assert found.ratio[1] >= ratio.max() - 1e-12
    assert (found.outer[0] <= found.low + 1e-12).all()
    assert (found.outer[1] >= found.high - 1e-12).all()


def test_two_groups_whose_ranges_do_not_meet_have_a_sharp_least_gap():
    counts = from_counts({"g": ["a", "b", None]}, n=[10, 10, 2], selected=[9, 1, 1])
    found = worst_case(counts)
    rates = brute(np.array([9, 1]), np.array([10, 10]), 1, 1)
    assert found.difference[0] == pytest.approx(np.ptp(rates, axis=1).min())
    assert found.difference[0] > 0.6


def test_bounds_of_error_rates_and_nothing_unknown():
    rng = np.random.default_rng(0)
    y, d, g = rng.integers(0, 2, 200), rng.integers(0, 2, 200), rng.choice(["a", "b", None], 200)
    found = worst_case(count(y, d, sensitive_features={"g": g}), "tpr")
    hit, missed = (((y == 1) & (d == want) & pd.isna(g)).sum() for want in (1, 0))
    a = (y == 1) & (g == "a")
    assert found.high[0] == pytest.approx(((a & (d == 1)).sum() + hit) / (a.sum() + hit))
    assert found.low[0] == pytest.approx((a & (d == 1)).sum() / (a.sum() + missed))
    assert found.unknown == hit + missed
    known = worst_case(count(y, d, sensitive_features=np.where(pd.isna(g), "c", g)), "tpr")
    np.testing.assert_array_equal(known.low, known.high)
    with pytest.raises(DataError, match="rate: allowed are"):
        worst_case(count(None, d, sensitive_features={"g": g}), "tpr")


def test_one_group_or_no_case():
    one = worst_case(from_counts({"g": ["a", None]}, n=[4, 2], selected=[2, 1]))
    assert np.isnan(one.difference).all()
    none = worst_case(count(None, [], sensitive_features={"g": np.array([], dtype=str)}))
    assert none.unknown == 0
    many = worst_case(count(None, np.arange(20_000) % 2, sensitive_features=np.arange(20_000) // 2))
    assert many.difference == (0.0, 0.0)


# ---------------------------------------------------------------------------------------------------- proxies
def program(share, hit, mass, weights):
    """The largest and smallest sum of weights (g,) times P(group, hit) by linear programs over each proxy value."""
    groups = share.shape[1]
    extremes = []
    for sign in (1, -1):
        total = 0.0
        for z in range(len(mass)):
            solution = scipy.optimize.linprog(
                sign * weights * mass[z],
                A_eq=[np.ones(groups)],
                b_eq=[hit[z]],
                bounds=[(0.0, p) for p in share[z]],
            )
            total += sign * solution.fun
        extremes.append(total)
    return extremes


@pytest.mark.parametrize("groups", [2, 3])
def test_proxy_bounds_against_linear_programs(groups):
    rng = np.random.default_rng(groups)
    share = rng.dirichlet(np.ones(groups), 4)
    proxy = rng.integers(0, 4, 60)
    y = rng.integers(0, 2, 60)
    found = proxy_bounds(y, share[proxy], proxy)
    mass = np.bincount(proxy, minlength=4) / 60
    hit = np.bincount(proxy, weights=y, minlength=4) / np.bincount(proxy, minlength=4)
    size = mass @ share
    for a in range(groups):
        low, high = program(share, hit, mass, np.eye(groups)[a] / size[a])
        assert (found.low[a], found.high[a]) == pytest.approx((low, high), abs=1e-9)
        for b in range(groups):
            if a != b:
                low, high = program(share, hit, mass, np.eye(groups)[a] / size[a] - np.eye(groups)[b] / size[b])
                assert (found.difference_low[a, b], found.difference_high[a, b]) == pytest.approx((low, high), abs=1e-9)
    unnamed = proxy_bounds(y, share[proxy])
    np.testing.assert_allclose(unnamed.low, found.low)
    np.testing.assert_allclose(unnamed.difference_high, found.difference_high)
    estimate = proxy_rates(y, share[proxy])
    assert ((found.low <= estimate + 1e-12) & (estimate <= found.high + 1e-12)).all()


def test_a_proxy_that_knows_gives_the_rates_themselves():
    rng = np.random.default_rng(3)
    g, y, w = rng.integers(0, 3, 90), rng.integers(0, 2, 90), rng.random(90)
    sure = np.eye(3)[g]
    truth = [np.average(y[g == i], weights=w[g == i]) for i in range(3)]
    np.testing.assert_allclose(proxy_rates(y, sure, w), truth)
    found = proxy_bounds(y, sure, weights=w)
    np.testing.assert_allclose(found.low, truth)
    np.testing.assert_allclose(found.high, truth)
    np.testing.assert_array_equal(np.diag(found.difference_low), 0.0)
    empty = proxy_rates(y[:0], sure[:0])
    assert np.isnan(empty).all()


def test_the_truth_lies_within_the_proxy_bounds_though_not_at_the_estimate():
    rng = np.random.default_rng(4)
    n = 40_000
    proxy = rng.integers(0, 3, n)
    chance = np.array([0.9, 0.5, 0.1])[proxy]
    member = rng.random(n) < chance
    y = (rng.random(n) < np.where(member, 0.7, 0.4)).astype(int)
    p = np.stack([chance, 1 - chance], axis=1)
    found, estimate = proxy_bounds(y, p), proxy_rates(y, p)
    assert found.low[0] < y[member].mean() < found.high[0]
    assert found.difference_low[0, 1] < 0.3 < found.difference_high[0, 1]
    assert estimate[0] - estimate[1] < 0.2  # the gap within a value of the proxy is lost


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0, 1], [[1.0]]), "got the shapes"),
        (([0, 2], [[1.0], [1.0]]), "outcome: allowed are 0 and 1"),
        (([0, 1], [[0.5, 0.2], [0.5, 0.5]]), "sum to 1"),
        (([0, 1], [[0.5, 0.5], [0.5, 0.5]], [1]), "proxy: allowed is one value a person"),
    ],
)
def test_errors_of_proxies(arguments, message):
    with pytest.raises(DataError, match=message):
        proxy_bounds(*arguments)


# ------------------------------------------------------------------------------------------------------ check
def rows(n=300, seed=1):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "g": rng.choice(["a", "b", None], n),
            "y": rng.integers(0, 2, n),
            "d": rng.integers(0, 2, n),
            "w": rng.random(n),
        }
    )


def test_check_reports_and_bounds():
    frame = rows()
    subject = subject_of(frame, attributes=("g",), y="y", decision="d")
    evidence = list(missing(subject, context_of()))
    unknown = frame["g"].isna()
    assert find(evidence, "unknown_share", g="*").value == pytest.approx(unknown.mean())
    assert find(evidence, "selection_rate_unknown", g="*").value == pytest.approx(frame["d"][unknown].mean())
    assert find(evidence, "base_rate_unknown", g="*").n == unknown.sum()
    gap = find(evidence, "unknown_difference", g="*")
    assert gap.value == pytest.approx(frame["d"][unknown].mean() - frame["d"][~unknown].mean())
    table = next(e for e in evidence if isinstance(e, Table))
    lost = frame[unknown]
    assert table.rows == (("g", len(lost), 300, int(lost["d"].sum()), int(lost["y"].sum())),)
    assert not [e for e in evidence if e.name.endswith("worst_case")]
    wide = list(missing(replace(subject, missing="bounds"), context_of()))
    each = find(wide, "selection_rate_worst_case", g="a")
    bounds = worst_case(count(frame["y"], frame["d"], sensitive_features=frame[["g"]]))
    assert (each.interval.low, each.interval.high) == pytest.approx((bounds.outer[0, 0], bounds.outer[1, 0]))
    gap = find(wide, "selection_rate_difference_worst_case", g="*")
    assert gap.interval.high >= bounds.difference[1]
    assert gap.interval.low <= gap.value <= gap.interval.high
    for measure in wide:
        if isinstance(measure, Measure) and measure.interval is not None:
            assert measure.interval.low <= measure.value <= measure.interval.high
    assert {e.name for e in wide if isinstance(e, Table)} == {"unknown", "missing_bounds"}


def test_check_with_weights_and_with_nobody_unknown():
    frame = rows()
    heavy = list(missing(subject_of(frame, attributes=("g",), decision="d", weights="w"), context_of()))
    unknown = frame["g"].isna()
    share = find(heavy, "unknown_share", g="*").value
    assert share == pytest.approx(frame["w"][unknown].sum() / frame["w"].sum())
    full = subject_of(frame.assign(g="a"), attributes=("g",), decision="d")
    evidence = list(missing(replace(full, missing="bounds"), context_of()))
    assert find(evidence, "unknown_share", g="*").value == 0.0
    assert find(evidence, "selection_rate_unknown", g="*").note == "undefined: every group is known"
    assert find(evidence, "unknown_difference", g="*").value is None
    assert find(evidence, "selection_rate_difference_worst_case", g="*").value is None
    empty = subject_of(frame.assign(g=None), attributes=("g",), decision="d")
    nobody = list(missing(replace(empty, missing="bounds"), context_of()))
    assert find(nobody, "unknown_share", g="*").value == 1.0
    assert find(nobody, "unknown_difference", g="*").note.startswith("undefined: no group is known")


def test_check_with_proxy_columns():
    frame = rows()
    subject = subject_of(frame, attributes=("g",), decision="d")
    p = np.random.default_rng(0).dirichlet([1, 1], 300).round(1)
    p[:, 1] = 1 - p[:, 0]
    data = replace(subject.data, inputs=Tabular(values=p, columns=("p_a", "p_b")))
    evidence = list(missing(replace(subject, data=data), context_of(), proxies={"g": ["p_a", "p_b"]}))
    each = find(evidence, "proxy_selection_rate", g="a")
    assert each.value == pytest.approx(proxy_rates(frame["d"], p)[0])
    assert each.interval.low == pytest.approx(proxy_bounds(frame["d"], p).low[0])
    for wrong in ({"g": ["p_a"]}, {"g": ["p_a", "p_c"]}, {"h": ["p_a", "p_b"]}):
        with pytest.raises(DataError, match="proxies"):
            list(missing(replace(subject, data=data), context_of(), proxies=wrong))


# ----------------------------------------------------------------------------------------------- configuration
def spec_of(**groups) -> Spec:
    return replace(
        codec.spec_from_toml('[data]\npath = "x.csv"\ndecision = "d"\n'), groups=GroupSpec(attributes=("g",), **groups)
    )


def test_the_unknown_may_be_a_group_of_their_own():
    frame = pd.DataFrame({"g": ["a", None, "?", "b", "a"], "d": [1, 0, 1, 1, 0]})
    left = from_frame(frame, spec_of(unknown=("?",))).groups["g"]
    assert (left.levels, left.values.tolist()) == (("a", "b"), [0, 2, 2, 1, 0])
    own = from_frame(frame, spec_of(unknown=("?",), missing="group")).groups["g"]
    assert (own.levels, own.values.tolist()) == (("a", "b", "unknown"), [0, 2, 2, 1, 0])
    named = from_frame(frame.replace("b", "unknown"), spec_of(missing="group")).groups["g"]
    assert named.levels == ("?", "a", "unknown")
    assert named.values.tolist() == [1, 2, 0, 2, 1]
    whole = from_frame(frame.fillna("b"), spec_of(missing="group")).groups["g"]
    assert whole.levels == ("?", "a", "b")


def test_missing_is_read_from_the_configuration():
    text = '[data]\npath = "x.csv"\n[groups]\nattributes = ["g"]\nmissing = "bounds"\n'
    assert codec.spec_from_toml(text).groups.missing == "bounds"


def test_the_whole_way_from_a_file_of_people_and_of_counts(tmp_path):
    (tmp_path / "people.csv").write_text("g,d\na,1\n,0\nb,1\nb,0\n", encoding="utf-8")
    (tmp_path / "counts.csv").write_text("g,n,selected\na,40,10\nb,30,20\n,30,15\n", encoding="utf-8")
    text = '{model}[data]\npath = "{file}"\n{role}[groups]\nattributes = ["g"]\nmissing = "{missing}"\n'
    people = text.format(model="", file="people.csv", role='decision = "d"\n', missing="bounds")
    subject = prepare(codec.spec_from_toml(people), tmp_path)
    assert subject.missing == "bounds"
    names = {e.name for e in missing(subject, context_of())}
    assert {"selection_rate_worst_case", "missing_bounds"} <= names
    for treated, levels in (("group", ("a", "b", "unknown")), ("report", ("a", "b"))):
        counts = text.format(model='[model]\nkind = "counts"\n', file="counts.csv", role="", missing=treated)
        subject = prepare(codec.spec_from_toml(counts), tmp_path)
        assert subject.groups["g"].levels == levels
        share = find(list(missing(subject, context_of())), "unknown_share", g="*").value
        assert share == pytest.approx(0.3 if treated == "report" else 0.0)


def test_the_worst_gap_of_equal_groups_reaches_zero():
    """Twelve groups with the same rate, nobody unknown: the interval of the largest gap holds 0 nearly always."""
    rng = np.random.default_rng(4)
    held = 0
    for _ in range(200):
        decision = (rng.random(720) < 0.3).astype(int)
        frame = pd.DataFrame({"g": np.repeat([f"g{i:02}" for i in range(12)], 60), "d": decision})
        subject = replace(subject_of(frame, attributes=["g"], decision="d"), missing="bounds")
        found = find(list(missing(subject, context_of())), "selection_rate_difference_worst_case", g="*")
        held += found.interval.low <= 0.0
    assert held >= 186  # 95 %, less two standard errors
