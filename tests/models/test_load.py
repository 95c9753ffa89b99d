"""Loading from a configuration: factories, files, hashes and what is trusted."""

import hashlib
import sys
from dataclasses import replace
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import skops.io
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.svm import LinearSVC
from torch import nn

from audit.core import DataSpec, ModelError, ModelSpec, RunSpec, Spec
from audit.data.readers import from_frame, tabular
from audit.models.factory import build
from audit.models.load import load, wrap

FRAME = pd.DataFrame({"a": [0.0, 1.0, 2.0, 3.0], "b": [1.0, 0.0, 1.0, 0.0], "y": [0, 0, 1, 1]})
X = FRAME[["a", "b"]]


def spec(**model):
    return Spec(model=ModelSpec(**model), data=DataSpec(label="y"), run=RunSpec(device="cpu"))


DATA = from_frame(FRAME, spec(kind="sklearn"))


def write(folder: Path, text: str, name: str = "model.py") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize("kind", ["predictions", "counts"])
def test_recorded_predictions_have_no_model(kind, tmp_path):
    assert load(spec(kind=kind), DATA, tmp_path) is None


# ------------------------------------------------------------------------------------------------------ factories
def test_modules_of_the_same_name_in_two_folders_do_not_mix(tmp_path):
    for value in (0.25, 0.75):
        folder = write(tmp_path / str(value), "from helper import P\ndef build(): return lambda x: x[:, 0] * 0 + P\n")
        write(folder, f"P = {value}\n", "helper.py")
    models = [
        load(spec(kind="callable", factory="model:build"), DATA, tmp_path / str(value)) for value in (0.25, 0.75, 0.25)
    ]
    assert [model.predict(DATA.inputs)[0] for model in models] == [0.25, 0.75, 0.25]
    assert "model" not in sys.modules
    assert "helper" not in sys.modules
    assert str(tmp_path / "0.25") not in sys.path


def test_a_module_that_was_there_before_comes_back(tmp_path, monkeypatch):
    write(tmp_path / "elsewhere", "MINE = 1\n")
    monkeypatch.syspath_prepend(tmp_path / "elsewhere")
    import model as mine

    write(tmp_path / "here", "def build(): return 'theirs'\n")
    assert build("model:build", tmp_path / "here") == "theirs"
    assert sys.modules["model"] is mine
    del sys.modules["model"]


def test_packages_and_late_imports_in_the_factory(tmp_path):
    package = tmp_path / "scoring" / "deep"
    write(package, "def build():\n    from scoring.other import VALUE\n    return VALUE\n", "model.py")
    write(tmp_path / "scoring", "VALUE = 7\n", "other.py")
    assert build("scoring.deep.model:build", tmp_path) == 7


def test_a_folder_may_hold_files_named_like_libraries(tmp_path):
    write(
        tmp_path,
        "import json, numpy, audit.core\ndef build(): return json.dumps([1]), numpy.sum([1, 2]), audit.core.ALL\n",
    )
    write(tmp_path, "raise RuntimeError('shadow')\n", "json.py")
    write(tmp_path / "audit", "raise RuntimeError('shadow')\n", "notes.py")
    numpy_before, audit_before = sys.modules["numpy"], sys.modules["audit.core"]
    assert build("model:build", tmp_path) == ("[1]", 3, "*")
    assert sys.modules["numpy"] is numpy_before
    assert sys.modules["audit.core"] is audit_before


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("model", "must look like \"package.module:function\", got 'model'"),
        (":build", "must look like"),
        ("modle:build", "'modle' cannot be imported.*did you mean 'model'"),
        ("model:biuld", "has no function 'biuld'; did you mean 'build'"),
        ("model:VALUE", "has a int, not a function, 'VALUE'"),
        ("model:fails", "raised ValueError: no weights"),
        ("model:needs", "raised TypeError: .*missing 1 required positional argument"),
        ("broken:build", "importing 'broken' raised SyntaxError"),
        ("lacking:build", "No module named 'no_such_library'"),
    ],
)
def test_factories_that_fail(tmp_path, factory, message):
    write(
        tmp_path,
        "VALUE = 1\ndef build(): return 1\ndef fails(): raise ValueError('no weights')\ndef needs(x): return x\n",
    )
    write(tmp_path, "def build(:\n", "broken.py")
    write(tmp_path, "import no_such_library\n", "lacking.py")
    before = dict(sys.modules), list(sys.path)
    with pytest.raises(ModelError, match=message):
        build(factory, tmp_path)
    assert sys.path == before[1]
    assert set(sys.modules) - set(before[0]) == set()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"kind": "torch"}, r'model.kind = "torch" needs model\.factory'),
        ({"kind": "callable"}, r"needs model\.factory"),
        ({"kind": "sklearn"}, r"needs model\.factory, or model\.weights"),
        ({"kind": "torch", "factory": "model:number"}, "returned int, expected a torch module"),
        ({"kind": "callable", "factory": "model:number"}, "returned int, expected a function"),
        ({"kind": "sklearn", "factory": "model:number"}, "int has no predict_proba"),
        ({"kind": "torch", "factory": "model:net", "sha256": "ab"}, r"model\.sha256 is given without"),
        (
            {"kind": "torch", "factory": "model:net", "weights": "wights.pt"},
            r"'wights.pt' was not found.*did you mean 'weights\.pt'",
        ),
        ({"kind": "sklearn", "factory": "model:number", "weights": "weights.pt"}, "not both"),
    ],
)
def test_configurations_that_do_not_fit(tmp_path, model, message):
    write(tmp_path, "from torch import nn\ndef number(): return 1\ndef net(): return nn.Linear(2, 1)\n")
    (tmp_path / "weights.pt").write_bytes(b"")
    with pytest.raises(ModelError, match=message):
        load(spec(**model), DATA, tmp_path)


