"""What a masker is, and the one function that finds the right one.

Another modality is one more file with a class that satisfies `Masker` and one `maskers.register`, named in `_FILES`.
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

from audit.core import Floats, Inputs, Ints, NotApplicable

Coalitions = NDArray[np.bool_]
Players = Mapping[str, Sequence[str]] | str
_FILES = ("tabular", "images", "texts", "series", "graphs")


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

        NaN where a row has fewer players. Numbers of what no player holds are left out.
        """
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

    background: inputs of the same kind that stand in for what is absent. players: of tables a mapping from a name to the
    columns that are taken away together; of other inputs the name of a unit ("word", "grid", "window"), `size` its size.
    fill: how absent players are filled in; the first that the kind of inputs knows is its default. seed: of fillings that
    are drawn.
    """
    for name in _FILES:
        if importlib.util.find_spec(f"audit.explain.masking.{name}"):
            importlib.import_module(f"audit.explain.masking.{name}")
    found: Masker = maskers(inputs, background, players=players, size=size, fill=fill, seed=seed)
    return found


@functools.singledispatch
def maskers(inputs: Any, background: Any, **options: Any) -> Masker:
    """Dispatches on the type of the inputs; `masker` is the door."""
    raise NotApplicable(f"no masker for inputs of type {type(inputs).__name__}")


def digest(values: NDArray[Any]) -> str:
    """The first 12 digits of the sha256 of an array's bytes."""
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()[:12]


def pooled(elements: NDArray[Any], owner: Ints, most: int) -> Floats:
    """Sums (n, most) of elements (n, m) by the player (n, m) that owns each, -1 for none; 0 where a player owns nothing."""
    rows, columns = np.nonzero(owner >= 0)
    out = np.zeros((len(elements), most))
    np.add.at(out, (rows, owner[rows, columns]), elements[rows, columns])
    return out
