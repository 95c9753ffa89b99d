"""How many floating-point operations each operation of torch takes that torch itself has no formula for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

Formula = Callable[..., int]


def formulas() -> Mapping[Any, Formula]:
    """Formulas by operation: called with its arguments and `out_val`, what it gave."""
    import torch

    aten = torch.ops.aten
    found: dict[Any, Formula] = {aten.mv: _of_first, aten.dot: _of_first, aten.addmv: _of_second}
    found |= dict.fromkeys((aten._cdist_forward, aten._euclidean_dist), _of_distances)
    found |= dict.fromkeys(
        (aten._native_batch_norm_legit_no_training, aten.native_batch_norm, aten._batch_norm_no_update), _of_batch_norm
    )
    found[aten.cudnn_batch_norm] = found[aten.miopen_batch_norm] = _of_batch_norm
    found |= dict.fromkeys((aten.avg_pool1d, aten.avg_pool2d, aten.avg_pool3d), _of_windows)
    found |= dict.fromkeys(
        (aten.max_pool1d, aten.max_pool2d, aten.max_pool2d_with_indices, aten.max_pool3d_with_indices), _of_windows
    )
    found |= dict.fromkeys((aten._adaptive_avg_pool2d, aten._adaptive_avg_pool3d), _of_numbers)
    found[aten.mean] = found[aten.sum] = _of_numbers
    found |= dict.fromkeys((aten.scatter_add, aten.scatter_add_, aten.scatter_reduce, aten.scatter_reduce_), _of_source)
    found |= dict.fromkeys((aten.index_add, aten.index_add_, aten.index_reduce, aten.index_reduce_), _of_source)
    return found


def _of_first(first: Tensor, *rest: Any, **options: Any) -> int:
    return 2 * first.numel()


def _of_second(first: Tensor, second: Tensor, *rest: Any, **options: Any) -> int:
    return 2 * second.numel()


def _of_distances(first: Tensor, second: Tensor, *rest: Any, **options: Any) -> int:
    """3 d for each pair of rows of first (..., n, d) and second (..., m, d); batches are of the result's shape."""
    return 3 * int(options["out_val"].numel()) * first.shape[-1]


def _of_batch_norm(x: Tensor, weight: Any, bias: Any, *rest: Any, **options: Any) -> int:
    """2 a number, as mean and variance are known in evaluation mode: a scale and a shift."""
    return 2 * int(x.numel())


def _of_windows(x: Tensor, kernel: Any, *rest: Any, **options: Any) -> int:
    """One addition or comparison for each place of the window, at each place of the result."""
    result = options["out_val"][0] if isinstance(options["out_val"], tuple) else options["out_val"]
    sides = x.ndim - 2 if x.ndim == result.ndim and x.ndim > 2 else 1
    windows: int = prod(map(int, kernel)) if len(kernel) > 1 else int(kernel[0]) ** max(1, sides)
    return int(result.numel()) * int(windows)


def _of_numbers(x: Tensor, *rest: Any, **options: Any) -> int:
    """One addition for each number that goes into a sum or a mean."""
    return x.numel()


def _of_source(x: Tensor, dim: int, index: Tensor, source: Tensor, *rest: Any, **options: Any) -> int:
    """One addition or comparison for each number that is put in its place."""
    return source.numel()
