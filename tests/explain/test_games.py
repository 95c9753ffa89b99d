"""The value of every coalition: against the loop it replaces, by two ways of asking, in bounded memory."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from little_models import Plain, sigmoid, table
from torch import nn

from audit.core import UsageError
from audit.explain import game, value_table
from audit.explain.games import Game, counted, linked
from audit.explain.masking import masker
from audit.explain.playing import distinct

RNG = np.random.default_rng(0)


def net(columns: int, outputs: int = 1, dtype=torch.float64) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(columns)
        return nn.Sequential(
            nn.Linear(columns, 12), nn.ReLU(), nn.Linear(12, 12), nn.GELU(), nn.Linear(12, outputs)
        ).to(dtype)


class Closed:
    """The same model without what it offers: the way that any model is played."""

    def __init__(self, model):
        self.model = model

    offers = frozenset()

    def __getattr__(self, name):
        return getattr(self.model, name)


def whole(played: Game, rows, coalitions, draws=None, **options) -> np.ndarray:
    """The table (r, c, k) put together, each cell exactly once."""
    fillings = played.masker.fillings if draws is None else draws.shape[1]
    out = np.full((len(rows), len(coalitions), fillings), np.nan)
    place = {int(row): index for index, row in enumerate(rows)}
    for block, chosen, values in value_table(played, rows, coalitions, draws, **options):
        cells = np.ix_([place[int(row)] for row in block], chosen)
        assert np.isnan(out[cells]).all()
        out[cells] = values
    assert not np.isnan(out).any()
    return out


def by_loop(played: Game, rows, coalitions, owner, draws=None) -> np.ndarray:
    """One input after the other."""
    x, b = played.masker.inputs.values, played.masker.rows.values
    fillings = len(b) if draws is None else draws.shape[1]
    out = np.zeros((len(rows), len(coalitions), fillings))
    for r, c, k in np.ndindex(out.shape):
        filling = b[k if draws is None else draws[c, k]]
        mixed = np.where(coalitions[c][owner], x[rows[r]], filling)
        scores = played.model.predict(played.masker.inputs.with_values(mixed[None]))[0]
        target = played.targets[rows[r]]
        p = scores[target] if np.ndim(scores) else (scores if target else 1 - scores)
        out[r, c, k] = p if played.link == "identity" else np.log(p / (1 - p))
    return out


@settings(max_examples=25, deadline=None)
@given(
    columns=st.integers(1, 6),
    rows=st.integers(1, 5),
    fillings=st.integers(1, 5),
    outputs=st.sampled_from([1, 2, 3]),
    link=st.sampled_from(["identity", "logit"]),
    drawn=st.booleans(),
    cells=st.sampled_from([1, 40, 300, 10**6]),
    seed=st.integers(0, 10**6),
)
def test_both_ways_are_the_loop(columns, rows, fillings, outputs, link, drawn, cells, seed):
    rng = np.random.default_rng(seed)
    levels = rng.integers(0, 2, size=(rows + fillings, 1)) * 1.0  # a column that repeats itself
    values = np.concatenate([rng.normal(size=(rows + fillings, columns)), levels], axis=1)
    groups = {"pair": ["x0", f"x{columns}"]} if seed % 2 else None
    classes = ("a", "b", "c") if outputs == 3 else ("0", "1")
    targets = rng.integers(0, len(classes), size=rows)
    fast = game(
        net(columns + 1, outputs),
        table(values[:rows]),
        table(values[rows:]),
        output="logit",
        classes=classes,
        target=targets,
        link=link,
        players=groups,
    )
    assert "first_layer" in fast.model.offers
    owner = np.arange(columns + 1)
    owner[columns] = 0 if groups else columns
    players = len(fast.masker.players[0])
    coalitions = rng.random((5, players)) < 0.5
    coalitions[1:3] = [[True], [False]]
    draws = rng.integers(0, fillings, size=(5, 4)) if drawn else None
    chosen = rng.permutation(rows)
    expected = by_loop(fast, chosen, coalitions, owner, draws)
    for played in (fast, replace(fast, model=Closed(fast.model))):
        got = whole(played, chosen, coalitions, draws, max_bytes=8 * cells)
        np.testing.assert_allclose(got, expected, atol=1e-10)


def test_in_single_precision_the_two_ways_agree():
    fast = game(net(8, dtype=torch.float32), RNG.normal(size=(30, 8)), RNG.normal(size=(20, 8)), output="logit")
    slow = replace(fast, model=Closed(fast.model))
    coalitions = RNG.random((40, 8)) < 0.5
    np.testing.assert_allclose(
        whole(fast, np.arange(30), coalitions), whole(slow, np.arange(30), coalitions), atol=1e-6
    )


def test_missing_values_go_where_their_player_goes():
    model = Plain(lambda x: np.nan_to_num(x, nan=5.0).sum(axis=1))
    played = game(model, np.array([[np.nan, 1.0]]), np.array([[2.0, np.nan]]))
    got = whole(played, np.arange(1), np.array([[True, False], [False, True], [True, True], [False, False]]))
    np.testing.assert_array_equal(got[0, :, 0], [10, 3, 6, 7])


def test_with_missing_values_absent_the_first_layer_never_sees_them():
    fast = game(net(2), np.array([[np.nan, 1.0]]), np.array([[0.5, 2.0]]), output="logit")
    coalitions = np.array([[False, True], [False, False]])
    slow = replace(fast, model=Closed(fast.model))
    np.testing.assert_allclose(whole(fast, np.arange(1), coalitions), whole(slow, np.arange(1), coalitions), atol=1e-12)


# ----------------------------------------------------------------------------------------------- how much is asked
@pytest.mark.parametrize("closed", [True, False])
def test_everyone_is_asked_once_a_row_and_no_one_once(closed):
    played = game(net(4), RNG.normal(size=(9, 4)), RNG.normal(size=(7, 4)), output="logit")
    played = replace(played, model=Closed(played.model)) if closed else played
    coalitions = np.array([[1, 1, 1, 1], [0, 0, 0, 0], [1, 0, 1, 0], [0, 1, 0, 1]], dtype=bool)
    for max_bytes in (200, 5_000, 10**7):
        counting, counter = counted(played)
        whole(counting, np.arange(9), coalitions, max_bytes=max_bytes)
        assert counter.evaluations == 9 * (2 * 7 + 1) + 7
    # one of two classes a row: without a player there are two values of each filling
    counting, counter = counted(replace(played, targets=np.arange(9) % 2))
    whole(counting, np.arange(9), coalitions)
    assert counter.evaluations == 9 * (2 * 7 + 1) + 2 * 7


def test_what_repeats_is_asked_once():
    """Columns of few levels: an absent player that has the background's value changes nothing."""
    rng = np.random.default_rng(1)
    model = Plain(lambda x: sigmoid(x @ np.arange(1.0, 7.0)))
    rows, background = (table(rng.integers(0, 2, size=(n, 6))) for n in (3, 20))
    coalitions = rng.random((60, 6)) < 0.5
    got = whole(game(model, rows, background), np.arange(3), coalitions)
    different = {(r, *np.where(z, rows.values[r], b)) for r in range(3) for z in coalitions for b in background.values}
    assert sum(model.calls) <= len(different) < 3 * 60 * 20 / 4
    np.testing.assert_allclose(
        got, by_loop(game(model, rows, background), np.arange(3), coalitions, np.arange(6)), atol=1e-12
    )


