"""What the calibration of the checks says in a report: a sentence for each check, one table, one picture."""

from __future__ import annotations

from markupsafe import Markup

from audit import stats
from audit.core import Calibrated, Calibration
from audit.drawing import format as fmt
from audit.drawing import svg
from audit.drawing.format import Figure
from audit.drawing.svg import Row

Words = tuple[str | Figure, ...]
ENOUGH = 20  # readings from which on "in 95 % of them" says something


def told(calibration: Calibration) -> tuple[tuple[str, tuple[tuple[int, Calibrated], ...]], ...]:
    """(check, its numbered figures) of every check that was calibrated."""
    found: dict[str, list[tuple[int, Calibrated]]] = {}
    for place, figure in enumerate(calibration.figures):
        found.setdefault(figure.check, []).append((place, figure))
    return tuple((check, tuple(figures)) for check, figures in found.items())


def of(figure: Calibrated) -> str:
    """Whom a figure speaks of, in words."""
    if not figure.by:
        return "everyone"
    return f"all of {' × '.join(figure.by)}" if figure.gap else f"each {' × '.join(figure.by)}"


def number(value: float, unit: str, place: int, name: str) -> Figure:
    """A number of the calibration with its place in the record."""
    return Figure(text=fmt.value(value, unit), number=value, ref=f"/calibration/figures/{place}/{name}")


def quote(calibration: Calibration | None, check: str) -> Words:
    """How well the check reads reference models of this family, of its most telling figure; () where nothing is known."""
    figures = calibration.figures if calibration else ()
    own = [(place, figure) for place, figure in enumerate(figures) if figure.check == check]
    if not own:
        return ()
    place, figure = min(own, key=lambda item: (not item[1].gap, len(item[1].by), item[0]))
    if figure.readings < ENOUGH:
        return ()
    size = "difference" if figure.unit == "proportion" else figure.unit
    within = number(figure.within, size, place, "within")
    words: list[str | Figure] = [
        "On reference models of this family the check recovers ",
        f"{fmt.label(figure.measure)} ({of(figure)}) within ±",
        Figure(text=within.text.removeprefix("+"), number=within.number, ref=within.ref),
        " in 95 % of ",
        Figure(text=fmt.count(figure.readings), number=figure.readings, ref=f"/calibration/figures/{place}/readings"),
        " readings",
    ]
    if figure.coverage is not None:
        words += ["; its intervals held the truth in ", number(figure.coverage, "proportion", place, "coverage")]
    return (*words, ".")


def _name(check: str) -> str:
    """A check's name in words that a drawing can cut in two: "error rates", and the room where that says too little."""
    room, _, name = check.partition(".")
    return name.replace("_", " ") if name != "overall" else room


def picture(calibration: Calibration) -> Markup:
    """The share of intervals that held the truth, one row a check, beside the level that they promise."""
    rows = []
    for check, figures in told(calibration):
        sure = [figure for _, figure in figures if figure.coverage is not None]
        trials = sum(figure.trials for figure in sure)
        if trials:
            held = sum((figure.coverage or 0.0) * figure.trials for figure in sure) / trials
            # The figures of one check share their audits: together they are worth no more than the one read most often.
            most = max(figure.trials for figure in sure)
            low, high = stats.wilson(held * most, most, calibration.level)
            rows.append(Row(label=_name(check), value=held, low=float(low), high=float(high)))
    if not rows:
        return Markup("")
    lowest = min(rows, key=lambda row: row.value or 0.0)
    desc = (
        f"Of {len(rows)} checks; the lowest share is {fmt.value(lowest.value, 'proportion')}, of {lowest.label}; "
        f"{fmt.value(calibration.level, 'proportion')} is promised."
    )
    return svg.forest(
        rows, title="Share of intervals that held the truth", desc=desc, unit="proportion", limits=(calibration.level,)
    )
