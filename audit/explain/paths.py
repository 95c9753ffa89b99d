"""Slopes along straight lines: their integral, and whether they account for how the output moves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from audit.core import Floats, Ints, MissingOffer, stream
from audit.explain import _foreign
from audit.explain.games import Game
from audit.explain.slopes import Slopes, array, batches, percent, reference, rounding

if TYPE_CHECKING:
    from torch import Tensor

FINER = 8  # nodes in each half of a stretch that was cut
ENOUGH = 0.95  # of the movement that gradients must explain
_NARROW = 2.0**-9  # stretches of a path so short that only a jump is left to miss


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """Integrals along paths (n,) that begin and end somewhere.

    values (n, ...): the gradients' integral times the way gone, laid out like the leaves. low, high (n,): outputs at the
    ends. steps (n,): nodes used. moved, missed, jumped (n,): added up over the stretches of a path, how far the output
    moved, how far the integral was from that, and how far on stretches too short for anything but a jump.
    """

    values: Tensor
    low: Floats
    high: Floats
    steps: Ints
    moved: Floats
    missed: Floats
    jumped: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stretches:
    """Parts of paths: whose, from where, how long (as shares of the path), outputs at both ends."""

    owner: Ints
    left: Floats
    width: Floats
    low: Floats
    high: Floats

    def take(self, which: np.ndarray) -> _Stretches:
        return _Stretches(**{name: getattr(self, name)[which] for name in self.__slots__})


def walk(
    slopes: Slopes,
    rows: Ints,
    start: Tensor,
    end: Tensor,
    *,
    steps: int = 32,
    goal: float = 1e-3,
    most: int = 1024,
    pieces: int = 1,
) -> Walk:
    """Integrals of the gradient from start to end (n, ...) for the rows (n,), by Gauss-Legendre nodes.

    Every path begins with `steps` nodes, in `pieces`. The integral over a stretch is known beforehand, it is what the
    output moved; where it is missed by more than `goal` of the path's movement the stretch is cut in halves, so that kinks
    are closed in on, until a path has used `most` nodes.
    """
    import torch

    way, precision = end - start, slopes.precision
    values = torch.zeros(way.shape, dtype=torch.float64, device=way.device)
    used = np.zeros(len(rows), dtype=np.int64)
    sums = np.zeros((3, len(rows)))
    todo = _begun(slopes, rows, start, way, pieces)
    low, high = todo.low[::pieces].copy(), todo.high[pieces - 1 :: pieces].copy()
    nodes = max(1, steps // pieces)
    while len(todo.owner):
        count = np.bincount(todo.owner, minlength=len(rows))
        used += nodes * count
        spent = used + 2 * FINER * count > most
        later = []
        for part in batches(np.arange(len(todo.owner)), way[:1].numel(), nodes):
            here = todo.take(part)
            found = _integrals(slopes, rows, start, way, here, nodes)
            total, mass = array(found.flatten(1).sum(1)), array(found.flatten(1).abs().sum(1))
            moved = here.high - here.low
            missed = np.abs(total - moved)
            scale = np.max([np.abs(high - low)[here.owner], np.abs(moved), 1e-3 * mass], axis=0)
            allowed = goal * scale * np.sqrt(here.width) + rounding(precision, here.low, here.high, mass)
            done = (missed <= allowed) | spent[here.owner]
            values.index_add_(0, torch.as_tensor(here.owner[done], device=way.device), found[torch.as_tensor(done)])
            for line, each in enumerate((np.abs(moved), missed, np.where(here.width <= _NARROW, missed, 0.0))):
                np.add.at(sums[line], here.owner[done], each[done])
            later.append(part[~done])
        todo = _halved(slopes, rows, start, way, todo.take(np.concatenate(later)))
        nodes = FINER
    return Walk(values=values, low=low, high=high, steps=used, moved=sums[0], missed=sums[1], jumped=sums[2])


def _begun(slopes: Slopes, rows: Ints, start: Tensor, way: Tensor, pieces: int) -> _Stretches:
    """Every path in equal pieces, a path's own side by side."""
    count = len(rows)
    owner = np.repeat(np.arange(count), pieces + 1)
    at = np.tile(np.arange(pieces + 1) / pieces, count)
    ends = _outputs(slopes, rows, start, way, owner, at).reshape(count, pieces + 1)
    return _Stretches(
        owner=np.repeat(np.arange(count), pieces),
        left=np.tile(np.arange(pieces) / pieces, count),
        width=np.full(count * pieces, 1 / pieces),
        low=ends[:, :-1].ravel(),
        high=ends[:, 1:].ravel(),
    )


def _halved(slopes: Slopes, rows: Ints, start: Tensor, way: Tensor, whole: _Stretches) -> _Stretches:
    half = whole.width / 2
    middle = _outputs(slopes, rows, start, way, whole.owner, whole.left + half)
    return _Stretches(
        owner=np.concatenate([whole.owner, whole.owner]),
        left=np.concatenate([whole.left, whole.left + half]),
        width=np.concatenate([half, half]),
        low=np.concatenate([whole.low, middle]),
        high=np.concatenate([middle, whole.high]),
    )


def _outputs(slopes: Slopes, rows: Ints, start: Tensor, way: Tensor, owner: Ints, at: Floats) -> Floats:
    out = np.zeros(len(owner))
    for part in batches(np.arange(len(owner)), way[:1].numel()):
        points = _points(start, way, owner[part], at[part][None])
        out[part] = array(slopes.outputs(rows[owner[part]], points)[0])
    return out


