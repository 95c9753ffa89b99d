"""Layers whose gradient is the secant between two inputs, the rescale rule of DeepLIFT (shrikumar2017)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

# Activations of one number that are 0 where it is.
ZERO_AT_ZERO = (
    "ReLU",
    "ReLU6",
    "LeakyReLU",
    "ELU",
    "SELU",
    "CELU",
    "Tanh",
    "Hardtanh",
    "Softsign",
    "GELU",
    "SiLU",
    "Mish",
)
_SINGLE = (*ZERO_AT_ZERO, "Sigmoid", "Softplus", "LogSigmoid", "Hardsigmoid", "Hardswish", "Tanhshrink", "PReLU")
_POOLS = tuple(f"{kind}MaxPool{axes}d" for kind in ("", "Adaptive") for axes in (1, 2, 3))


@contextmanager
def rescaled(module: nn.Module) -> Iterator[None]:
    """Inside, activations and max poolings of the module have secants for slopes; give a copy.

    It must be asked for a batch of two halves, the inputs and then their references. The outputs stay as they are.
    """
    handles = [
        each.register_forward_hook(_secant if type(each).__name__ in _SINGLE else _largest)
        for each in module.modules()
        if type(each).__module__.startswith("torch.") and type(each).__name__ in (*_SINGLE, *_POOLS)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _secant(module: nn.Module, arguments: Any, output: Tensor) -> Tensor | None:
    """The output, its slope being the secant between the two halves of the batch."""
    import torch

    (given,) = arguments
    if len(given) % 2:
        return None
    way, moved = (each.detach()[: len(each) // 2] - each.detach()[len(each) // 2 :] for each in (given, output))
    near = way.abs() < torch.finfo(way.dtype).eps ** 0.75
    secant = torch.cat(2 * [moved / torch.where(near, 1.0, way)])
    return torch.where(torch.cat(2 * [near]), output, secant * given + (output - secant * given).detach())


def _largest(module: Any, arguments: Any, output: Tensor) -> Tensor | None:
    """The output of a max pooling, what it moved by credited to the largest of the half that is larger."""
    import torch

    (given,) = arguments
    sides = given.ndim - 2
    if len(given) % 2 or not isinstance(output, torch.Tensor):
        return None
    half, flat = len(given) // 2, given.flatten(2)
    with torch.no_grad():
        place = _largest_at(module, given, sides)
        moved = (output[:half] - output[half:]).flatten(2)
    new = output[:half].flatten(2).detach()
    for part, where in ((moved.clamp_min(0), place[:half]), (moved.clamp_max(0), place[half:])):
        high, low = flat[:half].gather(2, where), flat[half:].gather(2, where).detach()
        way = (high - low).detach()
        secant = part / torch.where(part == 0, 1.0, way)
        new = new + secant * high - (secant * high).detach()
    return torch.cat([new.reshape(output[:half].shape), output[half:].detach()])


def _largest_at(module: Any, given: Tensor, sides: int) -> Tensor:
    """Where (n, channels, windows) each window's largest number lies."""
    from torch.nn import functional as F

    if type(module).__name__.startswith("Adaptive"):
        pool: Any = getattr(F, f"adaptive_max_pool{sides}d")
        place: Tensor = pool(given, module.output_size, return_indices=True)[1]
    else:
        pool = getattr(F, f"max_pool{sides}d")
        size = module.kernel_size, module.stride, module.padding, module.dilation, module.ceil_mode
        place = pool(given, *size, return_indices=True)[1]
    return place.flatten(2)
