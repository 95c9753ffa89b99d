"""Rules as a ProbLog program: exact chances of a decision whose facts are in doubt, and its proofs."""

from __future__ import annotations

import importlib
import math
import re
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

from audit.core import Floats, UsageError
from audit.data.rules import Literal, Rules

DECISION = "accepted"
_FACT = re.compile(r"(\\\+)?f(\d+)(?!\w)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """Something that may be so: what it says, and its probability, where need be given the facts of the column before it."""

    words: str
    probability: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """ProbLog text about one row; f0, f1, ... are its facts, clause0, ... the rules' clauses, `accepted` the decision."""

    text: str
    facts: tuple[Fact, ...]
    rules: Rules


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """Facts, each true or false, that together decide; no two proofs of a decision can hold at once."""

    facts: tuple[tuple[str, bool], ...]
    probability: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Chances:
    """The probability that the row is accepted, and that each clause fires, in the order of the rules."""

    accepted: float
    clauses: tuple[float, ...]


@dataclass(slots=True)
class _Writing:
    """A program on its way: facts so far, and for each condition the body that proves it."""

    facts: list[Fact] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def fact(self, words: str, probability: float) -> str:
        """A new fact; its name."""
        words = " ".join(words.split())  # a line break in a column's name would end the comment
        name = f"f{len(self.facts)}"
        self.facts.append(Fact(words=words, probability=probability))
        self.lines += [f"% {name}: {words}", f"{probability!r}::{name}."]
        return name


def program(
    rules: Rules, row: Floats, *, noise: Mapping[str, float] | None = None, strength: Sequence[float] = ()
) -> Program:
    """The rules about one row (d,) as ProbLog text (deraedt2007).

    noise: of a number the standard deviation of its error, of a category the chance that its level is wrong and then, all
    alike, another one that the rules name or one that they do not; columns that are not named are as recorded. strength:
    the probability that each clause counts where its literals hold, by default 1. Raises UsageError.
    """
    noise, strength = dict(noise or {}), tuple(strength) or (1.0,) * len(rules.clauses)
    _sensible(rules, row, noise, strength)
    writing = _Writing()
    bodies: dict[tuple[int, bool, float], str] = {}
    for column in sorted({each.column for clause in rules.clauses for each in clause.literals}):
        sd = noise.get(rules.columns[column], 0.0)
        bodies |= _column(rules, column, float(row[column]), sd, writing)
    for k, (clause, weight) in enumerate(zip(rules.clauses, strength, strict=True)):
        body = [_body(each, bodies) for each in clause.literals]
        if weight < 1:
            body.append(writing.fact(f"clause {k + 1} counts", weight))
        writing.lines += [f"% {' '.join(str(clause).split())}", f"clause{k} :- {', '.join(body) or 'true'}."]
        writing.lines.append(f"{'accepting' if clause.accepts else 'denying'} :- clause{k}.")
    writing.lines += ["accepting :- fail.", "denying :- fail.", f"{DECISION} :- accepting, \\+denying."]
    return Program(text="\n".join(writing.lines) + "\n", facts=tuple(writing.facts), rules=rules)


def _sensible(rules: Rules, row: Floats, noise: Mapping[str, float], strength: Sequence[float]) -> None:
    if np.shape(row) != (len(rules.columns),):
        raise UsageError(f"row: {len(rules.columns)} numbers, one a column, got shape {np.shape(row)}")
    for name, each in noise.items():
        if name not in rules.columns or not (each >= 0 and math.isfinite(each)):
            raise UsageError(f"noise: columns {', '.join(rules.columns)} and numbers from 0 on, got {name!r} = {each}")
        asked = [literal for clause in rules.clauses for literal in clause.literals if literal.name == name]
        if each > 1 and any(literal.op in ("is", "is not") for literal in asked):
            raise UsageError(f"noise: of a category a chance from 0 to 1, got {name!r} = {each}")
    if len(strength) != len(rules.clauses) or not all(0 <= each <= 1 for each in strength):
        raise UsageError(f"strength: {len(rules.clauses)} probabilities, one a clause, got {strength}")


def _column(
    rules: Rules, column: int, value: float, noise: float, writing: _Writing
) -> dict[tuple[int, bool, float], str]:
    """Facts about one column, and what proves each of its conditions.

    Conditions on one column depend on each other. So each fact is one given those before it: above the second threshold
    given above the first; the second level given not the first. The product is then the exact joint probability.
    """
    asked = {each for clause in rules.clauses for each in clause.literals if each.column == column}
    above = {each.threshold: each for each in asked if each.op in (">", "<=")}
    levels = {each.threshold: each for each in asked if each.op in ("is", "is not")}
    bodies: dict[tuple[int, bool, float], str] = {}
    way: list[str] = []
    before = 1.0
    for threshold in sorted(above):
        chance = _above(value, threshold, noise)
        words = str(_positive(above[threshold]))
        way.append(writing.fact(words, min(chance / before, 1.0) if before else 0.0))
        name = f"above_{column}_{len(way)}"
        writing.lines.append(f"{name} :- {', '.join(way)}.")
        bodies[column, True, threshold], before = name, chance
    way, left = [], 1.0
    for place, level in enumerate(sorted(levels)):
        chance = _level(value, level, noise, levels)
        fact = writing.fact(str(_positive(levels[level])), min(chance / left, 1.0) if left > 0 else 0.0)
        name = f"level_{column}_{place}"
        writing.lines.append(f"{name} :- {', '.join([*way, fact])}.")
        bodies[column, False, level], left = name, left - chance
        way.append(f"\\+{fact}")
    return bodies


def _positive(literal: Literal) -> Literal:
    return literal if literal.op in (">", "is") else literal.opposite()


def _above(value: float, threshold: float, sd: float) -> float:
    """The probability that the true number lies above; what is missing does not."""
    if math.isnan(value) or not sd:
        return float(value > threshold)
    return NormalDist().cdf((value - threshold) / sd)


def _level(value: float, level: float, wrong: float, named: Collection[float]) -> float:
    """The probability that the true level is this one; what is missing has none."""
    if math.isnan(value):
        return 0.0
    return 1 - wrong if value == level else wrong / (len(set(named) - {value}) + (value in named))


def _body(literal: Literal, bodies: Mapping[tuple[int, bool, float], str]) -> str:
    name = bodies[literal.column, literal.op in (">", "<="), literal.threshold]
    return name if literal.op in (">", "is") else f"\\+{name}"


def chances(program: Program) -> Chances:
    """The exact probabilities that ProbLog finds; raises UsageError where problog is not installed."""
    names = [DECISION, *(f"clause{k}" for k in range(len(program.rules.clauses)))]
    text = program.text + "".join(f"query({name}).\n" for name in names)
    problog, source = _problog("problog"), _problog("problog.program").PrologString(text)
    found = problog.get_evaluatable().create_from(source).evaluate()
    values = {str(term): float(value) for term, value in found.items()}
    return Chances(accepted=values.get(DECISION, 0.0), clauses=tuple(values.get(name, 0.0) for name in names[1:]))


def proofs(program: Program, *, seconds: float = 60.0) -> tuple[Proof, ...]:
    """Disjoint proofs that the row is accepted, the most probable first; their probabilities add up to the whole.

    `problog explain` finds them, in a process and a folder of its own: its solver writes files where it stands. Raises
    UsageError where problog is not installed, or has not ended after so many seconds.
    """
    _problog("problog")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rules.pl"
        path.write_text(program.text + f"query({DECISION}).\n", encoding="utf-8")
        command = [sys.executable, "-m", "problog", "explain", str(path)]
        try:
            told = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, timeout=seconds, check=True, encoding="utf-8"
            )
        except subprocess.TimeoutExpired:
            raise UsageError(f"problog explain: no answer within {seconds:g} seconds; raise `seconds`") from None
        except subprocess.CalledProcessError as error:
            raise UsageError(f"problog explain: {error.stderr or error.stdout}") from None
    lines = told.stdout.partition("Proofs\n")[2].partition("Probabilities\n")[0].splitlines()
    found = [
        _proof(each.partition("%")[0], program.facts)
        for each in lines
        if each.startswith(DECISION) and ":- fail" not in each
    ]
    return tuple(sorted(found, key=lambda proof: -proof.probability))


