"""Adversarial debiasing: the projection is exact, the recipe works on a seed, and what cannot be trained is named."""

import numpy as np
import pytest
import torch
from torch import nn

from audit.core import DataError, ModelError, UsageError, stream
from audit.models import debias
from audit.models.debias.adversarial import Recipe, _step, adversarial, direction, rivals_loss
from audit.models.debias.held_out import held_out_adversary
from audit.models.debias.selection import FOLLOWED, Rows, follow, gap, rounds
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


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


@pytest.mark.parametrize("turned", [0.0, 1.5])
def test_a_step_of_strength_nought_is_plain_training_less_its_projection(turned):
    rng = np.random.default_rng(11)
    x, y, a = rng.normal(size=(30, 2)), rng.integers(0, 2, 30), rng.integers(0, 2, 30)
    module, rival = nn.Linear(2, 1, bias=False).double(), nn.Linear(1, 2, bias=False).double()
    weight = np.array([0.4, -0.7])
    with torch.no_grad():
        module.weight.copy_(torch.tensor(weight)[None])
        rival.weight.copy_(torch.tensor([[0.0], [turned]]))  # P(a = 1) = sigmoid(turned * logit)
    said = x @ weight
    own = (x * (sigmoid(said) - y)[:, None]).mean(axis=0)
    other = (x * (turned * (sigmoid(turned * said) - a))[:, None]).mean(axis=0)
    if turned:  # without it the adversary has no gradient, and the step is plain training
        own = own - own @ other / (other @ other) * other
    recipe = Recipe(alpha=0.0, epochs=1, batch=30, rate=0.1, steps=1, before=(0, 0), criterion="demographic_parity")
    part = Rows(x=torch.tensor(x), y=torch.tensor(y), a=torch.tensor(a))
    _step(module, rival, torch.optim.SGD(module.parameters(), lr=0.1), part, recipe)
    np.testing.assert_allclose(module.weight.detach().numpy()[0], weight - 0.1 * own, rtol=0, atol=1e-12)


def test_the_mean_of_weights_by_hand():
    mean, module = (nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1)).double() for _ in range(2))
    with torch.no_grad():
        mean[0].weight.fill_(5.0)
        for value in (1.0, -3.0, 2.0):
            module[0].weight.fill_(value)
            module[1].running_mean.fill_(value)
            follow(mean, module)
    left = 1 - FOLLOWED
    expected = left**3 * 5 + FOLLOWED * (left**2 * 1 - left * 3 + 2)
    assert mean[0].weight.item() == pytest.approx(expected, abs=1e-12)
    assert mean[1].running_mean.item() == 2.0  # buffers are taken as they are
    assert module[0].weight.item() == 2.0


def test_an_epoch_of_few_rows_takes_several_passes():
    # 8,000 rows less 30 % held back are 22 batches of 256: one pass; COMPAS leaves 2,217 to learn from, 9 batches
    assert [rounds(rows, 256, 20) for rows in (5600, 2217, 256, 1)] == [1, 3, 20, 20]
    assert [rounds(rows, 1000, 6) for rows in (5600, 2217, 50_000)] == [1, 2, 1]


def test_the_three_are_functions():
    for name in ("adversarial", "lagrangian", "penalised"):
        assert callable(getattr(debias, name))
        assert getattr(debias, name).__name__ == name


def people(groups, rows, seed):
    """Rows (n, 2) whose first column says much of the group, and labels that both columns move."""
    rng = np.random.default_rng(seed)
    a = rng.integers(0, groups, rows)
    x = np.column_stack([a * 2 / (groups - 1) - 1 + 0.5 * rng.normal(size=rows), rng.normal(size=rows)])
    y = (rng.random(rows) < sigmoid(1.5 * x.sum(axis=1))).astype(int)
    return x.astype(np.float32), y, a


@pytest.mark.parametrize(
    ("train", "criterion", "groups"),
    [
        (adversarial, "demographic_parity", 3),
        (adversarial, "equal_opportunity", 2),
        (debias.lagrangian, "demographic_parity", 3),
        (debias.lagrangian, "equal_opportunity", 2),
    ],
)
def test_three_groups_and_equal_opportunity(train, criterion, groups):
    x, y, a = people(groups, 4000, 1)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        start = layers_of([2, 8, 1])
    found = train(start, x, y, a, criterion=criterion, eps=0.1, **({"epochs": 12} if train is adversarial else {}))
    new, labels, codes = people(groups, 20_000, 2)
    with torch.no_grad():
        decided = found.module(torch.tensor(new))[:, 0].numpy() > 0
    doubt = gap(decided, labels, codes, criterion, margin=2.0) - gap(decided, labels, codes, criterion)
    assert gap(new.sum(axis=1) > 0, labels, codes, criterion) > 0.35  # what the best rule without a bound does
    assert gap(decided, labels, codes, criterion) <= 0.1 + doubt
    assert (decided == labels).mean() >= 0.68  # one column without the group gives .69


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
