"""Which inputs stand in for what is absent: the choice changes the answer, so every result names it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from audit.core import Codes, DataError, Floats, Inputs, Ints, UsageError, stream, suggest

Kind = Literal["all", "boundary", "group"]
KINDS = ("all", "boundary", "group")


@dataclass(frozen=True, slots=True, kw_only=True)
class Background:
    """Inputs to fill in from, and the words that say how they were chosen; give it wherever a background is asked for."""

    inputs: Inputs
    words: str

    def __len__(self) -> int:
        return len(self.inputs)

    def take(self, rows: Ints) -> Background:
        """Some of the rows (k,); the words say that they are some."""
        return Background(inputs=self.inputs.take(rows), words=f"{len(rows)} of {self.words}")


def choose(
    inputs: Any,
    *,
    kind: Kind = "all",
    size: int = 64,
    scores: Floats | None = None,
    threshold: float = 0.5,
    groups: Codes | Sequence[Any] | None = None,
    group: Any = None,
    seed: int = 0,
) -> Background:
    """Up to `size` rows of inputs (n) that absent players are filled in from, in their order.

    kind: "all" draws from all rows: what sets this input apart from the others. "boundary" takes the rows whose scores (n,)
    lie nearest to the threshold, of several classes (n, k) those whose two highest scores lie nearest to each other: what
    decided. "group" draws from the rows whose label in groups (n,) is `group`: what sets it apart from its own kind.
    Ties go to the first row; there are no more rows than the inputs or the group have. Raises UsageError, DataError.
    """
    from audit.explain.wrapping import as_inputs

    read = as_inputs(inputs)
    if kind not in KINDS:
        raise UsageError(f"kind: one of {', '.join(KINDS)}, got {kind!r}{suggest(str(kind), KINDS)}")
    if size < 1 or not len(read):
        raise UsageError(f"a background needs a size of at least 1 and rows to take, got size {size}, {len(read)} rows")
    if kind == "boundary":
        rows, words = _nearest(_margins(scores, threshold, len(read)), size, len(read))
    else:
        among, of = _group(groups, group, len(read)) if kind == "group" else (np.arange(len(read)), "rows")
        rows, words = _drawn(among, of, size, seed)
    return Background(inputs=read.take(rows), words=words)


def _drawn(among: Ints, of: str, size: int, seed: int) -> tuple[Ints, str]:
    if size >= len(among):
        return among, f"all {len(among)} {of}"
    rng = stream(seed, f"explain.background/{of}")
    words = f"{size} of {len(among)} {of}, drawn at random"
    return np.sort(rng.choice(among, size=size, replace=False)).astype(np.int64), words


def _nearest(margins: Floats, size: int, count: int) -> tuple[Ints, str]:
    rows = np.sort(np.argsort(margins, kind="stable")[:size]).astype(np.int64)
    return rows, f"{len(rows)} of {count} rows, those nearest to the decision boundary"


def _margins(scores: Floats | None, threshold: float, count: int) -> Floats:
    """How far (n,) each row lies from the decision boundary, in the unit of the scores."""
    if scores is None:
        raise UsageError("scores: a background at the decision boundary needs the scores of the rows (n,), got none")
    found = np.asarray(scores, dtype=np.float64)
    if found.ndim not in (1, 2) or len(found) != count or np.isnan(found).any():
        raise DataError(
            f"scores: expected numbers ({count},) or ({count}, classes), got shape {found.shape} or gaps in it"
        )
    if found.ndim == 2 and found.shape[1] > 1:
        ordered = np.sort(found, axis=1)
        return np.asarray(ordered[:, -1] - ordered[:, -2])
    return np.asarray(np.abs(found.reshape(count) - threshold))


def _group(groups: Codes | Sequence[Any] | None, group: Any, count: int) -> tuple[Ints, str]:
    if groups is None or group is None:
        raise UsageError("groups, group: the background of a group needs the labels of the rows (n,) and one label")
    if isinstance(groups, Codes):
        labels = np.array([*groups.levels, None], dtype=object)[np.minimum(groups.values, len(groups.levels))]
    else:
        labels = np.asarray(groups)
    if labels.shape != (count,):
        raise DataError(f"groups: expected {count} labels, got shape {labels.shape}")
    rows = np.flatnonzero(labels == group).astype(np.int64)
    if not len(rows):
        known = sorted({str(label) for label in labels if label is not None})
        raise UsageError(f"group: one of {', '.join(known)}, got {group!r}{suggest(str(group), known)}")
    return rows, f"rows of the group {group!r}"
