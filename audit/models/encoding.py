"""Tables to what a network reads: numbers standardised, categories one-hot, inside the module itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from audit.core import DataError, Dataset, Ints
from audit.data.tabular import Tabular
from audit.models.kinds import called

K = TypeVar("K")


class Encoder(nn.Module):
    """A raw matrix (n, d), categories as indices and NaN for missing, to standardised numbers and one-hot blocks (n, width).

    columns: the names of the d columns. levels: how many levels each category has, 0 for a number. left_out: columns that
    nothing behind sees. A missing number becomes the mean, a missing category a row of noughts.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, *, columns: Sequence[str], levels: Sequence[int], left_out: Sequence[str] = ()) -> None:
        super().__init__()
        self.columns, self.levels, self.left_out = tuple(columns), tuple(levels), tuple(left_out)
        kept = [i for i, name in enumerate(self.columns) if name not in self.left_out]
        self.numbers = [i for i in kept if not self.levels[i]]
        self.categories = [i for i in kept if self.levels[i]]
        self.register_buffer("mean", torch.zeros(len(self.numbers)))
        self.register_buffer("scale", torch.ones(len(self.numbers)))

    @property
    def config(self) -> Mapping[str, Any]:
        """The arguments it was built with."""
        return {"columns": list(self.columns), "levels": list(self.levels), "left_out": list(self.left_out)}

    @property
    def width(self) -> int:
        """Columns of what comes out."""
        return len(self.numbers) + sum(self.levels[i] for i in self.categories)

    def forward(self, x: Tensor) -> Tensor:
        """Rows (n, d) to (n, width)."""
        parts = [torch.nan_to_num((x[:, self.numbers] - self.mean) / self.scale)]
        for i in self.categories:
            levels = torch.arange(self.levels[i], device=x.device, dtype=x.dtype)
            parts.append((x[:, i, None] == levels).to(x.dtype))
        return torch.cat(parts, dim=1)


def encoder(data: Dataset, *, left_out: Sequence[str] = ()) -> Encoder:
    """The encoder of a dataset's table, means and deviations from its rows; raises DataError for other inputs."""
    table = table_of(data)
    unknown = [name for name in left_out if name not in table.columns]
    if unknown:
        raise DataError(f"left_out: the table has {', '.join(table.columns)}; got {unknown[0]!r}")
    levels = [len(table.categories.get(name, ())) for name in table.columns]
    made = Encoder(columns=table.columns, levels=levels, left_out=left_out)
    values = table.values[:, made.numbers]
    with np.errstate(invalid="ignore"):
        mean = np.nan_to_num(np.nanmean(values, axis=0)) if len(values) else np.zeros(values.shape[1])
        spread = np.nan_to_num(np.nanstd(values, axis=0)) if len(values) else np.ones(values.shape[1])
    made.mean.copy_(torch.from_numpy(mean))
    made.scale.copy_(torch.from_numpy(np.where(spread > 0, spread, 1.0)))
    return made


def table_of(data: Dataset) -> Tabular:
    """The table of a dataset; raises DataError where its inputs are none."""
    if not isinstance(data.inputs, Tabular):
        raise DataError(f"this family reads tables, the data hold {called(type(data.inputs))}")
    return data.inputs


def rows_of(data: Dataset, device: str = "cpu") -> Tensor:
    """The table of a dataset as a float32 tensor (n, d)."""
    return torch.as_tensor(table_of(data).values, dtype=torch.float32, device=device)


def inputs_of(data: Dataset, kind: type[K], family: str) -> K:
    """The inputs of a dataset, of the kind that a family reads; raises DataError where they are of another."""
    if not isinstance(data.inputs, kind):
        raise DataError(f"{family} reads {called(kind)}, the data hold {called(type(data.inputs))}")
    return data.inputs


def outputs_of(data: Dataset) -> int:
    """How many logits a classifier of the data has: one for two classes, else one each."""
    return 1 if len(data.classes) == 2 else len(data.classes)


def labels_of(data: Dataset, device: str = "cpu") -> Tensor:
    """The class of each row (n,) as whole numbers; raises DataError where there is none or only one class."""
    if data.y is None:
        raise DataError("training needs labels: the data have none")
    if len(np.unique(data.y)) < 2:
        raise DataError(f"training needs two classes; every label is {data.classes[int(data.y[0])]!r}")
    return torch.as_tensor(data.y, dtype=torch.long, device=device)


def group_of(data: Dataset, attribute: str | None = None) -> Ints:
    """The codes (n,) of one protected attribute, by default the first; raises DataError where it is not there or unknown."""
    name = attribute or next(iter(data.groups), None)
    if name is None or name not in data.groups:
        raise DataError(f"attribute: the data have {', '.join(data.groups) or 'none'}; got {attribute!r}")
    codes = data.groups[name]
    if not codes.known().all():
        raise DataError(f"attribute {name!r}: {int((~codes.known()).sum())} rows are of unknown group; leave them out")
    return codes.values.astype(np.int64)
