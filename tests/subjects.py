"""Subjects built by hand, and a context without an engine, for tests of single checks."""

import numpy as np
import pandas as pd

from audit.core import Context, Dataset, Measure, Origin, Subject
from audit.fairness.encode import encode


def subject_of(
    frame: pd.DataFrame,
    *,
    attributes=(),
    intersect=(),
    y=None,
    decision=None,
    score=None,
    weights=None,
    frequency=None,
    strata=(),
    reference=None,
    min_n=30,
    classes=("0", "1"),
) -> Subject:
    """A subject over columns of a frame; y, decision, score, weights and frequency are column names."""

    def column(name, dtype):
        return None if name is None else frame[name].to_numpy(dtype)

    groups = {name: encode(frame[name], name) for name in attributes}
    data = Dataset(
        inputs=None,
        groups=groups,
        origin=Origin(name="by hand"),
        y=column(y, np.int64),
        decision=column(decision, np.int64),
        score=column(score, np.float64),
        weights=column(weights, np.float64),
        frequency=column(frequency, np.int64),
        strata={name: encode(frame[name], name) for name in strata},
        classes=classes,
    )
    return Subject(
        model=None,
        data=data,
        y=data.y,
        decision=data.decision,
        score=data.score,
        groups=groups,
        slices=(*((name,) for name in attributes), *intersect),
        reference=reference or {},
        min_n=min_n,
    )


def context_of(seed: int = 0, confidence: float = 0.95) -> Context:
    """A context with its own random stream, no progress and an empty cache."""
    return Context(
        rng=np.random.default_rng(seed),
        stream=lambda name: np.random.default_rng(seed),
        track=lambda items, label, total=None: iter(items),
        scratch={},
        confidence=confidence,
    )


def find(evidence, name: str, **where: str) -> Measure:
    """The one measure of this name and place."""
    found = [e for e in evidence if isinstance(e, Measure) and e.name == name and dict(e.where) == where]
    assert len(found) == 1, f"{len(found)} measures {name} at {where}"
    return found[0]
