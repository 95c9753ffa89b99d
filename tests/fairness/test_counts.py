import itertools

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.core import Codes, DataError
from audit.fairness import count, from_counts
from audit.fairness.counts import CHUNK, tally
from audit.fairness.encode import encode, encode_all

HOSTILE = ["<script>alert(1)</script>", "Ünïcödé 女", "a,b;c\t|", "'; DROP TABLE --", "\u202eright to left", "=1+1"]


def rows(seed: int, n: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "sex": rng.choice(["F", "M"], n),
            "race": rng.choice(HOSTILE, n),
            "y": rng.integers(0, 2, n),
            "p": rng.integers(0, 2, n),
            "w": rng.gamma(2.0, size=n),
            "f": rng.integers(0, 5, n),
        }
    )


def counted(frame: pd.DataFrame, **more):
    return count(frame["y"], frame["p"], sensitive_features=frame[["sex", "race"]], **more)


def as_dict(counts, table=None):
    """{(levels..., y, yhat): number}, without empty cells: free of the order of levels."""
    table = counts.table if table is None else table
    levels = [(*names, None) for names in counts.levels]
    keys = itertools.product(*levels, (0, 1), (0, 1))
    return {key: cell for key, cell in zip(keys, table.ravel().tolist(), strict=True) if cell}


def same(a, b) -> None:
    assert (a.attributes, a.labels, a.decisions) == (b.attributes, b.labels, b.decisions)
    assert as_dict(a) == as_dict(b)


@given(st.integers(0, 2**32 - 1), st.integers(0, 200))
@settings(max_examples=25, deadline=None)
def test_counts_equal_a_loop_over_rows(seed, n):
    frame = rows(seed, n)
    brute: dict = {}
    for sex, race, y, p in zip(frame["sex"], frame["race"], frame["y"], frame["p"], strict=True):
        brute[sex, race, y, p] = brute.get((sex, race, y, p), 0) + 1
    assert as_dict(counted(frame)) == brute


@given(st.integers(0, 2**32 - 1), st.integers(1, 120), st.integers(1, 120))
@settings(max_examples=25, deadline=None)
def test_merging_counts_equals_counting_both(seed, n, m):
    first, second = rows(seed, n), rows(seed + 1, m)
    both = pd.concat([first, second])
    same(counted(first) + counted(second), counted(both))
    same(counted(second) + counted(first), counted(both))
    weighted = counted(first, weights=first["w"]) + counted(second, weights=second["w"])
    direct = counted(both, weights=both["w"])
    for mine, theirs in ((weighted.weight, direct.weight), (weighted.weight2, direct.weight2)):
        merged, whole = as_dict(weighted, mine), as_dict(direct, theirs)
        assert merged.keys() == whole.keys()
        for key, value in whole.items():
            assert merged[key] == pytest.approx(value, rel=1e-12)


@given(st.integers(0, 2**32 - 1), st.integers(1, 200))
@settings(max_examples=25, deadline=None)
def test_marginals_equal_direct_counts_and_the_order_of_rows_is_nothing(seed, n):
    frame = rows(seed, n)
    shuffled = frame.sample(frac=1.0, random_state=seed % 1000)
    same(counted(frame), counted(shuffled))
    for wanted in (["race"], ["sex"], ["race", "sex"]):
        direct = count(frame["y"], frame["p"], sensitive_features=frame[wanted])
        same(counted(frame).marginal(wanted), direct)
    assert counted(frame).total().table.sum() == n


@given(st.integers(0, 2**32 - 1), st.integers(1, 100))
@settings(max_examples=20, deadline=None)
def test_a_row_of_frequency_f_counts_like_f_rows(seed, n):
    frame = rows(seed, n)
    same(counted(frame, frequency=frame["f"]), counted(frame.loc[frame.index.repeat(frame["f"])]))
    twice = counted(frame, frequency=frame["f"], weights=frame["w"])
    spread = frame.loc[frame.index.repeat(frame["f"])]
    np.testing.assert_allclose(twice.weight.sum(), spread["w"].sum())
    np.testing.assert_allclose(twice.weight2.sum(), (spread["w"] ** 2).sum())


