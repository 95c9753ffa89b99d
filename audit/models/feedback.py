"""Learning rules without the transport of weights: errors go back through fixed random matrices."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from audit.core import ModelError, stream
from audit.models.modes import evaluating

Rule = Literal["backpropagation", "feedback_alignment", "direct_feedback_alignment"]
BESIDE = (nn.PReLU, nn.BatchNorm1d, nn.LayerNorm)  # what may stand between linear layers with weights of its own


@dataclass(slots=True)
class _Error:
    """What the loss told the last linear layer (b, out): direct feedback tells it to every other one."""

    value: Tensor | None = None


class _Fed(torch.autograd.Function):
    """A linear layer whose input hears of the error through `back` instead of the layer's own weights."""

    @staticmethod
    def forward(
        context: Any, x: Tensor, weight: Tensor, bias: Tensor, back: Tensor, error: _Error | None, last: bool
    ) -> Tensor:
        """X weightᵀ + bias (b, out); an absent error stands for the signal that comes from behind."""
        context.save_for_backward(x, back)
        context.error, context.last, context.biased = error, last, bias is not None
        return nn.functional.linear(x, weight, bias)

    @staticmethod
    def backward(context: Any, *signals: Tensor) -> tuple[Tensor | None, ...]:
        """Weight and bias learn as ever; the input (b, in) is told signal @ back or error @ back."""
        (signal,) = signals
        x, back = context.saved_tensors
        if context.error is not None and context.last:
            context.error.value = signal
        told = signal if context.error is None else context.error.value
        below = told @ back if context.needs_input_grad[0] else None
        return below, signal.T @ x, signal.sum(dim=0) if context.biased else None, None, None, None


@contextmanager
def feeding_back(
    module: nn.Module, rule: Rule, probe: Tensor, *, seed: int = 0, weights: Mapping[str, Tensor] | None = None
) -> Iterator[Mapping[str, Tensor]]:
    """Inside, backward passes through the module's linear layers follow the rule; yields the backward weights by layer.

    Feedback alignment (Lillicrap 2016) has a matrix (out, in) a layer in place of its own weights; direct feedback
    alignment (Nøkland 2016) has (out of the last layer, in) a layer and tells all of them the error of the output. Drawn
    from the seed as nn.Linear draws its weights, unless `weights` gives them. probe (b, ...): rows that show the order of
    the layers. Raises ModelError for a module that is no stack of linear layers. Sources: lillicrap2016, nokland2016.
    """
    if rule == "backpropagation":
        yield {}
        return
    layers = stack_of(module, probe, rule)
    if weights is None:
        weights = _drawn(layers, rule, seed)
    error = _Error() if rule == "direct_feedback_alignment" else None
    last = next(reversed(layers))
    try:
        for name, layer in layers.items():
            layer.forward = partial(_fed, layer, weights[name], error, name == last)  # type: ignore[method-assign]
        yield weights
    finally:
        for layer in layers.values():
            vars(layer).pop("forward", None)


def _fed(layer: nn.Linear, back: Tensor, error: _Error | None, last: bool, x: Tensor) -> Tensor:
    out: Tensor = _Fed.apply(x, layer.weight, layer.bias, back, error, last)  # type: ignore[no-untyped-call]
    return out


def _drawn(layers: dict[str, nn.Linear], rule: Rule, seed: int) -> dict[str, Tensor]:
    # A stream of its own: the seed's torch generator has drawn the forward weights, and these must not resemble them.
    rng = stream(seed, "models.feedback")
    width = layers[next(reversed(layers))].out_features
    drawn = {}
    for name, layer in layers.items():
        rows = width if rule == "direct_feedback_alignment" else layer.out_features
        bound = 1 / math.sqrt(layer.in_features)
        drawn[name] = torch.from_numpy(rng.uniform(-bound, bound, (rows, layer.in_features))).to(layer.weight)
    return drawn


def alignment(module: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, float]:
    """The cosine between each layer's weights and its backward weights of the same shape: 1 is backpropagation."""
    layers = dict(module.named_modules())
    with torch.no_grad():
        return {
            name: float(nn.functional.cosine_similarity(layers[name].weight.flatten(), back.flatten(), dim=0))
            for name, back in weights.items()
        }


# ------------------------------------------------------------------------------------------------- which modules
def stack_of(module: nn.Module, probe: Tensor, rule: str) -> dict[str, nn.Linear]:
    """The linear layers by name in the order in which rows go through them, each once and all of them one after another.

    Raises ModelError for other layers with weights, and where rows take more than one way.
    """
    names = {each: name for name, each in module.named_modules()}
    for each in module.modules():
        if next(each.parameters(recurse=False), None) is not None and type(each) not in (nn.Linear, *BESIDE):
            allowed = ", ".join(kind.__name__ for kind in (nn.Linear, *BESIDE))
            raise ModelError(
                f"{rule}: needs a stack of {allowed}; {names[each] or 'the module'} is {type(each).__name__}"
            )
    calls: list[tuple[nn.Linear, Tensor, Tensor]] = []

    def cut(layer: nn.Module, arguments: Any, out: Tensor) -> Tensor:
        assert isinstance(layer, nn.Linear)
        calls.append((layer, out, out.detach().requires_grad_()))
        return calls[-1][2]

    linear = [each for each in module.modules() if type(each) is nn.Linear]
    handles = [each.register_forward_hook(cut) for each in linear]
    start = probe.detach().clone().requires_grad_(probe.is_floating_point())
    try:
        with torch.enable_grad(), evaluating(module):
            raw = module(start)
    finally:
        for handle in handles:
            handle.remove()
    called = [layer for layer, _, _ in calls]
    if not called or len(called) != len(linear) or len(set(called)) != len(called):
        raise ModelError(f"{rule}: every nn.Linear must be used once; {len(called)} calls of {len(linear)} layers")
    if any(out.ndim != 2 for _, out, _ in calls) or _branches(
        [*(out for _, out, _ in calls), raw], [start, *(c for *_, c in calls)]
    ):
        raise ModelError(f"{rule}: rows (n, d) must go through one nn.Linear after another, without ways around one")
    return {names[layer]: layer for layer in called}


def _branches(outputs: Sequence[Tensor], starts: Sequence[Tensor]) -> bool:
    """Whether an output hears of any start but the one right before it."""
    for place, out in enumerate(outputs):
        earlier = [start for start in starts[:place] if start.requires_grad]
        if earlier and out.requires_grad:
            heard = torch.autograd.grad(out.sum(), earlier, retain_graph=True, allow_unused=True)
            if any(each is not None for each in heard):
                return True
    return False
