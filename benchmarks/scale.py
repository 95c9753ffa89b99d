"""Every family grown until it fills the device: rows a second, operations a second, memory, energy.

python -m benchmarks scale --device cuda, or python -m benchmarks.scale --device cuda [FAMILY...]

A family is grown by its options of size (`SIZES`, or the compound coefficient `phi`), doubled again and again; at each
size the batch is doubled as long as that answers more rows a second. It ends where the memory is full, the module has as
many parameters as the budget allows, or the time for the family is over. Weights are those after no epoch where a family
allows that, and cost what trained ones do. Rows are a few of its world, over and over.
"""

from __future__ import annotations

import argparse
import gc
import math
import resource
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from audit.carbon import flops, meter
from audit.core import AuditError, RunSpec, Spec, stream
from audit.data.graphs import Graphs
from audit.data.worlds.base import planted
from audit.models.adapters.torch import TorchModel
from audit.models.reference import find, trained
from audit.registry import entries
from audit.workflows.calibrate import wanted

ROWS = 256  # drawn of the world; batches repeat them


# Options of size, whole numbers or lists of them, which are multiplied; every other option stays as it is by default.
SIZES = frozenset(
    {
        *("hidden", "width", "widths", "inner", "embedding", "units", "channels", "filters", "growth", "size"),
        *("cells", "centres", "clauses", "experts", "trees"),
    }
)
UNTRAINED = ("epochs", "pretraining")  # options that say how long is trained


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How far to go: seconds of one pass and of a family, doublings of the size, most parameters, largest batch."""

    one_pass: float
    family: float
    doublings: int
    parameters: int
    batch: int


FULL = Budget(one_pass=0.5, family=60.0, doublings=12, parameters=2**30, batch=2**20)
QUICK = Budget(one_pass=0.02, family=10.0, doublings=1, parameters=2**22, batch=512)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one size reached at its best batch; joules are None where no counter can be read."""

    family: str
    factor: int
    parameters: int
    batch: int
    rows_per_second: float
    flops_per_row: float
    megabytes: float
    joules_per_1000: float | None

    @property
    def flops_per_second(self) -> float:
        """Operations a second, as counted, over the time of the pass."""
        return self.rows_per_second * self.flops_per_row


# ------------------------------------------------------------------------------------------------------- one size
def options_of(id: str, factor: int) -> dict[str, Any]:
    """The options of a family whose sizes are `factor` times its own.

    Of a family with the compound coefficient phi only that: each unit of it doubles the operations (Tan and Le, 2019).
    """
    params = find(id).params
    if "phi" in params:
        return {"phi": params["phi"] + math.log2(factor)}
    return {name: _times(value, factor) for name, value in params.items() if name in SIZES and _whole(value)}


def _times(value: Any, factor: int) -> Any:
    return [_times(each, factor) for each in value] if isinstance(value, Sequence) else value * factor


def _whole(value: Any) -> bool:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return bool(value) and all(map(_whole, value))
    return isinstance(value, int) and not isinstance(value, bool)


def grows(id: str) -> bool:
    """Whether a family has an option of size."""
    return bool(options_of(id, 2))


def built(id: str, factor: int, device: str) -> tuple[TorchModel, Any]:
    """The family at a size with its first weights, and rows of its world; raises AuditError where it refuses the size."""
    facts = find(id).facts
    spec = wanted(Spec(run=RunSpec(device=device, threads=1)), facts["world"], facts["knobs"], id)
    data = planted(spec.data).draw(ROWS, stream(0, "scale"))
    options, params = options_of(id, factor), find(id).params
    refused: AuditError | None = None
    for epochs in (0, 1, None):  # some insist on an epoch, or on theirs
        shorter = {} if epochs is None else {name: epochs for name in UNTRAINED if name in params}
        try:
            return trained(id, data, spec, options=options | shorter), data.inputs
        except AuditError as error:
            refused = error
    assert refused is not None
    raise refused


def tensors(model: TorchModel, inputs: Any, times: int = 1) -> list[Tensor]:
    """What the module reads of the rows, repeated; of a graph, so many copies beside one another."""
    if not isinstance(inputs, Graphs):
        x = model.tensor(inputs)
        return [x.repeat(times, *[1] * (x.ndim - 1))]
    features = model.tensor(inputs.features)
    edges = torch.as_tensor(inputs.edges.T.copy(), device=model.device)
    apart = torch.arange(times, device=model.device).repeat_interleave(edges.shape[1]) * len(features)
    return [features.repeat(times, 1), edges.repeat(1, times) + apart]


def rows_in(inputs: Any) -> int:
    """How many rows one repetition answers: nodes of a graph, else rows."""
    return len(inputs.features) if isinstance(inputs, Graphs) else len(inputs)


