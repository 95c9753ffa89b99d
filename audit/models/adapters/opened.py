"""Estimators whose inside explainers can use: the weights of linear models, the trees of ensembles."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from audit.core import Floats, Ints, MissingOffer, Offer
from audit.models.base import Wrapped


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened(Wrapped):
    """A wrapped estimator that offers "linear" or "trees"; columns: the features (names) that it reads, in its order.

    features: the names in the order of the data.
    """

    estimator: Any
    columns: tuple[str, ...]
    features: tuple[str, ...]

    def linear(self) -> tuple[Floats, float]:
        """Weights (features,) in the order of the data and the bias of the number, or of the positive class's log-odds."""
        found = _weights(self.estimator)
        if found is None:
            raise MissingOffer(f"{type(self.estimator).__name__} is not linear in its features")
        weights = np.zeros(len(self.features))
        weights[self.places()] = found[0]
        sign = 1.0 if self.reading.output == "value" or self.reading.order[1] == 1 else -1.0
        return sign * weights, sign * found[1]

    @property
    def boosted(self) -> bool:
        """Whether it is a sum of trees in log-odds."""
        from sklearn import ensemble

        return isinstance(self.estimator, ensemble.GradientBoostingClassifier | ensemble.HistGradientBoostingClassifier)

    @property
    def single(self) -> bool:
        """Whether its trees read 32-bit floats, as all but those over histograms do."""
        from sklearn import ensemble

        kinds = ensemble.HistGradientBoostingClassifier | ensemble.HistGradientBoostingRegressor
        return not isinstance(self.estimator, kinds)

    @property
    def rounding(self) -> float:
        """How far its own sums may be off those of its trees: no more than any sum of doubles."""
        return 1e-6

    def columns_of(self, targets: Ints) -> Ints:
        """The estimator's own number of each of the data's classes (n,)."""
        return np.array(self.reading.order, dtype=np.int64)[targets]

    def places(self) -> list[int]:
        """Where the estimator's columns are among the features of the data."""
        return [self.features.index(name) for name in self.columns]


def opened(wrapped: Wrapped, estimator: Any, columns: tuple[str, ...], features: tuple[str, ...]) -> Wrapped:
    """The same model, with what its estimator offers: "linear", "trees" or neither."""
    found: set[Offer] = set()
    if _weights(estimator) is not None:
        found.add("linear")
    if _of_trees(estimator):
        found.add("trees")
    if not found:
        return wrapped
    same = {field.name: getattr(wrapped, field.name) for field in fields(wrapped)}
    more = same | {"offers": wrapped.offers | found}
    return Opened(**more, estimator=estimator, columns=columns or features, features=features)


def _weights(estimator: Any) -> tuple[Floats, float] | None:
    """Weights and bias of a linear regression or a logistic regression of two classes, also behind standard scaling."""
    from sklearn import linear_model
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    if isinstance(estimator, Pipeline):
        *before, last = (step for _, step in estimator.steps)
        found = _weights(last)
        if found is None or not all(isinstance(step, StandardScaler) for step in before):
            return None
        weights, bias = found
        for scaler in reversed(before):
            weights = weights if scaler.scale_ is None else weights / scaler.scale_
            bias -= 0.0 if scaler.mean_ is None or not scaler.with_mean else float(weights @ scaler.mean_)
        return weights, bias
    names = ("LinearRegression", "Ridge", "RidgeCV", "Lasso", "LassoCV", "ElasticNet", "ElasticNetCV")
    kinds = tuple(getattr(linear_model, name) for name in names)
    if isinstance(estimator, kinds) or (
        isinstance(estimator, linear_model.LogisticRegression) and len(estimator.coef_) == 1
    ):
        slopes = np.asarray(estimator.coef_, dtype=np.float64)
        start = np.asarray(estimator.intercept_, dtype=np.float64).reshape(-1)
        return (slopes.reshape(-1), float(start[0])) if slopes.ndim == 1 or len(slopes) == 1 else None
    return None


def _of_trees(estimator: Any) -> bool:
    from sklearn import ensemble, tree

    names = ("RandomForest", "ExtraTrees", "GradientBoosting", "HistGradientBoosting")
    kinds = [getattr(ensemble, name + end) for name in names for end in ("Classifier", "Regressor")]
    return isinstance(estimator, (*kinds, tree.DecisionTreeClassifier, tree.DecisionTreeRegressor))
