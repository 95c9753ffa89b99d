"""Whether an explanation changes when the model, or what it has learnt, is replaced by noise."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from audit.core import Card, Context, Curve, Evidence, Floats, Measure, Model, ModelError, Subject, UsageError
from audit.data.tabular import Tabular
from audit.explain.attribution import Attribution
from audit.explain.games import Game, Link
from audit.explain.quality import figures
from audit.explain.quality.panel import BACKGROUND, Found, defined, missing, panel, panel_of, sizes
from audit.explain.ranks import rank_correlations
from audit.explain.sample import game_of, sampled_rows
from audit.models.counted import Counted
from audit.registry import check

if TYPE_CHECKING:
    from torch import nn

HIGH = 0.9  # the mean correlation that the reading is written around
LEARNT = 4000  # rows that the light models of the labels are fitted on at most


def stages(layers: int, most: int) -> tuple[int, ...]:
    """How many layers, from the top, are random at each of `most` stages: always all; the first, and some between."""
    if most == 1:
        return (layers,)
    return tuple(np.unique(np.rint(np.linspace(1, layers, min(layers, most))).astype(int)).tolist())


def randomised(module: nn.Module, layers: int, rng: np.random.Generator) -> nn.Module:
    """A copy whose last `layers` modules with parameters of their own hold normal noise instead (adebayo2018).

    The noise has the root mean square of what was there, tensor by tensor, so that the outputs keep their scale; the
    module itself is left alone. Raises ModelError for a module that cannot be copied.
    """
    import torch

    try:
        found = copy.deepcopy(module)
    except Exception as error:
        raise ModelError(f"{type(module).__name__} cannot be copied, and its own weights are not touched") from error
    with torch.no_grad():
        for each in _layers(found)[-layers:]:
            for tensor in each.parameters(recurse=False):
                size = float(tensor.double().square().mean().sqrt()) if tensor.numel() else 0.0
                noise = rng.standard_normal(tuple(tensor.shape)) * size
                tensor.copy_(torch.as_tensor(noise, dtype=tensor.dtype, device=tensor.device))
    return found


def _layers(module: nn.Module) -> list[nn.Module]:
    """The modules that hold floating-point parameters of their own, in the order of their definition."""
    return [each for each in module.modules() if any(p.is_floating_point() for p in each.parameters(recurse=False))]


@check(
    "explain.randomisation",
    title="Do explanations depend on the model?",
    needs={"model", "rows"},
    sources=("adebayo2018",),
)
def randomisation(
    subject: Subject,
    context: Context,
    *,
    rows: int = 8,
    background: int = BACKGROUND,
    link: Link = "identity",
    draws: int = 4,
    layers: int = 3,
    labels: bool = True,
) -> Iterator[Evidence]:
    """Does an explanation change when the model is replaced by noise?

    Parameters: in copies of a torch module the layers are replaced by noise, from the top down, and the same rows are
    explained again. Labels: a light model (boosted trees) is fitted to the labels and another to the same labels
    shuffled, and both are explained. The figure is Spearman's correlation of the absolute attributions, before and
    after. An explanation of the model must change; one that stays near 1 shows the input, not what was learnt from it.
    The interval is over `draws` of the noise.

    The numbers do not say that an explanation that changes is right. On few features even unlike models rank by what
    varies most, so compare explainers with each other rather than with 0; explainers that multiply by the input keep a
    correlation because the input has stayed.
    """
    if draws < 1 or layers < 1:
        raise UsageError(f"draws, layers: at least 1 each, got {draws}, {layers}")
    game, found = panel(subject, context, rows=rows, background=background, link=link)
    here = defined(found)
    yield from _parameters(context, game, here, draws, layers)
    if labels:
        yield from _labels(subject, context, rows, background, draws)
    yield from missing(found)


# ------------------------------------------------------------------------------------------------ parameters
def _parameters(
    context: Context, game: Game, here: dict[str, Attribution], draws: int, most: int
) -> Iterator[Evidence]:
    name = "parameter_rank_correlation"
    counter = game.model if isinstance(game.model, Counted) else None
    model: Any = game.model if counter is None else counter.model
    if not model.card.parameters_open or not hasattr(model, "module"):
        yield Measure(name=name, value=None, better="lower", note="the model's parameters are not open to be replaced")
        return
    total = len(_layers(model.module))
    if not total:
        yield Measure(name=name, value=None, better="lower", note="the module has no parameters")
        return
    at = stages(total, most)
    rng = context.stream("explain.randomisation")
    alike: dict[str, list[Floats]] = {id: [] for id in here}  # (draws, stages), each the mean over rows
    for draw in context.track(range(draws), "randomised models"):
        # The way there is drawn, not judged: two draws of it are enough.
        kept = at if draw < 2 else at[-1:]
        runs = [_explained(game, model, counter, randomised(model.module, count, rng), context, here) for count in kept]
        for id, each in here.items():
            missed = [np.nan] * (len(at) - len(kept))
            alike[id].append(np.array([*missed, *(_alike(each, run.get(id)) for run in runs)]))
    for id in here:
        yield from _curve(id, np.stack(alike[id]), at, total, name, context.confidence)


def _explained(
    game: Game, model: Any, counter: Counted | None, module: nn.Module, context: Context, here: dict[str, Attribution]
) -> Found:
    """The same explainers on another module, its rows counted like the model's own."""
    other: Model = replace(model, module=module)
    if counter is not None:
        left = None if counter.limit is None else counter.limit - counter.evaluations
        other = Counted(model=other, limit=left)
    try:
        return panel_of(replace(game, model=other), context, here)
    finally:
        if counter is not None and isinstance(other, Counted):
            counter.evaluations += other.evaluations


