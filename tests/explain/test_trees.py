"""Trees by their paths against our coalitions over the same background, class by class and link by link."""

import warnings

import numpy as np
import pytest
from sklearn import ensemble, tree

from audit.core import MissingOffer, NotApplicable
from audit.explain import game, shapley
from audit.explain.trees import tree_shap

pytest.importorskip("shap")
RNG = np.random.default_rng(0)
X = RNG.normal(size=(220, 6))
SCORE = X[:, 0] * X[:, 1] + X[:, 2] - 0.5 * X[:, 4]
BINARY, THREE = (SCORE > 0).astype(int), np.digitize(SCORE, [-0.7, 0.7])
TREES = {
    "boosting": ensemble.GradientBoostingClassifier(n_estimators=15, random_state=0),
    "histograms": ensemble.HistGradientBoostingClassifier(max_iter=15, random_state=0),
    "forest": ensemble.RandomForestClassifier(n_estimators=15, max_depth=5, random_state=0),
    "one tree": tree.DecisionTreeClassifier(max_depth=4, random_state=0),
}


def both(estimator, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # shap's, of numpy
        played = game(estimator, X[:7], X[180:], **options)
        return tree_shap(played), shapley(played)


@pytest.mark.parametrize("name", ["forest", "one tree"])
@pytest.mark.parametrize("target", [0, 1])
def test_probabilities_agree_with_the_enumeration(name, target):
    found, ours = both(TREES[name].fit(X, BINARY), target=target)
    np.testing.assert_allclose(found.values, ours.values, atol=1e-6)
    np.testing.assert_allclose(found.base, ours.base, atol=1e-6)
    assert np.abs(found.delta).max() < 1e-6
    assert found.evaluations == 7
    # 20 means of two rows each tell about as much of the background as 40 rows do
    assert np.median(found.se_background / np.maximum(ours.se_background, 1e-12)) == pytest.approx(1, abs=0.3)


@pytest.mark.parametrize("name", ["boosting", "histograms"])
@pytest.mark.parametrize("target", [0, 1])
def test_log_odds_of_a_boosting_agree_with_the_enumeration(name, target):
    found, ours = both(TREES[name].fit(X, BINARY), link="logit", target=target)
    np.testing.assert_allclose(found.values, ours.values, atol=1e-6)
    np.testing.assert_allclose(found.base, ours.base, atol=1e-6)


def test_each_row_has_its_own_class_among_three():
    forest = ensemble.RandomForestClassifier(n_estimators=10, max_depth=4, random_state=0).fit(X, THREE)
    found, ours = both(forest, target="predicted")
    np.testing.assert_allclose(found.values, ours.values, atol=1e-6)
    assert len(set(found.targets)) > 1


def test_a_regressor_and_columns_in_another_order():
    import pandas as pd

    frame = pd.DataFrame(X, columns=list("abcdef"))
    model = ensemble.GradientBoostingRegressor(n_estimators=12, random_state=0).fit(frame[list("ecab")], SCORE)
    played = game(model, frame[:5], frame[200:], output="value")
    found, ours = tree_shap(played), shapley(played)
    np.testing.assert_allclose(found.values, ours.values, atol=1e-6)
    assert (found.values[:, [3, 5]] == 0).all()


def test_what_trees_do_not_tell():
    forest = TREES["forest"].fit(X, BINARY)
    with pytest.raises(NotApplicable, match=r'use link = "identity"|infinite'):
        tree_shap(game(forest, X[:3], X[100:], link="logit"))
    with pytest.raises(NotApplicable, match=r'use link = "logit"'):
        tree_shap(game(TREES["boosting"].fit(X, BINARY), X[:3], X[100:]))
    with pytest.raises(NotApplicable, match="players that hold several"):
        tree_shap(game(forest, X[:3], X[100:], players={"both": ["x0", "x1"]}))
    with pytest.raises(MissingOffer, match="trees"):
        tree_shap(game(lambda x: 1 / (1 + np.exp(-x[:, 0])), X[:3], X[100:]))
