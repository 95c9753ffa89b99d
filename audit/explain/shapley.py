"""Shapley values of any model: one shared coalition design and one linear map for all rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from audit.core import Floats, Ints, Model, Track
from audit.explain.attribution import Attribution, Link, linked
from audit.explain.coalitions import Design, LinearMap, design, linear_map
from audit.explain.masking import Coalitions, Masker, Players, masker
from audit.registry import explainer

_CELLS = (
    2_000_000  # numbers in one batch of filled inputs: 16 MB, whatever the sizes of rows, coalitions and background
)


def value_table(
    model: Model, inputs: Any, filler: Masker, present: Coalitions, *, link: Link = "identity", target: int = 1
) -> Iterator[tuple[Ints, Ints, Floats]]:
    """The game v(row, coalition, background row) in blocks of bounded memory: row indices, coalition indices, values.

    A link to log-odds is taken before the mean over the background, so that a model additive in its log-odds has
    attributions additive too. The sizes of the blocks follow from the shapes alone.
    """
    room = max(1, _CELLS // (filler.width * filler.fillings))
    wide = min(len(present), room)
    tall = max(1, room // wide)
    for top in range(0, len(inputs), tall):
        rows = np.arange(top, min(top + tall, len(inputs)))
        block = inputs.take(rows)
        for left in range(0, len(present), wide):
            chosen = np.arange(left, min(left + wide, len(present)))
            scores = linked(model.predict(filler.fill(block, present[chosen])), link, target)
            yield rows, chosen, scores.reshape(len(rows), len(chosen), filler.fillings)


@explainer(
    "kernel_shap",
    title="Shapley values by a shared, paired coalition design (interventional)",
    needs=frozenset({"model", "rows"}),
    sources=("shapley1953", "lundberg2017", "musco2025"),
)
def shapley(
    model: Model,
    inputs: Any,
    background: Any,
    *,
    rng: np.random.Generator,
    link: Link = "identity",
    budget: int = 2048,
    players: Players | None = None,
    target: int = 1,
    plan: Design | None = None,
    track: Track | None = None,
) -> Attribution:
    """Interventional Shapley values of every row, exact where 2^features coalitions fit the budget.

    background: the rows whose values stand in for absent features. players: names to columns that are
    taken away together; other columns are players of their own. target: the class explained, for a model of several.
    plan: a design drawn before, which `rng` then does not draw again. The values add up to output - base; none is set
    to zero. Raises UsageError for a budget, link or player that cannot be used.
    """
    filler = masker(background, players)
    plan = design(len(filler.players), budget, rng) if plan is None else plan
    solve = linear_map(plan)
    game, error = _play(model, inputs, filler, solve, link, target, track)
    odd = (game[:, 0::2] - game[:, 1::2]) / 2
    return Attribution(
        values=solve(odd),
        base=game[:, 1],
        outputs=game[:, 0],
        features=filler.players,
        method=_method(plan),
        link=link,
        evaluations=game.size * filler.fillings,
        background=filler.description,
        se_sampling=solve.standard_error(odd),
        se_background=error,
        data=filler.data(inputs),
    )


def _method(plan: Design) -> str:
    pairs, players = plan.present.shape
    if plan.exact:
        return f"Shapley values, all {2 * pairs} coalitions of {players} features"
    return f"Shapley values, {2 * pairs} of 2^{players} coalitions, weighted least squares"


def _play(
    model: Model, inputs: Any, filler: Masker, solve: LinearMap, link: Link, target: int, track: Track | None
) -> tuple[Floats, Floats]:
    """The mean game (rows, coalitions), each pair side by side, and the background's standard error (rows, players).

    Values are linear in the game, so every background row has values of its own, and their spread is the error.
    """
    pairs, players = solve.design.present.shape
    both = np.stack([solve.design.present, ~solve.design.present], axis=1).reshape(2 * pairs, players)
    per_coalition = np.stack([solve.matrix, -solve.matrix], axis=2).reshape(players, 2 * pairs) / 2
    game = np.zeros((len(inputs), len(both)))
    error = np.zeros((len(inputs), players))
    by_filling = np.zeros((0, filler.fillings, players))
    blocks = value_table(model, inputs, filler, both, link=link, target=target)
    for rows, chosen, values in blocks if track is None else track(blocks, "Shapley values"):
        game[np.ix_(rows, chosen)] = values.mean(axis=2)
        if chosen[0] == 0:
            by_filling = np.zeros((len(rows), filler.fillings, players))
        by_filling += np.tensordot(values, per_coalition[:, chosen], axes=([1], [1]))
        if chosen[-1] == len(both) - 1:
            error[rows] = _error_of_mean(by_filling)
    return game, error


def _error_of_mean(by_filling: Floats) -> Floats:
    """Standard error (rows, players) of the mean over axis 1; one filling has none to show, and gives 0."""
    count = by_filling.shape[1]
    return np.asarray(by_filling.std(axis=1, ddof=1 if count > 1 else 0) / np.sqrt(count))
