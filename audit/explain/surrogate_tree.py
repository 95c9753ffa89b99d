"""A small decision tree that imitates the model: its rules in words, and how far they can be trusted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit import stats
from audit.core import (
    ALL,
    Cell,
    Codes,
    Context,
    Evidence,
    Floats,
    Interval,
    Ints,
    Measure,
    NotApplicable,
    Subject,
    Table,
    UsageError,
)
from audit.core import stream as stream_of
from audit.data.tabular import Tabular
from audit.explain.features import Encoded, encoded
from audit.explain.sample import model_and_inputs, sampled_rows, seed_of
from audit.registry import check

REPLICATES = 1000
Path = tuple[tuple[int, bool], ...]  # the splits above a node: its number, and whether the way went left


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One leaf of a tree: its conditions in words, the features they name, and the tree's answer (k,)."""

    leaf: int
    words: str
    features: tuple[str, ...]
    answer: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class SurrogateTree:
    """A fitted scikit-learn tree over the columns of an encoded table; `gaps` tells which columns had missing numbers."""

    tree: Any
    features: tuple[str, ...]
    levels: tuple[str | None, ...]
    integers: frozenset[str]
    gaps: NDArray[np.bool_]

    def predict(self, matrix: Floats) -> Floats:
        """The tree's answers (n, k) for rows (n, columns)."""
        return np.asarray(self.tree.predict(matrix), dtype=np.float64).reshape(len(matrix), -1)

    def leaves(self, matrix: Floats) -> Ints:
        """The leaf (n,) of each row (n, columns)."""
        return np.asarray(self.tree.apply(matrix), dtype=np.int64)

    def rules(self) -> tuple[Rule, ...]:
        """The leaves as rules in words, from left to right."""
        return tuple(self._below(0, ()))

    def _below(self, node: int, path: Path) -> Iterator[Rule]:
        inner = self.tree.tree_
        if inner.children_left[node] < 0:
            columns = list(dict.fromkeys(int(inner.feature[above]) for above, _ in path))
            words = " and ".join(self._words(column, path) for column in columns) or "everyone"
            named = tuple(dict.fromkeys(self.features[column] for column in columns))
            yield Rule(leaf=node, words=words, features=named, answer=inner.value[node][:, 0])
            return
        yield from self._below(int(inner.children_left[node]), (*path, (node, True)))
        yield from self._below(int(inner.children_right[node]), (*path, (node, False)))

    def _words(self, column: int, path: Path) -> str:
        """What a path asks of one column, all its splits together."""
        inner = self.tree.tree_
        steps = [(above, left) for above, left in path if inner.feature[above] == column]
        name, level = self.features[column], self.levels[column]
        if level is not None:
            return f"{name} is {'not ' if steps[-1][1] else ''}{level}"
        above = [float(inner.threshold[node]) for node, left in steps if not left]
        up_to = [float(inner.threshold[node]) for node, left in steps if left]
        low, high = (self._figure(name, max(above)) if above else "", self._figure(name, min(up_to)) if up_to else "")
        words = f"{low} < {name} ≤ {high}" if low and high else f"{name} > {low}" if low else f"{name} ≤ {high}"
        missing = self.gaps[column] and all(bool(inner.missing_go_to_left[node]) == left for node, left in steps)
        return f"{words} or missing" if missing else words

    def _figure(self, name: str, limit: float) -> str:
        return f"{np.floor(limit):.0f}" if name in self.integers else f"{limit:.4g}"


def surrogate_tree(
    inputs: Tabular, outputs: Floats, *, depth: int = 3, least: int = 10, seed: int = 0
) -> tuple[SurrogateTree, Encoded]:
    """A tree of at most `depth` questions fitted to a model's outputs (n,) or (n, k), and the table as it reads it.

    It imitates the model, not the labels (craven1996). Levels of categories are asked about one by one; a missing number
    goes the way that fits better. least: rows in a leaf at least. Raises UsageError for a depth below 1.
    """
    from sklearn.tree import DecisionTreeRegressor

    if depth < 1 or least < 1:
        raise UsageError(f"depth and least: at least 1, got {depth} and {least}")
    table = encoded(inputs, tuple(range(len(inputs.columns))))
    least_gain = 1e-12 * float(np.square(outputs).max(initial=0.0))  # less is rounding, which says nothing
    tree = DecisionTreeRegressor(
        max_depth=depth, min_samples_leaf=least, min_impurity_decrease=least_gain, random_state=seed
    )
    tree.fit(table.matrix, outputs)
    grown = SurrogateTree(
        tree=tree,
        features=table.features,
        levels=table.levels,
        integers=inputs.integers,
        gaps=np.asarray(np.isnan(table.matrix).any(axis=0)),
    )
    return grown, table


