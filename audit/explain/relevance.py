"""Methods that send the output back through the layers, DeepLIFT and LRP: undefined where they lose some on the way."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from audit.core import Floats, MissingOffer, NotApplicable, UsageError
from audit.explain import _foreign
from audit.explain.attribution import Attribution
from audit.explain.games import Game
from audit.explain.paths import believed, gauss_legendre
from audit.explain.secants import ZERO_AT_ZERO, rescaled
from audit.explain.slopes import (
    DETACHED,
    GRADIENT,
    Slopes,
    array,
    batches,
    completeness,
    incomplete,
    reference,
    rounding,
)
from audit.registry import explainer

if TYPE_CHECKING:
    from torch import Tensor, nn

    from audit.models.layers import Layers

_LINEAR = ("Linear", "Conv1d", "Conv2d", "Conv3d", "BatchNorm1d", "BatchNorm2d", "BatchNorm3d")
_MOVED = (
    *(
        "Identity",
        "Upsample",
        "Flatten",
        "Unflatten",
        "Dropout",
        "Dropout1d",
        "Dropout2d",
        "Dropout3d",
        "AlphaDropout",
        "Embedding",
    ),
    *(f"{kind}Pool{axes}d" for kind in ("Max", "Avg", "AdaptiveMax", "AdaptiveAvg") for axes in (1, 2, 3)),
    *(f"ZeroPad{axes}d" for axes in (1, 2, 3)),
)
_WHOLE = ("MultiheadAttention", "RNN", "LSTM", "GRU")  # read as one, whatever is inside


@explainer(
    "deep_lift",
    title="DeepLIFT (rescale rule) from a reference that says nothing",
    needs=frozenset({"model", "rows", "gradients"}),
    sources=("shrikumar2017", "ancona2018"),
)
def deep_lift(game: Game, *, tolerance: float = 0.01, seed: int = 0) -> Attribution:
    """DeepLIFT of every row's output against the reference, refused where it is not complete.

    The rescale rule knows activations and max poolings that are modules. Where a module does something else (recurrent
    cells, attention, normalisation over features, activations called as functions) its values are wrong without a sign
    of it, save that they miss the movement of the output: a row that misses it by more than `tolerance` is undefined
    (NaN) and the note says by how much. The step from the module's outputs to the log-odds or the probability is taken
    with integrated gradients, which is exact. Raises MissingOffer for a model whose layers are not open.
    """
    _above_zero(tolerance)
    slopes = Slopes(game=game)
    with _foreign.lent(seed):
        start, end = reference(slopes), slopes.leaf()
        found = end.new_zeros(end.shape)
        for rows in batches(slopes.rows, end[:1].numel(), 2):
            found[rows] = _lifted(slopes, slopes.layers(rows), end[rows], start.leaf[rows])
        outputs, base = array(slopes.everywhere(end)), array(slopes.everywhere(start.leaf))
        wrong, note = _measured(slopes, found, outputs, base, tolerance, seed)
    found[wrong] = np.nan
    return slopes.result(
        found,
        method="DeepLIFT, rescale rule",
        background=start.words,
        base=base,
        outputs=outputs,
        params={"tolerance": tolerance},
        seed=seed,
        note=note,
    )


@explainer(
    "lrp",
    title="Layer-wise relevance propagation (epsilon rule)",
    needs=frozenset({"model", "rows", "gradients"}),
    sources=("bach2015", "ancona2018"),
)
def lrp(game: Game, *, epsilon: float = 1e-9, tolerance: float = 0.01, seed: int = 0) -> Attribution:
    """Relevance that flows from the output to the inputs, each linear layer sharing it out by what its inputs gave.

    Epsilon rule in linear, convolutional and (frozen) batch norm layers, relevance passes activations unchanged, max
    pooling gives it to the largest. There is no reference: what the biases hold is the base, so that relevance, base and
    output must add up; a row where they miss by more than `tolerance` is undefined (NaN) and the note says by how much.
    Raises NotApplicable for a layer without a rule, MissingOffer for a model whose layers are not open.
    """
    _above_zero(tolerance)
    slopes = Slopes(game=game)
    with _foreign.lent(seed):
        end = slopes.leaf()
        found, base, outputs = end.new_zeros(end.shape), np.zeros(len(game)), np.zeros(len(game))
        for rows in batches(slopes.rows, end[:1].numel()):
            found[rows], base[rows], outputs[rows] = _relevant(slopes, slopes.layers(rows), end[rows], epsilon)
        wrong, note = _measured(slopes, found, outputs, base, tolerance, seed)
    found[wrong] = np.nan
    return slopes.result(
        found,
        method="LRP, epsilon rule",
        background="no reference: the base is what the biases hold",
        base=base,
        outputs=outputs,
        params={"epsilon": epsilon, "tolerance": tolerance},
        seed=seed,
        note=note,
    )


def _above_zero(tolerance: float) -> None:
    if not tolerance > 0:
        raise UsageError(f"tolerance: a share above 0, got {tolerance}")


def _measured(
    slopes: Slopes, found: Tensor, outputs: Floats, base: Floats, tolerance: float, seed: int
) -> tuple[np.ndarray, str]:
    """Which rows are not complete, and the note; raises MissingOffer where the model's gradients are to blame."""
    each = found.double().flatten(1)
    sums, mass = array(each.sum(1)), array(each.abs().sum(1))
    noise = rounding(slopes.precision, outputs, base, mass)
    wrong, note = incomplete(completeness(sums, outputs - base, mass, noise), tolerance)
    if note:
        believed(slopes, seed)
    return wrong, note


