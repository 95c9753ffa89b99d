"""Pictures: players, fills and sums against loops over pixels, SLIC against scikit-image."""

import builtins

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d
from skimage.data import astronaut
from skimage.segmentation import slic

from audit.core import DataError, UsageError
from audit.data.worlds.glyphs import glyphs
from audit.explain import Images, game, shapley
from audit.explain.masking import masker


def pictures(count=3, channels=2, height=5, width=7, seed=0):
    return Images(
        values=np.random.default_rng(seed).normal(size=(count, channels, height, width)), black=-2.0, white=3.0
    )


def test_a_grid_is_cut_off_at_the_edges():
    filler = masker(pictures(), size=3)
    assert filler.players[0] == (
        "y 0-2, x 0-2",
        "y 0-2, x 3-5",
        "y 0-2, x 6",
        "y 3-4, x 0-2",
        "y 3-4, x 3-5",
        "y 3-4, x 6",
    )
    owner = filler.owners()
    assert owner.shape == (3, 2, 5, 7)
    for n, c, y, x in np.ndindex(owner.shape):
        assert owner[n, c, y, x] == 3 * (y // 3) + x // 3


def test_squares_by_default_are_seven_a_side_and_a_small_picture_is_one():
    assert len(masker(pictures(height=28, width=28)).players[0]) == 49
    assert masker(pictures(), size=100).players == (("y 0-4, x 0-6",),) * 3
    assert masker(pictures(height=1, width=1)).players == (("y 0, x 0",),) * 3
    assert masker(pictures(), players="pixels").players[0][8] == "y 1, x 1"


OTHERS = {
    "mean": lambda inputs, n, c, y, x, b: inputs.values[n, c].mean(),
    "black": lambda inputs, n, c, y, x, b: -2.0,
    "white": lambda inputs, n, c, y, x, b: 3.0,
    "background": lambda inputs, n, c, y, x, b: pictures(4, seed=1).values[b, c, y, x],
}


@pytest.mark.parametrize("how", OTHERS)
@pytest.mark.parametrize("drawn", [False, True])
def test_fill_is_the_loop_over_pixels(how, drawn):
    inputs = pictures()
    filler = masker(inputs, pictures(4, seed=1), size=3, fill=how)
    rng = np.random.default_rng(0)
    coalitions, rows = rng.random((4, 6)) < 0.5, np.array([2, 0])
    draws = rng.integers(0, filler.fillings, size=(4, 2)) if drawn else None
    count = 2 if drawn else filler.fillings
    assert filler.fillings == (4 if how == "background" else 1)
    filled = filler.fill(rows, coalitions, draws).values.reshape(2, 4, count, 2, 5, 7)
    for r, k, f, c, y, x in np.ndindex(filled.shape):
        there = coalitions[k, 3 * (y // 3) + x // 3]
        other = OTHERS[how](inputs, rows[r], c, y, x, draws[k, f] if drawn else f)
        assert filled[r, k, f, c, y, x] == pytest.approx(inputs.values[rows[r], c, y, x] if there else other, abs=1e-14)


def test_blur_is_one_dimension_after_the_other():
    inputs = pictures(height=40, width=60)
    filled = masker(inputs, fill="blur").fill(np.array([1]), np.zeros((1, 35), dtype=bool)).values[0]
    spread = 60 * 10 / 224
    expected = inputs.values[1]
    for axis in (1, 2):
        expected = gaussian_filter1d(expected, spread, axis=axis, mode="nearest")
    np.testing.assert_allclose(filled, expected, rtol=1e-12, atol=1e-12)
    assert masker(inputs, fill="blur").background == "each picture blurred (Gaussian, standard deviation 2.68 pixels)"
    flat = Images(values=np.full((1, 3, 4, 4), 0.25))
    np.testing.assert_allclose(masker(flat, fill="blur").fill(np.array([0]), np.zeros((1, 16), bool)).values, 0.25)


def test_superpixels_are_those_of_scikit_image():
    face = np.moveaxis(astronaut()[::8, ::8] / 255.0, -1, 0)
    grey = face.mean(axis=0, keepdims=True)
    for values, labels in (
        (face, slic(np.moveaxis(face, 0, -1), n_segments=30, compactness=10, sigma=1, start_label=0)),
        (grey, slic(grey[0], n_segments=30, compactness=0.1, sigma=1, channel_axis=None, start_label=0)),
    ):
        filler = masker(Images(values=np.stack([values, values[:, ::-1]])), players="slic", size=30)
        np.testing.assert_array_equal(filler.owners()[0, 0], labels)
        assert filler.players[0] == tuple(f"segment {place}" for place in range(labels.max() + 1))
        assert 8 <= len(filler.players[1]) <= 45


@pytest.mark.parametrize("noise", [0.02, 0.18, 0.8])
def test_superpixels_of_noisy_pictures_do_not_melt_into_one(noise):
    drawn = glyphs(noise=noise).draw(4, np.random.default_rng(0)).inputs
    assert all(25 <= len(names) <= 60 for names in masker(drawn, players="slic").players)


@pytest.mark.parametrize("shape", [(3, 1, 1), (1, 2, 2), (3, 5, 4)])
def test_superpixels_of_tiny_and_of_flat_pictures(shape):
    for values in (np.zeros((2, *shape)), np.random.default_rng(0).random((2, *shape))):
        filler = masker(Images(values=values), players="slic", size=4)
        for row, names in enumerate(filler.players):
            assert set(np.unique(filler.owners()[row])) == set(range(len(names)))


def test_rows_with_different_numbers_of_superpixels_play_apart():
    values = np.zeros((2, 1, 8, 8))
    values[1, 0, :, 4:] = np.linspace(0, 1, 4)
    filler = masker(Images(values=values), players="slic", size=4)
    counts = {len(names) for names in filler.players}
    pooled = filler.pool(np.ones(values.shape))
    assert np.nansum(pooled, axis=1).tolist() == [64, 64]
    assert np.isnan(pooled).sum() == 2 * max(counts) - sum(len(names) for names in filler.players)


def test_sums_over_squares():
    inputs = pictures()
    filler = masker(inputs, size=3)
    elements = np.random.default_rng(1).normal(size=inputs.values.shape)
    expected = np.zeros((3, 6))
    for n, c, y, x in np.ndindex(elements.shape):
        expected[n, 3 * (y // 3) + x // 3] += elements[n, c, y, x]
    np.testing.assert_allclose(filler.pool(elements), expected, atol=1e-12)
    np.testing.assert_allclose(filler.pool(elements.sum(axis=1, keepdims=True)), expected, atol=1e-12)
    assert np.isnan(filler.data()).all()
    grey = pictures(channels=1)
    np.testing.assert_array_equal(masker(grey, players="pixels").data(), grey.values.reshape(3, -1))


def test_shapley_values_of_a_linear_model_of_pixels():
    inputs, weights = pictures(), np.random.default_rng(2).normal(size=(2, 5, 7))

    class Linear:
        def __init__(self):
            from audit.core import Card

            self.card, self.family, self.offers = Card(family="linear", kind="callable"), "linear", frozenset()

        def predict(self, given):
            return (given.values * weights).sum(axis=(1, 2, 3))

    found = shapley(game(Linear(), inputs, size=3))
    apart = (inputs.values - inputs.values.mean(axis=(2, 3), keepdims=True)) * weights
    np.testing.assert_allclose(found.values, masker(inputs, size=3).pool(apart), atol=1e-10)
    assert found.background == "each picture's own mean colour"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"players": "squares"}, "one of grid, slic, pixels, got 'squares'"),
        ({"players": "pixel"}, "did you mean 'pixels'"),
        ({"players": {"sky": ["row 1"]}}, "one of grid"),
        ({"fill": "blurr"}, "mean, blur, black, white, background, got 'blurr'; did you mean 'blur'"),
        ({"size": 0}, "size: at least 1, got 0"),
        ({"players": "pixels", "size": 2}, "have none"),
    ],
)
def test_mistakes(options, message):
    with pytest.raises(UsageError, match=message):
        masker(pictures(), **options)


def test_backgrounds_that_cannot_serve():
    with pytest.raises(DataError, match=r"shape \(2, 5, 7\), the background shape \(2, 5, 6\)"):
        masker(pictures(), pictures(width=6))
    with pytest.raises(DataError, match="the background ndarray"):
        masker(pictures(), np.zeros((1, 2, 5, 7)))
    with pytest.raises(UsageError, match="at least one picture"):
        masker(pictures(), pictures(0))


def test_without_scikit_image_the_message_says_what_to_do(monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name.startswith("skimage"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UsageError, match=r'neural-audit\[images\].*"grid" needs nothing'):
        masker(pictures(), players="slic")
