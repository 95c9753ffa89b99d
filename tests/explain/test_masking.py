"""Filling against the loop that it replaces; players and their mistakes."""

import numpy as np
import pytest
from little_models import table

from audit.core import DataError, NotApplicable, UsageError
from audit.explain.masking import masker


def test_fill_is_the_loop_over_rows_coalitions_and_background():
    rng = np.random.default_rng(0)
    rows, background = table(rng.normal(size=(3, 4))), table(rng.normal(size=(5, 4)))
    coalitions = rng.random((6, 3)) < 0.5
    filler = masker(rows, background, players={"pair": ["x1", "x3"]})
    assert filler.players == (("x0", "pair", "x2"),) * 3
    owner = [0, 1, 2, 1]
    got = filler.fill(np.arange(3), coalitions).values.reshape(3, 6, 5, 4)
    for r, c, b, j in np.ndindex(3, 6, 5, 4):
        expected = rows.values[r, j] if coalitions[c, owner[j]] else background.values[b, j]
        assert got[r, c, b, j] == expected


def test_data_is_the_value_of_a_column_and_nothing_for_a_group():
    filler = masker(table([[1.0, 2, 3]]), table([[0.0, 0, 0]]), players={"g": ["x0", "x2"]})
    np.testing.assert_array_equal(filler.data(), [[np.nan, 2]])


def test_description_tells_backgrounds_apart():
    assert masker(table([[1.0], [2]])).background != masker(table([[1.0], [3]])).background
    assert masker(table([[1.0], [2]])).background.startswith("2 background rows")


@pytest.mark.parametrize(
    ("players", "message"),
    [
        ({"g": ["x0", "income"]}, "did you mean 'incomes'"),
        ({"g": []}, "holds no column"),
        ({"g": ["x0"], "h": ["x0"]}, "is in 'g' and in 'h'"),
        ({"incomes": ["x0"]}, "also the name of a column"),
    ],
)
def test_wrong_players(players, message):
    with pytest.raises(UsageError, match=message):
        masker(table([[0.0, 1]], ["x0", "incomes"]), players=players)


def test_backgrounds_that_cannot_serve():
    with pytest.raises(NotApplicable, match="list"):
        masker([[1, 2]])
    with pytest.raises(UsageError, match="at least one row"):
        masker(table(np.zeros((0, 2))))
    with pytest.raises(DataError, match="columns"):
        masker(table([[0.0]], ["b"]), table([[0.0]], ["a"]))