def _proof(line: str, facts: Sequence[Fact]) -> Proof:
    """A proof as ProbLog writes it, its probability as the product of those of its facts: ProbLog's own is rounded."""
    used = [(facts[int(number)], not negated) for negated, number in _FACT.findall(line)]
    chance = math.prod(fact.probability if so else 1 - fact.probability for fact, so in used)
    return Proof(facts=tuple((fact.words, so) for fact, so in used), probability=chance)


def changed(
    rules: Rules,
    row: Floats,
    column: str,
    value: float,
    *,
    noise: Mapping[str, float] | None = None,
    strength: Sequence[float] = (),
) -> Iterator[tuple[str, float, float]]:
    """What another value of one column changes: the decision, then each clause whose chance differs, before and after."""
    if column not in rules.columns:
        raise UsageError(f"column: {', '.join(rules.columns)}; got {column!r}")
    other = np.array(row, dtype=np.float64)
    other[rules.columns.index(column)] = value
    one, two = (chances(program(rules, each, noise=noise, strength=strength)) for each in (row, other))
    yield DECISION, one.accepted, two.accepted
    for clause, before, after in zip(rules.clauses, one.clauses, two.clauses, strict=True):
        if before != after:
            yield str(clause), before, after


def _problog(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UsageError(f"proofs need ProbLog: pip install 'neural-audit[symbolic]' ({error})") from None
