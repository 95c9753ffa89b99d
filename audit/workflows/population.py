"""What is true of a model in a planted world: counted, in plain arithmetic, over far more people than an audit sees.

Nothing here calls a check or the arithmetic of `audit.fairness`: these figures are what the instruments are held against.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from math import comb
from typing import Any, cast

import numpy as np
from scipy.special import expit, logit
from scipy.stats import entropy, rankdata

from audit.core import ALL, Codes, Dataset, Floats, Ints, Mixed, Model, Reconstructing, Segmenting, Uncertain
from audit.data.tabular import Tabular

Where = Mapping[str, str]
Fact = tuple[str, Where, float]  # measure, slice, truth
BEHIND = 96  # people behind those whose Shapley values are enumerated
MOST_FEATURES = 10  # 2^10 coalitions
SHAKEN = 50_000
DRAWN, DRAWS = 50_000, 200  # people whose uncertainty is counted, by so many draws of the model


@dataclass(frozen=True, slots=True, kw_only=True)
class Population:
    """People of a world and a model's answers: y, score, decision, twin's score (n,), codes of each attribute.

    inputs: what the model read of them, where that is a table; what else there is would not fit into the memory.
    overlap (n,): of models that mark pixels the intersection over union with each picture's mask, NaN where neither has any.
    enumerated: how many of them have their Shapley values enumerated.
    """

    model: Model
    inputs: Tabular | None
    y: Ints
    score: Floats
    twin: Floats | None
    overlap: Floats | None
    groups: Mapping[str, Codes]
    threshold: float
    enumerated: int
    rng: np.random.Generator

    @property
    def decision(self) -> np.ndarray:
        """True where the decision is positive (n,)."""
        return np.asarray(self.score >= self.threshold)

    def slices(self) -> Iterator[tuple[Where, np.ndarray]]:
        """Everyone, then every group."""
        yield {}, np.ones(len(self.y), dtype=bool)
        for name, codes in self.groups.items():
            for code, level in enumerate(codes.levels):
                yield {name: level}, codes.values == code


def population(
    model: Model, parts: Iterable[Dataset], *, threshold: float, rng: np.random.Generator, enumerated: int = 768
) -> Population:
    """The people of one or more datasets drawn from a world, answered by the model; of several only the answers are kept."""
    answered = [_answered(model, data) for data in parts]
    whole = {name: np.concatenate([part[name] for part in answered]) for name in answered[0] if name != "data"}
    data = answered[0]["data"]
    return Population(
        model=model,
        inputs=data.inputs if len(answered) == 1 and isinstance(data.inputs, Tabular) else None,
        y=whole["y"],
        score=whole["score"],
        twin=whole.get("twin"),
        overlap=whole.get("overlap"),
        groups={name: replace(codes, values=whole[f"group {name}"]) for name, codes in data.groups.items()},
        threshold=threshold,
        enumerated=enumerated,
        rng=rng,
    )


def _answered(model: Model, data: Dataset) -> dict[str, Any]:
    """What is kept of a dataset: labels, answers, codes; and of the first the dataset without its rows' twins."""
    assert data.y is not None
    twin = {} if data.twin is None else {"twin": model.predict(data.twin)}
    codes = {f"group {name}": each.values for name, each in data.groups.items()}
    marked = {"overlap": _overlap(model, data.inputs)} if "segmentation" in model.offers else {}
    table = data if isinstance(data.inputs, Tabular) else replace(data, inputs=None, twin=None)
    return {"data": table, "y": data.y, "score": model.predict(data.inputs)} | twin | codes | marked


def _overlap(model: Model, inputs: Any) -> Floats:
    """The share of pixels that are both marked and masked among those that are either (n,)."""
    found = cast(Segmenting, model).segment(inputs) >= 0.5
    either = (found | inputs.mask).sum(axis=(1, 2))
    both = (found & inputs.mask).sum(axis=(1, 2))
    return np.where(either > 0, both / np.maximum(either, 1), np.nan)


# ------------------------------------------------------------------------------------------------ plain figures
def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")


def rates(y: np.ndarray, yes: np.ndarray) -> dict[str, float]:
    """The rates of one group from its labels and decisions (n,); NaN where no case stands beneath."""
    tp, fp = float((yes & (y == 1)).sum()), float((yes & (y == 0)).sum())
    fn, tn = float((~yes & (y == 1)).sum()), float((~yes & (y == 0)).sum())
    parts = {
        "selection_rate": (tp + fp, tp + fp + fn + tn),
        "base_rate": (tp + fn, tp + fp + fn + tn),
        "accuracy": (tp + tn, tp + fp + fn + tn),
        "tpr": (tp, tp + fn),
        "fpr": (fp, fp + tn),
        "fnr": (fn, tp + fn),
        "tnr": (tn, fp + tn),
        "ppv": (tp, tp + fp),
        "npv": (tn, tn + fn),
    }
    return {name: _ratio(cases, of) for name, (cases, of) in parts.items()}


