"""Whether explainers agree with one another about the same rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations

import numpy as np

from audit.core import Cell, Context, Evidence, Floats, Measure, NotApplicable, Subject, Table, UsageError
from audit.explain.attribution import Attribution
from audit.explain.games import Link
from audit.explain.quality import figures
from audit.explain.quality.panel import BACKGROUND, ROWS, defined, missing, panel, sizes
from audit.explain.ranks import rank_correlations
from audit.registry import check


def top(values: Floats, k: int) -> np.ndarray:
    """Whether a player is among the k of its row with the largest absolute attribution (rows, players).

    Ties go to the first; a row with fewer than k + 1 known players has no top, and all are False.
    """
    size = sizes(values)
    order = np.argsort(np.where(np.isfinite(size), -size, np.inf), axis=1, kind="stable")
    best = np.zeros(values.shape, dtype=bool)
    np.put_along_axis(best, order[:, :k], True, axis=1)
    best[np.isfinite(values).sum(axis=1) <= k] = False
    return best


def top_agreement(first: Floats, second: Floats, k: int) -> Floats:
    """Share (rows,) of the k top players that two attributions (rows, players) have in common (krishna2022).

    NaN where one of them has no more than k players, so that all agree of necessity.
    """
    one, two = top(first, k), top(second, k)
    there = one.any(axis=1) & two.any(axis=1)
    return np.where(there, (one & two).sum(axis=1) / k, np.nan)


def sign_agreement(first: Floats, second: Floats) -> Floats:
    """Share (rows,) of the players that two attributions (rows, players) give the same sign, of those both move.

    What one of them gives less than a billionth of its row's largest has no sign. NaN where nothing is left.
    """
    both = (sizes(first) > 0) & (sizes(second) > 0)
    same = (np.sign(first) == np.sign(second)) & both
    count = both.sum(axis=1)
    return np.where(count > 0, same.sum(axis=1) / np.maximum(count, 1), np.nan)


def signed(found: Attribution) -> bool:
    """Whether an explainer has given a sign anywhere: absolute slopes and masks have none."""
    return bool((found.values < 0).any())


@check(
    "explain.agreement",
    title="Do explainers agree?",
    needs={"model", "rows"},
    sources=("krishna2022",),
)
def agreement(
    subject: Subject,
    context: Context,
    *,
    rows: int = ROWS,
    background: int = BACKGROUND,
    link: Link = "identity",
    k: int = 3,
) -> Iterator[Evidence]:
    """Do different explainers tell the same story about the same person?

    For every two explainers that apply, over the same rows: Spearman's correlation of the absolute attributions, the
    share of the k largest players that both name, and the share of players that both give the same sign (only of
    explainers that have signs). Each explainer's mean agreement with the others is the figure to read: one that stands
    apart answers another question, or is wrong.

    The numbers do not say who is right. Explainers may agree because they share a mistake, and two that are both exact
    may differ because they are meant to find different things.
    """
    if k < 1:
        raise UsageError(f"k: at least 1, got {k}")
    _, found = panel(subject, context, rows=rows, background=background, link=link)
    here = defined(found)
    if len(here) < 2:
        raise NotApplicable(f"one explainer applies, {next(iter(here))}, and there is none to compare it with")
    with_signs = {id: each for id, each in here.items() if signed(each)}
    yield from _compared(here, "rank_correlation", _ranks, "Spearman's, of absolute values", context.confidence, -1.0)
    note = f"share of the {k} largest players that both name"
    yield from _compared(here, "top_agreement", lambda a, b: top_agreement(a, b, k), note, context.confidence, 0.0)
    note = "share of players with the same sign"
    yield from _compared(with_signs, "sign_agreement", sign_agreement, note, context.confidence, 0.0)
    yield from missing(found)


def _ranks(first: Floats, second: Floats) -> Floats:
    return rank_correlations(sizes(first), sizes(second))


def _compared(
    here: dict[str, Attribution],
    name: str,
    compare: Callable[[Floats, Floats], Floats],
    note: str,
    level: float,
    least: float,
) -> Iterator[Evidence]:
    """Each explainer's agreement with the others, and the matrix of all pairs."""
    pairs = {(a, b): compare(here[a].values, here[b].values) for a, b in combinations(here, 2)}
    for id in here:
        own = np.array([each for pair, each in pairs.items() if id in pair])
        if not len(own):
            continue
        there = np.isfinite(own).any(axis=0)
        each = np.nanmean(own[:, there], axis=0)
        others = [str(b if a == id else a) for a, b in pairs if id in (a, b)]
        means = np.array([_mean(side) for side in own], dtype=np.float64)
        worst = "" if np.isnan(means).all() else f"; least with {others[int(np.nanargmin(means))]}"
        yield figures.mean(
            name,
            each,
            explainer=id,
            level=level,
            better="higher",
            note=f"{note}, mean over {len(own)} other explainers{worst}",
            why="no row where two explainers can be compared",
            least=least,
            most=1.0,
        )
    if not pairs:
        yield Measure(name=name, value=None, better="higher", note=f"{note}: fewer than two explainers have signs")
        return
    lines: list[tuple[Cell, ...]] = []
    for a in here:
        cells = [1.0 if a == b else _mean(pairs.get((a, b), pairs.get((b, a), np.zeros(0)))) for b in here]
        lines.append((a, *(None if np.isnan(cell) else cell for cell in cells)))
    yield Table(name=name, title=note.capitalize(), columns=("explainer", *here), rows=tuple(lines), view="matrix")


def _mean(each: Floats) -> float:
    there = each[np.isfinite(each)]
    return float(there.mean()) if len(there) else float("nan")
