"""XGBoost and LightGBM against their own predictions: files, estimators, categories, missing values, classes, trees."""

import hashlib
import sys

import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost

from audit import explain
from audit.core import DataSpec, ModelError, ModelSpec, RunSpec, Spec
from audit.data.readers import from_frame, tabular
from audit.models.load import load, wrap

RNG = np.random.default_rng(0)
N = 300
FRAME = pd.DataFrame(
    {
        "age": RNG.normal(size=N),
        "income": RNG.normal(size=N),
        "job": RNG.choice(["clerk", "nurse", "smith"], N),
        "region": RNG.integers(0, 3, N),
    }
)
FRAME.loc[:20, "age"] = np.nan
FRAME["y"] = ((FRAME["age"].fillna(0.3) + FRAME["income"] > 0) | (FRAME["job"] == "nurse")).astype(int)
FRAME["rank"] = FRAME["y"] + (FRAME["income"] > 1)
FRAME["amount"] = 2 * FRAME["income"] + (FRAME["job"] == "smith")
# Another order of columns and of levels than the data have.
X = FRAME[["region", "job", "income", "age"]].assign(
    job=pd.Categorical(FRAME["job"], categories=["smith", "clerk", "nurse"]),
    region=pd.Categorical(FRAME["region"], categories=[2, 0, 1]),
)
NUMBERS = X[["income", "age"]]
FIT = {"n_estimators": 12, "n_jobs": 1}
CLASSIFIER = {
    "xgboost": lambda **more: xgboost.XGBClassifier(**FIT, enable_categorical=True, **more),
    "lightgbm": lambda **more: lightgbm.LGBMClassifier(**FIT, verbose=-1, **more),
}
REGRESSOR = {
    "xgboost": lambda: xgboost.XGBRegressor(**FIT, enable_categorical=True),
    "lightgbm": lambda: lightgbm.LGBMRegressor(**FIT, verbose=-1),
}
FILES = {"xgboost": ("model.json", "model.ubj"), "lightgbm": ("model.txt",)}
KINDS = ["xgboost", "lightgbm"]


def spec(features=("age", "income", "job", "region"), label="y", target=None, positive=1, **model):
    data = DataSpec(label=None if target else label, target=target, features=features, positive=positive)
    return Spec(model=ModelSpec(**model), data=data, run=RunSpec(device="cpu"))


def save(estimator, path):
    (estimator.get_booster() if hasattr(estimator, "get_booster") else estimator.booster_).save_model(path)


@pytest.mark.parametrize("kind", KINDS)
def test_estimators_and_files_answer_as_the_library_does(kind, tmp_path):
    estimator = CLASSIFIER[kind]().fit(X, FRAME["y"])
    expected = estimator.predict_proba(X)[:, 1]
    data = from_frame(FRAME, spec())
    model = wrap(estimator, data, spec())
    np.testing.assert_allclose(model.predict(data.inputs), expected, atol=2e-7)
    assert model.card.kind == kind
    assert model.card.features == tuple(X.columns)
    assert not model.card.notes
    for name in FILES[kind]:
        save(estimator, tmp_path / name)
        digest = hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
        loaded = load(spec(kind=kind, weights=name, sha256=digest), data, tmp_path)
        np.testing.assert_array_equal(loaded.predict(data.inputs), model.predict(data.inputs))
        assert loaded.card.digest == digest
        assert "1 is the positive class" in loaded.card.notes[0]
        with pytest.raises(ModelError, match="this is another file"):
            load(spec(kind=kind, weights=name, sha256="0" * 64), data, tmp_path)
    native = estimator.get_booster() if kind == "xgboost" else estimator.booster_
    np.testing.assert_array_equal(wrap(native, data, spec()).predict(data.inputs), model.predict(data.inputs))