def auc(y: np.ndarray, score: np.ndarray) -> float:
    """The chance that a positive's score lies above a negative's, ties half."""
    ranks, positive = rankdata(score), y == 1
    n1 = int(positive.sum())
    return float((ranks[positive].sum() - n1 * (n1 + 1) / 2) / (n1 * (len(y) - n1)))


def slope(y: np.ndarray, score: np.ndarray) -> float:
    """The slope of a logistic regression of the label on the log-odds of the score, by Newton's method; NaN without one."""
    z = logit(np.clip(score, 1e-9, 1 - 1e-9))
    x, w = np.column_stack([np.ones_like(z), z]), np.zeros(2)
    for _ in range(50):
        p = expit(x @ w)
        curved = (x * (p * (1 - p))[:, None]).T @ x
        if np.linalg.cond(curved) > 1e12:
            return float("nan")
        step = np.linalg.solve(curved, x.T @ (y - p))
        w += step
        if np.abs(step).max() < 1e-10:
            return float(w[1])
    return float("nan")


def shapley_by_enumeration(model: Model, rows: Tabular, behind: Tabular) -> Floats:
    """Interventional Shapley values (r, d) of the model's score, from all 2^d coalitions and every pair of rows."""
    x, z = rows.values, behind.values
    d = x.shape[1]
    members = np.array([[bool(s >> j & 1) for j in range(d)] for s in range(2**d)])
    worth = np.empty((2**d, len(x)))
    for s, held in enumerate(members):
        mixed = np.where(held, x[:, None, :], z[None, :, :]).reshape(-1, d)
        worth[s] = model.predict(rows.with_values(mixed)).reshape(len(x), len(z)).mean(axis=1)
    sizes = members.sum(axis=1)
    values = np.zeros_like(x)
    for j in range(d):
        without = np.flatnonzero(~members[:, j])
        weight = np.array([1 / (d * comb(d - 1, int(size))) for size in sizes[without]])
        values[:, j] = weight @ (worth[without + 2**j] - worth[without])
    return values


# ---------------------------------------------------------------------------------------- the truth of each check
def _performance(people: Population) -> Iterator[Fact]:
    for where, inside in people.slices():
        y, score = people.y[inside], people.score[inside]
        found = rates(y, people.decision[inside])
        yield "base_rate", where, found["base_rate"]
        yield "accuracy", where, found["accuracy"]
        yield "auc", where, auc(y, score)
        yield "brier", where, float(((score - y) ** 2).mean())
        if score.min() > 0 and score.max() < 1:  # of hard answers a single mistake makes it infinite
            yield "log_loss", where, float(-np.where(y == 1, np.log(score), np.log(1 - score)).mean())


def _of_groups(people: Population, names: tuple[str, ...]) -> Iterator[tuple[str, str, dict[str, float]]]:
    """attribute, measure, and its value in every group."""
    for attribute, codes in people.groups.items():
        cells = [
            rates(people.y[codes.values == k], people.decision[codes.values == k]) for k in range(len(codes.levels))
        ]
        for name in names:
            yield attribute, name, {level: cell[name] for level, cell in zip(codes.levels, cells, strict=True)}


def _selection(people: Population) -> Iterator[Fact]:
    for where, inside in people.slices():
        found = rates(people.y[inside], people.decision[inside])
        yield "selection_rate", where, found["selection_rate"]
        yield "base_rate", where, found["base_rate"]
    for attribute, _, values in _of_groups(people, ("selection_rate",)):
        low, high = min(values.values()), max(values.values())
        yield "demographic_parity_difference", {attribute: ALL}, high - low
        yield "demographic_parity_ratio", {attribute: ALL}, _ratio(low, high)


def _impact(people: Population) -> Iterator[Fact]:
    for attribute, _, values in _of_groups(people, ("selection_rate",)):
        # Of single groups nothing: an audit takes the best group of its own sample, which may be another one.
        yield "impact_ratio", {attribute: ALL}, _ratio(min(values.values()), max(values.values()))


GAPS = {
    "tpr": "equal_opportunity",
    "fpr": "fpr",
    "fnr": "fnr",
    "ppv": "predictive_parity",
    "accuracy": "accuracy",
}


