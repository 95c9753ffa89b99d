"""From a record to a text in one of the formats, and to a file that is whole or not there."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from audit import registry
from audit.core import OutputError, Report, UsageError, suggest
from audit.reports import words


def render(report: Report, format: str) -> str:
    """The report as text in a registered format (html, json, junit, md ...); raises UsageError for an unknown one."""
    known = registry.entries("renderers")
    if format not in known:
        raise UsageError(f"no report format {format!r}; allowed: {', '.join(known)}{suggest(format, known)}")
    text: str = known[format].function(report)
    return text


def write(text: str, path: str | Path) -> Path:
    """Put the text into a file in one step, its folder made where needed; raises OutputError.

    A reader finds the old file or the new one, never half of it.
    """
    target = Path(path).resolve()  # a link stays, and what it points to is replaced
    temporary = None
    if target.exists() and not target.is_file():
        raise OutputError(f"cannot write {path}: it is there and is no regular file")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name[:80]}.", suffix=".part")
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        Path(temporary).chmod(_mode(target))
        Path(temporary).replace(target)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
    return target


def _mode(target: Path) -> int:
    """The permissions of the file that is replaced, else those that a new file gets."""
    if target.exists():
        return target.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def sentence(report: Report) -> str:
    """The verdict in one sentence: "2 of 5 required promises are broken."."""
    return words.plain(words.verdict(report))
