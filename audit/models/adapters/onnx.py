"""The ONNX Runtime adapter: graphs that torch, skl2onnx and others export."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.core import Card, Dataset, ModelError, Spec
from audit.data.columns import text_of
from audit.data.tables import listed, sha256
from audit.data.tabular import Tabular
from audit.models.adapters.boosters import absent
from audit.models.base import Reading, Wrapped, array, class_order
from audit.models.columns import check_width, table_of
from audit.models.factory import file_of, made
from audit.models.threads import allowed
from audit.registry import adapter

TYPES = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(bool)": np.bool_,
    "tensor(string)": np.object_,
}
FLOATS = ("tensor(float)", "tensor(double)", "tensor(float16)")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Graph:
    """A session, the names of its inputs and of the output that is read, and how it is fed.

    by_column: one input a column, else one for the whole matrix. batch: the only number of rows that it takes, None for any.
    """

    session: Any
    inputs: Mapping[str, str]
    output: str
    by_column: bool
    batch: int | None


@adapter("onnx", title="ONNX graph by ONNX Runtime")
def wrap(model: Any, dataset: Dataset, spec: Spec) -> Wrapped:
    """An ONNX Runtime session, an onnx ModelProto, or a graph's bytes.

    A graph with one input gets the features in their order as a matrix (n, d) of its own type, categories as indices into
    their sorted levels, or as text where it reads text; a graph whose inputs are named like features gets each by itself
    (n, 1). Numbers are rounded where it reads whole ones. Read are its probabilities, as a matrix or as maps from class to
    probability, or whatever single output of floats it has. Raises ModelError.
    """
    runtime = _library()
    if isinstance(model, runtime.InferenceSession):
        return _wrapped(model, "", 0, dataset, spec, ("The session's own number of threads is kept.",))
    graph = model.SerializeToString() if hasattr(model, "SerializeToString") else bytes(model)
    session = _session(runtime, graph, spec)
    return _wrapped(session, hashlib.sha256(graph).hexdigest(), len(graph), dataset, spec)


def load(spec: Spec, dataset: Dataset, base: Path) -> Wrapped:
    """The graph in the file model.weights (.onnx), or what model.factory returns; raises ModelError."""
    runtime = _library()
    if spec.model.weights is None:
        return wrap(made(spec, base), dataset, spec)
    path = file_of(spec.model.weights, spec.model.sha256, base)
    if path.suffix != ".onnx":
        raise ModelError(f"model.weights: {path.name!r} must end in .onnx")
    notes: tuple[str, ...] = ()
    if path.with_name(f"{path.name}.data").exists():
        notes = (f"Weights lie beside the file as well, in {path.name}.data, which the SHA-256 does not cover.",)
    return _wrapped(_session(runtime, str(path), spec), sha256(path), path.stat().st_size, dataset, spec, notes)


def _library() -> Any:
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise absent("onnx", error) from error
    return onnxruntime


def _session(runtime: Any, graph: str | bytes, spec: Spec) -> Any:
    """A session on the CPU, or on CUDA where run.device asks for it, on no more threads than are given."""
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = allowed(spec.run.threads), 1
    options.log_severity_level = 4  # what is fatal is raised
    # Threads that wait for work would burn the time of others.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    wanted = ["CPUExecutionProvider"]
    if spec.run.device == "cuda":
        if "CUDAExecutionProvider" not in runtime.get_available_providers():
            raise ModelError('run.device = "cuda": this ONNX Runtime has no CUDA provider; onnxruntime-gpu has one')
        wanted.insert(0, "CUDAExecutionProvider")
    try:
        session = runtime.InferenceSession(graph, options, providers=wanted)
    except Exception as error:
        raise ModelError(f"the ONNX graph cannot be loaded: {str(error).splitlines()[0]}") from error
    if session.get_providers()[0] != wanted[0]:
        raise ModelError('run.device = "cuda": the CUDA provider of ONNX Runtime could not be started on this machine')
    return session


def _wrapped(
    session: Any, digest: str, size: int, dataset: Dataset, spec: Spec, notes: tuple[str, ...] = ()
) -> Wrapped:
    graph = _graph(session, dataset, spec)
    meta = session.get_modelmeta()
    mapped = next(each.type for each in session.get_outputs() if each.name == graph.output).startswith("seq")
    found = _named(graph, dataset) if mapped and len(dataset) else ()
    if (
        not graph.by_column
        and getattr(dataset.inputs, "categories", None)
        and "tensor(string)" not in graph.inputs.values()
    ):
        notes = (*notes, "Categories reach the graph as indices into their levels sorted as text.")
    card = Card(
        family="ONNX graph",
        kind="onnx",
        name=spec.model.weights or spec.model.factory or meta.graph_name,
        classes=dataset.classes,
        output=spec.model.output,
        features=tuple(graph.inputs) if graph.by_column else dataset.names,
        size_bytes=size or None,
        digest=digest,
        device="cuda" if session.get_providers()[0].startswith("CUDA") else "cpu",
        notes=(
            *notes,
            f"Exported by {meta.producer_name or 'an unnamed program'}; read is the output {graph.output!r}.",
        ),
    )
    order = (0, 1) if spec.model.output == "value" else class_order(found, dataset, spec)
    reading = Reading(output=spec.model.output, order=order, batch_size=spec.model.batch_size)
    return Wrapped(card=card, answer=functools.partial(_answer, graph, dataset), reading=reading)


# ---------------------------------------------------------------------------------------------- what goes in
def _graph(session: Any, dataset: Dataset, spec: Spec) -> _Graph:
    inputs = session.get_inputs()
    strange = [each for each in inputs if each.type not in TYPES]
    if strange:
        raise ModelError(f"the ONNX graph reads {strange[0].name!r} as {strange[0].type}; allowed: {', '.join(TYPES)}")
    by_column = all(
        each.name in dataset.names and len(each.shape) <= 2 and each.shape[1:] in ([], [1]) for each in inputs
    )
    if not by_column and len(inputs) > 1:
        raise ModelError(
            f"the ONNX graph has {len(inputs)} inputs, {listed([each.name for each in inputs])}: they must be named like the "
            f"features, one (n, 1) each, or be a single matrix; features: {listed(dataset.names)}"
        )
    shape = inputs[0].shape
    width = shape[1] if not by_column and len(shape) == 2 and isinstance(shape[1], int) else None
    if isinstance(dataset.inputs, Tabular):
        check_width("the ONNX graph", width, dataset)
    sizes = {each.shape[0] for each in inputs if each.shape and isinstance(each.shape[0], int)}
    return _Graph(
        session=session,
        inputs={each.name: each.type for each in inputs},
        output=_output(session.get_outputs(), spec),
        by_column=by_column,
        batch=sizes.pop() if sizes else None,
    )


def _answer(graph: _Graph, dataset: Dataset, inputs: Any) -> NDArray[Any]:
    feed = _feed(graph, dataset, inputs)
    if graph.batch is None:
        return _matrix(graph.session.run([graph.output], feed)[0])
    parts = []
    for start in range(0, len(inputs), graph.batch):
        # The last batch is filled up with its last row, whose further answers are dropped.
        rows = np.minimum(np.arange(start, start + graph.batch), len(inputs) - 1)
        raw = _matrix(graph.session.run([graph.output], {name: each[rows] for name, each in feed.items()})[0])
        parts.append(raw[: len(inputs) - start])
    return np.concatenate(parts)


def _feed(graph: _Graph, dataset: Dataset, inputs: Any) -> dict[str, NDArray[Any]]:
    if graph.by_column:
        table = table_of(inputs, dataset)
        rank = {each.name: len(each.shape) for each in graph.session.get_inputs()}
        columns = {name: _cast(_column(table, name, kind), kind, name) for name, kind in graph.inputs.items()}
        return {name: column[:, None] if rank[name] == 2 else column for name, column in columns.items()}
    ((name, kind),) = graph.inputs.items()
    if kind == "tensor(string)":
        table = table_of(inputs, dataset)
        return {name: np.column_stack([_cast(_column(table, each, kind), kind, each) for each in table.columns])}
    return {name: _cast(array(inputs), kind, name)}


def _column(table: Tabular, name: str, kind: str) -> NDArray[Any]:
    if kind != "tensor(string)":
        return table.values[:, table.columns.index(name)]
    return np.asarray(Tabular.frame(_only(table, name))[name].to_numpy(), dtype=object)


def _only(table: Tabular, name: str) -> Tabular:
    return replace(table, values=table.values[:, [table.columns.index(name)]], columns=(name,))


def _cast(values: NDArray[Any], kind: str, name: str) -> NDArray[Any]:
    """Values in the type that the graph reads; raises ModelError where whole numbers are wanted and some are missing."""
    wanted = TYPES[kind]
    if wanted is np.object_:
        return np.array(["" if each is None or each != each else text_of(each) for each in values], dtype=object)
    if np.issubdtype(wanted, np.floating):
        return np.ascontiguousarray(values, dtype=wanted)
    if not np.isfinite(values).all():
        raise ModelError(
            f"the ONNX graph reads {name!r} as {kind}, which has no missing or infinite values; the data have some"
        )
    return np.ascontiguousarray(np.rint(values)).astype(wanted)


# --------------------------------------------------------------------------------------------- what comes out
def _output(outputs: Sequence[Any], spec: Spec) -> str:
    """The output with the scores: maps of probabilities, else the floats, those called like what is asked for first."""
    mapped = [each.name for each in outputs if each.type.startswith("seq(map(")]
    floats = [each.name for each in outputs if each.type in FLOATS]
    found = (mapped if spec.model.output == "probability" else []) or floats
    if len(found) > 1:
        words = {"probability": ("prob",), "logit": ("logit", "score"), "value": ("variable", "value")}[
            spec.model.output
        ]
        found = [name for name in found if any(word in name.lower() for word in words)]
    if len(found) != 1:
        all_outputs = [f"{each.name}: {each.type}" for each in outputs]
        raise ModelError(
            f"the ONNX graph must have one output of floats or of maps from class to probability, or one named for "
            f"{spec.model.output!r}; it has {listed(all_outputs)}"
        )
    return str(found[0])


def _named(graph: _Graph, dataset: Dataset) -> tuple[str, ...]:
    """The classes that the maps of a graph name, learnt from one row."""
    rows = dataset.inputs.take(np.arange(1))  # type: ignore[union-attr]
    feed = {name: np.repeat(each, graph.batch or 1, axis=0) for name, each in _feed(graph, dataset, rows).items()}
    try:
        first = graph.session.run([graph.output], feed)[0][0]
    except Exception as error:
        raise ModelError(f"the ONNX graph raised {type(error).__name__}: {str(error).splitlines()[0]}") from error
    return tuple(text_of(name) for name in first)


def _matrix(raw: Any) -> NDArray[Any]:
    if isinstance(raw, list):  # of maps, all with the same classes
        return np.array([list(each.values()) for each in raw], dtype=np.float64)
    return np.asarray(raw)
