"""Closed forms against published figures, scikit-learn's own models and the enumeration of coalitions."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from little_models import Plain, sigmoid, table
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from audit.core import MissingOffer, NotApplicable, UsageError
from audit.explain import game, shapley
from audit.explain.closed_forms import additive_shapley, linear_shapley

DATA = Path(os.environ.get("AUDIT_TEST_DATA", "shared/data"))
RNG = np.random.default_rng(3)
X = RNG.normal(size=(90, 4)) * [1, 2, 3, 0.5] + 1
W = np.array([1.0, -0.5, 0.2, 2.0])
Y = (X @ W + RNG.logistic(size=90) > 1).astype(int)
COLUMNS = [
    "age",
    "sex",
    "cp",
    "trestbps",
    "chol",
    "fbs",
    "restecg",
    "thalach",
    "exang",
    "oldpeak",
    "slope",
    "ca",
    "thal",
]


def heart():
    path = DATA / "heart_cleveland" / "processed.cleveland.data"
    if not path.is_file():
        pytest.skip("the heart disease data are not here")
    lines = [line.split(",") for line in path.read_text().splitlines()[1:] if "?" not in line]
    values = np.array(lines, dtype=np.float64)
    return values[:, :-1], (values[:, -1] > 0).astype(float)


@pytest.mark.parametrize("how", [linear_shapley, additive_shapley, shapley])
def test_heart_disease_has_its_published_values(how):
    x, y = heart()
    wanted = json.loads((DATA / "expected_A.json").read_text())["heart_cleveland"]["exact_interventional_shap_of_ols"]
    model = LinearRegression().fit(x, y)
    rows = np.arange(3) if how is shapley else np.arange(len(x))
    found = how(game(model, table(x[rows], COLUMNS), table(x, COLUMNS), output="value"))
    first = np.array([[row[name] for name in COLUMNS] for row in wanted["first_3_rows"]])
    np.testing.assert_allclose(found.values[:3], first, atol=1e-9)
    np.testing.assert_allclose(found.base, wanted["base_value"], atol=1e-9)
    if len(rows) > 3:
        np.testing.assert_allclose(
            np.abs(found.values).mean(axis=0), [wanted["mean_abs"][name] for name in COLUMNS], atol=1e-9
        )


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("target", [0, 1])
def test_log_odds_of_a_logistic_regression(scaled, target):
    model = LogisticRegression()
    model = (make_pipeline(StandardScaler(), model) if scaled else model).fit(X, Y)
    played = game(model, X[:8], X[30:], link="logit", target=target)
    found, ours = linear_shapley(played), shapley(played)
    for part in ("values", "base", "outputs", "se_background"):
        np.testing.assert_allclose(getattr(found, part), getattr(ours, part), atol=1e-9)
    assert found.evaluations == 0
    assert np.abs(found.delta).max() < 1e-9


def test_players_of_several_columns_and_given_weights():
    model = Plain(lambda x: sigmoid(x @ W))
    played = game(model, table(X[:5]), table(X[40:]), link="logit", players={"both": ["x0", "x3"]})
    found = linear_shapley(played, weights=W)
    np.testing.assert_allclose(found.values, shapley(played).values, atol=1e-9)
    np.testing.assert_allclose(found.se_background, shapley(played).se_background, atol=1e-9)


def test_what_a_linear_form_does_not_tell():
    model = Plain(lambda x: sigmoid(x @ W))
    with pytest.raises(NotApplicable, match=r'use link = "logit"'):
        linear_shapley(game(model, table(X[:2]), table(X)), weights=W)
    with pytest.raises(MissingOffer, match="linear"):
        linear_shapley(game(model, table(X[:2]), table(X), link="logit"))
    with pytest.raises(UsageError, match="one for each of 4 columns"):
        linear_shapley(game(model, table(X[:2]), table(X), link="logit"), weights=W[:3])


def test_an_additive_model_needs_each_player_twice():
    model = Plain(lambda x: np.sin(x[:, 0]) + x[:, 1] ** 2 + np.maximum(x[:, 2], 0) - x[:, 3])
    played = game(model, table(X[:6]), table(X[50:]))
    found, ours = additive_shapley(played), shapley(played)
    b = X[50:]
    np.testing.assert_allclose(found.values[:, 0], np.sin(X[:6, 0]) - np.sin(b[:, 0]).mean(), atol=1e-9)
    for part in ("values", "base", "outputs", "se_background"):
        np.testing.assert_allclose(getattr(found, part), getattr(ours, part), atol=1e-9)
    assert found.evaluations <= 6 * 10 * 40


def test_a_model_with_an_interaction_is_not_additive():
    model = Plain(lambda x: x[:, 0] + 0.01 * x[:, 1] * x[:, 2])
    with pytest.raises(NotApplicable, match="not additive in the players in 5 of 5 rows"):
        additive_shapley(game(model, table(X[:5]), table(X[50:])))


@pytest.mark.parametrize("background", [[[-1.0, -1, -1]], [[-1.0, -1, -1]] * 3])
def test_gains_that_agree_at_both_ends_must_also_add_up(background):
    """Of x1 x2 x3 at 1 over -1 each adds 2, first or last, and all three together 2: the truth is 2/3 each."""
    played = game(Plain(lambda x: x.prod(axis=1)), table(np.ones((1, 3))), table(background), output="value")
    np.testing.assert_allclose(shapley(played).values, 2 / 3)
    with pytest.raises(NotApplicable, match=r"not additive.*1 of 1 rows.*\+4 beyond"):
        additive_shapley(played)
