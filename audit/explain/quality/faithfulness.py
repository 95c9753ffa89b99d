"""Whether the players that an explanation ranks highest are those that move the model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from audit import stats
from audit.core import Better, Context, Curve, Evidence, Floats, Ints, Measure, Subject, UsageError
from audit.explain.attribution import Attribution
from audit.explain.games import Game, Link
from audit.explain.quality import figures
from audit.explain.quality.panel import BACKGROUND, ROWS, defined, known, missing, panel, played
from audit.registry import check

STEPS = 12  # points of a curve at most, beside the one where nothing has happened


# --------------------------------------------------------------------------------------------- pure functions
def order(values: Floats, *, signed: bool = True) -> Ints:
    """Players from the highest attribution to the lowest, or by absolute value; ties keep their place."""
    return np.argsort(-values if signed else -np.abs(values), kind="stable")


def counts(players: int, steps: int = STEPS) -> Ints:
    """How many players are gone at each point of a curve: every number, or about `steps` of them evenly spread."""
    return np.unique(np.rint(np.linspace(0, players, min(players, steps) + 1)).astype(np.int64))


def deletions(ranked: Ints, at: Ints) -> np.ndarray:
    """Coalitions (points, players) that have lost the first 0, ..., all of the ranked players."""
    place = np.argsort(ranked)
    return np.asarray(place >= at[:, None])


def insertions(ranked: Ints, at: Ints) -> np.ndarray:
    """Coalitions (points, players) that have only the first 0, ..., all of the ranked players."""
    return ~deletions(ranked, at)


def area(curves: Floats, at: Ints) -> Floats:
    """Area (...) under curves (..., points) over the share of players that are gone, by trapezoids (petsiuk2018)."""
    share = at / at[-1]
    return np.asarray(((curves[..., 1:] + curves[..., :-1]) / 2 * np.diff(share)).sum(axis=-1))


def infidelity(attributed: Floats, moved: Floats) -> float:
    """Share of the moves (m,) that attributed sums (m,) miss, scaled as suits them best (yeh2019); NaN without a move.

    min over b of mean (b attributed - moved)² / mean moved²: 0 where they go together, 1 where they have nothing in
    common.
    """
    size, own = float(moved @ moved), float(attributed @ attributed)
    if size == 0:
        return float("nan")
    scale = float(attributed @ moved) / own if own > 0 else 0.0
    rest = scale * attributed - moved
    return float(rest @ rest) / size


def correlation(attributed: Floats, moved: Floats) -> float:
    """Pearson's correlation of attributed sums and moves (m,); NaN where one of them does not vary."""
    a, b = attributed - attributed.mean(), moved - moved.mean()
    spread = np.sqrt((a @ a) * (b @ b))
    flat = 1e-12 * max(1e-300, float(np.abs(attributed).max()) * float(np.abs(moved).max()) * len(moved))
    return float(np.clip(a @ b / spread, -1, 1)) if spread > flat else float("nan")


def subsets(players: int, size: int, most: int, rng: np.random.Generator) -> np.ndarray:
    """Different sets (m, players) of so many players, True = in it: all of them, or about `most` drawn."""
    if size == 1:
        return np.eye(players, dtype=bool)
    drawn = rng.permuted(np.tile(np.arange(players) < size, (most, 1)), axis=1)
    return np.unique(drawn, axis=0)


# ------------------------------------------------------------------------------------------------- the check
@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """What is asked of one row: orders of random removal, sets of players taken away together, and the answers."""

    at: Ints
    random: tuple[Floats, Floats]  # areas (orders,) of deletion and of insertion
    curves: Mapping[str, tuple[Floats, Floats]]
    areas: Mapping[str, tuple[float, float]]
    missed: Mapping[str, float]
    together: Mapping[tuple[str, str], float]


@check(
    "explain.faithfulness",
    title="Do explanations name what moves the model?",
    needs={"model", "rows"},
    sources=("samek2017", "petsiuk2018", "yeh2019", "ancona2018"),
)
def faithfulness(
    subject: Subject,
    context: Context,
    *,
    rows: int = ROWS,
    background: int = BACKGROUND,
    link: Link = "identity",
    orders: int = 50,
    sets: int = 32,
    signed: bool = True,
) -> Iterator[Evidence]:
    """Does the model's answer change most when what an explanation ranks highest is taken away?

    Players are removed one after the other, those that an explainer says raise the answer most first (or, with signed =
    false, the largest by absolute value), and filled in as everywhere else. Deletion: the area under the answer while
    they go, lower is better. Insertion: the area while they come back in that order, higher is better. Both are read
    against random orders of the same row: 50 % is chance. Infidelity: what share of the answer's moves under removal of
    random sets the attributions' sums miss, however they are scaled. Sensitivity-n: how those sums and moves correlate
    over sets of one, two and half of the players.

    The numbers do not say that an input with features removed is one that the model was made for; where filled inputs
    are unlike any real one, every explainer is judged on the model's guesses about them. Absolute slopes have no sign
    and are at a disadvantage where orders are signed.
    """
    if orders < 2 or sets < 3:
        raise UsageError(f"orders, sets: at least 2 random orders and 3 sets are needed, got {orders}, {sets}")
    game, found = panel(subject, context, rows=rows, background=background, link=link)
    here = defined(found)
    rng = context.stream("explain.faithfulness")
    each = [
        _asked(game, row, here, orders, sets, signed, rng)
        for row in context.track(range(len(game)), "faithfulness")
        if len(game.masker.players[row]) > 1
    ]
    if not each:
        yield Measure(name="deletion_auc", value=None, note="no row has two players that could be ranked")
        return
    for id in here:
        yield from _measures(id, [row for row in each if id in row.areas], context.confidence)
    yield from _chance(each, context.confidence)
    for id in here:
        yield from _curves(id, [row for row in each if id in row.areas], context.confidence)
    yield from missing(found)


