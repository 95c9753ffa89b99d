"""Class activation maps: where the last convolution saw what speaks for a class."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from audit.core import Ints, NotApplicable, UsageError, suggest
from audit.data.images import Images
from audit.data.tabular import Tabular
from audit.data.texts import Texts
from audit.explain import _foreign
from audit.explain.attribution import Attribution
from audit.explain.games import Game
from audit.explain.paths import believed
from audit.explain.slopes import GRADIENT, Slopes, array, batches, reference
from audit.registry import explainer

if TYPE_CHECKING:
    from torch import Tensor, nn

    from audit.models.layers import Layers

Weigh = Callable[["Tensor", "Tensor"], "Tensor"]


@explainer(
    "grad_cam",
    title="Gradient-weighted class activation map (Grad-CAM)",
    needs=frozenset({"model", "rows", "gradients"}),
    sources=("selvaraju2017",),
)
def grad_cam(game: Game, *, layer: str | None = None, seed: int = 0) -> Attribution:
    """Where the channels of a convolution light up that raise the log-odds of the row's class: never negative.

    layer: the module's name; by default the convolution that runs last and whose map has more than one place, or what a
    reference model of several branches says holds all of them (`map_layer`). The map is enlarged to the input (linear
    interpolation) and added up over the players; its height has no unit, so the values add up to nothing. For images, and
    for series and texts whose module convolves over their steps or tokens. Raises NotApplicable where there is no such
    layer, UsageError for an unknown name, MissingOffer as `saliency` does.
    """

    def weigh(activation: Tensor, slope: Tensor) -> Tensor:
        return slope.flatten(2).mean(dim=2)

    return _mapped(game, layer, seed, "Grad-CAM", weigh)


@explainer(
    "grad_cam_plus_plus",
    title="Grad-CAM++",
    needs=frozenset({"model", "rows", "gradients"}),
    sources=("chattopadhay2018",),
)
def grad_cam_plus_plus(game: Game, *, layer: str | None = None, seed: int = 0) -> Attribution:
    """Grad-CAM whose channels are weighted by their positive gradients place by place: sees several of one kind.

    Options, result and errors as of `grad_cam`. The class score is the log-odds; its exponential, which the paper takes,
    scales a row's whole map and is left out.
    """

    def weigh(activation: Tensor, slope: Tensor) -> Tensor:
        slope, total = slope.flatten(2), activation.flatten(2).sum(dim=2, keepdim=True)
        below = 2 * slope**2 + total * slope**3
        share = (slope**2 / below.where(below != 0, slope.new_ones(()))).where(slope != 0, slope.new_zeros(()))
        return (share * slope.clamp_min(0)).sum(dim=2)

    return _mapped(game, layer, seed, "Grad-CAM++", weigh)


def _mapped(game: Game, layer: str | None, seed: int, name: str, weigh: Weigh) -> Attribution:
    slopes = Slopes(game=game)
    size = _size(game)
    with _foreign.lent(seed):
        believed(slopes, seed)
        start, leaf = reference(slopes), slopes.leaf()
        maps, chosen = leaf.new_zeros(len(leaf), *size), ""
        for rows in batches(slopes.rows, leaf[:1].numel()):
            maps[rows], chosen = _map(slopes, rows, leaf[rows], layer, size, weigh)
        outputs, base = array(slopes.everywhere(leaf)), array(slopes.everywhere(start.leaf))
    elements = _laid_out(game, array(maps))
    return slopes.result(
        elements,
        method=f"{name} at the layer {chosen!r}",
        background=start.words,
        base=base,
        outputs=outputs,
        params={"layer": layer},
        seed=seed,
        complete=False,
    )


def _size(game: Game) -> tuple[int, ...]:
    """The sides of a map of the inputs."""
    inputs = game.masker.inputs
    if isinstance(inputs, Tabular):
        raise NotApplicable("class activation maps need places to point at: images, series or texts, not tables")
    values: Any = inputs.values
    return tuple(values.shape[2:] if isinstance(inputs, Images) else values.shape[1:2])


def _laid_out(game: Game, maps: np.ndarray) -> np.ndarray:
    """Maps (n, *sides) laid out like the inputs; raises NotApplicable where players differ in what a map does not show."""
    inputs = game.masker.inputs
    if isinstance(inputs, Texts):
        return maps
    axis = 1 if isinstance(inputs, Images) else 2
    owner = game.masker.owners()
    if (owner != owner.take([0], axis=axis)).any():
        raise NotApplicable("a class activation map shows places, and these players differ at the same place")
    return np.expand_dims(maps, axis)


def _map(
    slopes: Slopes, rows: Ints, leaf: Tensor, layer: str | None, size: tuple[int, ...], weigh: Weigh
) -> tuple[Tensor, str]:
    """The maps (r, *size) of some rows, and the name of the layer."""
    import torch
    from torch.nn import functional as F

    layers = slopes.layers(rows)
    seen: list[tuple[str, Tensor]] = []
    handles = [
        each.register_forward_hook(lambda module, arguments, output, name=name: seen.append((name, output)))
        for name, each in _watched(layers, layer)
    ]
    try:
        with torch.inference_mode(False), torch.enable_grad():
            score = layers.log_odds(layers.raw(leaf.detach().clone().requires_grad_())).sum()
            chosen, activation = _last(slopes, seen, layer, len(size))
            (slope,) = torch.autograd.grad(score, activation, allow_unused=True)
    finally:
        for handle in handles:
            handle.remove()
    slopes.charge(len(rows), GRADIENT)
    if slope is None:
        raise NotApplicable(f"{slopes.game.model.family}: the output does not depend on the layer {chosen!r}")
    activation, slope = activation.detach().double(), slope.double()
    weights = weigh(activation, slope).reshape(*activation.shape[:2], *([1] * len(size)))
    heat = F.relu((weights * activation).sum(dim=1, keepdim=True))
    mode = "bilinear" if len(size) == 2 else "linear"
    return F.interpolate(heat, size=size, mode=mode, align_corners=False)[:, 0].to(leaf.dtype), chosen


def _watched(layers: Layers, layer: str | None) -> list[tuple[str, nn.Module]]:
    """The layers whose outputs may be the map."""
    from torch import nn

    named = dict(layers.module.named_modules())
    if layer is None and (own := getattr(layers.module, "map_layer", "")):
        return [(own, named[own])]
    if layer is None:
        return [(name, each) for name, each in named.items() if isinstance(each, nn.Conv1d | nn.Conv2d)]
    if layer not in named:
        raise UsageError(f"layer: the module has no {layer!r}{suggest(layer, list(named))}")
    return [(layer, named[layer])]


def _last(slopes: Slopes, seen: list[tuple[str, Tensor]], layer: str | None, sides: int) -> tuple[str, Tensor]:
    family = slopes.game.model.family
    fitting = [
        (name, output)
        for name, output in seen
        if getattr(output, "ndim", 0) == 2 + sides and (layer is not None or output[0, 0].numel() > 1)
    ]
    if not fitting:
        shown = [tuple(output.shape) for _, output in seen if hasattr(output, "shape")]
        raise NotApplicable(
            f"{family}: a class activation map needs a layer that gives (rows, channels, {sides} sides of more than one "
            f"place), by default a convolution; {'seen were ' + str(shown) if shown else 'none ran'}"
        )
    return fitting[-1]
