"""Whether attributions add up to what they explain."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from audit.core import Cell, Context, Evidence, Floats, Measure, Subject, Table
from audit.explain.attribution import Attribution
from audit.explain.games import Link
from audit.explain.quality import figures
from audit.explain.quality.panel import BACKGROUND, ROWS, defined, missing, panel
from audit.registry import check

LARGE = 0.01  # of the output less the base: from here on what is drawn does not add up to the eye either


def relative_errors(found: Attribution) -> Floats:
    """|sum of the attributions - (output - base)| as a share of |output - base| (rows,); NaN where that is nought.

    It counts as nought below a billionth of the output's own size, where only rounding is left.
    """
    moved = np.abs(found.outputs - found.base)
    nought = moved <= 1e-9 * np.maximum(np.abs(found.outputs), np.abs(found.base))
    return np.where(nought, np.nan, np.abs(found.delta) / np.where(nought, 1.0, moved))


@check(
    "explain.completeness",
    title="Do explanations add up?",
    needs={"model", "rows"},
    sources=("shapley1953", "sundararajan2017", "ancona2018"),
)
def completeness(
    subject: Subject,
    context: Context,
    *,
    rows: int = ROWS,
    background: int = BACKGROUND,
    link: Link = "identity",
) -> Iterator[Evidence]:
    """Do the parts of an explanation add up to the answer that they explain?

    Shapley values, path gradients and relevance promise that the attributions of a row sum to its output less the base
    (completeness, also called efficiency). For each explainer that promises it: the mean error as a share of that
    difference, and the share of rows where it is above 1 %. Slopes, local surrogates and masks promise nothing of the
    kind; the table shows their gap too, so that nobody adds up what was never meant to be added.

    The numbers do not say that a complete explanation is right: any split of the right total is complete.
    """
    _, found = panel(subject, context, rows=rows, background=background, link=link)
    here = defined(found)
    for id, each in here.items():
        if each.complete:
            yield from _promised(id, each, context.confidence)
    if not any(each.complete for each in here.values()):
        note = "no explainer that applies promises to add up"
        yield Measure(name="relative_completeness_error", value=None, better="lower", note=note)
    yield _table(here)
    yield from missing(found)


def _promised(id: str, found: Attribution, level: float) -> Iterator[Measure]:
    errors = relative_errors(found)
    why = "the output is the base in every row" if np.isfinite(found.delta).any() else found.note or "undefined"
    above = errors[np.isfinite(errors)] > LARGE
    note = f"mean over rows; the largest is {np.nanmax(errors):.2g}" if len(above) else why
    yield figures.mean(
        "relative_completeness_error", errors, explainer=id, level=level, better="lower", note=note, why=why, least=0.0
    )
    reading = "no row is off" if not above.any() else f"{int(above.sum())} of {len(above)} rows are off"
    yield figures.share(
        "share_above_1_percent",
        above,
        explainer=id,
        level=level,
        better="lower",
        note=f"{reading} by more than 1 % of the output less the base",
        why=why,
    )


def _table(here: dict[str, Attribution]) -> Table:
    lines: list[tuple[Cell, ...]] = []
    for id, each in here.items():
        errors = relative_errors(each)
        errors = errors[np.isfinite(errors)]
        sides = (float(errors.mean()), float(errors.max())) if len(errors) else (None, None)
        lines.append((id, "yes" if each.complete else "no", *sides, len(errors), each.note))
    return Table(
        name="completeness",
        title="Gap between the sum of the attributions and the output less the base, as a share of the latter",
        columns=("explainer", "promises to add up", "mean", "largest", "rows", "note"),
        rows=tuple(lines),
    )
