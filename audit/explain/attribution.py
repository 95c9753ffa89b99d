"""The one result type of every attribution method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from audit.core import Floats, Ints
from audit.explain.games import Game, Link

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribution:
    """How much each player moved each output away from the base.

    values (rows, most players): attributions in the unit of the link; NaN behind the last player of a row that has fewer
    than others, and in a row that is undefined, for which `note` says why. base, outputs (rows,): the output with no
    player present, and with all of them. players: the names in each row. targets (rows,): the class explained.
    se_sampling, se_background (as values): standard errors from drawing (coalitions, perturbations) and from drawing the
    background; None where the method has no such error. data (as values): what the players were, NaN where a player is
    no single number. params: the method's settings. model, background: digests (the background's in words).
    evaluations: rows that the model was asked for; forwards: what that cost in forward passes of one row (a gradient
    costs three). complete: whether the values are meant to add up to output - base.
    """

    values: Floats
    base: Floats
    outputs: Floats
    players: tuple[tuple[str, ...], ...]
    targets: Ints
    method: str
    link: Link
    params: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    model: str = ""
    background: str = ""
    evaluations: int = 0
    forwards: float = 0.0
    complete: bool = True
    se_sampling: Floats | None = None
    se_background: Floats | None = None
    data: Floats | None = None
    note: str = ""

    @property
    def delta(self) -> Floats:
        """Completeness error (rows,): the sum of the attributions less (output - base); NaN where undefined."""
        total = np.where(self.present, self.values, 0.0).sum(axis=1)
        return np.asarray(total - (self.outputs - self.base))

    @property
    def present(self) -> np.ndarray:
        """Whether a row has that player (rows, most players)."""
        counts = np.array([len(names) for names in self.players], dtype=np.int64)
        return np.asarray(np.arange(self.values.shape[1]) < counts[:, None])

    @property
    def features(self) -> tuple[str, ...]:
        """The players' names where all rows share them, else their positions."""
        if len(set(self.players)) == 1:
            return self.players[0]
        return tuple(str(place + 1) for place in range(self.values.shape[1]))

    def frame(self) -> pd.DataFrame:
        """A pandas frame: one row a case, one column a player."""
        import pandas as pd

        return pd.DataFrame(self.values, columns=list(self.features))

    def to_shap(self) -> Any:
        """The same as a shap.Explanation, for shap's plots; raises UsageError where shap is not installed."""
        from audit.explain import _foreign

        return _foreign.to_shap(self)


def attribution(game: Game, values: Floats, *, method: str, **facts: Any) -> Attribution:
    """An attribution of a game's players, with what the game itself tells: players, data, targets, digests."""
    told: dict[str, Any] = {
        "players": game.masker.players,
        "data": game.masker.data(),
        "targets": game.targets,
        "link": game.link,
        "model": game.model.card.digest,
        "background": game.masker.background,
    }
    return Attribution(values=values, method=method, **(told | facts))
