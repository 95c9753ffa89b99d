"""What maskers of inputs with a fixed layout share: who holds what, and everything but how to fill."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.core import DataError, Floats, Ints, UsageError
from audit.explain.masking.base import Coalitions, pooled


@dataclass(frozen=True, slots=True, kw_only=True)
class Units:
    """What maskers of fixed elements share: all but how to fill.

    rows: the background's inputs. players: their names in each row. owner (n or 1, ...): the player that holds each
    element of the values, -1 for none; an axis of length 1 stands for all that lies along it.
    """

    inputs: Any
    rows: Any
    players: tuple[tuple[str, ...], ...]
    owner: Ints
    fillings: int
    background: str

    @property
    def most(self) -> int:
        """Players of the row that has most."""
        return max((len(names) for names in self.players), default=0)

    @property
    def width(self) -> int:
        """Numbers in one input."""
        return int(np.prod(self.inputs.values.shape[1:]))

    def kept(self, rows: Ints, coalitions: Coalitions) -> Coalitions:
        """Whether each element is there (r or 1, c, ...): what no player holds always is."""
        agree(coalitions, {len(self.players[row]) for row in rows})
        known = np.concatenate([coalitions, np.ones((len(coalitions), 1), dtype=bool)], axis=1)
        owner = self.owner if len(self.owner) == 1 else self.owner[rows]
        return np.moveaxis(np.take(known, owner, axis=1), 0, 1)

    def owners(self) -> Ints:
        """The player (n, ...) that holds each element of the inputs' values, -1 where none does."""
        return np.broadcast_to(self.owner, self.inputs.values.shape)

    def pool(self, elements: NDArray[Any]) -> Floats:
        """Sums (n, most players) of numbers laid out like the inputs' values, by who holds them."""
        shape = self.inputs.values.shape
        given = elements.shape[: len(shape)]
        if len(given) < len(shape) or any(side not in (1, full) for side, full in zip(given, shape, strict=True)):
            raise DataError(f"pool: expected numbers {shape}, or with more axes behind, got shape {elements.shape}")
        owner = self.owners()[tuple(slice(side) for side in given)]
        summed = elements.reshape(*given, -1).sum(axis=-1) if elements.ndim > len(shape) else elements
        out = pooled(summed.reshape(len(summed), -1), owner.reshape(len(owner), -1), self.most)
        counts = np.array([len(names) for names in self.players], dtype=np.int64)
        out[np.arange(self.most) >= counts[:, None]] = np.nan
        return out

    def data(self) -> Floats:
        """The value (n, most players) of a player that holds one element, NaN for others."""
        values = np.asarray(self.inputs.values, dtype=np.float64)
        return np.where(self.pool(np.ones(values.shape)) == 1, self.pool(values), np.nan)


def agree(coalitions: Coalitions, players: set[int]) -> None:
    """Raises UsageError where coalitions (c, players) have another number of players than the rows."""
    if players - {coalitions.shape[1]}:
        raise UsageError(f"coalitions are of {coalitions.shape[1]} players, but the rows have {sorted(players)}")


def blend(values: NDArray[Any], present: Coalitions, others: NDArray[Any], fillings: int) -> NDArray[Any]:
    """Values (r, ...) where present (r or 1, c, ...), else others (r or 1, c or 1, fillings or 1, ...).

    Returns (r * c * fillings, ...), the filling fastest.
    """
    shape = (len(values), present.shape[1], fillings, *values.shape[1:])
    out = np.empty(shape, dtype=np.result_type(values, others))
    out[...] = others
    np.copyto(out, values[:, None, None], where=present[:, :, None])
    return out.reshape(-1, *values.shape[1:])


def shared(others: NDArray[Any], draws: Ints | None) -> NDArray[Any]:
    """Fillings (f, ...) that all rows share, as `blend` reads them; draws (c, k) picks k of them for each coalition."""
    return others[None, None] if draws is None else others[draws][None]


def distinct(names: Iterable[str]) -> tuple[str, ...]:
    """The names, those that occur more than once numbered in their order: "the (1)", "the (2)"."""
    listed = list(names)
    total, seen = Counter(listed), Counter[str]()
    out = []
    for name in listed:
        seen[name] += 1
        out.append(f"{name} ({seen[name]})" if total[name] > 1 else name)
    return tuple(out)
