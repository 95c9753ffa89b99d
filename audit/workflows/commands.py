"""What `audit zoo` and `audit calibrate` do and print: tables on stdout, progress and paths on stderr."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from audit.core import Calibrated, Calibration, MissingExtra, OutputError, RunSpec, UsageError
from audit.drawing import format as fmt
from audit.engine import Progress
from audit.reports.instruments import ENOUGH
from audit.workflows import calibrate, compare, zoo
from audit.workflows.progress import bar, lines

if TYPE_CHECKING:
    from audit.models.promises import Promise

HEADLINES = ("demographic_parity_difference", "impact_ratio", "auc", "mean_abs_shap")


def _progress(quiet: bool) -> AbstractContextManager[Progress]:
    return bar(False) if quiet else bar(True) if sys.stderr.isatty() else lines()


def _wrote(*paths: Path) -> None:
    for path in paths:
        print(f"wrote {path}", file=sys.stderr)  # noqa: T201


def table(head: Sequence[str], rows: Sequence[Sequence[object]], *, words: Sequence[int] = (0,)) -> str:
    """Columns of plain text, those numbered in `words` left aligned."""
    cells = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[k]) for row in cells) for k in range(len(head))]
    lines = [
        "  ".join(
            cell.ljust(width) if k in words else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]]) + "\n"


# ----------------------------------------------------------------------------------------------------------- zoo
def zoo_list(*, quiet: bool = False) -> int:
    """Print a row a family."""
    with _progress(quiet) as progress:
        rows = zoo.listing(progress)
    head = ("family", "what it is", "sources", "world", "parameters", "offers")
    shown = [(id, title, sources, world, offers, f"{n:,}") for id, title, sources, world, n, offers in rows]
    sys.stdout.write(table((*head[:4], head[5], head[4]), shown, words=range(5)))
    return 0


def wishes(names: Sequence[str], everything: bool = False) -> tuple[zoo.Named, ...]:
    """The families that were named, or all; raises UsageError where none is."""
    from audit import registry

    if everything and names:
        raise UsageError("name families, or give --all, not both")
    if everything:
        return tuple(zoo.Named(id=id) for id in registry.entries("families"))
    if not names:
        raise UsageError(f"name one or more families, or --all; families: {', '.join(registry.entries('families'))}")
    return tuple(map(zoo.named, names))


def zoo_train(
    asked: Sequence[zoo.Named], out: Path, *, rows: int | None, audited: int | None, run: RunSpec, quiet: bool = False
) -> int:
    """Train families on `rows` people, keep them with an audit on `audited` others, judge them; 1 where one breaks a promise."""
    _writable(out)
    found, paths, left_out = [], [], list[str]()
    with _progress(quiet) as progress:
        for done, wish in enumerate(asked):
            progress(done, len(asked), f"training {wish}")
            try:
                found.append(zoo.train(wish, rows=rows, seed=run.seed, run=run))
            except MissingExtra as missing:
                if len(asked) == 1:
                    raise
                left_out.append(f"{wish} was left out: {missing}")
                continue
            paths.append(zoo.keep(found[-1], out, rows=audited, seed=run.seed).parent)
        progress(len(asked), len(asked), "done")
    sys.stdout.write(_promises(found))
    for line in left_out:
        print(line, file=sys.stderr)  # noqa: T201
    _wrote(*paths)
    return 0 if all(one.kept for one in found) else 1


def _promises(found: Sequence[zoo.Trained]) -> str:
    """What each trained family promised, and what came of it."""
    head = ("family", "promise", "found", "wanted", "kept", "parameters", "CPU s", "why")
    told = [
        (
            one.named if first else "",
            promise.name,
            f"{promise.value:.4f}",
            _bounds(promise),
            "yes" if promise.kept else "NO",
            f"{one.model.card.parameters:,}" if first else "",
            f"{one.cpu_seconds:.2f}" if first else "",
            promise.why,
        )
        for one in found
        for promise in one.promises
        for first in [promise is one.promises[0]]
    ]
    total = sum(one.cpu_seconds for one in found)
    broken = [str(one.named) for one in found if not one.kept]
    verdict = f"{', '.join(broken)} broke a promise" if broken else "every promise was kept"
    return table(head, told, words=(0, 1, 7)) + f"\n{len(found)} trained in {total:.1f} CPU-seconds; {verdict}\n"


def _writable(out: Path) -> None:
    """A folder that cannot be written is told before an hour of work, not after; raises OutputError."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise OutputError(f"--out: {out} cannot be written ({error.strerror}); name another folder") from None


