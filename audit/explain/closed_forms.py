"""Models whose Shapley values have a closed form: linear ones, and ones that are additive in the players."""

from __future__ import annotations

import numpy as np

from audit.core import Floats, MissingOffer, NotApplicable, Track, UsageError
from audit.explain.attribution import Attribution, attribution
from audit.explain.games import Game, counted
from audit.explain.masking.tabular import TabularMasker
from audit.explain.pairs import play
from audit.registry import explainer


@explainer(
    "linear_shapley",
    title="Shapley values of a linear model, in closed form",
    needs=frozenset({"model", "rows", "linear"}),
    sources=("lundberg2017",),
)
def linear_shapley(game: Game, *, weights: Floats | None = None, bias: float = 0.0, seed: int = 0) -> Attribution:
    """Interventional Shapley values w (x - mean of the background) of a linear model, which is not asked for anything.

    weights (columns,), bias: of the number, or of the log-odds of the positive class; by default what a model that
    offers "linear" says. Exact, also for players of several columns. Raises UsageError, MissingOffer, NotApplicable.
    """
    filler = game.masker
    if not isinstance(filler, TabularMasker):
        raise NotApplicable(f"linear models read tables, got {type(filler.inputs).__name__}")
    if filler.conditional is not None:
        raise NotApplicable(f"the closed form fills in whatever is present, not by {filler.background}: use shapley")
    if game.scale == "probability":
        raise NotApplicable('a probability is not linear in the features, its log-odds may be: use link = "logit"')
    if weights is None:
        if "linear" not in game.model.offers:
            raise MissingOffer(f'weights: a model that offers "linear" has them; it offers {sorted(game.model.offers)}')
        model: object = game.model
        weights, bias = model.linear()  # type: ignore[attr-defined]
    weights = np.asarray(weights, dtype=np.float64)
    if weights.shape != (len(filler.inputs.columns),):
        raise UsageError(f"weights: one for each of {len(filler.inputs.columns)} columns, got shape {weights.shape}")
    sign = np.where(game.targets == 0, -1.0, 1.0)
    inputs, rows = filler.inputs.values * weights, filler.others * weights
    held = filler.membership.T.astype(np.float64)
    behind = rows @ held
    count = len(rows)
    error = behind.std(axis=0, ddof=1) / np.sqrt(count) if count > 1 else None
    values = sign[:, None] * (inputs @ held - behind.mean(axis=0))
    return attribution(
        game,
        values,
        base=sign * (rows.sum(axis=1).mean() + bias),
        outputs=sign * (inputs.sum(axis=1) + bias),
        method="Shapley values of a linear model, closed form",
        params={},
        seed=seed,
        se_sampling=np.zeros_like(values),
        se_background=None if error is None else np.tile(error, (len(game), 1)),
    )


@explainer(
    "additive_shapley",
    title="Shapley values of a model without interactions, by taking each player away once",
    needs=frozenset({"model", "rows"}),
    sources=("lundberg2017",),
)
def additive_shapley(game: Game, *, tolerance: float = 1e-6, seed: int = 0, track: Track | None = None) -> Attribution:
    """Interventional Shapley values of a model that is additive in the players: what one adds, whoever else is there.

    That is seen from 2 players + 2 coalitions: each player alone, and all but each. Raises NotApplicable where a player
    adds something else to nobody than to everybody, by more than `tolerance` of the largest of such gains, or where the
    gains do not add up to the output less the base. Additivity is checked at these ends only: an interaction that
    vanishes there, among coalitions of middle size alone, is not seen.
    """
    shape = (len(game), max(len(names) for names in game.masker.players))
    values, behind = np.full(shape, np.nan), np.full(shape, np.nan)
    base, outputs = np.zeros(len(game)), np.zeros(len(game))
    played, counter = counted(game)
    for players, rows in game.by_players():
        present = np.vstack([np.ones((1, players), dtype=bool), np.eye(players, dtype=bool)])
        # of an additive game g({i}) = phi_i - g(everyone)
        linear = np.hstack([np.ones((players, 1)), np.eye(players)])
        found = play(played, rows, present, linear=linear, track=track)
        every, none = found.values[:, 0].T[:, :, None]
        alone, last = found.values[:, 1:, 0] - none, every - found.values[:, 1:, 1]
        apart = np.abs(alone - last).max(axis=1)
        _check_additive(apart, np.maximum(np.abs(alone), np.abs(last)).max(axis=1), tolerance)
        middle = (alone + last) / 2
        _check_sum(middle.sum(axis=1) - (every - none)[:, 0], np.abs(middle).sum(axis=1), tolerance)
        values[rows, :players] = middle
        if found.spread is not None:
            behind[rows, :players] = found.spread
        outputs[rows], base[rows] = every[:, 0], none[:, 0]
    return attribution(
        game,
        values,
        base=base,
        outputs=outputs,
        method="Shapley values of an additive model, each player alone and all but each",
        params={"tolerance": tolerance},
        seed=seed,
        evaluations=counter.evaluations,
        forwards=float(counter.evaluations),
        se_sampling=np.where(np.isnan(values), np.nan, 0.0),
        se_background=behind if game.masker.fillings > 1 else None,
    )


def _check_additive(apart: Floats, scale: Floats, tolerance: float) -> None:
    wrong = apart > tolerance * np.maximum(scale, np.finfo(float).tiny)
    wrong &= apart > 1e-12
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise NotApplicable(
            f"the model is not additive in the players in {wrong.sum()} of {len(wrong)} rows: what one adds alone and last "
            f"differs by {apart[row]:.2g}, of at most {scale[row]:.2g}"
        )


def _check_sum(delta: Floats, scale: Floats, tolerance: float) -> None:
    wrong = np.abs(delta) > np.maximum(tolerance * scale, 1e-12)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise NotApplicable(
            f"the model is not additive in the players in {wrong.sum()} of {len(wrong)} rows: what each adds sums to "
            f"{delta[row]:+.2g} beyond the output less the base"
        )