@pytest.mark.parametrize("kind", KINDS)
def test_a_factory_may_return_one(kind, tmp_path):
    (tmp_path / "made.py").write_text(
        f"import {kind} as lib, numpy as np\n"
        "X = np.random.default_rng(0).normal(size=(80, 2))\n"
        f"def build(): return lib.{'XGB' if kind == 'xgboost' else 'LGBM'}Classifier(n_estimators=3, n_jobs=1).fit(X, X[:, 0] > 0)\n"
    )
    data = from_frame(FRAME, spec(features=("age", "income")))
    model = load(spec(kind=kind, factory="made:build"), data, tmp_path)
    assert model.predict(data.inputs)[np.argmax(FRAME["age"])] > 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_levels_that_the_model_never_saw_are_missing_and_the_card_says_so(kind):
    estimator = CLASSIFIER[kind]().fit(X, FRAME["y"])
    strange = FRAME.assign(job=FRAME["job"].where(FRAME.index != 7, "astronaut"))
    data = from_frame(strange, spec())
    model = wrap(estimator, data, spec())
    blank = X.assign(job=X["job"].where(X.index != 7))
    np.testing.assert_allclose(model.predict(data.inputs), estimator.predict_proba(blank)[:, 1], atol=2e-7)
    assert "'job' holds levels that the model never saw and reads as missing: 'astronaut'" in model.card.notes[0]


@pytest.mark.parametrize("kind", KINDS)
def test_several_classes_are_matched_by_name(kind):
    estimator = CLASSIFIER[kind]().fit(X, FRAME["rank"])
    data = from_frame(FRAME, spec(label="rank"))
    assert data.classes == ("0", "1", "2")
    expected = estimator.predict_proba(X)
    np.testing.assert_allclose(wrap(estimator, data, spec()).predict(data.inputs), expected, atol=2e-7)
    named = FRAME.assign(rank=FRAME["rank"].map({0: "low", 1: "mid", 2: "high"}))
    data = from_frame(named, spec(label="rank", positive="mid"))
    with pytest.raises(ModelError, match="the model's classes are '0', '1', '2', the data's"):
        wrap(estimator, data, spec())
    model = wrap(estimator, data, spec(classes=("low", "mid", "high")))
    order = [("low", "mid", "high").index(name) for name in data.classes]
    np.testing.assert_allclose(model.predict(data.inputs), expected[:, order], atol=2e-7)


