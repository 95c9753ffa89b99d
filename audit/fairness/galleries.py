"""Pictures with their scores for captions, by group: what of them is counted, and drawn again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from audit import stats
from audit.core import Codes, Context, Floats, Ints
from audit.fairness import parts
from audit.fairness.parts import Rows
from audit.fairness.ranking import ndkl, skew


@dataclass(frozen=True, slots=True, kw_only=True)
class Gallery:
    """Scores (n, m) of pictures of known groups with captions, their groups (n,), and the captions themselves.

    Pictures stand in the order of their scores, so that what is drawn from them does not depend on that of the rows.
    """

    scores: Floats
    code: Ints
    rows: Rows
    captions: tuple[str, ...]

    def figures(self, k: Sequence[int], places: Ints | None = None) -> dict[str, Floats]:
        """Every figure of these pictures (n,), by default of all: skew (m, k, g), ndkl (m,) and associations (m, g)."""
        scores, code = (self.scores, self.code) if places is None else (self.scores[places], self.code[places])
        codes = Codes(values=code, levels=tuple(map(str, range(len(self.rows.groups)))))
        difference, effect = _associations(scores, code, len(self.rows.groups))
        skews = [[skew(each, min(at, len(code)), sensitive_features=codes) for at in k] for each in scores.T]
        return {
            "skew": np.array(skews).reshape(len(self.captions), len(k), -1),
            "ndkl": np.array([ndkl(each, sensitive_features=codes) for each in scores.T]),
            "association": difference.T,
            "relative_association": (difference - difference.mean(axis=1, keepdims=True)).T,
            "effect_size": effect.T,
        }


def match_association(scores: Floats, *, sensitive_features: Any) -> tuple[Floats, Floats]:
    """How much better each group's pictures match each text (g, m) than others', from scores (n, m); NaN for nobody.

    The difference of the mean scores, and that in standard deviations of the scores of all pictures with the text (ddof
    1): the association test of one text (caliskan2017) between groups of pictures (steed2021).
    """
    rows = parts.rows_by_group(sensitive_features)
    known = rows.code < len(rows.groups)
    return _associations(np.asarray(scores, dtype=np.float64)[known], rows.code[known], len(rows.groups))


def _associations(scores: Floats, code: Ints, groups: int) -> tuple[Floats, Floats]:
    inside = (code == np.arange(groups)[:, None]).astype(np.float64)
    sizes, total = inside.sum(axis=1)[:, None], scores.sum(axis=0)
    sums = inside @ scores
    difference = stats.divide(sums, sizes) - stats.divide(total - sums, len(scores) - sizes)
    spread = scores.std(axis=0, ddof=1) if len(scores) > 1 else np.zeros(scores.shape[1])
    return difference, stats.divide(difference, np.where(spread > 1e-12, spread, 0.0))


def gallery(rows: Rows, scores: Floats, captions: tuple[str, ...]) -> Gallery:
    """The pictures of known groups, in the order of their scores (n, m) and, of equal ones, of their groups."""
    known = np.flatnonzero(rows.code < len(rows.groups))
    order = known[np.lexsort((rows.code[known], *scores[known].T[::-1]))]
    return Gallery(scores=scores[order], code=rows.code[order], rows=rows, captions=captions)


def chances(shown: Gallery, found: Floats, context: Context, permutations: int) -> Floats:
    """The share (m, g) of random orders of the groups whose association is as large, either way (phipson2010)."""
    groups = len(shown.rows.groups)
    turns = context.track(range(permutations), "random orders of the groups")
    null = [_associations(shown.scores, context.rng.permutation(shown.code), groups)[0].T for _ in turns]
    return stats.permutation_p(np.abs(found), np.abs(null))


def largest(skews: Floats) -> Floats:
    """The largest skew over the groups (last axis); NaN where fewer than two have pictures."""
    there = ~np.isnan(skews)
    found = np.where(there, skews, -np.inf).max(axis=-1, initial=-np.inf)
    return np.where(there.sum(axis=-1) > 1, found, np.nan)
