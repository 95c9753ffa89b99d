"""The slope of the output at the input itself: saliency, input x gradient, SmoothGrad, guided backprop."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from audit.core import Floats, NotApplicable, UsageError, stream
from audit.data.tabular import Tabular
from audit.explain import _foreign
from audit.explain.attribution import Attribution
from audit.explain.games import Game
from audit.explain.paths import believed
from audit.explain.slopes import GRADIENT, Slopes, array, batches, reference
from audit.registry import explainer

if TYPE_CHECKING:
    from torch import Tensor

    from audit.models.layers import Layers


@explainer(
    "saliency",
    title="Absolute gradient of the output",
    needs=frozenset({"model", "rows", "gradients"}),
    sources=("simonyan2014",),
)
def saliency(game: Game, *, absolute: bool = True, seed: int = 0) -> Attribution:
    """How steeply the output changes with each player: the absolute gradient, added up over what a player holds.

    absolute: False for the gradient with its sign. The values are slopes, in the unit of the link per unit of the input,
    so they do not add up to anything. Raises MissingOffer for a model without gradients, or with gradients that are not
    those of what it answers.
    """
    slopes = Slopes(game=game)
    with _foreign.lent(seed):
        believed(slopes, seed)
        start = reference(slopes)
        outputs, found = _gradients(slopes, slopes.leaf())
        base = array(slopes.everywhere(start.leaf))
    return slopes.result(
        found.abs() if absolute else found,
        method="saliency (absolute gradient)" if absolute else "gradient",
        background=start.words,
        base=base,
        outputs=outputs,
        params={"absolute": absolute},
        seed=seed,
        complete=False,
    )


@explainer(
    "input_x_gradient",
    title="Input times gradient",
    needs=frozenset({"model", "rows", "gradients"}),
    sources=("shrikumar2017", "ancona2018"),
)
def input_x_gradient(game: Game, *, centred: bool = False, seed: int = 0) -> Attribution:
    """The gradient times the input: the change to first order if the input went to zero.

    centred: times the input less the reference instead, the change to first order on the way from the reference; the one
    to read where a zero means nothing (a table that is not standardised). Raises MissingOffer as `saliency` does.
    """
    slopes = Slopes(game=game)
    with _foreign.lent(seed):
        believed(slopes, seed)
        start, leaf = reference(slopes), slopes.leaf()
        outputs, found = _gradients(slopes, leaf)
        base = array(slopes.everywhere(start.leaf))
        way = leaf - start.leaf if centred else leaf
    return slopes.result(
        found.double() * way.double(),
        method="gradient x (input - reference)" if centred else "input x gradient",
        background=start.words,
        base=base,
        outputs=outputs,
        params={"centred": centred},
        seed=seed,
        complete=False,
    )


@explainer(
    "smooth_grad",
    title="Gradient averaged over noise (SmoothGrad)",
    needs=frozenset({"model", "rows", "gradients"}),
    sources=("smilkov2017",),
)
def smooth_grad(game: Game, *, samples: int = 64, noise: float = 0.15, seed: int = 0) -> Attribution:
    """The mean gradient over normal noise around the input, each draw and its mirror image together.

    noise: its standard deviation, as a share of the spread: of a table each column's standard deviation over the
    background (categories are left as they are), of other inputs the range of the input's own numbers. samples: an even
    number. The standard errors are those of the draws, which all rows share. Raises MissingOffer as `saliency` does.
    """
    if samples < 2 or samples % 2 or not noise > 0:
        raise UsageError(f"samples, noise: an even number of at least 2 and a share above 0, got {samples}, {noise}")
    slopes = Slopes(game=game)
    with _foreign.lent(seed):
        believed(slopes, seed)
        start, leaf = reference(slopes), slopes.leaf()
        values, error = _smoothed(slopes, leaf, noise * _spread(game, leaf), samples // 2, seed)
        outputs, base = array(slopes.everywhere(leaf)), array(slopes.everywhere(start.leaf))
    return slopes.pooled(
        values,
        method=f"SmoothGrad, {samples} draws in mirrored pairs",
        background=start.words,
        base=base,
        outputs=outputs,
        se_sampling=error,
        params={"samples": samples, "noise": noise},
        seed=seed,
        complete=False,
    )


@explainer(
    "guided_backprop",
    title="Guided backpropagation",
    needs=frozenset({"model", "rows", "gradients"}),
    sources=("springenberg2015", "adebayo2018"),
)
def guided_backprop(game: Game, *, seed: int = 0) -> Attribution:
    """The gradient with every ReLU letting only positive gradients through, by captum.

    The pictures are sharp, but hardly depend on what the model has learnt (adebayo2018): look, do not rely. Raises
    NotApplicable where a ReLU is not a module of its own, which the method would pass over, or where there is none.
    """
    slopes = Slopes(game=game)
    with _foreign.lent(seed):
        believed(slopes, seed)
        start, leaf = reference(slopes), slopes.leaf()
        found = leaf.new_zeros(leaf.shape)
        for rows in batches(slopes.rows, leaf[:1].numel()):
            layers = slopes.layers(rows)
            _relus_are_modules(slopes, layers, leaf[rows])
            found[rows] = _guided(slopes, layers, leaf[rows])
        outputs, base = array(slopes.everywhere(leaf)), array(slopes.everywhere(start.leaf))
    return slopes.result(
        found,
        method="guided backpropagation",
        background=start.words,
        base=base,
        outputs=outputs,
        seed=seed,
        complete=False,
    )


def _gradients(slopes: Slopes, leaf: Tensor) -> tuple[Floats, Tensor]:
    """Outputs (n,) and gradients (n, ...) at the inputs themselves."""
    outputs, found = np.zeros(len(leaf)), leaf.new_zeros(leaf.shape)
    for rows in batches(slopes.rows, leaf[:1].numel()):
        high, slope = slopes.gradients(rows, leaf[rows][None])
        outputs[rows], found[rows] = array(high[0]), slope[0]
    return outputs, found


def _spread(game: Game, leaf: Tensor) -> Tensor:
    """What the noise is a share of (n or 1, ...)."""
    inputs = game.masker.inputs
    if isinstance(inputs, Tabular):
        rows: Tabular = game.masker.rows  # type: ignore[attr-defined]
        spread = np.nan_to_num(np.nanstd(rows.values, axis=0))
        spread[[inputs.columns.index(name) for name in inputs.categories]] = 0.0
        return leaf.new_tensor(spread[None])
    flat = leaf.flatten(1)
    return (flat.amax(1) - flat.amin(1)).reshape(-1, *([1] * (leaf.ndim - 1)))


def _smoothed(slopes: Slopes, leaf: Tensor, spread: Tensor, pairs: int, seed: int) -> tuple[Floats, Floats]:
    """The mean gradient (n, players) over pairs of draws, and its standard error (NaN of a single pair)."""
    import torch

    rng, found = stream(seed, "explain.smooth_grad"), []
    for _ in range(pairs):
        drawn = leaf.new_tensor(rng.standard_normal(leaf.shape[1:])) * spread.expand_as(leaf)
        mean = torch.zeros_like(leaf, dtype=torch.float64)
        for rows in batches(slopes.rows, leaf[:1].numel(), 2):
            both = torch.stack([leaf[rows] + drawn[rows], leaf[rows] - drawn[rows]])
            mean[rows] = slopes.gradients(rows, both)[1].double().mean(dim=0)
        found.append(slopes.game.masker.pool(array(mean)))
    each = np.stack(found)
    error = each.std(axis=0, ddof=1) / np.sqrt(pairs) if pairs > 1 else np.full_like(each[0], np.nan)
    return each.mean(axis=0), error


def _guided(slopes: Slopes, layers: Layers, leaf: Tensor) -> Tensor:
    slopes.charge(len(leaf), GRADIENT)
    return _foreign.guided_backprop(layers.module, lambda point: slopes.read(layers.log_odds(layers.raw(point))), leaf)


def _relus_are_modules(slopes: Slopes, layers: Layers, leaf: Tensor) -> None:
    from audit.models.layers import relus

    modules, functions = relus(layers.module, lambda: layers.raw(leaf))
    slopes.charge(len(leaf), 1.0)
    family = slopes.game.model.family
    if not modules and not functions:
        raise NotApplicable(f"{family}: guided backprop needs ReLUs, and the module has none")
    if functions:
        raise NotApplicable(
            f"{family}: guided backprop changes the ReLUs that are modules ({modules} calls) and would pass over those "
            f"that are called as functions ({functions} calls); make them nn.ReLU"
        )
