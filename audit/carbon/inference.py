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

    def tensor(self, inputs: Any) -> Tensor:
        """The tensor (n, ...) that the module reads."""
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
    addition each count as one. Operations without a formula (activations, norms, look-ups) are listed with their calls
    and are not part of the sum. Parameters are counted and weighed as they are stored, buffers included in the bytes.

    The numbers are no energy: the same operations cost ten times more or less on other hardware, and fetching data,
    pre-processing and idle servers are not in them.
    """
    if subject.model is None or subject.data.inputs is None or not len(subject.data.inputs):
        raise NotApplicable("operations are counted on a model and one row of its inputs")
    model: OpenModel = subject.model  # type: ignore[assignment]
    if isinstance(subject.data.inputs, Graphs):
        raise NotApplicable("a node's prediction has no operations of its own: they depend on its surroundings")
    found = flops.count(model.module, model.tensor(subject.data.inputs.take(np.zeros(1, dtype=np.int64))))
    yield _per_prediction(found)
    parameters = list(model.module.parameters())
    stored = [*parameters, *model.module.buffers()]
    yield Measure(name="parameters", value=float(sum(p.numel() for p in parameters)), better="lower")
    size = sum(tensor.numel() * tensor.element_size() for tensor in stored)
    yield Measure(name="model_bytes", value=float(size), unit="bytes", better="lower", note="parameters and buffers")
    yield Table(
        name="operations",
        title="Operations counted in one prediction",
        columns=("operation", "FLOP"),
        rows=tuple(found.by_operation.items()),
        note=found.method,
    )
    yield Table(
        name="operations_not_counted",
        title="Operations not counted in one prediction",
        columns=("operation", "calls"),
        rows=tuple(found.uncounted.items()),
        note="no formula: not part of the sum" if found.uncounted else "every operation was counted",
    )


def _per_prediction(found: flops.Flops) -> Measure:
    listed = ", ".join(found.uncounted) or "none"
    note = f"{found.method}; operations without a formula: {listed}"
    value = float(found.total) if found.total else None
    if value is None:
        note = f"no operation with a formula was seen, and 0 would be untrue; {note}"
    return Measure(name="flops_per_prediction", value=value, unit="FLOP", better="lower", note=note, grade="D")
