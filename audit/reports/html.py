"""The page that a compliance team reads, prints and signs: one file, no script, nothing fetched."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from audit import codec
from audit.core import Calibration, Curve, Report
from audit.drawing import format as fmt
from audit.drawing import pictures, svg
from audit.drawing.format import Figure
from audit.registry import renderer
from audit.reports import arrange, boards, instruments, sources, words
from audit.reports.arrange import Panel, Slot
from audit.reports.boards import Overview, TradeOff

NAME, PROSE = 120, 600  # characters of a name and of a sentence before the rest moves to the end of the page
DRAWN = 40  # rows of one drawing; the table beside it has them all
LISTED = 1000  # rows of one table; the record has them all
PICTURED = 100  # rows of a table that has a picture
POINTS = 60  # points of one curve in its table; the record has them all
SHOWN = 6  # curves of one family before the rest is folded on a screen
LONG = 4  # checks of a section before it gets a table of contents


@renderer("html", title="Report in one file, for screen and paper")
def render(report: Report) -> str:
    """The whole report as one HTML document, a pure function of the record."""
    shown = arrange.redact(report)
    say, cut = _speaker()
    numbers = itertools.count(1)
    page = _environment().get_template("report.html.j2")
    return page.render(
        report=shown,
        say=say,
        cut=cut,
        number=lambda: next(numbers),
        verdict=words.verdict(shown),
        sections=arrange.sections(shown),
        headline=arrange.headline(shown),
        findings=arrange.findings(shown),
        promises=arrange.promises(shown),
        references=_references(shown),
        methods=_methods(shown),
        digest=hashlib.sha256(codec.dumps(report).encode()).hexdigest(),
    )


def calibration(found: Calibration) -> str:
    """A calibration as a page of its own, with the section that reports quote."""
    say, _ = _speaker()
    numbers = itertools.count(1)
    page = _environment().get_template("calibration.html.j2")
    return page.render(found=found, say=say, number=lambda: next(numbers))


@functools.cache
def _environment() -> Environment:
    """Escapes everything, and fails on a name that is not there."""
    loader = FileSystemLoader(sources.TEMPLATES)
    world = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    world.filters |= {"figure": _figure, "spoken": _spoken, "notes": _notes, "plain_json": _plain_json}
    world.filters |= {
        "limit_text": _limit_text,
        "listed": _listed,
    }
    world.globals |= {
        "fmt": fmt,
        "words": words,
        "arrange": arrange,
        "boards": boards,
        "instruments": instruments,
        "marks": fmt.MARKS,
        "draw": _draw,
        "draw_curve": _draw_curve,
        "draw_table": pictures.draw,
        "pictures_down": pictures.pushes_down,
        "draw_gaps": _draw_gaps,
        "draw_trade_off": _draw_trade_off,
    }
    world.globals |= {
        "css": Markup((sources.TEMPLATES / "style.css").read_text("utf-8")),
        "LISTED": LISTED,
        "PICTURED": PICTURED,
        "DRAWN": DRAWN,
        "POINTS": POINTS,
        "SHOWN": SHOWN,
        "LONG": LONG,
    }
    return world


def _speaker() -> tuple[Callable[..., Markup], list[str]]:
    """A function that writes text from the record, set apart from its surroundings, and the list of what it cut."""
    cut: list[str] = []
    known: dict[str, int] = {}

    def say(text: object, most: int = NAME) -> Markup:
        line = fmt.one_line(str(text))
        if len(line) <= most:
            return Markup(f"<bdi>{escape(line)}</bdi>")
        if line not in known:
            cut.append(line)
            known[line] = len(cut)
        place = known[line]
        note = f'<a class="cut" href="#text-{place}" aria-label="full text {place}">full text {place}</a>'
        return Markup(f"<bdi>{escape(fmt.short(line, most))}</bdi> {note}")

    return say, cut


# --------------------------------------------------------------------------------------- filters and drawings
def _figure(figure: Figure) -> Markup:
    return Markup(
        f'<data value="{escape(repr(figure.number))}" data-ref="{escape(fmt.clean(figure.ref))}">{escape(figure.text)}</data>'
    )


def _spoken(parts: Iterable[str | Figure]) -> Markup:
    """Words with their figures tied to the record; words that come from the record are shortened."""
    texts = (
        fmt.short(fmt.one_line(part), NAME) if len(part) > NAME else fmt.clean(part)
        for part in parts
        if isinstance(part, str)
    )
    return Markup("").join(_figure(part) if isinstance(part, Figure) else escape(next(texts)) for part in parts)


def _notes(panel: Panel) -> dict[str, int]:
    """The different notes of a panel in the order of its cells, numbered."""
    cells = [panel.slots[group, name] for group in panel.groups for name in panel.names if (group, name) in panel.slots]
    notes = dict.fromkeys(
        slot.measure.note for slot in cells if slot.measure.note and not fmt.is_suppressed(slot.measure)
    )
    return {note: place for place, note in enumerate(notes, 1)}


def _plain_json(content: Any) -> str:
    return json.dumps(content, ensure_ascii=False, default=str)


def _listed(rows: Sequence[Any], view: str = "table") -> Sequence[Any]:
    """The rows that a page shows: fewer where a picture shows them all."""
    return rows[: LISTED if view == "table" else PICTURED]


def _limit_text(panel: Panel, name: str) -> str:
    return ", ".join(fmt.value(limit, panel.unit) for limit in panel.limits[name])


def _draw(panel: Panel, name: str) -> Markup:
    """The forest plot (or the bars) of one measure of a panel; suppressed groups are left out, and so is a drawing of nothing."""
    found = [(group, panel.slots[group, name]) for group in panel.groups if (group, name) in panel.slots]
    rows = [_drawn(group, slot) for group, slot in found if not fmt.is_suppressed(slot.measure)][:DRAWN]
    if all(row.value is None for row in rows):
        return Markup("")
    title = f"{fmt.label(name)} by {panel.title}"
    if panel.is_attribution:
        return svg.bars(
            rows, title=title, desc="Bars with intervals; the table that follows has the figures.", unit=panel.unit
        )
    kind = "a light bar of its worst case" if any(row.wide for row in rows) else "its interval"
    desc = f"{len(rows)} groups, each a point with {kind}; the table that follows has the figures."
    return svg.forest(rows, title=title, desc=desc, unit=panel.unit, limits=panel.limits[name])


def _drawn(group: str, slot: Slot) -> svg.Row:
    span = slot.measure.interval
    return svg.Row(
        label=group,
        value=slot.measure.value,
        low=span.low if span else None,
        high=span.high if span else None,
        judged=slot.judged,
        wide=span is not None and ("worst case" in span.method or span.method.startswith("bounds")),
    )


def _draw_gaps(overview: Overview) -> Markup:
    """The gaps of one attribute on one axis, each beside what chance alone would give."""
    rows = [
        svg.Row(label=fmt.brief(row.metric), value=row.gap, low=row.low, high=row.high, chance=row.chance)
        for row in overview.rows
        if not row.hidden
    ][:DRAWN]
    if all(row.value is None for row in rows):
        return Markup("")
    chance = "; a hollow square is the gap expected by chance" if overview.tested else ""
    desc = f"{len(rows)} gaps, each a point with its interval{chance}; the table that follows has the figures."
    return svg.forest(rows, title=f"Gaps between groups of {overview.attribute}", desc=desc, unit="difference")


def _draw_trade_off(found: TradeOff) -> Markup:
    """Accuracy against the largest gap allowed, with the policies that were measured."""
    spots = [
        svg.Spot(
            x=choice.gap.measure.value or 0.0,
            y=choice.accuracy.measure.value or 0.0,
            low=choice.accuracy.measure.interval.low if choice.accuracy.measure.interval else None,
            high=choice.accuracy.measure.interval.high if choice.accuracy.measure.interval else None,
        )
        for choice in found.choices
    ]
    if not any(y is not None for curve in found.curves for y in curve.y):
        return Markup("")
    desc = f"{len(found.curves)} lines of points and {len(spots)} numbered policies; the tables that follow have the figures."
    return svg.scatter(found.curves, spots, title=found.title, desc=desc)


def _draw_curve(curve: Curve) -> Markup:
    title = f"{fmt.label(curve.name)}, {fmt.who(curve.where)}"
    calibrated = curve.name.startswith("calibration")
    agree = "; on the dotted line both agree" if calibrated else ""
    desc = f"{curve.y_label} against {curve.x_label}{agree}; the table that follows has the figures."
    return svg.line(curve, title=title, desc=desc, diagonal=calibrated)


# ---------------------------------------------------------------------------------------------------- methods
def _references(report: Report) -> tuple[tuple[str, str], ...]:
    keys = sorted({key for outcome in report.all_outcomes for key in outcome.sources})
    return tuple((key, sources.cite(key, sources.shipped())) for key in keys)


def _methods(report: Report) -> tuple[tuple[str, str], ...]:
    """(method and level, measures) of the intervals in the record."""
    used: dict[str, dict[str, None]] = {}
    for slot in arrange.slots(report).values():
        if slot.measure.interval is not None:
            span = slot.measure.interval
            used.setdefault(f"{span.method}, {100 * span.level:.6g}{fmt.NBSP}%", {})[fmt.label(slot.measure.name)] = (
                None
            )
    return tuple((method, ", ".join(names)) for method, names in used.items())
