"""Whether explanations of pictures point at the part that is known to matter."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from audit.core import Context, Evidence, Floats, NotApplicable, Subject
from audit.data.images import Images
from audit.explain.attribution import Attribution
from audit.explain.games import Link, targets_of
from audit.explain.quality import figures
from audit.explain.quality.panel import BACKGROUND, ROWS, defined, missing, panel
from audit.explain.sample import model_and_inputs
from audit.registry import check


def relevance_mass(relevance: Floats, mask: NDArray[np.bool_]) -> Floats:
    """Share (rows,) of the positive relevance (rows, pixels) that lies within the mask (rows, pixels) (arras2022).

    NaN where nothing is positive, or the mask holds no pixel.
    """
    positive = np.where(np.isfinite(relevance) & (relevance > 0), relevance, 0.0)
    total = positive.sum(axis=1)
    there = (total > 0) & mask.any(axis=1)
    return np.where(there, (positive * mask).sum(axis=1) / np.where(total > 0, total, 1.0), np.nan)


def relevance_rank(relevance: Floats, mask: NDArray[np.bool_]) -> Floats:
    """Of the K pixels with most relevance the share within the mask, which holds K pixels (rows,) (arras2022).

    Of pixels that tie at the edge of the K each counts by the chance that it is one of them. NaN without a mask, and
    where all pixels tie.
    """
    found = np.full(len(relevance), np.nan)
    for row, (own, inside) in enumerate(zip(np.nan_to_num(relevance), mask, strict=True)):
        count = int(inside.sum())
        if not count or np.ptp(own) == 0:
            continue
        edge = np.sort(own)[-count]
        above, tied = own > edge, own == edge
        chance = (count - above.sum()) / tied.sum()
        found[row] = ((above & inside).sum() + chance * (tied & inside).sum()) / count
    return found


def pixels(found: Attribution) -> Floats:
    """A player's attribution spread evenly over its pixels, summed over channels (rows, height * width)."""
    assert found.owners is not None
    owner = found.owners.reshape(len(found.values), -1)
    count = found.values.shape[1]
    place = np.where(owner < 0, count, owner)
    held = np.stack([np.bincount(one, minlength=count + 1) for one in place])
    each = np.zeros(held.shape)
    each[:, :count] = np.nan_to_num(found.values)
    each /= np.maximum(held, 1)
    spread = np.take_along_axis(each, place, axis=1)
    return np.asarray(spread.reshape(found.owners.shape).sum(axis=1).reshape(len(owner), -1))


@check(
    "explain.localisation",
    title="Do explanations point at the right place?",
    needs={"model", "rows", "mask"},
    sources=("arras2022",),
)
def localisation(
    subject: Subject,
    context: Context,
    *,
    rows: int = ROWS,
    background: int = BACKGROUND,
    link: Link = "identity",
) -> Iterator[Evidence]:
    """Do the explanations of a picture point at the place where what it shows is known to be?

    For pictures that come with a mask: the share of the positive relevance within it (relevance mass accuracy), and of the
    K most relevant pixels, K being as many as the mask holds, the share within it (relevance rank accuracy). A player's
    relevance is spread evenly over its pixels; of two classes it counts for the one that the model decides, so what speaks
    against the other is turned round (maps that are never negative stay as they are). Beside both the mask's share of the
    area, which is what a map without any idea would reach.

    The numbers do not say that a model looks at the right place, nor that an explainer errs where it points elsewhere: a
    model that goes by the background is explained rightly by a map of the background.
    """
    _, inputs = model_and_inputs(subject)
    if not isinstance(inputs, Images):
        raise NotApplicable(f"places are pointed at in pictures, not in {type(inputs).__name__}")
    if inputs.mask is None or not inputs.mask.any():
        raise NotApplicable("the pictures come without a mask of the place where the class is to be seen")
    game, found = panel(subject, context, rows=rows, background=background, link=link)
    known = game.masker.inputs.mask
    mask = known.reshape(len(known), -1)
    area = np.where(mask.any(axis=1), mask.mean(axis=1), np.nan)
    level = context.confidence
    decided = targets_of(game.model, game.masker.inputs, "predicted")
    turned = np.where(decided == game.targets, 1.0, -1.0)[:, None]  # of more classes the game is about the decided one
    yield figures.mean(
        "mask_area",
        area,
        explainer="chance",
        level=level,
        unit="proportion",
        note="the mask's share of the picture: what a map without any idea reaches",
        why="no picture explained has a mask",
        least=0.0,
        most=1.0,
    )
    for id, each in defined(found).items():
        where = pixels(each) * (turned if (each.values < 0).any() else 1.0)
        for name, accuracy in (("relevance_mass", relevance_mass), ("relevance_rank", relevance_rank)):
            hit = accuracy(where, mask)
            better = hit[np.isfinite(hit)] > area[np.isfinite(hit)]
            yield figures.mean(
                name,
                hit,
                explainer=id,
                level=level,
                better="higher",
                unit="proportion",
                note=f"above the mask's share of the area in {int(better.sum())} of {len(better)} pictures",
                why="no picture with a mask has relevance that differs from place to place",
                least=0.0,
                most=1.0,
            )
    yield from missing(found)
