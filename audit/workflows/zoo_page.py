"""docs/zoo.md: a row a family, with its paper, a picture of its audit, what is true and what was read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from audit import registry
from audit.core import Calibrated, Calibration
from audit.drawing import format as fmt
from audit.drawing import svg
from audit.registry import Entry
from audit.reports.instruments import of
from audit.reports.sources import cite, shipped
from audit.workflows.calibrate import known

FOLDER = Path("docs") / "zoo"
# What a row shows: check, measure, whether of all groups at once; the first three that a calibration has.
SHOWN = (
    ("performance.overall", "auc", False),
    ("fairness.selection", "demographic_parity_difference", True),
    ("fairness.error_rates", "equal_opportunity_difference", True),
    ("performance.reconstruction", "reconstruction_error", False),
    ("performance.overall", "accuracy", False),
    ("fairness.error_rates", "accuracy", False),
    ("fairness.scores", "score_mean_difference", True),
)
MOST = 3
# A picture outside a page brings its own colours.
STYLE = (
    "svg{background:#fff;font:11px system-ui,sans-serif}text{fill:#1d1c1a}.l{text-anchor:end}.l1{font-size:10px}"
    ".l2{font-size:9px}.t{text-anchor:middle;fill:#5b5750}path{fill:none}.g{stroke:#d8d2c4;stroke-width:.75}"
    ".w{stroke:#1d1c1a;stroke-width:1.5}circle{fill:#2166ac}.h{fill:#fff;stroke:#b2182b;stroke-width:1.5}"
)


def pages() -> Mapping[Path, str]:
    """docs/zoo.md and a picture for each calibrated family, by their paths below the repository's root."""
    families = registry.entries("families")
    found = {id: known(id) for id in families}
    pictures = {FOLDER / f"{id}.svg": picture(each) for id, each in found.items() if each and shown(each)}
    return {FOLDER.with_suffix(".md"): _page(families, found), **pictures}


def shown(calibration: Calibration) -> list[Calibrated]:
    """The figures that a row and its picture show."""
    by = {
        (f.check, f.measure, f.gap): f
        for f in reversed(calibration.figures)
        if f.gap or not f.by  # of everyone, or of all groups at once
    }
    return [by[key] for key in SHOWN if key in by][:MOST]


def picture(calibration: Calibration) -> str:
    """What the audits read (a point, and what 95 % of the readings lie within) beside the truth (a hollow square)."""
    figures = shown(calibration)
    rows = [
        svg.Row(
            label=fmt.label(figure.measure),
            value=figure.read,
            low=figure.read - figure.within,
            high=figure.read + figure.within,
            chance=figure.truth,
        )
        for figure in figures
    ]
    told = "; ".join(f"{fmt.label(f.measure)}: true {f.truth:.3f}, read {f.read:.3f} ± {f.within:.3f}" for f in figures)
    drawn = svg.forest(rows, title=f"Audits of the family {calibration.family}", desc=told)
    return (
        str(drawn)
        .replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
        .replace("<title>", f"<style>{STYLE}</style><title>", 1)
        + "\n"
    )


def _page(families: Mapping[str, Entry], found: Mapping[str, Calibration | None]) -> str:
    lines = [
        "# The zoo",
        "",
        f"{len(families)} families of reference models, each trained on a [planted world](worlds.md) where the truth is known "
        "and audited on fresh rows of it ([models](models.md) tells how). In a picture a hollow square is the truth, a point "
        "what the audits read on average, and its line what 95 % of the readings lie within. `audit calibrate FAMILY` "
        "makes the figures, `make docs` this page.",
        "",
        "| family | paper | world | picture of its audits | truth and reading | intervals that held the truth |",
        "| --- | --- | --- | --- | --- | --- |",
        *(_row(entry, found[id]) for id, entry in families.items()),
        "",
    ]
    return "\n".join(lines)


def _row(entry: Entry, calibration: Calibration | None) -> str:
    knobs = ", ".join(f"{name} = {value:g}" for name, value in entry.facts["knobs"].items())
    world = entry.facts["world"] + (f" ({knobs})" if knobs else "")
    cells = [f"**{entry.id}**<br>{entry.title}", "<br>".join(map(_paper, entry.sources)), world]
    if calibration is None or not shown(calibration):
        return f"| {' | '.join([*cells, 'none', 'not calibrated', 'none'])} |"
    image = f"![what audits of {entry.id} read, beside the truth](zoo/{entry.id}.svg)"
    return f"| {' | '.join([*cells, image, '<br>'.join(_readings(calibration)), _coverage(calibration)])} |"


def _paper(key: str) -> str:
    """Author, year and title of a source, for a cell of a table."""
    fields = shipped().get(key, {})
    told = cite(key, {key: {name: fields[name] for name in ("author", "year", "title") if name in fields}})
    return told.replace("|", "\\|")


def _readings(calibration: Calibration) -> Iterator[str]:
    for figure in shown(calibration):
        yield (
            f"{fmt.label(figure.measure)} ({of(figure)}): {figure.truth:.3f} true, {figure.read:.3f} read, "
            f"within ± {figure.within:.3f}"
        )


def _coverage(calibration: Calibration) -> str:
    sure = [figure for figure in calibration.figures if figure.coverage is not None]
    trials = sum(figure.trials for figure in sure)
    if not trials:
        return "no intervals"
    held = sum((figure.coverage or 0.0) * figure.trials for figure in sure)
    models = f"{calibration.seeds} models × {calibration.audits} audits"
    return f"{held / trials:.1%} of {trials:,} ({models}; {calibration.level:.0%} promised)"
