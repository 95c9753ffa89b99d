"""How one call of `shapley` goes: rounds of coalitions, played once each, and the estimate from all that is known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from audit.core import Floats, Ints, Track, UsageError, stream, suggest
from audit.explain.ard import odd_gp_ard
from audit.explain.coalitions import Design, Estimate, design, efficient, exact_weights, least_budget, linear_map
from audit.explain.games import Game
from audit.explain.odd_gp import MOST_PAIRS, NOISY, PRIORS, Prior, matrix, odd_gp
from audit.explain.pairs import play
from audit.explain.permutation import Orders, orders

Estimator = Literal["auto", "exact", "wls", "odd_gp", "odd_gp_ard", "permutation"]
Estimand = Literal["fixed", "population"]
FEW = 8  # rows, for which "auto" fits relevances too: a fifth of a second each
TABLED = 2**23  # values of coalitions that are held at once, of which there are a few copies
FIRST = 64  # coalitions that a run with a tolerance begins with, or as many as it needs
_SPREAD = Prior(decay=0.05)  # of the map by which background rows are compared
_WORDS = {
    "exact": "all of them",
    "wls": "weighted least squares",
    "odd_gp": "odd-degree Gaussian process",
    "odd_gp_ard": "odd-degree Gaussian process with a relevance for each player",
    "permutation": "permutations, each with its reverse",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The options of one call."""

    budget: int
    estimator: Estimator
    estimand: Estimand
    tol: float | None
    draws: int
    seed: int
    max_bytes: int

    @property
    def noisy(self) -> bool:
        """Whether each value has an error of its own."""
        return self.estimand == "population"

    def check(self, game: Game) -> None:
        """Raises UsageError for what cannot be asked of this game."""
        for name, value, known in (
            ("estimator", self.estimator, get_args(Estimator)),
            ("estimand", self.estimand, get_args(Estimand)),
        ):
            if value not in known:
                raise UsageError(f"{name}: one of {', '.join(known)}, got {value!r}{suggest(str(value), known)}")
        if self.tol is not None and not self.tol > 0:
            raise UsageError(f"tol: a share above 0 of a row's largest value, got {self.tol}")
        if self.noisy and (game.masker.fillings < 2 or self.draws < 2):
            raise UsageError(
                'estimand: "population" draws background rows, at least 2 of at least 2; got '
                f'draws = {self.draws} of {game.masker.fillings}: use "fixed"'
            )
        most = max((len(names) for names in game.masker.players), default=0)
        if self.estimator == "exact" and 2**most > self.budget:
            raise UsageError(f'estimator: "exact" needs a budget of 2^{most} = {2**most} coalitions, got {self.budget}')
        process = self.estimator in ("odd_gp", "odd_gp_ard")
        if process and self.budget > 2 * MOST_PAIRS and 2**most > 2 * MOST_PAIRS:
            raise UsageError(f'budget: "{self.estimator}" takes at most {2 * MOST_PAIRS} coalitions, got {self.budget}')

    def budgets(self, players: int) -> Iterator[int]:
        """The numbers of coalitions after each round."""
        last = min(self.budget, 2**players)
        now = last if self.tol is None else max(FIRST, least_budget(players))
        while now < last:
            yield now
            now *= 2
        yield last

    def params(self) -> dict[str, object]:
        """The options that the result tells."""
        found: dict[str, object] = {"budget": self.budget, "estimator": self.estimator, "estimand": self.estimand}
        return found | ({"draws": self.draws} if self.noisy else {}) | ({} if self.tol is None else {"tol": self.tol})

    def note(self, game: Game, short: int) -> str:
        """What a reader of the errors must know; short: rows that did not come within the tolerance."""
        parts = []
        if self.noisy:
            parts.append("the error from drawing background rows is part of the sampling error")
        elif game.masker.fillings == 1:
            parts.append("there is one filling, so that how much the choice of the background matters is unknown")
        if short:
            parts.append(
                f"{short} of {len(game)} rows did not come within tol = {self.tol:g} at {self.budget} coalitions"
            )
        return "; ".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Solved:
    """What was found for the rows that share a design of `played` pairs; ends (rows, 2): v(everyone), v(no one).

    shift (players, fillings): as of `Played`; None where rows left after different rounds.
    """

    estimate: Estimate
    spread: Floats | None
    shift: Floats | None
    ends: Floats
    method: str
    short: int
    played: int


