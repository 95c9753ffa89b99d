"""Parameters of checks for audits of costly rows, whose players are many: fewer rows, and fewer draws of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SPARING: Mapping[str, Mapping[str, Any]] = {
    "explain.agreement": {"rows": 12},
    "explain.faithfulness": {"rows": 8},
    "explain.global_importance": {"rows": 64, "background": 32, "budget": 128},
    "explain.group_reasons": {"rows": 96, "background": 32, "budget": 128},
    "explain.randomisation": {"rows": 4, "draws": 2},
    "explain.stability": {"rows": 4, "copies": 3},
}
