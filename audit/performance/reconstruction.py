"""How well a model gives back what it keeps of its inputs, and whether it does so for everyone alike."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import numpy as np

from audit.core import Context, Evidence, Floats, ModelError, NotApplicable, Reconstructing, Subject, Table
from audit.data.tabular import Tabular
from audit.fairness.individual import sampled
from audit.fairness.person_means import among, mean_kind, person_means
from audit.registry import check

KINDS = {"reconstruction_error": mean_kind("lower")}
_UNIT = "1 is what giving back the mean of every column would leave"


@check(
    "performance.reconstruction",
    title="What a model loses of its inputs",
    needs={"reconstruction", "rows"},
    sources=("hinton2006", "vincent2010", "student1908", "zou2008", "dunn1961"),
)
def reconstruction(subject: Subject, context: Context, *, rows: int = 10_000) -> Iterator[Evidence]:
    """Whose records does a model give back less truly than those of others?

    reconstruction_error is the mean over people of the mean squared difference between the columns that the model reads,
    numbers in standard deviations and categories as one column a level, and those it gives back, for everyone and for
    every group, with t intervals. Groups are compared with the reference group (the one named in the configuration,
    else the one with the smallest error among those of at least min_n people); the difference over all groups holds for
    all pairs at once. A table tells the error of each column where the model reads the columns of the table themselves.
    At most `rows` people are asked.

    A larger error means that the model has less room for what sets a group apart, or saw fewer of its members. It is no
    error of a decision: whether what was lost matters depends on what the code is used for. A model that flags large
    errors as anomalies flags such a group more often.
    """
    chosen = sampled(context.rng, len(subject), rows)
    some = among(subject, chosen)
    read, restored = cast(Reconstructing, subject.model).reconstruct(some.data.inputs)
    if read.shape != restored.shape or len(read) != len(chosen):
        raise ModelError(
            f"reconstruct: expected two arrays of one shape ({len(chosen)}, ...), got {read.shape}, {restored.shape}"
        )
    if not np.isfinite(restored).all():
        raise NotApplicable("what the model gives back is not finite for every row")
    square = (read - restored).reshape(len(read), -1) ** 2
    error = square.mean(axis=1)
    yield from person_means(some, context, {"reconstruction_error": error}, KINDS, merit=-error, label="errors")
    if isinstance(some.data.inputs, Tabular) and square.shape[1] == len(some.data.inputs.columns):
        yield _by_column(square, some.data.inputs.columns)


def _by_column(square: Floats, columns: tuple[str, ...]) -> Table:
    each = square.mean(axis=0)
    return Table(
        name="reconstruction_by_column",
        title="Mean squared error of each column",
        columns=("column", "error"),
        rows=tuple((columns[i], float(each[i])) for i in np.argsort(-each, kind="stable")),
        note=f"in variances of the column: {_UNIT}; over everyone asked, unweighted",
    )
