"""Labels and decisions: which value is positive, and what is refused."""

import numpy as np
import pyarrow as pa
import pytest

from audit.core import DataError
from audit.data.labels import decision, label


@pytest.mark.parametrize(
    ("values", "positive", "y", "classes"),
    [
        ([0, 1, 1], 1, [0, 1, 1], ("0", "1")),
        ([0.0, 1.0], 1, [0, 1], ("0", "1")),
        (["0", "1"], True, [0, 1], ("0", "1")),
        ([True, False], 1, [1, 0], ("False", "True")),
        ([1, 2, 2], 2, [0, 1, 1], ("1", "2")),
        ([1, 2, 2], "1", [1, 0, 0], ("2", "1")),
        (["yes", "no"], "yes", [1, 0], ("no", "yes")),
        ([-1, 1], 1, [0, 1], ("-1", "1")),
        ([0, 1], 0, [1, 0], ("1", "0")),
        ([0.25, 0.5], 0.5, [0, 1], ("0.25", "0.5")),
    ],
)
def test_the_positive_value_becomes_one(values, positive, y, classes):
    found, names = label(pa.array(values), "y", positive)
    assert found.tolist() == y
    assert names == classes
    assert found.dtype == np.int64


def test_of_several_classes_the_positive_has_index_one():
    y, classes = label(pa.array(["a", "c", "b", "c"]), "y", "c")
    assert classes == ("a", "c", "b")
    assert y.tolist() == [0, 1, 2, 1]
    y, classes = label(pa.array(["a", "c"]), "y", "c", expected=("c", "b", "a"))
    assert classes == ("b", "c", "a")
    assert y.tolist() == [2, 1]


def test_one_class_is_no_error():
    assert label(pa.array([1, 1]), "y", 1)[0].tolist() == [1, 1]
    y, classes = label(pa.array(["bad", "bad"]), "y", "good")
    assert y.tolist() == [0, 0]
    assert classes == ("bad", "good")


@pytest.mark.parametrize(
    ("array", "positive", "message"),
    [
        (pa.array(["Yes", "No"]), "yes", "'No', 'Yes'; data.positive = 'yes' is none of them; did you mean 'Yes'"),
        (pa.array(["a", "b"]), 1, "data.positive = 1 is none of them"),
        (pa.array([0.0, None, float("nan")]), 1, "missing in 2 of 3 rows, first in row 1"),
        (pa.array(["", "1"]), 1, "missing in 1 of 2 rows, first in row 0"),
        (pa.array(np.arange(200) / 7), 1, "200 distinct values.*regression target"),
    ],
)
def test_labels_that_are_refused(array, positive, message):
    with pytest.raises(DataError, match=message):
        label(array, "y", positive)


def test_a_class_that_was_not_named_is_refused():
    with pytest.raises(DataError, match=r"model\.classes does not name: 'd'"):
        label(pa.array(["a", "d"]), "y", "a", expected=("a", "b", "c"))


@pytest.mark.parametrize(
    ("values", "positive", "expected"),
    [
        ([0, 1, 0], 1, [0, 1, 0]),
        (["no", "yes"], "yes", [0, 1]),
        ([True, False], "good", [1, 0]),
        ([1, 2], 2, [0, 1]),
        ([0, 1], 2, [0, 1]),
        ([0, 1], 0, [1, 0]),
        ([0, 0], 1, [0, 0]),
        ([0, 0], "good", [0, 0]),
        ([1, 1], 1, [1, 1]),
    ],
)
def test_the_positive_decision(values, positive, expected):
    assert decision(pa.array(values), "d", positive).tolist() == expected


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["a", "b"], "'a', 'b'; neither data.positive = 'yes' nor 1"),
        ([1, 2, 3], "must have two values, it has '1', '2', '3'"),
        ([1, None], "missing in 1 of 2 rows, first in row 1"),
        (["no", "no"], "neither data.positive"),
    ],
)
def test_decisions_that_are_refused(values, message):
    with pytest.raises(DataError, match=message):
        decision(pa.array(values), "d", "yes")
