"""What a masker is, and the one function that finds the right one.

Another modality is one more file with a class that satisfies `Masker` (most easily a `units.Units`) and one
`maskers.register`, named in `_FILES`.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from audit.core import Floats, Inputs, Ints, NotApplicable, UsageError, suggest
from audit.explain.backgrounds import Background

Coalitions = NDArray[np.bool_]
Players = Mapping[str, Sequence[str]] | str
_FILES = ("tabular", "images", "texts", "series", "graphs", "captioned")


class Masker(Protocol):
    """Inputs as players and back: it holds the inputs that are explained and fills in what is absent.

    An absent player is filled in `fillings` ways, and the value of a coalition is the mean over them. Rows may have
    different players and even different numbers of them, as sentences do; tables have the same in every row.
    """

    @property
    def inputs(self) -> Any:
        """The inputs (n,) that are explained."""
        ...

    @property
    def players(self) -> tuple[tuple[str, ...], ...]:
        """For every row (n,) the names of what may be taken away; rows that share them share one tuple."""
        ...

    @property
    def fillings(self) -> int:
        """How many ways there are to fill in what is absent."""
        ...

    @property
    def width(self) -> int:
        """Numbers that one filled input holds: what bounds the memory of a batch."""
        ...

    @property
    def background(self) -> str:
        """What fills the absent players in, in words, with a digest of it."""
        ...

    def fill(self, rows: Ints, coalitions: Coalitions, draws: Ints | None = None) -> Inputs:
        """Rows (r,) under coalitions (c, players), True = present: r * c * fillings inputs, the filling fastest.

        The rows must have as many players as the coalitions. draws (c, k): the fillings that each coalition uses,
        instead of all of them; then r * c * k inputs.
        """
        ...

    def pool(self, elements: NDArray[Any]) -> Floats:
        """Sums over what each player holds (n, most players) of numbers laid out like the inputs' values (n, ...).

        NaN where a row has fewer players. Numbers of what no player holds are left out. Axes behind those of the values
        (a token's embedding) are summed; an axis of length 1 (a picture's channels) stands for all that lies along it.
        """
        ...

    def owners(self) -> Ints:
        """The player that holds each element, laid out like the inputs' values (n, ...); -1 where none does."""
        ...

    def data(self) -> Floats:
        """One number (n, most players) for what each player was, NaN where there is none."""
        ...


def masker(
    inputs: Any,
    background: Any = None,
    *,
    players: Players | None = None,
    size: int | None = None,
    fill: str | None = None,
    seed: int = 0,
) -> Masker:
    """The masker of a kind of inputs; raises NotApplicable where there is none, UsageError for what it does not know.

    background: inputs of the same kind that stand in for what is absent (by default the inputs themselves), or a
    `Background`, whose words the results repeat. seed: of fillings that are drawn. The first of players and of fills is
    the default:

    - tables: players "column", "one-hot" (each one-hot block together) or a mapping from a name to the columns that are
      taken away together; fill "background", "mean", "gaussian" (`size` draws given the present columns), "nearest"
      (the `size` background rows nearest in the present columns).
    - images: players "grid" (squares, `size` pixels a side), "slic" (about `size` superpixels), "pixels"; fill "mean",
      "blur", "black", "white", "background".
    - texts: players "word", "token", "sentence", `size` of them together; fill "mask", "delete" (the
      default where there is no mask token), "background".
    - pictures with captions: players "both" (squares of the picture, `size` pixels a side, and words), "picture", "word"
      (one side, the other stays), "slic" (superpixels and words); fill "average" (the mean of the background's
      pictures) and those of images; words become the mask token or, with "background", those of the picture's filling.
    - series: players "step", "window" (`size` steps), "column", "cell" (a column in a window); fill "background",
      "mean", "previous".
    """
    if not isinstance(players, str | Mapping | None):
        raise UsageError(
            f"players: the name of a unit, or a mapping from a name to columns, got {type(players).__name__}"
        )
    for name in _FILES:
        if importlib.util.find_spec(f"audit.explain.masking.{name}"):
            importlib.import_module(f"audit.explain.masking.{name}")
    words = ""
    if isinstance(background, Background):
        background, words = background.inputs, background.words
    found: Masker = maskers(inputs, background, players=players, size=size, fill=fill, seed=seed, words=words)
    return found


@functools.singledispatch
def maskers(inputs: Any, background: Any, **options: Any) -> Masker:
    """Dispatches on the type of the inputs; `masker` is the door."""
    raise NotApplicable(f"no masker for inputs of type {type(inputs).__name__}")


@functools.singledispatch
def summands(
    masker: Any, rows: Ints, coalitions: Coalitions, draws: Ints | None = None
) -> tuple[Floats, Floats] | None:
    """What `fill` gives as sums: the rows' part (c, r, d) and the fillings' part (c, k, d), 0 where the other one is.

    None where a filled input is no such sum, because what fills in depends on the row.
    """
    return None


def pooled(elements: NDArray[Any], owner: Ints, most: int) -> Floats:
    """Sums (n, most) of elements (n, m) by the player (n, m) that owns each, -1 for none; 0 where a player owns nothing."""
    count = len(elements)
    place = np.where(owner >= 0, owner, most) + (most + 1) * np.arange(count)[:, None]
    summed = np.bincount(place.ravel(), np.asarray(elements, dtype=np.float64).ravel(), count * (most + 1))
    return np.array(summed.reshape(count, most + 1)[:, :most])


def digest(values: NDArray[Any]) -> str:
    """The first 12 digits of the sha256 of an array's bytes."""
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()[:12]


def origin(rows: Any, what: str, words: str) -> str:
    """The background in words: those it was chosen with, or how many of `what` it is; with a digest of its values."""
    return f"{words or f'{len(rows)} background {what}'}, sha256 {digest(rows.values)}"


def one_of(option: str, of: str, given: Any, allowed: Sequence[str]) -> str:
    """What was given, by default the first that is allowed; raises UsageError for anything else."""
    if given is None:
        return allowed[0]
    if given not in allowed:
        raise UsageError(f"{option}: of {of} one of {', '.join(allowed)}, got {given!r}{suggest(str(given), allowed)}")
    return str(given)


def whole(size: int | None, default: int) -> int:
    """A size of at least 1, by default `default`; raises UsageError."""
    if size is not None and size < 1:
        raise UsageError(f"size: at least 1, got {size}")
    return default if size is None else int(size)


def no_size(size: int | None, why: str) -> None:
    """Raises UsageError where a size was given that would be left unread."""
    if size is not None:
        raise UsageError(f"size: {why}, so leave it out; got {size}")