def _bounds(promise: Promise) -> str:
    low = "" if promise.low is None else f">= {promise.low:.4f}"
    high = "" if promise.high is None else f"<= {promise.high:.4f}"
    return " and ".join(filter(None, (low, high)))


def zoo_run(
    wish: zoo.Named, out: Path, *, rows: int | None, training: int | None, run: RunSpec, quiet: bool = False
) -> int:
    """Train, audit and report one family."""
    from audit.reports import terminal
    from audit.reports.render import render, write

    _writable(out)
    with _progress(quiet) as progress:
        found, report, folder = zoo.run(wish, out, rows=rows, training=training, run=run, progress=progress)
    paths = [folder / "result.json", folder / "report.html"]
    for path, format in zip(paths, ("json", "html"), strict=True):
        write(render(report, format), path)
    sys.stdout.write(_promises([found]))
    terminal.show(report, [folder / "audit.toml", *paths])
    return 0 if found.kept else 1


def zoo_compare(
    asked: Sequence[zoo.Named],
    out: Path,
    *,
    world: str | None,
    rows: int | None,
    training: int | None,
    run: RunSpec,
    quiet: bool = False,
) -> int:
    """Train, audit and report several families side by side."""
    from audit.core import Table

    _writable(out)
    with _progress(quiet) as progress:
        report, sides = compare.compare(asked, world=world, rows=rows, training=training, run=run, progress=progress)
    found = next(piece for piece in report.outcomes[0].evidence if isinstance(piece, Table))
    rows_ = [[fmt.cell(cell) if cell is not None else "–" for cell in row] for row in found.rows]
    sys.stdout.write(table([fmt.heading(name) for name in found.columns], rows_))
    _wrote(*compare.save(report, sides, out))
    return 0


# ----------------------------------------------------------------------------------------------------- calibrate
def calibrate_families(
    asked: Sequence[zoo.Named], out: Path, *, plan: calibrate.Plan, run: RunSpec, quiet: bool = False
) -> int:
    """Calibrate families and keep what was found."""
    from audit.core import Spec
    from audit.reports import html
    from audit.reports.render import write

    _writable(out)
    for wish in asked:
        with _progress(quiet) as progress:
            found = calibrate.calibrate(wish.id, plan=plan, options=wish.options, spec=Spec(run=run), progress=progress)
        sys.stdout.write(told(found))
        path = calibrate.save(found, out, wish.folder)
        page = path.with_suffix(".html")
        write(html.calibration(found), page)
        _wrote(path, page)
    return 0


def told(found: Calibration) -> str:
    """A calibration as text: every measure, then what most people look for first."""
    head = (
        "check",
        "measure",
        "of",
        "truth",
        "read",
        "bias",
        "error",
        "95 % within",
        "coverage",
        "[interval]",
        "trials",
    )
    rows = [
        (
            figure.check,
            figure.measure,
            _of(figure.by, figure.gap),
            *(f"{number:.4f}" for number in (figure.truth, figure.read, figure.bias, figure.error, figure.within)),
            "–" if figure.coverage is None else f"{figure.coverage:.3f}",
            ""
            if figure.coverage_interval is None
            else f"[{figure.coverage_interval.low:.3f}, {figure.coverage_interval.high:.3f}]",
            figure.trials,
        )
        for figure in found.figures
    ]
    lines = [
        f"{found.family} on the world {found.world}: {found.seeds} models, {found.audits} audits of each "
        f"({found.explained} with explanations), {found.rows:,} people an audit, {found.level:.0%} intervals\n",
        table(head, rows, words=range(3)),
        f"no truth is known of: {', '.join(found.unknown)}\n" if found.unknown else "",
        "\n",
    ]
    return "".join([*lines, *map(_headline, headlines(found))])


def headlines(found: Calibration) -> list[Calibrated]:
    """The figures that most people look for first: gap, impact ratio, AUC and mean absolute Shapley value."""
    told = [f for f in found.figures if f.coverage is not None and f.readings >= ENOUGH]
    first = [f for name in HEADLINES for f in told if f.measure == name]
    return [figure for figure in first if figure.gap or not figure.by or figure.measure == "mean_abs_shap"]


def _headline(figure: Calibrated) -> str:
    return (
        f"{fmt.label(figure.measure)} ({figure.check}): within ±{figure.within:.3g} in 95 % of {figure.readings} readings; "
        f"the intervals held the truth in {figure.coverage:.1%} of {figure.trials}\n"
    )


def _of(by: tuple[str, ...], gap: bool) -> str:
    return "everyone" if not by else f"all of {', '.join(by)}" if gap else f"each {', '.join(by)}"
