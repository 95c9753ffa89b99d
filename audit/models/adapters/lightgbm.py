"""The LightGBM adapter: boosters in .txt files, and the library's own estimators."""

from __future__ import annotations

import functools
import hashlib
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from audit.core import Dataset, ModelError, Output, Spec
from audit.data.columns import text_of
from audit.data.tables import sha256
from audit.models.adapters.boosters import Boosted, Booster, absent, asked, wrapped
from audit.models.factory import file_of, made
from audit.models.threads import allowed
from audit.registry import adapter

# What predict gives; of objectives that are not here, a number to predict.
OBJECTIVES: dict[str, Output] = {
    "binary": "probability",
    "multiclass": "probability",
    "cross_entropy": "probability",
}
UNNAMED = re.compile(r"Column_\d+")


@adapter("lightgbm", title="LightGBM booster or estimator", sources=("ke2017",))
def wrap(model: Any, dataset: Dataset, spec: Spec) -> Boosted:
    """A fitted LGBMClassifier, LGBMRegressor or Booster, which is copied: the user's own is left as it is.

    Columns are matched by name; categories get the model's own codes. Raises ModelError.
    """
    library = _library()
    native = isinstance(model, library.Booster)
    try:
        text = (model if native else model.booster_).model_to_string()
    except Exception as error:
        raise ModelError(f"{type(model).__name__} is not fitted or cannot be read: {error}") from error
    known = _known(library.Booster(model_str=text), spec)
    # The parameters behind the trees (threads, say) are no part of the model.
    digest = hashlib.sha256(text.partition("\nparameters:")[0].encode()).hexdigest()
    family = "LightGBM" if native else type(model).__name__
    classes = () if native else tuple(text_of(each) for each in getattr(model, "classes_", ()))
    return wrapped(replace(known, family=family, classes=classes, digest=digest, size=len(text)), dataset, spec)


def load(spec: Spec, dataset: Dataset, base: Path) -> Boosted:
    """The booster in the text file model.weights, or what model.factory returns; raises ModelError."""
    library = _library()
    if spec.model.weights is None:
        return wrap(made(spec, base), dataset, spec)
    path = file_of(spec.model.weights, spec.model.sha256, base)
    if path.suffix != ".txt":
        raise ModelError(f"model.weights: {path.name!r} must end in .txt: booster.save_model writes it")
    try:
        booster = library.Booster(model_str=path.read_text(encoding="utf-8"))
    except Exception as error:
        raise ModelError(f"model.weights: {path.name} cannot be loaded: {error}") from error
    known = _known(booster, spec)
    return wrapped(replace(known, digest=sha256(path), size=path.stat().st_size), dataset, spec)


def _library() -> Any:
    try:
        import lightgbm
    except ModuleNotFoundError as error:
        raise absent("lightgbm", error) from error
    return lightgbm


def _known(booster: Any, spec: Spec) -> Booster:
    head = booster.model_to_string(num_iteration=1)
    objective = next((line[10:] for line in head.splitlines() if line.startswith("objective=")), "custom")
    kind = objective.partition(" ")[0]
    output = asked(kind, OBJECTIVES.get(kind), spec)
    names = tuple(booster.feature_name())
    levels = booster.pandas_categorical or []
    places = _categorical(head)
    return Booster(
        library="lightgbm",
        family="LightGBM",
        estimator=booster,
        answer=functools.partial(_answer, booster, allowed(spec.run.threads)),
        output=output,
        width=booster.num_feature(),
        digest="",
        size=0,
        names=() if all(UNNAMED.fullmatch(name) for name in names) else names,
        categorical=tuple(names[place] for place in places),
        levels={names[place]: tuple(each) for place, each in zip(places, levels, strict=False)},
        outputs=1 if output == "value" else max(booster.num_model_per_iteration(), 2),
    )


def _answer(booster: Any, threads: int, columns: Any) -> Any:
    return np.asarray(booster.predict(columns, num_threads=threads), dtype=np.float64)


def _categorical(head: str) -> list[int]:
    """The places of the categorical columns, from the parameters that the model was trained with."""
    found = re.search(r"^\[categorical_feature: ([\d,]+)\]$", head, re.MULTILINE)
    return [int(place) for place in found[1].split(",")] if found else []
