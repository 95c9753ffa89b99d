"""Filling of tables against the loop that it replaces; players and their mistakes."""

import itertools

import numpy as np
import pytest
from little_models import Plain, table

from audit.core import DataError, NotApplicable, UsageError
from audit.explain import game, shapley
from audit.explain.masking import masker
from audit.explain.masking.base import summands
from audit.explain.masking.tabular import one_hot_groups
from audit.explain.masking.units import distinct


def test_fill_is_the_loop_over_rows_coalitions_and_background():
    rng = np.random.default_rng(0)
    rows, background = table(rng.normal(size=(3, 4))), table(rng.normal(size=(5, 4)))
    coalitions = rng.random((6, 3)) < 0.5
    filler = masker(rows, background, players={"pair": ["x1", "x3"]})
    assert filler.players == (("x0", "pair", "x2"),) * 3
    owner = [0, 1, 2, 1]
    assert filler.owners().tolist() == [owner] * 3
    assert filler.membership.tolist() == [[player == at for at in owner] for player in range(3)]
    got = filler.fill(np.arange(3), coalitions).values.reshape(3, 6, 5, 4)
    for r, c, b, j in np.ndindex(3, 6, 5, 4):
        expected = rows.values[r, j] if coalitions[c, owner[j]] else background.values[b, j]
        assert got[r, c, b, j] == expected


@pytest.mark.parametrize("drawn", [False, True])
def test_summands_add_up_to_what_is_filled(drawn):
    rng = np.random.default_rng(0)
    rows, background = rng.normal(size=(3, 4)), rng.normal(size=(5, 4))
    rows[1, 2] = np.nan
    coalitions = rng.random((6, 3)) < 0.5
    draws = rng.integers(0, 5, size=(6, 2)) if drawn else None
    filler = masker(table(rows), table(background), players={"pair": ["x1", "x3"]})
    first, second = summands(filler, np.array([2, 1]), coalitions, draws)
    total = np.moveaxis(first[:, :, None] + second[:, None], 0, 1)
    np.testing.assert_array_equal(total.reshape(-1, 4), filler.fill(np.array([2, 1]), coalitions, draws).values)
    assert summands(masker(table(rows), table(background), fill="nearest"), np.arange(3), coalitions) is None


def test_the_mean_row_takes_the_most_frequent_level_and_leaves_gaps_out():
    background = table(
        [[0, 1.0, np.nan], [2, 3, np.nan], [2, np.nan, np.nan]],
        ["job", "pay", "none"],
        categories={"job": ("a", "b", "c")},
    )
    inputs = background.with_values(np.array([[1.0, 9, 9]]))
    filler = masker(inputs, background, fill="mean")
    np.testing.assert_array_equal(filler.fill(np.array([0]), np.zeros((1, 3), dtype=bool)).values, [[2, 2, np.nan]])
    assert filler.fillings == 1
    assert filler.background.startswith("the mean of 3 background rows, sha256 ")


def test_data_is_the_value_of_a_column_and_nothing_for_a_group():
    filler = masker(table([[1.0, 2, 3]]), table([[0.0, 0, 0]]), players={"g": ["x0", "x2"]})
    np.testing.assert_array_equal(filler.data(), [[np.nan, 2]])


def test_pooling_a_row_leaves_gaps_where_they_are():
    filler = masker(table(np.zeros((2, 3))), players={"g": ["x0", "x2"]})
    np.testing.assert_array_equal(filler.pool(np.array([[1.0, 2, 3], [np.nan, 5, 6]])), [[4, 2], [np.nan, 5]])
    with pytest.raises(DataError, match=r"expected numbers \(2, 3\)"):
        filler.pool(np.zeros((2, 4)))


def test_description_tells_backgrounds_apart():
    assert masker(table([[1.0], [2]])).background != masker(table([[1.0], [3]])).background
    assert masker(table([[1.0], [2]])).background.startswith("2 background rows")