def _errors(people: Population) -> Iterator[Fact]:
    names = ("tpr", "fpr", "fnr", "tnr", "ppv", "npv", "accuracy")
    for where, inside in people.slices():
        found = rates(people.y[inside], people.decision[inside])
        yield from ((name, where, found[name]) for name in names)
    gaps: dict[str, dict[str, float]] = {}
    for attribute, name, values in _of_groups(people, names):
        low, high = min(values.values()), max(values.values())
        gaps.setdefault(attribute, {})[name] = high - low
        if name in GAPS:
            yield f"{GAPS[name]}_difference", {attribute: ALL}, high - low
        if name in ("tpr", "fpr"):
            yield f"{name}_ratio", {attribute: ALL}, _ratio(low, high)
    for attribute, found in gaps.items():
        yield "equalized_odds_difference", {attribute: ALL}, max(found["tpr"], found["fpr"])


def _disparities(people: Population) -> Iterator[Fact]:
    for attribute, name, values in _of_groups(
        people, ("selection_rate", "accuracy", "tpr", "fpr", "fnr", "tnr", "ppv", "npv")
    ):
        low, high = min(values.values()), max(values.values())
        yield f"{name}_difference", {attribute: ALL}, high - low
        yield f"{name}_ratio", {attribute: ALL}, _ratio(low, high)


def _scores(people: Population) -> Iterator[Fact]:
    for where, inside in people.slices():
        yield "auc", where, auc(people.y[inside], people.score[inside])
        yield "score_mean", where, float(people.score[inside].mean())
    for attribute, codes in people.groups.items():
        parts = [people.score[codes.values == k] for k in range(len(codes.levels))]
        pairs = [(_apart(a, b), a, b) for a, b in combinations(parts, 2)]
        yield "score_mean_difference", {attribute: ALL}, max(abs(a.mean() - b.mean()) for _, a, b in pairs)
        if len(pairs) == 1:  # of more groups each is held against a reference that the audit chooses
            (ks, wasserstein), _, _ = pairs[0]
            yield "ks_distance", {attribute: ALL}, ks
            yield "wasserstein_distance", {attribute: ALL}, wasserstein


def _apart(a: Floats, b: Floats) -> tuple[float, float]:
    """The largest distance and the area between two distribution functions."""
    grid = np.sort(np.concatenate([a, b]))
    gap = np.abs(
        np.searchsorted(np.sort(a), grid, side="right") / len(a)
        - np.searchsorted(np.sort(b), grid, side="right") / len(b)
    )
    return float(gap.max()), float((gap[:-1] * np.diff(grid)).sum())


def _calibration(people: Population) -> Iterator[Fact]:
    for where, inside in people.slices():
        y, score = people.y[inside], people.score[inside]
        yield "calibration_in_the_large", where, float((y - score).mean())
        yield "calibration_slope", where, slope(y, score)
        yield "brier", where, float(((score - y) ** 2).mean())


def _counterfactual(people: Population) -> Iterator[Fact]:
    if people.twin is None or len(people.groups) != 1:
        return
    ((attribute, codes),) = people.groups.items()
    own, other = people.score, people.twin
    sure = min(own.min(), other.min()) <= 0 or max(own.max(), other.max()) >= 1  # then the log-odds have no mean
    # The gain of the second level over the first, whichever of the two a person has.
    effect = None if sure else np.where(codes.values == 0, 1, -1) * (logit(other) - logit(own))
    flipped = people.decision != (people.twin >= people.threshold)
    for where, inside in people.slices():
        wanted = where or {attribute: ALL}
        if effect is not None:
            yield "counterfactual_effect", wanted, float(effect[inside].mean())
        yield "counterfactual_flip_rate", wanted, float(flipped[inside].mean())


def _flip(people: Population) -> Iterator[Fact]:
    inputs = people.inputs
    for attribute, codes in people.groups.items():
        if inputs is None or attribute not in inputs.columns or len(codes.levels) != 2:
            continue
        values, place = inputs.values.copy(), inputs.columns.index(attribute)
        values[:, place] = 1 - values[:, place]
        change = people.model.predict(inputs.with_values(values)) - people.score
        flipped = people.decision != (people.score + change >= people.threshold)
        for where, inside in people.slices():
            wanted = where or {attribute: ALL}
            yield "flip_rate", wanted, float(flipped[inside].mean())
            yield "mean_abs_score_change", wanted, float(np.abs(change[inside]).mean())
            yield "mean_score_change", wanted, float(change[inside].mean())


