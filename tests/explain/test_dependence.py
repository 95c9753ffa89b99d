"""Partial dependence and individual curves against scikit-learn and closed forms."""

import numpy as np
import pytest
from little_models import Plain, context, sigmoid, subject, table
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.inspection import partial_dependence as peer

from audit.core import Curve, Measure, NotApplicable, Table, UsageError
from audit.data.images import Images
from audit.explain import game
from audit.explain.dependence import dependence, partial_dependence, partial_dependence_pair

RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 3))


def test_equals_scikit_learn_on_its_own_grid():
    y = (X[:, 0] * X[:, 1] + X[:, 2] > 0).astype(int)
    fitted = GradientBoostingClassifier(n_estimators=10, random_state=0).fit(X, y)
    for column in range(3):
        theirs = peer(
            fitted, X, [column], kind="both", method="brute", grid_resolution=9, response_method="predict_proba"
        )
        found = partial_dependence(game(fitted, X), f"x{column}", values=theirs["grid_values"][0])
        np.testing.assert_allclose(found.ice, theirs["individual"][0], atol=1e-12)
        np.testing.assert_allclose(found.mean, theirs["average"][0], atol=1e-12)
    one, two, mean = partial_dependence_pair(game(fitted, X), "x0", "x1", points=5)
    for i, a in enumerate(one):
        for j, b in enumerate(two):
            changed = X.copy()
            changed[:, 0], changed[:, 1] = a, b
            assert mean[i, j] == pytest.approx(fitted.predict_proba(changed)[:, 1].mean())


def test_a_linear_model_has_its_weight_as_slope_and_parallel_curves():
    weights = np.array([2.0, -1.0, 0.0])
    played = game(Plain(lambda v: sigmoid(v @ weights)), table(X), link="logit")
    for column, weight in enumerate(weights):
        found = partial_dependence(played, f"x{column}")
        slopes = np.diff(found.mean) / np.diff(found.grid)
        np.testing.assert_allclose(slopes, weight, atol=1e-9)
        low, high = found.band()
        np.testing.assert_allclose(high - low, 0, atol=1e-9)
    assert partial_dependence(played, "x0").heterogeneity() == pytest.approx(0, abs=1e-12)
    assert np.isnan(partial_dependence(played, "x2").heterogeneity())


def test_a_product_hides_from_the_mean_and_shows_in_the_individual_curves():
    found = partial_dependence(game(Plain(lambda v: v[:, 0] * v[:, 1]), table(X), output="value"), "x0")
    slope = X[:, 1].mean()
    np.testing.assert_allclose(np.diff(found.mean) / np.diff(found.grid), slope, atol=1e-12)
    assert found.heterogeneity() == pytest.approx(X[:, 1].var() / (X[:, 1] ** 2).mean())


def test_the_band_covers_the_mean_curve_of_the_population():
    covered = []
    for seed in range(200):
        x = np.random.default_rng(seed).normal(size=(60, 2))
        found = partial_dependence(
            game(Plain(lambda v: v[:, 0] * (1 + v[:, 1])), table(x), output="value"), "x0", values=np.array([-1.0, 1.0])
        )
        low, high = found.band()
        covered.append(low[1] <= 1 <= high[1])
    assert 0.91 <= np.mean(covered) <= 0.985


def mixed():
    values = np.column_stack([X[:, 0], RNG.integers(0, 3, 120), RNG.integers(18, 70, 120), np.full(120, 7.0)])
    values[::9, 0] = np.nan
    values[::10, 1] = np.nan
    return table(
        values,
        ["income", "job", "age", "same"],
        categories={"job": ("cook", "nurse", "smith", "never")},
        integers=frozenset({"age"}),
    )


MIXED = mixed()


def mixed_model(v):
    job = np.nan_to_num(v[:, 1], nan=-1)
    return sigmoid(np.nan_to_num(v[:, 0]) + (job == 1) * 2 + 0.01 * v[:, 2])


def test_the_grid_holds_values_that_occur():
    inputs = MIXED
    played = game(Plain(mixed_model), inputs)
    assert partial_dependence(played, "job").levels == ("cook", "nurse", "smith")
    ages = partial_dependence(played, "age", points=10)
    assert set(ages.grid) <= set(inputs.values[:, 2])
    assert len(ages.grid) <= 10
    assert not np.isnan(partial_dependence(played, "income").grid).any()
    assert partial_dependence(played, "same").ice.shape == (120, 1)


def test_the_check_draws_curves_for_numbers_and_bars_for_categories():
    found = list(dependence(subject(Plain(mixed_model), MIXED), context(), features=9))
    (bars,) = [e for e in found if isinstance(e, Table)]
    assert bars.view == "bars"
    assert [line[0] for line in bars.rows] == ["cook", "nurse", "smith"]
    assert bars.rows[1][1] == max(line[1] for line in bars.rows)
    curves = [e for e in found if isinstance(e, Curve)]
    assert {(c.name, c.where["feature"]) for c in curves} == {
        (name, feature) for name in ("partial_dependence", "ice") for feature in ("income", "age")
    }
    for curve in curves:
        assert all(low <= y <= high for low, y, high in zip(curve.low, curve.y, curve.high, strict=True))
    ranges = {m.where["feature"]: m for m in found if isinstance(m, Measure) and m.name == "partial_dependence_range"}
    assert "same" not in ranges
    assert ranges["job"].interval.low > 0
    assert list(dependence(subject(Plain(mixed_model, batch=11), MIXED), context(), features=9)) == found


def test_several_classes_are_explained_by_the_predicted_one():
    wide = Plain(lambda v: np.exp(v) / np.exp(v).sum(axis=1, keepdims=True), classes=("a", "b", "c"))
    (first, *_) = list(dependence(subject(wide, table(X)), context(), features=1))
    assert "predicted class" in first.note


def test_one_row_has_no_band_and_no_grid_of_its_own():
    model = Plain(lambda v: sigmoid(v[:, 0]))
    found = partial_dependence(game(model, table(X[:1])), "x0", values=np.array([0.0, 1.0]))
    assert np.isnan(found.band()).all()
    with pytest.raises(NotApplicable, match="one value only"):
        list(dependence(subject(model, table(X)), context(), rows=1))


def test_what_cannot_be_drawn_says_so():
    with pytest.raises(NotApplicable, match="one value only"):
        list(dependence(subject(Plain(lambda v: sigmoid(v[:, 0])), table(np.ones((5, 2)))), context()))
    with pytest.raises(UsageError, match="did you mean 'x1'"):
        partial_dependence(game(Plain(lambda v: sigmoid(v[:, 0])), table(X)), "X1")
    with pytest.raises(NotApplicable, match="Images have none"):
        list(dependence(subject(Plain(lambda v: v[:, 0, 0, 0]), Images(values=np.zeros((4, 1, 2, 2)))), context()))
