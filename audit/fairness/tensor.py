"""What every table of sums over groups can do: add up, be narrowed to fewer attributes, and show its known groups."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from audit.core import DataError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tensor:
    """Sums over attributes, which add up: shards, chunks and published tables merge, and marginals are free.

    The axis of an attribute is one longer than its levels, the last place holding those whose group is unknown. What the
    further axes are is for the kinds of tensors to say; `sums` names their arrays, `same` what merging needs to be equal.
    """

    sums: ClassVar[tuple[str, ...]] = ()
    same: ClassVar[tuple[str, ...]] = ()
    attributes: tuple[str, ...] = ()
    levels: tuple[tuple[str, ...], ...] = ()

    @property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        """Every combination of known levels, in the order of the rows of `known`."""
        return tuple(itertools.product(*self.levels))

    def known(self, table: NDArray[Any]) -> NDArray[Any]:
        """The known groups of one of the arrays as rows (g, ...), its further axes as they are."""
        depth = len(self.levels)
        inner = table[tuple(slice(len(levels)) for levels in self.levels)]
        return inner.reshape(int(np.prod(inner.shape[:depth], dtype=np.int64)), *table.shape[depth:])

    def total(self) -> Self:
        """Everyone, without attributes, those of unknown groups included."""
        return self.marginal(())

    def marginal(self, attributes: Sequence[str]) -> Self:
        """The sums over some of the attributes, in the order asked for; raises DataError for one that is not there."""
        for name in attributes:
            if name not in self.attributes:
                raise DataError(f"attribute {name!r} is not counted here, allowed are {list(self.attributes)}")
        kept = [self.attributes.index(name) for name in attributes]
        lost = tuple(i for i in range(len(self.attributes)) if i not in kept)
        summed = tuple(range(len(kept), len(kept) + len(lost)))

        def narrow(table: NDArray[Any]) -> NDArray[Any]:
            further = range(len(self.attributes), table.ndim)
            return np.asarray(table.transpose([*kept, *lost, *further]).sum(axis=summed))

        return self._map(narrow, attributes=tuple(attributes), levels=tuple(self.levels[i] for i in kept))

    def __add__(self, other: Self) -> Self:
        """The sums of both: levels are united. Raises DataError where they hold different things."""
        for what in ("attributes", *self.same):
            mine, theirs = getattr(self, what), getattr(other, what)
            if mine != theirs:
                raise DataError(f"counts cannot be merged: {what} are {mine} and {theirs}")
        if [getattr(self, name) is None for name in self.sums] != [getattr(other, name) is None for name in self.sums]:
            raise DataError("counts cannot be merged: one is weighted and the other is not")
        levels = tuple(tuple(dict.fromkeys(a + b)) for a, b in zip(self.levels, other.levels, strict=True))
        mine, theirs = self._over(levels), other._over(levels)
        there = [name for name in self.sums if getattr(self, name) is not None]
        added: dict[str, Any] = {name: getattr(mine, name) + getattr(theirs, name) for name in there}
        return replace(mine, **added)

    def _over(self, levels: tuple[tuple[str, ...], ...]) -> Self:
        """The same sums over more levels."""
        places = []
        for narrow, wide in zip(self.levels, levels, strict=True):
            index = {level: place for place, level in enumerate(wide)}
            places.append([*(index[level] for level in narrow), len(wide)])

        def spread(table: NDArray[Any]) -> NDArray[Any]:
            further = table.shape[len(levels) :]
            wide = np.zeros((*(len(names) + 1 for names in levels), *further), dtype=table.dtype)
            wide[np.ix_(*places, *(range(length) for length in further))] = table
            return wide

        return self._map(spread, levels=levels)

    def _map(self, change: Callable[[NDArray[Any]], NDArray[Any]], **facts: Any) -> Self:
        held = {name: getattr(self, name) for name in self.sums}
        changed: dict[str, Any] = {name: change(table) for name, table in held.items() if table is not None}
        return replace(self, **changed, **facts)
