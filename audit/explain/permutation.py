"""Shapley values as the mean over orders in which players join, each order together with its reverse (castro2009).

The coalitions of an order and of its reverse are each other's complements, so that the mean of the two is again linear in
the odd part of the game: when a player joins S, its gain is g(S with it) - g(S).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from audit.core import Floats, Ints
from audit.explain.coalitions import Estimate
from audit.explain.masking import Coalitions


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """Orders of the players and the pairs of coalitions that they pass through, the first pair everyone.

    orders (orders, players): who joins first, second, ... pair, sign (orders, players + 1): the pair that holds the
    coalition of the first 0, 1, ... players, and -1 where it is the pair's other member.
    """

    present: Coalitions
    orders: Ints
    pair: Ints
    sign: Floats

    def estimate(self, odd: Floats, noise: Floats | None = None) -> Estimate:
        """Values and standard errors (rows, players) from g (rows, pairs): mean and spread over orders.

        noise (rows, pairs): variances of errors of g. Orders that share a pair share its error, which their spread does
        not show: what it shows of the noise is taken out, and what there is comes in.

        The error is wider than the spread by Student's factor, so that 1.96 of it cover 95 % with few orders too.
        """
        from scipy.special import stdtrit

        gains = np.diff(odd[:, self.pair] * self.sign, axis=2)  # (rows, orders, places)
        each = np.empty_like(gains)
        np.put_along_axis(each, np.broadcast_to(self.orders, gains.shape), gains, axis=2)
        count = len(self.orders)
        wider = stdtrit(count - 1, 0.975) / stdtrit(np.inf, 0.975)
        variance = each.var(axis=1, ddof=1) / count
        if noise is not None:
            shown = np.empty_like(each)
            both = noise[:, self.pair[:, :-1]] + noise[:, self.pair[:, 1:]]
            np.put_along_axis(shown, np.broadcast_to(self.orders, gains.shape), both, axis=2)
            mean = noise @ (self.matrix() ** 2).T
            variance = np.maximum(variance + (count * mean - shown.mean(axis=1)) / (count - 1), mean)
        return Estimate(values=each.mean(axis=1), error=wider * np.sqrt(variance))

    def matrix(self) -> Floats:
        """The linear map (players, pairs) from g to values."""
        found = np.zeros((self.orders.shape[1], len(self.present)))
        np.add.at(found, (self.orders, self.pair[:, 1:]), self.sign[:, 1:])
        np.subtract.at(found, (self.orders, self.pair[:, :-1]), self.sign[:, :-1])
        return found / len(self.orders)


def orders(players: int, budget: int, rng: np.random.Generator, start: Orders | None = None) -> Orders:
    """As many orders as `budget` coalitions allow, at least two; those of `start` come first."""
    count = max(2, (budget - 2) // (2 * max(players - 1, 1)))
    known = np.empty((0, players), dtype=np.int64) if start is None else start.orders
    drawn = rng.random((max(count - len(known), 0), players)).argsort(axis=1)
    every = np.concatenate([known, drawn])
    rank = every.argsort(axis=1)
    joined = rank[:, None, :] < np.arange(players + 1)[None, :, None]  # (orders, size, players)
    flat = joined.reshape(-1, players)
    flip = ~flat[:, 0]
    flat = np.where(flip[:, None], ~flat, flat)
    place: dict[bytes, int] = {np.ones(players, dtype=bool).tobytes(): 0}
    pair = np.array([place.setdefault(row.tobytes(), len(place)) for row in flat], dtype=np.int64)
    present = np.array([np.frombuffer(key, dtype=bool) for key in place])
    shape = (len(every), players + 1)
    return Orders(
        present=present, orders=every, pair=pair.reshape(shape), sign=np.where(flip, -1.0, 1.0).reshape(shape)
    )
