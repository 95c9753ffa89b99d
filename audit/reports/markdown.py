"""The summary of a record as Markdown, for pull requests and the step summaries of CI servers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from audit.core import Measure, Report
from audit.drawing import format as fmt
from audit.registry import renderer
from audit.reports import arrange, instruments, words
from audit.reports.arrange import Panel, Shelf

LIMIT = 1024 * 1024  # bytes that a step summary may have
_ROOM = 4096  # kept free for what is said about the rest
# What means something anywhere; at the start of a line; and what GitHub makes links of by itself.
_ANYWHERE = re.compile(r"[\\`*_{}\[\]<>|~$&@#]")
_AT_START = re.compile(r"^(\d+(?=[.)])|)([-+=](?=[-+=\s]|$)|(?<=\d)[.)](?=\s|$))")
_LINKS = re.compile(r"(?i)(?<=www)\.|:(?=//)")
_ENTITIES = {"<": "&lt;", ">": "&gt;", "&": "&amp;", "@": "@\u200b", ".": "&#46;", ":": "&#58;"}


def text(content: object, most: int = 200) -> str:
    """Data as Markdown that shows it as it is: one line, nothing in it means anything, no link, no mention."""
    line = _ANYWHERE.sub(_escaped, fmt.short(fmt.one_line(str(content)), most))
    return _AT_START.sub(r"\1\\\2", _LINKS.sub(_escaped, line))


def _escaped(found: re.Match[str]) -> str:
    return _ENTITIES.get(found[0], f"\\{found[0]}")


def code(content: object, most: int = 200) -> str:
    """Data between backticks; backticks in it become plain quotes, so that none ends it early."""
    line = fmt.short(fmt.one_line(str(content)), most).replace("`", "'").replace("|", "\\|")
    return f"`{line}`" if line.strip() else ""


@renderer("md", title="Summary in Markdown for pull requests and CI")
def render(report: Report) -> str:
    """Verdict, findings and figures in GitHub's Markdown, at most 1 MiB; what does not fit is counted."""
    shown = arrange.redact(report)
    return fitted([*_head(shown), *_promises(shown), *_sections(shown), *_tail(shown)], LIMIT - _ROOM)


def fitted(blocks: Sequence[str], room: int) -> str:
    """Blocks with an empty line between them, as many as fit into `room` bytes, and how many were left out."""
    kept: list[str] = []
    for place, block in enumerate(blocks):
        room -= len(block.encode()) + 2
        if room < 0:
            kept.append(f"*{len(blocks) - place} omitted: the record (result.json) has everything.*")
            break
        kept.append(block)
    return "\n\n".join(kept) + "\n"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _head(report: Report) -> Iterator[str]:
    system = report.spec.system
    mark, word = fmt.MARKS[report.verdict.outcome]
    yield f"# Audit of {text(system.name)} {text(system.version)}".rstrip()
    yield f"**{mark} {word}.** {words.plain(words.verdict(report))}"
    lines = [
        f"- {text(fmt.label(slot.measure.name))}, {text(fmt.who(slot.measure.where))}: **{text(words.plain(slot.words))}**"
        for slot in arrange.headline(report)
    ]
    if lines:
        yield "\n".join(lines)


def _promises(report: Report) -> Iterator[str]:
    found = [*arrange.findings(report), *(f for f in arrange.promises(report) if f.ruling.outcome == "pass")]
    if not found:
        return
    yield "## Promises"
    rows = [
        (
            " ".join(fmt.MARKS[finding.ruling.outcome]),
            text(words.plain(arrange.expected(finding))),
            text(words.plain(words.found(finding)) or finding.ruling.reason),
            "yes" if finding.ruling.gate.required else "no",
        )
        for finding in found
    ]
    yield _table(("Judged", "Expected", "Deciding figure", "Required"), rows)


def _sections(report: Report) -> Iterator[str]:
    for _, title, shelves in arrange.sections(report):
        yield f"## {title}"
        for shelf in shelves:
            yield from _shelf(shelf)


def _shelf(shelf: Shelf) -> Iterator[str]:
    outcome = shelf.outcome
    yield f"### {text(outcome.title)} ({code(outcome.check)})"
    if outcome.status != "done":
        yield f"*{outcome.status.replace('_', ' ')}: {text(outcome.reason, 600)}*"
    if shelf.figures:
        rows = [
            (*_names(slot.measure), text(words.plain(slot.words)), text(slot.measure.note)) for slot in shelf.figures
        ]
        yield _table(("Measure", "Of whom", "Value [interval], n", "Remark"), rows)
    for panel in shelf.panels:
        yield _table((text(panel.title), *(text(fmt.label(name)) for name in panel.names)), list(_panel_rows(panel)))
    for table in shelf.tables:
        yield f"**{text(table.title)}**"
        if table.columns:
            yield _table(
                [text(name) for name in table.columns], [[text(fmt.cell(c)) for c in row] for row in table.rows]
            )
    curves = sum(len(family) for family in shelf.curves)
    if curves:
        yield f"*{curves} {fmt.plural(curves, 'curve', 'curves')}: see the page.*"


def _names(measure: Measure) -> tuple[str, str]:
    return text(fmt.label(measure.name)), text(fmt.who(measure.where))


def _panel_rows(panel: Panel) -> Iterator[tuple[str, ...]]:
    for group in panel.groups:
        cells = [panel.slots.get((group, name)) for name in panel.names]
        yield (text(group), *(text(words.plain(slot.words)) if slot else "–" for slot in cells))


def _tail(report: Report) -> Iterator[str]:
    if report.calibration:
        known = report.calibration
        quotes = [(check, instruments.quote(known, check)) for check, _ in instruments.told(known)]
        lines = [f"- {code(check)}: {text(words.plain(quote), 600)}" for check, quote in quotes if quote]
        yield f"## How far to trust the checks on models of the family {code(known.family)}"
        yield "\n".join(lines) or "*Too few readings to say.*"
    if report.not_tested:
        yield "## What was not tested"
        yield "\n".join(f"- {text(left_out.topic)}: {text(left_out.why, 600)}" for left_out in report.not_tested)
    if report.limitations:
        yield "## Limits of this audit"
        yield "\n".join(f"- {text(line, 600)}" for line in report.limitations)
    place = report.environment
    yield f"audit {text(place.audit)} · seed {place.seed} · {code(place.command)}"
