"""The picture that a table is made for: bars, waterfall, swarm, tokens, image, matrix, trace, time line, neighbourhood.

Every drawing has a text alternative, and the table that it was made from stands beside it with the figures.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from itertools import groupby

from markupsafe import Markup, escape

from audit.core import Cell, Table
from audit.drawing import format as fmt
from audit.drawing import svg
from audit.drawing.format import number
from audit.drawing.neighbourhood import neighbourhood
from audit.drawing.png import Colour, colour, data_uri, diverging, grey
from audit.drawing.svg import LABEL, ROW, TOP, Row
from audit.drawing.timeline import attributed, timeline

MOST = 14  # players of a waterfall or a beeswarm, bars of a chart; the table has the rest
SIDE = 40  # rows or columns of a matrix that is drawn
LEVELS = 4  # shades on either side of nought
PICTURE = "picture"  # the name of an image table that is no map of attributions but what the model saw
_MARK = 2.6  # radius of a point in a swarm


def draw(table: Table) -> Markup:
    """The table's own picture as SVG or HTML; empty where it has none or nothing can be drawn."""
    drawers = {
        "bars": bars,
        "waterfall": waterfall,
        "beeswarm": beeswarm,
        "tokens": tokens,
        "image": image,
        "matrix": matrix,
        "trace": traced,
        "timeline": timeline,
        "neighbourhood": neighbourhood,
    }
    if table.view not in drawers or not table.rows:
        return Markup("")
    return drawers[table.view](table)


def bars(table: Table) -> Markup:
    """Columns name, value and, where there are, low and high."""
    rows = [
        Row(label=str(row[0]), value=number(row[1]), low=_at(row, 2), high=_at(row, 3)) for row in table.rows[:MOST]
    ]
    if all(row.value is None for row in rows):
        return Markup("")
    return svg.bars(rows, title=table.title, desc=_told(rows))


def _at(row: Sequence[Cell], place: int) -> float | None:
    return number(row[place]) if place < len(row) else None


def _told(rows: Sequence[Row]) -> str:
    """The first figures in words: what a reader who cannot see the picture needs of it."""
    first = [f"{row.label} {fmt.value(row.value)}" for row in rows[:4]]
    return f"{len(rows)} bars: {', '.join(first)}{', ...' if len(rows) > 4 else ''}"


def waterfall(table: Table) -> Markup:
    """Columns player, what it was, value, SE: each bar begins where the one before it ended, from the base at 0."""
    lines = [
        (f"{row[0]} = {fmt.cell(row[1])}" if row[1] is not None else str(row[0]), number(row[2])) for row in table.rows
    ]
    known = [(name, value) for name, value in lines if value is not None]
    if not known:
        return Markup("")
    shown, rest = known[:MOST], known[MOST:]
    if rest:
        shown.append((f"{len(rest)} others", math.fsum(value for _, value in rest)))
    ends = [math.fsum(value for _, value in shown[: k + 1]) for k in range(len(shown))]
    starts = [0.0, *ends[:-1]]
    low, high = svg.domain([], [0.0, *ends])
    at, bottom = svg.scale(low, high, LABEL, svg.RIGHT), TOP + ROW * len(shown)
    names = [Row(label=name, value=value) for name, value in shown]
    parts = [svg.axis(low, high, at, bottom, ""), svg.names(names)]
    for k, (start, end) in enumerate(zip(starts, ends, strict=True)):
        left, right, y = min(at(start), at(end)), max(at(start), at(end)), TOP + ROW * k + 4
        kind = "up" if end >= start else "down"
        width = max(right - left, 0.6)
        parts.append(f'<rect class="{kind}" x="{svg.short(left)}" y="{y}" width="{svg.short(width)}" height="12"/>')
        if k + 1 < len(shown):
            parts.append(f'<path class="g" d="M{svg.short(at(end))} {y}v{ROW + 12}"/>')
    parts.append(f'<path class="r" d="M{svg.short(at(0.0))} {TOP}V{bottom}"/>')
    desc = f"From the base the output moves by {fmt.value(ends[-1])}: " + ", ".join(
        f"{name} {fmt.value(value)}" for name, value in shown[:4]
    )
    return svg.frame(bottom + svg.FOOT, table.title, desc, "".join(parts), "waterfall")


