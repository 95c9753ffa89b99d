"""What the global methods share: grids, words, trees' matrices, and blocks that change nothing."""

import numpy as np
import pytest
from little_models import Plain, sigmoid, table

from audit.core import NotApplicable, UsageError
from audit.data.images import Images
from audit.explain import features, game
from audit.explain.features import encoded, grid, in_words, most_varied, replaced, said, table_of

X = np.random.default_rng(0).normal(size=(50, 3))


def test_replaced_columns_by_hand_and_in_any_block(monkeypatch):
    def f(v):
        return sigmoid(v[:, 0] + v[:, 1] * v[:, 2])

    played = game(Plain(f), table(X))
    rows = np.array([4, 7, 30])
    values = np.array([[0.0, 1.0], [2.0, -1.0]])
    found = replaced(played, rows, (0, 2), values)
    for i, row in enumerate(rows):
        for j, (a, c) in enumerate(values):
            assert found[i, j] == pytest.approx(sigmoid(a + X[row, 1] * c))
    own = np.stack([values + place for place in range(3)])
    each = replaced(played, rows, (0, 2), own)
    assert each[2, 1] == pytest.approx(sigmoid(4 + X[30, 1] * 1))
    monkeypatch.setattr(features, "MAX_BYTES", 1)
    np.testing.assert_array_equal(replaced(played, rows, (0, 2), values), found)


def test_grids():
    x = table(
        np.column_stack(
            [np.arange(100.0), np.tile([0, 1, np.nan, 3], 25), np.tile([1.0, 2], 50), np.full(100, np.nan)]
        ),
        categories={"x1": tuple("abcd")},
    )
    assert len(grid(x, 0, 10)) == 10
    assert grid(x, 0, 10)[0] == pytest.approx(4, abs=1)
    assert grid(x, 1, 2).tolist() == [0, 1, 3]
    assert grid(x, 2, 10).tolist() == [1, 2]
    assert grid(x, 3, 10).tolist() == []


def test_features_are_ordered_by_how_much_single_answers_vary():
    played = game(Plain(lambda v: sigmoid(0.2 * v[:, 0] + v[:, 1] * v[:, 2])), table(X))
    assert most_varied(played, 3)[-1] == 0
    assert len(most_varied(played, 2)) == 2
    with pytest.raises(UsageError, match="at least 1"):
        most_varied(played, 0)


def test_words():
    x = table([[1, 2.5, 7]], ["c", "x", "k"], categories={"c": ("low", "high")}, integers=frozenset({"k"}))
    assert [
        said(x, 0, 1.0),
        said(x, 0, np.nan),
        said(x, 1, 2.5),
        said(x, 2, 7.0),
        said(x, 2, 7.5),
        said(x, 1, np.inf),
    ] == [
        "high",
        "missing",
        2.5,
        7,
        7.5,
        "inf",
    ]

    assert [in_words(value) for value in (None, 0.123456, 7, "high")] == ["not a single value", "0.1235", "7", "high"]


def test_trees_read_levels_one_by_one_and_no_infinity():
    x = table([[0, np.inf], [2, np.nan], [np.nan, -np.inf]], ["c", "x"], categories={"c": ("a", "b", "z")})
    found = encoded(x, (0, 1))
    assert found.features == ("c", "c", "c", "x")
    assert found.levels == ("a", "z", "missing", None)
    np.testing.assert_array_equal(found.matrix[:, :3], np.eye(3))
    assert np.isfinite(found.matrix[[0, 2], 3].astype(np.float32)).all()


def test_pictures_have_no_columns():
    with pytest.raises(NotApplicable, match="Images"):
        table_of(game(Plain(lambda v: v[:, 0, 0, 0]), Images(values=np.full((3, 1, 4, 4), 0.5))))
