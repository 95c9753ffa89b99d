"""What gradient methods share: the output that is explained as a function that has slopes, and where paths begin."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from audit.core import Floats, Ints, MissingOffer, ModelError, NotApplicable
from audit.data.images import Images
from audit.data.series import Series
from audit.data.tabular import Tabular
from audit.data.texts import Texts
from audit.explain.attribution import Attribution, attribution
from audit.explain.games import Game
from audit.explain.masking.tabular import mean_row

if TYPE_CHECKING:
    from torch import Tensor

    from audit.models.layers import Layers

NUMBERS = 2**20  # in the points of one batch
POINTS = 4096  # at most, in one batch
DETACHED = "no gradient reaches the inputs (is the output detached, constant or quantised?)"
GRADIENT = 3.0  # forward passes that one gradient costs


class Differentiable(Protocol):
    """What the offer "gradients" stands for; all of it but `attribution_point` may be missing."""

    def attribution_point(self, inputs: Any, targets: Ints | None = None) -> tuple[Tensor, Any]:
        """The leaf (n, ...) and the function from leaves (m n, ...) to the log-odds (m n,) of the rows' target classes."""
        ...

    def attribution_layers(self, inputs: Any, targets: Ints | None = None) -> Layers:
        """The same in two halves, through a copy of the module that hooks may be attached to."""
        ...


