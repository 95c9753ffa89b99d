"""Floating-point operations of one forward pass, and a list of what was not counted.

Counted are matrix products, convolutions and attention, as one multiplication and one addition each; distances between
rows, as a subtraction, a multiplication and an addition a coordinate; batch norm, as a scale and a shift of each number;
sums, means, poolings and what is scattered to the nodes of a graph, as one addition or comparison of each number that goes
in. Not counted are softmax, layer norms, and what is done to each number by itself: activations, gates, shortcuts, biases.
Batch norm is counted as its mean and variance are known and no more is left of it than a linear map; layer norm and softmax
need roots, exponentials and quotients of the row itself, which take as many operations as a machine needs for them.
The count is taken on a copy without data (torch's "meta" device), where fused kernels that no counter knows fall apart
into what they are made of; a module that cannot go there, as one whose path depends on the data, runs as a copy on its
own device with those kernels switched off: then the operations of the path that these rows take are counted.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from audit.carbon.formulas import formulas
from audit.core import ModelError

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True, slots=True, kw_only=True)
class Flops:
    """total: of the operations that have a formula. by_operation: their shares. uncounted: calls of the others."""

    total: int
    by_operation: Mapping[str, int]
    uncounted: Mapping[str, int]
    method: str


def count(module: nn.Module, *inputs: Tensor) -> Flops:
    """FLOPs of module(*inputs) in eval mode; the module itself is left alone. Raises ModelError where it does not run."""
    import torch

    try:
        return _counted(module, "meta", inputs, "counted on a copy without data")
    except (RuntimeError, NotImplementedError, TypeError, ValueError) as error:
        reason = f"a copy without data failed ({type(error).__name__})"
    device = next((p.device for p in (*module.parameters(), *inputs)), torch.device("cpu"))
    try:
        with _plain_kernels(), torch.random.fork_rng():
            return _counted(module, str(device), inputs, f"counted on a copy on {device}, fused kernels off: {reason}")
    except (RuntimeError, NotImplementedError, TypeError, ValueError) as error:
        raise ModelError(f"the forward pass to be counted raised {type(error).__name__}: {error}") from error


def _counted(module: nn.Module, device: str, inputs: tuple[Tensor, ...], method: str) -> Flops:
    import copy

    import torch

    twin = copy.deepcopy(module).eval().to(device)
    placed = [one.detach().to(device) for one in inputs]
    counted: Counter[str] = Counter()
    uncounted: Counter[str] = Counter()
    with torch.no_grad(), _mode(counted, uncounted):
        twin(*placed)
    return Flops(
        total=sum(counted.values()),
        by_operation=dict(sorted(counted.items())),
        uncounted=dict(sorted(uncounted.items())),
        method=method,
    )


def _mode(counted: Counter[str], uncounted: Counter[str]) -> Any:
    """A dispatch mode that adds every operation to one of the two; torch's own counter neither lists nor nests."""
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils.flop_counter import flop_registry

    own = formulas()

    class Count(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = kwargs or {}
            formula = flop_registry.get(func.overloadpacket, own.get(func.overloadpacket))
            if formula is None:
                with self:
                    parts = func.decompose(*args, **kwargs)
                if parts is not NotImplemented:
                    return parts
            result = func(*args, **kwargs)
            if formula is not None:
                counted[str(func.overloadpacket)] += int(formula(*args, **kwargs, out_val=result))
            elif not _moves_only(func):
                uncounted[str(func.overloadpacket)] += 1
            return result

    return Count()  # type: ignore[no-untyped-call]


_MOVES = frozenset(
    {
        "clone",
        "copy_",
        "contiguous",
        "_to_copy",
        "empty",
        "empty_like",
        "empty_strided",
        "new_empty",
        "new_zeros",
        "zeros",
        "zeros_like",
        "ones",
        "full",
        "cat",
        "stack",
        "detach",
        "unsafe_split",
        "lift_fresh",
        "_unsafe_view",
        "_reshape_alias",
        "arange",
        "constant_pad_nd",
    }
)


def _moves_only(func: Any) -> bool:
    """Whether an operation makes, copies or looks at numbers without computing any."""
    return bool(getattr(func, "is_view", False)) or func.overloadpacket.__name__ in _MOVES


@contextmanager
def _plain_kernels() -> Iterator[None]:
    """Switch off the fused kernels that hide matrix products: recurrent layers, attention, the encoder's fast path."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    fast = torch.backends.mha.get_fastpath_enabled()
    with warnings.catch_warnings(), ExitStack() as stack:
        warnings.filterwarnings(
            "ignore", message="TF32 acceleration", category=UserWarning
        )  # said by the switch itself
        stack.callback(torch.backends.mha.set_fastpath_enabled, fast)
        torch.backends.mha.set_fastpath_enabled(False)
        stack.enter_context(torch.backends.mkldnn.flags(enabled=False))
        stack.enter_context(torch.backends.cudnn.flags(enabled=False))
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        yield
