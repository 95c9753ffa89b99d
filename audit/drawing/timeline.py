"""A sequence along its time: a line for each column, and beneath them a bar a step for what it moved."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup, escape

from audit.core import Table
from audit.drawing import format as fmt
from audit.drawing import svg
from audit.drawing.format import number
from audit.drawing.svg import LABEL, RIGHT, TOP, Scale, short

MOST = 8  # columns that are drawn
POINTS = 240  # steps that are drawn: a longer sequence is thinned out, its bars are added up
LANE, BARS = 28, 64  # heights

Values = Sequence[float | None]


def attributed(table: Table) -> int | None:
    """The place of the attribution among the columns: before the last one of standard errors; None without such a pair."""
    errors = [k for k, name in enumerate(table.columns) if name == "SE" or name.endswith(" SE")]
    return errors[-1] - 1 if errors and errors[-1] > 1 else None


def timeline(table: Table) -> Markup:
    """Columns step, the columns of the sequence, value, SE: a row a step or window, in the order of time."""
    place = attributed(table)
    if place is None:
        return Markup("")
    moved = [number(row[place]) for row in table.rows]
    if all(value is None for value in moved):
        return Markup("")
    lanes = [(table.columns[k], [number(row[k]) for row in table.rows]) for k in range(1, place)][:MOST]
    step = -(-len(moved) // POINTS)
    across = svg.scale(0.0, len(moved), LABEL, RIGHT)
    parts = [_lane(name, values[::step], TOP + LANE * k, step, across) for k, (name, values) in enumerate(lanes)]
    top = TOP + LANE * len(lanes) + 6.0
    added = [_total(moved[start : start + step]) for start in range(0, len(moved), step)]
    parts.append(_bars(added, top, step, across))
    what = escape(fmt.fit(fmt.heading(table.columns[place]), 12))
    parts.append(f'<text class="t" x="30" y="{short(top + BARS / 2 + 4)}">{what}</text>')
    names = [str(row[0]) for row in table.rows]
    parts.append(_time(names, top + BARS, across))
    return svg.frame(top + BARS + 20, table.title, _told(names, lanes, moved), "".join(parts), "timeline")


def _total(values: Values) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) if known else None


def _lane(name: str, values: Values, top: float, step: int, across: Scale) -> str:
    """One column: its name with its range beneath, and its line; gaps stay gaps, a single point is a dot."""
    known = [value for value in values if value is not None]
    label = svg.name(name, LABEL - 8, top + 11)
    ground = f'<path class="g" d="M{LABEL} {short(top + LANE - 3)}H{RIGHT}"/>'
    if not known:
        return f'{label}{ground}<text class="u" x="{LABEL + 4}" y="{short(top + 14)}">undefined</text>'
    low, high = min(known), max(known)
    told = fmt.value(low) if low == high else f"{fmt.value(low)} to {fmt.value(high)}"
    label += f'<text class="l l2 t e" x="{LABEL - 8}" y="{short(top + 21)}">{escape(told)}</text>'
    up = svg.scale(low, high, top + LANE - 6, top + 3) if high > low else lambda _: top + LANE / 2
    path, dots, pen = "", "", "M"
    for k, value in enumerate(values):
        if value is None:
            pen = "M"
            continue
        x, y = short(across((k + 0.5) * step)), short(up(value))
        alone = pen == "M" and (k + 1 == len(values) or values[k + 1] is None)
        path += "" if alone else f"{pen}{x} {y}"
        dots += f'<circle cx="{x}" cy="{y}" r="1.5"/>' if alone else ""
        pen = "L"
    line = f'<path class="c" d="{path}"/>' if path else ""
    return label + ground + line + dots


def _bars(values: Values, top: float, step: int, across: Scale) -> str:
    """What each step moved: up from nought or down, on one scale."""
    known = [value for value in values if value is not None]
    low, high = min(0.0, *known), max(0.0, *known)
    if low == high:
        high = 1.0
    up = svg.scale(low, high, top + BARS - 4, top + 8)
    shapes = {"up": "", "down": ""}
    for k, value in enumerate(values):
        if value:
            left, right = across(k * step), across((k + 1) * step)
            gap = min(1.0, (right - left) / 5)
            ends = f"M{short(left + gap)} {short(up(0.0))}V{short(up(value))}H{short(right - gap)}V{short(up(0.0))}z"
            shapes["up" if value > 0 else "down"] += ends
    drawn = "".join(f'<path class="{kind}" d="{path}"/>' for kind, path in shapes.items() if path)
    marks = [mark for mark in svg.ticks(low, high, 3) if up(mark) <= top + BARS]
    grid = "".join(f"M{LABEL} {short(up(mark))}H{RIGHT}" for mark in marks)
    texts = "".join(
        f'<text class="t e" x="{LABEL - 4}" y="{short(up(mark) + 4)}">{fmt.tick(mark, "")}</text>' for mark in marks
    )
    zero = f'<path class="r" d="M{LABEL} {short(up(0.0))}H{RIGHT}"/>'
    return f'<path class="g" d="{grid}"/>{texts}{drawn}{zero}'


def _time(names: Sequence[str], y: float, across: Scale) -> str:
    """The first, the last and up to three steps between them, by their own names where these are short."""
    count = len(names)
    places = sorted({0, count - 1, *(round(k * (count - 1) / 4) for k in (1, 2, 3) if count >= 5)})
    first = names[0].rpartition(" ")[0]
    parts = []
    for place in places:
        word = names[place].rpartition(" ")[2]
        parts.append(
            f'<text class="t" x="{short(across(place + 0.5))}" y="{short(y + 12)}">{escape(fmt.fit(word, 9))}</text>'
        )
    axis = escape(fmt.fit(fmt.one_line(first), 12))
    return f'<text class="t e" x="{LABEL - 8}" y="{short(y + 12)}">{axis}</text>' + "".join(parts)


def _told(names: Sequence[str], lanes: Sequence[tuple[str, Values]], moved: Values) -> str:
    """The picture in words: how long, which columns, and the steps that moved most."""
    order = sorted(range(len(names)), key=lambda k: -abs(moved[k] or 0.0))[:4]
    most = ", ".join(f"{names[k]} {fmt.value(moved[k])}" for k in order)
    lines = ", ".join(name for name, _ in lanes)
    return f"{len(names)} steps in time, lines of {lines}; most moved by {most}"
