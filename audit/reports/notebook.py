"""A report in a notebook: it shows itself as the page, gives its figures as a frame, and saves by suffix."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import escape

from audit.core import Measure, Report, UsageError, suggest
from audit.drawing import format as fmt
from audit.reports.render import render, sentence, write

if TYPE_CHECKING:
    import pandas as pd

SUFFIXES: Mapping[str, str] = {".html": "html", ".htm": "html", ".md": "md", ".json": "json", ".xml": "junit"}


@dataclass(frozen=True, slots=True, kw_only=True)
class NotebookReport(Report):
    """A record with the conveniences of a notebook."""

    @classmethod
    def of(cls, report: Report) -> NotebookReport:
        """The same record, with the conveniences."""
        return cls(**{field.name: getattr(report, field.name) for field in fields(Report)})

    def __repr__(self) -> str:
        return f"<audit of {fmt.one_line(self.spec.system.name)}: {sentence(self)}>"

    def _repr_html_(self) -> str:
        """The page in a frame of its own, so that its style and the notebook's do not meet."""
        page = escape(render(self, "html"))
        look = "width:100%;height:42rem;border:1px solid #8888;border-radius:4px"
        return f'<iframe title="Audit report" sandbox style="{look}" srcdoc="{page}"></iframe>'

    def frame(self) -> pd.DataFrame:
        """A row per measure: check, ref, measure, where, a column per attribute (where:race), value, low, high, n, unit, note."""
        import pandas as pd

        found = [
            (outcome.check, index, piece)
            for outcome in self.all_outcomes
            for index, piece in enumerate(outcome.evidence)
            if isinstance(piece, Measure)
        ]
        attributes = list(dict.fromkeys(name for _, _, measure in found for name in measure.where))
        columns = ["check", "ref", "measure", "where", *(f"where:{name}" for name in attributes), *_FIGURES]
        rows = [
            [
                check,
                f"{check}#{index}",
                m.name,
                fmt.who(m.where),
                *(m.where.get(name) for name in attributes),
                *_figures(m),
            ]
            for check, index, m in found
        ]
        return pd.DataFrame(rows, columns=columns).astype(
            {"value": "float64", "low": "float64", "high": "float64", "n": "Int64"}
        )

    def save(self, path: str | Path) -> Path:
        """Write the report in the format of the suffix (.html, .md, .json, .xml); raises UsageError, OutputError."""
        suffix = Path(path).suffix.lower()
        if suffix not in SUFFIXES:
            hint = suggest(suffix, SUFFIXES)
            raise UsageError(f"path: no report format for the suffix {suffix!r}; allowed: {', '.join(SUFFIXES)}{hint}")
        return write(render(self, SUFFIXES[suffix]), path)


_FIGURES = ("value", "low", "high", "n", "unit", "note")


def _figures(measure: Measure) -> tuple[float | None, float | None, float | None, int | None, str, str]:
    span = measure.interval
    low, high = (span.low, span.high) if span else (None, None)
    return measure.value, low, high, measure.n, measure.unit, measure.note