def test_one_hot_blocks_are_found_by_their_names_and_their_values():
    job = np.eye(3)[[0, 1, 2, 1]]
    sex = np.eye(2)[[0, 1, 1, 0]]
    flags = np.array([[1.0, 1], [0, 1], [1, 0], [0, 0]])
    names = ["age", "job_blue_collar", "has_car", "job_admin", "sex=f", "has_dog", "sex=m", "job_x", "job"]
    values = np.column_stack(
        [
            [30, 40, 50, 60],
            job[:, 0],
            flags[:, 0],
            job[:, 1],
            sex[:, 0],
            flags[:, 1],
            sex[:, 1],
            job[:, 2],
            [1, 2, 3, 4],
        ]
    )
    rows = table(values, names)
    blocks = {
        "job (one-hot)": ("job_blue_collar", "job_admin", "job_x"),
        "sex": ("sex=f", "sex=m"),
    }
    assert one_hot_groups(rows) == {
        name: blocks[name] for name in sorted(blocks, key=lambda name: name != "job (one-hot)")
    }
    filler = masker(rows.take(np.array([0])), rows, players="one-hot")
    assert filler.players == (("age", "job (one-hot)", "has_car", "sex", "has_dog", "job"),)
    filled = filler.fill(np.array([0]), np.zeros((1, 6), dtype=bool)).values
    assert (filled[:, [1, 3, 7]].sum(axis=1) == 1).all()


def test_of_nested_prefixes_the_one_that_is_a_block_counts():
    values = np.column_stack([np.eye(2)[[0, 1, 0]], np.eye(2)[[0, 1, 1]]])
    rows = table(values, ["a_b_1", "a_b_2", "a_c_1", "a_c_2"])
    assert one_hot_groups(rows) == {"a_b": ("a_b_1", "a_b_2"), "a_c": ("a_c_1", "a_c_2")}
    assert one_hot_groups(table([[0.5, 0.5]], ["a_x", "a_y"])) == {}
    assert one_hot_groups(table(np.zeros((0, 2)), ["a_x", "a_y"])) == {}
    assert masker(table([[3.0, 4.0]]), players="one-hot").players == (("x0", "x1"),)


def test_a_group_of_one_hot_columns_is_one_player_of_shapley():
    """Whole blocks are swapped: phi of a block is f(block) - E f(block) for an additive model."""
    rng = np.random.default_rng(0)
    block = np.eye(3)[rng.integers(0, 3, 30)]
    block[:3] = np.eye(3)
    rows = table(np.column_stack([rng.normal(size=30), block]), ["pay", "job_a", "job_b", "job_c"])
    weights = np.array([2.0, 1, -1, 3])
    found = shapley(game(Plain(lambda x: x @ weights), rows, rows, players="one-hot"))
    expected = (rows.values - rows.values.mean(axis=0)) * weights
    np.testing.assert_allclose(found.values, np.column_stack([expected[:, 0], expected[:, 1:].sum(axis=1)]), atol=1e-12)
    assert found.features == ("pay", "job")


@pytest.mark.parametrize(
    ("players", "message"),
    [
        ({"g": ["x0", "income"]}, "did you mean 'incomes'"),
        ({"g": []}, "holds no column"),
        ({"g": ["x0"], "h": ["x0"]}, "is in 'g' and in 'h'"),
        ({"incomes": ["x0"]}, "also the name of a column"),
        ("one_hot", "one of column, one-hot, got 'one_hot'; did you mean 'one-hot'"),
    ],
)
def test_wrong_players(players, message):
    with pytest.raises(UsageError, match=message):
        masker(table([[0.0, 1]], ["x0", "incomes"]), players=players)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fill": "gausian"}, "background, mean, gaussian, nearest, got 'gausian'; did you mean 'gaussian'"),
        ({"fill": "mean", "size": 3}, 'fill = "mean" of tables has none'),
        ({"size": 3}, 'fill = "background" of tables has none'),
        ({"fill": "gaussian", "size": 0}, "size: at least 1, got 0"),
    ],
)
def test_wrong_fills(options, message):
    with pytest.raises(UsageError, match=message):
        masker(table([[0.0], [1]]), **options)


def test_backgrounds_that_cannot_serve():
    with pytest.raises(NotApplicable, match="list"):
        masker([[1, 2]])
    with pytest.raises(UsageError, match="at least one row"):
        masker(table(np.zeros((0, 2))))
    with pytest.raises(DataError, match="columns"):
        masker(table([[0.0]], ["b"]), table([[0.0]], ["a"]))
    levels = [{"a": ("no", "yes")}, {"a": ("yes",)}, {}]
    for ours, theirs in itertools.permutations(levels, 2):
        with pytest.raises(DataError, match="column 'a' has the categories"):
            masker(table([[0.0]], ["a"], categories=ours), table([[0.0]], ["a"], categories=theirs))


def test_coalitions_of_other_players_are_refused():
    with pytest.raises(UsageError, match=r"coalitions are of 3 players, but the rows have \[2\]"):
        masker(table([[0.0, 1]])).fill(np.array([0]), np.ones((1, 3), dtype=bool))


def test_names_that_occur_more_than_once_are_numbered():
    assert distinct(["the", "cat", "the"]) == ("the (1)", "cat", "the (2)")
