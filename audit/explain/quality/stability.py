"""Whether an explanation stays when the input hardly changes, or when only the dice fall anew."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.core import Context, Evidence, Floats, Inputs, NotApplicable, Subject, UsageError
from audit.data.images import Images
from audit.data.series import Series
from audit.data.tabular import Tabular
from audit.explain.attribution import Attribution
from audit.explain.games import Game, Link
from audit.explain.quality import figures
from audit.explain.quality.agreement import top_agreement
from audit.explain.quality.panel import BACKGROUND, defined, game_on, missing, panel, panel_of
from audit.explain.sample import model_and_inputs
from audit.registry import check


# --------------------------------------------------------------------------------------------- pure functions
def explained(original: Floats, near: Floats) -> NDArray[np.bool_]:
    """Whether a copy (rows, copies) has an attribution wherever the original (rows, players) has one, and it has any."""
    known = np.isfinite(original)
    return np.asarray((np.isfinite(near) | ~known[:, None]).all(axis=2) & known.any(axis=1, keepdims=True))


def sensitivity_max(original: Floats, near: Floats) -> Floats:
    """Largest change (rows,) of attributions (rows, players) among near (rows, copies, players), over their own size.

    Euclidean norms, as yeh2019 and captum have it. Copies without attributions are left out; NaN where none is left, or
    the original has no size.
    """
    size = np.linalg.norm(np.nan_to_num(original), axis=1)
    change = np.where(explained(original, near), _change(original, near), -np.inf).max(axis=1)
    there = (size > 0) & (change >= 0)
    return np.where(there, change / np.where(there, size, 1.0), np.nan)


def _change(original: Floats, near: Floats) -> Floats:
    """Euclidean norm (rows, copies) of the change; a player that the original does not have counts nothing."""
    return np.asarray(np.linalg.norm(np.nan_to_num(near - original[:, None]), axis=2))


def local_lipschitz(original: Floats, near: Floats, distance: Floats) -> Floats:
    """Largest change (rows,) of attributions per distance (rows, copies) moved (alvarezmelis2018).

    Copies without attributions are left out; NaN where none is left that has moved.
    """
    change = _change(original, near)
    there = (distance > 0) & explained(original, near)
    slope = np.where(there, change / np.where(there, distance, 1.0), -np.inf).max(axis=1)
    return np.where(np.isfinite(slope), slope, np.nan)


def spread(runs: Floats) -> Floats:
    """Standard deviation over runs (runs, rows, players), mean over players, as a share of the mean absolute value.

    (rows,); NaN where all values are 0, and 0 where only rounding differs.
    """
    known = np.isfinite(runs).all(axis=0)
    count = np.maximum(known.sum(axis=1), 1)
    deviation = np.where(known, np.where(known, runs, 0.0).std(axis=0, ddof=1), 0.0).sum(axis=1) / count
    size = np.where(known, np.abs(np.where(known, runs, 0.0)).mean(axis=0), 0.0).sum(axis=1) / count
    share = np.where(size > 0, deviation / np.where(size > 0, size, 1.0), np.nan)
    return np.where(share < 1e-12, 0.0, share)


def nudged(inputs: Any, scale: Floats, radius: float, copies: int, rng: np.random.Generator) -> tuple[Inputs, Floats]:
    """`copies` inputs near each one, one row after the other, and how far they are (rows, copies).

    Each number moves uniformly by up to `radius` times its scale (of the shape of one input, or a number for each);
    numbers of scale 0 and gaps stay. The distance is Euclidean in units of the scale.
    """
    values = inputs.values
    drawn = rng.uniform(-radius, radius, (len(values), copies, *values.shape[1:]))
    drawn = np.where((scale > 0) & ~np.isnan(values)[:, None], drawn, 0.0)
    if isinstance(inputs, Series):
        beyond = (
            np.arange(values.shape[1]) >= inputs.lengths[:, None]
        )  # what fills short sequences up is no number of theirs
        drawn[np.broadcast_to(beyond[:, None, :, None], drawn.shape)] = 0.0
    moved = (values[:, None] + drawn * scale).reshape(-1, *values.shape[1:])
    many = inputs.take(np.repeat(np.arange(len(values)), copies))
    return replace(many, values=moved), np.sqrt((drawn**2).reshape(len(values), copies, -1).sum(axis=2))


# ------------------------------------------------------------------------------------------------- the check
@check(
    "explain.stability",
    title="Do explanations stay when next to nothing changes?",
    needs={"model", "rows"},
    sources=("alvarezmelis2018", "yeh2019", "krishna2022"),
)
def stability(
    subject: Subject,
    context: Context,
    *,
    rows: int = 8,
    background: int = BACKGROUND,
    link: Link = "identity",
    copies: int = 6,
    radius: float = 0.05,
    seeds: int = 3,
    k: int = 3,
) -> Iterator[Evidence]:
    """Does an explanation stay the same when next to nothing changes?

    Two questions. Inputs: every number of a row is nudged by up to `radius` of its standard deviation (categories and
    whole numbers are left as they are) and explained again, with the same random numbers: the largest change of the
    attributions as a share of their size (max-sensitivity), and per standard deviation moved (the local Lipschitz
    estimate); beside it the same for the model's answer. Seeds: explainers that draw are run again with other seeds: the
    standard deviation of a value as a share of the mean absolute value, and the share of the k largest players that two
    runs have in common.

    The numbers do not say that a stable explanation is right: one that never changes is the most stable of all. A steep
    model has steep explanations; read them beside the model's own change.
    """
    if copies < 1 or seeds < 2 or not radius > 0 or k < 1:
        raise UsageError(
            f"copies, seeds, radius, k: at least 1, at least 2, above 0 and at least 1; got {copies}, {seeds}, {radius}, {k}"
        )
    game, found = panel(subject, context, rows=rows, background=background, link=link)
    yield from _nudges(subject, context, game, defined(found), background, copies, radius)
    yield from _seeds(context, game, defined(found), seeds, k)
    yield from missing(found)


def _nudges(
    subject: Subject,
    context: Context,
    game: Game,
    here: dict[str, Attribution],
    background: int,
    copies: int,
    radius: float,
) -> Iterator[Evidence]:
    """How much each explainer and the model itself move under nudges; a measure without a value where none is possible."""
    try:
        scale = _scale(subject, game.masker.inputs)
    except NotApplicable as reason:
        for id in here:
            yield figures.mean(
                "sensitivity_max", np.zeros(0), explainer=id, level=context.confidence, better="lower", why=str(reason)
            )
        return
    inputs, distance = nudged(game.masker.inputs, scale, radius, copies, context.stream("explain.stability"))
    near_game = game_on(subject, context, inputs, game, background=background)
    near = panel_of(near_game, context, here)
    answers = near_game.outputs().reshape(distance.shape)
    yield figures.mean(
        "output_lipschitz",
        local_lipschitz(game.outputs()[:, None], answers[:, :, None], distance),
        explainer="the model",
        level=context.confidence,
        note="largest change of the output per standard deviation moved, to read the others against",
        least=0.0,
    )
    for id, each in here.items():
        other = near[id]
        why = other if isinstance(other, str) else each.note or other.note or "undefined or 0 in every row"
        shape = (*distance.shape, each.values.shape[1])
        moved = np.full(shape, np.nan) if isinstance(other, str) else other.values.reshape(shape)
        there = each.values if not isinstance(other, str) else np.full(each.values.shape, np.nan)
        yield from _moved(id, there, moved, distance, radius, context.confidence, why)


def _moved(
    id: str, original: Floats, near: Floats, distance: Floats, radius: float, level: float, why: str
) -> Iterator[Evidence]:
    change = sensitivity_max(original, near)
    kept = change[np.isfinite(change)]
    asked = np.isfinite(original).any(axis=1)
    lost, copies = int((~explained(original, near))[asked].sum()), int(asked.sum()) * near.shape[1]
    without = f"{lost} of {copies} copies have no attribution and are left out" if lost else ""
    reading = (
        f"nudges of at most {radius:g} standard deviations change the attributions by up to {kept.mean():.2g} of their "
        "size"
        if len(kept)
        else ""
    )
    yield figures.mean(
        "sensitivity_max",
        change,
        explainer=id,
        level=level,
        better="lower",
        note="; ".join(filter(None, (reading, without))),
        why="; ".join(filter(None, (why, without))),
        least=0.0,
    )
    yield figures.mean(
        "local_lipschitz",
        local_lipschitz(original, near, distance),
        explainer=id,
        level=level,
        better="lower",
        note="; ".join(filter(None, ("largest change of the attributions per standard deviation moved", without))),
        why="no number of these rows can be nudged" if len(kept) else "; ".join(filter(None, (why, without))),
        least=0.0,
    )


def _scale(subject: Subject, inputs: Any) -> Floats:
    """What a nudge is a share of; 0 for what must not be nudged. Raises NotApplicable for words and ties.

    One standard deviation of each column over everyone, of sequences over their own steps; of a picture that of its dots.
    """
    _, everyone = model_and_inputs(subject)
    if isinstance(everyone, Tabular):
        scale = np.nan_to_num(np.nanstd(everyone.values, axis=0))
        fixed = {*everyone.categories, *everyone.integers}
        scale[[place for place, name in enumerate(everyone.columns) if name in fixed]] = 0.0
        return np.asarray(scale)
    if isinstance(everyone, Series):
        own = np.arange(everyone.values.shape[1]) < everyone.lengths[:, None]
        return np.asarray(np.nan_to_num(np.nanstd(everyone.values[own], axis=0)))
    if isinstance(everyone, Images):
        flat = inputs.values.reshape(len(inputs), -1)
        return np.asarray(np.nan_to_num(np.nanstd(flat, axis=1)).reshape(-1, *([1] * inputs.values.ndim)))
    raise NotApplicable(f"nudges are for numbers: {type(everyone).__name__} have none that could move a little")


def _seeds(context: Context, game: Game, here: dict[str, Attribution], seeds: int, k: int) -> Iterator[Evidence]:
    """How much explainers change with the seed alone."""
    runs = [here] + [defined(panel_of(game, context, here, salt=f"/{number}")) for number in range(1, seeds)]
    for id in here:
        several = [run[id].values for run in runs if id in run]
        values = np.stack(several)
        change = spread(values) if len(several) > 1 else np.full(len(game), np.nan)
        still = not np.nan_to_num(change).any()
        reading = "the seed changes nothing" if still else f"over {len(several)} seeds, as a share of the mean |value|"
        yield figures.mean(
            "seed_spread",
            change,
            explainer=id,
            level=context.confidence,
            better="lower",
            note=reading,
            why="undefined or 0 in every row",
            least=0.0,
        )
        if still or len(several) < 2:
            continue
        pairs = [top_agreement(values[a], values[b], k) for a in range(len(values)) for b in range(a)]
        yield figures.mean(
            "seed_top_agreement",
            np.mean(pairs, axis=0),
            explainer=id,
            level=context.confidence,
            better="higher",
            unit="proportion",
            note=f"share of the {k} largest players that two seeds have in common",
            why=f"no row has more than {k} players",
            least=0.0,
            most=1.0,
        )