def _lifted(slopes: Slopes, layers: Layers, end: Tensor, start: Tensor) -> Tensor:
    """DeepLIFT (n, ...) of the rows: the way gone times a gradient in which secants stand for slopes."""
    import torch

    with rescaled(layers.module), torch.inference_mode(False), torch.enable_grad():
        point = end.detach().clone().requires_grad_()
        high, low = layers.raw(torch.cat([point, start])).double().chunk(2)
        share = _shares(slopes, layers, low.detach(), high.detach())
        (slope,) = torch.autograd.grad((high * share).sum(), point, allow_unused=True)
    slopes.charge(2 * len(end), GRADIENT)
    if slope is None:
        raise MissingOffer(f"{slopes.game.model.family}: {DETACHED}")
    return slope * (end - start)


def _shares(slopes: Slopes, layers: Layers, low: Tensor, high: Tensor) -> Tensor:
    """Factors (n, k) of the module's outputs with which they add up to the movement of what is explained.

    They are integrated gradients along the line between the outputs, and what their quadrature missed is put right.
    """
    import torch

    node, weight = (torch.as_tensor(each, device=low.device) for each in gauss_legendre(64))
    way = high - low
    with torch.inference_mode(False), torch.enable_grad():
        points = torch.addcmul(low, node[:, None, None], way).flatten(0, 1).detach().requires_grad_()
        (slope,) = torch.autograd.grad(slopes.read(layers.log_odds(points)).sum(), points)
        share = torch.tensordot(weight, slope.reshape(len(node), *way.shape), dims=1)
        ends = [slopes.read(layers.log_odds(side)) for side in (low, high)]
    missed = ends[1] - ends[0] - (share * way).sum(dim=1)
    length = way.square().sum(dim=1).clamp_min(torch.finfo(way.dtype).tiny)
    whole: Tensor = (share + (missed / length)[:, None] * way).detach()
    return whole


