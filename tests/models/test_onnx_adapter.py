"""ONNX graphs against torch and against arithmetic by hand: exported modules, labels with probabilities, columns by name."""

import hashlib
import sys
import warnings
from dataclasses import replace

import numpy as np
import onnx
import pandas as pd
import pytest
import torch
from onnx import TensorProto, helper

from audit.core import DataSpec, ModelError, ModelSpec, RunSpec, Spec
from audit.data.readers import from_frame, read, tabular
from audit.models import reference
from audit.models.load import load, wrap

RNG = np.random.default_rng(0)
FRAME = pd.DataFrame(
    {
        "age": RNG.normal(size=50),
        "job": RNG.choice(["clerk", "nurse"], 50),
        "children": RNG.integers(0, 4, 50),
        "y": RNG.integers(0, 2, 50),
    }
)
FLOAT, INT, TEXT = TensorProto.FLOAT, TensorProto.INT64, TensorProto.STRING


def spec(features=("age", "children"), *, device="cpu", positive=1, **model):
    data = DataSpec(label="y", features=features, positive=positive)
    return Spec(model=ModelSpec(kind="onnx", **model), data=data, run=RunSpec(device=device))


def graph(nodes, inputs, outputs, constants=()):
    made = helper.make_graph(nodes, "g", inputs, outputs, initializer=list(constants))
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(made, opset_imports=opsets, ir_version=9, producer_name="by hand")
    onnx.checker.check_model(model)
    return model


def value(name, kind, *shape):
    return helper.make_tensor_value_info(name, kind, list(shape))


def export(module, path, rows):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own
        torch.onnx.export(
            module, (rows,), str(path), dynamo=True, dynamic_shapes=({0: torch.export.Dim("n")},), verbose=False
        )


@pytest.fixture(scope="module")
def world():
    wanted = Spec(model=ModelSpec(kind="oracle"), data=DataSpec(world="credit", rows=300), run=RunSpec(device="cpu"))
    return wanted, read(wanted, None)


@pytest.mark.filterwarnings("ignore")
def test_an_exported_family_answers_as_torch_does(world, tmp_path, capfd):
    wanted, data = world
    trained = reference.trained("mlp", data, wanted, options={"epochs": 2, "hidden": (8,)})
    export(trained.module, tmp_path / "mlp.onnx", trained.tensor(data.inputs)[:5])
    digest = hashlib.sha256((tmp_path / "mlp.onnx").read_bytes()).hexdigest()
    own = Spec(
        model=ModelSpec(kind="onnx", weights="mlp.onnx", sha256=digest, output="logit"),
        data=wanted.data,
        run=wanted.run,
    )
    model = load(own, data, tmp_path)
    np.testing.assert_allclose(model.predict(data.inputs), trained.predict(data.inputs), atol=1e-6)
    assert model.card.digest == digest
    assert model.card.device == "cpu"
    assert "pytorch" in " ".join(model.card.notes)


def sklearn_like(*, maps: bool):
    """Label and probabilities of p = sigmoid(age), as skl2onnx writes them, with ZipMap or without."""
    nodes = [
        helper.make_node("Gather", ["X", "first"], ["age"], axis=1),
        helper.make_node("Sigmoid", ["age"], ["p"]),
        helper.make_node("Sub", ["one", "p"], ["q"]),
        helper.make_node("Concat", ["p", "q"], ["both"], axis=1),
        helper.make_node("ArgMax", ["both"], ["label"], axis=1, keepdims=0),
    ]
    constants = [helper.make_tensor("first", INT, [1], [0]), helper.make_tensor("one", FLOAT, [1], [1.0])]
    label = value("label", INT, "n")
    if not maps:
        nodes.append(helper.make_node("Identity", ["both"], ["probabilities"]))
        return graph(nodes, [value("X", FLOAT, "n", 2)], [label, value("probabilities", FLOAT, "n", 2)], constants)
    nodes.append(
        helper.make_node("ZipMap", ["both"], ["scores"], domain="ai.onnx.ml", classlabels_strings=["good", "bad"])
    )
    kind = helper.make_map_type_proto(TEXT, helper.make_tensor_type_proto(FLOAT, None))
    maps_out = helper.make_value_info("scores", helper.make_sequence_type_proto(kind))
    return graph(nodes, [value("X", FLOAT, "n", 2)], [label, maps_out], constants)


@pytest.mark.parametrize("positive", ["good", "bad"])
def test_maps_from_class_to_probability_are_matched_by_name(positive):
    frame = FRAME.assign(y=np.where(FRAME["y"] == 1, "good", "bad"))
    wanted = spec(positive=positive)
    data = from_frame(frame, wanted)
    p = 1 / (1 + np.exp(-FRAME["age"].to_numpy()))
    found = wrap(sklearn_like(maps=True), data, wanted).predict(data.inputs)
    np.testing.assert_allclose(found, p if positive == "good" else 1 - p, atol=1e-6)


def test_labels_are_passed_over_and_probabilities_are_read():
    data = from_frame(FRAME, spec())
    q = 1 / (1 + np.exp(FRAME["age"].to_numpy()))
    model = wrap(sklearn_like(maps=False), data, spec())
    np.testing.assert_allclose(model.predict(data.inputs), q, atol=1e-6)
    assert "read is the output 'probabilities'" in model.card.notes[-1]


