"""The scikit-learn adapter: estimators and pipelines with predict_proba, and what speaks like them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from audit.core import Card, Dataset, ModelError, Spec
from audit.data.columns import text_of
from audit.data.tables import listed, sha256
from audit.data.tabular import Tabular
from audit.models.adapters.fingerprint import fingerprint
from audit.models.adapters.opened import opened
from audit.models.base import Reading, Wrapped, class_order, matrix
from audit.models.columns import check_columns, check_width
from audit.models.factory import file_of, made
from audit.models.kinship import reference_of
from audit.registry import adapter

FILES = (".skops", ".joblib", ".pkl")


@adapter("sklearn", title="scikit-learn estimator")
def wrap(estimator: Any, dataset: Dataset, spec: Spec) -> Wrapped:
    """A fitted estimator or pipeline with predict_proba, or a regressor's predict where model.output is "value".

    Fitted on named columns it gets a pandas frame with those columns, else the matrix (n, d). Its classes_ are matched
    with the data's by name. fairlearn's randomised classifiers are read through their probability of each class.
    Raises ModelError.
    """
    number = spec.model.output == "value"
    method = "predict" if number and hasattr(estimator, "predict") else _probabilities(estimator)
    _check_fitted(estimator)
    columns = _columns(estimator, dataset)
    found = tuple(text_of(value) for value in getattr(estimator, "classes_", ()))
    last = estimator.steps[-1][1] if isinstance(getattr(estimator, "steps", None), list) else estimator
    card = Card(
        family=type(last).__name__,
        reference=reference_of(estimator),
        kind="sklearn",
        name=spec.model.factory or spec.model.weights or type(estimator).__name__,
        classes=dataset.classes,
        output="value" if number else "probability",
        features=columns or dataset.names,
        digest=fingerprint(estimator),
        notes=()
        if method in ("predict_proba", "predict")
        else ("A randomised classifier: scores are its probabilities of each class.",),
    )
    if spec.model.output == "logit":
        raise ModelError(
            'model.output = "logit" does not suit predict_proba, which returns probabilities: leave it out'
        )
    reading = Reading(
        output="value" if number else "probability",
        order=(0, 1) if number else class_order(found, dataset, spec),
        batch_size=spec.model.batch_size,
    )
    answer = functools.partial(
        _answer, getattr(estimator, method), columns, bool(getattr(dataset.inputs, "categories", None)), dataset.names
    )
    return opened(Wrapped(card=card, answer=answer, reading=reading), estimator, columns, dataset.names)


def load(spec: Spec, dataset: Dataset, base: Path) -> Wrapped:
    """The estimator of model.factory or of the file model.weights; raises ModelError.

    A skops file may hold trusted types only; a joblib or pickle file, and other types, need model.trust = true.
    """
    if spec.model.factory is not None:
        if spec.model.weights is not None:
            raise ModelError('model.kind = "sklearn" takes model.factory or model.weights, not both')
        return wrap(made(spec, base), dataset, spec)
    if spec.model.weights is None:
        raise ModelError(f'model.kind = "sklearn" needs model.factory, or model.weights with one of {", ".join(FILES)}')
    path = file_of(spec.model.weights, spec.model.sha256, base)
    model = wrap(_estimator(path, spec.model.trust), dataset, spec)
    return replace(model, card=replace(model.card, digest=sha256(path), size_bytes=path.stat().st_size))


def _estimator(path: Path, trust: bool) -> Any:
    if path.suffix == ".skops":
        return _from_skops(path, trust)
    if path.suffix not in FILES:
        raise ModelError(f"model.weights: {path.name!r} must end in one of {', '.join(FILES)}")
    if not trust:
        raise ModelError(
            f"model.weights: {path.name!r} is a pickle, which can run any code when it is read; set model.trust = true "
            "if you trust whoever made it, or save it with skops"
        )
    import joblib  # type: ignore[import-untyped]

    try:
        return joblib.load(path)
    except Exception as error:
        raise ModelError(f"model.weights: {path.name} cannot be loaded: {type(error).__name__}: {error}") from error


def _from_skops(path: Path, trust: bool) -> Any:
    try:
        import skops.io
    except ModuleNotFoundError as error:
        raise ModelError(
            "model.weights: reading a .skops file needs skops: pip install 'neural-audit[skops]'"
        ) from error
    try:
        unknown = skops.io.get_untrusted_types(file=path)
        if unknown and not trust:
            raise ModelError(
                f"model.weights: {path.name!r} holds types that are not trusted: {listed(unknown)}; "
                "set model.trust = true if you trust whoever made it"
            )
        return skops.io.load(path, trusted=unknown)
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"model.weights: {path.name} cannot be loaded: {type(error).__name__}: {error}") from error


def _probabilities(estimator: Any) -> str:
    """The method that gives a probability for each class."""
    for name in ("predict_proba", "_pmf_predict"):
        if callable(getattr(estimator, name, None)):
            return name
    has = [
        name
        for name in ("predict", "decision_function", "predict_log_proba", "transform")
        if callable(getattr(estimator, name, None))
    ]
    raise ModelError(
        f"{type(estimator).__name__} has no predict_proba (it has {listed(has) or 'nothing of the kind'}): wrap it in "
        'sklearn.calibration.CalibratedClassifierCV, set model.output = "value" if it predicts a number, or give its '
        "recorded predictions as data"
    )


def _check_fitted(estimator: Any) -> None:
    from sklearn.base import BaseEstimator
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    if isinstance(estimator, BaseEstimator):
        try:
            check_is_fitted(estimator)
        except NotFittedError as error:
            raise ModelError(f"{type(estimator).__name__} is not fitted") from error


def _columns(estimator: Any, dataset: Dataset) -> tuple[str, ...]:
    """The column names that the estimator was fitted on, () where it was fitted on an array."""
    names = getattr(estimator, "feature_names_in_", None)
    if names is None:
        check_width(type(estimator).__name__, getattr(estimator, "n_features_in_", None), dataset)
        return ()
    check_columns(type(estimator).__name__, names, dataset)
    return tuple(map(str, names))


def _answer(
    method: Callable[[Any], Any], columns: Sequence[str], categorical: bool, names: tuple[str, ...], inputs: Any
) -> Any:
    if not columns and not categorical:
        return method(matrix(inputs))
    tabular = inputs if isinstance(inputs, Tabular) else Tabular(values=matrix(inputs), columns=names)
    frame = tabular.frame()
    return method(frame[list(columns)] if columns else frame)
