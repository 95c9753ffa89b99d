"""Does the model use other reasons for other people?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from audit import stats
from audit.core import ALL, Cell, Context, Evidence, Floats, Interval, Ints, Measure, Subject, Table
from audit.core import stream as stream_of
from audit.explain.attribution import Attribution
from audit.explain.games import Link, unit_of
from audit.explain.group_tests import GroupTest, group_means, group_test, rank_correlation, reason_distance
from audit.explain.matched_reasons import Matched, matched_test
from audit.explain.sample import sampled_rows, seed_of, shapley_of
from audit.registry import check


@check(
    "explain.group_reasons",
    title="Other reasons for other people?",
    needs={"model", "rows", "groups"},
    sources=(
        "lundberg2017",
        "anderson2001",
        "phipson2010",
        "holm1979",
        "benjamini1995",
        "zou2008",
        "balagopalan2022",
        "freedman1983",
    ),
)
def group_reasons(
    subject: Subject,
    context: Context,
    *,
    rows: int = 256,
    background: int = 64,
    budget: int = 256,
    permutations: int = 999,
    features: int = 10,
    link: Link = "identity",
) -> Iterator[Evidence]:
    """Does the model use other reasons for other people?

    For each group of each protected attribute: the mean absolute Shapley value of every feature (how much it moves their
    answers) and the mean signed one (which way). `mean_abs_shap_difference` and `mean_shap_difference` are the largest
    difference between two groups, with an interval for all pairs at once; a permutation test says whether shuffled group
    labels would give as much, adjusted over features (Holm, Benjamini-Hochberg); the tables show all features, the single
    figures the `features` that move answers most. One global test asks the same of all
    features together (`reasons_p`, `directions_p`). `same_value_p` compares people with about the same value of a feature: for
    them it should count alike whatever their group, if the model adds up its features. `reason_distance` compares the mixes of reasons: 0 where every feature
    has the same share in all groups, 1 where two groups share no reason. All are against one background, shared by all.

    A difference in the means may come from the people as well as from the model: who differs more from the average in income
    is judged more by income; a difference at the same value comes from the model, or (link "identity") from the scale of
    probabilities, which is curved: look at link = "logit" too. That a signed difference is found means that this feature moves the groups apart, and is not by itself
    a wrong; that none is found with few people is no proof that there is none.
    """
    chosen = sampled_rows(subject, context, rows)
    own = "rows have players of their own, so reasons cannot be compared between groups"
    found = shapley_of(subject, context, chosen, background=background, budget=budget, link=link, own=own)
    seed = seed_of(context, "explain.group_reasons")
    for attribute, codes in subject.groups.items():
        values = codes.values[chosen].astype(np.int64)
        there = [code for code in range(len(codes.levels)) if (values == code).sum() > 1]
        if len(there) < 2:
            why = f"fewer than two groups of {attribute} have two people among the {len(chosen)} sampled rows"
            yield Measure(name="reason_distance", value=None, where={attribute: ALL}, better="lower", note=why)
            continue
        among = np.isin(values, there) & ~np.isnan(found.values).any(axis=1)
        labels = np.searchsorted(there, values[among])
        levels = tuple(codes.levels[code] for code in there)
        data = np.full_like(found.values, np.nan) if found.data is None else found.data
        part = _Part(
            attribute=attribute,
            levels=levels,
            labels=labels,
            values=_unrounded(found.values[among]),
            data=data[among],
        )
        yield from _compare(found, part, permutations, features, seed, context.confidence)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """The people whose group is known: their group (n,), as a place among the levels, and attributions (n, features).

    data (n, features): what the features were, NaN for one that is no single number.
    """

    attribute: str
    levels: tuple[str, ...]
    labels: Ints
    values: Floats
    data: Floats


def _unrounded(values: Floats) -> Floats:
    """Attributions (n, features) with what only rounding left of a zero set back to 0: a test would call it a pattern."""
    return np.where(np.abs(values) <= 1e-12 * np.abs(values).max(initial=0.0), 0.0, values)


def _compare(
    found: Attribution, part: _Part, permutations: int, most: int, seed: int, level: float
) -> Iterator[Evidence]:
    strength, direction = np.abs(part.values), part.values
    groups = len(part.levels)
    stronger = group_test(strength, part.labels, groups, permutations=permutations, seed=seed)
    signed = group_test(direction, part.labels, groups, permutations=permutations, seed=seed)
    yield _p("reasons_p", stronger, part, "mean |shap|")
    yield _p("directions_p", signed, part, "mean shap")
    matched = matched_test(direction, part.data, part.labels, permutations=permutations, seed=seed)
    yield _matched_p(matched, found, part)
    yield _distance(part, permutations, seed, level)
    yield _ranks(stronger, part)
    shown = np.sort(np.argsort(-strength.mean(axis=0), kind="stable")[: max(0, most)])
    for column, feature in ((int(column), found.features[column]) for column in shown):
        for code, group in enumerate(part.levels):
            yield _mean(
                strength[part.labels == code, column], {"feature": feature, part.attribute: group}, found, level
            )
        where = {"feature": feature, part.attribute: ALL}
        for name, values, test in (
            ("mean_abs_shap_difference", strength, stronger),
            ("mean_shap_difference", direction, signed),
        ):
            yield _difference(name, values[:, column], part, where, test.p_holm[column], found, level)
    yield _table(found, part, stronger, "reasons", "mean |shap|")
    yield _table(found, part, signed, "directions", "mean shap")
    yield _matched_table(found, part, matched)


def _p(name: str, test: GroupTest, part: _Part, what: str) -> Measure:
    return Measure(
        name=name,
        value=test.p_global,
        where={part.attribute: ALL},
        note=f"{what} of all features together, {test.permutations} shuffles of the groups over {len(part.labels)} people",
    )


def _matched_p(test: Matched, found: Attribution, part: _Part) -> Measure:
    where = {part.attribute: ALL}
    if np.isnan(test.p_holm).all():
        why = "no feature counts differently among people of the same value, or no two groups share a value"
        return Measure(name="same_value_p", value=None, where=where, note=why)
    first = int(np.nanargmin(test.p_holm))
    note = f"the smallest of all features' p values after Holm's adjustment, that of {found.features[first]}"
    return Measure(name="same_value_p", value=float(test.p_holm[first]), where=where, note=note)


def _matched_table(found: Attribution, part: _Part, test: Matched) -> Table:
    order = np.argsort(-np.nan_to_num(test.gap, nan=-1.0), kind="stable")
    lines: list[tuple[Cell, ...]] = [
        (found.features[k], *(None if np.isnan(x) else float(x) for x in (test.gap[k], test.p[k], test.p_holm[k])))
        for k in order
    ]
    return Table(
        name=f"same_value_{part.attribute}",
        title=f"Among people with about the same value of a feature: how differently it counts by {part.attribute}",
        columns=("feature", "mean gap of shap", "p", "p (Holm)"),
        rows=tuple(lines),
        note="groups shuffled among people of like values; a gap of random groups is above 0 too: read it with its p. "
        "Empty where groups share no value, and without p where the value alone settles the attribution",
    )


def _distance(part: _Part, permutations: int, seed: int, level: float) -> Measure:
    """The distance of the mixes, with what chance gives and a bootstrap interval within groups, corrected for its bias."""
    strength, groups = np.abs(part.values), len(part.levels)
    where = {part.attribute: ALL}
    value = float(reason_distance(group_means(strength, part.labels[None], groups))[0])
    if np.isnan(value):
        note = "no feature moves the answers of one of the groups"
        return Measure(name="reason_distance", value=None, where=where, better="lower", note=note)
    rng = stream_of(seed, "distance")
    shuffled = rng.permuted(np.broadcast_to(part.labels, (min(permutations, 299), len(part.labels))), axis=1)
    null = reason_distance(group_means(strength, shuffled, groups))
    drawn = []
    for code in range(groups):
        own = strength[part.labels == code]
        drawn.append(stats.bootstrap_counts(np.ones(len(own), dtype=np.int64), 400, rng) @ own / len(own))
    low, high = stats.percentile_interval(2 * value - reason_distance(np.stack(drawn, axis=1)), level)
    p = float(stats.permutation_p(value * (1 - 1e-9), null[~np.isnan(null)]))
    return Measure(
        name="reason_distance",
        value=value,
        n=len(part.labels),
        interval=Interval(
            low=float(np.clip(low, 0, value)),
            high=float(np.clip(high, value, 1)),
            level=level,
            method="basic bootstrap within groups",
        ),
        where=where,
        better="lower",
        note=f"chance alone gives {float(np.nanmean(null)):.3g} on average; permutation p = {p:.3g}",
    )


def _ranks(test: GroupTest, part: _Part) -> Measure:
    value = rank_correlation(test.means)
    where = {part.attribute: ALL}
    if np.isnan(value):
        note = "two features of different strength are needed in each group"
        return Measure(name="reason_rank_correlation", value=None, where=where, better="higher", note=note)
    note = "Spearman correlation of the groups' rankings of the features, the smallest over pairs of groups"
    return Measure(name="reason_rank_correlation", value=value, where=where, better="higher", note=note)


def _mean(values: Floats, where: dict[str, str], found: Attribution, level: float) -> Measure:
    low, high = stats.mean_interval(values, level)
    return Measure(
        name="mean_abs_shap",
        value=float(values.mean()),
        unit=unit_of(found.scale),
        n=len(values),
        interval=Interval(low=max(low, 0.0), high=high, level=level, method="t over rows"),
        where=where,
    )


def _difference(
    name: str, values: Floats, part: _Part, where: dict[str, str], p: float, found: Attribution, level: float
) -> Measure:
    each = [values[part.labels == code] for code in range(len(part.levels))]
    means = np.array([one.mean() for one in each])
    bounds = [stats.mean_interval(one, stats.bonferroni(level, stats.pairs(len(each)))) for one in each]
    low, high = stats.mover_gap(means, [low for low, _ in bounds], [high for _, high in bounds])
    value = float(np.ptp(means))
    most, least = part.levels[int(means.argmax())], part.levels[int(means.argmin())]
    adjusted = "no test: the feature moves nobody" if np.isnan(p) else f"permutation p = {p:.3g} (Holm, over features)"
    return Measure(
        name=name,
        value=value,
        unit=unit_of(found.scale),
        n=len(values),
        interval=Interval(low=min(low, value), high=max(high, value), level=level, method="MOVER over t, all pairs"),
        where=where,
        better="zero",
        note=f"largest for {most}, smallest for {least}; {adjusted}",
    )


def _table(found: Attribution, part: _Part, test: GroupTest, name: str, what: str) -> Table:
    lines: list[tuple[Cell, ...]] = []
    for column in np.argsort(-test.between, kind="stable"):
        ps = (test.p[column], test.p_holm[column], test.p_fdr[column])
        lines.append(
            (
                found.features[column],
                *test.means[:, column].tolist(),
                float(np.ptp(test.means[:, column])),
                *(None if np.isnan(p) else float(p) for p in ps),
            )
        )
    return Table(
        name=f"{name}_{part.attribute}",
        title=f"{what[0].upper()}{what[1:]} of each feature by {part.attribute}, largest differences first",
        columns=("feature", *part.levels, "difference", "p", "p (Holm)", "p (Benjamini-Hochberg)"),
        rows=tuple(lines),
        note=f"{len(part.labels)} people, {test.permutations} shuffles; {found.method}; {found.background}",
    )
