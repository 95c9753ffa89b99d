"""audit: examines machine-learning models, says how sure it is of each number, and writes a record others can check.

    report = audit.run(model, frame, sensitive_features=["sex"])
    report                       # shows itself in a notebook
    report.save("audit.html")

`audit.run` examines a model or recorded predictions; `audit.fairness` and `audit.explain` work alone, on arrays and
frames. Importing `audit` loads neither torch nor pandas.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from audit.codec import read_record as load
    from audit.core import AuditError, Report
    from audit.workflows.examine import run

__all__ = ["AuditError", "Report", "__version__", "load", "run"]

_HOMES = {
    "AuditError": ("audit.core", "AuditError"),
    "Report": ("audit.core", "Report"),
    "load": ("audit.codec", "read_record"),
    "run": ("audit.workflows.examine", "run"),
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        module, attribute = _HOMES[name]
        return getattr(importlib.import_module(module), attribute)
    if name in ("carbon", "explain", "fairness", "models", "performance", "reports", "robustness"):
        return importlib.import_module(f"audit.{name}")
    raise AttributeError(f"module 'audit' has no attribute {name!r}")
