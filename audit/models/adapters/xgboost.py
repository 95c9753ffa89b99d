"""The XGBoost adapter: boosters in .json and .ubj files, and the library's own estimators."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from audit.core import Dataset, ModelError, Output, Spec
from audit.data.tables import sha256
from audit.models.adapters.boosters import Boosted, Booster, absent, asked, wrapped
from audit.models.factory import file_of, made
from audit.models.threads import allowed
from audit.registry import adapter

FILES = (".json", ".ubj")
# What the sum of the trees is; of objectives that are not here, a number to predict.
OBJECTIVES: dict[str, Output] = {
    "binary:logistic": "logit",
    "binary:logitraw": "logit",
    "reg:logistic": "logit",
    "multi:softprob": "logit",
    "multi:softmax": "logit",
}


@adapter("xgboost", title="XGBoost booster or estimator", sources=("chen2016",))
def wrap(model: Any, dataset: Dataset, spec: Spec) -> Boosted:
    """A fitted XGBClassifier, XGBRegressor or Booster, which is copied: the user's own is left as it is.

    Probabilities are made in float64 of the sum of its trees. Columns are matched by name; categories get the model's own
    codes. Where it was stopped early, the trees up to the best are used, as its estimators do. Raises ModelError.
    """
    library = _library()
    classes = getattr(model, "classes_", ()) if not isinstance(model, library.Booster) else ()
    missing = getattr(model, "missing", np.nan)
    try:
        own = model if isinstance(model, library.Booster) else model.get_booster()
        raw = bytes(own.save_raw("json"))
    except Exception as error:
        raise ModelError(f"{type(model).__name__} is not fitted or cannot be read: {error}") from error
    booster = library.Booster(model_file=bytearray(raw))
    known = _known(library, booster, spec, float(missing))
    family = "XGBoost" if isinstance(model, library.Booster) else type(model).__name__
    found = tuple(str(each) for each in classes)
    known = replace(known, family=family, classes=found, digest=hashlib.sha256(raw).hexdigest(), size=len(raw))
    return wrapped(known, dataset, spec)


def load(spec: Spec, dataset: Dataset, base: Path) -> Boosted:
    """The booster in the file model.weights (.json or .ubj), or what model.factory returns; raises ModelError."""
    library = _library()
    if spec.model.weights is None:
        return wrap(made(spec, base), dataset, spec)
    path = file_of(spec.model.weights, spec.model.sha256, base)
    if path.suffix not in FILES:
        raise ModelError(
            f"model.weights: {path.name!r} must end in one of {', '.join(FILES)}: booster.save_model writes both"
        )
    try:
        booster = library.Booster(model_file=str(path))
    except Exception as error:
        raise ModelError(f"model.weights: {path.name} cannot be loaded: {str(error).splitlines()[0]}") from error
    known = _known(library, booster, spec, np.nan)
    return wrapped(replace(known, digest=sha256(path), size=path.stat().st_size), dataset, spec)


def _library() -> Any:
    try:
        import xgboost
    except ModuleNotFoundError as error:
        raise absent("xgboost", error) from error
    return xgboost


def _known(library: Any, booster: Any, spec: Spec, missing: float) -> Booster:
    learner = json.loads(booster.save_config())["learner"]
    objective = learner["objective"]["name"]
    output = asked(objective, OBJECTIVES.get(objective), spec)
    classes = int(learner["learner_model_param"]["num_class"])
    types = booster.feature_types or []
    names = tuple(booster.feature_names or ())
    if "c" in types and not names:
        raise ModelError("an XGBoost model with categories needs names of its columns: fit it on a pandas frame")
    return Booster(
        library="xgboost",
        family="XGBoost",
        estimator=booster,
        answer=_answering(library, booster, missing, allowed(spec.run.threads), margin=output == "logit"),
        output=output,
        width=booster.num_features(),
        digest="",
        size=0,
        names=names,
        categorical=tuple(name for name, kind in zip(names, types, strict=False) if kind == "c"),
        levels=_levels(booster),
        outputs=1 if output == "value" else max(classes, 2),
        single=True,
        rounding=1e-5,
        trees=learner["gradient_booster"]["name"] == "gbtree" and np.isnan(missing),
    )


def _answering(library: Any, booster: Any, missing: float, threads: int, *, margin: bool) -> Callable[[Any], Any]:
    booster.set_param({"nthread": threads})
    best = booster.attr("best_iteration")
    trees = (0, int(best) + 1) if best is not None else (0, 0)

    def answer(columns: Any) -> Any:
        frame = not isinstance(columns, np.ndarray)
        names = None if frame else booster.feature_names
        matrix = library.DMatrix(
            columns, missing=missing, nthread=threads, enable_categorical=frame, feature_names=names
        )
        raw = booster.predict(matrix, output_margin=margin, iteration_range=trees, validate_features=False)
        return np.asarray(raw, dtype=np.float64)

    return answer


def _levels(booster: Any) -> dict[str, tuple[Any, ...]]:
    """The levels of the categorical columns, which files carry since XGBoost 3.1."""
    try:
        found = booster.get_categories(export_to_arrow=True).to_arrow()
    except (AttributeError, TypeError, ValueError):
        return {}
    return {name: tuple(levels.to_pylist()) for name, levels in found if levels is not None}
