"""A torch module opened for methods that attach to its layers: a copy over the same weights, and the way through it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from audit.core import ModelError, Output


@dataclass(frozen=True, slots=True, kw_only=True)
class Layers:
    """The way from a leaf through the layers to the log-odds; hooks on `module` are gone with it.

    leaf (n, ...): what gradients are taken of. module: the copy, in evaluation mode. raw: leaves (m n, ...), stacked
    copies of the n rows, to the module's outputs (m n, k). log_odds: those outputs to the log-odds (m n,) of the rows'
    target classes, or to the number that is predicted. output: what the copy's outputs are.
    """

    leaf: Tensor
    module: nn.Module
    raw: Callable[[Tensor], Tensor]
    log_odds: Callable[[Tensor], Tensor]
    output: Output


def opened(module: nn.Module, output: Output) -> tuple[nn.Module, Output]:
    """A copy over the same weights, and what it returns; raises ModelError for a module that cannot be copied.

    Nothing in the copy writes over its input. A sigmoid or softmax at the end of nn.Sequential is left out: methods that
    attach to layers then start from the logits.
    """
    shared = {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())}
    try:
        found = copy.deepcopy(module, shared).eval()
    except Exception as error:
        raise ModelError(
            f"{type(module).__name__} cannot be copied, and its own layers are not touched: {error}"
        ) from error
    for each in found.modules():
        if getattr(each, "inplace", False) is True:
            setattr(each, "inplace", False)  # noqa: B010 (an attribute that only some modules have)
    if output == "probability" and isinstance(found, nn.Sequential) and _squashing(found):
        return found, "logit"
    return found, output


def _squashing(module: nn.Sequential) -> bool:
    """Whether the last step was a sigmoid or a softmax over the classes; if so it has been taken out."""
    if not len(module):
        return False
    last = module[-1]
    if isinstance(last, nn.Sequential):
        return _squashing(last)
    if type(last) is nn.Sigmoid or (type(last) is nn.Softmax and last.dim in (1, -1)):
        module[-1] = nn.Identity()
        return True
    return False


class _Relus(TorchFunctionMode):
    """Counts the calls of ReLU, be it a module's or a function's."""

    _names = frozenset({F.relu, F.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_})

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls += func in self._names
        return func(*args, **(kwargs or {}))


def relus(module: nn.Module, run: Callable[[], Any]) -> tuple[int, int]:
    """How often one run calls ReLU as a module, and how often as a function."""
    seen: list[nn.Module] = []
    handles = [
        each.register_forward_hook(lambda module, arguments, output: seen.append(module))
        for each in module.modules()
        if isinstance(each, nn.ReLU)
    ]
    try:
        with torch.no_grad(), _Relus() as counted:
            run()
    finally:
        for handle in handles:
            handle.remove()
    return len(seen), counted.calls - len(seen)