def _alike(first: Attribution, second: Attribution | str | None) -> float:
    """Mean over rows of how alike two explanations rank; NaN where one of them ranks nothing in any row."""
    if not isinstance(second, Attribution):
        return float("nan")
    each = rank_correlations(sizes(first.values), sizes(second.values))
    return float(np.nanmean(each)) if np.isfinite(each).any() else float("nan")


def _curve(id: str, alike: Floats, at: Sequence[int], total: int, name: str, level: float) -> Iterator[Evidence]:
    yield _measure(name, id, alike[:, -1], level, "every layer is noise")
    if len(at) > 1:
        middle = [float(np.nanmean(side)) if np.isfinite(side).any() else None for side in alike.T]
        yield Curve(
            name="rank_correlation_by_layer",
            x=(0.0, *(count / total for count in at)),
            y=(1.0, *middle),
            x_label="share of the layers that are noise, from the top",
            y_label="rank correlation",
            where={"explainer": id},
            note=f"mean of {min(2, len(alike))} draws, all layers of {len(alike)}"
            + ("; a gap: undefined in every draw" if None in middle else ""),
        )


def _measure(name: str, id: str, each: Floats, level: float, when: str) -> Measure:
    found = figures.mean(
        name,
        each,
        explainer=id,
        level=level,
        better="lower",
        why="no row where both rank two players",
        what="draws of the noise",
        least=-1.0,
        most=1.0,
    )
    if found.value is None:
        return found
    high = found.value if found.interval is None else found.interval.high
    reading = "and so is its interval" if high < HIGH else "its interval reaches beyond"
    side = f"below {HIGH:g}, {reading}" if found.value < HIGH else f"{HIGH:g} or above"
    how = "the nearer to 1, the less of the explanation comes from the model and the more from the input"
    return replace(found, note=f"correlation with the true explanation where {when}: {side}; to be read as: {how}")


# ---------------------------------------------------------------------------------------------------- labels
def _labels(subject: Subject, context: Context, rows: int, background: int, draws: int) -> Iterator[Evidence]:
    """Light models of the labels against light models of shuffled labels."""
    name = "label_rank_correlation"
    inputs = subject.data.inputs
    if not isinstance(inputs, Tabular) or subject.y is None or len(np.unique(subject.y)) != 2:
        note = "shuffled labels need a table and labels of two classes"
        yield Measure(name=name, value=None, better="lower", note=note)
        return
    rng = context.stream("explain.randomisation.labels")
    chosen = np.sort(rng.permutation(len(inputs))[:LEARNT])
    table, y = inputs.take(chosen), (subject.y[chosen] == 1).astype(np.int64)
    picked = sampled_rows(subject, context, rows)
    started: Game = game_of(subject, context, picked, background=background)
    true = panel_of(replace(started, model=_light(table, y, int(rng.integers(2**31)))), context)
    alike: dict[str, list[float]] = {id: [] for id in defined(true)}
    for _ in range(draws):
        model = _light(table, rng.permutation(y), int(rng.integers(2**31)))
        run = panel_of(replace(started, model=model), context, alike)
        for id, each in defined(true).items():
            alike[id].append(_alike(each, run.get(id)))
    for id, found in alike.items():
        yield _measure(name, id, np.array(found), context.confidence, "the labels were shuffled (light models)")


def _light(table: Tabular, y: np.ndarray, seed: int) -> Model:
    """Shallow boosted trees as a model of two classes."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    light = HistGradientBoostingClassifier(max_iter=20, max_depth=3, early_stopping=False, random_state=seed)
    light.fit(table.values, y)
    from audit.models.base import Reading, Wrapped

    return Wrapped(
        card=Card(family="light model", kind="sklearn", digest=f"light/{seed}"),
        answer=lambda inputs: light.predict_proba(inputs.values)[:, 1],
        reading=Reading(),
    )
