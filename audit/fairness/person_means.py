"""Means of numbers that every person has: for everyone, for every group, and between groups."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from audit import stats
from audit.core import Better, Codes, Context, Floats, Ints, Measure, Subject
from audit.fairness import parts
from audit.fairness.parts import NOTHING, Kind, Number, Rows


def mean_kind(better: Better, unit: str = "") -> Kind:
    """A mean over people with Student's t interval, or Wilson's where it is a share (unit "proportion")."""
    return Kind(unit, better, "Wilson" if unit == "proportion" else "t", "there is no case")


def person_means(
    subject: Subject,
    context: Context,
    values: Mapping[str, Floats],
    kinds: Mapping[str, Kind],
    *,
    merit: Floats,
    label: str,
) -> Iterator[Measure]:
    """The mean of each column of `values` (n,) for everyone and every group of every slice, and the differences.

    Groups are compared with the reference group: the one that the configuration names, else that of the highest mean
    `merit` (n,) among those of at least min_n people. Gaps over all groups hold for all pairs at once.
    """
    names, level = tuple(values), context.confidence
    for attributes in context.track(((), *subject.slices), label):
        rows = parts.rows_of(subject, attributes)
        measure = _measurer(rows, values, kinds)
        found = parts.figures(rows, names, measure, level)
        yield from parts.figure_measures(rows, found, kinds)
        if attributes:
            wide = parts.figures(rows, names, measure, parts.together(rows, level))
            base = parts.reference_group(subject, rows, merit)
            yield from parts.difference_measures(rows, found, names, base, kinds)
            yield from parts.gap_measures(rows, wide, names, kinds, level)


def _measurer(rows: Rows, values: Mapping[str, Floats], kinds: Mapping[str, Kind]) -> parts.Measurer:
    def measure(inside: Ints, level: float) -> list[Number]:
        weight, people = rows.amounts(inside), float(rows.people[inside].sum())
        return [
            (_share if kinds[name].unit == "proportion" else parts.mean_number)(one[inside], weight, people, level)
            for name, one in values.items()
        ]

    return measure


def _share(values: Floats, weight: Floats, people: float, level: float) -> Number:
    total = float(weight.sum())
    if total <= 0.0:
        return NOTHING
    low, high = stats.wilson(float(weight @ values), total, level)
    return Number(float(weight @ values) / total, float(low), float(high), people)


def among(subject: Subject, rows: Ints) -> Subject:
    """The subject with these of its rows only; what the data hold beside people, weights and inputs is left out."""
    data = subject.data

    def taken(codes: Codes) -> Codes:
        return replace(codes, values=codes.values[rows])

    groups = {name: taken(codes) for name, codes in subject.groups.items()}
    some = replace(
        data,
        inputs=None if data.inputs is None else data.inputs.take(rows),
        groups=groups,
        y=None if data.y is None else data.y[rows],
        target=None,
        twin=None,
        decision=None,
        score=None,
        weights=None if data.weights is None else data.weights[rows],
        frequency=None if data.frequency is None else data.frequency[rows],
        strata={},
    )
    return replace(
        subject,
        data=some,
        groups=groups,
        y=some.y,
        decision=None if subject.decision is None else subject.decision[rows],
        score=None if subject.score is None else subject.score[rows],
    )
