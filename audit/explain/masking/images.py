"""Squares, superpixels or pixels of pictures as players."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from audit.core import DataError, Floats, Ints, UsageError
from audit.data.images import Images
from audit.explain.masking.base import Coalitions, Players, maskers, no_size, one_of, origin, whole
from audit.explain.masking.units import Units, blend, shared

PLAYERS = ("grid", "slic", "pixels")
FILLS = ("mean", "blur", "black", "white", "background")
CELLS = 7  # squares along the longer side, unless a size is given: 49 players of a square picture


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageMasker(Units):
    """Parts of pictures; a pixel's channels are taken away together.

    others: what fills in, (fillings, channels, height, width) for all pictures alike, or where `own` is set
    (n, channels, height or 1, width or 1), made from each picture itself.
    """

    inputs: Images
    rows: Images
    others: Floats
    own: bool

    def fill(self, rows: Ints, coalitions: Coalitions, draws: Ints | None = None) -> Images:
        """Rows (r,) under coalitions (c, players): r * c * fillings pictures, the filling fastest."""
        others = self.others[rows][:, None, None] if self.own else shared(self.others, draws)
        fillings = self.fillings if draws is None else draws.shape[1]
        return self.inputs.with_values(blend(self.inputs.values[rows], self.kept(rows, coalitions), others, fillings))


@maskers.register
def _images(
    inputs: Images,
    background: Images | None,
    *,
    players: Players | None,
    size: int | None,
    fill: str | None,
    seed: int,
    words: str,
) -> ImageMasker:
    rows = inputs if background is None else background
    if not isinstance(rows, Images) or rows.values.shape[1:] != inputs.values.shape[1:]:
        what = f"shape {rows.values.shape[1:]}" if isinstance(rows, Images) else type(rows).__name__
        raise DataError(f"pictures have the shape {inputs.values.shape[1:]}, the background {what}")
    if not len(rows):
        raise UsageError("background: at least one picture is needed, got none")
    unit = one_of("players", "images", players, PLAYERS)
    owner, names = _superpixels(inputs, size) if unit == "slic" else _squares(inputs, unit, size)
    others, own, source = _filler(inputs, rows, one_of("fill", "images", fill, FILLS), words)
    return ImageMasker(
        inputs=inputs,
        rows=rows,
        players=names,
        owner=owner[:, None],
        fillings=1 if own else len(others),
        background=source,
        others=others,
        own=own,
    )


def _filler(inputs: Images, rows: Images, how: str, words: str) -> tuple[Floats, bool, str]:
    """What fills in, whether it is made from each picture itself, and the words for it."""
    if how == "background":
        return rows.values, False, origin(rows, "pictures", words)
    if how in ("black", "white"):
        value = inputs.black if how == "black" else inputs.white
        return np.full((1, 1, 1, 1), value), False, f"{how} ({value:g})"
    if how == "mean":
        return inputs.values.mean(axis=(2, 3), keepdims=True), True, "each picture's own mean colour"
    from scipy.ndimage import gaussian_filter

    # A standard deviation of 10 pixels on 224 (fong2017), but of no less than one pixel.
    spread = max(1.0, max(inputs.values.shape[2:]) * 10 / 224)
    blurred = gaussian_filter(inputs.values, sigma=(0, 0, spread, spread), mode="nearest")
    return blurred, True, f"each picture blurred (Gaussian, standard deviation {spread:.3g} pixels)"


def _squares(inputs: Images, unit: str, size: int | None) -> tuple[Ints, tuple[tuple[str, ...], ...]]:
    """Squares of `size` pixels a side, cut off at the right and the lower edge: owner (1, height, width), and names."""
    height, width = inputs.values.shape[2:]
    if unit == "pixels":
        no_size(size, 'players = "pixels" have none')
        side = 1
    else:
        side = whole(size, math.ceil(max(height, width) / CELLS))
    down, right = math.ceil(height / side), math.ceil(width / side)
    owner = (np.arange(height) // side)[:, None] * right + np.arange(width) // side
    names = tuple(
        f"y {_span(row * side, min((row + 1) * side, height))}, x {_span(column * side, min((column + 1) * side, width))}"
        for row in range(down)
        for column in range(right)
    )
    return owner[None].astype(np.int64), (names,) * len(inputs)


def _span(start: int, end: int) -> str:
    """Places from start to before end, in as few letters as a drawing has room for."""
    return str(start) if end - start == 1 else f"{start}-{end - 1}"


def _superpixels(inputs: Images, size: int | None) -> tuple[Ints, tuple[tuple[str, ...], ...]]:
    """About `size` superpixels in each picture by SLIC (achanta2012), fewer where small ones melt into others.

    Owner (n, height, width), and names.

    Pictures of three channels are compared in the Lab space of colours.
    """
    try:
        from skimage.segmentation import slic
    except ImportError as error:
        raise UsageError(
            'players = "slic" needs scikit-image, which is not installed: pip install "neural-audit[images]"; '
            'players = "grid" needs nothing'
        ) from error
    wanted = whole(size, CELLS**2)
    colour = inputs.values.shape[1] == 3
    owner = np.zeros((len(inputs), *inputs.values.shape[2:]), dtype=np.int64)
    for row, picture in enumerate(inputs.values):
        # SLIC stretches each picture to 0 to 1; lightness in Lab runs to 100, hence the two weights of closeness. Smoothed
        # by a pixel: of noisy pictures the clusters are else in pieces so small that all melt into one.
        found = slic(
            np.moveaxis(picture, 0, -1),
            n_segments=wanted,
            compactness=10.0 if colour else 0.1,
            sigma=1.0,
            convert2lab=colour,
            channel_axis=-1,
            start_label=0,
        )
        owner[row] = np.unique(found, return_inverse=True)[1].reshape(found.shape)
    counts = owner.reshape(len(inputs), -1).max(axis=1, initial=0) + 1
    names = {count: tuple(f"segment {place}" for place in range(count)) for count in set(counts.tolist())}
    return owner, tuple(names[count] for count in counts.tolist())