def fidelity(outputs: Floats, imitated: Floats, weights: Floats | None = None) -> Floats:
    """R² (...) of imitated outputs (n, k), over all columns; NaN where the outputs do not vary.

    weights (..., n): how often each row counts.
    """
    each = np.ones(len(outputs)) if weights is None else np.asarray(weights, dtype=np.float64)
    share = each / each.sum(axis=-1, keepdims=True)
    away = share @ ((outputs - imitated) ** 2).sum(axis=1)
    spread = share @ (outputs**2).sum(axis=1) - ((share @ outputs) ** 2).sum(axis=-1)
    return np.asarray(1 - stats.divide(away, np.where(spread <= 1e-14 * (outputs**2).max(initial=1e-300), 0.0, spread)))


def same_as(inputs: Tabular, codes: Codes) -> tuple[str, ...]:
    """The columns whose values tell the groups (n,) of an attribute and nothing else: one value, one group."""
    known = codes.known()
    groups = len(np.unique(codes.values[known]))
    if groups < 2:
        return ()
    found = []
    for column, name in enumerate(inputs.columns):
        values = np.unique(np.nan_to_num(inputs.values[known, column], nan=np.inf), return_inverse=True)[1]
        together = len(np.unique(np.stack([values, codes.values[known].astype(np.int64)]), axis=1).T)
        if together == groups == len(np.unique(values)):
            found.append(name)
    return tuple(found)


