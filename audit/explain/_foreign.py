"""The only door to captum and shap: inside, numpy, torch and random have seeds; outside, they are as they were."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from audit.core import ModelError, UsageError

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


def deep_lift(module: nn.Module, forward: Forward, leaf: Tensor, start: Tensor) -> Tensor:
    """DeepLIFT (rescale rule) of forward (n,) from start to leaf (n, ...), by captum; raises ModelError.

    forward must run `module`, whose layers get captum's hooks: give a copy.
    """
    from captum.attr import DeepLift

    whole = _whole(module, forward)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that hooks are set
        try:
            found: Tensor = DeepLift(whole).attribute(leaf, start)
        except (AssertionError, AttributeError, RuntimeError, TypeError) as error:
            raise ModelError(f"captum's DeepLIFT cannot follow this module: {type(error).__name__}: {error}") from error
    return found.detach()


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


def to_shap(attribution: Attribution) -> Any:
    """A shap.Explanation of the same values; raises UsageError where shap is not installed."""
    try:
        import shap
    except ImportError as error:
        raise UsageError("shap is not installed: pip install shap") from error
    return shap.Explanation(
        values=attribution.values,
        base_values=attribution.base,
        data=attribution.data,
        feature_names=list(attribution.features),
    )