def _noise(people: Population) -> Iterator[Fact]:
    if (inputs := people.inputs) is None:
        return
    few = slice(0, SHAKEN)
    values = inputs.values[few]
    spread = np.array([column.std() if len(np.unique(column[:1000])) > 2 else 0.0 for column in inputs.values.T])
    draw = people.rng.standard_normal(values.shape) * spread
    for scale in (0.05, 0.1, 0.25, 0.5):
        after = people.model.predict(inputs.with_values(values + scale * draw))
        flips = people.decision[few] != (after >= people.threshold)
        yield "flip_rate", {"scale": f"{scale:g}"}, float(flips.mean())


def _permutation(people: Population) -> Iterator[Fact]:
    if (inputs := people.inputs) is None:
        return
    few = slice(0, SHAKEN)
    values, y = inputs.values[few], people.y[few]
    before = auc(y, people.score[few])
    for place, name in enumerate(inputs.columns):
        shuffled = values.copy()
        shuffled[:, place] = people.rng.permutation(values[:, place])
        after = auc(y, people.model.predict(inputs.with_values(shuffled)))
        yield "permutation_importance", {"feature": name, "metric": "auc"}, before - after


def _importance(people: Population) -> Iterator[Fact]:
    inputs = people.inputs
    if inputs is None or len(inputs.columns) > MOST_FEATURES:
        return
    drawn = people.rng.choice(len(people.y), people.enumerated + BEHIND, replace=False)
    rows, behind = (inputs.take(part) for part in np.split(drawn, [people.enumerated]))
    found = np.abs(shapley_by_enumeration(people.model, rows, behind)).mean(axis=0)
    for name, value in zip(inputs.columns, found, strict=True):
        yield "mean_abs_shap", {"feature": name}, float(value)


def _representation(people: Population) -> Iterator[Fact]:
    for where, inside in people.slices():
        if where:
            yield "group_share", where, float(inside.mean())


def _uncertainty(people: Population) -> Iterator[Fact]:
    if people.inputs is None:
        return
    model = cast(Uncertain, people.model)
    few = people.inputs.take(np.arange(min(DRAWN, len(people.y))))
    draws = model.draws(few, DRAWS, seed=int(people.rng.integers(2**31)))
    mean = draws.mean(axis=0)
    own = entropy(np.stack([draws, 1 - draws]), axis=0).mean(axis=0)
    whole = entropy(np.stack([mean, 1 - mean]), axis=0)
    for where, inside in people.slices():
        here = inside[: len(mean)]
        yield "total_uncertainty", where, float(whole[here].mean())
        yield "aleatoric_uncertainty", where, float(own[here].mean())
        yield "epistemic_uncertainty", where, float((whole - own)[here].mean())


def _reconstruction(people: Population) -> Iterator[Fact]:
    if people.inputs is None:
        return
    read, restored = cast(Reconstructing, people.model).reconstruct(people.inputs)
    error = ((read - restored) ** 2).mean(axis=1)
    for where, inside in people.slices():
        yield "reconstruction_error", where, float(error[inside].mean())


def _routing(people: Population) -> Iterator[Fact]:
    if people.inputs is None:
        return
    weights = cast(Mixed, people.model).routes(people.inputs)
    expert = weights.argmax(axis=1)
    for attribute, codes in people.groups.items():
        shares = [
            np.bincount(expert[codes.values == k], minlength=weights.shape[1]) / (codes.values == k).sum()
            for k in range(len(codes.levels))
        ]
        yield "routing_distance", {attribute: ALL}, max(np.abs(a - b).sum() / 2 for a, b in combinations(shares, 2))


def _segmentation(people: Population) -> Iterator[Fact]:
    if people.overlap is not None:
        for where, inside in people.slices():
            yield "iou", where, float(np.nanmean(people.overlap[inside]))


TRUTHS: Mapping[str, Callable[[Population], Iterator[Fact]]] = {
    "performance.overall": _performance,
    "fairness.selection": _selection,
    "fairness.impact_ratio": _impact,
    "fairness.error_rates": _errors,
    "fairness.disparities": _disparities,
    "fairness.scores": _scores,
    "fairness.representation": _representation,
    "fairness.routing": _routing,
    "fairness.calibration": _calibration,
    "fairness.counterfactual": _counterfactual,
    "fairness.flip": _flip,
    "performance.reconstruction": _reconstruction,
    "performance.segmentation": _segmentation,
    "robustness.noise": _noise,
    "robustness.uncertainty": _uncertainty,
    "explain.permutation_importance": _permutation,
    "explain.global_importance": _importance,
}
# Their truth is counted on the rows themselves, which are kept of tables alone.
OF_TABLES = frozenset(
    {
        "fairness.flip",
        "fairness.routing",
        "performance.reconstruction",
        "robustness.noise",
        "robustness.uncertainty",
        "explain.permutation_importance",
        "explain.global_importance",
    }
)
