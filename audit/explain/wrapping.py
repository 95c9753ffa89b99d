"""From what a notebook holds (arrays, frames, estimators, modules) to wrapped inputs and models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from audit.core import DataError, Dataset, Inputs, Model, ModelSpec, Origin, Output, Spec, UsageError
from audit.data.tabular import Tabular
from audit.explain.backgrounds import Background


def as_inputs(values: Any, columns: tuple[str, ...] | None = None) -> Inputs:
    """Inputs as they are, an array (n, d) or a frame as Tabular; raises DataError.

    columns: the names of an array's columns, x0, x1, ... by default.
    """
    if callable(getattr(values, "take", None)) and type(values).__module__.startswith("audit."):
        known: Inputs = values
        return known
    if isinstance(values, str) or (isinstance(values, list | tuple) and any(isinstance(each, str) for each in values)):
        raise DataError("inputs: texts must be tokens: give audit.explain.tokenised(list of texts)")
    if isinstance(values, np.ndarray):
        if values.ndim != 2:
            raise DataError(
                f"inputs: an array must be (n, d), got shape {values.shape}; wrap pictures, sequences and texts in "
                "audit.explain.Images, series() or tokenised()"
            )
        names = columns or tuple(f"x{place}" for place in range(values.shape[1]))
        return Tabular(values=values.astype(np.float64), columns=names)
    from audit.data.readers import from_frame, tabular

    return tabular(from_frame(values, Spec()))


def aligned(first: Any, second: Any) -> tuple[Any, Any]:
    """Two tabular inputs whose categories have the same levels under the same numbers; others as they are."""
    if isinstance(second, Background):
        first, inner = aligned(first, second.inputs)
        return first, replace(second, inputs=inner)
    if not (isinstance(first, Tabular) and isinstance(second, Tabular)) or first.categories == second.categories:
        return first, second
    levels = {
        name: tuple(sorted({*first.categories.get(name, ()), *second.categories.get(name, ())}))
        for name in (*first.categories, *second.categories)
    }
    return _recoded(first, levels), _recoded(second, levels)


def _recoded(inputs: Tabular, levels: dict[str, tuple[str, ...]]) -> Tabular:
    values = inputs.values.copy()
    for name, known in levels.items():
        if name not in inputs.categories:
            raise DataError(f"column {name!r} holds categories in one of inputs and background, numbers in the other")
        place = inputs.columns.index(name)
        there = ~np.isnan(values[:, place])
        new = np.array([known.index(level) for level in inputs.categories[name]], dtype=np.float64)
        values[there, place] = new[values[there, place].astype(np.int64)]
    return replace(inputs, values=values, categories=levels)


def _regresses(model: Any) -> bool:
    """Whether a scikit-learn estimator predicts a number; a classifier without probabilities does not."""
    if not hasattr(model, "get_params") or not hasattr(model, "predict"):
        return False
    from sklearn.base import is_regressor

    return bool(is_regressor(model))


def as_model(model: Any, inputs: Any, output: Output = "probability", classes: Sequence[str] = ()) -> Model:
    """A wrapped model, as it is where it is one already; raises ModelError.

    output: what a raw model returns. classes: their names in the order of its outputs; by default those that an
    estimator names itself, else "0" and "1".
    """
    from audit.data.columns import text_of
    from audit.models.load import wrap

    named = tuple(classes) or tuple(text_of(each) for each in getattr(model, "classes_", ())) or ("0", "1")
    data = Dataset(
        inputs=inputs,
        groups={},
        origin=Origin(name="inputs in memory"),
        names=inputs.columns if isinstance(inputs, Tabular) else (),
        classes=named,
    )
    own = tuple(text_of(each) for each in getattr(model, "classes_", ()))
    if classes and own and set(own) == set(classes) and own != tuple(classes):
        raise UsageError(f"classes: the estimator's own order is {list(own)}, got {list(classes)}; leave it out")
    given: Output = "value" if output == "probability" and not classes and _regresses(model) else output
    return wrap(model, data, Spec(model=ModelSpec(kind="callable", output=given, classes=tuple(classes))))
