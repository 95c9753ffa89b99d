"""The one result type of every attribution method."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from audit.core import Floats, Ints, UsageError, suggest
from audit.data.series import Series
from audit.explain.games import Game, Link

if TYPE_CHECKING:
    import pandas as pd

    from audit.drawing.notebook import Drawing
    from audit.explain.reason_codes import ReasonCodes


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribution:
    """How much each player moved each output away from the base.

    values (rows, most players): attributions in the unit of the link; NaN behind the last player of a row that has fewer
    than others, and in a row that is undefined, for which `note` says why. base, outputs (rows,): the output with no
    player present, and with all of them. players: the names in each row. targets (rows,): the class explained. scale: what
    is explained, "probability", "log-odds" or "number".
    se_sampling, se_background (as values): standard errors from drawing (coalitions, perturbations) and from drawing the
    background; None where the method has no such error. se_mean_abs (most players,): standard error of the mean over rows
    of the absolute values from drawing the background that all rows share. data (as values): what the players were, NaN where a player is
    no single number. params: the method's settings. model, background: digests (the background's in words).
    evaluations: rows that the model was asked for; forwards: what that cost in forward passes of one row (a gradient
    costs three). complete: whether the values are meant to add up to output - base. kind: of inputs ("tabular", "images",
    "texts", "series", "graphs"). owners (rows, *shape of an input): which player holds each element of an image or a
    sequence. sequences: those that were explained. fit (rows,): the weighted R2 of a local surrogate, NaN where the output
    does not vary; None of other methods.
    """

    values: Floats
    base: Floats
    outputs: Floats
    players: tuple[tuple[str, ...], ...]
    targets: Ints
    method: str
    link: Link
    scale: str = "probability"
    params: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    model: str = ""
    background: str = ""
    evaluations: int = 0
    forwards: float = 0.0
    complete: bool = True
    se_sampling: Floats | None = None
    se_background: Floats | None = None
    se_mean_abs: Floats | None = None
    data: Floats | None = None
    kind: str = "tabular"
    owners: Ints | None = None
    sequences: Series | None = None
    fit: Floats | None = None
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

    def aggregate(self, groups: Mapping[str, Sequence[str]]) -> Attribution:
        """The same attribution with named players joined into one, their values added up; the others stay as they are.

        Standard errors of a sum are at most the sum of the parts', which is what is given. Raises UsageError for a player
        that is not there or is in two groups, and where rows have different players.
        """
        return _joined(self, groups)

    def reason_codes(
        self,
        *,
        adverse: Any = None,
        most: int = 4,
        least_effect: float = 0.0,
        confidence: float = 0.95,
        favourable: Literal["high", "low"] = "high",
        protected: Iterable[str] = (),
        texts: Mapping[str, str] | None = None,
        groups: Mapping[str, Sequence[str]] | None = None,
        inputs: Any = None,
        background: Any = None,
    ) -> ReasonCodes:
        """The few features that told most against each refused row; see `audit.explain.reason_codes`."""
        from audit.explain.reason_codes import reason_codes

        return reason_codes(
            self,
            adverse=adverse,
            most=most,
            least_effect=least_effect,
            confidence=confidence,
            favourable=favourable,
            protected=protected,
            texts=texts or {},
            groups=groups or {},
            inputs=inputs,
            background=background,
        )

    def plot(self, row: int | None = None) -> Drawing:
        """The picture of one row (a waterfall, coloured tokens, a heat map), or of all rows together (a beeswarm)."""
        from audit.explain import views

        return views.plot(self, row)

    def _repr_html_(self) -> str:
        return self.plot()._repr_html_()

    def to_shap(self) -> Any:
        """The same as a shap.Explanation, for shap's plots; raises UsageError where shap is not installed."""
        from audit.explain import _foreign

        return _foreign.to_shap(self)


def _joined(found: Attribution, groups: Mapping[str, Sequence[str]]) -> Attribution:
    if not isinstance(groups, Mapping):
        raise UsageError(f"aggregate: a mapping from a name to players, got {type(groups).__name__}")
    if len(set(found.players)) != 1:
        raise UsageError("aggregate: the rows have different players, so they cannot be joined by name")
    names = found.players[0]
    owner: dict[str, str] = {}
    for name, members in groups.items():
        for member in members:
            if member not in names:
                raise UsageError(f"aggregate: {name!r} names the player {member!r}, not there{suggest(member, names)}")
            if member in owner:
                raise UsageError(f"aggregate: the player {member!r} is in {owner[member]!r} and in {name!r}")
            owner[member] = name
    joined = tuple(dict.fromkeys(owner.get(name, name) for name in names))
    if clash := sorted({name for name in names if name not in owner} & set(groups)):
        raise UsageError(f"aggregate: {clash[0]!r} is also the name of a player outside that group")
    place = np.array([[owner.get(name, name) == one for one in joined] for name in names], dtype=np.float64)
    alone = place.sum(axis=0) == 1

    def added(part: Floats | None) -> Floats | None:
        return None if part is None else np.asarray(part @ place)

    data = None if found.data is None else np.where(alone, np.nan_to_num(found.data) @ place, np.nan)
    if data is not None and found.data is not None:
        data[(np.isnan(found.data) @ place) > 0] = np.nan
    return replace(
        found,
        values=found.values @ place,
        players=(joined,) * len(found.players),
        se_sampling=added(found.se_sampling),
        se_background=added(found.se_background),
        se_mean_abs=None,  # of a sum it does not follow from those of its parts
        data=data,
        owners=None,
        sequences=None,
    )


def kind_of(inputs: Any) -> str:
    """The kind of inputs in a word: tabular, images, texts, series, graphs."""
    return type(inputs).__name__.lower()


def attribution(game: Game, values: Floats, *, method: str, **facts: Any) -> Attribution:
    """An attribution of a game's players, with what the game itself tells: players, data, targets, digests."""
    told: dict[str, Any] = {
        "players": game.masker.players,
        "data": game.masker.data(),
        "targets": game.targets,
        "link": game.link,
        "scale": game.scale,
        "model": game.model.card.digest,
        "background": game.masker.background,
        "kind": kind_of(game.masker.inputs),
        "owners": game.masker.owners() if kind_of(game.masker.inputs) in ("images", "series", "captioned") else None,
        "sequences": game.masker.inputs if isinstance(game.masker.inputs, Series) else None,
    }
    return Attribution(values=values, method=method, **(told | facts))
