"""What a person could change, how far, and what it costs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from audit.core import Floats, Ints, NotApplicable, UsageError, suggest
from audit.data.tabular import Tabular
from audit.explain.games import Game
from audit.explain.masking.tabular import TabularMasker

Scale = Literal["mad", "quantile"]
LEAST = 1e-6  # the least price of a change, beside that of another category
MOST_BLOCKS = 32  # different contents of a group of columns that are tried


@dataclass(frozen=True, slots=True, kw_only=True)
class Actions:
    """The changes that are feasible, and their price; all arrays run over players unless said otherwise.

    membership (players, columns): the columns of each. numeric: one column of numbers. whole: of whole numbers only. fixed:
    may not change. way: +1 may only rise, -1 only fall, 0 either. unit: price of one unit of a number; jump: of a change of
    what is no number. ranks: every player's sorted values where the price is the shift in rank (the share of people passed by), else none. place, tried
    (tries,), (tries, columns): the player that each value to try is for, and the value in that player's columns.
    """

    names: tuple[str, ...]
    membership: NDArray[np.bool_]
    numeric: NDArray[np.bool_]
    whole: NDArray[np.bool_]
    fixed: NDArray[np.bool_]
    way: Ints
    unit: Floats
    jump: Floats
    ranks: tuple[Floats, ...]
    place: Ints
    tried: Floats

    def cost(self, values: Floats, origin: Floats) -> Floats:
        """Price (m, players) of each player's change from origin (m, columns) to values (m, columns)."""
        both = np.isnan(values) & np.isnan(origin)
        differs = ((values != origin) & ~both) @ self.membership.T > 0
        price = np.where(differs, self.jump, 0.0)
        for player in np.flatnonzero(self.numeric).tolist():
            column = int(self.membership[player].argmax())
            step = np.abs(np.subtract(*(self._scaled(each[:, column], player) for each in (values, origin))))
            # Between a gap and a number there is no distance: it costs what a change of a category costs.
            # Nothing is free, not even beyond the ranks that were seen.
            paid = np.where(np.isnan(step), self.jump[player], step * self.unit[player])
            paid = np.maximum(paid, LEAST * self.jump[player])
            price[:, player] = np.where(differs[:, player], paid, 0.0)
        return price

    def _scaled(self, numbers: Floats, player: int) -> Floats:
        if not self.ranks:
            return numbers
        known, times = np.unique(self.ranks[player], return_counts=True)
        if not len(known):
            return np.where(np.isnan(numbers), np.nan, 0.0)
        middle = (np.cumsum(times) - times / 2) / times.sum()
        return np.where(np.isnan(numbers), np.nan, np.interp(numbers, known, middle))

    def allowed(self, values: Floats, origin: Floats) -> NDArray[np.bool_]:
        """Whether each player (m, players) may have what values (m, columns) give it, starting from origin."""
        may = np.broadcast_to(~self.fixed, (len(values), len(self.names))).copy()
        for player in np.flatnonzero(self.way != 0):
            column = int(self.membership[player].argmax())
            step = (values[:, column] - origin[:, column]) * self.way[player]
            may[:, player] &= ~(step < 0)
        return may