def solve(game: Game, rows: Ints, players: int, asked: Asked, track: Track | None) -> Solved:
    """What is found for rows (r,) of so many players, in blocks of bounded memory; the design of all is the same."""
    step = max(1, TABLED // min(asked.budget, 2**players))
    tops = range(0, max(len(rows), 1), step)
    parts = [_solved(game, rows[top : top + step], players, asked, track) for top in tops]
    if len(parts) == 1:
        return parts[0]
    known = [part.spread for part in parts if part.spread is not None]
    shifts = [part.shift for part in parts if part.shift is not None]
    return Solved(
        estimate=Estimate(
            values=np.concatenate([part.estimate.values for part in parts]),
            error=np.concatenate([part.estimate.error for part in parts]),
        ),
        spread=np.concatenate(known) if known else None,
        shift=np.sum(shifts, axis=0) if len(shifts) == len(parts) else None,
        ends=np.concatenate([part.ends for part in parts]),
        method=max(parts, key=lambda part: part.played).method,
        short=sum(part.short for part in parts),
        played=max(part.played for part in parts),
    )


def _solved(game: Game, rows: Ints, players: int, asked: Asked, track: Track | None) -> Solved:
    """Rounds of more and more coalitions; a row that is known well enough leaves after its round."""
    left = np.arange(len(rows))
    values, error, spread = np.empty((3, len(rows), players))
    ends = np.empty((len(rows), 2))
    shift: Floats | None = None
    plan: Design | Orders | None = None
    table, noise = np.empty((len(rows), 0, 2)), np.empty((len(rows), 0))
    words = ""
    for budget in asked.budgets(players):
        rng = stream(asked.seed, f"explain.shapley/{players}/{budget}")
        plan = _grown(plan, players, budget, asked, rng)
        fresh, behind, own, shift = _round(game, rows[left], plan, table.shape[1], asked, rng, track)
        table = np.concatenate([table, fresh], axis=1)
        noise = np.concatenate([noise, own], axis=1)
        odd = (table[:, :, 0] - table[:, :, 1]) / 2
        found, words = _estimate(plan, odd, noise if asked.noisy else None, asked, few=len(game) <= FEW)
        values[left], error[left], ends[left] = found.values, found.error, table[:, 0]
        spread[left] = np.nan if behind is None else behind
        wide = found.error.max(axis=1) > (asked.tol or 0.0) * np.abs(found.values).max(axis=1)
        left, table, noise = left[wide], table[wide], noise[wide]
        if not len(left):
            break
    assert plan is not None
    method = f"{2 * len(plan.present)} of 2^{players} coalitions, {words}"
    return Solved(
        estimate=Estimate(values=values, error=error),
        spread=spread,
        shift=shift if asked.tol is None else None,
        ends=ends,
        method=method,
        short=0 if asked.tol is None else len(left),
        played=len(plan.present),
    )


def _grown(
    plan: Design | Orders | None, players: int, budget: int, asked: Asked, rng: np.random.Generator
) -> Design | Orders:
    if asked.estimator == "permutation" and (2**players > budget or asked.noisy):
        least = least_budget(players)
        if budget < least:
            raise UsageError(f"budget: {players} features need at least {least} coalitions, got {budget}")
        return orders(players, budget, rng, plan if isinstance(plan, Orders) else None)
    return design(players, budget, rng, plan if isinstance(plan, Design) else None)


def _round(
    game: Game,
    rows: Ints,
    plan: Design | Orders,
    known: int,
    asked: Asked,
    rng: np.random.Generator,
    track: Track | None,
) -> tuple[Floats, Floats | None, Floats, Floats | None]:
    """Values (rows, new pairs, 2) of the pairs that are not known yet, the background's standard error by them, noise, shift.

    The noise (rows, new pairs) is the variance of the odd part from the pair's own draws: (rows, 0) where it has none.
    """
    fresh = plan.present[known:]
    if not asked.noisy:
        linear = _spread_map(plan, known) if game.masker.fillings > 1 else None
        found = play(game, rows, fresh, linear=linear, max_bytes=asked.max_bytes, track=track)
        return found.values, found.spread, np.empty((len(rows), 0)), found.shift
    chosen = rng.integers(game.masker.fillings, size=(len(fresh), asked.draws))
    parts, noise = [], [np.zeros((len(rows), 0 if known else 1))]
    if not known:  # the two ends are the base and the output: over the whole background
        parts.append(play(game, rows, fresh[:1], max_bytes=asked.max_bytes).values)
        fresh, chosen = fresh[1:], chosen[1:]
    if len(fresh):
        found = play(game, rows, fresh, draws=chosen, max_bytes=asked.max_bytes, track=track)
        assert found.noise is not None
        parts.append(found.values)
        noise.append(found.noise)
    return np.concatenate(parts, axis=1), None, np.concatenate(noise, axis=1), None


def _spread_map(plan: Design | Orders, known: int) -> Floats:
    """A linear map (players, new pairs) from the odd part at the new pairs alone to Shapley values."""
    if not known and isinstance(plan, Design) and plan.exact:
        return exact_weights(plan.present)
    if len(plan.present) - known <= MOST_PAIRS or isinstance(plan, Orders):
        return matrix(plan.present[known:][:MOST_PAIRS], _SPREAD)
    return linear_map(plan).matrix[:, known:]


def _estimate(
    plan: Design | Orders, odd: Floats, noise: Floats | None, asked: Asked, *, few: bool
) -> tuple[Estimate, str]:
    """The estimate from g (rows, pairs), of which each has an error of this variance, and its name in words."""
    if isinstance(plan, Orders):
        return plan.estimate(odd, noise), _WORDS["permutation"]
    if plan.exact and not asked.noisy:
        values = efficient(odd @ exact_weights(plan.present).T, odd[:, 0])
        return Estimate(values=values, error=np.zeros_like(values)), _WORDS["exact"]
    auto = asked.estimator == "auto"
    if asked.estimator in ("wls", "exact") or (auto and len(plan.present) > MOST_PAIRS):
        return linear_map(plan).estimate(odd, noisy=asked.noisy), _WORDS["wls"]
    found = odd_gp(plan.present, odd, priors=NOISY if asked.noisy else PRIORS, noise=noise)
    if asked.estimator == "odd_gp" or (auto and not few):
        return found, _WORDS["odd_gp"]
    other = odd_gp_ard(plan.present, odd, found.values, noise=noise)
    if not auto:
        return other, _WORDS["odd_gp_ard"]
    assert found.misfit is not None
    assert other.misfit is not None
    likelier = int((other.misfit < found.misfit).sum())
    words = _WORDS["odd_gp"] + (
        f", with a relevance for each player in {likelier} of {len(odd)} rows" if likelier else ""
    )
    return found.or_likelier(other), words
