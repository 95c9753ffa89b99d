"""The summary that ends a run in the terminal: the verdict, a row per promise, the paths that were written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from audit.core import Measure, Report, Ruling
from audit.drawing import format
from audit.reports.arrange import redact
from audit.reports.render import sentence

if TYPE_CHECKING:
    from rich.table import Table

STYLES = {"pass": "green", "fail": "bold red", "error": "bold red"}


def show(report: Report, paths: Sequence[Path]) -> None:
    """Print the summary on stderr; colours only in a terminal and without NO_COLOR."""
    from rich.console import Console
    from rich.text import Text

    report = redact(report)
    console = Console(stderr=True, highlight=False, soft_wrap=False)
    console.print()
    console.print(Text(sentence(report), style="bold"))
    if report.all_rulings or report.verdict.headline:
        console.print(_promises(report) if report.all_rulings else _headlines(report))
    for ruling in report.all_rulings:
        if ruling.outcome == "error":
            console.print(Text(format.one_line(ruling.reason), style="yellow"), soft_wrap=True)
    for outcome in report.all_outcomes:
        if outcome.status in ("error", "stopped"):
            console.print(Text(format.one_line(f"{outcome.check}: {outcome.status}: {outcome.reason}"), style="yellow"))
    for path in paths:
        console.print(Text(f"wrote {path}"), soft_wrap=True)


def _promises(report: Report) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(
        "promise",
        "worst case",
        "found",
        "limit",
        "verdict",
        title="What was promised",
        title_justify="left",
        box=SIMPLE_HEAD,
    )
    for ruling in report.all_rulings:
        mark, word = format.MARKS[ruling.outcome]
        gate = ruling.gate
        by = f" by {' x '.join(gate.by)}" if gate.by else ""
        optional = "" if gate.required else " (not required)"
        worst, found, unit = _found(report, ruling)
        limits = [f">= {format.value(gate.min, unit)}"] if gate.min is not None else []
        limits += [f"<= {format.value(gate.max, unit)}"] if gate.max is not None else []
        style = STYLES.get(ruling.outcome, "yellow")
        cells = (f"{format.label(gate.measure)}{by}{optional}", worst, found, ", ".join(limits))
        table.add_row(*(Text(format.fit(cell, 60)) for cell in cells), Text(f"{mark} {word}", style=style))
    return table


def _found(report: Report, ruling: Ruling) -> tuple[str, str, str]:
    """Who decided a ruling, with which figure, in which unit."""
    if not ruling.slices:
        return "", format.short(ruling.reason, 60), ""
    evidence = report.find(ruling.slices[0].ref)
    assert isinstance(evidence, Measure)
    return format.who(evidence.where), format.full(evidence), evidence.unit


def _headlines(report: Report) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table("measure", "of whom", "found", title="Measured, not judged", title_justify="left", box=SIMPLE_HEAD)
    for ref in report.verdict.headline:
        evidence = report.find(ref)
        if isinstance(evidence, Measure):
            cells = (format.label(evidence.name), format.who(evidence.where), format.full(evidence))
            table.add_row(*(Text(format.fit(cell, 60)) for cell in cells))
    return table
