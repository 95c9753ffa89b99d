"""Reason codes: the few features that told most against an applicant, ranked, with their doubt and in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from audit import stats
from audit.core import Cell, Floats, Ints, UsageError, suggest
from audit.data.tabular import Tabular
from audit.explain.attribution import Attribution
from audit.explain.features import in_words, said
from audit.explain.views import error

if TYPE_CHECKING:
    import pandas as pd

NONE: Mapping[str, Any] = {}
MOST = 4  # "more than four reasons is not likely to be helpful": 12 CFR 1002.9(b)(2), comment 1
DUST = 1e-9  # of a row's largest effect: what rounding leaves of a feature that the model does not use


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One reason: its rank, the feature (a player), what it was, its effect on the output, the effect's error, its text."""

    rank: int
    player: str
    was: Cell
    effect: float
    se: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasonCodes:
    """The principal reasons of adverse decisions.

    rows (r,): the rows of the attribution that were decided against. top (r, most): the players that told most against
    each, strongest first, -1 where no further effect exceeds its error; protected ones are among them. effects, se
    (r, players): the signed effects and their standard errors. reasons: for each row the reasons that can be given.
    withheld: for each row the protected players among its top ones: a notice without them leaves a principal reason out,
    and one with them states a basis that may not be used, so that the decision itself has to be looked at.
    """

    rows: Ints
    players: tuple[str, ...]
    top: Ints
    effects: Floats
    se: Floats
    reasons: tuple[tuple[Reason, ...], ...]
    withheld: tuple[tuple[str, ...], ...]
    protected: tuple[str, ...]
    most: int
    confidence: float
    method: str
    background: str
    evaluations: int

    @property
    def chosen(self) -> NDArray[np.bool_]:
        """Whether a player is among the top ones (r, players)."""
        out = np.zeros(self.effects.shape, dtype=np.bool_)
        row, rank = np.nonzero(self.top >= 0)
        out[row, self.top[row, rank]] = True
        return out

    def same(self, other: ReasonCodes) -> NDArray[np.bool_]:
        """Whether each row (r,) has the same set of top players in both, whatever their order."""
        if self.players != other.players or not np.array_equal(self.rows, other.rows):
            raise UsageError("same: both must speak of the same rows and players")
        return np.asarray((self.chosen == other.chosen).all(axis=1))

    def frame(self) -> pd.DataFrame:
        """A pandas frame: one line a reason."""
        import pandas as pd

        lines = [
            (int(row), one.rank, one.player, one.was, one.effect, one.se, one.text)
            for row, given in zip(self.rows, self.reasons, strict=True)
            for one in given
        ]
        return pd.DataFrame(lines, columns=["row", "rank", "feature", "what it was", "effect", "SE", "text"])


def reason_codes(
    attribution: Attribution,
    *,
    adverse: Any = None,
    most: int = MOST,
    least_effect: float = 0.0,
    confidence: float = 0.95,
    favourable: Literal["high", "low"] = "high",
    protected: Iterable[str] = (),
    texts: Mapping[str, str] = NONE,
    groups: Mapping[str, Sequence[str]] = NONE,
    inputs: Any = None,
    background: Any = None,
) -> ReasonCodes:
    """The features that told most against each applicant who was refused, strongest first.

    attribution: Shapley values or scorecard points against a reference: all applicants, or those at or slightly above the
    cut-off, the two that 12 CFR 1002.9(b)(2) comment 5 names. An effect counts where it goes against the applicant, its
    interval at `confidence` excludes 0, and it is larger than `least_effect` (in the attribution's unit).

    adverse: a mask (rows,) or row numbers; all rows by default. most: reasons a row. favourable: which output is good for
    the applicant. protected: players that may never be given as a reason. texts: player to text, in which {feature},
    {value}, {reference} and {rank} are filled in. groups: name to what counts as one, as the columns of a one-hot code: if
    they are players of their own their effects are added up. inputs: the explained rows, so that values read as people read them; background: the reference rows, to compare
    with (both a frame, an array or Tabular). Raises UsageError. (regb)
    """
    if most < 1:
        raise UsageError(f"most: at least 1 reason, got {most}")
    if favourable not in ("high", "low"):
        raise UsageError(f'favourable: "high" or "low", got {favourable!r}')
    merged = {name: members for name, members in groups.items() if name not in attribution.features}
    found = attribution.aggregate(merged) if merged else attribution
    if len(set(found.players)) != 1:
        raise UsageError("reason codes need the same players in every row: these are not features of a table")
    names, protected = found.players[0], tuple(protected)
    _known("protected", protected, names)
    _known("texts", texts, names)
    rows = _rows(adverse, len(found.values))
    effects, errors = found.values[rows], error(found)[rows]
    if len(rows) and np.isnan(errors).all():
        raise UsageError(
            f"attribution: reasons must exceed their standard errors, which {found.method!r} does not give"
        )
    top = _top(effects if favourable == "high" else -effects, errors, most, least_effect, stats.z_quantile(confidence))
    behind = _table(background, len(background) if background is not None else 0, "background")
    seen = _table(inputs, len(found.values), "inputs")
    wording = _Wording(found=found, texts=texts, groups=groups, inputs=seen, background=behind)
    told = [wording.notice(int(row), picked, se, protected) for row, picked, se in zip(rows, top, errors, strict=True)]
    return ReasonCodes(
        rows=rows,
        players=names,
        top=top,
        effects=effects,
        se=errors,
        reasons=tuple(reasons for reasons, _ in told),
        withheld=tuple(withheld for _, withheld in told),
        protected=protected,
        most=most,
        confidence=confidence,
        method=found.method,
        background=found.background,
        evaluations=found.evaluations,
    )