# ------------------------------------------------------------------------------------------------------ measuring
def seconds(module: nn.Module, asked: Sequence[Tensor], device: str, passes: int = 3) -> float:
    """The median time of a pass; the first, which loads and tunes kernels, is not counted."""
    found = []
    with torch.no_grad():
        for place in range(passes + 1):
            _wait(device)
            start = time.perf_counter()
            module(*asked)
            _wait(device)
            if place:
                found.append(time.perf_counter() - start)
    return statistics.median(found)


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def megabytes(device: str) -> float:
    """The most memory held: of the device since the last size began, of the CPU by this process so far."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def joules(module: nn.Module, asked: Sequence[Tensor], device: str, least: float) -> tuple[float | None, int]:
    """Energy of the device, or of the processors, over at least `least` seconds of passes, and how many passes."""
    before, start, passes = meter.start(), time.perf_counter(), 0
    with torch.no_grad():
        while not passes or time.perf_counter() - start < least:
            module(*asked)
            _wait(device)
            passes += 1
    used = meter.read(before)
    return (used.gpu_joules if device == "cuda" else used.cpu_joules), passes


def measured(id: str, factor: int, device: str, budget: Budget, until: float) -> Measured:
    """One size at the batch that answers most rows a second; raises AuditError, OutOfMemoryError."""
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    model, inputs = built(id, factor, device)
    module, each = model.module.eval(), rows_in(inputs)
    per_row = flops.count(module, *tensors(model, inputs)).total / each
    best, times, asked = (0.0, 0), 1, tensors(model, inputs)
    while True:
        try:
            asked = tensors(model, inputs, times)
            took = seconds(module, asked, device)
        except (RuntimeError, MemoryError) as error:
            if not best[1] or not _full(error):
                raise
            break
        best = max(best, (times * each / took, times))
        late = took > budget.one_pass or time.monotonic() > until
        if late or best[1] < times or 2 * times * each > budget.batch:
            break
        times *= 2
    rate, times = best
    asked = tensors(model, inputs, times)
    energy, passes = joules(module, asked, device, 4 * budget.one_pass)
    return Measured(
        family=id,
        factor=factor,
        parameters=sum(one.numel() for one in module.parameters()),
        batch=times * each,
        rows_per_second=rate,
        flops_per_row=per_row,
        megabytes=megabytes(device),
        joules_per_1000=None if energy is None else 1000 * energy / (passes * times * each),
    )


def _full(error: BaseException) -> bool:
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in str(error)


def sizes(id: str, device: str, budget: Budget) -> Iterator[Measured | str]:
    """A family from its own size on, twice as large each time; at last why it ended."""
    until = time.monotonic() + budget.family
    for doubling in range(budget.doublings + 1 if grows(id) else 1):
        try:
            found = measured(id, 2**doubling, device, budget, until)
        except (AuditError, RuntimeError, MemoryError) as error:
            yield "the memory is full" if _full(error) else f"{type(error).__name__}: {str(error).splitlines()[0]}"
            return
        yield found
        gc.collect()
        if time.monotonic() > until:
            yield "the time is over"
            return
        if 4 * found.parameters > budget.parameters:
            yield "the next would have more parameters than the budget"
            return
    yield "as large as asked" if grows(id) else "it has no option of size"


# -------------------------------------------------------------------------------------------------------- the table
def line(found: Measured) -> str:
    """A row of the table."""
    energy = "not read" if found.joules_per_1000 is None else f"{found.joules_per_1000:.3g}"
    return (
        f"{found.family:<20}{found.factor:>6}{found.parameters:>14,}{found.batch:>10,}{found.rows_per_second:>14,.0f}"
        f"{found.flops_per_row:>12.3g}{found.flops_per_second / 1e9:>12.4g}{found.megabytes:>10,.0f}{energy:>12}"
    )


def main(quick: bool = False, device: str = "auto", names: Sequence[str] = ()) -> None:
    """Print a line for every size of every family, and how far the best one came."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    name = torch.cuda.get_device_name() if device == "cuda" else f"the CPU, {torch.get_num_threads()} thread(s)"
    print(f"on {name}; torch {torch.__version__}, float32, TF32 {torch.backends.cuda.matmul.allow_tf32}")
    head = ("size", 6), ("parameters", 14), ("batch", 10), ("rows/s", 14), ("FLOP/row", 12), ("GFLOP/s", 12)
    rest = ("MB", 10), ("J/1000 rows", 12)
    print(f"{'family':<20}" + "".join(f"{word:>{wide}}" for word, wide in (*head, *rest)))
    for id in names or list(entries("families")):
        found: list[Measured] = []
        for each in sizes(id, device, QUICK if quick else FULL):
            if isinstance(each, str):
                best = max((one.flops_per_second for one in found), default=float(np.nan))
                print(f"{id}: {each}; at best {best / 1e9:.4g} GFLOP/s", flush=True)
            else:
                found.append(each)
                print(line(each), flush=True)


ON_DEVICE = {"scale": main}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="FAMILY", help="by default every family")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--quick", action="store_true", help="two small sizes each")
    options = parser.parse_args(sys.argv[1:])
    main(options.quick, options.device, options.names)
