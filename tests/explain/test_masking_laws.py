"""What holds for every kind of inputs and every fill."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from little_models import table

from audit.data.captioned import Captioned
from audit.data.texts import Texts
from audit.explain import Images, Series
from audit.explain.backgrounds import Background, choose
from audit.explain.masking import masker

ROWS, BEHIND = 4, 5


def tables(rng, count):
    return table(np.round(rng.normal(size=(count, 4)), 1))


def images(rng, count):
    return Images(values=rng.random((count, 3, 6, 5)))


def sequences(rng, count):
    lengths = rng.integers(1, 7, count)
    values = rng.normal(size=(count, 6, 2)) * (np.arange(6) < lengths[:, None])[:, :, None]
    return Series(values=values, columns=("a", "b"), lengths=lengths)


def texts(rng, count):
    lengths = rng.integers(1, 7, count)
    there = np.arange(8) < lengths[:, None] + 1
    words = np.where(there, np.cumsum(rng.random((count, 8)) < 0.7, axis=1), -1)
    words[:, 0] = -1
    ids = np.where(there, rng.integers(3, 9, (count, 8)), 0)
    vocabulary = ("[PAD]", "[MASK]", "[CLS]", "a", "b", "c", ".", "!", "##s")
    return Texts(ids=np.where(np.arange(8) == 0, 2, ids), words=words, vocabulary=vocabulary, pad=0, mask=1)


def captioned(rng, count):
    return Captioned(images=images(rng, count), texts=texts(rng, count))


KINDS = [
    (captioned, ("both", "picture", "slic"), ("average", "blur", "background"), (None,)),
    (captioned, ("word",), ("average", "background"), (None,)),
    (tables, ("column",), ("background", "mean", "gaussian", "nearest"), (None,)),
    (images, ("grid", "slic", "pixels"), ("mean", "blur", "black", "white", "background"), (None,)),
    (sequences, ("step", "column"), ("background", "mean", "previous"), (None,)),
    (sequences, ("window", "cell"), ("background", "mean", "previous"), (1, 2, 9)),
    (texts, ("word", "token", "sentence"), ("mask", "delete", "background"), (None, 2)),
]
CASES = [
    (make, unit, size, fill)
    for make, units, fills, sizes in KINDS
    for unit in units
    for size in sizes
    for fill in fills
]


@pytest.mark.parametrize(("make", "unit", "size", "fill"), CASES)
@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_the_laws(make, unit, size, fill, seed):
    rng = np.random.default_rng(seed)
    inputs, background = make(rng, ROWS), make(rng, BEHIND)
    filler = masker(inputs, background, players=unit, size=size, fill=fill, seed=seed)
    owners, shape = filler.owners(), inputs.values.shape
    assert owners.shape == shape
    np.testing.assert_array_equal(
        filler.pool(np.ones(shape)),
        [
            [(owners[row] == player).sum() if player < len(names) else np.nan for player in range(filler.most)]
            for row, names in enumerate(filler.players)
        ],
    )
    counts = [len(names) for names in filler.players]
    for count in set(counts):
        rows = np.flatnonzero(np.array(counts) == count)
        coalitions = rng.random((6, count)) < 0.5
        coalitions[0] = True
        filled = filler.fill(rows, coalitions)
        assert len(filled) == len(rows) * 6 * filler.fillings
        values = filled.values.reshape(len(rows), 6, filler.fillings, *shape[1:])
        assert (values[:, 0] == inputs.values[rows][:, None]).all()
        _changes_only_what_is_absent(fill, owners[rows], coalitions, inputs.values[rows], values)
        _is_the_same_in_parts(filler, rows, coalitions, values, rng)


def _changes_only_what_is_absent(fill, owners, coalitions, before, after):
    if fill == "delete":
        return
    known = np.concatenate([coalitions, np.ones((len(coalitions), 1), dtype=bool)], axis=1)
    there = np.moveaxis(known[:, owners], 0, 1)[:, :, None]
    assert (np.where(there, after, 0) == np.where(there, before[:, None, None], 0)).all()


def _is_the_same_in_parts(filler, rows, coalitions, values, rng):
    order, some = rng.permutation(len(rows)), np.array([4, 1])
    part = filler.fill(rows[order], coalitions[some]).values.reshape(len(rows), 2, *values.shape[2:])
    np.testing.assert_allclose(part, values[order][:, some], rtol=0, atol=1e-12)
    draws = rng.integers(0, filler.fillings, (2, 3))
    drawn = filler.fill(rows, coalitions[some], draws).values.reshape(len(rows), 2, 3, *values.shape[3:])
    expected = values[:, some[:, None], draws]
    np.testing.assert_allclose(drawn, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("make", "unit", "size", "fill"), CASES)
def test_the_same_seed_gives_the_same_bytes_and_the_global_state_is_untouched(make, unit, size, fill):
    kept = np.random.get_state()[1].copy()  # noqa: NPY002
    found = []
    for _ in range(2):
        rng = np.random.default_rng(1)
        inputs, background = make(rng, 1), make(rng, BEHIND)
        before = inputs.values.copy(), background.values.copy()
        filler = masker(inputs, background, players=unit, size=size, fill=fill, seed=3)
        found.append(filler.fill(np.array([0]), np.zeros((1, len(filler.players[0])), dtype=bool)).values.tobytes())
        assert (inputs.values == before[0]).all()
        assert (background.values == before[1]).all()
    assert found[0] == found[1]
    assert (np.random.get_state()[1] == kept).all()  # noqa: NPY002


@pytest.mark.parametrize("make", [tables, images, sequences, texts])
def test_words_of_a_chosen_background_are_repeated(make):
    rng = np.random.default_rng(0)
    chosen = choose(make(rng, 40), size=3, seed=1)
    filler = masker(make(rng, 2), chosen, fill="background")
    assert isinstance(chosen, Background)
    assert filler.background.startswith("3 of 40 rows, drawn at random, sha256 ")
    assert filler.fillings == 3