def _known(option: str, given: Iterable[str], names: Sequence[str]) -> None:
    for name in given:
        if name not in names:
            raise UsageError(f"{option}: allowed: {', '.join(names)}; got {name!r}{suggest(name, names)}")


def _table(given: Any, size: int, option: str) -> Tabular | None:
    from audit.explain.wrapping import as_inputs

    if given is None:
        return None
    read = as_inputs(given)
    if not isinstance(read, Tabular) or len(read) != size:
        raise UsageError(f"{option}: a table of {size} rows, got {type(read).__name__} of {len(read)}")
    return read


def _rows(adverse: Any, size: int) -> Ints:
    if adverse is None:
        return np.arange(size, dtype=np.int64)
    given = np.asarray(adverse)
    if given.dtype == np.bool_:
        if given.shape != (size,):
            raise UsageError(f"adverse: a mask of {size} rows, got shape {given.shape}")
        return np.flatnonzero(given)
    rows = given.astype(np.int64)
    if rows.ndim != 1 or (rows.size and not 0 <= rows.min() <= rows.max() < size):
        raise UsageError(f"adverse: row numbers from 0 to {size - 1}, or a mask; got {adverse!r}")
    return rows


def _top(effects: Floats, errors: Floats, most: int, least: float, z: float) -> Ints:
    """Players (r, most) whose effects are most negative, where they exceed their error; -1 behind the last."""
    against = -effects
    dust = DUST * np.nanmax(np.abs(effects), axis=1, keepdims=True, initial=0.0)
    counts = (against > np.maximum(dust, least)) & (against > z * errors)
    order = np.argsort(np.where(counts, -against, np.inf), axis=1, kind="stable")[:, :most].astype(np.int64)
    order = np.where(np.take_along_axis(counts, order, axis=1), order, -1)
    return np.pad(order, ((0, 0), (0, most - order.shape[1])), constant_values=-1)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wording:
    """From players to what a notice says of them."""

    found: Attribution
    texts: Mapping[str, str]
    groups: Mapping[str, Sequence[str]]
    inputs: Tabular | None
    background: Tabular | None

    def notice(
        self, row: int, top: Ints, errors: Floats, protected: Sequence[str]
    ) -> tuple[tuple[Reason, ...], tuple[str, ...]]:
        """The reasons of a row that can be given, and the protected players that cannot."""
        names = self.found.players[row]
        ranked = [(rank, int(player)) for rank, player in enumerate(top, start=1) if player >= 0]
        given = [(rank, player) for rank, player in ranked if names[player] not in protected]
        reasons = tuple(self.reason(row, player, rank, float(errors[player])) for rank, player in given)
        return reasons, tuple(names[player] for _, player in ranked if names[player] in protected)

    def reason(self, row: int, player: int, rank: int, se: float) -> Reason:
        name = self.found.players[row][player]
        was, usual = self.was(row, player), self.usual(name)
        pattern = self.texts.get(name, "{feature}: {value}" + (" (compared with {reference})" if usual else ""))
        try:
            text = pattern.format(feature=name, value=in_words(was), reference=usual, rank=rank)
        except (KeyError, IndexError, ValueError) as mistake:
            raise UsageError(
                f"texts: {name!r} may hold {{feature}}, {{value}}, {{reference}} and {{rank}}, got {pattern!r}"
            ) from mistake
        return Reason(rank=rank, player=name, was=was, effect=float(self.found.values[row, player]), se=se, text=text)

    def was(self, row: int, player: int) -> Cell:
        """What the applicant had: of a group of columns that are 0 or 1, those that are not 0."""
        name = self.found.players[row][player]
        if self.inputs is not None and name in self.inputs.columns:
            column = self.inputs.columns.index(name)
            return said(self.inputs, column, float(self.inputs.values[row, column]))
        members = [one for one in self.groups.get(name, ()) if self.inputs is not None and one in self.inputs.columns]
        if members and self.inputs is not None:
            values = [self.inputs.values[row, self.inputs.columns.index(one)] for one in members]
            return ", ".join(one for one, value in zip(members, values, strict=True) if value) or "none of them"
        value = np.nan if self.found.data is None else self.found.data[row, player]
        return None if np.isnan(value) else float(value)

    def usual(self, name: str) -> str:
        """What the people compared with have: the mean of a number, the commonest category."""
        if self.background is None or name not in self.background.columns:
            return ""
        column = self.background.values[:, self.background.columns.index(name)]
        known = column[~np.isnan(column)]
        if not len(known):
            return ""
        if name not in self.background.categories:
            return f"{known.mean():.4g} on average"
        level = int(np.bincount(known.astype(np.int64)).argmax())
        return f"{self.background.categories[name][level]} most often"
