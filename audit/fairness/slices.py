"""The slices of a subject: the groups of one or several attributes, their counts, rates and reference group."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from audit.core import ALL, Codes, Context, DataError, NotApplicable, Subject, suggest
from audit.fairness.counts import Counts, count
from audit.fairness.rates import RATES, Rates, rates

_FULL = 2**16  # cells up to which one tensor over every attribute serves all slices


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Slice:
    """One slice of the subject: its attributes, the counts of its groups, and the rates of each."""

    attributes: tuple[str, ...]
    counts: Counts
    rates: Rates
    groups: tuple[tuple[str, ...], ...]

    @property
    def name(self) -> str:
        """The attributes in one phrase."""
        return " × ".join(self.attributes)

    @property
    def everywhere(self) -> Mapping[str, str]:
        """`where` of a measure that speaks of all groups at once."""
        return dict.fromkeys(self.attributes, ALL)

    def where(self, group: int) -> Mapping[str, str]:
        """`where` of one group."""
        return dict(zip(self.attributes, self.groups[group], strict=True))

    def label(self, group: int) -> str:
        """The name of one group."""
        return " × ".join(self.groups[group])


def require_binary(subject: Subject) -> None:
    """Raise NotApplicable for labels of more than two classes."""
    classes = len(subject.data.classes)
    if classes > 2:
        raise NotApplicable(f"needs a yes-or-no outcome; the data have {classes} classes")


def counts_of(subject: Subject, context: Context, attributes: Sequence[str] = ()) -> Counts:
    """Counts of the subject over some attributes or strata, made once a run where the full tensor is small."""
    columns: dict[str, Codes] = {**subject.data.strata, **subject.groups}
    full = np.prod([len(codes.levels) + 1.0 for codes in columns.values()]) <= _FULL
    counted = tuple(columns) if full else tuple(attributes)
    key = ("fairness.counts", counted)
    if key not in context.scratch:
        context.scratch[key] = count(
            subject.y,
            subject.decision,
            sensitive_features={name: columns[name] for name in counted},
            weights=subject.data.weights,
            frequency=subject.data.frequency,
            classes=max(2, len(subject.data.classes)),
        )
    counts: Counts = context.scratch[key]
    return counts.marginal(attributes)


def overall(subject: Subject, context: Context) -> Slice:
    """The whole subject as a slice without attributes: one group, those of unknown groups included."""
    return slice_of(subject, context, ())


def slices(subject: Subject, context: Context) -> Iterator[Slice]:
    """The slices of the subject, each with its rates."""
    for attributes in context.track(subject.slices, "groups"):
        yield slice_of(subject, context, attributes)


def slice_of(subject: Subject, context: Context, attributes: tuple[str, ...]) -> Slice:
    """The slice over some attributes or strata."""
    return sliced(counts_of(subject, context, attributes))


def sliced(counts: Counts) -> Slice:
    """The slice over the attributes of some counts."""
    return Slice(attributes=counts.attributes, counts=counts, rates=rates(counts), groups=counts.groups)


def reference(subject: Subject, part: Slice, rate: str) -> int | None:
    """The row of the reference group: the named one, else the best of those with min_n cases, else the best of all.

    The best is the highest rate, or the lowest of a rate that had better be low.

    None where no group has the rate. Raises DataError for a named group that is not there.
    """
    value, n, _ = part.rates.column(rate)
    if all(name in subject.reference for name in part.attributes):
        named = tuple(_level(subject, name) for name in part.attributes)
        return part.counts.groups.index(named)
    defined = ~np.isnan(value)
    large = defined & (n >= subject.min_n)
    eligible = large if large.any() else defined
    if not eligible.any():
        return None
    return int(np.argmax(np.where(eligible, -value if RATES[rate].better == "lower" else value, -np.inf)))


def _level(subject: Subject, attribute: str) -> str:
    level, levels = subject.reference[attribute], subject.groups[attribute].levels
    if level not in levels:
        hint = suggest(level, levels)
        raise DataError(f"reference group of {attribute!r}: allowed are {list(levels)}, got {level!r}{hint}")
    return level
