"""A model that is rules: the rules themselves, whom they speak of, and traces of single decisions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from audit import stats
from audit.core import (
    ALL,
    Cell,
    Context,
    Evidence,
    Floats,
    Interval,
    Ints,
    Measure,
    NotApplicable,
    Ruled,
    Subject,
    Table,
    UsageError,
)
from audit.data.rules import Rules
from audit.data.tabular import Tabular
from audit.explain.clauses import Finding, scan
from audit.explain.features import encoded
from audit.explain.sample import model_and_inputs, sampled_rows, seed_of
from audit.explain.traces import trace
from audit.registry import check

HALF = 20  # rows that a rival is fitted on, at least
SPARSE = 0.05  # inverse weight of the linear rival's penalty on the sizes of its weights


@check(
    "explain.rules",
    title="The rules that decide",
    needs={"model", "rows", "rules"},
    sources=("wang2021rules", "cramer1946", "wilson1927", "efron1993"),
)
def rules(
    subject: Subject,
    context: Context,
    *,
    rows: int = 4000,
    leaves: int = 8,
    traces: int = 4,
    proxy: float = 0.5,
) -> Iterator[Evidence]:
    """Which rules decide, do they speak of a protected attribute, and why was each of these people accepted or denied?

    The model's rules are listed with the share of people whom each holds for and how often it is right. `rule_agreement`
    is the share of people about whom the listed rules decide as the model does: anything but 100 % means that they are
    not the model. A clause is flagged where it asks for a protected attribute, for a column that tells it one to one, or
    for a strong proxy, a condition whose Cramer's V with the attribute is `proxy` or more. A few decisions, accepted and
    denied ones, are traced through every clause. Beside the rules stand two other readable models, a tree of at most
    `leaves` leaves and a sparse linear one, fitted on half of the sampled rows: the rules earn their place if they are
    as accurate on the other half, or smaller.

    A flagged clause is where to look, and no proof of harm; that none is flagged does not show that the rules treat
    groups alike, for harmless conditions can stand for an attribute together. Precision is of these data and their labels.
    """
    if traces < 0 or leaves < 2:
        raise UsageError(f"traces from 0 on and leaves from 2 on, got {traces} and {leaves}")
    model, inputs = model_and_inputs(subject)
    if not isinstance(inputs, Tabular):
        raise NotApplicable(f"rules are about the columns of a table, and {type(inputs).__name__} have none")
    found: Rules = cast(Ruled, model).rules()
    decided = found.decide(inputs.values)
    if subject.score is not None and subject.score.ndim == 1:
        same = (subject.score >= subject.threshold) == decided
        note = "share of people about whom the listed rules decide as the model does; 100 % if they are the model"
        yield _share("rule_agreement", same, context.confidence, note)
    yield Measure(name="clauses", value=float(len(found.clauses)), better="lower", note="accepting and denying ones")
    flags = tuple(scan(found, inputs, subject.groups, context.rng, proxy=proxy, level=context.confidence))
    yield from _flagged(subject, flags)
    yield _listed(found, inputs, subject.y, flags, context.confidence)
    if flags:
        yield _scanned(flags, proxy)
    yield from _beside(subject, context, inputs, found, decided, rows, leaves)
    for row in _picked(decided, traces, context.rng):
        yield trace(found, inputs.values[row], inputs.categories).table(f"Row {row}")


def _share(name: str, hits: np.ndarray, level: float, note: str, **where: str) -> Measure:
    low, high = (float(side) for side in stats.wilson(int(hits.sum()), len(hits), level))
    return Measure(
        name=name,
        value=float(hits.mean()),
        unit="proportion",
        n=len(hits),
        interval=Interval(low=low, high=high, level=level, method="Wilson"),
        where=where,
        better="higher",
        note=note,
    )


def _flagged(subject: Subject, flags: Sequence[Finding]) -> Iterator[Measure]:
    for attribute in subject.groups:
        mine = [each for each in flags if each.attribute == attribute and each.why]
        clauses = sorted({each.clause for each in mine})
        told = [
            f"{each.literal} ({'the attribute itself' if each.why == 'attribute' else 'a strong proxy'})"
            for each in mine
        ]
        numbers = ", ".join(str(k + 1) for k in clauses)
        note = f"asked by clause {numbers}: {'; '.join(dict.fromkeys(told))}" if mine else ""
        note = note or f"no clause asks for {attribute} or for a strong proxy of it"
        yield Measure(
            name="flagged_clauses", value=float(len(clauses)), where={attribute: ALL}, better="lower", note=note
        )


def _listed(found: Rules, inputs: Tabular, y: Ints | None, flags: Sequence[Finding], level: float) -> Table:
    """The rules with their coverage and precision: of those whom a clause holds for, the share labelled as it says."""
    fired = found.fired(inputs.values)
    lines: list[tuple[Cell, ...]] = []
    for k, clause in enumerate(found.clauses):
        n = int(fired[:, k].sum())
        words = " & ".join(map(str, clause.literals)) or "always"
        right: tuple[Cell, ...] = (None, None, None)
        if y is not None and n:
            hits = int((y[fired[:, k]] == int(clause.accepts)).sum())
            low, high = (float(side) for side in stats.wilson(hits, n, level))
            right = (hits / n, low, high)
        about = ", ".join(dict.fromkeys(each.attribute for each in flags if each.clause == k and each.why))
        does = "accepts" if clause.accepts else "denies"
        lines.append((k + 1, words, does, n / len(inputs), n, *right, about or "no"))
    return Table(
        name="rules",
        title="The rules: somebody is accepted if an accepting clause holds and no denying one",
        columns=("clause", "people with", "then", "coverage", "n", "precision", "low", "high", "flagged"),
        rows=tuple(lines),
        note="precision: share of these people who are labelled as the clause says; a missing value is not above a threshold",
    )


def _scanned(flags: Sequence[Finding], proxy: float) -> Table:
    lines: dict[tuple[str, str], tuple[Cell, ...]] = {
        (str(each.literal), each.attribute): (
            str(each.literal),
            each.attribute,
            each.association,
            each.interval.low if each.interval else None,
            each.interval.high if each.interval else None,
            each.n,
            {"attribute": "the attribute itself", "proxy": "strong proxy", "": "no"}[each.why],
        )
        for each in flags
    }
    return Table(
        name="scan",
        title="How well each condition tells the groups apart",
        columns=("condition", "attribute", "Cramer's V", "low", "high", "n", "flagged"),
        rows=tuple(sorted(lines.values(), key=lambda line: -(line[2] if isinstance(line[2], float) else 0.0))),
        note=f"a strong proxy has {proxy:g} or more",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rival:
    """Another readable model: its name, its answers on the held-out half, its size and what that counts."""

    name: str
    decided: Ints
    size: int
    what: str


def _beside(
    subject: Subject, context: Context, inputs: Tabular, found: Rules, decided: Ints, rows: int, leaves: int
) -> Iterator[Measure]:
    if subject.y is None:
        note = "the data have no labels that models could be compared by"
        yield Measure(name="accuracy", value=None, better="higher", note=note, where={"model": "rules"})
        return
    chosen = np.random.default_rng(seed_of(context, "explain.rules.half")).permutation(
        sampled_rows(subject, context, rows)
    )
    fitted, held = chosen[: len(chosen) // 2], chosen[len(chosen) // 2 :]
    if len(fitted) < HALF or len(np.unique(subject.y[fitted])) < 2:
        note = f"a rival is fitted on {HALF} rows of both classes at least, and there are {len(fitted)}"
        yield Measure(name="accuracy", value=None, better="higher", note=note, where={"model": "tree"})
        return
    literals = sum(len(clause.literals) for clause in found.clauses)
    rivals = [_Rival(name="rules", decided=decided[held], size=literals, what="conditions in all clauses")]
    seed = seed_of(context, "explain.rules.tree") % 2**31
    rivals += _rivals(encoded(inputs, tuple(range(len(inputs.columns)))).matrix, subject.y, fitted, held, leaves, seed)
    for each in rivals:
        note = "on the half of the sampled rows that the rivals were not fitted on"
        yield _share("accuracy", each.decided == subject.y[held], context.confidence, note, model=each.name)
        yield Measure(name="size", value=float(each.size), where={"model": each.name}, better="lower", note=each.what)


def _rivals(matrix: Floats, y: Ints, fitted: Ints, held: Ints, leaves: int, seed: int) -> Iterator[_Rival]:
    """A small tree, and a linear model whose penalty leaves few weights; missing numbers at the mean of the first half."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.tree import DecisionTreeClassifier

    with np.errstate(invalid="ignore"):
        there = np.isfinite(matrix[fitted])
        mean = stats.divide(np.where(there, matrix[fitted], 0.0).sum(axis=0), there.sum(axis=0), otherwise=0.0)
    full = np.where(np.isfinite(matrix), matrix, mean)
    spread = full[fitted].std(axis=0)
    full = (full - mean) / np.where(spread > 0, spread, 1.0)
    tree: Any = DecisionTreeClassifier(max_leaf_nodes=leaves, random_state=seed).fit(full[fitted], y[fitted])
    yield _Rival(name="tree", decided=tree.predict(full[held]), size=int(tree.get_n_leaves()), what="leaves")
    line: Any = LogisticRegression(l1_ratio=1.0, C=SPARSE, solver="liblinear", random_state=seed)
    line.fit(full[fitted], y[fitted])
    weights = int(np.count_nonzero(line.coef_))
    yield _Rival(name="linear", decided=line.predict(full[held]), size=weights, what="weights that are not 0")


def _picked(decided: Ints, count: int, rng: np.random.Generator) -> list[int]:
    """Row numbers, accepted and denied ones in turn."""
    sides = [rng.permutation(np.flatnonzero(decided == side)) for side in (1, 0)]
    first = min(len(sides[0]), max(count - count // 2, count - len(sides[1])))
    return sorted(int(row) for row in (*sides[0][:first], *sides[1][: count - first]))
