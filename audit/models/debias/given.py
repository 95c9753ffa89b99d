"""What is given to be debiased: rows, labels and groups as tensors, and numbers within their bounds."""

from __future__ import annotations

import copy
import math
import numbers
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor, nn

from audit.core import DataError, ModelError, UsageError, suggest
from audit.data.tables import listed
from audit.data.tabular import Tabular
from audit.models.debias.selection import Criterion, Rows
from audit.models.seeds import seeded


def number(name: str, value: Any, what: str, *, least: float = 0.0, below: float = math.inf, open: bool = True) -> None:
    """Raises UsageError, saying `what` is allowed, unless least < value < below (least <= value where not open)."""
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not real or not (least < value < below or (not open and value == least)):
        raise UsageError(f"{name}: {what}, got {value!r}")


def one_of(name: str, value: Any, allowed: tuple[str, ...]) -> None:
    """Raises UsageError unless the value is one of those allowed."""
    if value not in allowed:
        raise UsageError(f"{name}: one of {listed(allowed)}, got {value!r}{suggest(str(value), allowed)}")


def checked(
    module: nn.Module, x: Any, y: Any, a: Any, *, criterion: str, eps: float, held: float, margin: float
) -> Rows:
    """The rows as tensors on the module's device; raises UsageError, DataError, ModelError for what cannot be trained."""
    one_of("criterion", criterion, get_args(Criterion))
    number("eps", eps, "a gap above 0 and below 1", below=1.0)
    number("held", held, "a share of the rows above 0 and below 1", below=1.0)
    number("margin", margin, "a number of standard errors from 0 on", open=False)
    if not isinstance(module, nn.Module):
        raise ModelError(f"module: a torch.nn.Module is needed, got {type(module).__name__}")
    if not any(each.requires_grad for each in module.parameters()):
        raise ModelError("module: needs parameters with gradients to be debiased, it has none")
    rows = rows_for(module, x, y, a)
    if (said := sorted(set(rows.y.tolist()))) != [0, 1]:
        raise DataError(f"y: both 0 and 1 are needed, got {listed([str(value) for value in said[:5]])}")
    with seeded(0):  # a module that draws leaves no trace
        tried(module, rows)
    return rows


def tried(module: nn.Module, rows: Rows) -> None:
    """Raises ModelError where the module, of which a copy is asked, cannot read two of the rows."""
    probe = copy.deepcopy(module).eval()
    try:
        with torch.no_grad():
            probe(rows.x[:2])
    except (RuntimeError, ValueError, IndexError) as error:
        reason = (str(error).splitlines() or ["no reason given"])[0]
        raise ModelError(
            f"module: cannot read x of shape {tuple(rows.x.shape)} and {rows.x.dtype}: {reason}"
        ) from error


def rows_for(module: nn.Module, x: Any, y: Any, a: Any) -> Rows:
    """Rows x in the module's floating type, y as it is and a as codes from 0 on, all on the module's device.

    x (n, ...), y (n,), a (n,): tensors, or anything that numpy reads; of a table its values; groups may be text. Raises
    DataError.
    """
    like = next((each for each in module.parameters() if each.requires_grad), torch.zeros(0))
    rows, labels = tensor("x", x).to(like.device), tensor("y", y).to(like.device)
    groups = _array(a)
    if rows.ndim < 1 or labels.shape != (len(rows),) or groups.shape != (len(rows),):
        raise DataError(
            f"y and a: one each of the rows of x {tuple(rows.shape)}, got {tuple(labels.shape)} and {groups.shape}"
        )
    for name, values in (("x", rows), ("y", labels)):
        if not bool(torch.isfinite(values).all()) and (name != "x" or _reads_no_nan(module)):
            raise DataError(f"{name}: NaN or infinite values cannot be learnt from")
    if bool((labels != labels.round()).any()) if labels.dtype.is_floating_point else False:
        raise DataError("y: labels are whole numbers, got fractions")
    codes = torch.as_tensor(_codes(groups)).to(like.device)
    rows = rows.to(like.dtype) if rows.dtype.is_floating_point else rows
    return Rows(x=rows, y=labels.long(), a=codes)


def tensor(name: str, values: Any) -> Tensor:
    """Numbers as a tensor without a graph; raises DataError for text and other things."""
    if isinstance(values, Tensor):
        return values.detach()
    found = _array(values.values if isinstance(values, Tabular) else values)
    if found.dtype.kind not in "biuf":
        raise DataError(
            f"{name}: an array or tensor of numbers is needed, got {type(values).__name__} of {found.dtype}"
        )
    return torch.as_tensor(found if found.flags.writeable else found.copy())


def _array(values: Any) -> np.ndarray:
    if isinstance(values, Tensor):
        return np.asarray(values.detach().cpu().numpy())
    try:
        return np.asarray(values)
    except ValueError as error:
        raise DataError(f"rows, labels and groups: of one length each, got a ragged {type(values).__name__}") from error


def _codes(groups: np.ndarray) -> np.ndarray:
    """Places (n,) among the sorted groups, two or more."""
    if groups.dtype.kind == "f" and not np.isfinite(groups).all():
        raise DataError("a: NaN or infinite values cannot be learnt from")
    try:
        levels, codes = np.unique(groups, return_inverse=True)
    except TypeError as error:
        raise DataError("a: groups are codes or text, and none may be missing") from error
    if len(levels) < 2:
        raise DataError(f"a: two groups are needed, every row is of group {listed(levels.tolist()) or 'none'}")
    return np.asarray(codes, dtype=np.int64)


def _reads_no_nan(module: nn.Module) -> bool:
    """Whether no encoder inside replaces missing values."""
    from audit.models.encoding import Encoder

    return not any(isinstance(each, Encoder) for each in module.modules())
