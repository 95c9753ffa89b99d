"""The search for the cheapest feasible change that turns a decision: no gradients, no random numbers, all rows at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from audit.core import Floats, Ints
from audit.explain.actions import Actions
from audit.explain.games import MAX_BYTES, Game
from audit.explain.masking.tabular import TabularMasker

Flags = NDArray[np.bool_]
Favourable = Literal["high", "low"]
NEAR = 4  # approved background rows that a search starts from
DEEP = 10  # steps that one search takes at least, where they lead on
TRIALS = 8192  # single changes of a row that one search asks about, beyond that
HALVINGS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Points:
    """Inputs (m, columns), each a changed version of the row (m,) that owns it."""

    values: Floats
    owner: Ints

    def __len__(self) -> int:
        return len(self.owner)

    def __getitem__(self, which: Flags | Ints | slice) -> Points:
        return Points(values=self.values[which], owner=self.owner[which])


def joined(parts: list[Points]) -> Points:
    """All the points, one after the other."""
    return Points(
        values=np.concatenate([part.values for part in parts]), owner=np.concatenate([part.owner for part in parts])
    )


@dataclass(slots=True, kw_only=True)
class Search:
    """The rows of a game (rows,), what may change, and the line to cross.

    asked counts the model's answers; short: the rows whose search was stopped while further steps still led on.
    """

    game: Game
    actions: Actions
    threshold: float
    favourable: Favourable
    asked: int = field(default=0)
    short: set[int] = field(default_factory=set)

    @property
    def origin(self) -> Floats:
        """The rows (n, columns) as they are."""
        return self._masker.inputs.values

    @property
    def depth(self) -> int:
        """How many steps one search takes: two a feature, fewer where each of them asks for much."""
        return min(2 * len(self.actions.names), max(DEEP, TRIALS // max(1, len(self.actions.place))))

    @property
    def people(self) -> int:
        """How many background rows there are to start from."""
        return len(self._masker.rows)

    @property
    def _masker(self) -> TabularMasker:
        masker = self.game.masker
        assert isinstance(masker, TabularMasker)
        return masker

    def answers(self, points: Points) -> Floats:
        """The explained output (m,), in batches of bounded memory."""
        masker = self._masker
        step = max(1, MAX_BYTES // (8 * masker.width))
        self.asked += len(points)
        parts = [
            self.game.answer(masker.inputs.with_values(points.values[at : at + step]), points.owner[at : at + step])
            for at in range(0, len(points), step)
        ]
        return np.concatenate([np.zeros(0), *parts])

    def good(self, answers: Floats) -> Flags:
        """Whether answers (m,) lie on the favourable side; the threshold itself counts as above."""
        return np.asarray(answers >= self.threshold if self.favourable == "high" else answers < self.threshold)

    def progress(self, answers: Floats) -> Floats:
        """How far answers (m,) are towards the favourable side; probabilities as log-odds, where models are most linear."""
        sign = 1.0 if self.favourable == "high" else -1.0
        if self.game.scale == "probability":
            inside = np.clip(answers, 1e-12, 1 - 1e-12)
            return np.asarray(sign * (np.log(inside) - np.log1p(-inside)))
        return sign * answers

    def price(self, points: Points) -> Floats:
        """Price (m, players) of every point."""
        return self.actions.cost(points.values, self.origin[points.owner])

    # ------------------------------------------------------------------------------------- where to start
    def from_people(self, rows: Ints) -> Points:
        """The nearest background rows that are decided favourably, with what may not change taken from the row itself."""
        seen = self._masker.rows.values
        owner = np.repeat(rows, len(seen))
        values, origin = np.tile(seen, (len(rows), 1)), self.origin[owner]
        keep = ~self.actions.allowed(values, origin) | np.isnan(values) @ self.actions.membership.T
        points = Points(values=np.where(keep @ self.actions.membership, origin, values), owner=owner)
        points = points[self.good(self.answers(points))]
        return self.nearest(points, NEAR)

    def nearest(self, points: Points, count: int) -> Points:
        """The `count` cheapest points of every row, the cheapest first."""
        total = self.price(points).sum(axis=1)
        order = np.lexsort((np.arange(len(points)), total, points.owner))
        owner = points.owner[order]
        first = np.flatnonzero(np.diff(owner, prepend=-1))
        rank = np.arange(len(owner)) - np.repeat(first, np.diff(np.append(first, len(owner))))
        return points[order[rank < count]]

    def greedy(self, rows: Ints, barred: Flags, *, by: str) -> Points:
        """Favourable points found by changing one feature after the other, each by the best step.

        barred (rows, players): what is left alone. by: "ratio" takes the step that gains most for its price, which is
        optimal for a linear model; "gain" the step that gains most, which reaches the threshold wherever steps add up.
        """
        now, bars = Points(values=self.origin[rows], owner=rows), barred
        found = [now[:0]]
        for _ in range(self.depth):
            crossed, now, bars = self.step(now, bars, by)
            found.append(crossed)
            if not len(now):
                break
        self.short.update(now.owner.tolist())
        return joined(found)

    def step(self, now: Points, barred: Flags, by: str) -> tuple[Points, Points, Flags]:
        """All single changes tried: the favourable ones (nearest a feature), and the points one best step further."""
        acts = self.actions
        block = max(1, MAX_BYTES // (8 * self._masker.width * max(1, len(acts.place))))
        parts = [self._step(now[at], barred[at], by) for at in _slices(len(now), block)]
        if not parts:
            return now, now, barred
        return (
            joined([part[0] for part in parts]),
            joined([part[1] for part in parts]),
            np.concatenate([part[2] for part in parts]),
        )

    def _step(self, now: Points, barred: Flags, by: str) -> tuple[Points, Points, Flags]:
        acts, size, tries = self.actions, len(now), len(self.actions.place)
        held = acts.membership[acts.place]
        values = np.where(held[None], acts.tried[None], now.values[:, None]).reshape(size * tries, -1)
        after = Points(values=values, owner=np.repeat(now.owner, tries))
        origin = self.origin[after.owner]
        place = np.tile(acts.place, size)
        each = np.arange(len(place))
        may = acts.allowed(values, origin)[each, place] & ~np.repeat(barred, tries, axis=0)[each, place]
        price = self.price(after)[each, place].reshape(size, tries)
        answers = self.answers(after)
        may = may.reshape(size, tries)
        good = self.good(answers).reshape(size, tries) & may
        gain = self.progress(answers).reshape(size, tries) - self.progress(self.answers(now))[:, None]
        dearer = price - self.price(now)[:, acts.place]
        useful = may & (gain > 1e-12)
        worth = np.where(useful, gain / np.maximum(dearer, 1e-9) if by == "ratio" else gain, -np.inf)
        # Steps of one feature are worth the same in a linear model: of those the longest is taken.
        best = np.where(worth >= worth.max(axis=1, keepdims=True) * (1 - 1e-6), gain, -np.inf)
        pick = best.argmax(axis=1)
        row = np.arange(size)
        first = _cheapest(good, price, acts.place)
        crossed = self._pull(after[first], place[first])
        on = useful.any(axis=1) & ~good[row, pick]
        return crossed, after[(row * tries + pick)[on]], barred[on]

    # ------------------------------------------------------------------------------------- how to improve
    def pull_back(self, points: Points) -> Points:
        """Favourable points, each feature in turn taken back as far towards the row itself as the decision allows.

        Every point twice: with the dearest change taken back first, and with the cheapest.
        """
        both = joined([points, points])
        sign = np.repeat([-1.0, 1.0], len(points))[:, None]
        for halve in (False, True):  # what can go altogether goes first: few changes are better than many small ones
            price = self.price(both)
            order = np.argsort(np.where(price > 0, sign * price, np.inf), axis=1, kind="stable")
            for place in range(int((price > 0).sum(axis=1).max(initial=0))):
                both = self._pull(both, order[:, place], halve=halve)
        return both

    def _pull(self, points: Points, player: Ints, *, halve: bool = True) -> Points:
        """Feature player (m,) of each point taken back altogether, or (halve) as far as will do where it is a number."""
        each = np.arange(len(points))
        moved = np.flatnonzero(self.price(points)[each, player] > 0)
        if not len(moved):
            return points
        held = self.actions.membership[player]
        origin = self.origin[points.owner]
        values = points.values.copy()
        back = Points(values=np.where(held, origin, values)[moved], owner=points.owner[moved])
        fine = self.good(self.answers(back))
        values[moved[fine]] = back.values[fine]
        left = moved[~fine & self.actions.numeric[player[moved]] & halve]
        column = held.argmax(axis=1)
        left = left[~np.isnan(origin[left, column[left]])]
        low, high = origin[left, column[left]], values[left, column[left]]
        whole = self.actions.whole[player[left]]
        for _ in range(HALVINGS if len(left) else 0):
            middle = (low + high) / 2
            middle = np.where(whole, np.where(high > low, np.ceil(middle), np.floor(middle)), middle)
            if (middle == high).all():
                break
            trial = values[left]
            trial[np.arange(len(left)), column[left]] = middle
            fine = self.good(self.answers(Points(values=trial, owner=points.owner[left])))
            # A whole number next to the one that is known to do cannot be halved further.
            stuck = middle == high
            high, low = np.where(fine, middle, high), np.where(fine | stuck, low, middle)
        values[left, column[left]] = high
        return Points(values=values, owner=points.owner)

    def exchange(self, points: Points) -> Points:
        """Points in which one changed feature went back and another took its place, where the decision holds."""
        changed = self.price(points) > 0
        which, player = np.nonzero(changed)
        if not len(which):
            return points[:0]
        held = self.actions.membership[player]
        values = np.where(held, self.origin[points.owner[which]], points.values[which])
        barred = np.zeros((len(which), changed.shape[1]), dtype=np.bool_)
        barred[np.arange(len(which)), player] = True
        crossed, _, _ = self.step(Points(values=values, owner=points.owner[which]), barred, "ratio")
        return self.nearest(crossed, NEAR)


def _slices(size: int, block: int) -> list[Ints]:
    return [np.arange(at, min(at + block, size)) for at in range(0, size, block)]


def _cheapest(good: Flags, price: Floats, place: Ints) -> Ints:
    """Flat positions of the cheapest good try of every row and player."""
    tries = good.shape[1]
    row, at = np.nonzero(good)
    order = np.lexsort((price[row, at], place[at], row))
    row, at = row[order], at[order]
    first = np.ones(len(row), dtype=np.bool_)
    first[1:] = (row[1:] != row[:-1]) | (place[at][1:] != place[at][:-1])
    return np.asarray((row * tries + at)[first])
