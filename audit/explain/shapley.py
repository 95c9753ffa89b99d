"""Shapley values of any model: one shared coalition design and one linear map for all rows."""

from __future__ import annotations

import numpy as np

from audit.core import Floats, Ints, Track, UsageError
from audit.explain.attribution import Attribution, attribution
from audit.explain.games import MAX_BYTES, Game, counted
from audit.explain.rounds import Asked, Estimand, Estimator, Solved, solve
from audit.registry import explainer


@explainer(
    "shapley",
    title="Shapley values by a shared, paired coalition design (interventional)",
    needs=frozenset({"model", "rows"}),
    sources=("shapley1953", "lundberg2017", "musco2025", "fumagalli2026", "castro2009"),
)
def shapley(
    game: Game,
    *,
    budget: int = 2048,
    estimator: Estimator = "auto",
    estimand: Estimand = "fixed",
    tol: float | None = None,
    draws: int = 25,
    seed: int = 0,
    track: Track | None = None,
    max_bytes: int = MAX_BYTES,
) -> Attribution:
    """Interventional Shapley values of every row, exact where 2^players coalitions fit the budget.

    budget: coalitions evaluated for each row. estimator: "exact", "wls" (KernelSHAP), "odd_gp" (a Gaussian process over
    the odd part, one prior for all players), "odd_gp_ard" (a relevance for each player, fitted row by row), "permutation",
    or "auto": the likelier of the two processes for up to 8 rows, else the first. estimand: "fixed" averages over the
    background as it is; "population" draws `draws` of its rows afresh for each pair of coalitions, so that far fewer
    answers give the mean over a large background; their error is then part of se_sampling. tol: coalitions are doubled,
    row by row, until the largest standard error from sampling is at most `tol` times the row's largest absolute value.

    se_sampling: posterior standard deviations (least squares: linearised; permutations: spread over orders; 0 where
    exact). se_background: from having drawn the background; None where it is one filling or part of se_sampling. Values
    add up to output - base; none is set to zero. Raises UsageError for a budget that cannot identify the values,
    ModelError for a model that fails on masked inputs.
    """
    asked = Asked(
        budget=budget, estimator=estimator, estimand=estimand, tol=tol, draws=draws, seed=seed, max_bytes=max_bytes
    )
    asked.check(game)
    if empty := [row for row, names in enumerate(game.masker.players) if not names]:
        raise UsageError(f"row {empty[0]} has no players (an empty text?): leave it out")
    played, counter = counted(game)
    parts = [(rows, solve(played, rows, players, asked, track)) for players, rows in game.by_players()]
    return _joined(game, asked, parts, counter.evaluations)


def _joined(game: Game, asked: Asked, parts: list[tuple[Ints, Solved]], evaluations: int) -> Attribution:
    """One attribution of the rows that shared designs."""
    shape = (len(game), max((len(names) for names in game.masker.players), default=0))
    values, sampling, behind = (np.full(shape, np.nan) for _ in range(3))
    ends = np.zeros((len(game), 2))
    for rows, part in parts:
        players = part.estimate.values.shape[1]
        values[rows, :players], sampling[rows, :players] = part.estimate.values, part.estimate.error
        behind[rows, :players] = np.nan if part.spread is None else part.spread
        ends[rows] = part.ends
    return attribution(
        game,
        values,
        base=ends[:, 1],
        outputs=ends[:, 0],
        method=_method([part.method for _, part in parts], asked),
        params=asked.params(),
        seed=asked.seed,
        evaluations=evaluations,
        forwards=float(evaluations),
        se_sampling=sampling,
        se_background=behind if asked.estimand == "fixed" and game.masker.fillings > 1 else None,
        se_mean_abs=_of_the_mean([part.shift for _, part in parts], len(game)),
        note=asked.note(game, sum(part.short for _, part in parts)),
    )


def _of_the_mean(shifts: list[Floats | None], rows: int) -> Floats | None:
    """The standard error (players,) of the mean absolute value from the background, which all rows share."""
    if len(shifts) != 1 or shifts[0] is None or not rows:
        return None
    each = shifts[0] / rows
    return np.asarray(each.std(axis=1, ddof=1) / np.sqrt(each.shape[1]))


def _method(parts: list[str], asked: Asked) -> str:
    """Words for what was done: the last part stands for all."""
    told = f"Shapley values, {parts[-1]}" if parts else "Shapley values"
    if asked.noisy:
        told += f", {asked.draws} background rows drawn afresh for each pair of coalitions"
    return told
