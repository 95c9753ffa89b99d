"""Which clauses of rules speak of a protected attribute, or of something that stands for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal as OneOf

import numpy as np
from numpy.typing import ArrayLike

from audit import stats
from audit.core import Codes, Floats, Interval, UsageError
from audit.data.rules import Literal, Rules
from audit.data.tabular import Tabular
from audit.explain.surrogate_tree import same_as

REPLICATES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One literal of one clause (counted from 0) beside one attribute.

    association: Cramer's V between the literal's answer and the groups, None where one of them does not vary. why: the
    literal asks for the attribute itself, for a strong proxy of it, or for neither ("").
    """

    clause: int
    literal: Literal
    attribute: str
    association: float | None
    interval: Interval | None
    n: int
    why: OneOf["attribute", "proxy", ""]


def cramers_v(tables: ArrayLike) -> Floats:
    """Cramer's V (...) of counts (..., groups, answers), without correction; NaN where a margin has one entry (cramer1946)."""
    counts = np.asarray(tables, dtype=np.float64)
    total = counts.sum(axis=(-2, -1), keepdims=True)
    rows, columns = counts.sum(axis=-1, keepdims=True), counts.sum(axis=-2, keepdims=True)
    expected = stats.divide(rows * columns, total)
    chi = stats.divide((counts - expected) ** 2, expected, otherwise=0.0).sum(axis=(-2, -1))
    least = np.minimum((rows > 0).sum(axis=(-2, -1)), (columns > 0).sum(axis=(-2, -1))) - 1
    return np.sqrt(stats.divide(chi, total[..., 0, 0] * least))


def scan(
    rules: Rules,
    inputs: Tabular,
    groups: Mapping[str, Codes],
    rng: np.random.Generator,
    *,
    proxy: float = 0.5,
    level: float = 0.95,
) -> Iterator[Finding]:
    """Every literal of every clause against every attribute, by the people in `inputs` whose group is known.

    A literal is a proxy from an association of `proxy` on. It may be harmless by itself: what is found is where to look.
    Raises UsageError.
    """
    if not 0 < proxy <= 1:
        raise UsageError(f"proxy: an association above 0 and at most 1, got {proxy}")
    for attribute, codes in groups.items():
        known = codes.known()
        group = codes.values[known].astype(np.int64)
        itself = {attribute, *same_as(inputs, codes)}
        found: dict[Literal, tuple[float | None, Interval | None]] = {}
        for place, clause in enumerate(rules.clauses):
            for literal in clause.literals:
                if literal not in found:
                    answers = literal.holds(inputs.values[known]).astype(np.int64)
                    table = np.zeros((len(codes.levels), 2), dtype=np.int64)
                    np.add.at(table, (group, answers), 1)
                    found[literal] = _association(table, rng, level)
                size, interval = found[literal]
                strong = size is not None and size >= proxy
                yield Finding(
                    clause=place,
                    literal=literal,
                    attribute=attribute,
                    association=size,
                    interval=interval,
                    n=len(group),
                    why="attribute" if literal.name in itself else "proxy" if strong else "",
                )


def _association(table: np.ndarray, rng: np.random.Generator, level: float) -> tuple[float | None, Interval | None]:
    value = float(cramers_v(table))
    if np.isnan(value):
        return None, None
    draws = cramers_v(stats.bootstrap_counts(table.ravel(), REPLICATES, rng).reshape(-1, *table.shape))
    low, high = (float(side) for side in stats.percentile_interval(draws, level))
    low, high = min(low, value), max(high, value)
    return value, Interval(low=low, high=min(high, 1.0), level=level, method="bootstrap")
