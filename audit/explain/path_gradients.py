"""Integrated gradients: from one reference, or from every background row; undefined where they are not complete."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from audit.core import Floats, Ints, UsageError
from audit.data.series import Series
from audit.data.texts import Texts
from audit.explain import _foreign
from audit.explain.attribution import Attribution
from audit.explain.games import Game
from audit.explain.masking.base import pooled
from audit.explain.masking.series import repeated
from audit.explain.paths import believed, gauss_legendre, walk
from audit.explain.slopes import Slopes, array, batches, completeness, incomplete, reference, rounding
from audit.registry import explainer

if TYPE_CHECKING:
    from torch import Tensor


@explainer(
    "integrated_gradients",
    title="Integrated gradients from a reference that says nothing",
    needs=frozenset({"model", "rows", "gradients"}),
    sources=("sundararajan2017",),
)
def integrated_gradients(
    game: Game, *, steps: int = 32, tolerance: float = 0.01, max_steps: int = 1024, seed: int = 0
) -> Attribution:
    """Integrated gradients of every row's output along the straight line from the reference.

    steps: Gauss-Legendre nodes at first; stretches of the line that miss the movement of the output are cut in halves
    until the completeness error is a tenth of `tolerance` or the row has used `max_steps`. A row whose error stays above
    the tolerance is undefined (NaN), and the note says by how much. Of texts the line runs through the embeddings.
    Raises MissingOffer for a model without gradients, or with gradients that are not those of what it answers.
    """
    _checked(steps, tolerance, max_steps)
    slopes = Slopes(game=game)
    with _foreign.lent(seed):
        start, end = reference(slopes), slopes.leaf()
        found = walk(slopes, slopes.rows, start.leaf, end, steps=steps, goal=tolerance / 10, most=max_steps)
        sums, mass = array(found.values.flatten(1).sum(1)), array(found.values.flatten(1).abs().sum(1))
        noise = rounding(slopes.precision, found.low, found.high, mass)
        errors = completeness(sums, found.high - found.low, mass, noise)
        wrong, note = incomplete(errors, tolerance)
        if note:
            believed(slopes, seed)
            note += f" (after {found.steps.max()} steps)"
    found.values[wrong] = np.nan
    return slopes.result(
        found.values,
        method=f"integrated gradients, up to {found.steps.max(initial=0)} Gauss-Legendre steps",
        background=start.words,
        base=found.low,
        outputs=found.high,
        params={"steps": steps, "tolerance": tolerance, "max_steps": max_steps},
        seed=seed,
        note=note,
    )


@explainer(
    "expected_gradients",
    title="Integrated gradients from every background row, averaged",
    needs=frozenset({"model", "rows", "gradients"}),
    sources=("erion2021", "sundararajan2017"),
)
def expected_gradients(
    game: Game, *, steps: int = 8, tolerance: float = 0.01, max_steps: int = 256, seed: int = 0
) -> Attribution:
    """The mean over the background rows of integrated gradients from each of them, all rows in one batch.

    steps: Gauss-Legendre nodes, doubled for the rows whose completeness error is above a quarter of `tolerance`, up to
    `max_steps`; a row whose error stays above the tolerance is undefined (NaN), and the note says by how much. The error
    is relative to how far the output moves from a background row on average, the distances taken without their signs.
    The standard errors are those of the choice of background rows. Texts are compared with what their masker fills in.
    Raises MissingOffer as `integrated_gradients` does.
    """
    _checked(steps, tolerance, max_steps)
    slopes = Slopes(game=game)
    with _foreign.lent(seed):
        pairs = _pairs(slopes)
        outputs = array(slopes.everywhere(pairs.end))
        base, moved = _bases(slopes, pairs, outputs)
        values, error, errors, used = _doubled(slopes, pairs, outputs - base, moved, steps, max_steps, tolerance / 4)
        wrong, note = incomplete(errors, tolerance)
        if note:
            believed(slopes, seed)
            note += f" (after {used} steps)"
    values[wrong], error[wrong] = np.nan, np.nan
    return slopes.pooled(
        values,
        method=f"expected gradients over {pairs.count} background inputs, up to {used} Gauss-Legendre steps",
        background=game.masker.background,
        base=base,
        outputs=outputs,
        se_background=error if pairs.count > 1 else None,
        params={"steps": steps, "tolerance": tolerance, "max_steps": max_steps},
        seed=seed,
        note=note,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pairs:
    """Every row (n,) with every background input (b,): starts (n or 1, b, ...), ends (n, ...), who owns what (n, ...)."""

    starts: Tensor
    end: Tensor
    owner: Ints

    @property
    def count(self) -> int:
        """Background inputs."""
        return int(self.starts.shape[1])

    def start(self, rows: Ints, behind: Ints) -> Tensor:
        """Where the path of each pair (s, ...) begins: what no player holds is the row's own."""
        import torch

        begun = self.starts[rows if len(self.starts) > 1 else 0 * rows, behind]
        if (self.owner >= 0).all():
            return begun
        held = torch.as_tensor(self.owner[rows] >= 0, device=begun.device)
        return torch.where(held.reshape(*held.shape, *([1] * (begun.ndim - held.ndim))), begun, self.end[rows])

    def each(self, rows: Ints, nodes: int) -> Iterator[tuple[Ints, Ints]]:
        """All pairs of these rows, as rows and background inputs (s,), in batches of bounded memory."""
        every = np.arange(len(rows) * self.count)
        for part in batches(every, self.end[:1].numel(), nodes):
            yield rows[part // self.count], part % self.count


def _pairs(slopes: Slopes) -> _Pairs:
    masker, inputs = slopes.game.masker, slopes.game.masker.inputs
    end = slopes.leaf()
    if isinstance(inputs, Texts):
        starts = end.new_zeros(len(inputs), masker.fillings, *end.shape[1:])
        for players, rows in slopes.game.by_players():
            filled = slopes.leaf(masker.fill(rows, np.zeros((1, players), dtype=bool)))
            starts[rows] = filled.reshape(len(rows), -1, *end.shape[1:])
    else:
        behind = masker.rows  # type: ignore[attr-defined]
        steps = inputs.values.shape[1]
        values = repeated(behind, steps) if isinstance(inputs, Series) else behind.values
        # The leaf of an input depends on its values alone, so any row's frame will do.
        starts = slopes.leaf(_with(inputs, values))[None]
    return _Pairs(starts=starts, end=end, owner=masker.owners())


def _with(inputs: Any, values: Floats) -> Any:
    if isinstance(inputs, Series):
        return inputs.with_values(values, np.full(len(values), values.shape[1]))
    return inputs.with_values(values)


def _bases(slopes: Slopes, pairs: _Pairs, outputs: Floats) -> tuple[Floats, Floats]:
    """The mean output (n,) over the background inputs, for each row's class, and the mean distance (n,) from it."""
    total, apart = np.zeros(len(slopes.game)), np.zeros(len(slopes.game))
    for rows, behind in pairs.each(slopes.rows, 1):
        found = array(slopes.outputs(rows, pairs.start(rows, behind)[None])[0])
        np.add.at(total, rows, found)
        np.add.at(apart, rows, np.abs(outputs[rows] - found))
    return total / pairs.count, apart / pairs.count


def _doubled(
    slopes: Slopes, pairs: _Pairs, gained: Floats, moved: Floats, steps: int, max_steps: int, goal: float
) -> tuple[Floats, Floats, Floats, int]:
    """Values and standard errors (n, players), completeness errors (n,) and the most nodes used."""
    game, precision = slopes.game, slopes.precision
    shape = len(game), max((len(names) for names in game.masker.players), default=0)
    values, error, errors = np.zeros(shape), np.zeros(shape), np.zeros(len(game))
    pending, nodes = slopes.rows, steps
    while True:
        values[pending], error[pending], sums, mass = _averaged(slopes, pairs, pending, nodes)
        noise = rounding(precision, moved[pending], mass)
        errors[pending] = completeness(sums - gained[pending] + moved[pending], moved[pending], mass, noise)
        pending = pending[errors[pending] > goal]
        if not len(pending) or 2 * nodes > max_steps:
            return values, error, errors, nodes
        nodes *= 2


def _averaged(slopes: Slopes, pairs: _Pairs, rows: Ints, nodes: int) -> tuple[Floats, Floats, Floats, Floats]:
    """Attributions and standard errors (r, players) over background inputs, mean sums and mean absolute sums (r,)."""
    import torch

    most = max((len(names) for names in slopes.game.masker.players), default=0)
    node, weight = (torch.as_tensor(each, device=pairs.end.device) for each in gauss_legendre(nodes))
    first, total, squares = np.zeros((3, len(rows), most))
    sums, at = np.zeros((2, len(rows))), 0
    for here, behind in pairs.each(rows, nodes):
        start = pairs.start(here, behind)
        way = pairs.end[here] - start
        share = node.to(way.dtype).reshape(-1, *([1] * way.ndim))
        slope = slopes.gradients(here, torch.addcmul(start, share, way))[1]
        part = array(torch.tensordot(weight, slope.double(), dims=1) * way.double())
        place = np.arange(at, at := at + len(here)) // pairs.count
        owner = pairs.owner[here].reshape(len(here), -1)
        elements = part.reshape(*owner.shape, -1).sum(axis=2)
        found = pooled(elements, owner, most)
        first[place[behind == 0]] = found[behind == 0]
        found -= first[place]  # squares of what differs little from 0 lose nothing to rounding
        np.add.at(total, place, found)
        np.add.at(squares, place, found**2)
        np.add.at(sums[0], place, elements.sum(axis=1))
        np.add.at(sums[1], place, np.abs(part.reshape(len(part), -1)).sum(axis=1))
    mean = total / pairs.count
    variance = np.maximum(squares - total * mean, 0.0) / max(pairs.count - 1, 1)
    by_row = sums / pairs.count
    return first + mean, np.sqrt(variance / pairs.count), by_row[0], by_row[1]


def _checked(steps: int, tolerance: float, max_steps: int) -> None:
    if steps < 1 or max_steps < steps or not tolerance > 0:
        raise UsageError(
            f"steps, max_steps, tolerance: 1 <= steps <= max_steps and tolerance > 0, got {steps}, {max_steps}, {tolerance}"
        )
