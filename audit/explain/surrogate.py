"""LIME: a local linear surrogate of the model around every row, with its fit and its noise."""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(slots=True, kw_only=True)
class _Found:
    """What has been found so far: values, se (rows, most players); base, r2, mass (rows,)."""

    values: Floats
    se: Floats
    base: Floats
    r2: Floats
    mass: Floats
    evaluations: int

    @classmethod
    def blank(cls, game: Game, outputs: Floats) -> _Found:
        """Nothing yet, but the outputs of the rows themselves."""
        shape = len(game), _most(game)
        nothing = np.full(len(game), np.nan)
        return cls(
            values=np.full(shape, np.nan),
            se=np.full(shape, np.nan),
            base=outputs.copy(),
            r2=nothing,
            mass=np.full(len(game), np.inf),
            evaluations=len(game),
        )

    def take(self, rows: Ints, fitted: Fit, evaluations: int) -> None:
        """The fits of some rows, and what they cost."""
        players = fitted.coefficients.shape[1]
        self.values[rows, :players], self.se[rows, :players] = fitted.coefficients, fitted.se
        self.base[rows], self.r2[rows], self.mass[rows] = fitted.intercept, fitted.r2, fitted.mass - 1
        self.evaluations += evaluations

    def note(self, ridge: float, samples: int) -> str:
        """What a reader must know of rows whose surrogate says little."""
        rows, players = self.values.shape
        away = self.mass < ridge
        far, flat = int(away.sum()), int((np.isnan(self.r2) & ~away).sum())
        notes = (
            (flat, f"R2 is undefined for {flat} of {rows} rows: the output does not vary around them"),
            (
                far,
                f"{far} of {rows} rows lie so far from their perturbations that the ridge outweighs those and the "
                "values shrink to 0",
            ),
            (samples <= players + 1, f"no standard errors: {samples} samples are too few for {players} players"),
        )
        return "; ".join(text for said, text in notes if said)


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
    found = _Found.blank(game, outputs)
    for rows, near, spent in looped:
        found.take(rows, _surrogate(near, ridge, features, selection, samples), spent)
    return attribution(
        game,
        found.values,
        base=found.base,
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
        evaluations=found.evaluations,
        forwards=float(found.evaluations),
        complete=False,
        se_sampling=found.se,
        fit=found.r2,
        note=found.note(ridge, samples),
    )


def _surrogate(near: Neighbours, ridge: float, features: int | None, selection: Selection, samples: int) -> Fit:
    sums = moments(near)
    players = near.anchor.shape[1]
    chosen = select(sums, near.anchor, players if features is None else features, selection, samples + 1)
    return fit(near, ridge, chosen, sums)


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
