"""Sequences: players, fills and sums against loops over steps and columns."""

import numpy as np
import pytest

from audit.core import DataError, UsageError
from audit.explain import Series, series
from audit.explain.masking import masker


def sequences(lengths=(5, 3, 5), steps=5, columns=("a", "b"), seed=0):
    values = np.random.default_rng(seed).normal(size=(len(lengths), steps, len(columns)))
    values[np.arange(steps) >= np.array(lengths)[:, None]] = 0.0
    return Series(values=values, columns=columns, lengths=np.array(lengths))


UNITS = {
    ("step", None): (lambda t, c: t, ("step 0", "step 1", "step 2", "step 3", "step 4"), 3),
    ("window", 2): (lambda t, c: t // 2, ("steps 0-1", "steps 2-3", "step 4"), 2),
    ("column", None): (lambda t, c: c, ("a", "b"), 2),
    ("cell", 3): (
        lambda t, c: 2 * (t // 3) + c,
        ("a, steps 0-2", "b, steps 0-2", "a, steps 3-4", "b, steps 3-4"),
        2,
    ),
}


@pytest.mark.parametrize(("unit", "size"), UNITS)
def test_players_hold_what_their_names_say(unit, size):
    holder, names, short = UNITS[unit, size]
    filler = masker(sequences(), players=unit, size=size)
    assert filler.players[0] == names
    assert len(filler.players[1]) == short
    for n, t, c in np.ndindex(filler.owners().shape):
        assert filler.owners()[n, t, c] == (holder(t, c) if t < filler.inputs.lengths[n] else -1)


def test_the_last_window_of_a_shorter_sequence_is_named_by_its_end():
    assert masker(sequences(), players="window", size=2).players[1] == ("steps 0-1", "step 2")
    assert masker(sequences((5, 5)), players="window").players[0] == tuple(f"step {t}" for t in range(5))
    assert len(masker(sequences((50,), steps=50), players="window").players[0]) == 10


@pytest.mark.parametrize(("unit", "size"), UNITS)
@pytest.mark.parametrize("how", ["background", "mean", "previous"])
@pytest.mark.parametrize("drawn", [False, True])
def test_fill_is_the_loop_over_steps(unit, size, how, drawn):
    inputs, behind = sequences(), sequences((4, 2), steps=6, seed=1)
    filler = masker(inputs, behind, players=unit, size=size, fill=how)
    rows, rng = np.array([2, 0]), np.random.default_rng(0)
    coalitions = rng.random((4, len(filler.players[0]))) < 0.5
    draws = rng.integers(0, filler.fillings, size=(4, 2)) if drawn else None
    count = 2 if drawn else filler.fillings
    filled = filler.fill(rows, coalitions, draws)
    assert filled.lengths.tolist() == [5] * len(filled)
    got = filled.values.reshape(2, 4, count, 5, 2)
    mean = np.concatenate([behind.values[0, :4], behind.values[1, :2]]).mean(axis=0)
    for r, k, f in np.ndindex(2, 4, count):
        last = mean.copy()
        for t, c in np.ndindex(5, 2):
            value = inputs.values[rows[r], t, c]
            if coalitions[k, UNITS[unit, size][0](t, c)]:
                last[c] = value
                assert got[r, k, f, t, c] == value
                continue
            b = draws[k, f] if drawn else f
            other = behind.values[b % 2, t % behind.lengths[b % 2], c]
            expected = {"background": other, "mean": mean[c], "previous": last[c]}[how]
            assert got[r, k, f, t, c] == pytest.approx(expected, abs=1e-14)


@pytest.mark.parametrize("how", ["background", "mean", "previous"])
def test_padding_stays(how):
    inputs = sequences()
    filled = masker(inputs, fill=how).fill(np.array([1]), np.zeros((1, 3), dtype=bool))
    assert not filled.values[:, 3:].any()
    assert set(filled.lengths.tolist()) == {3}


def test_the_mean_leaves_gaps_out():
    values = np.array([[[1.0, np.nan, np.nan], [3, 5, np.nan]]])
    filled = masker(series(values), fill="mean").fill(np.array([0]), np.zeros((1, 2), dtype=bool)).values
    np.testing.assert_array_equal(filled, [[[2, 5, np.nan]] * 2])


def test_sums_and_what_the_players_were():
    inputs = sequences()
    elements = np.random.default_rng(1).normal(size=inputs.values.shape)
    pooled = masker(inputs, players="window", size=2).pool(elements)
    expected = [[elements[n, t : min(t + 2, inputs.lengths[n])].sum() for t in (0, 2, 4)] for n in range(3)]
    expected[1][2] = np.nan
    np.testing.assert_allclose(pooled, expected)
    assert np.isnan(masker(inputs).data()).all()
    single = sequences(columns=("a",))
    padded = np.where(np.arange(5) < single.lengths[:, None], single.values[:, :, 0], np.nan)
    np.testing.assert_array_equal(masker(single).data(), padded)


def test_the_background_is_named():
    inputs, behind = sequences(), sequences((4, 2), steps=6, seed=1)
    assert masker(inputs, behind).background.startswith("2 background sequences, sha256 ")
    assert masker(inputs, behind, fill="previous").background.startswith(
        "the last present value of the column, before the first the mean of each column over 2 background sequences"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"players": "windows"}, "step, window, column, cell, got 'windows'; did you mean 'window'"),
        ({"fill": "zero"}, "background, mean, previous, got 'zero'"),
        ({"players": "step", "size": 2}, 'players = "step" have none, "window" and "cell" do'),
        ({"players": "window", "size": 0}, "at least 1, got 0"),
    ],
)
def test_mistakes(options, message):
    with pytest.raises(UsageError, match=message):
        masker(sequences(), **options)


def test_backgrounds_that_cannot_serve():
    with pytest.raises(DataError, match="the background"):
        masker(sequences(), sequences(columns=("a", "c")))
    with pytest.raises(DataError, match="the background ndarray"):
        masker(sequences(), np.zeros((1, 5, 2)))
    with pytest.raises(UsageError, match="at least one sequence"):
        masker(sequences(), sequences(()))
