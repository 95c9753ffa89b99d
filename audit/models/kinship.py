"""Which reference family a user's own model is like: told by what it is made of, and only where that leaves no doubt."""

from __future__ import annotations

import sys
from typing import Any

SAME_CLASS = {"LogisticRegression": "neuron", "MLPClassifier": "mlp"}  # of scikit-learn
_PLAIN = ("activation", "dropout", "batchnorm", "normalization", "flatten", "container")


def reference_of(model: Any) -> str:
    """The id of the reference family, "" where none is surely the model's own.

    An nn.Sequential of linear layers, activations, dropout and normalisation only, for two classes, is a perceptron: "mlp" with hidden
    layers, "neuron" without. Of scikit-learn's estimators those with the same name are known, also as the last step of
    a pipeline.
    """
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(model, torch.nn.Module):
        return _of_module(model)
    last = model.steps[-1][1] if isinstance(getattr(model, "steps", None), list) and model.steps else model
    if type(last).__module__.startswith("sklearn."):
        return SAME_CLASS.get(type(last).__name__, "")
    return ""


def _of_module(module: Any) -> str:
    from torch import nn

    inner = [each for each in module.modules() if any(True for _ in each.children())]
    leaves = [each for each in module.modules() if not any(True for _ in each.children())]
    linear = [each for each in leaves if type(each) is nn.Linear]
    # Layers one behind the other and nothing else: of any other forward nobody knows what it does.
    if not linear or not all(type(each) is nn.Sequential for each in inner) or linear[-1].out_features > 2:
        return ""
    if not all(_plain(each) for each in leaves if type(each) is not nn.Linear):
        return ""
    return "mlp" if len(linear) > 1 else "neuron"


def _plain(module: Any) -> bool:
    """Whether a layer of torch.nn belongs in a perceptron."""
    where = type(module).__module__
    attends = type(module).__name__ == "MultiheadAttention"
    return where.startswith("torch.nn.modules.") and where.rpartition(".")[2] in _PLAIN and not attends