def beeswarm(table: Table) -> Markup:
    """Columns player, what it was (or nothing), value: a row of points a player, darker where what it was is larger."""
    swarms: dict[str, list[tuple[float, float | None]]] = {}
    for row in table.rows:
        value = number(row[2])
        if value is not None:
            swarms.setdefault(str(row[0]), []).append((value, number(row[1])))
    names = list(swarms)[:MOST]
    if not names:
        return Markup("")
    low, high = svg.domain([], [0.0, *(value for name in names for value, _ in swarms[name])])
    at, bottom = svg.scale(low, high, LABEL, svg.RIGHT), TOP + ROW * len(names)
    parts = [svg.axis(low, high, at, bottom, ""), svg.names([Row(label=name, value=0.0) for name in names])]
    parts.append(f'<path class="r" d="M{svg.short(at(0.0))} {TOP}V{bottom}"/>')
    for k, name in enumerate(names):
        parts += _swarm(swarms[name], TOP + ROW * k + 10, at)
    desc = f"{len(names)} rows of points, one point a case; a darker point is a larger value of the feature."
    return svg.frame(bottom + svg.FOOT, table.title, desc, "".join(parts), "beeswarm")


def _swarm(points: Sequence[tuple[float, float | None]], middle: float, at: svg.Scale) -> list[str]:
    """Points of one row, set above and below each other where they would touch."""
    taken: dict[int, int] = {}
    known = sorted(data for _, data in points if data is not None)
    parts = []
    for value, data in sorted(points, key=lambda point: point[0]):
        x = at(value)
        column = round(x / (2 * _MARK))
        level = taken.get(column, 0)
        taken[column] = level + 1
        step = (level + 1) // 2 * (1 if level % 2 else -1)
        y = middle + max(min(step * 2.2, 8.0), -8.0)
        rank = "n" if data is None else str(min(int(LEVELS * bisect_left(known, data) / len(known)), LEVELS - 1))
        parts.append(f'<circle class="s{rank}" cx="{svg.short(x)}" cy="{svg.short(y)}" r="{_MARK}"/>')
    return parts


def pushes_down(table: Table) -> bool:
    """Whether a waterfall, a text or a time line has a value below 0: shares of attention have none, and need no key."""
    place = attributed(table) if table.view in ("timeline", "neighbourhood") else 1 if table.view == "tokens" else 2
    if place is None:
        return False
    return any((number(row[place]) or 0.0) < 0 for row in table.rows)


def tokens(table: Table) -> Markup:
    """Columns token, value: the text, each token on the shade of its value; what pushes down is underlined with dots."""
    values = [number(row[1]) for row in table.rows]
    most = max((abs(value) for value in values if value is not None), default=0.0)
    spans = []
    for row, value in zip(table.rows, values, strict=True):
        word = escape(fmt.one_line(str(row[0])))
        kind = "" if value is None or not most else _shade(value / most)
        spans.append(f'<span class="tok{kind}">{word}</span>')
    return Markup(f'<p class="tokens">{" ".join(spans)}</p>')


def _shade(share: float) -> str:
    level = math.ceil(abs(share) * LEVELS - 0.5)
    return f" {'up' if share > 0 else 'down'}{min(level, LEVELS)}" if level > 0 else ""


def image(table: Table) -> Markup:
    """A row of cells a row of pixels: a picture in greys or in colours (#rrggbb), or a map from blue (down) to red (up)."""
    colours = [[colour(content) for content in row] for row in table.rows]
    grid = [[number(content) for content in row] for row in table.rows]
    known = [value for row in grid for value in row if value is not None]
    if table.name.startswith(PICTURE) and all(each is not None for row in colours for each in row):
        pixels: list[list[Colour]] = [[each or (0, 0, 0) for each in row] for row in colours]
        told = f"{len(grid)} by {len(grid[0])} pixels in colour"
    elif not known:
        return Markup("")
    elif table.name.startswith(PICTURE):
        low, high = min(known), max(known)
        pixels = [[grey(((value or 0.0) - low) / (high - low or 1.0)) for value in row] for row in grid]
        told = f"{len(grid)} by {len(grid[0])} pixels in greys from {fmt.value(low)} to {fmt.value(high)}"
    else:
        most = max(abs(value) for value in known) or 1.0
        pixels = [[diverging((value or 0.0) / most) for value in row] for row in grid]
        told = f"map of {len(grid)} by {len(grid[0])}: {_peak(grid)}; blue pushes down, red up"
    alt = escape(f"{fmt.one_line(table.title)}: {told}")
    return Markup(
        f'<img class="pixels" alt="{alt}" width="{len(grid[0])}" height="{len(grid)}" src="{data_uri(pixels)}">'
    )