# ---------------------------------------------------------------------------------------------------------- files
def test_torch_weights_and_their_hash(tmp_path):
    write(tmp_path, "from torch import nn\ndef net(): return nn.Linear(2, 1)\n")
    source = nn.Linear(2, 1)
    with torch.no_grad():
        source.weight.copy_(torch.tensor([[1.0, -2.0]]))
        source.bias.fill_(0.5)
    safetensors.torch.save_model(source, str(tmp_path / "w.safetensors"))
    digest = hashlib.sha256((tmp_path / "w.safetensors").read_bytes()).hexdigest()
    wanted = spec(kind="torch", factory="model:net", weights="w.safetensors", sha256=digest.upper(), output="logit")
    model = load(wanted, DATA, tmp_path)
    expected = 1 / (1 + np.exp(-(X["a"] - 2 * X["b"] + 0.5)))
    np.testing.assert_allclose(model.predict(DATA.inputs), expected, atol=1e-7)
    with pytest.raises(ModelError, match=f"should have {'0' * 64}, it has {digest}"):
        load(replace(wanted, model=replace(wanted.model, sha256="0" * 64)), DATA, tmp_path)


def test_skops_joblib_and_pickle(tmp_path):
    forest = RandomForestClassifier(5, random_state=0).fit(X, FRAME["y"])
    expected = forest.predict_proba(X)[:, 1]
    skops.io.dump(forest, tmp_path / "m.skops")
    joblib.dump(forest, tmp_path / "m.joblib")
    joblib.dump(forest, tmp_path / "m.pkl")
    for name in ("m.skops", "m.joblib", "m.pkl"):
        model = load(spec(kind="sklearn", weights=name, trust=True), DATA, tmp_path)
        np.testing.assert_array_equal(model.predict(DATA.inputs), expected)
        assert model.card.digest == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
        assert model.card.size_bytes == (tmp_path / name).stat().st_size
    for name in ("m.joblib", "m.pkl"):
        with pytest.raises(ModelError, match=r"is a pickle, which can run any code.*model\.trust = true"):
            load(spec(kind="sklearn", weights=name), DATA, tmp_path)


class Own(ClassifierMixin, BaseEstimator):
    def fit(self, x, y):
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, x):
        return np.full((len(x), 2), 0.5)


def test_skops_loads_trusted_types_only(tmp_path):
    skops.io.dump(LogisticRegression().fit(X, FRAME["y"]), tmp_path / "plain.skops")
    assert load(spec(kind="sklearn", weights="plain.skops"), DATA, tmp_path).family == "LogisticRegression"
    skops.io.dump(Own().fit(X, FRAME["y"]), tmp_path / "own.skops")
    with pytest.raises(ModelError, match=r"types that are not trusted: '.*Own'.*trust = true"):
        load(spec(kind="sklearn", weights="own.skops"), DATA, tmp_path)
    assert load(spec(kind="sklearn", weights="own.skops", trust=True), DATA, tmp_path).predict(DATA.inputs)[0] == 0.5