def test_one_input_a_column_by_name_and_type():
    """p = sigmoid(age + children + [job is nurse]), the text compared inside the graph."""
    nodes = [
        helper.make_node("Cast", ["children"], ["c"], to=FLOAT),
        helper.make_node(
            "LabelEncoder",
            ["job"],
            ["n"],
            domain="ai.onnx.ml",
            keys_strings=["nurse"],
            values_floats=[1.0],
            default_float=0.0,
        ),
        helper.make_node("Sum", ["age", "c", "n"], ["z"]),
        helper.make_node("Sigmoid", ["z"], ["p"]),
    ]
    inputs = [value("job", TEXT, "n", 1), value("children", INT, "n", 1), value("age", FLOAT, "n", 1)]
    model = graph(nodes, inputs, [value("p", FLOAT, "n", 1)])
    wanted = spec(features=("age", "job", "children"))
    data = from_frame(FRAME, wanted)
    z = FRAME["age"] + FRAME["children"] + (FRAME["job"] == "nurse")
    found = wrap(model, data, wanted)
    np.testing.assert_allclose(found.predict(data.inputs), 1 / (1 + np.exp(-z)), atol=1e-6)
    np.testing.assert_array_equal(found.predict(tabular(data).values), found.predict(data.inputs))
    assert found.card.features == ("job", "children", "age")
    gaps = from_frame(FRAME.assign(children=FRAME["children"].where(FRAME.index != 3)), wanted)
    with pytest.raises(ModelError, match=r"reads 'children' as tensor\(int64\), which has no missing"):
        wrap(model, gaps, wanted).predict(gaps.inputs)
    with pytest.raises(ModelError, match=r"3 inputs, 'job', 'children', 'age': they must be named like the features"):
        wrap(model, from_frame(FRAME, spec()), spec())


def linear(kind=FLOAT, batch="n", outputs=("logit",)):
    """z = age + 2 children."""
    weights = helper.make_tensor("w", kind, [2, 1], [1, 2])
    nodes = [helper.make_node("MatMul", ["X", "w"], [name]) for name in outputs]
    return graph(nodes, [value("X", kind, batch, 2)], [value(name, kind, batch, 1) for name in outputs], [weights])


@pytest.mark.parametrize("kind", [FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16])
@pytest.mark.parametrize("batch", ["n", 7])
def test_logits_by_types_and_by_a_batch_of_fixed_size(kind, batch):
    wanted = spec(output="logit")
    data = from_frame(FRAME, wanted)
    z = FRAME["age"] + 2 * FRAME["children"]
    model = wrap(linear(kind, batch), data, wanted)
    tolerance = {FLOAT: 1e-6, TensorProto.DOUBLE: 1e-14, TensorProto.FLOAT16: 2e-3}[kind]
    np.testing.assert_allclose(model.predict(data.inputs), 1 / (1 + np.exp(-z)), atol=tolerance)
    assert model.predict(data.inputs.take(np.arange(3))).shape == (3,)


def test_logits_taken_for_probabilities_are_caught():
    data = from_frame(FRAME, spec())
    with pytest.raises(ModelError, match=r'not probabilities.*set model\.output = "logit"'):
        wrap(linear(), data, spec()).predict(data.inputs)


def test_graphs_that_do_not_fit_are_named(tmp_path):
    one = from_frame(FRAME, spec(features=("age",)))
    with pytest.raises(ModelError, match="the ONNX graph was fitted on 2 features, the data has 1: 'age'"):
        wrap(linear(), one, spec())
    data = from_frame(FRAME, spec())
    with pytest.raises(ModelError, match=r"one output of floats .* it has 'a: tensor.float.', 'b: tensor.float.'"):
        wrap(linear(outputs=("a", "b")), data, spec())
    assert wrap(linear(outputs=("a", "probability")), data, spec()).card.notes[-1].endswith("'probability'.")
    (tmp_path / "model.onnx").write_bytes(b"nothing")
    (tmp_path / "model.pb").write_bytes(b"nothing")
    for name, message in (
        ("model.onnx", "graph cannot be loaded"),
        ("model.pb", r"must end in \.onnx"),
        ("m.onnx", "was not found"),
    ):
        with pytest.raises(ModelError, match=message):
            load(spec(weights=name), data, tmp_path)
    with pytest.raises(ModelError, match="has no CUDA provider"):
        wrap(linear(), data, spec(device="cuda"))


def test_a_session_and_a_factory_pass(tmp_path):
    import onnxruntime

    wanted = spec(output="logit")
    data = from_frame(FRAME, wanted)
    session = onnxruntime.InferenceSession(linear().SerializeToString(), providers=["CPUExecutionProvider"])
    expected = wrap(linear(), data, wanted).predict(data.inputs)
    np.testing.assert_array_equal(wrap(session, data, wanted).predict(data.inputs), expected)
    onnx.save(linear(), tmp_path / "model.onnx")
    (tmp_path / "made.py").write_text(
        "import pathlib\ndef build(): return (pathlib.Path(__file__).parent / 'model.onnx').read_bytes()\n"
    )
    made = load(spec(factory="made:build", output="logit"), data, tmp_path)
    np.testing.assert_array_equal(made.predict(data.inputs), expected)


def test_an_absent_library_names_the_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ModelError, match=r"pip install 'neural-audit\[onnx\]'"):
        load(spec(weights="m.onnx"), from_frame(FRAME, spec()), tmp_path)


def test_images_go_in_as_they_are():
    nodes = [helper.make_node("ReduceMean", ["X"], ["m"], axes=[1, 2, 3], keepdims=0)]
    model = graph(nodes, [value("X", FLOAT, "n", 1, 2, 2)], [value("m", FLOAT, "n")])
    data = from_frame(FRAME, spec())
    pixels = RNG.uniform(size=(50, 1, 2, 2))
    images = replace(data, inputs=pixels, names=())
    np.testing.assert_allclose(wrap(model, images, spec()).predict(pixels), pixels.mean(axis=(1, 2, 3)), atol=1e-6)