def actions_of(
    game: Game,
    *,
    immutable: Iterable[str] = (),
    monotone: Mapping[str, int] | None = None,
    weights: Mapping[str, float] | None = None,
    scale: Scale = "mad",
    tries: int = 16,
) -> Actions:
    """The feasible changes of a game's inputs, learnt from its background.

    See `counterfactuals` for the options. Raises NotApplicable for inputs that are no table, UsageError.
    """
    masker = game.masker
    if not isinstance(masker, TabularMasker):
        raise NotApplicable(f"changes are sought in tables, not in {type(masker.inputs).__name__}")
    if scale not in ("mad", "quantile"):
        raise UsageError(f'scale: "mad" or "quantile", got {scale!r}')
    if tries < 2:
        raise UsageError(f"tries: at least 2 values of a feature, got {tries}")
    names, membership, seen = masker.names, masker.membership, masker.rows
    way = np.zeros(len(names), dtype=np.int64)
    numeric = _numeric(seen, membership)
    for name, sign in (monotone or {}).items():
        place = _place(name, names, "monotone")
        if sign not in (-1, 1) or not numeric[place]:
            raise UsageError(f"monotone: +1 or -1 for a feature that is one number, got {sign!r} for {name!r}")
        way[place] = sign
    fixed = np.zeros(len(names), dtype=np.bool_)
    fixed[[_place(name, names, "immutable") for name in immutable]] = True
    price = _weights(weights or {}, names)
    blocks = [_blocks(seen, membership[player], bool(numeric[player]), tries) for player in range(len(names))]
    return Actions(
        names=names,
        membership=membership,
        numeric=numeric,
        whole=numeric & np.array([_column(seen, held) in seen.integers for held in membership]),
        fixed=fixed,
        way=way,
        unit=_units(seen, membership, numeric, scale) * price,
        jump=price,
        ranks=tuple(_ranks(seen, held) for held in membership) if scale == "quantile" else (),
        place=np.repeat(np.arange(len(names)), [0 if fixed[k] else len(block) for k, block in enumerate(blocks)]),
        tried=np.concatenate([np.zeros((0, len(seen.columns)))] + [b for k, b in enumerate(blocks) if not fixed[k]]),
    )


def _place(name: str, names: Sequence[str], option: str) -> int:
    if name not in names:
        raise UsageError(f"{option}: allowed: {', '.join(names)}; got {name!r}{suggest(name, names)}")
    return list(names).index(name)


def _weights(weights: Mapping[str, float], names: Sequence[str]) -> Floats:
    out = np.ones(len(names))
    for name, weight in weights.items():
        if not (np.isfinite(weight) and weight > 0):
            raise UsageError(f"weights: a positive number a feature, got {weight!r} for {name!r}")
        out[_place(name, names, "weights")] = weight
    return out


def _column(seen: Tabular, held: NDArray[np.bool_]) -> str:
    return seen.columns[int(held.argmax())]


def _numeric(seen: Tabular, membership: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return np.array([held.sum() == 1 and _column(seen, held) not in seen.categories for held in membership])


def _ranks(seen: Tabular, held: NDArray[np.bool_]) -> Floats:
    numbers = seen.values[:, int(held.argmax())]
    return np.sort(numbers[~np.isnan(numbers)])


def _units(seen: Tabular, membership: NDArray[np.bool_], numeric: NDArray[np.bool_], scale: Scale) -> Floats:
    """Price of one unit: 1 / median absolute deviation, the mean one where more than half are equal (wachter2017)."""
    unit = np.ones(len(membership))
    if scale == "quantile":
        return unit
    for player in np.flatnonzero(numeric):
        numbers = _ranks(seen, membership[player])
        if not len(numbers):
            continue
        away = np.abs(numbers - np.median(numbers))
        typical = float(np.median(away)) or float(away.mean())
        unit[player] = 1 / typical if typical > 0 else 1.0
    return unit


def _blocks(seen: Tabular, held: NDArray[np.bool_], numeric: bool, tries: int) -> Floats:
    """Values (k, columns) to try: of a number spread over what was seen, of anything else its commonest contents."""
    blocks = np.zeros((0, len(seen.columns)))
    content = seen.values[:, held]
    content = content[~np.isnan(content).any(axis=1)]
    if not len(content):
        return blocks
    different, times = np.unique(content, axis=0, return_counts=True)
    if numeric and len(different) > tries:
        spread = np.quantile(content[:, 0], np.linspace(0, 1, tries), method="inverted_cdf")
        different = np.unique(spread)[:, None]
    elif not numeric:
        different = different[np.argsort(-times, kind="stable")[:MOST_BLOCKS]]
    blocks = np.zeros((len(different), len(seen.columns)))
    blocks[:, held] = different
    return blocks