def test_text_labels_of_lightgbm_are_its_classes():
    words = FRAME.assign(y=FRAME["y"].map({0: "repaid", 1: "defaulted"}))
    wanted = Spec(data=DataSpec(label="y", positive="repaid", features=("age", "income")), run=RunSpec(device="cpu"))
    estimator = CLASSIFIER["lightgbm"]().fit(FRAME[["age", "income"]], words["y"])
    data = from_frame(words, wanted)
    column = list(estimator.classes_).index("repaid")
    np.testing.assert_array_equal(
        wrap(estimator, data, wanted).predict(data.inputs), estimator.predict_proba(FRAME[["age", "income"]])[:, column]
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_number_is_predicted_where_it_is_asked_for(kind):
    estimator = REGRESSOR[kind]().fit(X, FRAME["amount"])
    wanted = spec(target="amount", output="value")
    data = from_frame(FRAME, wanted)
    np.testing.assert_allclose(
        wrap(estimator, data, wanted).predict(data.inputs), estimator.predict(X), rtol=1e-6, atol=1e-6
    )
    with pytest.raises(ModelError, match=r'gives no probabilities: set model\.output = "value"'):
        wrap(estimator, from_frame(FRAME, spec()), spec())


def test_early_stopping_is_honoured_as_the_estimator_does():
    estimator = CLASSIFIER["xgboost"](early_stopping_rounds=1, learning_rate=2.0)
    noise = RNG.integers(0, 2, 100)
    estimator.fit(X[:200], FRAME["y"][:200], eval_set=[(X[200:], noise)], verbose=False)
    assert estimator.best_iteration + 1 < estimator.get_booster().num_boosted_rounds()
    data = from_frame(FRAME, spec())
    np.testing.assert_allclose(
        wrap(estimator, data, spec()).predict(data.inputs), estimator.predict_proba(X)[:, 1], atol=2e-7
    )


@pytest.mark.parametrize("kind", KINDS)
def test_columns_that_do_not_fit_are_named(kind):
    estimator = CLASSIFIER[kind]().fit(NUMBERS, FRAME["y"])
    missing = from_frame(FRAME, spec(features=("age", "region")))
    with pytest.raises(ModelError, match="fitted on columns that are not among the features: 'income'"):
        wrap(estimator, missing, spec())
    nameless = CLASSIFIER[kind]().fit(NUMBERS.to_numpy(), FRAME["y"])
    with pytest.raises(ModelError, match="was fitted on 2 features, the data has 3"):
        wrap(nameless, from_frame(FRAME, spec(features=("age", "income", "region"))), spec())
    words = FRAME.assign(age=FRAME["job"])
    with pytest.raises(ModelError, match="reads column 'age' as numbers, the data hold text such as 'clerk'"):
        wrap(estimator, from_frame(words, spec(features=("age", "income"))), spec())
    with pytest.raises(ModelError, match="is not fitted or cannot be read"):
        wrap(CLASSIFIER[kind](), missing, spec())


@pytest.mark.parametrize("kind", KINDS)
def test_files_that_are_none(kind, tmp_path):
    data = from_frame(FRAME, spec())
    (tmp_path / "model.pkl").write_bytes(b"x")
    (tmp_path / FILES[kind][0]).write_text("not a model")
    with pytest.raises(ModelError, match=r"'model.pkl' must end in"):
        load(spec(kind=kind, weights="model.pkl"), data, tmp_path)
    with pytest.raises(ModelError, match="cannot be loaded"):
        load(spec(kind=kind, weights=FILES[kind][0]), data, tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_an_absent_library_names_the_extra(kind, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, kind, None)
    with pytest.raises(ModelError, match=rf"pip install 'neural-audit\[{kind}\]'"):
        load(spec(kind=kind, weights=FILES[kind][0]), from_frame(FRAME, spec()), tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_the_users_model_is_left_as_it_was(kind):
    estimator = CLASSIFIER[kind]().fit(X, FRAME["y"])
    own = estimator.get_booster() if kind == "xgboost" else estimator.booster_
    text = own.save_config() if kind == "xgboost" else own.model_to_string()
    data = from_frame(FRAME, spec())
    wrap(estimator, data, spec()).predict(data.inputs)
    assert (own.save_config() if kind == "xgboost" else own.model_to_string()) == text


# ------------------------------------------------------------------------------------------------------------ trees
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("number", [False, True])
def test_values_by_the_trees_are_the_exact_shapley_values(kind, number):
    wanted = spec(
        features=("age", "income", "region"),
        target="amount" if number else None,
        output="value" if number else "probability",
    )
    data = from_frame(FRAME, wanted)
    columns = FRAME[["income", "age"]]
    estimator = (REGRESSOR if number else CLASSIFIER)[kind]()
    model = wrap(estimator.fit(columns, FRAME["amount" if number else "y"]), data, wanted)
    assert model.offers == {"trees"}
    table = tabular(data)
    game = explain.game(
        model, table.take(np.arange(25)), table.take(np.arange(100, 160)), link="identity" if number else "logit"
    )
    trees, exact = explain.tree_shap(game), explain.shapley(game)
    np.testing.assert_allclose(trees.values, exact.values, atol=1e-5)
    np.testing.assert_allclose(trees.values.sum(axis=1) + trees.base, game.outputs(), atol=1e-5)
    assert not trees.values[:, 2].any()  # the model does not read the region


@pytest.mark.parametrize("kind", KINDS)
def test_trees_over_categories_are_not_offered(kind):
    data = from_frame(FRAME, spec())
    assert wrap(CLASSIFIER[kind]().fit(X, FRAME["y"]), data, spec()).offers == frozenset()
