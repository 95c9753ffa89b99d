"""What it would take people who were refused to be approved, and whether it takes some groups more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audit import stats
from audit.core import ALL, Cell, Codes, Context, Evidence, Floats, Interval, Ints, Measure, Subject, Table, UsageError
from audit.explain.actions import Scale
from audit.explain.counterfactual import Counterfactuals, counterfactuals
from audit.explain.masking.tabular import one_hot_groups
from audit.explain.reason_codes import NONE
from audit.explain.refusals import refusals, table_and_score
from audit.explain.sample import game_of
from audit.registry import check

REPLICATES = 999
UNITS = {"mad": "median absolute deviations", "quantile": "ranks"}


@check(
    "explain.recourse",
    title="What would have changed a refusal, and what it costs",
    needs={"model", "rows", "scores", "decisions"},
    sources=("wachter2017", "ustun2019", "mothilal2020", "gupta2019", "efron1993", "phipson2010", "zou2008"),
)
def recourse(
    subject: Subject,
    context: Context,
    *,
    rows: int = 96,
    background: int = 128,
    count: int = 3,
    shown: int = 4,
    scale: Scale = "mad",
    immutable: Sequence[str] = (),
    rising: Sequence[str] = (),
    falling: Sequence[str] = (),
    weights: Mapping[str, float] = NONE,
    players: Mapping[str, Sequence[str]] = NONE,
) -> Iterator[Evidence]:
    """What is the smallest change that would have turned a refusal, and does it cost some groups more?

    For up to `rows` refusals the cheapest change of the model's inputs after which the model approves, found by a search
    that starts from people who were approved and checked by the model. A number's change costs its size in median absolute
    deviations (or its shift in rank, `scale` = "quantile"), another category costs 1, `weights` makes features dearer.
    Values stay within what `background` people show; `immutable` features and protected attributes stay as they are,
    `rising` ones may only rise, `falling` ones only fall. The median cost counts people without any change as infinitely
    dear. The gap is the largest difference between groups' medians; its p value shuffles the groups.

    The search finds feasible changes, not surely the cheapest, and says where it found none. The numbers do not say that
    a person can make the change, that it would make them a better risk, or that a changed model input is a changed world:
    features that cause one another move together in life and not here. They are no promise to an applicant.
    """
    inputs, _ = table_and_score(subject)
    if rows < 1 or background < 1:
        raise UsageError(f"rows and background: at least 1 each, got {rows} and {background}")
    chosen, refused = refusals(subject, context, rows)
    held = {name: tuple(columns) for name, columns in (players or one_hot_groups(inputs)).items()}
    game = game_of(subject, context, chosen, background=background, players=held)
    kept = tuple(name for name in game.masker.players[0] if name in subject.groups and name not in immutable)
    found = counterfactuals(
        game,
        threshold=subject.threshold,
        immutable=(*immutable, *kept),
        monotone={**dict.fromkeys(rising, 1), **dict.fromkeys(falling, -1)},
        weights=weights,
        scale=scale,
        count=count,
    )
    people = _People(found=found, rows=chosen, refused=refused, kept=kept, level=context.confidence)
    yield people.cases(shown)
    yield people.moved()
    yield from people.figures(np.ones(len(chosen), dtype=np.bool_), {}, context.rng)
    for attribute, codes in subject.groups.items():
        yield from people.by_group(attribute, codes, context.rng)
    note = "rows that the model was asked for"
    yield Measure(name="evaluations", value=float(found.evaluations), note=note)


@dataclass(frozen=True, slots=True, kw_only=True)
class _People:
    """The refusals (rows,) out of so many, and the changes found for them."""

    found: Counterfactuals
    rows: Ints
    refused: int
    kept: tuple[str, ...]
    level: float

    @property
    def cost(self) -> Floats:
        """The cheapest change of everyone (n,), infinite where none was found."""
        return np.where(self.found.found[:, 0], self.found.cost[:, 0], np.inf)

    @property
    def _note(self) -> str:
        kept = f"; {', '.join(self.found.immutable)} may not change" if self.found.immutable else ""
        protected = f" ({', '.join(self.kept)}: protected)" if self.kept else ""
        return f"{len(self.rows)} of {self.refused} refusals; values within those of {self.found.background}{kept}{protected}"

    def cases(self, shown: int) -> Table:
        """A few refusals with what would have changed each."""
        found = self.found
        lines: list[tuple[Cell, ...]] = []
        for row in range(min(shown, len(self.rows))):
            number, before = int(self.rows[row]), float(found.before[row])
            if not found.found[row, 0]:
                lines.append((number, before, found.reasons[row], None, None))
            for place in np.flatnonzero(found.found[row]):
                cost, after = float(found.cost[row, place]), float(found.outputs[row, place])
                lines.append((number, before, found.words(row, int(place)), cost, after))
        return Table(
            name="what_would_have_changed",
            title="What would have changed the decision for the first of the people refused",
            columns=("row", "score", "change", "cost", "score after"),
            rows=tuple(lines),
            note=self._note,
        )

    def moved(self) -> Table:
        """In what share of the cheapest changes each feature moves."""
        there = self.found.found[:, 0]
        moved = self.found.by_player[there, 0] > 0
        order = np.argsort(-moved.sum(axis=0), kind="stable")
        lines = []
        for player in order[: order.size if there.any() else 0]:
            if hits := int(moved[:, player].sum()):
                low, high = stats.wilson(hits, len(moved), self.level)
                lines.append((self.found.players[player], hits / len(moved), float(low), float(high)))
        return Table(
            name="changed_features",
            title=f"Share of {len(moved)} cheapest changes in which each feature moves",
            columns=("feature", "share", "low", "high"),
            rows=tuple(lines),
            note="Wilson intervals",
            view="bars",
        )

    def figures(
        self, among: NDArray[np.bool_], where: Mapping[str, str], rng: np.random.Generator
    ) -> Iterator[Measure]:
        """Median cost, share without any change, and features moved, of those among the refusals (n,)."""
        yield self._median(among, where, rng)
        yield self._without(among, where)
        moved = self.found.sparsity[among]
        moved = moved[~np.isnan(moved)]
        if not len(moved):
            yield Measure(name="features_changed", value=None, where=where, note="no feasible change was found")
            return
        yield Measure(
            name="features_changed",
            value=float(moved.mean()),
            n=len(moved),
            interval=_interval(stats.mean_interval(moved, self.level), self.level, "t over people"),
            where=where,
            better="lower",
        )

    def _without(self, among: NDArray[np.bool_], where: Mapping[str, str]) -> Measure:
        """The share for whom no change was found; whose search was stopped at its limit are not counted at all."""
        none = ~self.found.found[among & ~self.found.unsettled, 0]
        stopped = int(among.sum()) - len(none)
        notes = ["no feasible change was found, which is no proof that none exists" if none.any() else ""]
        notes.append(f"{stopped} whose search was stopped at its limit are not counted" if stopped else "")
        note = "; ".join(filter(None, notes))
        name = "no_recourse_share"
        if not len(none):
            return Measure(name=name, value=None, unit="proportion", where=where, better="lower", note=note)
        low, high = stats.wilson(int(none.sum()), len(none), self.level)
        return Measure(
            name=name,
            value=float(none.mean()),
            unit="proportion",
            n=len(none),
            interval=Interval(low=float(low), high=float(high), level=self.level, method="Wilson"),
            where=where,
            better="lower",
            note=note,
        )

    def _median(self, among: NDArray[np.bool_], where: Mapping[str, str], rng: np.random.Generator) -> Measure:
        cost = self.cost[among]
        value = float(np.median(cost))
        draws = _medians(cost, rng)
        unit = UNITS[self.found.scale]
        stopped = int(self.found.unsettled[among].sum())
        more = f"; of {stopped} the search was stopped at its limit" if stopped else ""
        if not np.isfinite(value):
            note = f"no feasible change was found for {np.isinf(cost).mean():.0%}, so the median has no value{more}"
            return Measure(name="recourse_cost", value=None, unit=unit, where=where, better="lower", note=note)
        interval = _interval(_percentiles(draws, self.level), self.level, "percentile bootstrap over people")
        note = "" if interval else "too few people, or too many without any change, for an interval"
        note = (note + more).removeprefix("; ")
        return Measure(
            name="recourse_cost",
            value=value,
            unit=unit,
            n=len(cost),
            interval=interval if len(cost) > 1 else None,
            where=where,
            better="lower",
            note=note,
        )

    def by_group(self, attribute: str, codes: Codes, rng: np.random.Generator) -> Iterator[Measure]:
        """The figures of every group among the refusals, and the gap between them."""
        belongs = codes.values[self.rows]
        there = [index for index in range(len(codes.levels)) if (belongs == index).any()]
        for index in there:
            yield from self.figures(belongs == index, {attribute: codes.levels[index]}, rng)
        where = {attribute: ALL}
        if len(there) < 2:
            note = f"fewer than two groups of {attribute} among the refusals"
            yield Measure(name="recourse_cost_gap", value=None, where=where, better="zero", note=note)
            return
        yield from self._gap(where, belongs, there, rng)

    def _gap(
        self, where: Mapping[str, str], belongs: NDArray[np.int64], there: Sequence[int], rng: np.random.Generator
    ) -> Iterator[Measure]:
        known = np.isin(belongs, there)
        cost, belongs = self.cost[known], belongs[known]
        value = np.array([np.median(cost[belongs == index]) for index in there])
        unit = UNITS[self.found.scale]
        if not np.isfinite(value).all():
            note = "in some group no change was found for half of the people or more"
            yield Measure(name="recourse_cost_gap", value=None, unit=unit, where=where, better="zero", note=note)
            return
        level = stats.bonferroni(self.level, stats.pairs(len(there)))
        bounds = [_percentiles(_medians(cost[belongs == index], rng), level) for index in there]
        low, high = np.array(bounds).T
        finite = np.isfinite(bounds).all() and min(np.bincount(belongs)[there]) > 1
        gap = float(np.ptp(value))
        yield Measure(
            name="recourse_cost_gap",
            value=gap,
            unit=unit,
            n=len(cost),
            interval=_interval(stats.mover_gap(value, low, high), self.level, "MOVER over bootstrap intervals")
            if finite
            else None,
            where=where,
            better="zero",
            note=f"largest difference between the medians of {len(there)} groups",
        )
        p = _shuffled_p(gap, cost, belongs, there, rng)
        note = f"chance of a gap as large if groups did not matter, from {REPLICATES} shuffles"
        yield Measure(name="recourse_cost_gap_p", value=p, n=None, where=where, note=note)


def _shuffled_p(
    gap: float, cost: Floats, belongs: NDArray[np.int64], there: Sequence[int], rng: np.random.Generator
) -> float:
    """The p value of a gap between group medians when costs (n,) are shuffled over people."""
    shuffled = rng.permuted(np.tile(cost, (REPLICATES, 1)), axis=1)
    medians = np.stack([np.median(shuffled[:, belongs == index], axis=1) for index in there], axis=1)
    with np.errstate(invalid="ignore"):  # two infinite medians count as the largest gap
        gaps = np.nan_to_num(np.ptp(medians, axis=1), nan=np.inf)
    return float(stats.permutation_p(gap, gaps))


def _medians(cost: Floats, rng: np.random.Generator) -> Floats:
    """Bootstrap medians (replicates,) of costs (n,), some infinite."""
    return np.asarray(np.median(cost[rng.integers(len(cost), size=(REPLICATES, len(cost)))], axis=1))


def _percentiles(draws: Floats, level: float) -> tuple[float, float]:
    """The percentile interval; NaN where a bound is infinite."""
    with np.errstate(invalid="ignore"):
        low, high = stats.percentile_interval(draws, level)
    return (float(low), float(high)) if np.isfinite(low) and np.isfinite(high) else (np.nan, np.nan)


def _interval(bounds: tuple[float, float], level: float, method: str) -> Interval | None:
    low, high = bounds
    return None if np.isnan(low) or np.isnan(high) else Interval(low=low, high=high, level=level, method=method)
