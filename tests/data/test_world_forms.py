"""The forms of oracles against the definition of Shapley values, over all coalitions."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.core import DataError
from audit.data.rules import Clause, Literal, Rules
from audit.data.worlds.boxes import boxes, product
from audit.data.worlds.forms import LogisticForm, RuleForm

D = 5
NAMES = tuple("abcde")
GRID = (-1.0, -0.5, 0.0, 0.5, 1.0)


def by_enumeration(form, x, background):
    """Shapley values (n, d) from their definition: every coalition, absent columns from each background row."""
    d = x.shape[1]
    worth = {}
    for size in range(d + 1):
        for members in itertools.combinations(range(d), size):
            mixed = np.repeat(background[None], len(x), axis=0)
            mixed[:, :, list(members)] = x[:, None, list(members)]
            worth[members] = form.logit(mixed.reshape(-1, d)).reshape(len(x), len(background)).mean(axis=1)
    values = np.zeros_like(x)
    for members, value in worth.items():
        for player in set(range(d)) - set(members):
            weight = math.factorial(len(members)) * math.factorial(d - len(members) - 1) / math.factorial(d)
            values[:, player] += weight * (worth[tuple(sorted((*members, player)))] - value)
    return values


def occluded(form, x, background):
    """What each column is worth alone, by filling it from every background row."""
    values = np.zeros_like(x)
    for place in range(x.shape[1]):
        mixed = np.repeat(x[:, None], len(background), axis=1)
        mixed[:, :, place] = background[:, place]
        filled = form.logit(mixed.reshape(-1, x.shape[1])).reshape(len(x), -1).mean(axis=1)
        values[:, place] = form.logit(x) - filled
    return values


literals = st.builds(
    lambda column, op, threshold: Literal(column=column, name=NAMES[column], op=op, threshold=threshold),
    st.integers(0, D - 1),
    st.sampled_from([">", "<=", "is", "is not"]),
    st.sampled_from(GRID),
)
clauses = st.builds(
    lambda parts, accepts: Clause(literals=tuple(parts), accepts=accepts),
    st.lists(literals, max_size=4),
    st.booleans(),
)
rule_lists = st.builds(
    lambda parts: Rules(columns=NAMES, clauses=tuple(parts)), st.lists(clauses, min_size=1, max_size=4)
)
weights = st.floats(-3, 3)
rows = st.integers(0, 10_000).map(lambda seed: np.random.default_rng(seed).choice([*GRID, -0.75, 0.3, 2.0], (9, D)))


@settings(max_examples=40, deadline=None)
@given(rule_lists, rule_lists, weights, weights, rows)
def test_shapley_values_of_rules_are_the_definition(first, second, one, two, x):
    form = RuleForm(columns=NAMES, rules=first, bias=0.3, parts=((first, one), (second, two)))
    here, behind = x[:3], x[3:]
    found = form.shapley_truth(here, behind)
    np.testing.assert_allclose(found, by_enumeration(form, here, behind), atol=1e-12)
    np.testing.assert_allclose(found.sum(axis=1), form.logit(here) - form.logit(behind).mean(), atol=1e-12)
    np.testing.assert_allclose(form.occlusion_truth(here, behind), occluded(form, here, behind), atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(rule_lists, rule_lists, rows)
def test_a_sum_of_boxes_is_the_decision(first, second, x):
    def value(found):
        total = np.zeros(len(x))
        for box, weight in found.items():
            held = np.ones(len(x), dtype=bool)
            for column, low, high in box:
                held &= (x[:, column] > low) & (x[:, column] <= high)
            total += weight * held
        return total

    np.testing.assert_array_equal(value(boxes(first)), first.decide(x))
    np.testing.assert_array_equal(value(product(boxes(first), boxes(second))), first.decide(x) * second.decide(x))


def test_too_many_overlapping_clauses_are_refused():
    many = tuple(
        Clause(literals=(Literal(column=column, name=f"c{column}", op=">", threshold=0.0),)) for column in range(14)
    )
    with pytest.raises(DataError, match="at most 4096 boxes"):
        boxes(Rules(columns=tuple(f"c{column}" for column in range(14)), clauses=many))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(weights, min_size=D, max_size=D),
    st.lists(st.tuples(st.integers(0, D - 1), st.integers(0, D - 1), weights), max_size=3),
    st.dictionaries(st.integers(0, D - 1), st.sampled_from(GRID), max_size=2),
    rows,
)
def test_explanations_of_a_logistic_form_are_the_definition(single, pairs, cuts, x):
    form = LogisticForm(
        columns=NAMES,
        weights=tuple(single),
        bias=0.7,
        pairs=tuple(pair for pair in pairs if pair[0] != pair[1]),
        cuts=tuple(cuts.items()),
    )
    here, behind = x[:3], x[3:]
    np.testing.assert_allclose(form.shapley_truth(here, behind), by_enumeration(form, here, behind), atol=1e-12)
    np.testing.assert_allclose(form.occlusion_truth(here, behind), occluded(form, here, behind), atol=1e-12)
    slopes, path = form.slopes(here), form.gradients_truth(here, behind[0])
    if cuts:
        assert slopes is None
        assert path is None
        return
    step = 1e-4 * np.eye(D)
    expected = np.column_stack([(form.logit(here + unit) - form.logit(here - unit)) / 2e-4 for unit in step])
    np.testing.assert_allclose(slopes, expected, atol=1e-8)
    np.testing.assert_allclose(path.sum(axis=1), form.logit(here) - form.logit(behind[:1]), atol=1e-12)
