"""The record itself, as canonical JSON."""

from __future__ import annotations

from audit import codec
from audit.core import Report
from audit.registry import renderer


@renderer("json", title="The record (result.json)")
def render(report: Report) -> str:
    """The whole record, nothing left out or rounded."""
    return codec.dumps(report)
