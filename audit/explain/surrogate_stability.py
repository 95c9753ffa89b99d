"""How far a local surrogate depends on its seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from audit.core import Floats, Track, UsageError
from audit.explain.attribution import Attribution
from audit.explain.games import Game
from audit.explain.surrogate import lime
from audit.stats.intervals import mean_interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Stability:
    """Attributions of the same rows under several seeds.

    mean, sd (rows, most players): of a player's values over seeds. low, high: Student's t interval of the mean over all
    seeds there could be (student1908). sign: the share of seeds with the sign that most have. agreement (rows,): of the
    `top` players with the largest absolute values, the share that two seeds have in common, on average over all pairs of
    seeds (visani2022). All are NaN where a row has no such player or is undefined.
    """

    mean: Floats
    sd: Floats
    low: Floats
    high: Floats
    sign: Floats
    agreement: Floats
    top: int
    seeds: int
    level: float


def stability(
    game: Game,
    *,
    explain: Callable[..., Attribution] = lime,
    seeds: int = 10,
    top: int = 5,
    level: float = 0.95,
    seed: int = 0,
    track: Track | None = None,
) -> Stability:
    """Explains the rows `seeds` times and compares (visani2022).

    explain: any explainer, called as explain(game, seed=...); bind its options with functools.partial. The seeds are
    seed, seed + 1, ... Raises UsageError for fewer than 2 seeds or top < 1.
    """
    if seeds < 2:
        raise UsageError(f"seeds: at least 2 are needed to compare, got {seeds}")
    if top < 1:
        raise UsageError(f"top: at least 1, got {top}")
    runs = range(seed, seed + seeds)
    found = [explain(game, seed=each).values for each in (runs if track is None else track(runs, "seeds", seeds))]
    values = np.stack(found)
    mean, sd = values.mean(axis=0), values.std(axis=0, ddof=1)
    low, high = np.apply_along_axis(mean_interval, 0, values, level)
    share = np.maximum((values > 0).sum(axis=0), (values < 0).sum(axis=0)) / seeds
    nothing = (values == 0).all(axis=0)
    return Stability(
        mean=mean,
        sd=sd,
        low=low,
        high=high,
        sign=np.where(np.isnan(mean), np.nan, np.where(nothing, 1.0, share)),
        agreement=_agreement(values, top),
        top=top,
        seeds=seeds,
        level=level,
    )


def _agreement(values: Floats, top: int) -> Floats:
    """The mean share (rows,) of the top players that two of the seeds (seeds, rows, players) have in common.

    A player that is among them under c seeds is common to c (c - 1) / 2 of the pairs. Ties go to the first player.
    """
    seeds, rows, _ = values.shape
    there = ~np.isnan(values)
    size = np.minimum(there.all(axis=0).sum(axis=1), top)
    order = np.argsort(np.where(there, -np.abs(values), np.inf), axis=2, kind="stable")[:, :, :top]
    among = np.zeros(values.shape, dtype=bool)
    np.put_along_axis(among, order, True, axis=2)
    times = (among & there).sum(axis=0)
    common = (times * (times - 1)).sum(axis=1)
    return np.asarray(np.divide(common, seeds * (seeds - 1) * size, out=np.full(rows, np.nan), where=size > 0))
