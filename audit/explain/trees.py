"""Shapley values of trees by their paths, which need no coalitions: shap's TreeExplainer."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from audit.core import Floats, Ints, MissingOffer, NotApplicable
from audit.explain import _foreign
from audit.explain.attribution import Attribution, attribution
from audit.explain.games import Game, counted
from audit.explain.masking.tabular import TabularMasker
from audit.registry import explainer

GROUPS = 20  # of background rows, whose means tell the error from having drawn them


class Forest(Protocol):
    """What the offer "trees" stands for."""

    @property
    def estimator(self) -> Any:
        """The fitted estimator, of scikit-learn, XGBoost or LightGBM."""
        ...

    @property
    def boosted(self) -> bool:
        """Whether its trees add up to log-odds, not to probabilities or to the number itself."""
        ...

    @property
    def single(self) -> bool:
        """Whether its trees read 32-bit floats."""
        ...

    @property
    def rounding(self) -> float:
        """How far the estimator's own sums may be off those of its trees, as a share of them."""
        ...

    def places(self) -> list[int]:
        """Where the columns that it reads are among those of the data."""
        ...

    def columns_of(self, targets: Ints) -> Ints:
        """The estimator's own number of each of the classes (n,)."""
        ...


@explainer(
    "tree_shap",
    title="Interventional Shapley values of trees, exact, by shap's TreeExplainer",
    needs=frozenset({"model", "rows", "trees"}),
    sources=("lundberg2020",),
)
def tree_shap(game: Game, *, tolerance: float = 1e-6, seed: int = 0) -> Attribution:
    """Interventional Shapley values of every row of a tree, forest or boosting, without coalitions.

    link "logit" explains the log-odds of a boosting's two classes, "identity" a forest's probabilities or a regressor's number. The
    standard error from the background is that of up to 20 means over parts of it. Raises MissingOffer for a model
    without trees, NotApplicable for players of several columns, for log-odds of forests and probabilities of boosting, and where the values do not add
    up to the model's outputs within `tolerance`, or the rounding of the model's own sums (1e-5 in XGBoost).
    """
    filler, model = game.masker, game.model
    if "trees" not in model.offers:
        raise MissingOffer(f'tree_shap needs a model that offers "trees"; it offers {sorted(model.offers)}')
    if not isinstance(filler, TabularMasker) or (filler.membership.sum(axis=1) != 1).any():
        raise NotApplicable("trees tell the values of columns, not of players that hold several: use shapley")
    if filler.conditional is not None:
        raise NotApplicable(f"trees' paths fill in whatever is present, not by {filler.background}: use shapley")
    forest: Forest = model  # type: ignore[assignment]
    places = forest.places()
    parts = np.array_split(filler.others[:, places], min(GROUPS, len(filler.others)))
    found = [_part(game, forest, filler.inputs.values[:, places], part, seed) for part in parts]
    share = np.array([len(part) for part in parts]) / len(filler.others)
    each = np.stack([values for values, _ in found])
    centre = np.tensordot(share, each, axes=1)
    spread = np.tensordot(share, (each - centre) ** 2, axes=1) / max(len(parts) - 1, 1)
    values, error = np.zeros((2, len(game), len(filler.inputs.columns)))
    values[:, places], error[:, places] = centre, np.sqrt(spread)
    played, counter = counted(game)
    outputs, base = played.outputs(), share @ np.stack([base for _, base in found])
    apart = np.abs(values.sum(axis=1) + base - outputs).max()
    if apart > max(tolerance, forest.rounding) * max(1.0, np.abs(outputs).max()):
        raise NotApplicable(
            f"shap.TreeExplainer is {apart:.2g} off the model's outputs: it reads the trees in another way"
        )
    return attribution(
        game,
        filler.pool(values),
        base=base,
        outputs=outputs,
        method="Shapley values of trees, by their paths (shap.TreeExplainer, interventional)",
        params={"tolerance": tolerance},
        seed=seed,
        evaluations=counter.evaluations,
        forwards=float(counter.evaluations),
        se_sampling=np.zeros_like(values),
        se_background=filler.pool(error) if len(parts) > 1 else None,
    )


def _part(game: Game, forest: Forest, inputs: Floats, background: Floats, seed: int) -> tuple[Floats, Floats]:
    """Values (rows, columns) and bases (rows,) of each row's target, over part of the background."""
    number = game.number
    logit = game.link == "logit" and not number
    if logit and not forest.boosted:
        raise NotApplicable('these trees add up to probabilities, not to log-odds: use link = "identity"')
    if forest.boosted and not logit:
        # shap offers model_output="probability", but scales the log-odds' values to fit: no Shapley values of anything
        raise NotApplicable('these trees add up to log-odds, not to probabilities: use link = "logit"')
    if forest.single:
        inputs, background = (part.astype(np.float32).astype(np.float64) for part in (inputs, background))
    values, base = _foreign.tree_shap(forest.estimator, inputs, background, seed=seed)
    if number:
        return values[:, :, 0], np.full(len(values), base[0])
    wanted = forest.columns_of(game.targets)
    if values.shape[2] == 1:  # of the estimator's second class
        first = wanted == 0
        return np.where(first[:, None], -values[:, :, 0], values[:, :, 0]), np.where(first, -base[0], base[0])
    if logit:
        raise NotApplicable('trees of several classes have no log-odds of one: use link = "identity"')
    return np.take_along_axis(values, wanted[:, None, None], axis=2)[:, :, 0], base[wanted]
