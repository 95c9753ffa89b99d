"""What each explainer is meant to find on an oracle: its closed form, summed over what each player holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from audit.core import Floats, Ints
from audit.data.graphs import Graphs
from audit.data.series import Series
from audit.data.tabular import Tabular
from audit.data.texts import Texts
from audit.explain.games import Game
from audit.explain.masking.series import repeated

if TYPE_CHECKING:
    from audit.data.worlds.base import Explained

DRAWN = "shapley (population)"  # Shapley values with an error of their own: on few players the others are exact


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """Rows x (k, ...) whose absent elements are filled in alike: by `fills` (f, ...), of gradients from other starts.

    start (...): where integrated gradients begin. starts (b, ...): where expected gradients do.
    """

    rows: Ints
    x: Any
    fills: Any
    start: Any
    starts: Any


def frames(game: Game) -> Iterator[Frame]:
    """The rows of a game by what fills them in: of a table and of a graph all at once, of other inputs one by one."""
    masker, inputs = game.masker, game.masker.inputs
    if isinstance(inputs, Graphs):
        centre = masker.centre  # type: ignore[attr-defined]
        yield Frame(rows=np.arange(len(inputs)), x=inputs, fills=centre, start=centre, starts=centre[None])
        return
    if isinstance(inputs, Tabular):
        behind = masker.rows.values  # type: ignore[attr-defined]
        everyone = np.arange(len(inputs))
        yield Frame(rows=everyone, x=inputs.values, fills=behind, start=behind.mean(axis=0), starts=behind)
        return
    owner = masker.owners()
    for row in range(len(inputs)):
        x, absent = inputs.values[row : row + 1], np.zeros((1, len(masker.players[row])), dtype=bool)
        fills = masker.fill(np.array([row]), absent).values  # type: ignore[attr-defined]
        if isinstance(inputs, Texts):
            # Deleted tokens leave padding; gradients begin at the mask token, whatever fills in.
            start, pad = (np.where(owner[row] >= 0, k, x[0]) for k in (_filler(inputs), inputs.pad))
            fills = pad[None] if getattr(masker, "how", "") == "delete" else fills
            starts = fills
        else:
            rows: Any = masker.rows  # type: ignore[attr-defined]
            others = repeated(rows, x.shape[1]) if isinstance(inputs, Series) else rows.values
            start, starts = fills.mean(axis=0), np.where(owner[row] >= 0, others, x)
        yield Frame(rows=np.array([row]), x=x, fills=fills, start=start, starts=starts)


def _filler(inputs: Texts) -> int:
    return inputs.pad if inputs.mask is None else inputs.mask


Truth = Callable[["Explained", Frame], "Floats | None"]


def _shapley(form: Explained, frame: Frame) -> Floats:
    return form.shapley_truth(frame.x, frame.fills)


def _expected(form: Explained, frame: Frame) -> Floats | None:
    """Integrated gradients averaged over every background input as the baseline."""
    found = [form.gradients_truth(frame.x, start) for start in frame.starts]
    known = [each for each in found if each is not None]
    return np.asarray(np.mean(known, axis=0)) if len(known) == len(found) else None


def _sloped(change: Callable[[Any, Floats], Floats]) -> Truth:
    """What becomes of rows and their gradient, where there is one."""

    def known(form: Explained, frame: Frame) -> Floats | None:
        slopes = form.slopes(frame.x)
        return None if slopes is None else change(frame.x, slopes)

    return known


# What each explainer is meant to find, of the log-odds, element by element. One whose law the form does not settle is not
# here; gradients of log-odds that jump are None.
TRUTHS: Mapping[str, Truth] = {
    "shapley": _shapley,
    DRAWN: _shapley,
    "additive_shapley": _shapley,
    "linear_shapley": _shapley,
    "integrated_gradients": lambda form, frame: form.gradients_truth(frame.x, frame.start),
    "expected_gradients": _expected,
    "saliency": _sloped(lambda x, slopes: np.abs(slopes)),
    "input_x_gradient": _sloped(lambda x, slopes: x * slopes),
    "smooth_grad": _sloped(lambda x, slopes: slopes),  # the slope is linear, so noise about 0 leaves it
}


def known(form: Explained, game: Game, id: str) -> Floats | None:
    """What an explainer is meant to find (n, most players), NaN where a row has fewer; None where nothing settles it.

    Of forms that add up over elements the sum over what a player holds is its Shapley value, its gradient along a path,
    and its effect when it is taken away. Of a graph the players are features, as `game_of` has them; raises NotApplicable
    for ties and nodes.
    """
    if id not in TRUTHS:
        return None
    found = np.zeros(game.masker.inputs.values.shape)
    for frame in frames(game):
        each = TRUTHS[id](form, frame)
        if each is None:
            return None
        found[frame.rows] = each
    return game.masker.pool(found)
