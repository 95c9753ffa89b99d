"""Surrogate trees: exact imitation of a tree, scikit-learn's R², rules that mean what they say."""

import numpy as np
import pytest
from little_models import Plain, codes, context, sigmoid, subject, table
from sklearn.metrics import r2_score

from audit.core import ALL, Measure, NotApplicable, Table, UsageError
from audit.data.images import Images
from audit.explain.surrogate_tree import fidelity, same_as, surrogate, surrogate_tree

RNG = np.random.default_rng(0)


def mixed(n=400):
    values = np.column_stack([RNG.normal(size=n), RNG.integers(18, 70, n), RNG.integers(0, 3, n)]).astype(float)
    values[::9, 0] = np.nan
    values[::13, 2] = np.nan
    return table(
        values, ["income", "age", "job"], categories={"job": ("cook", "nurse", "smith")}, integers=frozenset({"age"})
    )


def holds(words, row, inputs):
    """Whether a rule in words is true of a row; an independent reading of the words."""
    if words == "everyone":
        return True
    for part in words.split(" and "):
        missing = part.endswith(" or missing")
        part = part.removesuffix(" or missing")
        if " is " in part:
            name, level = part.split(" is ")
            value = row[inputs.columns.index(name)]
            own = "missing" if np.isnan(value) else inputs.categories[name][int(value)]
            true = own != level.removeprefix("not ") if level.startswith("not ") else own == level
        else:
            tokens = part.split()
            name = tokens[2] if len(tokens) == 5 else tokens[0]
            value = row[inputs.columns.index(name)]
            if np.isnan(value):
                true = missing
            elif len(tokens) == 5:
                true = float(tokens[0]) < value <= float(tokens[4])
            else:
                true = value <= float(tokens[2]) if tokens[1] == "≤" else value > float(tokens[2])
        if not true:
            return False
    return True


def test_rules_mean_what_they_say_with_gaps_categories_and_whole_numbers():
    inputs = mixed()
    income, age, job = inputs.values.T
    outputs = (
        np.where(np.isnan(income), 3, np.round(income, 1)) + (age > 40) * 2 + (job == 1) * (age < 30) - np.isnan(job)
    )
    grown, encoded = surrogate_tree(inputs, outputs, depth=4, least=5)
    leaves = grown.leaves(encoded.matrix)
    rules = {rule.leaf: rule for rule in grown.rules()}
    assert set(rules) == set(leaves)
    near = 0
    for row in range(len(inputs)):
        true = [leaf for leaf, rule in rules.items() if holds(rule.words, inputs.values[row], inputs)]
        near += true != [leaves[row]]  # four digits of a limit may part a row from its leaf
    assert near <= 2
    assert any("or missing" in rule.words for rule in rules.values())
    assert any("job is" in rule.words for rule in rules.values())


def test_a_tree_is_imitated_exactly_and_its_rules_are_its_own():
    x = table(RNG.normal(size=(600, 3)), ["a", "b", "c"])

    def f(v):
        return np.where(v[:, 0] <= 0, 0.1, np.where(v[:, 1] <= 0, 0.7, 0.9))

    found = list(surrogate(subject(Plain(f), x), context(), depth=2))
    measures = {m.name: m for m in found if isinstance(m, Measure)}
    assert measures["surrogate_r2"].value > 0.97
    (rules,) = [e for e in found if isinstance(e, Table)]
    assert [round(row[1], 3) for row in rules.rows if row[3] == 0] != []
    assert sum(row[-1] for row in rules.rows) == pytest.approx(1)
    assert all(row[0].startswith("a ") for row in rules.rows)


def test_fidelity_is_scikit_learns_r2_weights_and_several_columns_included():
    outputs, imitated = RNG.random((50, 3)), RNG.random((50, 3))
    weights = RNG.integers(0, 3, (4, 50))
    for draw, found in zip(weights, fidelity(outputs, imitated, weights), strict=True):
        want = r2_score(outputs, imitated, sample_weight=draw, multioutput="variance_weighted")
        assert found == pytest.approx(want)
    assert np.isnan(fidelity(np.ones((5, 1)), np.ones((5, 1))))


def test_a_protected_attribute_is_found_under_another_name():
    sex = RNG.integers(0, 2, 500)
    x = table(np.column_stack([RNG.normal(size=500), sex * 5.0, sex + 0.0]), ["income", "code", "title"])
    x.values[:3, 2] = 1 - x.values[:3, 2]
    group = codes(np.array(["f", "m"])[sex])
    assert same_as(x, group) == ("code",)
    s = subject(Plain(lambda v: sigmoid(v[:, 0] + v[:, 1])), x, groups={"sex": group})
    found = {
        tuple(m.where.items()): m
        for m in surrogate(s, context())
        if isinstance(m, Measure) and m.name == "protected_in_rules"
    }
    assert found[(("sex", ALL),)].value == 1
    assert "code" in found[(("sex", ALL),)].note
    blind = subject(Plain(lambda v: sigmoid(3 * v[:, 0])), x, groups={"sex": group})
    (measure,) = [
        m for m in surrogate(blind, context(), depth=1) if isinstance(m, Measure) and m.name == "protected_in_rules"
    ]
    assert measure.value == 0


def test_agreement_is_told_for_every_group_and_a_group_without_rows_says_why():
    x = table(RNG.normal(size=(300, 2)))
    group = codes(["f", "m"] * 150, levels=("f", "m", "x"))
    found = list(surrogate(subject(Plain(lambda v: sigmoid(v[:, 0])), x, groups={"sex": group}), context()))
    agreement = {m.where.get("sex"): m for m in found if m.name == "surrogate_agreement"}
    assert set(agreement) == {None, "f", "m", "x"}
    assert agreement[None].n == agreement["f"].n + agreement["m"].n == 100
    assert agreement["x"].value is None


def test_several_classes_and_constant_models():
    x = table(RNG.normal(size=(300, 3)))
    wide = Plain(lambda v: np.exp(3 * v) / np.exp(3 * v).sum(axis=1, keepdims=True), classes=("a", "b", "c"))
    s = subject(wide, x, classes=("a", "b", "c"))
    found = list(surrogate(s, context()))
    (rules,) = [e for e in found if isinstance(e, Table)]
    assert {row[1] for row in rules.rows} <= {"a", "b", "c"}
    assert next(m for m in found if m.name == "surrogate_agreement").value > 0.6
    flat = list(surrogate(subject(Plain(lambda v: np.full(len(v), 0.3)), x), context()))
    assert flat[0].value is None
    assert next(e for e in flat if isinstance(e, Table)).rows[0][0] == "everyone"


def test_a_level_that_only_the_held_out_rows_have():
    values = np.zeros((90, 1))
    values[0] = 1
    x = table(values, ["kind"], categories={"kind": ("often", "once")})
    for seed in range(3):
        assert list(surrogate(subject(Plain(lambda v: 0.2 + 0.1 * v[:, 0]), x), context(seed)))


def test_what_cannot_be_imitated_says_so():
    with pytest.raises(NotApplicable, match="30 rows"):
        list(surrogate(subject(Plain(lambda v: sigmoid(v[:, 0])), table(np.zeros((20, 1)))), context()))
    with pytest.raises(NotApplicable, match="Images have none"):
        list(surrogate(subject(Plain(lambda v: v[:, 0, 0, 0]), Images(values=np.zeros((4, 1, 2, 2)))), context()))
    with pytest.raises(UsageError, match="depth"):
        surrogate_tree(table(np.zeros((20, 1))), np.zeros(20), depth=0)
