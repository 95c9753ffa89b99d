"""Sequences as inputs."""

import numpy as np
import pytest

from audit.core import DataError
from audit.data.series import Series, series


def test_sequences_of_one_length_have_names_and_lengths():
    found = series(np.zeros((2, 5, 3)))
    assert found.columns == ("x0", "x1", "x2")
    assert found.lengths.tolist() == [5, 5]
    assert series(np.zeros((2, 5, 1)), ("pulse",)).columns == ("pulse",)


def test_take_and_with_values():
    values = np.arange(12.0).reshape(2, 3, 2)
    found = Series(values=values, columns=("a", "b"), lengths=np.array([3, 2]))
    taken = found.take(np.array([1, 1]))
    np.testing.assert_array_equal(taken.values, values[[1, 1]])
    assert (taken.lengths.tolist(), len(taken)) == ([2, 2], 2)
    assert found.with_values(values[:1], np.array([1])).lengths.tolist() == [1]


@pytest.mark.parametrize("values", [np.float64(3), np.zeros(3), np.zeros((3, 2)), np.zeros((1, 2, 3, 4))])
def test_a_wrong_shape_is_named(values):
    with pytest.raises(DataError, match="got shape"):
        series(values)


@pytest.mark.parametrize("lengths", [[0, 1], [4, 1], [1], [[1, 2]]])
def test_wrong_lengths(lengths):
    with pytest.raises(DataError, match="lengths must be 2 numbers from 1 to 3"):
        Series(values=np.zeros((2, 3, 1)), columns=("a",), lengths=np.array(lengths))


def test_columns_must_be_named_one_by_one():
    with pytest.raises(DataError, match=r"\(n, steps, 1 columns\)"):
        Series(values=np.zeros((2, 3, 2)), columns=("a",), lengths=np.array([1, 1]))
