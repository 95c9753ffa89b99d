"""From a configuration to a Dataset: files, frames, published counts and planted worlds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from audit.core import Codes, DataError, Dataset, DataSpec, Floats, GroupSpec, Ints, Origin, Spec, stream
from audit.data import counts
from audit.data.columns import attributes, can_be_feature, codes, features, floats, group_codes, weights
from audit.data.labels import decision, label
from audit.data.tables import Frame, column, frame_of, listed, load, sha256
from audit.data.tabular import Tabular


def read(spec: Spec, base: Path, *, inputs: bool | None = None) -> Dataset:
    """The dataset that a configuration names, its path relative to the folder `base`; raises DataError.

    inputs: whether to read the features; by default where a model will read them or data.features names them.
    """
    if spec.data.world is not None:
        return _draw(spec)
    if spec.data.path is None:
        raise DataError("data: neither data.path nor data.world is given")
    path = base / spec.data.path
    frame = load(path)
    origin = Origin(name=spec.data.path, sha256=sha256(path), licence=spec.data.licence, source=spec.data.source)
    wanted = spec.model.kind != "predictions" or spec.data.features is not None
    return _dataset(frame, spec, origin, with_inputs=wanted if inputs is None else inputs)


def from_frame(frame: Any, spec: Spec, *, inputs: bool = True) -> Dataset:
    """The dataset in a pandas, polars or pyarrow frame; a Dataset passes as it is. Raises DataError.

    inputs: whether to read the features.
    """
    if isinstance(frame, Dataset):
        return frame
    origin = Origin(
        name=f"{type(frame).__module__.split('.')[0]} frame", licence=spec.data.licence, source=spec.data.source
    )
    return _dataset(frame_of(frame), spec, origin, with_inputs=inputs)


def _draw(spec: Spec) -> Dataset:
    from audit.data.worlds.base import planted

    return planted(spec.data).draw(spec.data.rows, stream(spec.run.seed, "data.world"))


def _dataset(frame: Frame, spec: Spec, origin: Origin, *, with_inputs: bool) -> Dataset:
    if spec.model.kind == "counts":
        return counts.dataset(frame, spec, origin)
    data, notes = spec.data, list[str]()
    y, classes = _label(frame, spec, notes)
    score = None if data.score is None else floats(column(frame, data.score, "data.score"), data.score, "data.score")
    target = (
        None if data.target is None else floats(column(frame, data.target, "data.target"), data.target, "data.target")
    )
    names = _feature_names(frame, spec, notes) if with_inputs else ()
    return Dataset(
        inputs=features(frame, names) if names else None,
        groups=_groups(frame, spec.groups),
        origin=origin,
        y=y,
        target=target,
        decision=_decision(frame, data, None if predicts_number(spec) else score, notes),
        score=score,
        weights=None if data.weight is None else weights(column(frame, data.weight, "data.weight"), data.weight),
        strata={name: codes(column(frame, name, "data.strata"), name) for name in data.strata},
        names=names,
        classes=classes,
        notes=tuple(notes),
    )


def predicts_number(spec: Spec) -> bool:
    """Whether the score is a predicted number, at which no threshold makes a decision."""
    return spec.model.output == "value" or (spec.data.target is not None and spec.data.label is None)


def _label(frame: Frame, spec: Spec, notes: list[str]) -> tuple[Ints | None, tuple[str, ...]]:
    data, expected = spec.data, spec.model.classes
    if data.label is None:
        if len(expected) < 2:
            return None, ("0", "1")
        return None, label(pa.array(expected), "model.classes", data.positive, expected)[1]
    y, classes = label(column(frame, data.label, "data.label"), data.label, data.positive, expected)
    if not np.ptp(y):
        notes.append(f"Every row has the label {classes[y[0]]!r}: what compares the classes cannot be computed.")
    if len(classes) > 2:
        notes.append(f"The label has {len(classes)} classes: {listed(classes)}; {classes[1]!r} is the positive one.")
    return y, classes


def _decision(frame: Frame, data: DataSpec, score: Floats | None, notes: list[str]) -> Ints | None:
    by_score = None if score is None else (score >= data.threshold).astype(np.int64)
    if data.decision is None:
        if by_score is not None:
            notes.append(f"Decisions are made here: positive where {data.score!r} is {data.threshold:g} or more.")
        return by_score
    recorded = decision(column(frame, data.decision, "data.decision"), data.decision, data.positive)
    if by_score is not None and (apart := int((recorded != by_score).sum())):
        notes.append(
            f"The recorded decision {data.decision!r} counts; the score at the threshold {data.threshold:g} "
            f"would decide {apart} of {len(recorded)} rows otherwise."
        )
    return recorded


def _groups(frame: Frame, spec: GroupSpec) -> Mapping[str, Codes]:
    return {name: group_codes(column(frame, name, "groups.attributes"), name, spec) for name in attributes(spec)}


def _feature_names(frame: Frame, spec: Spec, notes: list[str]) -> tuple[str, ...]:
    """The features: as named, else every column without another role that a model could read."""
    data = spec.data
    outcomes = {data.label, data.target, data.decision, data.score}
    if data.features is not None:
        leaks = [name for name in data.features if name in outcomes]
        if leaks:
            raise DataError(
                f"data.features: {listed(leaks)} is the label, decision or score, or the target, which a model may not read"
            )
        return data.features
    others = outcomes | set(attributes(spec.groups)) | {data.weight} | set(data.strata)
    names = [name for name in frame.columns if name not in others]
    if spec.model.kind != "predictions":
        return tuple(names)
    # A frame given without a model may hold dates and the like, which nothing will read.
    unfit = [name for name in names if not can_be_feature(frame, name)]
    if unfit:
        notes.append(f"Not read as features, being neither numbers nor text: {listed(unfit)}.")
    return tuple(name for name in names if name not in unfit)


def tabular(dataset: Dataset) -> Tabular:
    """The tabular inputs of a dataset; raises DataError where it has none."""
    if not isinstance(dataset.inputs, Tabular):
        raise DataError("the dataset has no feature columns: name them in data.features")
    return dataset.inputs
