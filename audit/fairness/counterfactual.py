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
    Inputs,
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
    with_column,
)
from audit.fairness.slices import require_binary
from audit.registry import check

_EDGE = 1e-15  # a probability of 0 or 1 is taken this far inside


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Effects:
    """What each person's answer gains from the first level to the second, one entry a row (n,).

    full: the person against the twin. flip: only the attribute's own column changed, 0 where it is no feature, None of
    inputs without columns.
    paths: each feature that the twin has otherwise, and its part. rest: full less the sum of the paths.
    """

    full: Floats
    flip: Floats | None
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


def whole_effects(before: Floats, after: Floats, codes: Codes) -> Effects:
    """The effect of a two-level attribute from answers (n,) for people and their twins; what no column tells is not split."""
    full = np.where(codes.values == 0, 1.0, -1.0) * (after - before)
    return Effects(full=full, flip=None, paths={}, rest=full)


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

    Of pictures, sequences, texts and graphs the whole effect is told, and no flip or path: they have no column of the
    attribute.

    The figures hold in the planted world only. They show what a model of this kind, trained on such data, picks up; of a
    real population nobody knows the twins. A path is a feature, not a moral claim that it may, or may not, count.
    """
    require_binary(subject)
    model, inputs, twin = subject.model, subject.data.inputs, subject.data.twin
    if model is None or inputs is None or twin is None or type(inputs) is not type(twin):
        raise NotApplicable("twins are known in planted worlds only, for a model that answers them")
    attribute, codes = _attribute(subject, inputs, twin)
    chosen = sampled(context.rng, len(inputs), rows)
    inputs, twin, codes = inputs.take(chosen), twin.take(chosen), _take(codes, chosen)
    before, after = model.predict(inputs), model.predict(twin)
    probable = bool(((before >= 0.0) & (before <= 1.0)).all())
    scale = log_odds if probable else np.asarray
    if isinstance(inputs, Tabular) and isinstance(twin, Tabular):
        effects = counterfactual_effects(lambda part: scale(model.predict(part)), inputs, twin, attribute, codes)
    else:
        effects = whole_effects(scale(before), scale(after), codes)
    flips = decided(before, subject.threshold) != decided(after, subject.threshold)
    note = f"{codes.levels[1]} against {codes.levels[0]}, in {'log-odds' if probable else 'units of the score'}"
    yield from _measures(effects, flips, attribute, codes, context.confidence, note)


def _attribute(subject: Subject, inputs: Inputs, twin: Inputs) -> tuple[str, Codes]:
    """The attribute whose level differs between twins: as told, the feature that changes, or the only attribute there is."""
    tables = isinstance(inputs, Tabular) and isinstance(twin, Tabular)
    changed = [name for name in subject.groups if tables and name in moved_columns(inputs, twin)]  # type: ignore[arg-type]
    told = [name for name in subject.groups if name == subject.data.twin_of]
    names = told or changed or list(subject.groups)
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
        if effects.flip is not None:
            yield mean_measure("flip_effect", effects.flip[inside], better="zero", **facts)
        yield mean_measure("counterfactual_flip_rate", flips[inside], unit="proportion", better="lower", **facts)
    if effects.flip is None:
        return
    for name, part in {**effects.paths, "interactions": effects.rest}.items():
        where = {attribute: ALL, "feature": name}
        yield mean_measure("path_effect", part, level=level, where=where, note=note)