def test_files_that_are_no_estimator(tmp_path):
    for name in ("m.skops", "m.joblib", "m.onnx"):
        (tmp_path / name).write_bytes(b"nonsense")
    for name, message in (
        ("m.skops", "cannot be loaded"),
        ("m.joblib", "cannot be loaded"),
        ("m.onnx", r"must end in one of \.skops"),
    ):
        with pytest.raises(ModelError, match=message):
            load(spec(kind="sklearn", weights=name, trust=True), DATA, tmp_path)


def test_without_skops_the_message_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "m.skops").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "skops", None)
    monkeypatch.setitem(sys.modules, "skops.io", None)
    with pytest.raises(ModelError, match=r"needs skops: pip install 'neural-audit\[skops\]'"):
        load(spec(kind="sklearn", weights="m.skops"), DATA, tmp_path)


# -------------------------------------------------------------------------------------------------------- objects
def test_what_has_no_probabilities_says_what_it_has():
    for estimator, has in (
        (LinearSVC(), "'predict', 'decision_function'"),
        (RidgeClassifier(), "'predict', 'decision_function'"),
    ):
        with pytest.raises(ModelError, match=f"has no predict_proba .it has {has}.*CalibratedClassifierCV"):
            wrap(estimator.fit(X, FRAME["y"]), DATA, spec())


def test_estimators_that_do_not_fit_the_data():
    with pytest.raises(ModelError, match="LogisticRegression is not fitted"):
        wrap(LogisticRegression(), DATA, spec())
    three = np.column_stack([X, X["a"]])
    with pytest.raises(ModelError, match="was fitted on 3 features, the data has 2: 'a', 'b'"):
        wrap(LogisticRegression().fit(three, FRAME["y"]), DATA, spec())
    with pytest.raises(ModelError, match="not among the features: 'bb'; did you mean 'b'"):
        wrap(LogisticRegression().fit(X.rename(columns={"b": "bb"}), FRAME["y"]), DATA, spec())
    with pytest.raises(ModelError, match="does not suit predict_proba"):
        wrap(LogisticRegression().fit(X, FRAME["y"]), DATA, spec(output="logit"))


def test_named_columns_are_given_in_the_order_of_the_fit():
    swapped = LogisticRegression().fit(X[["b", "a"]], FRAME["y"])
    np.testing.assert_array_equal(
        wrap(swapped, DATA, spec()).predict(DATA.inputs), swapped.predict_proba(X[["b", "a"]])[:, 1]
    )


@pytest.mark.filterwarnings("ignore")  # fairlearn's own, about pandas
def test_a_randomised_classifier_of_fairlearn_is_read_through_its_probabilities():
    from fairlearn.reductions import DemographicParity, ExponentiatedGradient

    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=200), "b": rng.normal(size=200)})
    frame["y"] = (frame["a"] + 0.5 * rng.normal(size=200) > 0).astype(int)
    fair = ExponentiatedGradient(LogisticRegression(), DemographicParity(), max_iter=5)
    fair.fit(frame[["a", "b"]], frame["y"], sensitive_features=frame["b"] > 0)
    data = from_frame(frame, spec())
    model = wrap(fair, data, spec())
    np.testing.assert_array_equal(model.predict(data.inputs), fair._pmf_predict(frame[["a", "b"]])[:, 1])
    assert "randomised" in model.card.notes[0]


def test_a_model_passes_and_other_things_do_not():
    model = wrap(lambda x: x[:, 0] * 0 + 0.5, DATA, spec())
    assert wrap(model, DATA, spec()) is model
    for thing, message in (
        (3, "got 3"),
        ("model", "got 'model'"),
        (LogisticRegression, "a class: give an instance"),
        (nn.Linear, "a class"),
    ):
        with pytest.raises(ModelError, match=message):
            wrap(thing, DATA, spec())


def test_the_listing_of_adapters_is_complete():
    from audit.registry import entries

    assert {"torch", "sklearn", "callable", "oracle"} <= set(entries("adapters"))
    assert all(entry.doc and entry.title for entry in entries("adapters").values())


def test_missing_values_reach_the_model_as_nan():
    frame = FRAME.assign(a=[0.0, np.nan, 2.0, 3.0])
    data = from_frame(frame, spec(kind="sklearn"))
    model = wrap(lambda x: np.isnan(x[:, 0]).astype(float), data, spec())
    assert model.predict(data.inputs).tolist() == [0, 1, 0, 0]
    assert tabular(data).frame()["a"].isna().tolist() == [False, True, False, False]
