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
from audit.fairness.ranking import skew

BLOCK = 2**21  # numbers held at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class Gallery:
    """Scores (n, m) of pictures of known groups with captions, their groups (n,), and the captions themselves.

    Pictures stand in the order of their scores, so that what is drawn from them does not depend on that of the rows.
    """

    scores: Floats
    code: Ints
    rows: Rows
    captions: tuple[str, ...]

    @property
    def sizes(self) -> Ints:
        """Pictures (g,) of each group."""
        return np.bincount(self.code, minlength=len(self.rows.groups))

    def figures(self, k: Sequence[int], places: Ints | None = None) -> dict[str, Floats]:
        """What is drawn again, of these pictures (n,), by default of all: skew (m, k, g) and associations (m, g)."""
        scores, code = (self.scores, self.code) if places is None else (self.scores[places], self.code[places])
        codes = Codes(values=code, levels=tuple(map(str, range(len(self.rows.groups)))))
        difference, effect = _associations(scores, code, len(self.rows.groups))
        skews = [[skew(each, min(at, len(code)), sensitive_features=codes) for at in k] for each in scores.T]
        return {
            "skew": np.array(skews).reshape(len(self.captions), len(k), -1),
            "association": difference.T,
            "relative_association": (difference - difference.mean(axis=1, keepdims=True)).T,
            "effect_size": effect.T,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """The order (m, n) of the pictures for each caption; the block of equal scores at each place is start to end (m, n)."""

    order: Ints
    start: Ints
    end: Ints

    def figures(self, code: Ints, groups: int, k: Sequence[int]) -> dict[str, Floats]:
        """For groups (n,) of the pictures: share (m, k, g) at the top, max_skew (m, k) and ndkl (m,) (geyik2019).

        Pictures with equal scores share their places.
        """
        m, n = self.order.shape
        step = max(1, BLOCK // (n * max(1, groups)))
        whole = np.bincount(code, minlength=groups) / n
        found = [self._some(slice(at, at + step), code, whole, k) for at in range(0, m, step)]
        share, divergence = (np.concatenate(each) for each in zip(*found, strict=True))
        ratio = np.where(whole > 0.0, stats.divide(share, whole, 0.0), np.nan)
        skews = np.log(ratio, out=np.where(np.isnan(ratio), np.nan, -np.inf), where=ratio > 0.0)
        return {"share": share, "max_skew": largest(skews), "ndkl": divergence}

    def _some(self, rows: slice, code: Ints, whole: Floats, k: Sequence[int]) -> tuple[Floats, Floats]:
        start, end, n = self.start[rows, None], self.end[rows, None], len(code)
        at = np.arange(1, n + 1)
        inside = code[self.order[rows]][:, None] == np.arange(len(whole))[:, None]
        count = np.concatenate([np.zeros((*inside.shape[:2], 1)), np.cumsum(inside, axis=2)], axis=2)
        below, above = (np.take_along_axis(count, place, axis=2) for place in (start, end))
        share = (below + (at - start) / (end - start) * (above - below)) / at
        terms = share * np.log(stats.divide(share, whole[:, None], 1.0), out=np.zeros(share.shape), where=share > 0.0)
        weight = 1.0 / np.log2(at + 1.0)
        divergence = np.maximum(terms.sum(axis=1) @ weight / weight.sum(), 0.0)
        return np.moveaxis(share[:, :, [min(top, n) - 1 for top in k]], 1, 2), divergence


def orders(scores: Floats) -> Orders:
    """The orders of pictures by their scores (n, m) for each caption, highest first."""
    order = np.argsort(-scores.T, axis=1, kind="stable")
    ranked, n = np.take_along_axis(scores.T, order, axis=1), scores.shape[0]
    new = np.concatenate([np.ones((len(ranked), 1), dtype=bool), ranked[:, 1:] != ranked[:, :-1]], axis=1)
    place = np.arange(n)
    start = np.maximum.accumulate(np.where(new, place, 0), axis=1)
    last = np.concatenate([new[:, 1:], np.ones((len(ranked), 1), dtype=bool)], axis=1)
    end = np.minimum.accumulate(np.where(last, place + 1, n)[:, ::-1], axis=1)[:, ::-1]
    return Orders(order=order, start=start, end=end)


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


def at_random(
    shown: Gallery, ranked: Orders, k: Sequence[int], context: Context, permutations: int
) -> dict[str, Floats]:
    """What random orders of the groups give: max_skew (r, m, k), ndkl (r, m) and association (r, m, g)."""
    groups, drawn = len(shown.rows.groups), []
    for _ in context.track(range(permutations), "random orders of the groups"):
        code = context.rng.permutation(shown.code)
        figures = ranked.figures(code, groups, k)
        drawn.append((figures["max_skew"], figures["ndkl"], _associations(shown.scores, code, groups)[0].T))
    found = zip(*drawn, strict=True)
    return dict(zip(("max_skew", "ndkl", "association"), map(np.stack, found), strict=True))


def largest(skews: Floats) -> Floats:
    """The largest skew over the groups (last axis); NaN where fewer than two have pictures."""
    there = ~np.isnan(skews)
    found = np.where(there, skews, -np.inf).max(axis=-1, initial=-np.inf)
    return np.where(there.sum(axis=-1) > 1, found, np.nan)