def test_numbers_that_hardly_repeat_are_not_searched():
    model = Plain(lambda x: x.sum(axis=1))
    coalitions = RNG.random((50, 5)) < 0.5
    coalitions[0], coalitions[1] = [True, False, True, True, True], [False, True, False, False, False]
    played = game(model, RNG.normal(size=(4, 5)), RNG.normal(size=(6, 5)))
    whole(played, np.arange(4), coalitions[:2])
    assert sum(model.calls) == 4 * 2 * 6


def test_equal_rows_are_found_with_their_missing_values():
    values = np.array([[1, np.nan], [0, 2], [1, np.nan], [0, 2], [0, np.pi]])
    first, again = distinct(values)
    assert len(first) == 3
    np.testing.assert_array_equal(values[first][again], values)
    # np.pi stands for a missing value in the product: such rows are not called equal
    values = np.array([[np.nan, 0.0], [np.pi, 0.0]])
    first, again = distinct(values)
    np.testing.assert_array_equal(values[first][again], values)


# ------------------------------------------------------------------------------------------------------- memory
@pytest.mark.parametrize(
    ("rows", "players", "fillings"), [(100_000, 3, 2), (3, 1_000, 2), (2, 3, 300_000), (40, 60, 60)]
)
@pytest.mark.parametrize("closed", [True, False])
def test_memory_stays_below_a_bound(rows, players, fillings, closed):
    """What numpy holds at once while the table goes by; torch holds less, it is asked for chunks."""
    import tracemalloc

    module = nn.Sequential(nn.Linear(players, 4), nn.ReLU(), nn.Linear(4, 1))
    inputs, background = np.zeros((rows, players)), np.ones((fillings, players))
    background[:, 0] = np.arange(fillings)
    played = game(module, inputs, background, output="logit")
    played = replace(played, model=Closed(played.model)) if closed else played
    coalitions = RNG.random((12, players)) < 0.5
    list_of_rows = np.arange(rows)[: 20_000 if rows > 20_000 else rows]
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    cells = sum(values.size for _, _, values in value_table(played, list_of_rows, coalitions, max_bytes=2_000_000))
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    assert cells == len(list_of_rows) * 12 * fillings
    # a block's inputs, their copies on the way to the model, and the values of the longest background
    assert peak < 5 * 2_000_000 + 6 * 8 * fillings + 200 * rows


