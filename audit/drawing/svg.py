"""Small drawings as inline SVG: numbers in, Markup out; colours are CSS classes so that a page may be light or dark."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from audit.core import Curve
from audit.drawing import format as fmt

WIDTH = 360
LABEL = 118  # room for the names of groups, in units of the view box
ROW = 20
TOP = 16
FOOT = 20
RIGHT = WIDTH - 10
_REFERENCE = {"ratio": 1.0, "difference": 0.0}
Scale = Callable[[float], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of a drawing: a name, a value with its bounds, and how it was judged ("" if it was not).

    chance is what the value would be by chance alone; `wide` says that the bounds are the worst case and no interval.
    """

    label: str
    value: float | None
    low: float | None = None
    high: float | None = None
    judged: str = ""
    chance: float | None = None
    wide: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """A point that was chosen in a plane, with the interval of its height."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None


def ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Round numbers inside [low, high], some `about` of them."""
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(size * power for size in (1, 2, 2.5, 5, 10) if size * power >= raw * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(k * step, 12) + 0.0 for k in range(first, last + 1)]


def domain(rows: Sequence[Row], fixed: Sequence[float]) -> tuple[float, float]:
    """The range of an axis: every value and fixed line, and of the intervals what does not dwarf them."""
    core = [side for row in rows for side in (row.value, row.chance) if side is not None] + list(fixed)
    core += [side for row in rows if row.wide for side in (row.low, row.high) if side is not None]
    if not core:
        return 0.0, 1.0
    low, high = min(core), max(core)
    widths = sorted(row.high - row.low for row in rows if row.high is not None and row.low is not None)
    room = 1.5 * (high - low) + (widths[len(widths) // 2] if widths else 0.0) or max(abs(high), 1e-9)
    low = max(min([low] + [row.low for row in rows if row.low is not None]), low - room)
    high = min(max([high] + [row.high for row in rows if row.high is not None]), high + room)
    pad = 0.04 * (high - low) or 0.1 * max(abs(high), 1e-9)
    return low - pad, high + pad


def scale(low: float, high: float, left: float, right: float) -> Scale:
    """From numbers in [low, high] to places in [left, right]; what lies outside is put on the edge."""
    return lambda number: left + (min(max(number, low), high) - low) / (high - low) * (right - left)


def short(number: float) -> str:
    """A place with one decimal, none where it is whole."""
    return f"{number:.1f}".rstrip("0").rstrip(".")


def frame(height: float, title: str, desc: str, body: str, kind: str) -> Markup:
    """The drawing around its parts, with the text alternative that a screen reader tells."""
    head = f'<svg class="{kind}" role="img" viewBox="0 0 {WIDTH} {short(height)}">'
    words = f"<title>{escape(fmt.short(fmt.one_line(title)))}</title><desc>{escape(fmt.short(fmt.one_line(desc), 300))}</desc>"
    return Markup(f"{head}{words}{body}</svg>")


def axis(low: float, high: float, at: Scale, bottom: float, unit: str) -> str:
    """Grid lines and their numbers beneath."""
    marks = ticks(low, high)
    grid = "".join(f"M{short(at(mark))} {TOP}V{short(bottom)}" for mark in marks)
    texts = "".join(
        f'<text class="t" x="{short(at(mark))}" y="{short(bottom + 13)}">{fmt.tick(mark, unit)}</text>'
        for mark in marks
    )
    return f'<path class="g" d="{grid}"/>{texts}'


def _limits(limits: Sequence[float], at: Scale, bottom: float, unit: str) -> str:
    return "".join(
        f'<path class="m" d="M{short(at(limit))} {TOP - 4}V{short(bottom)}"/>'
        f'<text class="t m" x="{short(at(limit))}" y="{TOP - 6}">limit {fmt.tick(limit, unit)}</text>'
        for limit in limits
    )


def _whisker(row: Row, y: float, low: float, high: float, at: Scale) -> str:
    """The interval as a path; an arrow where it runs off the axis."""
    if row.low is None or row.high is None or row.wide:
        return ""
    left, right = at(row.low), at(row.high)
    path = f"M{short(left)} {short(y)}H{short(right)}"
    if row.low < low:
        path += f"m{short(left - right + 4)}-3l-4 3 4 3M{short(right)} {short(y)}"
    if row.high > high:
        path += "m-4-3l4 3-4 3"
    return path


def _beneath(row: Row, y: float, at: Scale) -> str:
    """What lies under a point: the light bar of its worst case, and the hollow square of what chance would give."""
    parts = ""
    if row.wide and row.low is not None and row.high is not None:
        left, right = at(row.low), at(row.high)
        parts += f'<rect class="a" x="{short(left)}" y="{short(y - 6)}" width="{short(right - left)}" height="12"/>'
    if row.chance is not None:
        parts += f'<rect class="h" x="{short(at(row.chance) - 3.5)}" y="{short(y - 3.5)}" width="7" height="7"/>'
    return parts


def _point(row: Row, x: float, y: float) -> str:
    if row.judged == "fail":
        return f'<path class="f" d="M{short(x)} {short(y - 5.5)}l5.5 5.5-5.5 5.5-5.5-5.5z"/>'
    kind = ' class="o"' if row.judged and row.judged != "pass" else ""
    return f'<circle{kind} cx="{short(x)}" cy="{short(y)}" r="4"/>'


def names(rows: Sequence[Row]) -> str:
    """The names of the rows at the left edge, long ones in two lines."""
    return "".join(name(row.label, LABEL - 8, TOP + ROW * k + 14, lines=2) for k, row in enumerate(rows))


def name(label: str, x: float, y: float, *, lines: int = 1) -> str:
    """A name that ends at x, in smaller letters or in two lines where it is too long for the room of names."""
    label = fmt.one_line(label)
    if len(label) <= 15:
        return f'<text class="l" x="{short(x)}" y="{short(y)}">{escape(fmt.fit(label, 15))}</text>'
    parts = _halves(label) if lines == 2 else ()
    if not parts:
        return f'<text class="l l1" x="{short(x)}" y="{short(y)}">{escape(fmt.fit(label, 18))}</text>'
    return "".join(
        f'<text class="l l2" x="{short(x)}" y="{short(y + shift)}">{escape(fmt.fit(part, 20))}</text>'
        for part, shift in zip(parts, (-6, 3), strict=True)
    )


def _halves(label: str) -> tuple[str, ...]:
    """A name cut behind what joins its parts, else at the blank nearest to its middle; uncut where it fits or has none."""
    blanks = [place for place, letter in enumerate(label) if letter == " "]
    if len(label) <= 18 or not blanks:
        return ()
    joints = [place for place in blanks if label[place - 1] in "·×="]
    cut = min(joints or blanks, key=lambda place: abs(2 * place - len(label)))
    return label[:cut], label[cut + 1 :]


def forest(rows: Sequence[Row], *, title: str, desc: str, unit: str = "", limits: Sequence[float] = ()) -> Markup:
    """Values with their intervals, one row a group, on one axis; limits are dashed, the point of no difference is solid.

    A hollow square is what chance alone would give, a light bar the worst case.
    """
    reference = [_REFERENCE[unit]] if unit in _REFERENCE else []
    low, high = domain(rows, [*limits, *reference])
    at, bottom = scale(low, high, LABEL, RIGHT), TOP + ROW * len(rows)
    parts = [axis(low, high, at, bottom, unit)]
    parts += [f'<path class="r" d="M{short(at(mark))} {TOP}V{bottom}"/>' for mark in reference]
    parts += [_limits(limits, at, bottom, unit), names(rows)]
    parts += [_beneath(row, TOP + ROW * k + 10, at) for k, row in enumerate(rows)]
    lines = "".join(_whisker(row, TOP + ROW * k + 10, low, high, at) for k, row in enumerate(rows))
    parts.append(f'<path class="w" d="{lines}"/>' if lines else "")
    for k, row in enumerate(rows):
        if row.value is None:
            parts.append(f'<text class="u" x="{LABEL + 4}" y="{TOP + ROW * k + 14}">undefined</text>')
        else:
            parts.append(_point(row, at(row.value), TOP + ROW * k + 10))
    return frame(bottom + FOOT, title, desc, "".join(parts), "forest")


def bars(rows: Sequence[Row], *, title: str, desc: str, unit: str = "") -> Markup:
    """Horizontal bars from zero with their intervals, one row a name."""
    low, high = domain(rows, [0.0])
    low = max(low, 0.0) if all((row.value or 0) >= 0 and (row.low or 0) >= 0 for row in rows) else low
    at, bottom = scale(low, high, LABEL, RIGHT), TOP + ROW * len(rows)
    parts = [axis(low, high, at, bottom, unit), names(rows)]
    for k, row in enumerate(rows):
        if row.value is not None:
            left, right = sorted((at(0.0), at(row.value)))
            parts.append(
                f'<rect class="b" x="{short(left)}" y="{TOP + ROW * k + 4}" width="{short(right - left)}" height="12"/>'
            )
    lines = "".join(_whisker(row, TOP + ROW * k + 10, low, high, at) for k, row in enumerate(rows))
    parts.append(f'<path class="w" d="{lines}"/>' if lines else "")
    parts.append(f'<path class="r" d="M{short(at(0.0))} {TOP}V{bottom}"/>')
    return frame(bottom + FOOT, title, desc, "".join(parts), "bars")


# -------------------------------------------------------------------------------------------------- curves
_LEFT, _HEIGHT, _BASE = 46, 220, 180


def line(curve: Curve, *, title: str, desc: str, diagonal: bool = False) -> Markup:
    """One curve with its band; gaps stay gaps, and single points are dots; a diagonal is where x and y agree."""
    ys = [y for y in (*curve.y, *curve.low, *curve.high) if y is not None]
    low, high = domain([], [*ys, 0.0] if curve.unit == "proportion" else ys)
    first, last = domain([], list(curve.x))
    across, up = scale(first, last, _LEFT, RIGHT), scale(low, high, _BASE, TOP)
    parts = [_cross(first, last, across, low, high, up, curve), _band(curve, across, up)]
    start, end = max(first, low), min(last, high)
    if diagonal and start < end:
        ends = f"M{short(across(start))} {short(up(start))}L{short(across(end))} {short(up(end))}"
        parts.append(f'<path class="r i" d="{ends}"/>')
    path = _path(curve, across, up)
    parts.append(f'<path class="c" d="{path}"/>' if path else "")
    if len(curve.x) <= 40:
        points = [(x, y) for x, y in zip(curve.x, curve.y, strict=True) if y is not None]
        parts += [f'<circle cx="{short(across(x))}" cy="{short(up(y))}" r="3"/>' for x, y in points]
    return frame(_HEIGHT, title, desc, "".join(parts), "curve")


def _path(curve: Curve, across: Scale, up: Scale) -> str:
    """The points of a curve, joined where there is no gap."""
    path, pen = "", "M"
    for x, y in zip(curve.x, curve.y, strict=True):
        path += f"{pen}{short(across(x))} {short(up(y))}" if y is not None else ""
        pen = "L" if y is not None else "M"
    return path


def scatter(curves: Sequence[Curve], spots: Sequence[Spot], *, title: str, desc: str) -> Markup:
    """A trade-off: points of each curve lightly joined, the second dashed, and the chosen spots numbered on top."""
    ys = [y for curve in curves for y in curve.y if y is not None] + [spot.y for spot in spots]
    rows = [Row(label="", value=spot.y, low=spot.low, high=spot.high) for spot in spots]
    low, high = domain(rows, ys)
    first, last = domain([], [x for curve in curves for x in curve.x] + [spot.x for spot in spots])
    across, up = scale(first, last, _LEFT, RIGHT), scale(low, high, _BASE, TOP)
    parts = [_cross(first, last, across, low, high, up, curves[0])]
    for place, curve in enumerate(curves):
        path = _path(curve, across, up)
        parts.append(f'<path class="c j{" d" if place else ""}" d="{path}"/>' if path else "")
        points = [(x, y) for x, y in zip(curve.x, curve.y, strict=True) if y is not None]
        kind = ' class="q"' if place else ""
        parts += [f'<circle{kind} cx="{short(across(x))}" cy="{short(up(y))}" r="2.2"/>' for x, y in points]
    stems = [(across(s.x), up(s.low), up(s.high)) for s in spots if s.low is not None and s.high is not None]
    path = "".join(f"M{short(x)} {short(bottom)}V{short(top)}" for x, bottom, top in stems)
    parts.append(f'<path class="w" d="{path}"/>' if path else "")
    parts += _numbered([(across(spot.x), up(spot.y)) for spot in spots])
    return frame(_HEIGHT, title, desc, "".join(parts), "curve")


def _numbered(places: Sequence[tuple[float, float]]) -> list[str]:
    """A ring at each place with its number beside it; those that touch share one text."""
    shared: list[tuple[float, float, list[str]]] = []
    for number, (x, y) in enumerate(places, 1):
        near = [one for one in shared if abs(one[0] - x) < 14 and abs(one[1] - y) < 11]
        if near:
            near[0][2].append(str(number))
        else:
            shared.append((x, y, [str(number)]))
    parts = [f'<circle class="s" cx="{short(x)}" cy="{short(y)}" r="4.5"/>' for x, y in places]
    for x, y, numbers in shared:
        side, kind = (-8, "t e k") if x > RIGHT - 40 else (8, "t b k")
        parts.append(f'<text class="{kind}" x="{short(x + side)}" y="{short(y - 5)}">{", ".join(numbers)}</text>')
    return parts


def _cross(first: float, last: float, across: Scale, low: float, high: float, up: Scale, curve: Curve) -> str:
    """Grid, tick texts and the name of the horizontal axis."""
    xs, ys = ticks(first, last, 5), ticks(low, high)
    grid = "".join(f"M{_LEFT} {short(up(y))}H{RIGHT}" for y in ys)
    texts = [f'<text class="t e" x="{_LEFT - 6}" y="{short(up(y) + 4)}">{fmt.tick(y, curve.unit)}</text>' for y in ys]
    texts += [f'<text class="t" x="{short(across(x))}" y="{_BASE + 15}">{fmt.tick(x, "")}</text>' for x in xs]
    name = escape(fmt.fit(curve.x_label, 50))
    texts.append(f'<text class="t" x="{(_LEFT + RIGHT) / 2}" y="{_HEIGHT - 6}">{name}</text>')
    return f'<path class="g" d="{grid}"/><path class="r" d="M{_LEFT} {_BASE}H{RIGHT}"/>{"".join(texts)}'


def _band(curve: Curve, across: Scale, up: Scale) -> str:
    """The band as closed shapes, one for each stretch without a gap."""
    if not curve.low or not curve.high:
        return ""
    shapes, stretch = [], []
    for x, low, high in [*zip(curve.x, curve.low, curve.high, strict=True), (0.0, None, None)]:
        if low is not None and high is not None:
            stretch.append((short(across(x)), short(up(low)), short(up(high))))
        elif stretch:
            there = "L".join(f"{x} {low}" for x, low, _ in stretch)
            back = "L".join(f"{x} {high}" for x, _, high in reversed(stretch))
            shapes.append(f"M{there}L{back}Z")
            stretch = []
    return f'<path class="a" d="{"".join(shapes)}"/>' if shapes else ""
