"""Shapley values of any model: one shared coalition design and one linear map for all rows."""

from __future__ import annotations

import numpy as np

from audit.core import Floats, Ints, Track, stream
from audit.explain.attribution import Attribution, attribution
from audit.explain.coalitions import Design, LinearMap, design, linear_map
from audit.explain.games import Game, counted, value_table
from audit.registry import explainer


@explainer(
    "shapley",
    title="Shapley values by a shared, paired coalition design (interventional)",
    needs=frozenset({"model", "rows"}),
    sources=("shapley1953", "lundberg2017", "musco2025"),
)
def shapley(game: Game, *, budget: int = 2048, seed: int = 0, track: Track | None = None) -> Attribution:
    """Interventional Shapley values of every row, exact where 2^players coalitions fit the budget.

    budget: coalitions evaluated for each row. The values add up to output - base; none is set to zero. Raises
    UsageError for a budget that cannot identify the values.
    """
    values = np.full((len(game), max(len(names) for names in game.masker.players)), np.nan)
    sampling, behind = values.copy(), values.copy()
    base, outputs = np.zeros(len(game)), np.zeros(len(game))
    played, counter = counted(game)
    for players, rows in game.by_players():
        solve = linear_map(design(players, budget, stream(seed, f"explain.shapley/{players}/{budget}")))
        table, error = _play(played, rows, solve, track)
        odd = (table[:, 0::2] - table[:, 1::2]) / 2
        values[rows, :players], behind[rows, :players] = solve(odd), error
        sampling[rows, :players] = solve.standard_error(odd)
        outputs[rows], base[rows] = table[:, 0], table[:, 1]
    return attribution(
        game,
        values,
        base=base,
        outputs=outputs,
        method=_method(solve.design),
        params={"budget": budget},
        seed=seed,
        evaluations=counter.evaluations,
        forwards=float(counter.evaluations),
        se_sampling=sampling,
        se_background=behind,
    )


def _method(plan: Design) -> str:
    pairs, players = plan.present.shape
    if plan.exact:
        return f"Shapley values, all {2 * pairs} coalitions of {players} features"
    return f"Shapley values, {2 * pairs} of 2^{players} coalitions, weighted least squares"


def _play(game: Game, rows: Ints, solve: LinearMap, track: Track | None) -> tuple[Floats, Floats]:
    """The mean game (rows, coalitions), each pair side by side, and the background's standard error (rows, players).

    Values are linear in the game, so every background row has values of its own, and their spread is the error.
    """
    pairs, players = solve.design.present.shape
    both = np.stack([solve.design.present, ~solve.design.present], axis=1).reshape(2 * pairs, players)
    per_coalition = np.stack([solve.matrix, -solve.matrix], axis=2).reshape(players, 2 * pairs) / 2
    place = {int(row): index for index, row in enumerate(rows)}
    table = np.zeros((len(rows), len(both)))
    error = np.zeros((len(rows), players))
    by_filling = np.zeros((0, game.masker.fillings, players))
    blocks = value_table(game, rows, both)
    for block, chosen, values in blocks if track is None else track(blocks, "Shapley values"):
        here = np.array([place[int(row)] for row in block], dtype=np.int64)
        table[np.ix_(here, chosen)] = values.mean(axis=2)
        if chosen[0] == 0:
            by_filling = np.zeros((len(block), game.masker.fillings, players))
        by_filling += np.tensordot(values, per_coalition[:, chosen], axes=([1], [1]))
        if chosen[-1] == len(both) - 1:
            error[here] = _error_of_mean(by_filling)
    return table, error


def _error_of_mean(by_filling: Floats) -> Floats:
    """Standard error (rows, players) of the mean over axis 1; one filling has none to show, and gives 0."""
    count = by_filling.shape[1]
    return np.asarray(by_filling.std(axis=1, ddof=1 if count > 1 else 0) / np.sqrt(count))
