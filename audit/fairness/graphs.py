"""Groups in a network: who is tied to whom, and who is predicted to be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike

from audit import stats
from audit.core import ALL, Cell, Codes, Context, DataError, Evidence, Floats, Graph, Ints, Measure, Subject, Table
from audit.fairness.individual import mean_measure
from audit.fairness.measures import bounded, measured
from audit.registry import check

SHUFFLES = 1000  # of the groups over the nodes, for the homophily expected by chance


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Mixing:
    """Undirected ties by the groups of their ends, only pairs that occur: first, second <= places (k,), ties (k,).

    nodes (g,): size of each group. Ties with an end of unknown group are left out, and counted in `unknown`.
    """

    levels: tuple[str, ...]
    first: Ints
    second: Ints
    ties: Ints
    nodes: Ints
    unknown: int

    @property
    def total(self) -> int:
        """Ties between nodes of known group."""
        return int(self.ties.sum())

    @property
    def same(self) -> int:
        """Ties within a group."""
        return int(self.ties[self.first == self.second].sum())

    @property
    def ends(self) -> Ints:
        """Ends of ties in each group (g,): the sum of its nodes' degrees among known ties."""
        size = len(self.levels)
        both = np.bincount(self.first, self.ties, size) + np.bincount(self.second, self.ties, size)
        return np.asarray(both, dtype=np.int64)


