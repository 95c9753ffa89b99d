"""LIME: a local linear surrogate of the model around every row, with its fit and its noise."""

from __future__ import annotations

from typing import get_args

import numpy as np

from audit.core import Floats, Ints, NotApplicable, Track, UsageError, suggest
from audit.explain.attribution import Attribution, attribution
from audit.explain.games import Game
from audit.explain.masking.tabular import TabularMasker
from audit.explain.surrogate_draws import Plan, Space, binary, finite, table
from audit.explain.surrogate_fits import Fit, Neighbours, fit, moments
from audit.explain.surrogate_selection import Selection, select
from audit.registry import explainer


@explainer(
    "lime",
    title="LIME: a weighted linear surrogate around each row",
    needs=frozenset({"model", "rows"}),
    sources=("ribeiro2016", "white1980"),
)
def lime(
    game: Game,
    *,
    samples: int = 5000,
    space: Space | None = None,
    kernel_width: float | None = None,
    ridge: float = 1.0,
    features: int | None = None,
    selection: Selection = "none",
    shared: bool = True,
    seed: int = 0,
    track: Track | None = None,
) -> Attribution:
    """The coefficients of a weighted ridge regression of the output on perturbations around each row (ribeiro2016).

    samples: perturbations, besides the row itself, which counts as one of weight 1. space, of tables: "discretised"
    (the default: being in the row's quartile bin or category), "continuous" (the change for one standard deviation,
    perturbed about the background's mean), "around" (the same about the row); of all inputs: "binary" (being present;
    the default where there are no columns for players). kernel_width: by default 0.75 sqrt(columns), of binary spaces
    0.25 in cosine distance. features, selection: keep at most so many players, the others' coefficients are 0. shared:
    one set of draws for all rows. Tables are then also asked the same questions: samples + rows model calls instead of
    samples * rows. That is valid because the law does not depend on the row; "around" depends on it and asks for each
    row. base is the surrogate's intercept, `fit` its weighted R2; se_sampling covers the draw of perturbations (given
    the players selected), and with shared draws the errors of rows go together. The values do not add up to output -
    base. Raises UsageError, NotApplicable for groups of columns in a space of columns, ModelError for outputs that are
    not finite.
    """
    space = _space(game, space)
    _refuse(game, samples, kernel_width, ridge, features, selection)
    plan = Plan(space=space, samples=samples, width=kernel_width, shared=shared, seed=seed)
    outputs = finite(game.outputs(), "the rows explained")
    parts = binary(game, outputs, plan) if space == "binary" else table(game, outputs, plan)
    looped = parts if track is None else track(parts, "LIME")
    fits = [(rows, _surrogate(near, ridge, features, selection, samples), spent) for rows, near, spent in looped]
    found = _assembled(game, outputs, [(rows, each) for rows, each, _ in fits])
    evaluations = len(game) + sum(spent for *_, spent in fits)
    return attribution(
        game,
        found.coefficients,
        base=found.intercept,
        outputs=outputs,
        method=f"LIME, {space} space, {samples} perturbations" + (" shared by all rows" if shared else " a row"),
        params={
            "samples": samples,
            "space": space,
            "kernel_width": kernel_width,
            "ridge": ridge,
            "features": features,
            "selection": selection,
            "shared": shared,
        },
        seed=seed,
        evaluations=evaluations,
        forwards=float(evaluations),
        complete=False,
        se_sampling=found.se,
        fit=found.r2,
        note=_note(found, ridge, samples),
    )


def _surrogate(near: Neighbours, ridge: float, features: int | None, selection: Selection, samples: int) -> Fit:
    sums = moments(near)
    players = near.anchor.shape[1]
    chosen = select(sums, near.anchor, players if features is None else features, selection, samples + 1)
    return fit(near, ridge, chosen, sums)


def _assembled(game: Game, outputs: Floats, parts: list[tuple[Ints, Fit]]) -> Fit:
    """The fits of all rows, NaN behind a row's last player; a row without any has its output for an intercept."""
    shape = len(game), _most(game)
    values, se, r2 = np.full(shape, np.nan), np.full(shape, np.nan), np.full(len(game), np.nan)
    intercept, mass = outputs.copy(), np.full(len(game), np.inf)
    for rows, part in parts:
        players = part.coefficients.shape[1]
        values[rows, :players], se[rows, :players] = part.coefficients, part.se
        intercept[rows], r2[rows], mass[rows] = part.intercept, part.r2, part.mass
    return Fit(coefficients=values, intercept=intercept, r2=r2, se=se, mass=mass)


def _note(found: Fit, ridge: float, samples: int) -> str:
    """What a reader must know of rows whose surrogate says little."""
    rows, players = found.coefficients.shape
    away = found.mass - 1 < ridge  # the row itself has weight 1
    empty = int(np.isinf(found.mass).sum())
    far, flat = int(away.sum()), int((np.isnan(found.r2) & ~away).sum()) - empty
    lost = f"{far} of {rows} rows lie so far from their perturbations that the ridge outweighs those"
    notes = (
        (empty, f"{empty} of {rows} rows have no player to take away"),
        (flat, f"R2 is undefined for {flat} of {rows} rows: the output does not vary around them"),
        (far, f"{lost} and the values shrink to 0"),
        (samples <= players + 1, f"no standard errors: {samples} samples are too few for {players} players"),
    )
    return "; ".join(text for said, text in notes if said)


def _space(game: Game, space: Space | None) -> Space:
    """The space asked for, or the one that the inputs have by default."""
    if space is not None and space not in get_args(Space):
        raise UsageError(f"space: one of {', '.join(get_args(Space))}, got {space!r}{suggest(space, get_args(Space))}")
    masker = game.masker
    columns = isinstance(masker, TabularMasker) and set(masker.players) <= {masker.inputs.columns}
    if space is None:
        return "discretised" if columns else "binary"
    if space != "binary" and not columns:
        what = "groups of columns" if isinstance(masker, TabularMasker) else type(masker.inputs).__name__
        raise NotApplicable(f'LIME\'s {space} space perturbs single columns, got {what}; use space = "binary"')
    return space


def _refuse(
    game: Game, samples: int, width: float | None, ridge: float, features: int | None, selection: Selection
) -> None:
    most = _most(game)
    if samples < 2:
        raise UsageError(f"samples: at least 2 are needed, got {samples}")
    if width is not None and not width > 0:
        raise UsageError(f"kernel_width: a number above 0, got {width}")
    if not 0 <= ridge < np.inf:
        raise UsageError(f"ridge: a number of at least 0, got {ridge}")
    if selection not in get_args(Selection):
        known = get_args(Selection)
        raise UsageError(f"selection: one of {', '.join(known)}, got {selection!r}{suggest(selection, known)}")
    if features is not None and not 1 <= features <= most:
        raise UsageError(f"features: from 1 to {most}, the number of players, got {features}")
    if features is not None and selection == "none":
        raise UsageError('features: how many are kept needs a selection: "forward", "lasso" or "highest"')


def _most(game: Game) -> int:
    return max((len(names) for names in game.masker.players), default=0)