@dataclass(slots=True, kw_only=True)
class Slopes:
    """The explained output of a game as a function of its leaves; counts rows answered and what they cost.

    A leaf is what gradients are taken of: the input itself, of texts its embedding (n, tokens, d). The output is the
    probability of each row's target class (link "identity") or its log-odds ("logit"), or the number that is predicted.
    """

    game: Game
    evaluations: int = 0
    forwards: float = 0.0

    def __post_init__(self) -> None:
        offers, inputs = self.game.model.offers, self.game.masker.inputs
        if "gradients" not in offers:
            raise MissingOffer(f'this needs a model that offers "gradients"; it offers {sorted(offers)}')
        if not isinstance(inputs, Tabular | Images | Series | Texts):
            raise NotApplicable(f"gradients explain tables, images, series and texts, not {type(inputs).__name__}")
        # The model's own checks of its outputs (classes, probabilities) come before any gradient.
        few = np.arange(min(len(self.game), 8))
        self.game.answer(inputs.take(few), few)
        self.charge(len(few), 1.0)

    @property
    def model(self) -> Differentiable:
        """The model, by what "gradients" stands for."""
        return self.game.model  # type: ignore[return-value]

    @property
    def precision(self) -> float:
        """The relative precision of the model's numbers."""
        import torch

        return float(torch.finfo(self.leaf(self.game.masker.inputs.take(self.rows[:1])).dtype).eps)

    @property
    def number(self) -> bool:
        """Whether the model predicts a number, which is explained as it is."""
        return self.game.number

    @property
    def rows(self) -> Ints:
        """All rows."""
        return np.arange(len(self.game), dtype=np.int64)

    def leaf(self, inputs: Any = None) -> Tensor:
        """The leaf (n, ...) of the game's inputs, or of others."""
        found = self.model.attribution_point(self.game.masker.inputs if inputs is None else inputs)[0]
        return found.detach()

    def read(self, log_odds: Tensor) -> Tensor:
        """Log-odds as the output that is explained, in double precision."""
        import torch

        probability = self.game.link == "identity" and not self.number
        return torch.sigmoid(log_odds.double()) if probability else log_odds.double()

    def outputs(self, rows: Ints, points: Tensor) -> Tensor:
        """Outputs (m, r) at points (m, r, ...) for the rows (r,)."""
        import torch

        self.charge(points.shape[0] * points.shape[1], 1.0)
        with torch.no_grad():
            return self._forward(rows, points)

    def gradients(self, rows: Ints, points: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs (m, r) and their gradients (m, r, ...) at points (m, r, ...) for the rows (r,).

        Raises MissingOffer where no gradient reaches the points, ModelError where an output is not finite.
        """
        import torch

        self.charge(points.shape[0] * points.shape[1], GRADIENT)
        with torch.inference_mode(False), torch.enable_grad():
            points = points.detach().clone().requires_grad_()
            found = self._forward(rows, points)
            slopes = torch.autograd.grad(found.sum(), points, allow_unused=True)[0] if found.requires_grad else None
        if slopes is None:
            raise MissingOffer(f"{self.game.model.family}: {DETACHED}")
        return found.detach(), slopes

    def _forward(self, rows: Ints, points: Tensor) -> Tensor:
        inputs = self.game.masker.inputs.take(rows)
        forward = self.model.attribution_point(inputs, self.game.targets[rows])[1]
        found = self.read(forward(points.reshape(-1, *points.shape[2:]))).reshape(points.shape[:2])
        finite = found.detach().isfinite().all(dim=0).cpu().numpy()
        if not finite.all():
            wrong = np.unique(rows[~finite])
            raise ModelError(
                f"the model's output is not finite in {len(wrong)} of {len(self.game)} rows, first in row {wrong[0]} "
                "(from 0), or on the way to it: gradients need inputs and a background without gaps"
            )
        return found

    def charge(self, count: int, cost: float) -> None:
        """Count rows that were answered, each at so many forward passes."""
        self.evaluations += count
        self.forwards += cost * count

    def layers(self, rows: Ints) -> Layers:
        """A copy of the module for hooks; raises MissingOffer for a model whose layers are not open."""
        if not hasattr(self.game.model, "attribution_layers"):
            raise MissingOffer(f"{self.game.model.family}: the layers of the model are not open")
        return self.model.attribution_layers(self.game.masker.inputs.take(rows), self.game.targets[rows])

    def everywhere(self, points: Tensor) -> Tensor:
        """Outputs (n,) at one point for every row (n, ...)."""
        import torch

        parts = [self.outputs(rows, points[rows][None])[0] for rows in batches(self.rows, points[:1].numel())]
        return torch.cat(parts) if parts else torch.zeros(0)

    def result(self, elements: Any, **facts: Any) -> Attribution:
        """An attribution of the players from numbers (n, ...) laid out like the leaves."""
        return self.pooled(self.game.masker.pool(array(elements)), **facts)

    def pooled(self, values: Floats, **facts: Any) -> Attribution:
        """An attribution of the players from their values (n, most players), with what it cost."""
        present = np.array([len(names) for names in self.game.masker.players], dtype=np.int64)[:, None]
        link = "identity" if self.number else self.game.link
        told = {"link": link, "evaluations": self.evaluations, "forwards": self.forwards}
        values = np.where(np.arange(values.shape[1]) < present, values, np.nan)
        return attribution(self.game, values, **(told | facts))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """Where paths begin: the leaf (n, ...) of an input that says nothing, and the words for it."""

    leaf: Tensor
    words: str


def reference(slopes: Slopes) -> Reference:
    """The input that says nothing, for each row; never zeros for want of something better.

    Of a table the background's mean row (categories: the most frequent level); of images and series the mean of what
    fills them in where nobody is present; of texts every token of a player becomes the mask token, or padding where
    there is none. What no player holds stays.
    """
    masker, inputs = slopes.game.masker, slopes.game.masker.inputs
    if isinstance(inputs, Tabular):
        middle = mean_row(masker.rows)  # type: ignore[attr-defined]
        start = slopes.leaf(inputs.with_values(np.repeat(middle.values, len(inputs), axis=0)))
        words = f"the mean of {masker.background} (categories: the most frequent level)"
        return Reference(leaf=start, words=masker.background if "mean of" in masker.background else words)
    if isinstance(inputs, Texts):
        filler = inputs.pad if inputs.mask is None else inputs.mask
        ids = np.where(masker.owners() >= 0, filler, inputs.ids)
        words = f"the embedding of {inputs.vocabulary[filler]!r} in the place of every token"
        return Reference(leaf=slopes.leaf(inputs.with_ids(ids, inputs.words)), words=words)
    values = np.array(inputs.values, dtype=np.float64)
    for players, rows in slopes.game.by_players():
        filled: Any = masker.fill(rows, np.zeros((1, players), dtype=bool))
        values[rows] = filled.values.reshape(len(rows), -1, *values.shape[1:]).mean(axis=1)
    several = masker.fillings > 1
    words = f"the mean of {masker.background}" if several else masker.background
    return Reference(leaf=slopes.leaf(replace(inputs, values=values)), words=words)


def batches(rows: Ints, width: int, points: int = 1) -> Iterator[Ints]:
    """The rows in batches of bounded memory, each row asking for so many points of so many numbers."""
    step = max(1, min(POINTS, NUMBERS // max(1, width)) // points)
    for left in range(0, len(rows), step):
        yield rows[left : left + step]


def array(tensor: Any) -> Floats:
    """A tensor as numbers in double precision on the CPU."""
    if isinstance(tensor, np.ndarray):
        return tensor.astype(np.float64, copy=False)
    return np.asarray(tensor.detach().double().cpu().numpy())


def completeness(sums: Floats, moved: Floats, mass: Floats, noise: Floats | float = 0.0) -> Floats:
    """Completeness error (n,): how far sums of attributions are from the movement of the output, relative to it.

    mass: the sum of the absolute attributions. Where the output moved by less than a thousandth of it, the error is
    relative to that thousandth. noise: what rounding may add; so much is no error.
    """
    scale = np.maximum(np.abs(moved), 1e-3 * mass)
    missed = np.maximum(np.abs(sums - moved) - noise, 0.0)
    return np.asarray(np.divide(missed, scale, out=np.where(missed > 0, np.inf, 0.0), where=scale > 0))


def rounding(precision: float, *sizes: Floats) -> Floats:
    """What rounding may add to a difference (n,) of numbers of these sizes (n,), each of that relative precision."""
    return np.asarray(64 * precision * np.max([np.abs(size) for size in sizes], axis=0))


def incomplete(errors: Floats, tolerance: float) -> tuple[np.ndarray, str]:
    """Which rows (n,) are undefined because their completeness error is above the tolerance, and a note that says so."""
    wrong = ~(errors <= tolerance)
    if not wrong.any():
        return wrong, ""
    worst, typical = percent(float(np.max(errors[wrong]))), percent(float(np.median(errors[wrong])))
    return wrong, (
        f"refused: completeness error {typical} (median, at most {worst}) where {percent(tolerance)} is allowed; "
        f"{wrong.sum()} of {len(wrong)} rows are undefined"
    )


def percent(share: float) -> str:
    """A share in words."""
    return f"{100 * share:.3g} %" if np.isfinite(share) else "beyond measure"
