"""A node among its neighbours: the node in the middle, those one and more steps away on rings, marks and ties by what they move."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from audit.core import Cell, Table
from audit.drawing import format as fmt
from audit.drawing import svg
from audit.drawing.format import number
from audit.drawing.svg import WIDTH, short

MOST = 60  # nodes that are drawn
MIDDLE, REACH = (WIDTH / 2, 148.0), 132.0
COLUMNS = 5  # that are read, the value last
FARTHEST = 40  # steps away that a ring can be drawn for
NAMED = 6  # of the nodes that move most, the number beside the mark
LEAST, LARGEST = 2.6, 8.5  # radius of a mark
THIN, THICK = 0.5, 5.0  # breadth of a tie
Place = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Node:
    """A node of the picture: steps away, group, and what it moves; None for the node in the middle."""

    hops: int
    group: str
    value: float | None


def neighbourhood(table: Table) -> Markup:
    """Columns node, tied to, hops, group, value, SE: a row a node (tied to nothing), the asked one first, and a row a tie."""
    if len(table.columns) < COLUMNS:
        return Markup("")
    nodes = {
        str(row[0]): _Node(hops=_steps(row[2]), group=str(row[3] or ""), value=number(row[4]))
        for row in table.rows
        if row[1] is None
    }
    nodes = dict(list(nodes.items())[:MOST])
    ties = [(str(row[0]), str(row[1]), number(row[4])) for row in table.rows if row[1] is not None]
    ties = [tie for tie in ties if tie[0] in nodes and tie[1] in nodes]
    steps = {each.hops for each in nodes.values()}
    if len(nodes) < 2 or 0 not in steps or not steps <= set(range(FARTHEST + 1)):
        return Markup("")  # nobody around, nobody in the middle, or places that are none
    places = _places(nodes, ties)
    groups = sorted({each.group for each in nodes.values() if each.group})
    parts = [_rings(max(each.hops for each in nodes.values()))]
    parts += _ties(ties, places)
    parts += _marks(nodes, places, groups)
    legend, height = _legend(groups)
    return svg.frame(height, table.title, _told(nodes, ties), "".join(parts) + legend, "neighbourhood")


def _steps(content: Cell) -> int:
    """Whole steps from the node in the middle, -1 for what is no such number."""
    found = number(content)
    return int(found) if found is not None and 0 <= found <= FARTHEST else -1


def _rings(last: int) -> str:
    x, y = MIDDLE
    path = ""
    for step in range(1, last + 1):
        r = short(REACH * step / last)
        path += f"M{short(x)} {short(y - REACH * step / last)}a{r} {r} 0 1 0 .01 0z"
    return f'<path class="g" d="{path}"/>'


def _places(nodes: Mapping[str, _Node], ties: Sequence[tuple[str, str, float | None]]) -> dict[str, Place]:
    """Where each node stands: on its ring evenly, in the order of the node of the ring before that it hangs on."""
    last = max(each.hops for each in nodes.values())
    near: dict[str, set[str]] = {name: set() for name in nodes}
    for one, other, _ in ties:
        near[one].add(other)
        near[other].add(one)
    angle = {name: 0.0 for name, each in nodes.items() if not each.hops}
    found = dict.fromkeys(angle, MIDDLE)
    for step in range(1, last + 1):
        ring = [name for name, each in nodes.items() if each.hops == step]
        before = {
            name: min((angle[other] for other in near[name] if nodes[other].hops == step - 1), default=9.0)
            for name in ring
        }
        ring.sort(key=lambda name: before[name])
        for k, name in enumerate(ring):
            angle[name] = 2 * math.pi * (k + 0.5 * (step % 2)) / len(ring)
            r = REACH * step / last
            found[name] = (MIDDLE[0] + r * math.sin(angle[name]), MIDDLE[1] - r * math.cos(angle[name]))
    return found


def _ties(ties: Sequence[tuple[str, str, float | None]], places: Mapping[str, Place]) -> list[str]:
    """Thin lines for ties of which nothing is said, bars as broad as what the others move."""
    most = max((abs(value) for _, _, value in ties if value is not None), default=0.0)
    plain, parts = "", []
    for one, other, value in ties:
        (x1, y1), (x2, y2) = places[one], places[other]
        if not value or not most:
            plain += f"M{short(x1)} {short(y1)}L{short(x2)} {short(y2)}"
            continue
        half = (THIN + (THICK - THIN) * abs(value) / most) / 2
        length = math.hypot(x2 - x1, y2 - y1) or 1.0
        dx, dy = -(y2 - y1) / length * half, (x2 - x1) / length * half
        corners = [(x1 + dx, y1 + dy), (x2 + dx, y2 + dy), (x2 - dx, y2 - dy), (x1 - dx, y1 - dy)]
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in corners) + "z"
        parts.append(f'<path class="{_kind(value)} tie" d="{path}"/>')
    return [f'<path class="g" d="{plain}"/>', *parts] if plain else parts


def _kind(value: float) -> str:
    return "up" if value > 0 else "down"


def _marks(nodes: Mapping[str, _Node], places: Mapping[str, Place], groups: Sequence[str]) -> list[str]:
    most = max((abs(each.value) for each in nodes.values() if each.value is not None), default=0.0)
    order = sorted((name for name, each in nodes.items() if each.value), key=lambda name: -abs(nodes[name].value or 0))
    parts = []
    for name, each in nodes.items():
        share = abs(each.value or 0.0) / most if most else 0.0
        size = LARGEST if not each.hops else LEAST + (LARGEST - LEAST) * math.sqrt(share)
        kind = _kind(each.value) if each.value else "h"
        parts.append(_mark(groups.index(each.group) if each.group else 0, kind, places[name], size))
    for name in order[:NAMED]:
        x, y = places[name]
        side = 1 if x >= MIDDLE[0] else -1
        anchor = "" if side > 0 else ' class="l"'
        parts.append(f'<text{anchor} x="{short(x + 11 * side)}" y="{short(y + 4)}">{_called(name)}</text>')
    return parts


def _called(name: str) -> Markup:
    return escape(fmt.fit(fmt.one_line(name.removeprefix("node ")), 10))


def _mark(place: int, kind: str, at: Place, r: float) -> str:
    """A mark of a shape of its own for each of the first four groups: disc, square, diamond, triangle."""
    x, y = at
    if place % 4 == 0:
        return f'<circle class="{kind}" cx="{short(x)}" cy="{short(y)}" r="{short(r)}"/>'
    shapes = {
        1: f"M{short(x - r * 0.9)} {short(y - r * 0.9)}h{short(1.8 * r)}v{short(1.8 * r)}h-{short(1.8 * r)}z",
        2: f"M{short(x)} {short(y - 1.2 * r)}l{short(1.2 * r)} {short(1.2 * r)}-{short(1.2 * r)} {short(1.2 * r)}-{short(1.2 * r)}-{short(1.2 * r)}z",
        3: f"M{short(x)} {short(y - 1.2 * r)}l{short(1.2 * r)} {short(2.1 * r)}h-{short(2.4 * r)}z",
    }
    return f'<path class="{kind}" d="{shapes[place % 4]}"/>'


def _legend(groups: Sequence[str]) -> tuple[str, float]:
    """What the shapes mean, two in a line, and the height of the whole picture."""
    top = MIDDLE[1] + REACH + 24
    words = ("The node asked about is in the middle; the larger a mark and", "the broader a tie, the more it moves.")
    parts = [f'<text x="12" y="{short(top + 14 * k)}">{line}</text>' for k, line in enumerate(words)]
    top += 14
    for k, group in enumerate(groups[:8]):
        x, y = 18 + 174 * (k % 2), top + 18 * (1 + k // 2)
        parts.append(_mark(k, "h", (x, y - 4), 4.5))
        parts.append(f'<text x="{x + 10}" y="{short(y)}">{escape(fmt.fit(fmt.one_line(group), 24))}</text>')
    return "".join(parts), top + 18 * -(-min(len(groups), 8) // 2) + 10


def _told(nodes: Mapping[str, _Node], ties: Sequence[tuple[str, str, Cell]]) -> str:
    """The picture in words: how many nodes and ties, and which move most."""
    order = sorted((name for name, each in nodes.items() if each.hops), key=lambda name: -abs(nodes[name].value or 0.0))
    most = ", ".join(f"{name} {fmt.value(nodes[name].value)}" for name in order[:4])
    middle = next(name for name, each in nodes.items() if not each.hops)
    return f"{middle} among {len(nodes) - 1} nodes and {len(ties)} ties; most moved by {most}"
