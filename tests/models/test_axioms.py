"""Fuzzy logic against truth tables and values worked out by hand; the fairness axiom against the world's own optimum."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from audit import codec
from audit.core import DataSpec, UsageError, stream
from audit.data.worlds.base import planted
from audit.data.worlds.frontier import best_accuracy
from audit.models import reference
from audit.models.families.axioms import equal, keeps_its_axiom, labelled
from audit.models.symbolic import logic

SPEC = codec.spec_from_toml('[model]\nkind = "family"\nfamily = "axioms"\n[data]\nworld = "credit"\n')
WORLD = planted(DataSpec(world="credit"))
TRUTH = st.floats(0, 1)
BOTH = pytest.mark.parametrize("semantics", ["product", "lukasiewicz"])


def of(*values):
    return torch.tensor(values, dtype=torch.float64)


@BOTH
def test_on_true_and_false_they_are_the_classical_connectives(semantics):
    for a, b in itertools.product((0.0, 1.0), repeat=2):
        x, y = of(a), of(b)
        assert bool(logic.conjunction(x, y, semantics)) == (a and b)
        assert bool(logic.disjunction(x, y, semantics)) == bool(a or b)
        assert bool(logic.implication(x, y, semantics)) == (not a or bool(b))
        assert bool(logic.equivalence(x, y, semantics)) == (a == b)


def test_values_in_between_are_those_of_the_hand():
    a, b = of(0.7), of(0.4)
    assert logic.conjunction(a, b).item() == pytest.approx(0.28)
    assert logic.disjunction(a, b).item() == pytest.approx(0.82)
    assert logic.implication(a, b).item() == pytest.approx(0.58)  # 1 - .7 + .7 * .4
    assert logic.equivalence(a, b).item() == pytest.approx(0.58 * 0.88)  # and 1 - .4 + .4 * .7
    assert logic.conjunction(a, b, "lukasiewicz").item() == pytest.approx(0.1)
    assert logic.disjunction(a, b, "lukasiewicz").item() == pytest.approx(1.0)
    assert logic.implication(a, b, "lukasiewicz").item() == pytest.approx(0.7)
    assert logic.equivalence(a, b, "lukasiewicz").item() == pytest.approx(0.7)  # 1 - |.7 - .4|


def test_quantifiers_are_means_of_errors_and_of_truths():
    truths = of(1.0, 0.5, 0.9)
    assert logic.forall(truths, 2).item() == pytest.approx(1 - np.sqrt((0 + 0.25 + 0.01) / 3))
    assert logic.forall(truths, 1).item() == pytest.approx(0.8)
    assert logic.exists(truths, 3).item() == pytest.approx(((1 + 0.125 + 0.729) / 3) ** (1 / 3))
    assert (logic.forall(truths[:0]).item(), logic.exists(truths[:0]).item()) == (1.0, 0.0)
    with pytest.raises(UsageError, match="1 or more"):
        logic.forall(truths, 0.5)


@BOTH
@given(TRUTH, TRUTH, TRUTH)
def test_connectives_commute_associate_and_stay_within_bounds(semantics, a, b, c):
    x, y, z = of(a), of(b), of(c)
    both = logic.conjunction
    assert both(x, y, semantics).item() == pytest.approx(both(y, x, semantics).item(), abs=1e-12)
    left, right = both(both(x, y, semantics), z, semantics), both(x, both(y, z, semantics), semantics)
    assert left.item() == pytest.approx(right.item(), abs=1e-9)
    assert 0 <= both(x, y, semantics).item() <= min(a, b) + 1e-12
    assert max(a, b) - 1e-12 <= logic.disjunction(x, y, semantics).item() <= 1


def test_gradients_are_finite_where_an_axiom_holds_fully():
    truths = torch.ones(3, dtype=torch.float64, requires_grad=True)
    logic.forall(truths).backward()
    assert torch.isfinite(truths.grad).all()


def test_the_two_axioms_are_those_of_the_hand():
    p = of(0.9, 0.6, 0.2, 0.3)
    logits, y, group = torch.logit(p), torch.tensor([1, 1, 0, 1]), torch.tensor([0, 0, 1, 1])
    # p = 1: three quarters of the rows are positive, of mean .6, and one negative of .8
    assert labelled(logits, y, 1.0).item() == pytest.approx(0.75 * 0.6 + 0.25 * 0.8)
    rates = torch.sigmoid(4 * logits).reshape(2, 2).mean(dim=1)
    assert equal(logits, group).item() == pytest.approx(1 - abs(rates[0] - rates[1]).item())
    assert equal(logits, torch.zeros(4)).item() == 1.0


@pytest.fixture(scope="module")
def unseen():
    return WORLD.draw(20_000, stream(1, "unseen"))


def figures(data, unseen, **options):
    """Accuracy and the gap of selection rates of a model trained with these options."""
    model = reference.trained("axioms", data, SPEC, seed=0, options=options)
    decided, group = model.predict(unseen.inputs) >= 0.5, unseen.groups["sex"].values
    gap = decided[group == 1].mean() - decided[group == 0].mean()
    return model, float((decided == unseen.y).mean()), float(gap)


def test_the_axiom_closes_the_gap_at_the_price_that_the_world_asks(unseen):
    data = WORLD.draw(8000, stream(0, "train"))
    _, accuracy, gap = figures(data, unseen, fairness=0.0)
    assert gap > 0.4
    assert accuracy > best_accuracy(WORLD, 1.0) - 0.01
    model, fair, closed = figures(data, unseen)
    assert abs(closed) < 0.05
    assert best_accuracy(WORLD, 0.05) - 0.04 < fair < accuracy - 0.05, (
        "equality has its price here, and no more than that"
    )
    assert all(each.kept for each in keeps_its_axiom(model, unseen, WORLD))


def test_a_weight_below_nought_is_told(unseen):
    with pytest.raises(UsageError, match="fairness"):
        reference.trained("axioms", unseen, SPEC, options={"fairness": -1.0})