@pytest.mark.parametrize("levels", [3, 60, 300, 20_000])  # cells in 8, 16 and 64 bits
@pytest.mark.parametrize("n", [0, 1, 2**15 + 1, CHUNK + 4097])
def test_every_width_of_code_and_every_chunk_edge(levels, n):
    rng = np.random.default_rng(levels + n)
    codes, y, p = rng.integers(0, levels, n), rng.integers(0, 2, n), rng.integers(0, 2, n).astype(bool)
    expected = np.zeros((levels, 2, 2), dtype=np.int64)
    np.add.at(expected, (codes, y, p.astype(int)), 1)
    np.testing.assert_array_equal(tally([(codes, levels), (y, 2), (p, 2)], n), expected.ravel())


def test_frames_of_every_library_give_the_same_counts():
    frame = rows(4, 300)
    frame.loc[::17, "sex"] = None
    expected = counted(frame)
    assert expected.unknown == len(frame.loc[::17])
    table = pa.Table.from_pandas(frame[["sex", "race"]])
    kinds = {
        "categorical": frame[["sex", "race"]].astype("category"),
        "object": frame[["sex", "race"]].astype(object),
        "polars": pl.from_pandas(frame[["sex", "race"]]),
        "polars categorical": pl.from_pandas(frame[["sex", "race"]]).cast(pl.Categorical),
        "arrow": table,
        "dictionaries": pa.table({name: table[name].dictionary_encode() for name in table.column_names}),
        "mapping": {"sex": frame["sex"], "race": list(frame["race"])},
        "codes": encode_all(frame[["sex", "race"]]),
    }
    for kind, features in kinds.items():
        result = count(frame["y"].to_list(), pl.Series(frame["p"]), sensitive_features=features)
        assert as_dict(result) == as_dict(expected), kind
        assert result.attributes == ("sex", "race"), kind


def test_torch_tensors_and_unnamed_columns():
    torch = pytest.importorskip("torch")
    y, p = torch.tensor([0, 1, 1]), torch.tensor([True, True, False])
    result = count(y, p, sensitive_features=np.array([[1, 5], [2, 5], [1, 6]]))
    assert result.attributes == ("sensitive_feature_0", "sensitive_feature_1")
    assert result.levels == (("1", "2"), ("5", "6"))
    assert result.n == 3
    assert count(y, sensitive_features=pd.Series(["a", "b", "b"], name="team")).attributes == ("team",)
    assert count(y, sensitive_features=Codes(values=np.array([0, 1, 1]), levels=("a", "b"))).n == 3


def test_levels_are_sorted_and_categoricals_keep_theirs_and_their_codes():
    assert encode(np.array([10, 9, 100])).levels == ("9", "10", "100")
    assert encode(np.array(["b", "a"])).levels == ("a", "b")
    assert encode([True, "x", 2, None]).levels == ("2", "True", "x")
    column = pd.Series(pd.Categorical(["low", "high"], categories=["low", "mid", "high"]))
    codes = encode(column)
    assert codes.levels == ("low", "mid", "high")
    assert np.shares_memory(codes.values, column.array.codes)


def test_whole_numbers_that_were_read_as_floats_keep_their_names():
    assert encode(np.array([1.0, np.nan, 2.5, 3.0])).levels == ("1", "2.5", "3")


def test_missing_values_of_every_kind_are_unknown():
    for column in (["a", None], np.array([1.0, np.nan]), pd.Series(["a", pd.NA]), pd.Categorical(["a", None])):
        codes = encode(pd.Series(column) if isinstance(column, pd.Categorical) else column)
        assert codes.known().tolist() == [True, False]
        assert len(codes.levels) == 1


def test_labels_or_decisions_alone():
    selection_only = count(None, [1, 0, 1], sensitive_features=["a", "a", "b"])
    assert (selection_only.labels, selection_only.decisions) == (False, True)
    assert selection_only.cells().tolist() == [[1, 1, 0, 0], [0, 1, 0, 0]]
    labels_only = count([1, 0, 1], sensitive_features=["a", "a", "b"])
    assert labels_only.cells().tolist() == [[1, 0, 1, 0], [0, 0, 1, 0]]


