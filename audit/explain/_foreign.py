"""The only door to captum and shap: inside, numpy, torch and random have seeds; outside, they are as they were."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from audit.core import Floats, NotApplicable, UsageError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from audit.explain.attribution import Attribution


Forward = Callable[[Any], Any]


@contextmanager
def lent(seed: int) -> Iterator[None]:
    """Lend the global random state of numpy, torch and random to a library, seeded, and put it back."""
    import torch

    kept, kept_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 (to be put back)
    with torch.random.fork_rng():
        torch.random.manual_seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002 (the library draws from it)
        random.seed(seed)
        try:
            yield
        finally:
            random.setstate(kept)
            np.random.set_state(kept_numpy)  # noqa: NPY002 (put back)


def guided_backprop(module: nn.Module, forward: Forward, leaf: Tensor) -> Tensor:
    """Guided backpropagation of forward (n,) at leaf (n, ...), by captum; forward must run `module`: give a copy."""
    from captum.attr import GuidedBackprop

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that hooks are set
        found: Tensor = GuidedBackprop(_whole(module, forward)).attribute(leaf)
    return found.detach()


def _whole(module: nn.Module, forward: Forward) -> nn.Module:
    """A module that computes forward and has `module` inside, where captum looks for layers."""
    import torch

    class Whole(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inside = module

        def forward(self, leaf: Tensor) -> Any:
            return forward(leaf)

    return Whole().eval()


def tree_shap(estimator: Any, values: Floats, background: Floats, *, seed: int = 0) -> tuple[Floats, Floats]:
    """Interventional Shapley values (rows, columns, outputs) of trees, and their base (outputs,), by shap.

    What is explained is what the trees add up to: log-odds of boosting, probabilities of forests, a regressor's number.
    Raises UsageError where shap is not installed, NotApplicable for trees that it cannot read.
    """
    shap = _shap()
    with lent(seed), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of numpy's, by the library
        try:
            peer = shap.TreeExplainer(estimator, background, feature_perturbation="interventional")
            found = np.asarray(peer.shap_values(values, check_additivity=False), dtype=np.float64)
            base = np.asarray(peer.expected_value, dtype=np.float64).reshape(-1)
        except Exception as error:  # the library raises its own and plain ones
            raise NotApplicable(
                f"shap.TreeExplainer cannot read this {type(estimator).__name__}: {type(error).__name__}: {error}"
            ) from error
    return found.reshape(*values.shape, -1), base


def _shap() -> Any:
    """The library; raises UsageError where it is not installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of matplotlib's, on its import
        try:
            import shap
        except ImportError as error:
            raise UsageError("shap is not installed: pip install shap") from error
    return shap


def to_shap(attribution: Attribution) -> Any:
    """A shap.Explanation of the same values; raises UsageError where shap is not installed."""
    return _shap().Explanation(
        values=attribution.values,
        base_values=attribution.base,
        data=attribution.data,
        feature_names=list(attribution.features),
    )
