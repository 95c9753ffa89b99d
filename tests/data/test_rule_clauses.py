"""Literals, clauses and rules: one of two opposites holds, tidy clauses are the same clauses, texts are read back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.core import DataError
from audit.data.rules import Clause, Literal, Rules, clause_of

VALUES = st.sampled_from([-1.0, 0.0, 1.0, 2.0, float("nan"), float("inf"), float("-inf")])
LITERALS = st.builds(
    Literal,
    column=st.integers(0, 1),
    name=st.just("x"),
    op=st.sampled_from([">", "<=", "is", "is not"]),
    threshold=st.sampled_from([-1.0, 0.0, 1.0]),
)
ROWS = st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=8).map(np.array)


@given(LITERALS, ROWS)
def test_of_two_opposites_one_holds(literal, x):
    assert (literal.holds(x) ^ literal.opposite().holds(x)).all()
    assert literal.opposite().opposite() == literal


@given(st.lists(LITERALS, max_size=6), ROWS)
def test_a_tidy_clause_is_the_same_clause(literals, x):
    clause = Clause(literals=tuple(literals))
    tidy = clause.tidy()
    assert len(tidy.literals) <= len(literals)
    assert np.array_equal(clause.holds(x), tidy.holds(x))
    assert tidy.tidy() == tidy


@given(st.lists(st.tuples(st.lists(LITERALS, max_size=3), st.booleans()), max_size=5), ROWS)
def test_a_decision_is_some_accepting_clause_and_no_denying_one(clauses, x):
    rules = Rules(columns=("a", "b"), clauses=tuple(Clause(literals=tuple(b), accepts=a) for b, a in clauses))
    for row, decision in zip(x, rules.decide(x), strict=True):
        held = {True: [], False: []}
        for clause in rules.clauses:
            held[clause.accepts].append(all(bool(each.holds(row[None])[0]) for each in clause.literals))
        assert decision == (any(held[True]) and not any(held[False]))


def test_a_text_is_read_as_a_clause():
    found = clause_of("age > -1.5e1 & debt to income ≤ .5 & sex = 1", ("sex", "age", "debt to income"))
    assert [(each.column, each.op, each.threshold) for each in found.literals] == [
        (1, ">", -15),
        (2, "<=", 0.5),
        (0, "is", 1),
    ]
    assert str(found) == "age > -15 & debt to income ≤ 0.5 & sex is 1"


@pytest.mark.parametrize(
    ("text", "named"), [("incom > 0", "did you mean 'income'"), ("income", "a condition"), ("", "a condition")]
)
def test_what_is_no_condition_is_told(text, named):
    with pytest.raises(DataError, match=named):
        clause_of(text, ("income",))