def undirected(edges: ArrayLike, nodes: int) -> Ints:
    """Each tie once (m, 2), the smaller node first; self-loops, direction and repeats are dropped. Raises DataError."""
    pairs = np.asarray(edges)
    if pairs.size == 0:
        return np.empty((0, 2), dtype=np.int64)
    if pairs.ndim != 2 or pairs.shape[1] != 2 or pairs.dtype.kind not in "iu":
        raise DataError(f"edges: allowed are whole numbers (m, 2), got {pairs.dtype} of shape {pairs.shape}")
    if pairs.min() < 0 or pairs.max() >= nodes:
        raise DataError(f"edges: allowed are nodes 0 to {nodes - 1}, got {pairs.min()} to {pairs.max()}")
    code = np.unique(pairs.min(axis=1).astype(np.int64) * nodes + pairs.max(axis=1))
    found = np.column_stack([code // nodes, code % nodes])
    return np.asarray(found[found[:, 0] != found[:, 1]])


def mixing(edges: ArrayLike, codes: Codes) -> Mixing:
    """Ties counted by the groups of their two ends; edges (m, 2) as for `undirected` (newman2003)."""
    pairs, size = undirected(edges, len(codes)), len(codes.levels)
    ends = codes.values[pairs].astype(np.int64)
    known = (ends < size).all(axis=1)
    code, ties = np.unique(ends[known].min(axis=1) * size + ends[known].max(axis=1), return_counts=True)
    return Mixing(
        levels=codes.levels,
        first=code // max(size, 1),
        second=code % max(size, 1),
        ties=ties,
        nodes=np.bincount(codes.values, minlength=size + 1)[:size],
        unknown=int((~known).sum()),
    )


def edge_homophily(mixed: Mixing) -> float:
    """The share of ties within a group; NaN without ties (zhu2020)."""
    return float(stats.divide(mixed.same, mixed.total))


def chance_homophily(mixed: Mixing) -> float:
    """The edge homophily to be expected were the groups shuffled over the nodes; NaN below two nodes."""
    n = float(mixed.nodes.sum())
    return float(stats.divide((mixed.nodes * (mixed.nodes - 1.0)).sum(), n * (n - 1.0)))


def class_insensitive_homophily(mixed: Mixing) -> float:
    """Mean excess over its size of each group's share of ties at home, 0 = none, 1 = all; NaN below two groups (lim2021)."""
    nodes, ends = mixed.nodes.astype(np.float64), mixed.ends
    if (nodes > 0).sum() < 2:
        return float("nan")
    home = stats.divide(2.0 * within(mixed), ends, 0.0)
    excess = np.maximum(home - nodes / nodes.sum(), 0.0)[nodes > 0]
    return float(excess.sum() / (len(excess) - 1))


def within(mixed: Mixing) -> Ints:
    """Ties inside each group (g,)."""
    inside = mixed.first == mixed.second
    return np.bincount(mixed.first[inside], mixed.ties[inside], len(mixed.levels)).astype(np.int64)


def assortativity(mixed: Mixing, level: float = 0.95) -> tuple[float, float, float]:
    """Newman's coefficient of assortative mixing with its jackknife interval over ties (newman2003).

    1 = ties only within groups, 0 = as by chance given the degrees. NaN where all ties are in one group or there are none.
    """
    m, same, ends = float(mixed.total), float(mixed.same), mixed.ends.astype(np.float64)
    squares = float((ends**2).sum())
    r = float(_coefficient(same, squares, m))
    if m < 3 or np.isnan(r):
        return r, np.nan, np.nan
    inside = mixed.first == mixed.second
    # what is left when one tie of each kind is taken away: two ends of one group, or one end of each of two
    lost = np.where(
        inside,
        squares - 4 * ends[mixed.first] + 4,
        squares - 2 * ends[mixed.first] - 2 * ends[mixed.second] + 2,
    )
    without = _coefficient(same - inside, lost, m - 1)
    if np.isnan(without).any():
        return r, np.nan, np.nan
    error = np.sqrt((m - 1) / m * float(mixed.ties @ (without - mixed.ties @ without / m) ** 2))
    half = stats.z_quantile(level) * error
    return r, max(-1.0, r - half), min(1.0, r + half)


def _coefficient(same: ArrayLike, squares: ArrayLike, m: float) -> Floats:
    chance = np.asarray(squares, dtype=np.float64) / (4.0 * m * m) if m else np.nan
    spread = np.where(np.asarray(1.0 - chance) > 1e-14, 1.0 - chance, 0.0)
    return stats.divide(np.asarray(same, dtype=np.float64) / m - chance if m else np.nan, spread)


def degrees(edges: ArrayLike, nodes: int) -> Ints:
    """How many ties each node (n,) has."""
    return np.bincount(undirected(edges, nodes).ravel(), minlength=nodes)


def homophily_p(edges: ArrayLike, codes: Codes, rng: np.random.Generator, shuffles: int = SHUFFLES) -> float:
    """Two-sided permutation p of the edge homophily: the groups of the known nodes are shuffled (phipson2010)."""
    pairs, known = undirected(edges, len(codes)), np.flatnonzero(codes.known())
    pairs = pairs[codes.known()[pairs].all(axis=1)]
    if not len(pairs):
        return float("nan")
    values, centre = codes.values.copy(), chance_homophily(mixing(edges, codes))
    seen = abs(float((values[pairs[:, 0]] == values[pairs[:, 1]]).mean()) - centre)
    beyond = 0
    for _ in range(shuffles):
        values[known] = rng.permutation(codes.values[known])
        beyond += abs(float((values[pairs[:, 0]] == values[pairs[:, 1]]).mean()) - centre) >= seen - 1e-12
    return (1 + beyond) / (1 + shuffles)


@dataclass(frozen=True, slots=True, kw_only=True)
class DyadicParity:
    """Predicted ties within and across groups: counts and pairs of each, the rates, and their difference and ratio.

    Each interval is (low, high) at `level`: Newcombe's for the difference, Katz's for the ratio. NaN where undefined.
    """

    same: tuple[int, int]
    other: tuple[int, int]
    within: float
    across: float
    difference: float
    difference_interval: tuple[float, float]
    ratio: float
    ratio_interval: tuple[float, float]
    level: float


def dyadic_parity(pairs: ArrayLike, linked: ArrayLike, codes: Codes, level: float = 0.95) -> DyadicParity:
    """Are ties predicted as often across groups as within them (li2021)?

    pairs (k, 2): nodes; linked (k,): 1 where a tie is predicted. difference: within less across; ratio: across over within.
    Pairs with an unknown group are left out. Raises DataError.
    """
    dyads, tied = np.asarray(pairs, dtype=np.int64), np.asarray(linked)
    if dyads.ndim != 2 or dyads.shape[1] != 2 or tied.shape != (len(dyads),) or not np.isin(tied, (0, 1)).all():
        raise DataError(f"pairs, linked: allowed are (k, 2) and 0 or 1 (k,), got {dyads.shape} and {tied.shape}")
    ends = codes.values[dyads]
    known, alike = (ends < len(codes.levels)).all(axis=1), ends[:, 0] == ends[:, 1]
    same, other = ((int(tied[part].sum()), int(part.sum())) for part in (known & alike, known & ~alike))
    inside, across = float(stats.divide(*same)), float(stats.divide(*other))
    low, high = stats.newcombe(*same, *other, level)
    least, most = stats.katz(*other, *same, level)
    return DyadicParity(
        same=same,
        other=other,
        within=inside,
        across=across,
        difference=inside - across,
        difference_interval=(float(low), float(high)),
        ratio=float(stats.divide(across, inside)),
        ratio_interval=(float(least), float(most)),
        level=level,
    )


# ------------------------------------------------------------------------------------------------ the check
@check(
    "fairness.graph",
    title="Groups in the network",
    needs={"graph", "groups", "rows"},
    sources=("newman2003", "zhu2020", "lim2021", "li2021", "phipson2010", "newcombe1998", "katz1978", "student1908"),
)
def graph(subject: Subject, context: Context, *, shuffles: int = SHUFFLES, dyads: int = 20_000) -> Iterator[Evidence]:
    """Are people tied mostly to their own group, and does the model predict ties across groups as often as within?

    edge_homophily is the share of ties within a group, beside homophily_by_chance, what shuffled groups would give, and
    the permutation p_value of the two; class_insensitive_homophily is the groups' mean excess over their size;
    assortativity is Newman's coefficient with a jackknife interval over ties; mean_degree the ties a person has (t
    interval). Where the model predicts ties, they are asked for `dyads` random pairs: link_rate within and across groups
    (Wilson), dyadic_parity_difference within less across (Newcombe) and dyadic_parity_ratio across over within (Katz).
    Direction, repeats and self-loops are dropped, as are ties with an end of unknown group.

    Homophily is a fact about the network and no fault of a model, but a model that spreads information along ties may
    amplify it: compare with the rates by group. Ties are not independent, so that intervals over them are too narrow
    where few people hold many.
    """
    model = cast(Graph, subject.model)
    edges, nodes = undirected(model.edges(), len(subject)), len(subject)
    each = degrees(edges, nodes).astype(np.float64)
    asked = context.rng.integers(0, nodes, size=(dyads, 2)) if nodes else np.empty((0, 2), dtype=np.int64)
    asked = undirected(asked, nodes)
    chance = model.link(asked) if len(asked) else None
    rows: list[tuple[Cell, ...]] = []
    for attribute, codes in subject.groups.items():
        mixed = mixing(edges, codes)
        yield from _tie_measures(mixed, attribute, homophily_p(edges, codes, context.rng, shuffles), context.confidence)
        for index, group in enumerate(codes.levels):
            here, where = each[codes.values == index], {attribute: group}
            yield mean_measure("mean_degree", here, level=context.confidence, where=where, floor=0.0)
        if chance is not None:
            linked = (np.asarray(chance) >= subject.threshold).astype(np.int64)
            yield from _dyad_measures(dyadic_parity(asked, linked, codes, context.confidence), attribute)
        rows += [
            (attribute, codes.levels[i], codes.levels[j], int(ties))
            for i, j, ties in zip(mixed.first, mixed.second, mixed.ties, strict=True)
        ]
    yield Table(
        name="ties",
        title="Ties by the groups of their ends",
        columns=("attribute", "group", "other", "n"),
        rows=tuple(rows),
    )


def _tie_measures(mixed: Mixing, attribute: str, p: float, level: float) -> Iterator[Measure]:
    facts: dict[str, Any] = {"n": mixed.total, "where": {attribute: ALL}}
    note = f"{mixed.unknown} ties with an end of unknown group left out" if mixed.unknown else ""
    none = "there are no ties between people of known group"
    r, low, high = assortativity(mixed, level)
    jackknife = bounded((low, high), level, "jackknife over ties")
    yield measured("edge_homophily", edge_homophily(mixed), note=note, why=none, **facts)
    yield measured("homophily_by_chance", chance_homophily(mixed), why="there are fewer than two people", **facts)
    yield measured("p_value", p, unit="", note="groups shuffled over people", why=none, **facts)
    few = "there are fewer than two groups"
    yield measured("class_insensitive_homophily", class_insensitive_homophily(mixed), unit="", why=few, **facts)
    one = "all ties are within one group, or there are none"
    yield measured("assortativity", r, unit="", interval=jackknife, why=one, **facts)


def _dyad_measures(found: DyadicParity, attribute: str) -> Iterator[Measure]:
    everywhere: Mapping[str, str] = {attribute: ALL}
    for name, (k, n), rate in (("same", found.same, found.within), ("different", found.other, found.across)):
        interval = bounded(stats.wilson(k, n, found.level), found.level, "Wilson")
        where = {attribute: ALL, "pair": name}
        yield measured("link_rate", rate, n=n, where=where, interval=interval, why="there is no such pair")
    n = found.same[1] + found.other[1]
    yield measured(
        "dyadic_parity_difference",
        found.difference,
        n=n,
        where=everywhere,
        unit="difference",
        better="zero",
        interval=bounded(found.difference_interval, found.level, "Newcombe"),
        why="there are no pairs within, or none across groups",
    )
    yield measured(
        "dyadic_parity_ratio",
        found.ratio,
        n=n,
        where=everywhere,
        unit="ratio",
        better="one",
        interval=bounded(found.ratio_interval, found.level, "Katz+1/2"),
        why="no tie is predicted within groups, or there are no such pairs",
    )
