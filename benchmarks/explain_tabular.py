"""Shapley values of 256 rows of a perceptron of twenty features over 100 background rows, against five peers.

A peer explains its first rows and its time is scaled to 256, which is fair: each works row by row. Errors are means over
seeds of the mean absolute error of four rows to their exact values.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np
import torch

from audit.explain import Attribution, game, shapley
from benchmarks import explain_models as models
from benchmarks.harness import Case

Peer = Callable[[np.ndarray, int], np.ndarray]
TRUTH = "exact values of four rows (all 2^20 coalitions)"
PER_CALL = 512  # perturbations that captum's methods evaluate at once: its own default, 1, is slower still


def _masked(z: np.ndarray, row: np.ndarray) -> np.ndarray:
    """The game (c,) of one row at coalitions z (c, 20): the mean probability over the background."""
    values = np.empty(len(z))
    for start in range(0, len(z), 64):  # the model is asked for 6,400 rows at a time: larger batches leave the cache
        part = z[start : start + 64, None] > 0.5
        filled = np.where(part, row, models.background()[None]).reshape(-1, models.FEATURES)
        values[start : start + 64] = models.probability(filled).reshape(len(part), -1).mean(axis=1)
    return values


def kernel_shap(rows: np.ndarray, seed: int) -> np.ndarray:
    """shap.KernelExplainer, without its default that zeroes all but ten features."""
    shap = models.peer("shap")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        explainer = shap.KernelExplainer(models.probability, models.background(), seed=seed)
        np.random.seed(seed)  # noqa: NPY002 (what shap draws from)
        return np.asarray(explainer.shap_values(rows, nsamples=models.BUDGET, l1_reg=0, silent=True))


def permutation(rows: np.ndarray, seed: int) -> np.ndarray:
    """shap.PermutationExplainer."""
    shap = models.peer("shap")
    masker = shap.maskers.Independent(models.background(), max_samples=models.BACKGROUND)
    explainer = shap.PermutationExplainer(models.probability, masker, seed=seed)
    return np.asarray(explainer(rows, max_evals=models.BUDGET, silent=True).values)


def captum_kernel(rows: np.ndarray, seed: int) -> np.ndarray:
    """captum.KernelShap of the game over the background."""
    return _captum("KernelShap", rows, seed, n_samples=models.BUDGET, perturbations_per_eval=PER_CALL)


def captum_sampling(rows: np.ndarray, seed: int) -> np.ndarray:
    """captum.ShapleyValueSampling of the game over the background: as many permutations as the budget has room for."""
    permutations = models.BUDGET // models.FEATURES
    return _captum("ShapleyValueSampling", rows, seed, n_samples=permutations, perturbations_per_eval=PER_CALL)


def _captum(method: str, rows: np.ndarray, seed: int, **options: int) -> np.ndarray:
    captum = models.peer("captum.attr")
    np.random.seed(seed)  # noqa: NPY002 (what captum draws from)
    torch.manual_seed(seed)
    everyone, no_one = torch.ones(1, models.FEATURES), torch.zeros(1, models.FEATURES)
    found = []
    for row in rows:
        explainer = getattr(captum, method)(lambda z, row=row: torch.from_numpy(_masked(z.numpy(), row)))
        found.append(explainer.attribute(everyone, baselines=no_one, **options)[0].numpy())
    return np.array(found)


def shapiq(rows: np.ndarray, seed: int) -> np.ndarray:
    """The KernelSHAP of shapiq."""
    approximator = models.peer("shapiq.approximator").KernelSHAP
    found = []
    for row in rows:
        explainer = approximator(n=models.FEATURES, random_state=seed)
        values = explainer.approximate(budget=models.BUDGET, game=functools.partial(_masked, row=row))
        found.append([values[(feature,)] for feature in range(models.FEATURES)])
    return np.array(found)


def _ours(count: int, budget: int, seed: int = 0) -> Attribution:
    # For many rows this estimator is the default; named here so that four rows are explained as 256 are.
    return shapley(models.tabular(count), budget=budget, estimator="odd_gp", seed=seed)


def _case(
    name: str, library: str, explain: Peer, goal: float, budget: int, part: tuple[int, int]
) -> Callable[[int, bool], Case]:
    """A case: the peer's function, our goal and budget, and the peer's rows, quick and full."""

    def build(size: int, quick: bool) -> Case:
        """Shapley values of `size` rows."""
        chosen = min(size, part[0] if quick else part[1])
        explain(models.rows(1), 0)  # what the peer compiles when it is first called is not timed
        return Case(
            name=f"explain-{name}",
            peer=f"{library} {version(library)}, {models.BUDGET} coalitions a row; ours {budget}",
            goal=goal,
            ours=lambda: _ours(size, budget),
            theirs=lambda: explain(models.rows(chosen), 0),
            rounds=1 if quick else 3,
            repeats=2,
            scale=size / chosen,
            scale_note=f"of {chosen} rows, scaled to {size}",
            errors=lambda: (
                models.mean_error(lambda seed: _ours(models.KNOWN, budget, seed).values),
                models.mean_error(lambda seed: explain(models.rows(models.KNOWN), seed)),
            ),
            truth=TRUTH,
            limit=_bare,
        )

    return build


POOL, DRAWS, FRESH = 5_000, 35, 512  # background rows to draw from, drawn for each pair, coalitions
RUNS = 100  # of the reference, each with fresh coalitions and fresh background rows


def _for_population(count: int, budget: int, seed: int, **options: Any) -> Attribution:
    played = game(models.perceptron(), models.rows(count), models.law(POOL, 5), output="logit")
    return shapley(played, budget=budget, estimand="population", seed=seed, **options)


def _reference() -> np.ndarray:
    """Values (4, 20) for the law of the background, and their standard errors: least squares, many times over."""
    found = []
    for seed in range(RUNS):
        played = game(models.perceptron(), models.rows(models.KNOWN), models.law(POOL, 1_000 + seed), output="logit")
        run = shapley(played, budget=1024, estimator="wls", estimand="population", draws=64, seed=seed)
        found.append(run.values)
    return np.stack([np.mean(found, axis=0), np.std(found, axis=0, ddof=1) / np.sqrt(RUNS)])


def population(size: int, quick: bool) -> Case:
    """Values for the law of the background: the peer averages over 100 rows of it, ours draws from 5,000."""
    shap, chosen = models.peer("shap"), 8 if quick else 64
    truth, doubt = models.kept("population", models.perceptron(), _reference)

    def theirs(rows: np.ndarray, seed: int) -> np.ndarray:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            explainer = shap.KernelExplainer(models.probability, models.law(models.BACKGROUND, 50 + seed), seed=seed)
            return np.asarray(explainer.shap_values(rows, nsamples=models.BUDGET, l1_reg=0, silent=True))

    def errors() -> tuple[float, float]:
        mine = [_for_population(models.KNOWN, FRESH, seed, estimator="odd_gp", draws=DRAWS).values for seed in range(5)]
        other = [theirs(models.rows(models.KNOWN), seed) for seed in range(5)]
        return float(np.abs(np.array(mine) - truth).mean()), float(np.abs(np.array(other) - truth).mean())

    return Case(
        name="explain-shap-population",
        peer=f"shap {version('shap')} KernelExplainer, {models.BUDGET} coalitions x {models.BACKGROUND} background rows; "
        f"ours {FRESH} x {DRAWS} fresh ones",
        goal=30.0,
        ours=lambda: _for_population(size, FRESH, 0, estimator="odd_gp", draws=DRAWS),
        theirs=lambda: theirs(models.rows(chosen), 0),
        rounds=1 if quick else 3,
        repeats=2,
        scale=size / chosen,
        scale_note=f"of {chosen} rows, scaled to {size}",
        errors=errors,
        truth=f"a reference of {RUNS} runs (standard error {doubt.mean():.1e})",
        limit=_bare,
    )


def _bare(ours: Attribution) -> float:
    net = models.perceptron()
    return models.forward_seconds(net, lambda rows: torch.randn(rows, models.FEATURES), ours.evaluations)


CASES = {
    "explain-shap-kernel-equal": _case("shap-kernel-equal", "shap", kernel_shap, 6.0, 2048, (8, 64)),
    "explain-shap-kernel": _case("shap-kernel", "shap", kernel_shap, 10.0, 640, (8, 64)),
    "explain-shap-population": population,
    "explain-shap-permutation": _case("shap-permutation", "shap", permutation, 6.0, 640, (8, 64)),
    "explain-captum-kernel": _case("captum-kernel", "captum", captum_kernel, 40.0, 192, (4, 32)),
    "explain-captum-sampling": _case("captum-sampling", "captum", captum_sampling, 10.0, 320, (4, 32)),
    "explain-shapiq-kernel": _case("shapiq-kernel", "shapiq", shapiq, 10.0, 256, (4, 32)),
}
