"""LIME of 256 rows of a table, against lime and captum.Lime: perturbations are shared by all rows, so is the model's work."""

from __future__ import annotations

import warnings
from importlib.metadata import version

import numpy as np
import torch

from audit.explain import Game, game
from audit.explain.surrogate import Space, lime
from benchmarks import explain_models as models
from benchmarks.harness import Case

TRAINING, SAMPLES, MANY = 2_000, 5_000, 200_000  # MANY: perturbations of the reference
SEEDS = 12  # that errors are averaged over: with shared perturbations the rows err together


def _training() -> np.ndarray:
    return models.law(TRAINING, 6)


def _played(count: int) -> Game:
    return game(models.perceptron(), models.rows(count), _training(), output="logit")


def _both(x: np.ndarray) -> np.ndarray:
    positive = models.probability(x)
    return np.stack([1 - positive, positive], axis=1)


def lime_of(rows: np.ndarray, discretised: bool, samples: int, seed: int) -> np.ndarray:
    """Coefficients (n, 20) by lime, of all features."""
    tabular = models.peer("lime.lime_tabular")
    explainer = tabular.LimeTabularExplainer(
        _training(), mode="classification", discretize_continuous=discretised, random_state=seed,
        feature_selection="none",
    )  # fmt: skip
    found = np.zeros((len(rows), models.FEATURES))
    for place, row in enumerate(rows):
        told = explainer.explain_instance(row, _both, num_features=models.FEATURES, num_samples=samples)
        for feature, coefficient in told.local_exp[1]:
            found[place, feature] = coefficient
    return found


def _many_discretised() -> np.ndarray:
    return lime_of(models.rows(models.KNOWN), True, MANY, 99)


def _many_continuous() -> np.ndarray:
    return lime_of(models.rows(models.KNOWN), False, MANY, 99)


def _against_lime(space: Space):
    discretised = space == "discretised"

    def build(size: int, quick: bool) -> Case:
        """Coefficients of `size` rows."""
        chosen = min(size, 16 if quick else 64)
        lime_of(models.rows(1), discretised, 100, 0)
        truth = models.kept(
            f"lime-{space}", models.perceptron(), _many_discretised if discretised else _many_continuous
        )

        def errors() -> tuple[float, float]:
            known = models.rows(models.KNOWN)
            mine = [
                lime(_played(models.KNOWN), samples=SAMPLES, space=space, seed=seed).values for seed in range(SEEDS)
            ]
            other = [lime_of(known, discretised, SAMPLES, seed) for seed in range(SEEDS)]
            return float(np.abs(np.array(mine) - truth).mean()), float(np.abs(np.array(other) - truth).mean())

        return Case(
            name=f"explain-lime-{space}",
            peer=f"lime {version('lime')} LimeTabularExplainer, {SAMPLES} perturbations a row",
            goal=40.0,
            ours=lambda: lime(_played(size), samples=SAMPLES, space=space),
            theirs=lambda: lime_of(models.rows(chosen), discretised, SAMPLES, 0),
            rounds=1 if quick else 3,
            scale=size / chosen,
            scale_note=f"of {chosen} rows, scaled to {size}",
            errors=errors,
            truth=f"lime with {MANY} perturbations on four rows",
            evaluations=lambda ours, theirs: (ours.evaluations, size * SAMPLES),
            evaluations_goal=100.0,
        )

    return build


def captum_lime(size: int, quick: bool) -> Case:
    """The default of captum.Lime: one perturbation a call; its law of perturbations is another, times are compared."""
    captum = models.peer("captum.attr")
    chosen = 1 if quick else 4
    no_one = torch.from_numpy(_training().mean(axis=0, keepdims=True)).float()

    def forward(x: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(models.perceptron()(x)[:, 0])

    def theirs() -> np.ndarray:
        torch.manual_seed(0)
        explainer = captum.Lime(forward)
        rows = torch.from_numpy(models.rows(chosen)).float()
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            return np.concatenate([explainer.attribute(row[None], no_one, n_samples=SAMPLES).numpy() for row in rows])

    return Case(
        name="explain-captum-lime",
        peer=f"captum {version('captum')} Lime, {SAMPLES} perturbations a row",
        goal=300.0,
        ours=lambda: lime(_played(size), samples=SAMPLES),
        theirs=theirs,
        rounds=1 if quick else 3,
        scale=size / chosen,
        scale_note=f"of {chosen} rows, scaled to {size}",
        evaluations=lambda ours, theirs: (ours.evaluations, size * SAMPLES),
        evaluations_goal=100.0,
    )


CASES = {
    "explain-lime-discretised": _against_lime("discretised"),
    "explain-lime-continuous": _against_lime("continuous"),
    "explain-captum-lime": captum_lime,
}