def _relevant(slopes: Slopes, layers: Layers, leaf: Tensor, epsilon: float) -> tuple[Tensor, Floats, Floats]:
    """Relevance (n, ...), base (n,) and output (n,) of the rows."""
    import torch

    _with_rules(slopes, layers)
    parts: list[tuple[nn.Module, Tensor]] = []
    handles = [each.register_forward_hook(_rule(parts, epsilon, each)) for each in layers.module.modules()]
    try:
        with torch.inference_mode(False), torch.enable_grad():
            leaf = leaf.detach().clone().requires_grad_()
            raw = layers.raw(leaf).double()
            share = _shares(slopes, layers, torch.zeros_like(raw), raw.detach())
            tensors = [leaf, *(output for _, output in parts)]
            slope, *behind = torch.autograd.grad((raw * share).sum(), tensors, allow_unused=True)
    finally:
        for handle in handles:
            handle.remove()
    slopes.charge(len(leaf), GRADIENT)
    nothing = slopes.read(layers.log_odds(torch.zeros_like(raw)))
    held = sum((_held(each, grad) for (each, _), grad in zip(parts, behind, strict=True) if grad is not None), nothing)
    found = torch.zeros_like(leaf) if slope is None else slope * leaf
    return found.detach(), array(held), array(slopes.read(layers.log_odds(raw)))


def _with_rules(slopes: Slopes, layers: Layers) -> None:
    family = slopes.game.model.family
    if layers.output == "probability":
        raise NotApplicable(
            f"{family}: LRP starts from logits, and this module ends in a probability; take its last sigmoid or softmax "
            'out and say output = "logit"'
        )
    for each in layers.module.modules():
        name = type(each).__name__
        native = type(each).__module__.startswith("torch.")
        leaf = not any(True for _ in each.children())
        known = native and name in (*_LINEAR, *ZERO_AT_ZERO, *_MOVED) and getattr(each, "running_mean", 0) is not None
        if (native and name in _WHOLE) or (leaf and native and not known and name not in ("Sequential", "ModuleList")):
            raise NotApplicable(
                f"{family}: LRP has no rule for nn.{name}; it has for {', '.join((*_LINEAR, *ZERO_AT_ZERO))}"
            )


def _rule(parts: list[tuple[nn.Module, Tensor]], epsilon: float, module: nn.Module) -> Callable[..., Any]:
    """What becomes of a layer's output (its value stays): the gradient times the input is then the relevance."""
    import torch

    # A module of somebody's own may have the name of one of torch's.
    name = type(module).__name__ if type(module).__module__.startswith("torch.") else ""

    def linear(module: nn.Module, arguments: Any, output: Tensor) -> Tensor:
        parts.append((module, output))
        kept = (output / (output + epsilon * torch.where(output < 0, -1.0, 1.0))).detach()
        return output * kept + (output * (1 - kept)).detach()

    def passed(module: nn.Module, arguments: Any, output: Tensor) -> Tensor:
        (given,) = arguments
        tiny = given.abs() < torch.finfo(given.dtype).tiny ** 0.5
        ratio = torch.where(tiny, 0.0, output / torch.where(tiny, 1.0, given)).detach()
        same: Tensor = given * ratio + (output - given * ratio).detach()
        return same

    def untouched(module: nn.Module, arguments: Any, output: Any) -> None:
        return None

    return linear if name in _LINEAR else passed if name in ZERO_AT_ZERO else untouched


def _held(module: nn.Module, slope: Tensor) -> Tensor:
    """Relevance (n,) that a layer's bias holds, from the gradient at its output (n, ...)."""
    bias: Any = module.bias
    if type(module).__name__.startswith("BatchNorm"):
        given: Any = module
        scale = (given.running_var + given.eps).rsqrt() * (1.0 if given.weight is None else given.weight)
        bias = (0.0 if bias is None else bias) - given.running_mean * scale
    if bias is None:
        return slope.new_zeros(len(slope)).double()
    axis = -1 if type(module).__name__ == "Linear" else 1
    shape = [1] * slope.ndim
    shape[axis] = -1
    held: Tensor = (slope.double() * bias.detach().double().reshape(shape)).flatten(1).sum(dim=1)
    return held
