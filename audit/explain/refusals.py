"""The refusals that are looked at, the same for every check."""

from __future__ import annotations

import numpy as np

from audit.core import Context, Floats, Ints, NotApplicable, Subject
from audit.data.tabular import Tabular
from audit.explain.sample import model_and_inputs


def table_and_score(subject: Subject) -> tuple[Tabular, Floats]:
    """The table that the model reads and its one score (n,); raises NotApplicable."""
    _, inputs = model_and_inputs(subject)
    if not isinstance(inputs, Tabular):
        raise NotApplicable(f"refusals are looked at in tables, not in {type(inputs).__name__}")
    if subject.score is None or subject.score.ndim != 1 or subject.decision is None:
        raise NotApplicable("refusals need one score and a decision by a threshold")
    return inputs, subject.score


def refusals(subject: Subject, context: Context, rows: int) -> tuple[Ints, int]:
    """Up to `rows` refused rows in ascending order, the same for every check, and how many refusals there are."""
    refused = np.flatnonzero(subject.decision == 0)
    if not len(refused):
        raise NotApplicable("nobody was refused, so there is nothing to give a reason for")
    order = context.stream("explain.denials").permutation(refused)
    return np.sort(order[:rows]).astype(np.int64), len(refused)