@check(
    "explain.surrogate_tree",
    title="A small tree that imitates the model",
    needs={"model", "rows"},
    sources=("craven1996", "efron1993", "wilson1927"),
)
def surrogate(
    subject: Subject,
    context: Context,
    *,
    rows: int = 2000,
    depth: int = 3,
    least: int = 10,
) -> Iterator[Evidence]:
    """Can a few rules say what the model does, and does a protected attribute appear in them?

    A decision tree of at most `depth` questions is fitted to the model's outputs on two thirds of the sampled rows. On the
    other third it is measured how well it imitates the model: R² of the outputs, and the share of people about whom both
    decide alike, overall and in each group. The rules are listed in words, each with the share of people it holds for and
    the model's own mean output among them. `protected_in_rules` is 1 where a rule asks for a protected attribute or for a
    column that tells it one to one.

    The rules describe the model only as far as the fidelity goes: with an R² of 0.6 they leave 40 % of the variation
    unsaid. That no rule names an attribute does not clear the model; a rule may name its proxy, and a small tree leaves
    out what matters for few.
    """
    _, inputs = model_and_inputs(subject)
    if not isinstance(inputs, Tabular):
        raise NotApplicable(f"rules are about the columns of a table, and {type(inputs).__name__} have none")
    if subject.score is None:
        raise NotApplicable("a tree imitates scores, and there are none")
    chosen = sampled_rows(subject, context, rows)
    mixed = stream_of(seed_of(context, "explain.surrogate_tree"), "split").permutation(chosen)
    fitted, held = mixed[len(mixed) // 3 :], mixed[: len(mixed) // 3]
    if len(held) < 10:
        raise NotApplicable(f"a tree and its test need 30 rows, and there are {len(chosen)}")
    outputs = subject.score.reshape(len(subject), -1)
    seed = seed_of(context, "explain.surrogate_tree.fit") % 2**31
    grown, _ = surrogate_tree(inputs.take(fitted), outputs[fitted], depth=depth, least=least, seed=seed)
    matrix = _as_fitted(grown, inputs.take(held))
    imitated = grown.predict(matrix)
    yield _fidelity(outputs[held], imitated, seed, context.confidence)
    yield from _agreement(subject, held, imitated, context.confidence)
    rules = grown.rules()
    yield from _protected(subject, inputs, rules)
    yield _table(subject, rules, grown.leaves(matrix), outputs[held])


def _as_fitted(grown: SurrogateTree, inputs: Tabular) -> Floats:
    """Other rows (n, columns) in the columns of the table that a tree was fitted on; an unseen level is in none."""
    table = encoded(inputs, tuple(range(len(inputs.columns))))
    place = {key: at for at, key in enumerate(zip(table.features, table.levels, strict=True))}
    empty = np.zeros(len(inputs))
    columns = [
        table.matrix[:, place[key]] if key in place else empty for key in zip(grown.features, grown.levels, strict=True)
    ]
    return np.column_stack(columns)


def _fidelity(outputs: Floats, imitated: Floats, seed: int, level: float) -> Measure:
    value = float(fidelity(outputs, imitated))
    if np.isnan(value):
        return Measure(
            name="surrogate_r2", value=None, better="higher", note="the model gives everybody the same output"
        )
    low, high = stats.bootstrap_interval(
        np.ones(len(outputs), dtype=np.int64),
        lambda draws: fidelity(outputs, imitated, draws),
        REPLICATES,
        stream_of(seed, "bootstrap"),
        level,
    )
    return Measure(
        name="surrogate_r2",
        value=value,
        n=len(outputs),
        interval=Interval(low=min(float(low), value), high=max(float(high), value), level=level, method="bootstrap"),
        better="higher",
        note="share of the output's variance that the tree tells, on rows it was not fitted on",
    )


def _decided(outputs: Floats, threshold: float) -> Ints:
    wide = outputs.shape[1] > 1
    return np.asarray(outputs.argmax(axis=1) if wide else outputs[:, 0] >= threshold, dtype=np.int64)


def _agreement(subject: Subject, held: Ints, imitated: Floats, level: float) -> Iterator[Measure]:
    assert subject.score is not None
    if subject.score.ndim == 1 and subject.decision is None:
        return  # a model of numbers decides nothing
    own = _decided(subject.score[held].reshape(len(held), -1), subject.threshold)
    alike = own == _decided(imitated, subject.threshold)
    parts: list[tuple[dict[str, str], NDArray[np.bool_]]] = [({}, np.ones(len(held), dtype=np.bool_))]
    for name, codes in subject.groups.items():
        parts += [({name: group}, codes.values[held] == code) for code, group in enumerate(codes.levels)]
    for where, among in parts:
        n, hits = int(among.sum()), int(alike[among].sum())
        if n == 0:
            why = "nobody of this group is among the rows that were held out"
            yield Measure(name="surrogate_agreement", value=None, where=where, better="higher", note=why)
            continue
        low, high = (float(side) for side in stats.wilson(hits, n, level))
        yield Measure(
            name="surrogate_agreement",
            value=hits / n,
            unit="proportion",
            n=n,
            interval=Interval(low=low, high=high, level=level, method="Wilson"),
            where=where,
            better="higher",
            note="share of held-out people about whom the tree decides as the model does",
        )


def _protected(subject: Subject, inputs: Tabular, rules: tuple[Rule, ...]) -> Iterator[Measure]:
    named = {feature for rule in rules for feature in rule.features}
    for attribute, codes in subject.groups.items():
        tells = {attribute, *same_as(inputs, codes)} & set(inputs.columns)
        used = sorted(tells & named)
        note = f"rules ask for {', '.join(used)}" if used else f"no rule asks for {' or '.join(sorted(tells)) or 'it'}"
        yield Measure(
            name="protected_in_rules", value=float(bool(used)), where={attribute: ALL}, better="lower", note=note
        )


def _table(subject: Subject, rules: tuple[Rule, ...], leaves: Ints, outputs: Floats) -> Table:
    lines: list[tuple[Cell, ...]] = []
    classes = subject.data.classes
    for rule in rules:
        own = outputs[leaves == rule.leaf]
        best = int(rule.answer.argmax()) if len(rule.answer) > 1 else 0
        answer: list[Cell] = [classes[best]] if len(rule.answer) > 1 else []
        mean = float(own[:, best].mean()) if len(own) else None
        spread = float(own[:, best].std()) if len(own) else None
        lines.append((rule.words, *answer, float(rule.answer[best]), mean, spread, len(own) / len(outputs)))
    most_likely = ("most likely",) if outputs.shape[1] > 1 else ()
    return Table(
        name="rules",
        title="The tree's rules",
        columns=("people with", *most_likely, "tree's answer", "model's mean", "model's sd", "share of people"),
        rows=tuple(lines),
        note=f"mean, sd and share are of {len(outputs)} rows that the tree was not fitted on",
    )