def test_strata_are_attributes_that_come_first():
    result = count(None, [1, 0], sensitive_features={"sex": ["F", "M"]}, strata={"dept": ["A", "B"]})
    assert result.attributes == ("dept", "sex")


def test_published_tables():
    table = {"sex": ["F", "M"], "dept": ["A", "A"]}
    selection_only = from_counts(table, n=[10, 20], selected=[3, 8])
    assert selection_only.cells().sum(axis=0).tolist() == [19, 11, 0, 0]
    full = from_counts(table, tn=[1, 2], fp=[3, 4], fn=[5, 6], tp=[7, 8])
    assert full.cells()[0].tolist() == [1, 3, 5, 7]
    assert from_counts(table, n=[10, 20], positive=[3, 8]).cells().sum(axis=0).tolist() == [19, 0, 11, 0]
    same(full + full, from_counts(table, tn=[2, 4], fp=[6, 8], fn=[10, 12], tp=[14, 16]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: count([0, 2], [0, 1]), "y_true: allowed are 0 and 1, got values from 0 to 2"),
        (lambda: count([0, -1], [0, 1]), "y_true: allowed are 0 and 1, got values from -1 to 0"),
        (lambda: count([0.0, np.nan], [0, 1]), "y_true: allowed are 0 and 1, got nan"),
        (lambda: count([0, 1], ["yes", "no"]), "y_pred: allowed are 0 and 1, got values such as"),
        (lambda: count([0, 1], [0, 1, 1]), "columns differ in length"),
        (lambda: count([[0, 1]]), r"y_true: allowed is one column \(n,\), got shape"),
        (lambda: count(), "nothing to count"),
        (lambda: count([0, 1], weights=[1.0, -1.0]), "weights: allowed are finite numbers of at least 0"),
        (lambda: count([0, 1], frequency=[1.0, 0.5]), "frequency: allowed are whole numbers of people"),
        (lambda: count([0, 1], frequency=[1.0]), "frequency: allowed is one number for each of 2 rows"),
        (lambda: count([0], sensitive_features=np.zeros((1, 1, 1))), "sensitive_features: allowed are columns"),
        (lambda: from_counts(["a"], n=[3], selected=[4]), "fewer cases in all than in one of its parts"),
        (lambda: from_counts(["a"], n=[3]), r"got \['n'\]"),
        (lambda: count([0], sensitive_features=["a"]).marginal(["race"]), "attribute 'race' is not counted here"),
        (lambda: count([0], sensitive_features=["a"]) + count([0]), "counts cannot be merged: attributes"),
        (lambda: count([0]) + count([0], weights=[1.0]), "one is weighted and the other is not"),
    ],
)
def test_errors_name_what_was_allowed_and_what_came(call, message):
    with pytest.raises(DataError, match=message):
        call()


def test_strata_keep_their_place_beside_features_without_a_name():
    counts = count([0, 1], [1, 1], sensitive_features=np.array(["a", "b"]), strata=np.array(["s", "t"]))
    assert counts.attributes == ("stratum_0", "sensitive_feature_0")
    assert counts.levels == (("s", "t"), ("a", "b"))
    with pytest.raises(DataError, match="name it in one place"):
        count([0, 1], sensitive_features={"g": ["a", "b"]}, strata={"g": ["s", "t"]})


def test_several_classes_are_refused_where_a_rate_needs_two():
    from audit import fairness

    counts = count([0, 1, 2, 2], [0, 2, 1, 2], sensitive_features=list("abab"), classes=3)
    for refuse in (
        fairness.four_fifths,
        fairness.worst_case,
        lambda c: fairness.permutation_test(c, "tpr", np.random.default_rng(0)),
        lambda c: fairness.gap(c, "tpr"),
    ):
        with pytest.raises(DataError, match="one_vs_rest"):
            refuse(counts)
