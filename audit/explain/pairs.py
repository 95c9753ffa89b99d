"""Playing pairs of coalitions: their values, and how much the background rows differ in what follows from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from audit.core import Floats, Ints, ModelError, Track
from audit.explain.games import MAX_BYTES, Game, value_table
from audit.explain.masking import Coalitions


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """Values (rows, pairs, 2) of each coalition and of its complement, means over fillings.

    spread (rows, outputs): standard error of a linear map of them from having drawn the fillings; None for one filling.
    shift (outputs, fillings): the sum over rows of what each filling alone gives for the absolute value of that map.
    noise (rows, pairs): variance of the odd part from each pair's own draws of fillings; None where all pairs share them.
    """

    values: Floats
    spread: Floats | None
    noise: Floats | None = None
    shift: Floats | None = None

    @property
    def odd(self) -> Floats:
        """(v(S) - v(not S)) / 2 (rows, pairs)."""
        return np.asarray((self.values[:, :, 0] - self.values[:, :, 1]) / 2)

    @property
    def even(self) -> Floats:
        """(v(S) + v(not S)) / 2 (rows, pairs)."""
        return np.asarray((self.values[:, :, 0] + self.values[:, :, 1]) / 2)


def play(
    game: Game,
    rows: Ints,
    present: Coalitions,
    *,
    linear: Floats | None = None,
    part: Literal["odd", "even"] = "odd",
    draws: Ints | None = None,
    max_bytes: int = MAX_BYTES,
    track: Track | None = None,
) -> Played:
    """The rows (r,) under the coalitions (pairs, players) and their complements.

    linear (outputs, pairs): a map of the odd or even part whose error from drawing fillings is wanted: each filling has
    values of its own, and their spread is the error. draws (pairs, k): the fillings of each pair, by default all. Raises
    ModelError for a model that does not answer masked inputs with finite numbers.
    """
    pairs, players = present.shape
    both = np.stack([present, ~present], axis=1).reshape(2 * pairs, players)
    fillings = game.masker.fillings if draws is None else draws.shape[1]
    linear = linear if fillings > 1 else None
    weights = None if linear is None else np.stack([linear, linear if part == "even" else -linear], axis=2) / 2
    place = np.zeros(len(game), dtype=np.int64)
    place[rows] = np.arange(len(rows))
    table = np.empty((len(rows), 2 * pairs))
    spread = None if linear is None else np.empty((len(rows), len(linear)))
    shift = None if linear is None else np.zeros((len(linear), fillings))
    each = np.empty(0)
    noise = None if draws is None else np.full((len(rows), pairs), np.nan)
    odd_one = np.empty(0)
    drawn, kept = None if draws is None else np.repeat(draws, 2, axis=0), 0 if linear is None else len(linear)
    blocks = value_table(game, rows, both, drawn, max_bytes=max_bytes, kept=kept)
    try:
        for block, chosen, values in blocks if track is None else track(blocks, "Shapley values"):
            here = place[block]
            table[np.ix_(here, chosen)] = values.mean(axis=2)
            if noise is not None and fillings > 1:
                odd_one = _noted(noise, here, int(chosen[0]), values, odd_one)
            if weights is None or spread is None or shift is None:
                continue
            added = weights.reshape(len(weights), -1)[:, chosen] @ values
            each = added if chosen[0] == 0 else each + added
            if chosen[-1] == 2 * pairs - 1:
                spread[here] = each.std(axis=2, ddof=1) / np.sqrt(fillings)
                shift += (np.sign(each.mean(axis=2))[:, :, None] * each).sum(axis=0)
    except ModelError as error:
        raise ModelError(f"{error} ({_asked(game)})") from error
    if not np.isfinite(table).all():
        bad = ~np.isfinite(table).all(axis=1)
        raise ModelError(f"the model's output is not finite for {bad.sum()} of {len(rows)} rows ({_asked(game)})")
    return Played(values=table.reshape(len(rows), pairs, 2), spread=spread, noise=noise, shift=shift)


def _noted(noise: Floats, here: Ints, first: int, values: Floats, before: Floats) -> Floats:
    """Writes variances of the means of half differences, and returns the values of a pair whose other half comes next."""
    if first % 2:
        values = np.concatenate([before, values], axis=1)
    whole = values.shape[1] // 2
    apart = (values[:, 0 : 2 * whole : 2] - values[:, 1 : 2 * whole : 2]) / 2
    noise[here, first // 2 : first // 2 + whole] = apart.var(axis=2, ddof=1) / values.shape[2]
    return values[:, 2 * whole :]


def _asked(game: Game) -> str:
    return f"asked for inputs of which a part is masked: filled in from {game.masker.background}"
