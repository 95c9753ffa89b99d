"""A progress bar on stderr, by rich."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from audit.engine import Progress, silent


@contextmanager
def bar(shown: bool) -> Iterator[Progress]:
    """Progress that draws one live line on stderr, or nothing."""
    if not shown:
        yield silent
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("starting", total=None)

        def show(done: int, total: int | None, label: str) -> None:
            bars.update(task, completed=done, total=total, description=label[:60])

        yield show


@contextmanager
def lines() -> Iterator[Progress]:
    """Progress for logs: one line on stderr whenever the work changes its name."""
    last = ""

    def show(done: int, total: int | None, label: str) -> None:
        nonlocal last
        if label != last:
            last = label
            sys.stderr.write(f"audit: {label}\n")

    yield show