def _peak(grid: Sequence[Sequence[float | None]]) -> str:
    """Where the largest number lies, in words."""
    value, row, column = max((abs(v or 0.0), r, c) for r, line in enumerate(grid) for c, v in enumerate(line))
    found = grid[row][column] or 0.0
    return f"largest {fmt.value(found)} in row {row + 1}, column {column + 1}" if value else "nought everywhere"


def matrix(table: Table) -> Markup:
    """The first column names, the others numbers: a grid of shades, darker where the number is larger."""
    names, grid = [str(row[0]) for row in table.rows[:SIDE]], [row[1 : SIDE + 1] for row in table.rows[:SIDE]]
    values = [[number(content) for content in row] for row in grid]
    known = [abs(value) for row in values for value in row if value is not None]
    if not known or not values[0]:
        return Markup("")
    most, wide = max(known) or 1.0, len(values[0])
    room = 14.0 if wide <= 12 else 0.0
    cell = min((svg.RIGHT - LABEL - 1.5 * room) / wide, 22.0)  # slanted names of columns reach further right
    top = TOP + room * 4
    shades: dict[str, str] = {}
    for r, row in enumerate(values):
        for c, value in enumerate(row):
            kind = "" if value is None else _shade(value / most).strip()
            if kind:
                place = f"M{svg.short(LABEL + c * cell)} {svg.short(top + r * cell)}h{svg.short(cell)}v{svg.short(cell)}h-{svg.short(cell)}z"
                shades[kind] = shades.get(kind, "") + place
    parts = [f'<path class="x {kind}" d="{path}"/>' for kind, path in sorted(shades.items())]
    edge = (
        f"M{LABEL} {svg.short(top)}h{svg.short(cell * wide)}v{svg.short(cell * len(values))}h-{svg.short(cell * wide)}z"
    )
    parts.append(f'<path class="g" d="{edge}"/>')
    for r, name in enumerate(names):
        if cell >= 9 or r % 2 == 0:
            parts.append(svg.name(name, LABEL - 6, top + (r + 0.5) * cell + 4))
    if room:
        for c, name in enumerate(table.columns[1 : wide + 1]):
            x, y = svg.short(LABEL + (c + 0.5) * cell + 3), svg.short(top - 4)
            parts.append(f'<text x="{x}" y="{y}" transform="rotate(-60 {x} {y})">{escape(fmt.fit(name, 9))}</text>')
    desc = f"{len(names)} by {wide} shades, the darkest {fmt.value(most)} in size; the table has the figures."
    return svg.frame(top + cell * len(values) + 6, table.title, desc, "".join(parts), "matrix")


def traced(table: Table) -> Markup:
    """Columns clause, condition, threshold, value, held, clause then: a block a clause, a tick or a cross a condition.

    Beside a clause that fires stands a bar, light where it accepts and dark where it denies.
    """
    y, parts, told = TOP - 4.0, [], []
    for clause, lines in groupby(table.rows, key=lambda row: str(row[0])):
        asked = list(lines)
        fires, denies = asked[0][5] == "fires", clause.endswith("denies")
        head = f"Clause {clause}: {asked[0][5]}"
        failed = ", ".join(str(row[1]) for row in asked if row[4] == "no")
        told.append(f"{head}, not met: {failed}" if failed else head)
        parts.append(f'<text class="{"k" if fires else "u"}" x="14" y="{svg.short(y + 13)}">{escape(head)}</text>')
        if fires:
            height, kind = svg.short(ROW * (len(asked) + 1) - 4), "up" if denies else "b"
            parts.append(f'<rect class="{kind}" x="2" y="{svg.short(y)}" width="5" height="{height}"/>')
        for k, row in enumerate(asked, 1):
            parts.append(_answer(row, y + ROW * k))
        y += ROW * (len(asked) + 1) + 6
    return svg.frame(y, table.title, "; ".join(told), "".join(parts), "trace")


def _answer(row: Sequence[Cell], y: float) -> str:
    """One condition: a tick or a cross, what is asked, and the value it was asked of."""
    shape = "l3 4 6-9" if row[4] == "yes" else "m0-4l8 8m0-8l-8 8"
    mark = f'<path class="w" d="M16 {svg.short(y + 9)}{shape}"/>'
    asked = escape(fmt.fit(fmt.one_line(str(row[1])), 34))
    value = "" if row[3] is None else escape(fmt.fit(fmt.one_line(fmt.cell(row[3])), 18))
    base = svg.short(y + 13)
    return f'{mark}<text x="34" y="{base}">{asked}</text><text class="l" x="{svg.RIGHT}" y="{base}">{value}</text>'