def _asked(
    game: Game,
    row: int,
    here: Mapping[str, Attribution],
    orders: int,
    sets: int,
    signed: bool,
    rng: np.random.Generator,
) -> _Row:
    """All that the explainers and the random orders ask of one row, answered at once."""
    names = game.masker.players[row]
    players, at = len(names), counts(len(names))
    values = {id: own for id, each in here.items() if (own := known(each.values[row], names)) is not None}
    ranked = [order(own, signed=signed) for own in values.values()]
    ranked += [rng.permutation(players) for _ in range(orders)]
    sizes = {"1": 1, "2": 2, "half": max(1, players // 2)}
    gone = {name: subsets(players, size, sets, rng) for name, size in sizes.items()}
    gone["any"] = rng.random((sets, players)) < rng.uniform(0.1, 0.9, (sets, 1))
    asked = [deletions(one, at) for one in ranked] + [insertions(one, at) for one in ranked]
    everyone = np.ones((1, players), dtype=bool)
    answers = played(game, row, np.concatenate([*asked, *(~one for one in gone.values()), everyone]))
    down, up = answers[: 2 * len(ranked) * len(at)].reshape(2, len(ranked), len(at))
    cuts = np.cumsum([len(one) for one in gone.values()])[:-1]
    left = np.split(answers[down.size + up.size : -1], cuts)
    moved = {name: answers[-1] - one for name, one in zip(gone, left, strict=True)}
    areas = area(down, at), area(up, at)
    return _Row(
        at=at,
        random=(areas[0][len(values) :], areas[1][len(values) :]),
        curves={id: (down[k], up[k]) for k, id in enumerate(values)},
        areas={id: (float(areas[0][k]), float(areas[1][k])) for k, id in enumerate(values)},
        missed={id: infidelity(gone["any"] @ own, moved["any"]) for id, own in values.items()},
        together={
            (id, name): correlation(gone[name] @ own, moved[name]) for id, own in values.items() for name in sizes
        },
    )


def beaten(own: float, others: Floats, *, lower: bool) -> float:
    """Share of the others (m,) that this area is better than, ties counted half."""
    tolerance = 1e-12 * max(1.0, abs(own))
    better = others > own + tolerance if lower else others < own - tolerance
    return float(better.mean() + (np.abs(others - own) <= tolerance).mean() / 2)


def _measures(id: str, each: Sequence[_Row], level: float) -> Iterator[Measure]:
    why = "undefined in every row that has two players"
    for side, (name, lower) in enumerate((("deletion", True), ("insertion", False))):
        own = np.array([row.areas[id][side] for row in each])
        won = np.array([beaten(row.areas[id][side], row.random[side], lower=lower) for row in each])
        verb = "removing players in this order lowers" if lower else "bringing players back in this order raises"
        reading = f"{verb} the output sooner than this share of random orders do (50% is chance)" if len(won) else ""
        better: Better = "lower" if lower else "higher"
        yield figures.mean(
            f"{name}_auc", own, explainer=id, level=level, better=better, note="area under the output", why=why
        )
        yield figures.mean(
            f"{name}_beats_random",
            won,
            explainer=id,
            level=level,
            better="higher",
            unit="proportion",
            note=reading,
            why=why,
            least=0.0,
            most=1.0,
        )
    missed = np.array([row.missed[id] for row in each])
    kept = missed[np.isfinite(missed)]
    reading = "share of how the output moves when random sets go that its sums miss" if len(kept) else ""
    why = "the output does not move, whatever is removed" if each else why
    yield figures.mean(
        "infidelity", missed, explainer=id, level=level, better="lower", note=reading, why=why, least=0.0, most=1.0
    )
    for name in ("1", "2", "half"):
        sums = np.array([row.together[id, name] for row in each])
        what = "half of the players" if name == "half" else f"{name} player{'s' * (name != '1')}"
        yield figures.mean(
            f"sensitivity_{name}",
            sums,
            explainer=id,
            level=level,
            better="higher",
            note=f"correlation over sets of {what}",
            why=f"the output or the sums do not vary over sets of {what}",
            least=-1.0,
            most=1.0,
        )


def _chance(each: Sequence[_Row], level: float) -> Iterator[Measure]:
    """The areas of random orders, to read the others against."""
    for side, name in enumerate(("deletion_auc", "insertion_auc")):
        own = np.array([row.random[side].mean() for row in each])
        note = f"mean over {len(each[0].random[side])} random orders a row: what chance gives"
        yield figures.mean(name, own, explainer="random order", level=level, note=note)


def _curves(id: str, each: Sequence[_Row], level: float) -> Iterator[Curve]:
    """The mean curves over rows, of those rows that have as many players as most have."""
    if not each:
        return
    sizes, often = np.unique([row.at[-1] for row in each], return_counts=True)
    alike = [row for row in each if row.at[-1] == sizes[often.argmax()]]
    at = alike[0].at
    for side, name in enumerate(("deletion", "insertion")):
        lines = np.stack([row.curves[id][side] for row in alike])
        bounds = np.array([stats.mean_interval(line, level) for line in lines.T])
        band = bounds if np.isfinite(bounds).all() else None
        middle = lines.mean(axis=0)
        yield Curve(
            name=name,
            x=tuple((at / at[-1]).tolist()),
            y=tuple(middle.tolist()),
            low=() if band is None else tuple(np.minimum(band[:, 0], middle).tolist()),
            high=() if band is None else tuple(np.maximum(band[:, 1], middle).tolist()),
            x_label="share of players " + ("removed" if side == 0 else "brought back"),
            y_label="output",
            n=len(alike),
            where={"explainer": id},
        )
