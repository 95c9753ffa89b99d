"""A torch module opened for methods that attach to its layers: a copy over the same weights, and the way through it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

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
        found = copy.deepcopy(module, shared).eval()  # type: ignore[arg-type]
    except Exception as error:
        raise ModelError(
            f"{type(module).__name__} cannot be copied, and its own layers are not touched: {error}"
        ) from error
    for each in found.modules():
        if getattr(each, "inplace", False) is True:
            each.inplace = False
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
