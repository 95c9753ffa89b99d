"""Counts of several classes, histograms of scores and moments: each equals a loop over rows, however it is split."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.core import DataError
from audit.fairness import count, count_scores, moments, rates
from audit.fairness.counts import CHUNK

NAMES = ["<b>", "Ünï 女", "a,b;c", "=1+1"]


def rows(seed: int, n: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "sex": rng.choice(["F", "M"], n),
            "race": rng.choice(NAMES, n),
            "y": rng.integers(0, 2, n),
            "k": rng.integers(0, 4, n),
            "d": rng.integers(0, 4, n),
            "score": np.round(rng.random(n), 2),
            "x": rng.normal(50.0, 10.0, n),
            "w": rng.integers(0, 4, n) / 2.0,  # sums of these are exact, so that equal means equal
        }
    )
    frame.loc[frame.index[::11], "sex"] = None
    return frame


def classes(frame, **more):
    return count(frame["k"], frame["d"], sensitive_features=frame[["sex", "race"]], classes=4, **more)


def scores(frame, **more):
    return count_scores(frame["y"], frame["score"], sensitive_features=frame[["sex", "race"]], **more)


def numbers(frame, **more):
    return moments(frame["x"].round(), sensitive_features=frame[["sex", "race"]], origin=50.0, **more)


KINDS = [classes, scores, numbers]


def cells(tensor):
    """{(levels...): array} of every sum, without empty groups: free of the order of levels."""
    found = {}
    for name in tensor.sums:
        table = getattr(tensor, name)
        if table is not None:
            shape = tuple(len(levels) + 1 for levels in tensor.levels)
            for place in np.ndindex(shape):
                key = tuple((*levels, None)[i] for levels, i in zip(tensor.levels, place, strict=True))
                if np.any(table[place]):
                    found[name, key] = np.asarray(table[place]).tolist()
    return found


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 120), min_size=1, max_size=5), st.booleans())
@settings(max_examples=20, deadline=None)
def test_any_partition_and_any_order_of_rows_give_the_same_sums(seed, cuts, weighted):
    frame = rows(seed, 120)
    pieces = [frame.iloc[a:b] for a, b in zip([0, *sorted(cuts)], [*sorted(cuts), 120], strict=True)]
    for kind in KINDS:

        def made(part, kind=kind):
            return kind(part, weights=part["w"]) if weighted else kind(part)

        whole, parts = made(frame), [made(piece) for piece in pieces]
        merged = parts[0]
        for part in parts[1:]:
            merged = merged + part
        backwards = parts[-1]
        for part in reversed(parts[:-1]):
            backwards = part + backwards
        assert cells(merged) == cells(backwards) == cells(whole)
        assert cells(made(frame.sample(frac=1.0, random_state=seed % 1000))) == cells(whole)
        assert cells(whole.marginal(["race"])) == cells(
            kind(frame.assign(sex="all"), **({"weights": frame["w"]} if weighted else {})).marginal(["race"])
        )


def test_every_chunk_edge_gives_the_same_classes():
    n = CHUNK + 77
    rng = np.random.default_rng(1)
    y, p, g = rng.integers(0, 3, n), rng.integers(0, 3, n), rng.integers(0, 5, n)
    expected = np.zeros((5, 3, 3), dtype=np.int64)
    np.add.at(expected, (g, y, p), 1)
    np.testing.assert_array_equal(count(y, p, sensitive_features=g, classes=3).table[:5], expected)


@given(st.integers(0, 2**32 - 1), st.integers(0, 3))
@settings(max_examples=20, deadline=None)
def test_one_class_against_the_rest_equals_counting_it(seed, positive):
    frame = rows(seed, 150)
    direct = count(
        frame["k"] == positive, frame["d"] == positive, sensitive_features=frame[["sex", "race"]], weights=frame["w"]
    )
    found = classes(frame, weights=frame["w"]).one_vs_rest(positive)
    np.testing.assert_array_equal(found.table, direct.table)
    np.testing.assert_allclose(found.weight, direct.weight, atol=1e-12)
    np.testing.assert_allclose(rates(found).value, rates(direct).value, atol=1e-12)


def test_one_class_of_decisions_alone():
    only = count(None, [2, 0, 1, 2], sensitive_features=["a", "a", "b", "b"], classes=3).one_vs_rest(2)
    assert rates(only, ["selection_rate"]).value[:, 0].tolist() == [0.5, 0.5]
    labelled = count([2, 0, 1, 2], sensitive_features=["a", "a", "b", "b"], classes=3).one_vs_rest(1)
    assert rates(labelled, ["base_rate"]).value[:, 0].tolist() == [0.0, 0.5]


@given(st.integers(0, 2**32 - 1), st.booleans())
@settings(max_examples=20, deadline=None)
def test_a_histogram_gives_the_counts_of_any_of_its_thresholds(seed, weighted):
    frame = rows(seed, 200)
    more = {"weights": frame["w"]} if weighted else {}
    histogram = scores(frame, **more)
    for threshold in (0.01, 0.5, 1.0):
        direct = count(frame["y"], frame["score"] >= threshold, sensitive_features=frame[["sex", "race"]], **more)
        found = histogram.at(threshold)
        np.testing.assert_array_equal(found.table, direct.table)
        if weighted:
            np.testing.assert_allclose(found.weight, direct.weight, atol=1e-12)
    assert histogram.total().at(0.5).n == 200


def test_scores_without_labels_and_with_edges_of_ones_own():
    histogram = count_scores(None, [-3.0, 0.0, 2.0, 9.0], sensitive_features=["a", "a", "b", "b"], edges=[0.0, 2.0])
    assert histogram.known(histogram.table)[:, 0].tolist() == [[1, 1, 0], [0, 0, 2]]
    assert not histogram.at(2.0).labels


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_moments_equal_numpy(seed):
    frame = rows(seed, 90)
    found = moments(frame["x"], sensitive_features=frame["race"], weights=frame["w"])
    plain = moments(frame["x"], sensitive_features=frame["race"], origin=40.0)
    for i, (name,) in enumerate(found.groups):
        part = frame[frame["race"] == name]
        if part["w"].sum() > 0:
            assert found.mean[i] == pytest.approx(np.average(part["x"], weights=part["w"]), rel=1e-12)
        assert plain.mean[i] == pytest.approx(part["x"].mean(), rel=1e-12)
        if len(part) > 1:
            assert plain.variance[i] == pytest.approx(part["x"].var(), rel=1e-9)


def test_an_origin_keeps_the_digits_of_large_numbers():
    x = 1e9 + np.arange(5.0)
    assert moments(x, origin=1e9).variance[0] == pytest.approx(2.5, rel=1e-12)
    assert np.isnan(moments([1.0]).variance).all()
    assert np.isnan(moments([1.0, 2.0], weights=[0.0, 0.0]).mean).all()


def test_doubling_every_weight_changes_no_rate():
    frame = rows(3, 200)
    once, twice = (
        count(frame["y"], frame["score"] > 0.5, sensitive_features=frame["race"], weights=factor * frame["w"])
        for factor in (1.0, 2.0)
    )
    np.testing.assert_array_equal(rates(once).value, rates(twice).value)
    np.testing.assert_allclose(rates(once).effective, rates(twice).effective, rtol=1e-12)


def test_ten_thousand_groups_add_up():
    n = 30_000
    rng = np.random.default_rng(2)
    y, p, g = rng.integers(0, 2, n), rng.integers(0, 2, n), rng.integers(0, 10_000, n)
    whole = count(y, p, sensitive_features=g)
    halves = count(y[::2], p[::2], sensitive_features=g[::2]) + count(y[1::2], p[1::2], sensitive_features=g[1::2])
    assert cells(whole) == cells(halves)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: count([0, 3], [0, 1], classes=3), "y_true: allowed are 0 to 2, got values from 0 to 3"),
        (lambda: count([0.0, 2.5], [0, 1], classes=3), "y_true: allowed are 0 to 2, got 2.5"),
        (lambda: count(["a"], classes=3), "y_true: allowed are 0 to 2, got values such as"),
        (lambda: count([0], classes=1), "classes: at least 2 are needed, got 1"),
        (lambda: count([0, 2], classes=3) + count([0, 1]), "classes are 3 and 2"),
        (lambda: count([0, 2], classes=3).one_vs_rest(3), "class: allowed are 0 to 2, got 3"),
        (lambda: rates(count([0, 2], classes=3)), "rates need a yes-or-no outcome, got 3 classes"),
        (lambda: count_scores([0], [np.nan]), "y_score: allowed is one column"),
        (lambda: count_scores([0], [0.5], edges=[1.0, 0.0]), "edges: allowed are finite, rising cut points"),
        (lambda: count_scores([0], [0.5]).at(0.123), "threshold: allowed are the edges of the bins, got 0.123"),
        (lambda: count_scores([0], [0.5]) + count_scores([0], [0.5], edges=[0.5]), "edges are"),
        (lambda: moments([np.inf]), "values: allowed is one column"),
        (lambda: moments([1.0]) + moments([1.0], origin=2.0), "origin are 0.0 and 2.0"),
    ],
)
def test_errors_name_what_was_allowed_and_what_came(call, message):
    with pytest.raises(DataError, match=message):
        call()
