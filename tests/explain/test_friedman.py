"""Friedman's H against the definition in loops and known values."""

import numpy as np
import pytest
from little_models import Plain, context, sigmoid, subject, table

from audit.core import Measure, NotApplicable, Table, UsageError
from audit.explain import game
from audit.explain.friedman import friedman_h, interactions_check

X = np.random.default_rng(0).normal(size=(60, 3))


def numbers(function, x=X, background=None):
    return game(Plain(function), table(x), None if background is None else table(background), output="value")


def centred_dependence(f, x, held):
    """Partial dependence on the held columns at every row, in loops."""
    found = []
    for row in x:
        changed = x.copy()
        changed[:, held] = row[held]
        found.append(f(changed).mean())
    return np.array(found) - np.mean(found)


def test_the_definition_in_loops():
    def f(v):
        return np.sin(v[:, 0]) * v[:, 1] + v[:, 2] ** 2 * v[:, 0] + v[:, 1]

    x = X[:15]
    found = friedman_h(numbers(f, x))
    for i in range(3):
        rest = [j for j in range(3) if j != i]
        whole = f(x) - f(x).mean()
        over = whole - centred_dependence(f, x, [i]) - centred_dependence(f, x, rest)
        assert found[(f"x{i}",)][0] == pytest.approx(np.sqrt((over**2).sum() / (whole**2).sum()))
        for j in range(i):
            both = centred_dependence(f, x, [j, i])
            over = both - centred_dependence(f, x, [i]) - centred_dependence(f, x, [j])
            h, strength = found[(f"x{j}", f"x{i}")]
            assert h == pytest.approx(np.sqrt((over**2).sum() / (both**2).sum()))
            assert strength == pytest.approx(np.sqrt((over**2).mean()))


def test_an_additive_model_has_exactly_none():
    found = friedman_h(numbers(lambda v: 1e3 + np.exp(v[:, 0]) + v[:, 1] ** 3 - 5 * v[:, 2]))
    assert {value for value, _ in found.values()} == {0.0}
    logistic = game(Plain(lambda v: sigmoid(v @ [1.0, 2.0, -1.0])), table(X), link="logit")
    assert max(value for value, _ in friedman_h(logistic).values()) < 1e-6


def test_known_values():
    """Of independent centred features x1 x2 is all joint; x1 + x2 + x1 x2 is joint in a third of its variance."""
    x = np.array([[a, b] for a in (-1.0, 1.0) for b in (-1.0, 1.0)])
    assert friedman_h(numbers(lambda v: v[:, 0] * v[:, 1], x))[("x0", "x1")] == pytest.approx((1, 1))
    both = friedman_h(numbers(lambda v: v[:, 0] + v[:, 1] + v[:, 0] * v[:, 1], x))
    assert both[("x0", "x1")] == pytest.approx((np.sqrt(1 / 3), 1))
    assert both[("x0",)] == pytest.approx((np.sqrt(1 / 3), 1))


def test_chosen_pairs_and_players_of_several_columns():
    played = game(
        Plain(lambda v: v[:, 0] * v[:, 1] + v[:, 2]), table(X), players={"first two": ("x0", "x1")}, output="value"
    )
    assert friedman_h(played)[("first two", "x2")][0] == 0
    assert set(friedman_h(numbers(lambda v: v[:, 0]), [("x0", "x2")])) == {("x0",), ("x1",), ("x2",), ("x0", "x2")}


def test_the_check_finds_the_pair_and_does_not_depend_on_batches():
    def f(v):
        return sigmoid(2 * v[:, 0] * v[:, 1])

    found = list(interactions_check(subject(Plain(f), table(X)), context()))
    single = {m.where["feature"]: m for m in found if isinstance(m, Measure) and m.name == "friedman_h"}
    pairs = {m.where["pair"]: m for m in found if isinstance(m, Measure) and m.name == "friedman_h_pair"}
    assert single["x2"].value == 0
    assert single["x0"].interval.low > 0.5
    assert pairs["x0 × x1"].value > 0.8
    assert pairs["x0 × x2"].value == pytest.approx(0, abs=1e-6)
    table_of_pairs, matrix, single = (e for e in found if isinstance(e, Table))
    assert table_of_pairs.rows[0][0] == "x0 × x1"
    assert matrix.view == "matrix"
    assert len(matrix.rows) == 6
    assert [row[0] for row in single.rows] == ["x0", "x1", "x2"]
    assert single.rows[0][1] is None
    assert single.rows[0][2] == single.rows[1][1] > 0.05
    assert single.rows[0][3] == pytest.approx(0, abs=1e-12)
    assert list(interactions_check(subject(Plain(f, batch=13), table(X)), context())) == found


def test_a_constant_model_has_no_h_and_says_why():
    found = list(interactions_check(subject(Plain(lambda v: np.full(len(v), 0.3)), table(X)), context()))
    assert all(m.value is None and "does not vary" in m.note for m in found if isinstance(m, Measure))


def test_what_cannot_be_compared_says_so():
    with pytest.raises(NotApplicable, match="2 to 64 features, and there are 1"):
        list(interactions_check(subject(Plain(lambda v: sigmoid(v[:, 0])), table(X[:, :1])), context()))
    with pytest.raises(UsageError, match="at least 2"):
        list(interactions_check(subject(Plain(lambda v: sigmoid(v[:, 0])), table(X)), context(), features=1))
