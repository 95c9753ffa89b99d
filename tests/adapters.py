"""A model of every adapter, each over data that it reads, built once."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import onnx
import pandas as pd
import torch
import xgboost
from hugging_folders import bert
from little_graphs import network, random_graph
from onnx import TensorProto, helper
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from audit.core import Dataset, DataSpec, HttpSpec, ModelSpec, Origin, RunSpec, Spec
from audit.data.readers import from_frame, read, tabular
from audit.models import reference
from audit.models.adapters.geometric import wrap as geometric
from audit.models.adapters.predictions import recorded
from audit.models.load import inputs, load, wrap

CPU = RunSpec(device="cpu")
WORLD = Spec(model=ModelSpec(kind="oracle"), data=DataSpec(world="credit", rows=400), run=CPU)
LINES = ("a good film", "the film was not very good and it was a dull films.", "bad", "very very bad", "the end") * 4


@dataclass(frozen=True)
class Case:
    """A wrapped model, its data, and the object of the user that it wraps (None: there is none)."""

    model: Any
    data: Dataset
    own: Any = None


@dataclass(frozen=True)
class Place:
    """What cases are built from."""

    data: Dataset
    folder: Path
    url: str

    def spec(self, kind: str, **model: Any) -> Spec:
        return replace(WORLD, model=ModelSpec(kind=kind, **model))

    @property
    def x(self) -> np.ndarray:
        return tabular(self.data).values


def net(outputs: int, *, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(7, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, outputs))


def _torch(outputs: int) -> Callable[[Place], Case]:
    def build(place: Place) -> Case:
        module = net(outputs)
        return Case(wrap(module, place.data, place.spec("torch", output="logit")), place.data, module)

    return build


def _sklearn(place: Place) -> Case:
    estimator = LogisticRegression().fit(place.x, place.data.y)
    return Case(wrap(estimator, place.data, Spec(run=CPU)), place.data, estimator)


def _pipeline(place: Place) -> Case:
    pipeline = make_pipeline(StandardScaler(), LogisticRegression())
    return Case(wrap(pipeline.fit(tabular(place.data).frame(), place.data.y), place.data, Spec(run=CPU)), place.data)


def _xgboost(place: Place) -> Case:
    estimator = xgboost.XGBClassifier(n_estimators=8, n_jobs=1).fit(place.x, place.data.y)
    estimator.save_model(place.folder / "model.ubj")
    return Case(load(place.spec("xgboost", weights="model.ubj"), place.data, place.folder), place.data, estimator)


def _lightgbm(place: Place) -> Case:
    estimator = lightgbm.LGBMClassifier(n_estimators=8, n_jobs=1, verbose=-1).fit(place.x, place.data.y)
    estimator.booster_.save_model(place.folder / "model.txt")
    return Case(load(place.spec("lightgbm", weights="model.txt"), place.data, place.folder), place.data, estimator)


def logit_graph() -> Any:
    """The logit of a linear model of seven features, without any exporter."""
    number = TensorProto.FLOAT
    weights = helper.make_tensor("w", number, [7, 1], [1.2, -0.9, 0.7, 0, 0.1, 0, 0.4])
    made = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["logit"])],
        "linear",
        [helper.make_tensor_value_info("x", number, ["n", 7])],
        [helper.make_tensor_value_info("logit", number, ["n", 1])],
        initializer=[weights],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def _onnx(place: Place) -> Case:
    onnx.save(logit_graph(), place.folder / "model.onnx")
    spec = place.spec("onnx", weights="model.onnx", output="logit")
    return Case(load(spec, place.data, place.folder), place.data)


def _callable(place: Place) -> Case:
    return Case(wrap(lambda rows: 1 / (1 + np.exp(-rows[:, 0])), place.data, Spec(run=CPU)), place.data)


def _http(place: Place) -> Case:
    return Case(load(place.spec("http", http=HttpSpec(url=place.url)), place.data, place.folder), place.data)


def _predictions(place: Place) -> Case:
    scored = replace(place.data, score=1 / (1 + np.exp(-place.x[:, 0])))
    return Case(recorded(scored), scored)


def _family(place: Place) -> Case:
    model = reference.trained("mlp", place.data, WORLD, options={"epochs": 1, "hidden": (8,)})
    return Case(model, place.data, model.module)


def _transformers(place: Place) -> Case:
    bert(place.folder / "bert", id2label={0: "good", 1: "bad"})
    spec = Spec(
        model=ModelSpec(kind="transformers", path="bert"),
        data=DataSpec(label="y", positive="good", features=("text",)),
        run=CPU,
    )
    frame = pd.DataFrame({"text": LINES, "y": ["good", "bad"] * 10})
    data = inputs(spec, from_frame(frame, spec), place.folder)
    model = load(spec, data, place.folder)
    return Case(model, data, model.module)


def _graph(place: Place) -> Case:
    nodes = random_graph(40, 60)
    data = Dataset(inputs=nodes, groups={}, origin=Origin(name="nodes"), y=np.arange(40) % 2, names=("a", "b", "c"))
    module = network(3)
    return Case(wrap(module, data, place.spec("torch", output="logit")), data, module)


def _geometric(place: Place) -> Case:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, about what torch_geometric calls while it is imported
        from torch_geometric.nn import SAGEConv, Sequential

    nodes = random_graph(40, 60)
    data = Dataset(inputs=nodes, groups={}, origin=Origin(name="nodes"), y=np.arange(40) % 2, names=("a", "b", "c"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = Sequential("x, ties", [(SAGEConv(3, 8), "x, ties -> x"), nn.ReLU(), (SAGEConv(8, 2), "x, ties -> x")])
    return Case(geometric(module, data, place.spec("geometric", output="logit")), data, module)


BUILDERS: dict[str, Callable[[Place], Case]] = {
    "oracle": lambda place: Case(load(WORLD, place.data, None), place.data),
    "torch1": _torch(1),
    "torch2": _torch(2),
    "sklearn": _sklearn,
    "pipeline": _pipeline,
    "xgboost": _xgboost,
    "lightgbm": _lightgbm,
    "onnx": _onnx,
    "callable": _callable,
    "http": _http,
    "predictions": _predictions,
    "family": _family,
    "transformers": _transformers,
    "graph": _graph,
    "geometric": _geometric,
}
TABLES = [name for name in BUILDERS if name not in ("transformers", "graph", "geometric")]


def world() -> Dataset:
    return read(WORLD, None)
