"""What would have changed the decision: the nearest feasible changes of a row, several that differ, checked by the model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from audit.core import Cell, Floats, Ints, UsageError
from audit.data.tabular import Tabular
from audit.explain.actions import Scale, actions_of
from audit.explain.features import in_words, said
from audit.explain.games import MAX_BYTES, Game, Link
from audit.explain.search import Favourable, Flags, Points, Search, joined

if TYPE_CHECKING:
    import pandas as pd

ALREADY = "decided favourably as it is"
BLOCK = 512  # rows searched together, fewer where the background is large
NEAREST = 4  # points of a row that are improved at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class Counterfactuals:
    """Changed versions of rows that the model decides the other way, the cheapest first.

    inputs (rows,): the rows as they are. changed[k]: the k-th version of every row, as inputs; where found (rows, count)
    is False it is the row itself. cost (rows, count): the price of the change, NaN where there is none; by_player (rows,
    count, players): its parts. before (rows,), outputs (rows, count): the model's answers.
    reasons: why a row has no change, "" where it has one. unsettled (rows,): whether a row has none and its search was
    stopped at its limit, so that a change of more features may exist. unit: the price of one unit of each player that is a number (of
    a change, where it is none). evaluations: rows that the model was asked for.
    """

    inputs: Tabular
    changed: tuple[Tabular, ...]
    found: Flags
    cost: Floats
    by_player: Floats
    before: Floats
    outputs: Floats
    reasons: tuple[str, ...]
    unsettled: Flags
    players: tuple[str, ...]
    columns: tuple[tuple[str, ...], ...]
    unit: Mapping[str, float]
    immutable: tuple[str, ...]
    monotone: Mapping[str, int]
    threshold: float
    favourable: Favourable
    link: Link
    scale: Scale
    background: str
    evaluations: int

    @property
    def sparsity(self) -> Floats:
        """How many players the cheapest change of each row (rows,) moves; NaN where there is none."""
        moved = (self.by_player[:, 0] > 0).sum(axis=1)
        return np.where(self.found[:, 0], moved, np.nan)

    def words(self, row: int, place: int = 0) -> str:
        """One change in words, `income: 1.2 to 2.5`; where there is none, why."""
        if not self.found[row, place]:
            return self.reasons[row] or "no further change that differs"
        new = self.changed[place]
        names = [name for player in np.flatnonzero(self.by_player[row, place] > 0) for name in self.columns[player]]
        pairs = [(name, seen(self.inputs, row, name), seen(new, row, name)) for name in names]
        return "; ".join(f"{name}: {in_words(old)} to {in_words(now)}" for name, old, now in pairs if old != now)

    def frame(self) -> pd.DataFrame:
        """A pandas frame: one line for each change found, with row, place, cost, output and the changed inputs."""
        import pandas as pd

        row, place = np.nonzero(self.found)
        values = np.array([self.changed[k].values[r] for r, k in zip(row, place, strict=True)])
        shown = self.inputs.with_values(values.reshape(len(row), len(self.inputs.columns))).frame()
        told = {"row": row, "place": place, "cost": self.cost[row, place], "output": self.outputs[row, place]}
        return pd.concat([pd.DataFrame(told), shown], axis=1)


def counterfactuals(
    game: Game,
    *,
    threshold: float = 0.5,
    favourable: Favourable = "high",
    immutable: Iterable[str] = (),
    monotone: Mapping[str, int] | None = None,
    weights: Mapping[str, float] | None = None,
    scale: Scale = "mad",
    count: int = 3,
    tries: int = 16,
) -> Counterfactuals:
    """The cheapest feasible change of every row that the model decides favourably, and others that differ from it.

    The search starts from favourably decided background rows and from single best steps, takes every change back as far as
    the decision holds, and exchanges one feature for another; no gradient is needed and nothing is drawn. What it finds
    is feasible and checked by the model; a cheaper change may exist, except for models that are linear in their log-odds.

    threshold: in the unit of the game's link; an answer at it counts as above. favourable: the good side. immutable:
    players that stay. monotone: +1 for a number that may only rise, -1 fall. weights: how dear a player is beside the
    others (1). scale: a number's unit of price is its median absolute deviation ("mad") or its shift in rank
    ("quantile"); another category costs 1. Numbers stay within what the background shows, whole numbers stay whole, and
    categories become ones that were seen. count: changes a row at most. tries: values of a number tried at each step.
    Raises NotApplicable for inputs that are no table, UsageError. (wachter2017, ustun2019, mothilal2020)
    """
    if favourable not in ("high", "low"):
        raise UsageError(f'favourable: "high" or "low", got {favourable!r}')
    if count < 1:
        raise UsageError(f"count: at least 1 change a row, got {count}")
    immutable, monotone = tuple(immutable), dict(monotone or {})
    acts = actions_of(game, immutable=immutable, monotone=monotone, weights=weights, scale=scale, tries=tries)
    search = Search(game=game, actions=acts, threshold=threshold, favourable=favourable)
    everyone = np.arange(len(game))
    before = search.answers(Points(values=search.origin, owner=everyone))
    wanted = everyone[~search.good(before) & bool(len(acts.place))]
    picked: dict[int, tuple[Floats, Floats]] = {}
    block = max(1, min(BLOCK, 4 * MAX_BYTES // (8 * search.people * len(game.masker.inputs.columns))))
    for at in range(0, len(wanted), block):
        picked |= _pick(search, candidates(search, wanted[at : at + block]), count)
    return _result(search, before, picked, count, immutable, monotone, scale)


def candidates(search: Search, rows: Ints) -> Points:
    """Favourable points of rows (r,), improved, in no order; a row may have none."""
    free = np.zeros((len(rows), len(search.actions.names)), dtype=np.bool_)
    parts = [search.from_people(rows)]
    parts += [search.nearest(search.greedy(rows, free, by=by), NEAREST) for by in ("ratio", "gain")]
    barred = free.copy()
    for _ in range(2):  # without the features that matter most, others show themselves
        best = search.nearest(joined(parts), 1)
        here = np.searchsorted(rows, best.owner)
        barred[here, search.price(best).argmax(axis=1)] = True
        parts.append(search.nearest(search.greedy(rows, barred, by="ratio"), NEAREST))
    parts = [search.pull_back(joined(parts))]
    for _ in range(2):
        swapped = search.exchange(search.nearest(joined(parts), 1))
        parts.append(search.pull_back(swapped))
    return joined(parts)


def _pick(search: Search, points: Points, count: int) -> dict[int, tuple[Floats, Floats]]:
    """Row to its changes (k, columns) and their outputs (k,): the cheapest, then those furthest from it for their price."""
    # Asked once more, for the answers that are reported: what does not hold the second time is no change.
    outputs = search.answers(points)
    kept = search.good(outputs)
    points, outputs = points[kept], outputs[kept]
    total = search.price(points).sum(axis=1)
    picked: dict[int, tuple[Floats, Floats]] = {}
    for row in np.unique(points.owner):
        here = np.flatnonzero(points.owner == row)
        here = here[np.argsort(total[here], kind="stable")]
        chosen = [int(here[0])]
        away = np.full(len(here), np.inf)
        while len(chosen) < count:
            last = np.broadcast_to(points.values[chosen[-1]], (len(here), points.values.shape[1]))
            away = np.minimum(away, search.actions.cost(points.values[here], last).sum(axis=1))
            worth = np.where(away > 0.1 * total[here[0]], away / np.maximum(total[here], 1e-300), 0.0)
            if not worth.max() > 0:
                break
            chosen.append(int(here[worth.argmax()]))
        chosen[1:] = sorted(chosen[1:], key=lambda each: float(total[each]))
        picked[int(row)] = (points.values[chosen], outputs[chosen])
    return picked


def _result(
    search: Search,
    before: Floats,
    picked: Mapping[int, tuple[Floats, Floats]],
    count: int,
    immutable: tuple[str, ...],
    monotone: Mapping[str, int],
    scale: Scale,
) -> Counterfactuals:
    acts, inputs = search.actions, search.game.masker.inputs
    rows = len(inputs)
    values = np.repeat(inputs.values[:, None], count, axis=1)
    found = np.zeros((rows, count), dtype=np.bool_)
    outputs = np.full((rows, count), np.nan)
    for row, (versions, answers) in picked.items():
        size = len(versions)
        values[row, :size], found[row, :size], outputs[row, :size] = versions, True, answers
    each = Points(values=values.reshape(rows * count, -1), owner=np.repeat(np.arange(rows), count))
    parts = search.price(each).reshape(rows, count, -1)
    columns = tuple(tuple(np.array(inputs.columns)[held].tolist()) for held in acts.membership)
    good, tried = search.good(before), len(acts.place)
    none = f"no feasible change found: {tried} values and {search.people} people were tried"
    if acts.fixed.all():
        none = "no feature may change"
    unsettled = ~found[:, 0] & ~good & np.isin(np.arange(rows), list(search.short))
    limit = f"the search stopped after {search.depth} steps: a change of more features may exist"
    reasons = np.where(found[:, 0], "", np.where(good, ALREADY, np.where(unsettled, limit, none)))
    return Counterfactuals(
        inputs=inputs,
        changed=tuple(inputs.with_values(values[:, place]) for place in range(count)),
        found=found,
        cost=np.where(found, parts.sum(axis=2), np.nan),
        by_player=parts,
        before=before,
        outputs=outputs,
        reasons=tuple(reasons.tolist()),
        unsettled=unsettled,
        players=acts.names,
        columns=columns,
        unit=dict(zip(acts.names, np.where(acts.numeric, acts.unit, acts.jump).tolist(), strict=True)),
        immutable=immutable,
        monotone=monotone,
        threshold=search.threshold,
        favourable=search.favourable,
        link=search.game.link,
        scale=scale,
        background=search.game.masker.background,
        evaluations=search.asked,
    )


def seen(inputs: Tabular, row: int, column: str) -> Cell:
    """What a row holds in a column, as a person reads it."""
    place = inputs.columns.index(column)
    return said(inputs, place, float(inputs.values[row, place]))
