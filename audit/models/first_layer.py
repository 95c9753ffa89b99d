"""A torch module cut behind its first layer, where that is linear: sums of what goes in need be multiplied only once."""

from __future__ import annotations

import contextlib
import copy
import itertools
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.nn.modules import module as hooks_of_all

from audit.core import Floats, ModelError, Stopped
from audit.models.base import Reading, scored
from audit.models.modes import evaluating

CHUNK_BYTES = 2**20  # of hidden numbers that go through the rest at once: they stay in a core's cache
FEWEST = 256  # rows of a chunk, however wide the layer: below, the calls cost more than the work
_RELUS = (nn.functional.relu, torch.relu, nn.ReLU, "relu")


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstLayer:
    """The linear layer and the rest of a module: rest(hidden(u, bias) + hidden(v)) is the module's output for u + v.

    `rest` shares the module's weights and may write into what it is given. Satisfies `audit.core.FirstLayer`.
    """

    linear: nn.Linear
    rest: nn.Module
    reading: Reading

    @property
    def width(self) -> int:
        """Numbers behind the layer."""
        return int(self.linear.out_features)

    def hidden(self, values: Floats, *, bias: bool = False) -> Tensor:
        """W values (+ bias) of values (..., d): (..., width), on the module's device."""
        weight = self.linear.weight
        with torch.no_grad():
            moved = torch.from_numpy(np.ascontiguousarray(values)).to(weight.device, weight.dtype)
            return nn.functional.linear(moved, weight, self.linear.bias if bias else None)

    def scores(self, first: Tensor, second: Tensor) -> Floats:
        """Scores (c, r, k) or (c, r, k, classes) of first (c, r, width) + second (c, k, width), each r with each k.

        Raises ModelError as `predict` does.
        """
        shape = len(first), first.shape[1], second.shape[1]
        most = max(FEWEST, CHUNK_BYTES // (self.width * first.element_size()))
        raw: Tensor | None = None
        with torch.no_grad():
            for c, r, k in _tiles(shape, min(most, self.reading.batch_size)):
                total = first[c, r, None] + second[c, None, k]
                part = self._raw(total.flatten(0, 2))
                raw = part.new_empty((*shape, *part.shape[1:])) if raw is None else raw
                raw[c, r, k] = part.reshape(*total.shape[:3], *part.shape[1:])
        if raw is None:
            return np.empty(shape)
        # Read once for all: what a batch costs beside its arithmetic is as much as a tenth of it.
        scores = scored(raw.flatten(0, 2).double().cpu().numpy(), math.prod(shape), self.reading)
        return scores.reshape(*shape, *scores.shape[1:])

    def _raw(self, total: Tensor) -> Tensor:
        try:
            raw = self.rest(total)
        except (Stopped, ModelError):
            raise
        except Exception as error:
            raise ModelError(f"the model raised {type(error).__name__}: {error}") from error
        if not isinstance(raw, Tensor) or raw.ndim == 0 or len(raw) != len(total):
            came = f"shape {tuple(raw.shape)}" if isinstance(raw, Tensor) else type(raw).__name__
            raise ModelError(f"the model returned {came} for {len(total)} rows, expected one tensor (n,) or (n, k)")
        return raw


def _tiles(shape: tuple[int, int, int], most: int) -> itertools.product[tuple[slice, ...]]:
    """Boxes of at most `most` cells that cover a grid, widest along its last axis."""
    sides: list[int] = []
    for size in reversed(shape):
        sides.insert(0, max(1, min(size, most)))
        most //= max(1, sides[0])
    cuts = [
        [slice(at, min(at + side, size)) for at in range(0, size, side)]
        for size, side in zip(shape, sides, strict=True)
    ]
    return itertools.product(*cuts)


def first_layer(module: nn.Module, reading: Reading) -> FirstLayer | None:
    """The module cut behind its first layer; None where that is not nn.Linear, or where cutting would change something.

    Cut is what torch.fx can follow and only where the input goes nowhere else; modules with hooks, with a forward of
    their own, and those whose cut copy gives other numbers than they themselves are left whole.
    """
    leaf = next((each for each in module.modules() if not any(True for _ in each.children())), None)
    if type(leaf) is not nn.Linear or not leaf.weight.is_floating_point() or _meddled(module):
        return None
    with contextlib.suppress(Exception):  # whatever a module does that cannot be traced, it is left whole
        found = _cut(_shadow(module))
        if found is not None and _same(module, *found):
            return FirstLayer(linear=found[0], rest=found[1], reading=reading)
    return None


def _meddled(module: nn.Module) -> bool:
    """Whether anything listens to the module's calls or replaces them."""
    if hooks_of_all._global_forward_hooks or hooks_of_all._global_forward_pre_hooks:
        return True
    return any(each._forward_hooks or each._forward_pre_hooks or "forward" in vars(each) for each in module.modules())


def _shadow(module: nn.Module) -> nn.Module:
    """A copy in evaluation mode over the same weights: tracing runs the module's own code, which may write on itself."""
    shared = {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())}
    return copy.deepcopy(module, shared).eval()


def _cut(module: nn.Module) -> tuple[nn.Linear, nn.Module] | None:
    graph = fx.Tracer().trace(module)
    start, *others = [node for node in graph.nodes if node.op == "placeholder"]
    linear = next(iter(start.users), None)
    if others or len(start.users) != 1 or linear is None or linear.op != "call_module" or linear.args != (start,):
        return None
    layer = module.get_submodule(str(linear.target))
    if type(layer) is not nn.Linear or linear.kwargs:
        return None
    linear.replace_all_uses_with(start)
    graph.erase_node(linear)
    for node in list(graph.nodes):
        _write_over(node, module)
    return layer, fx.GraphModule(module, graph)


def _write_over(node: fx.Node, module: nn.Module) -> None:
    """A ReLU right behind a linear layer, the only one to read it, writes over it: half the memory traffic."""
    kind = type(module.get_submodule(str(node.target))) if node.op == "call_module" else node.target
    if kind not in _RELUS or not node.args or not isinstance(node.args[0], fx.Node):
        return
    source = node.args[0]
    linear = source.op == "call_module" and type(module.get_submodule(str(source.target))) is nn.Linear
    if len(source.users) == 1 and (linear or source.op == "placeholder"):
        node.op, node.target, node.args, node.kwargs = "call_function", torch.relu_, (source,), {}


def _same(module: nn.Module, linear: nn.Linear, rest: nn.Module) -> bool:
    """Whether the two halves give the module's own numbers: what torch.fx does not see would show here."""
    weight = linear.weight
    probe = torch.sin(torch.arange(8.0 * linear.in_features)).reshape(8, -1).to(weight.device, weight.dtype)
    with torch.no_grad(), evaluating(module):
        whole, halves = module(probe), rest(linear(probe))
    return bool(whole.shape == halves.shape and torch.allclose(whole, halves, rtol=1e-4, atol=1e-5))
