"""How many rows are drawn of a family's world, where nobody says otherwise: pictures are dearer than tables."""

from __future__ import annotations

from audit import registry

# Of the rows that train a model of the family.
SHARES = {"training": 1.0, "audit": 0.5, "calibration": 0.25, "unseen": 2.5, "population": 25.0, "listing": 0.05}
LEAST = 100


def rows_of(family: str, purpose: str, asked: int | None = None) -> int:
    """The rows for a purpose: as asked, else the family's share, 100 at least."""
    if asked is not None:
        return asked
    rows: int = registry.entries("families")[family].facts["rows"]
    return max(LEAST, int(rows * SHARES[purpose]))
