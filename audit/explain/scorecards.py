"""Whom an applicant who was refused is compared with, and the arithmetic of a scorecard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from audit.core import Floats, Ints, UsageError
from audit.explain.attribution import Attribution

Reference = Literal["all", "at-cutoff"]


def scorecard(points: Floats, reference: Floats, *, features: Sequence[str], data: Floats | None = None) -> Attribution:
    """The points (rows, features) of a scorecard against the average points of reference people (m, features).

    A linear model is a scorecard whose points are weight times feature. This is the commentary's own arithmetic, the
    distance below the average score for each factor; Shapley values of such a model are the same. Raises UsageError.
    """
    points, reference = np.asarray(points, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    if points.ndim != 2 or reference.ndim != 2 or not points.shape[1] == reference.shape[1] == len(features):
        raise UsageError(
            f"scorecard: points and reference must be (rows, {len(features)}), got {points.shape} and {reference.shape}"
        )
    if not len(reference):
        raise UsageError("scorecard: at least one reference row is needed, got none")
    mean = reference.mean(axis=0)
    spread = reference.std(axis=0, ddof=1 if len(reference) > 1 else 0) / np.sqrt(len(reference))
    return Attribution(
        values=points - mean,
        base=np.full(len(points), mean.sum()),
        outputs=points.sum(axis=1),
        players=(tuple(features),) * len(points),
        targets=np.ones(len(points), dtype=np.int64),
        method="points less the average points of the reference",
        link="logit",
        background=f"{len(reference)} reference rows",
        se_background=np.broadcast_to(spread, points.shape).copy(),
        data=data,
    )


def reference_rows(
    score: Floats,
    *,
    method: Reference = "all",
    threshold: float = 0.5,
    size: int = 64,
    share: float = 0.25,
    rng: np.random.Generator | None = None,
) -> Ints:
    """The rows that applicants are compared with, in ascending order; none where nobody was approved.

    score (n,). "all": all applicants. "at-cutoff": the approved whose scores lie nearest above the threshold, at most
    `size` of them and at most this share of all approved (but at least 8). rng: draws anew what chance chose: `size` of all
    applicants (with replacement where there are no more), or as many of those at the cut-off with replacement. Raises
    UsageError.
    """
    if size < 1 or not 0 < share <= 1:
        raise UsageError(f"size: at least 1 reference row, share: in (0, 1]; got {size} and {share}")
    if method == "all":
        if rng is None:
            return np.arange(len(score), dtype=np.int64)
        return np.sort(rng.choice(len(score), size=size, replace=len(score) <= size)).astype(np.int64)
    if method != "at-cutoff":
        raise UsageError(f'method: "all" or "at-cutoff", got {method!r}')
    passed = np.flatnonzero(score >= threshold)
    count = min(size, max(8, int(share * len(passed))))
    near = np.sort(passed[np.argsort(score[passed], kind="stable")[:count]])
    return near if rng is None or not len(near) else np.sort(rng.choice(near, size=len(near)))
