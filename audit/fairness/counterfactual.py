"""Counterfactual fairness where every person's twin in the other group is known: the whole effect, and its paths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from audit.core import (
    ALL,
    Codes,
    Context,
    Evidence,
    Floats,
    Ints,
    Measure,
    NotApplicable,
    Subject,
    UsageError,
)
from audit.data.tabular import Tabular
from audit.fairness.individual import (
    Predict,
    by_group,
    decided,
    mean_measure,
    sampled,
    tabular_model,
    with_column,
)
from audit.fairness.slices import require_binary
from audit.registry import check

_EDGE = 1e-15  # a probability of 0 or 1 is taken this far inside


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Effects:
    """What each person's answer gains from the first level to the second, one entry a row (n,).

    full: the person against the twin. flip: only the attribute's own column changed, 0 where it is no feature.
    paths: each feature that the twin has otherwise, and its part. rest: full less the sum of the paths.
    """

    full: Floats
    flip: Floats
    paths: Mapping[str, Floats]
    rest: Floats


def log_odds(probability: Floats) -> Floats:
    """The logarithm of p / (1 - p), with p kept inside (0, 1)."""
    p = np.clip(probability, _EDGE, 1.0 - _EDGE)
    return np.asarray(np.log(p) - np.log1p(-p))


def counterfactual_effects(answer: Predict, inputs: Tabular, twin: Tabular, attribute: str, codes: Codes) -> Effects:
    """Split the effect of a two-level attribute on `answer` (inputs -> (n,)) along the features that it moves.

    twin: the same rows with the other level, and all that follows from it. The part of a feature is the mean of what it
    moves when it alone is switched to the twin's value and when it is switched last: for an additive answer that is
    exact, and where features interact at most in pairs it is the Shapley value and the parts sum to the whole
    (kusner2017, chiappa2019, shapley1953). Raises UsageError.
    """
    if len(codes.levels) != 2 or not codes.known().all():
        raise UsageError(f"codes: allowed is an attribute of two known levels, got {list(codes.levels)}")
    if twin.columns != inputs.columns or len(twin) != len(inputs):
        raise UsageError("twin: allowed are the same rows and columns as the inputs")
    sign = np.where(codes.values == 0, 1.0, -1.0)
    here, there = answer(inputs), answer(twin)
    full, flip, paths = sign * (there - here), np.zeros(len(inputs)), {}
    for name in moved_columns(inputs, twin):
        column = inputs.columns.index(name)
        first = answer(inputs.with_values(with_column(inputs, name, twin.values[:, column])))
        last = answer(twin.with_values(with_column(twin, name, inputs.values[:, column])))
        paths[name] = sign * (first - here + there - last) / 2.0
        flip = sign * (first - here) if name == attribute else flip
    return Effects(
        full=full,
        flip=flip,
        paths=paths,
        rest=full - sum(paths.values(), np.zeros(len(full))),
    )


def moved_columns(inputs: Tabular, twin: Tabular) -> tuple[str, ...]:
    """The features that differ between people and their twins."""
    same = (inputs.values == twin.values) | (np.isnan(inputs.values) & np.isnan(twin.values))
    return tuple(name for name, still in zip(inputs.columns, same.all(axis=0), strict=True) if not still)


@check(
    "fairness.counterfactual",
    title="The same person in the other group",
    needs={"twin", "model", "rows", "groups"},
    sources=("kusner2017", "chiappa2019", "shapley1953", "wilson1927", "student1908"),
)
def counterfactual(subject: Subject, context: Context, *, rows: int = 5000) -> Iterator[Evidence]:
    """What would the model say of the same person, had that person been of the other group from the start?

    In a planted world every person has a twin: the same luck and merit, the other group, and all that follows from it.
    counterfactual_effect is the mean gain from the first group to the second, in log-odds where the scores are
    probabilities; flip_effect is the same when only the attribute's own column is changed, which is all that can be
    tried on real data. path_effect splits the effect over the features that differ between twins: the mean of switching
    a feature alone and of switching it last; what interactions of three or more features leave over is the path
    "interactions". counterfactual_flip_rate is the share of people whose twin gets the other decision. Intervals are
    Wilson's and Student's t over people.

    The figures hold in the planted world only. They show what a model of this kind, trained on such data, picks up; of a
    real population nobody knows the twins. A path is a feature, not a moral claim that it may, or may not, count.
    """
    require_binary(subject)
    model, inputs = tabular_model(subject)
    twin = subject.data.twin
    if not isinstance(twin, Tabular):
        raise NotApplicable("counterfactual twins are known for tabular planted worlds only")
    attribute, codes = _attribute(subject, inputs, twin)
    chosen = sampled(context.rng, len(inputs), rows)
    inputs, twin, codes = inputs.take(chosen), twin.take(chosen), _take(codes, chosen)
    before, after = model.predict(inputs), model.predict(twin)
    probable = bool(((before >= 0.0) & (before <= 1.0)).all())
    effects = counterfactual_effects(
        lambda part: log_odds(model.predict(part)) if probable else model.predict(part), inputs, twin, attribute, codes
    )
    flips = decided(before, subject.threshold) != decided(after, subject.threshold)
    note = f"{codes.levels[1]} against {codes.levels[0]}, in {'log-odds' if probable else 'units of the score'}"
    yield from _measures(effects, flips, attribute, codes, context.confidence, note)


def _attribute(subject: Subject, inputs: Tabular, twin: Tabular) -> tuple[str, Codes]:
    """The attribute whose level differs between twins: the feature that changes, or the only attribute there is."""
    changed = [name for name in subject.groups if name in moved_columns(inputs, twin)]
    names = changed or list(subject.groups)
    if len(names) != 1:
        raise NotApplicable(f"cannot tell which attribute the twins differ in: {', '.join(names)}")
    codes = subject.groups[names[0]]
    if len(codes.levels) != 2 or not codes.known().all():
        raise NotApplicable(f"needs an attribute of two known levels; {names[0]!r} has {len(codes.levels)}")
    return names[0], codes


def _take(codes: Codes, rows: Ints) -> Codes:
    return Codes(values=codes.values[rows], levels=codes.levels)


def _measures(
    effects: Effects, flips: np.ndarray, attribute: str, codes: Codes, level: float, note: str
) -> Iterator[Measure]:
    for where, inside in by_group(codes, attribute):
        facts: dict[str, Any] = {"level": level, "where": where, "note": note}
        yield mean_measure("counterfactual_effect", effects.full[inside], better="zero", **facts)
        yield mean_measure("flip_effect", effects.flip[inside], better="zero", **facts)
        yield mean_measure("counterfactual_flip_rate", flips[inside], unit="proportion", better="lower", **facts)
    for name, part in {**effects.paths, "interactions": effects.rest}.items():
        where = {attribute: ALL, "feature": name}
        yield mean_measure("path_effect", part, level=level, where=where, note=note)
