"""From a configuration or a Python object to a wrapped model."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from audit.core import Dataset, Model, ModelError, Spec

# Objects of these packages have adapters of their own; a user's class that inherits from one is read as scikit-learn's.
LIBRARIES = {"xgboost": "xgboost", "lightgbm": "lightgbm", "onnxruntime": "onnx", "onnx": "onnx"}


def load(spec: Spec, dataset: Dataset, base: Path) -> Model | None:
    """The model of a configuration, its paths relative to the folder `base`; None for recorded predictions and counts.

    Raises ModelError where it cannot be loaded or does not fit the data.
    """
    kind = spec.model.kind
    if kind in ("predictions", "counts"):
        return None
    if kind == "oracle":
        from audit.models.adapters.oracle import oracle

        return oracle(spec, dataset)
    if kind == "family":
        from audit.models import reference

        return reference.load(spec, dataset, base)
    loaded: Model = _adapter(kind).load(spec, dataset, base)
    return loaded


def inputs(spec: Spec, dataset: Dataset, base: Path) -> Dataset:
    """The dataset as the model of a configuration reads it: texts as the tokens that only the model's folder tells.

    Raises DataError or ModelError.
    """
    if spec.model.kind != "transformers":
        return dataset
    found: Dataset = _adapter("transformers").read(spec, dataset, base)
    return found


def wrap(model: Any, dataset: Dataset, spec: Spec) -> Model:
    """A model from a torch module, an estimator, a booster, an ONNX session or a function; a Model passes as it is.

    Raises ModelError for anything else.
    """
    if all(hasattr(model, name) for name in ("family", "card", "offers", "predict")):
        already: Model = model
        return already
    wrapped: Model = _adapter(_kind_of(model)).wrap(model, dataset, spec)
    return wrapped


def _kind_of(model: Any) -> str:
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(model, torch.nn.Module):
        return "torch"
    if not isinstance(model, type):
        library = type(model).__module__.partition(".")[0]
        if library in LIBRARIES:
            return LIBRARIES[library]
        if any(hasattr(model, name) for name in ("predict_proba", "predict", "_pmf_predict")):
            return "sklearn"
        if callable(model):
            return "callable"
    raise ModelError(
        f"a model must be a torch module, a scikit-learn estimator or a function of the features, got {model!r:.80}"
        + (" (a class: give an instance of it)" if isinstance(model, type) else "")
    )


def _adapter(kind: str) -> Any:
    # Imported when it is needed: nobody waits for torch to audit a scikit-learn pipeline.
    return importlib.import_module(f"audit.models.adapters.{kind}")