def _points(start: Tensor, way: Tensor, owner: Ints, at: Floats) -> Tensor:
    """Points (m, s, ...) of the paths owner (s,) at the shares at (m, s) of their way."""
    import torch

    place = torch.as_tensor(owner, device=way.device)
    share = torch.as_tensor(at, device=way.device).to(way.dtype)
    return torch.addcmul(start[place], share.reshape(*at.shape, *([1] * (way.ndim - 1))), way[place])


def _integrals(slopes: Slopes, rows: Ints, start: Tensor, way: Tensor, here: _Stretches, nodes: int) -> Tensor:
    """The gradient's integral (s, ...) over each stretch, times the way gone."""
    import torch

    node, weight = gauss_legendre(nodes)
    points = _points(start, way, here.owner, here.left + node[:, None] * here.width)
    found = slopes.gradients(rows[here.owner], points)[1]
    mean = torch.tensordot(torch.as_tensor(weight, device=way.device), found.double(), dims=1)
    gone = torch.as_tensor(here.width, device=way.device).reshape(-1, *([1] * (way.ndim - 1)))
    part: Tensor = mean * gone * way[torch.as_tensor(here.owner, device=way.device)].double()
    return part


def gauss_legendre(nodes: int) -> tuple[Floats, Floats]:
    """Nodes and weights (nodes,) of the Gauss-Legendre rule from 0 to 1."""
    node, weight = np.polynomial.legendre.leggauss(nodes)
    return (node + 1) / 2, weight / 2


class Finding(NamedTuple):
    """Whether a model's gradients can be believed, why not, and the share of the movement that they explain."""

    ok: bool
    reason: str
    share: float


def differentiable(game: Game, seed: int = 0) -> Finding:
    """Whether the gradients account for how the output moves along a few paths between inputs.

    Gradients miss what a model does by hard steps (rounding, thresholds, spikes), and a surrogate gradient
    (straight-through) tells of another function than the one that answers. Every path is cut until the gradients'
    integral agrees with the movement of the output or only jumps are left. share: of the movement, added up over all
    stretches; NaN where nothing moved. Sources: sundararajan2017.
    """
    slopes = Slopes(game=game)
    try:
        with _foreign.lent(seed):
            return trusted(slopes, seed)
    except MissingOffer as error:
        return Finding(ok=False, reason=str(error), share=0.0)


def trusted(slopes: Slopes, seed: int) -> Finding:
    """The same, counting what it costs; the caller lends the library its seed."""
    import torch

    rng = stream(seed, "explain.differentiable")
    rows = np.sort(rng.choice(len(slopes.game), size=min(4, len(slopes.game)), replace=False)).astype(np.int64)
    end, start = slopes.leaf()[rows], reference(slopes).leaf[rows]
    # From the reference, and from one another: either may be the same point, or on the same plateau.
    paths = torch.cat([start, end.roll(1, 0)]), torch.cat([end, end])
    both = np.concatenate([rows, rows])
    found = walk(slopes, both, *paths, steps=16, goal=4e-2, most=512, pieces=4)
    moved, missed = found.moved.sum(), found.missed.sum()
    share = max(0.0, 1 - missed / moved) if moved > 0 else (0.0 if missed > 1e-6 else np.nan)
    if not share < ENOUGH:
        return Finding(ok=True, reason="", share=float(share))
    predicted, local = _nearby(slopes, both, *paths, rng.uniform(0, 1 - 2**-9, size=(8, len(both))))
    told = f"it explains {percent(share)} of how the output moves between inputs, {percent(ENOUGH)} are needed"
    family = slopes.game.model.family
    if predicted == 0 and moved > 0:
        return Finding(ok=False, reason=f"{family}: {_STEPS}; {told}", share=float(share))
    if local < 0.5:
        return Finding(ok=False, reason=f"{family}: {_SURROGATE}; {told}", share=float(share))
    if found.jumped.sum() > (1 - ENOUGH) * moved:
        return Finding(ok=False, reason=f"{family}: {_JUMPS}; {told}", share=float(share))
    return Finding(ok=True, reason="", share=float(share))


_STEPS = "the gradient is 0 although the output moves, by hard steps (rounding, thresholds, spikes, rules)"
_SURROGATE = "the gradient is not the output's own, as that of a surrogate (straight-through, spiking or quantised layers) is not"
_JUMPS = "the output also moves by jumps, which no gradient sees (thresholds, rounding, hard rules)"


def _nearby(slopes: Slopes, rows: Ints, start: Tensor, end: Tensor, at: Floats) -> tuple[float, float]:
    """Over very short stretches (m, n): how far the gradient says that the output moves, and the share that it gets right."""
    way, owner = end - start, np.tile(np.arange(len(rows)), len(at))
    left, width = at.ravel(), max(2.0**-20, 2.0**13 * slopes.precision)  # as short as rounding allows
    low, high = (_outputs(slopes, rows, start, way, owner, left + side * width) for side in (0, 1))
    here = _Stretches(owner=owner, left=left, width=np.full(len(left), width), low=low, high=high)
    said = np.concatenate(
        [
            array(_integrals(slopes, rows, start, way, here.take(part), 2).flatten(1).sum(1))
            for part in batches(np.arange(len(left)), way[:1].numel(), 2)
        ]
    )
    moved, noise = high - low, 4 * rounding(slopes.precision, low, high)
    wrong = np.where(np.abs(said - moved) > noise, np.abs(said - moved), 0.0)
    size = np.maximum(np.abs(said), np.abs(moved)).sum()
    return float(np.abs(said).sum()), float(1 - wrong.sum() / size) if size > 0 else 1.0


def believed(slopes: Slopes, seed: int) -> None:
    """Raises MissingOffer with the reason where the gradients do not account for how the output moves."""
    found = trusted(slopes, seed)
    if not found.ok:
        raise MissingOffer(found.reason)