def test_no_batch_is_larger_than_the_bound_however_large_the_background():
    model = Plain(lambda x: x.sum(axis=1))
    played = game(model, RNG.normal(size=(2, 5)), RNG.normal(size=(1_000, 5)))
    got = whole(played, np.arange(2), RNG.random((3, 5)) < 0.5, max_bytes=8 * 5 * 64)
    assert max(model.calls) <= 64
    assert got.shape == (2, 3, 1_000)


# -------------------------------------------------------------------------------------------- links and targets
@settings(max_examples=30, deadline=None)
@given(st.integers(1, 20), st.integers(2, 4), st.integers(0, 10**6))
def test_links_take_the_class_of_each_row(rows, classes, seed):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(classes), size=rows)
    targets = rng.integers(0, classes, size=rows)
    expected = p[np.arange(rows), targets]
    scores = p[:, 1] if classes == 2 else p
    np.testing.assert_allclose(linked(scores, "identity", targets), expected, atol=1e-15)
    np.testing.assert_allclose(linked(scores, "logit", targets), np.log(expected / (1 - expected)), atol=1e-9)


def test_answers_follow_their_rows():
    played = game(Plain(lambda x: x[:, 0]), np.array([[0.1], [0.4]]), np.array([[0.0]]), target=np.array([0, 1]))
    np.testing.assert_allclose(played.outputs(), [0.9, 0.4])
    inputs = table([[0.1], [0.2], [0.3], [0.4]])
    np.testing.assert_allclose(played.answer(inputs, np.array([1, 0])), [0.1, 0.2, 0.7, 0.6])


def test_rows_that_share_no_design_are_told_apart():
    class Ragged:
        players = (("a", "b"), ("a",), ("a", "b"), ("a", "b", "c"))

    played = Game(model=Plain(lambda x: x[:, 0]), masker=Ragged(), targets=np.ones(4, dtype=int))
    assert [(count, rows.tolist()) for count, rows in played.by_players()] == [(1, [1]), (2, [0, 2]), (3, [3])]


def test_ragged_texts_are_played_by_their_number_of_words():
    from audit.data.texts import tokenised

    texts = tokenised(["a good film", "bad", "not so bad"])
    model = Plain(lambda x: sigmoid((x != 0).sum(axis=1) * 1.0))
    played = Game(model=model, masker=masker(texts), targets=np.ones(3, dtype=int))
    seen = {}
    for players, rows in played.by_players():
        coalitions = np.array([[True] * players, [False] * players])
        values = whole(played, rows, coalitions)
        assert values.shape == (len(rows), 2, played.masker.fillings)
        seen |= dict(zip(rows.tolist(), values[:, 0, 0], strict=True))
    np.testing.assert_allclose([seen[row] for row in range(3)], played.outputs())


def test_certain_scores_and_unknown_links():
    with pytest.raises(UsageError, match="1 of 2 rows"):
        linked(np.array([1.0, 0.5]), "logit", np.ones(1, dtype=int))
    with pytest.raises(UsageError, match="got 'odds'"):
        linked(np.array([0.5]), "odds", np.ones(1, dtype=int))


@pytest.mark.parametrize("target", [0, 1, "predicted"])
def test_a_number_has_no_other_class_and_no_log_odds(target):
    """An output of .3 stays .3, whatever class is asked for."""
    from sklearn.linear_model import LinearRegression

    x = RNG.normal(size=(30, 2))
    line = LinearRegression().fit(x, x @ [0.2, 0.1])
    played = game(line, x[:5], x, target=target)
    np.testing.assert_allclose(played.outputs(), line.predict(x[:5]))
    assert played.scale == "number"
    with pytest.raises(UsageError, match="predicts a number"):
        game(line, x[:5], x, link="logit")
