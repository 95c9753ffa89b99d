"""Columns against pandas and plain Python."""

import datetime
from collections import Counter

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.core import DataError
from audit.data.columns import codes, features, find, floats, key_of, text_of, weights
from audit.data.tables import frame_of

HOSTILE = ["<script>alert(1)</script>", "עברית", "😀", "x" * 10_000, "a\nb", "a|b", "'; --", "nan", "None", " "]


def decoded(coded):
    return [coded.levels[value] if value < len(coded.levels) else None for value in coded.values]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.one_of(st.none(), st.text(max_size=3).filter(lambda text: text not in ("*", "")))))
def test_codes_decode_to_the_column_again(values):
    coded = codes(pa.array(values, type=pa.string()), "g", unknown=("",))
    assert decoded(coded) == values
    assert list(coded.levels) == sorted({value for value in values if value is not None})


@pytest.mark.parametrize(
    "make", [pd.Series, lambda v: pd.Series(v, dtype=object), lambda v: pd.Series(v).astype("category")]
)
def test_pandas_text_objects_and_categories_are_coded_alike(make):
    values = ["b", "a", None, "b", *HOSTILE]
    frame = frame_of(pd.DataFrame({"g": make(values)}))
    coded = codes(frame.get_column("g").to_arrow(), "g")
    assert decoded(coded) == values


def test_polars_and_arrow_categories():
    values = ["b", "a", None, "b"]
    for frame in (
        pl.DataFrame({"g": pl.Series(values, dtype=pl.Categorical)}),
        pl.LazyFrame({"g": values}),
        pa.table({"g": pa.array(values).dictionary_encode()}),
    ):
        array = frame_of(frame).get_column("g").to_arrow()
        coded = codes(array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array, "g")
        assert decoded(coded) == values


@pytest.mark.parametrize(
    ("values", "levels"),
    [
        ([1, 2, 1], ("1", "2")),
        ([1.0, 2.0, float("nan")], ("1", "2")),
        ([1.5, 2.0, None], ("1.5", "2")),
        ([True, False, None], ("False", "True")),
        ([datetime.date(2020, 1, 2)] * 3, ("2020-01-02",)),
    ],
)
def test_numbers_booleans_and_dates_become_text_levels(values, levels):
    coded = codes(pa.array(values), "g")
    assert coded.levels == levels
    missing = Counter(value is None or value != value for value in values)[True]
    assert (~coded.known()).sum() == missing


def test_unused_categories_are_no_groups_and_unknown_values_no_levels():
    column = pd.Series(pd.Categorical(["a", "b", "?"], categories=["zz", "b", "a", "?"]))
    coded = codes(pa.Array.from_pandas(column), "g", unknown=("?",))
    assert coded.levels == ("a", "b")
    assert decoded(coded) == ["a", "b", None]


@pytest.mark.parametrize(("size", "kind"), [(2, np.uint8), (255, np.uint8), (256, np.uint16), (70_000, np.uint32)])
def test_codes_use_the_smallest_type_that_also_holds_unknown(size, kind):
    coded = codes(pa.array([f"{i:06d}" for i in range(size)] + [None]), "g")
    assert coded.values.dtype == kind
    assert coded.values[-1] == size == len(coded.levels)
    assert not coded.known()[-1]
    assert coded.known()[:-1].all()


def test_an_empty_chunked_or_all_missing_column_has_no_levels():
    coded = codes(pa.array([None, None], type=pa.string()), "g")
    assert coded.levels == ()
    assert not coded.known().any()
    assert codes(pa.nulls(2), "g").levels == ()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (pa.array(["a", "*"]), "may not be called"),
        (pa.array(range(51)), "51 distinct int64 values.*bin it"),
        (pa.array(np.arange(60) / 7), "60 distinct double values"),
        (pa.array([[1], [2]]), "list"),
        (pa.array([b"\xff", b"a"]), "not UTF-8"),
    ],
)
def test_what_cannot_be_groups(array, message):
    with pytest.raises(DataError, match=message):
        codes(array, "g")


@pytest.mark.parametrize("value", [1, 1.0, True, "1", "1.0", "true", "True"])
@pytest.mark.parametrize("level", ["1", "1.0", "True", "true"])
def test_spellings_of_one_are_found(value, level):
    assert find(value, ["zero", level]) == 1


def test_find_prefers_the_same_text_and_refuses_to_choose():
    assert find("1", ["1.0", "1"]) == 1
    assert find(True, ["1", "1.0"]) is None
    assert find("yes", ["Yes", "no"]) is None
    assert find("a", []) is None


@given(st.one_of(st.integers(-(10**6), 10**6), st.booleans(), st.floats(allow_nan=False, allow_infinity=False)))
@settings(max_examples=50, deadline=None)
def test_the_text_of_a_number_has_the_key_of_the_number(value):
    assert key_of(text_of(value)) == key_of(value) == float(value)


def test_floats_name_the_first_row_that_is_missing():
    assert floats(pa.array([1, 2], type=pa.decimal128(5, 2)), "s", "data.score").tolist() == [1.0, 2.0]
    for array, message in [
        (pa.array([1.0, None, float("nan")]), "missing in 2 of 3 rows, first in row 1"),
        (pa.array([1.0, float("inf")]), "infinite in 1 of 2 rows, first in row 1"),
        (pa.array(["a", "b"]), "must hold numbers, it holds string: such as 'a', 'b'"),
    ]:
        with pytest.raises(DataError, match=message):
            floats(array, "s", "data.score")


def test_weights_are_not_negative_and_not_all_zero():
    assert weights(pa.array([0.0, 2.5]), "w").tolist() == [0.0, 2.5]
    for array, message in [
        (pa.array([1, -1]), "negative in 1 rows, first in row 1: -1"),
        (pa.array([0, 0]), "zero in every row"),
    ]:
        with pytest.raises(DataError, match=message):
            weights(array, "w")


def test_features_of_every_kind_come_back_in_a_frame():
    data = pd.DataFrame(
        {
            "whole": [1, 2, 3],
            "real": [0.5, np.nan, 1.5],
            "flag": [True, False, True],
            "text": ["b", "a", None],
            "category": pd.Categorical(["x", "y", "x"], categories=["y", "x", "unused"]),
            "numbered": pd.Categorical([3, 1, 3]),
        }
    )
    inputs = features(frame_of(data), tuple(data.columns))
    again = inputs.frame()
    assert inputs.categories == {"text": ("a", "b"), "category": ("x", "y")}
    assert inputs.values[:, 3].tolist()[:2] == [1.0, 0.0]
    for name in data.columns:
        expected, found = data[name].astype(object).tolist(), again[name].tolist()
        assert all(a == b or (pd.isna(a) and pd.isna(b)) for a, b in zip(expected, found, strict=True)), name
    assert again["whole"].dtype == np.int64


@pytest.mark.parametrize("values", [pd.to_datetime(["2020-01-01", "2021-01-01"]), [[1], [2]], [b"a", b"b"]])
def test_a_column_that_no_model_reads_is_named(values):
    frame = frame_of(pd.DataFrame({"ok": [1, 2], "since": pd.Series(list(values))}))
    with pytest.raises(DataError, match="'since' holds"):
        features(frame, ("ok", "since"))


def test_a_column_of_mixed_types_is_named():
    frame = frame_of(pd.DataFrame({"mix": pd.Series([1, "a"], dtype=object)}))
    with pytest.raises(DataError, match="'mix' mixes types"):
        features(frame, ("mix",))
