"""The only door to captum and shap: inside, numpy, torch and random have seeds; outside, they are as they were."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from audit.core import Floats, Ints, Model, UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from audit.explain.attribution import Attribution


class Differentiable(Protocol):
    """What the offer "gradients" stands for."""

    def attribution_point(self, inputs: Any, targets: Ints | None = None) -> tuple[Tensor, Any]:
        """The leaf (n, ...) and the function from leaves (m n, ...) to the log-odds (m n,) of the rows' target classes."""
        ...


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


def integrated_gradients(
    model: Model, inputs: Any, baseline: Any, steps: int, *, seed: int = 0
) -> tuple[Floats, Floats, Floats, Floats]:
    """Integrated gradients of the log-odds from one baseline (one row of inputs), by captum.

    Returns values (n, d), delta (n,) = sum of values - (f(input) - f(baseline)), f(input) (n,), f(baseline) (n,).
    """
    import torch
    from captum.attr import IntegratedGradients

    differentiable: Differentiable = model  # type: ignore[assignment]
    leaf, forward = differentiable.attribution_point(inputs)
    start = differentiable.attribution_point(baseline)[0].detach().expand_as(leaf)
    leaf = leaf.detach()
    # cuDNN cannot run recurrent layers backward in eval mode
    with lent(seed), torch.backends.cudnn.flags(enabled=False), torch.enable_grad():
        values = IntegratedGradients(forward, multiply_by_inputs=True).attribute(
            leaf, start, n_steps=steps, method="gausslegendre", internal_batch_size=max(4096, len(leaf))
        )
        with torch.no_grad():
            ends = forward(leaf), forward(start)
    values, high, low = (_array(part) for part in (values, *ends))
    return values, values.sum(axis=1) - (high - low), high, low


def _array(tensor: Tensor) -> Floats:
    return np.asarray(tensor.detach().double().cpu().numpy())


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
