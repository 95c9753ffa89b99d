"""How well a model finds the pixels it looks for, and whether it finds them in everyone's pictures alike."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import numpy as np

from audit import stats
from audit.core import Context, Evidence, Floats, Measure, ModelError, NotApplicable, Segmenting, Subject, UsageError
from audit.data.images import Images
from audit.fairness import parts
from audit.fairness.individual import sampled
from audit.fairness.measures import bounded, measured
from audit.fairness.person_means import among, mean_kind, person_means
from audit.registry import check

KINDS = {"iou": mean_kind("higher", "overlap"), "dice": mean_kind("higher", "overlap")}


@check(
    "performance.segmentation",
    title="Whether the right pixels are found",
    needs={"model", "rows", "segmentation", "mask"},
    sources=("jaccard1912", "dice1945", "everingham2010", "student1908", "zou2008", "dunn1961"),
)
def segmentation(subject: Subject, context: Context, *, threshold: float = 0.5, rows: int = 2000) -> Iterator[Evidence]:
    """In whose pictures does a model find the pixels it looks for, and in whose does it miss them?

    A pixel is found where its chance reaches `threshold`. iou is the number of pixels that are both found and in the
    mask, over those that are either (Jaccard's index); dice is twice the former over the sum of both areas. Both are
    taken picture by picture and averaged, for everyone and for every group and intersection, with t intervals over
    pictures. Groups are compared with the reference group (the one named in the configuration, else the one with the
    highest mean iou among those of at least min_n pictures); the difference over all groups holds for all pairs at once.
    iou_worst_group is the lowest mean among groups of at least min_n pictures, with an interval that holds though the
    group was chosen by its figure. A picture with an empty mask in which nothing is found has neither figure: it is left
    out, and pictures_left_out counts them. At most `rows` pictures are asked.

    A mean over pictures weighs a small object as much as a large one; an index over all pixels at once would not. Pixels
    next to a border decide much of both figures where the object is thin: a mouth two pixels high that is found one pixel
    too low reads one third. The mask is taken as the truth; where people drew it, their care may differ by group too.
    """
    if not 0.0 < threshold < 1.0:
        raise UsageError(f"threshold: a chance above 0 and below 1, got {threshold}")
    some = among(subject, sampled(context.rng, len(subject), rows))
    values = stats.overlaps(*_pixels(some, threshold))._asdict()
    defined = np.flatnonzero(~np.isnan(values["iou"]))
    yield Measure(
        name="pictures_left_out",
        value=float(len(some) - len(defined)),
        unit="pictures",
        n=len(some),
        better="lower",
        note="their mask is empty and nothing was found in them: neither figure is defined",
    )
    if not len(defined):
        raise NotApplicable("every mask is empty and nothing was found: no picture has an overlap")
    some = among(some, defined)
    values = {name: each[defined] for name, each in values.items()}
    yield from person_means(some, context, values, KINDS, merit=values["iou"], label="overlaps")
    for attributes in some.slices:
        yield _worst(some, attributes, values["iou"], context.confidence)


def _pixels(subject: Subject, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """The pixels that are found, and those of the mask (n, height, width)."""
    inputs = subject.data.inputs
    if not isinstance(inputs, Images) or inputs.mask is None:
        raise NotApplicable("pixels are compared with the masks of pictures")
    chances = np.asarray(cast(Segmenting, subject.model).segment(inputs))
    if chances.shape != inputs.mask.shape:
        raise ModelError(f"segment: expected chances {inputs.mask.shape}, got {chances.shape}")
    if not ((chances >= 0.0) & (chances <= 1.0)).all():
        raise ModelError(f"segment: expected chances in [0, 1], got {chances.min():g} to {chances.max():g}")
    return chances >= threshold, inputs.mask


def _worst(subject: Subject, attributes: tuple[str, ...], iou: Floats, level: float) -> Measure:
    """The lowest mean of all groups that are large enough, with an interval at the level for all of them together."""
    rows = parts.rows_of(subject, attributes)
    sizes = rows.sizes()
    weights = [rows.amounts(inside) for inside in rows.members]
    large = [group for group, size in enumerate(sizes) if size >= subject.min_n and weights[group].sum() > 0.0]
    each = stats.bonferroni(level, max(1, len(large)))
    found = [parts.mean_number(iou[rows.members[g]], weights[g], float(sizes[g]), each) for g in large]
    at = int(np.argmin([number.value for number in found])) if found else None
    worst = parts.NOTHING if at is None else found[at]
    return measured(
        "iou_worst_group",
        worst.value,
        n=int(worst.n),
        where=rows.everywhere,
        unit="overlap",
        better="higher",
        interval=bounded((worst.low, worst.high), level, "t, Bonferroni over groups"),
        note="" if at is None else f"the lowest of {len(large)}: {rows.label(large[at])}",
        why=f"no group has {subject.min_n} pictures",
    )
