"""The columns that a model was fitted on, found among the features of the data."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from audit.core import Dataset, ModelError, suggest
from audit.data.tables import listed
from audit.data.tabular import Tabular
from audit.models.base import matrix


def check_width(model: str, width: int | None, dataset: Dataset) -> None:
    """Raises ModelError where a model without names reads another number of columns than the data have."""
    if width is not None and width != len(dataset.names):
        raise ModelError(
            f"{model} was fitted on {width} features, the data has {len(dataset.names)}: {listed(dataset.names)}"
        )


def check_columns(model: str, names: Iterable[str], dataset: Dataset) -> None:
    """Raises ModelError where a model reads columns that are not among the features of the data."""
    missing = [str(name) for name in names if name not in dataset.names]
    if missing:
        raise ModelError(
            f"{model} was fitted on columns that are not among the features: {listed(missing)}"
            f"{suggest(missing[0], dataset.names)}; features: {listed(dataset.names)} (a protected attribute is a feature only "
            "where data.features names it)"
        )


def table_of(inputs: Any, dataset: Dataset) -> Tabular:
    """Inputs as a table: an array (n, d) gets the columns and categories of the data; raises ModelError."""
    if isinstance(inputs, Tabular):
        return inputs
    values = matrix(inputs)
    if isinstance(dataset.inputs, Tabular) and values.shape[1] == len(dataset.inputs.columns):
        return dataset.inputs.with_values(values)
    return Tabular(values=values, columns=dataset.names)
