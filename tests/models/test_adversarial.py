"""Adversarial debiasing: the projection is exact, the recipe works on a seed, and what cannot be trained is named."""

import numpy as np
import pytest
import torch
from torch import nn

from audit.core import DataError, ModelError, UsageError, stream
from audit.models.debias.adversarial import adversarial, direction, rivals_loss
from audit.models.debias.held_out import held_out_adversary
from audit.models.debias.selection import Rows, gap
from audit.models.stack import layers_of
from audit.models.training import log_loss
from audit.registry import entries


@pytest.fixture(scope="module")
def world():
    return entries("worlds")["credit"].function()


@pytest.fixture(scope="module")
def drawn(world):
    return world.draw(6000, stream(2, "adversarial"))


def gradients():
    generator = torch.Generator().manual_seed(3)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        module, rival = layers_of([8, 8, 1]), layers_of([1, 16, 16, 2])
    part = Rows(
        x=torch.randn(64, 8, generator=generator),
        y=torch.randint(2, (64,), generator=generator),
        a=torch.randint(2, (64,), generator=generator),
    )
    said, parameters = module(part.x)[:, 0], list(module.parameters())
    own = torch.autograd.grad(log_loss(said, part.y).mean(), parameters, retain_graph=True)
    return own, torch.autograd.grad(rivals_loss(rival, said, part, "demographic_parity"), parameters)


def along(found, other):
    return float(sum((d.double() * h.double()).sum() for d, h in zip(found, other, strict=True)))


@pytest.mark.parametrize("alpha", [0.0, 1.0, 2.0])
def test_the_step_works_against_the_adversary_by_exactly_alpha(alpha):
    own, other = gradients()
    length = along(other, other)
    assert abs(along(direction(own, other, alpha), other) + alpha * length) <= 1e-6 * max(1.0, length)
    tensors = []  # fairlearn 0.15: tensor by tensor, and torch.inner, which for a matrix is no scalar product
    for g, h in zip(own, other, strict=True):
        unit = h / (h.norm() + torch.finfo(h.dtype).tiny)
        tensors.append(g - torch.sum(torch.inner(unit, g)) * unit - alpha * h)
    assert abs(along(tensors, other) + alpha * length) > 1e-3 * length


def test_without_an_adversarys_gradient_the_step_is_the_modules_own():
    own, other = gradients()
    for step, g in zip(direction(own, [torch.zeros_like(h) for h in other], 2.0), own, strict=True):
        torch.testing.assert_close(step, g, rtol=0, atol=0)


def test_a_seed_of_the_credit_world(world, drawn):
    x, sex = drawn.inputs.values, drawn.groups["sex"].values.astype(int)
    mean, deviation = x.mean(axis=0), x.std(axis=0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        start = layers_of([x.shape[1], 32, 1])
    before = [p.clone() for p in start.parameters()]
    found = adversarial(start, ((x - mean) / deviation).astype(np.float32), drawn.y, sex)
    assert all(torch.equal(p, q) for p, q in zip(before, start.parameters(), strict=True))  # a copy is trained
    assert found.chosen in found.history
    new = world.draw(20_000, stream(9, "adversarial"))
    with torch.no_grad():
        logit = found.module(torch.as_tensor((new.inputs.values - mean) / deviation, dtype=torch.float32))[:, 0].numpy()
    theirs = new.groups["sex"].values.astype(int)
    assert gap(logit > 0, new.y, theirs, "demographic_parity") <= 0.05
    assert ((logit > 0) == new.y).mean() >= 0.7335 - 0.03
    assert held_out_adversary(logit, theirs).auc <= 0.53


def test_the_gap_by_hand():
    decided, y, a = [1, 1, 0, 0, 1, 0], [1, 1, 0, 1, 0, 0], [0, 0, 0, 1, 1, 1]
    assert gap(decided, y, a, "demographic_parity") == pytest.approx(2 / 3 - 1 / 3)
    assert gap(decided, y, a, "equal_opportunity") == 1.0
    assert gap(decided, y, a, "equalized_odds") == 1.0
    one = (2 / 3 * 1 / 3 / 3 + 1 / 3 * 2 / 3 / 3) ** 0.5
    assert gap(decided, y, a, "demographic_parity", margin=1.0) == pytest.approx(1 / 3 + one)


@pytest.mark.parametrize(
    ("change", "error", "word"),
    [
        ({"eps": 0.0}, UsageError, "eps"),
        ({"criterion": "x"}, UsageError, "criterion"),
        ({"alpha": -1.0}, UsageError, "alpha"),
        ({"a": np.zeros(40)}, DataError, "two groups"),
        ({"x": np.full((40, 2), np.nan, dtype=np.float32)}, DataError, "NaN"),
        ({"module": nn.Identity()}, ModelError, "gradients"),
    ],
)
def test_what_cannot_be_trained_is_named(change, error, word):
    given = {
        "module": nn.Linear(2, 1),
        "x": np.ones((40, 2), dtype=np.float32),
        "y": np.arange(40) % 2,
        "a": np.arange(40) // 20,
    } | change
    with pytest.raises(error, match=word):
        adversarial(given.pop("module"), given.pop("x"), given.pop("y"), given.pop("a"), **given)
