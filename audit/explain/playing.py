"""How the values of a game are found: blocks of bounded memory, no input asked twice where that is easily seen.

There are two ways. Any model answers filled inputs. A model that offers its linear first layer answers sums: what goes in
is the row's part plus the background's part, each of which meets the layer once, however many sums it is in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from audit.core import FirstLayer, Floats, Ints
from audit.explain.masking.base import Coalitions, Masker, summands

if TYPE_CHECKING:
    from audit.explain.games import Game

CACHE_BYTES = 2_000_000  # of filled inputs: what is read again soon stays in a core's cache
FEWEST = 4096  # inputs of a block that the cache may not lower: a batch worth its call
TALLEST = 256  # rows that share a background's part: then it costs next to nothing
REPEATED = 0.2  # share of equal inputs from which looking for them pays

Play = Callable[[Ints, Coalitions, Ints | None], Floats]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The way to play, and how many rows, coalitions and fillings at once.

    additive: a filled input is the sum of the row's part and the filling's part. alone: class to the values (1, k) that it
    has without a player, once they are known.
    """

    play: Play
    rows: int
    coalitions: int
    fillings: int
    additive: bool
    alone: dict[int, Floats] = field(default_factory=dict)


def plan(game: Game, rows: int, coalitions: Coalitions, fillings: int, max_bytes: int, kept: int = 0) -> Plan:
    """How to play (rows, coalitions, fillings) values; the sizes follow from shapes alone.

    kept: how many numbers a caller that sums over coalitions keeps of each row and filling, if more than its players.
    """
    masker, (count, players) = game.masker, coalitions.shape
    additive = summands(masker, np.zeros(0, dtype=np.int64), coalitions[:0]) is not None
    if additive and "first_layer" in game.model.offers:
        model: Any = game.model
        layer: FirstLayer = model.first_layer()
        numbers, cells = masker.width + layer.width, max(1, max_bytes // 8)
        part = max(1, min(fillings, cells // (2 * numbers)))
        # A caller that sums over coalitions keeps (rows, fillings, kept): that is bounded too.
        tall = max(1, min(rows, TALLEST, cells // max(fillings * max(players, kept), fillings + numbers)))
        each = tall * (fillings * max(1, len(model.card.classes) - 1) + numbers) + part * numbers
        wide = max(1, min(count, cells // each))
        return Plan(play=_sums(game, layer), rows=tall, coalitions=wide, fillings=part, additive=True)
    unit = 8 * masker.width
    room = max(1, min(max_bytes // unit, max(FEWEST, CACHE_BYTES // unit)))
    part = min(fillings, room)
    wide = max(1, min(count, room // part))
    tall = max(1, min(room // (part * wide), max_bytes // (8 * fillings * kept) if kept else room))
    return Plan(play=_filled(game, additive), rows=tall, coalitions=wide, fillings=part, additive=additive)


def values_of(game: Game, way: Plan, rows: Ints, coalitions: Coalitions, draws: Ints | None) -> Floats:
    """The values (r, c, k) of a block.

    With everyone present the filling does not matter: a row is asked once. With no one present a row of an additive
    masker does not: each class is asked once.
    """
    everyone = coalitions.all(axis=1)
    no_one = ~coalitions.any(axis=1) & (way.additive and draws is None)
    rest = ~(everyone | no_one)
    if rest.all():
        return _in_parts(game.masker, way, rows, coalitions, draws)
    values = np.empty((len(rows), len(coalitions), _fillings(game.masker, draws)))
    if everyone.any():
        first = None if game.masker.fillings == 1 else np.zeros((1, 1), dtype=np.int64)
        values[:, everyone] = way.play(rows, coalitions[everyone][:1], first)
    if no_one.any():
        values[:, no_one] = _alone(game, way, rows, coalitions[no_one][:1])
    if rest.any():
        drawn = None if draws is None else draws[rest]
        values[:, rest] = _in_parts(game.masker, way, rows, coalitions[rest], drawn)
    return values


def _alone(game: Game, way: Plan, rows: Ints, nobody: Coalitions) -> Floats:
    """The values (r, 1, k) of the fillings alone, kept by class for the blocks to come."""
    targets, first, again = np.unique(game.targets[rows], return_index=True, return_inverse=True)
    for target, row in zip(targets.tolist(), rows[first], strict=True):
        if target not in way.alone:
            way.alone[target] = _in_parts(game.masker, way, np.array([row]), nobody, None)[0]
    return np.stack([way.alone[target] for target in targets.tolist()])[again]


def _fillings(masker: Masker, draws: Ints | None) -> int:
    return masker.fillings if draws is None else draws.shape[1]


def _in_parts(masker: Masker, way: Plan, rows: Ints, coalitions: Coalitions, draws: Ints | None) -> Floats:
    fillings = _fillings(masker, draws)
    if fillings <= way.fillings:
        return way.play(rows, coalitions, draws)
    if draws is None:
        draws = np.broadcast_to(np.arange(fillings), (len(coalitions), fillings))
    values = np.empty((len(rows), len(coalitions), fillings))
    for start in range(0, fillings, way.fillings):
        here = slice(start, start + way.fillings)
        values[:, :, here] = way.play(rows, coalitions, draws[:, here])
    return values


def _filled(game: Game, additive: bool) -> Play:
    """Filled inputs through `predict`; the first block settles whether equal inputs are looked for in the others."""
    look = additive

    def play(rows: Ints, coalitions: Coalitions, draws: Ints | None) -> Floats:
        nonlocal look
        filled: Any = game.masker.fill(rows, coalitions, draws)
        shape = len(rows), len(coalitions), _fillings(game.masker, draws)
        if look and len(filled) > len(rows):
            first, again = distinct(filled.values)
            look = len(first) <= (1 - REPEATED) * len(filled)
            if look:
                return game.explained(game.model.predict(filled.take(first))[again], rows).reshape(shape)
        return game.explained(game.model.predict(filled), rows).reshape(shape)

    return play


def distinct(values: Floats) -> tuple[Ints, Ints]:
    """The first (m,) of each kind of equal rows of values (n, d), and which of them every row (n,) is.

    Rows are told apart by one product with fixed numbers; where that fails, none are said to be equal.
    """
    mark = np.nan_to_num(values, nan=np.pi) @ np.sin(np.arange(1.0, 1.0 + values.shape[1]) ** 2)
    _, first, again = np.unique(mark, return_index=True, return_inverse=True)
    if np.array_equal(values[first][again], values, equal_nan=True):
        return first, again
    return np.arange(len(values)), np.arange(len(values))


def _sums(game: Game, layer: FirstLayer) -> Play:
    """Sums behind the first layer: the parts of rows and of fillings go through it once."""

    def play(rows: Ints, coalitions: Coalitions, draws: Ints | None) -> Floats:
        parts = summands(game.masker, rows, coalitions, draws)
        assert parts is not None  # the plan has asked
        scores = layer.scores(layer.hidden(parts[0], bias=True), layer.hidden(parts[1]))
        flat = scores.reshape(-1, *scores.shape[3:])
        values = game.explained(flat, np.tile(rows, len(coalitions)))
        return values.reshape(scores.shape[:3]).swapaxes(0, 1)

    return play
