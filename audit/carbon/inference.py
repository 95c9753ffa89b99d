"""What one prediction costs: operations, parameters, bytes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from audit.carbon import flops
from audit.core import Context, Evidence, Measure, NotApplicable, Subject, Table
from audit.data.graphs import Graphs
from audit.registry import check

if TYPE_CHECKING:
    from torch import Tensor, nn


class OpenModel(Protocol):
    """What a model whose parameters are open has beyond the protocol of models."""

    @property
    def module(self) -> nn.Module:
        """The torch module itself."""
        ...

    def arguments(self, inputs: Any) -> tuple[Tensor, ...]:
        """What the module's forward reads of inputs."""
        ...


@check(
    "carbon.inference",
    title="What one prediction costs",
    needs={"model", "rows", "parameters", "gradients"},
    sources=("patterson2021",),
)
def inference(subject: Subject, context: Context) -> Iterator[Evidence]:
    """How much arithmetic does one prediction take, and how large is the model?

    Floating-point operations of the forward pass of one row, counted operation by operation: a multiplication and an
    addition each count as one. Of a graph, all nodes are answered in one pass: its operations are shared out evenly over
    the nodes that are asked about. Counted are matrix products, convolutions, attention, distances, batch norms, sums,
    means, poolings and what is added up at the nodes of a graph. Operations without a formula (activations, softmax, layer
    norms, look-ups) are listed with their calls and are not part of the sum. A batch norm counts, as it knows mean and
    variance and is a scale and a shift like those of the layer before it. A layer norm and a softmax take roots,
    exponentials and quotients of the row itself, and how many operations those are differs between machines; beside the
    matrix products of their layers they are few. Parameters are counted and weighed as they are stored, buffers included
    in the bytes.

    The numbers are no energy: the same operations cost ten times more or less on other hardware, and fetching data,
    pre-processing and idle servers are not in them.
    """
    if subject.model is None or subject.data.inputs is None or not len(subject.data.inputs):
        raise NotApplicable("operations are counted on a model and one row of its inputs")
    model: OpenModel = subject.model  # type: ignore[assignment]
    inputs: Any = subject.data.inputs
    shared = isinstance(inputs, Graphs)
    asked = inputs if shared else inputs.take(np.zeros(1, dtype=np.int64))
    found = flops.count(model.module, *model.arguments(asked))
    yield _per_prediction(found, len(asked))
    parameters = list(model.module.parameters())
    stored = [*parameters, *model.module.buffers()]
    yield Measure(name="parameters", value=float(sum(p.numel() for p in parameters)), better="lower")
    size = sum(tensor.numel() * tensor.element_size() for tensor in stored)
    yield Measure(name="model_bytes", value=float(size), unit="bytes", better="lower", note="parameters and buffers")
    yield Table(
        name="operations",
        title="Operations counted in one pass over the graph" if shared else "Operations counted in one prediction",
        columns=("operation", "FLOP"),
        rows=tuple(found.by_operation.items()),
        note=found.method,
    )
    yield Table(
        name="operations_not_counted",
        title="Operations not counted in one pass over the graph"
        if shared
        else "Operations not counted in one prediction",
        columns=("operation", "calls"),
        rows=tuple(found.uncounted.items()),
        note="no formula: not part of the sum" if found.uncounted else "every operation was counted",
    )


def _per_prediction(found: flops.Flops, asked: int) -> Measure:
    listed = ", ".join(found.uncounted) or "none"
    shared = f"; one pass over the graph answers {asked} nodes" if asked > 1 else ""
    note = f"{found.method}{shared}; operations without a formula: {listed}"
    value = found.total / asked if found.total else None
    if value is None:
        note = f"no operation with a formula was seen, and 0 would be untrue; {note}"
    return Measure(name="flops_per_prediction", value=value, unit="FLOP", better="lower", note=note, grade="D")
