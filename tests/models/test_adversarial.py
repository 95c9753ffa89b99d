"""Adversarial debiasing: the projection is exact, the recipe works on a seed, and what cannot be trained is named."""

import numpy as np
import pytest
import torch
from torch import nn

from audit.core import DataError, ModelError, UsageError, stream
from audit.data.tabular import Tabular
from audit.models import debias
from audit.models.debias.adversarial import Recipe, _step, adversarial, direction, rivals_loss
from audit.models.debias.held_out import held_out_adversary
from audit.models.debias.selection import FOLLOWED, Rows, follow, gap, rounds
from audit.models.seeds import seeded
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
    one = (3 / 5 * 2 / 5 / 5 + 2 / 5 * 3 / 5 / 5) ** 0.5  # a row more on either side
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
        ({"margin": -1}, UsageError, "margin: a number of standard errors from 0 on, got -1"),
        ({"eps": "a"}, UsageError, "eps: a gap above 0 and below 1, got 'a'"),
        ({"rate": 0}, UsageError, "rate: a number above 0, got 0"),
        ({"held": 1.0}, UsageError, "held"),
        ({"epochs": 0}, UsageError, "epochs"),
        ({"y": np.array(["good", "bad"] * 20)}, DataError, "y: an array or tensor of numbers is needed"),
        ({"a": np.array(["f", None] * 20, dtype=object)}, DataError, "none may be missing"),
        ({"x": np.ones((40, 3), dtype=np.float32)}, ModelError, r"cannot read x of shape \(40, 3\)"),
        ({"x": np.ones((39, 2), dtype=np.float32)}, DataError, r"y and a: one each of the rows of x \(39, 2\)"),
    ],
)
def test_what_cannot_be_trained_is_named(change, error, word):
    given = {
        "module": nn.Linear(2, 1),
        "x": np.ones((40, 2), dtype=np.float32),
        "y": np.arange(40) % 2,
        "a": np.arange(40) // 20,
    } | change
    first = [given.pop(name) for name in ("module", "x", "y", "a")]
    for each in (adversarial,) if "alpha" in given else (adversarial, debias.lagrangian, debias.penalised):
        with pytest.raises(error, match=word):
            each(*first, **given)


def test_few_rows_keep_no_bound_by_a_gap_of_nought():
    decided, y, a = [0, 0, 0], [1, 0, 1], [0, 0, 1]
    assert gap(decided, y, a, "demographic_parity") == 0
    one = (1 / 4 * 3 / 4 / 4 + 1 / 3 * 2 / 3 / 3) ** 0.5
    assert gap(decided, y, a, "demographic_parity", margin=1.0) == pytest.approx(one)
    x, y, a = people(2, 200, 1)
    few = slice(0, 10)
    with seeded(0):
        start = layers_of([2, 4, 1])
    found = debias.lagrangian(start, x[few], y[few], a[few], epochs=1)
    assert found.rows == (7, 3)
    assert not found.kept
    assert found.chosen.bound > 0.2
    assert found.notes[0].startswith(
        f"Rows held back of the smallest group that a rate counts: {found.fewest}, too few"
    )
    with pytest.raises(DataError, match=r"of 1 rows held back each group needs one .*the groups have"):
        debias.lagrangian(start, x[few], y[few], a[few], epochs=1, held=0.1)


def test_a_result_says_what_makes_its_choice_worth_little():
    x, y, a = people(2, 400, 1)
    start = nn.Linear(2, 1)
    with torch.no_grad():
        start.weight.zero_()
        start.bias.fill_(-50.0)  # so far from every label that no short training moves it across
    found = debias.lagrangian(start, x, y, a, epochs=1)
    assert found.chosen.selected == 0.0
    assert any("gets the same decision" in note for note in found.notes)
    assert any("from epoch 1 on of 1: 1, too few" in note for note in found.notes)
    with seeded(0):
        start = layers_of([2, 4, 1])
    found = debias.lagrangian(start, x, y, a, epochs=9)
    assert (found.first, found.notes) == (5, ())
    assert found.chosen.number >= found.first
    assert 0 < found.chosen.selected < 1


@pytest.mark.parametrize("train", [adversarial, debias.lagrangian, debias.penalised])
def test_arrays_tensors_tables_and_text_say_the_same(train):
    x, y, a = people(2, 200, 3)
    table = Tabular(values=x.astype(np.float64), columns=("one", "two"))
    with seeded(0):
        start = layers_of([2, 4, 1])
    wanted = train(start, x, y, a, epochs=1).module.state_dict()
    graph = torch.tensor(x, requires_grad=True) * 1
    for given in ((graph, torch.tensor(y), torch.tensor(a)), (table, list(y), np.array(["f", "m"])[a])):
        found = train(start, *given, epochs=1).module.state_dict()
        assert all(torch.equal(found[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize(
    ("change", "error", "word"),
    [
        ({"score": np.full(40, np.nan)}, DataError, "score: finite numbers are needed, got 40"),
        ({"score": np.ones((40, 2))}, DataError, r"score: one number a row .* shape \(40, 2\)"),
        ({"score": np.ones(39)}, DataError, "of one length, got 39 and 40"),
        ({"y": np.ones(41)}, DataError, "of one length, got 40, 41 and 40"),
        ({"y": np.array(["yes", "no"] * 20)}, DataError, "y: one number a row"),
        ({"a": np.arange(40) % 3}, DataError, "two groups apart, got 3"),
        ({"a": np.arange(40) // 38}, DataError, r"5 folds need as many rows of each group, got \[38, 2\]"),
        ({"a": np.array([0.0, np.nan] * 20)}, DataError, "none missing"),
        ({"folds": 1}, UsageError, "folds: a whole number from 2 on, got 1"),
        ({"level": 95}, UsageError, "level"),
        ({"seed": -1}, UsageError, "seed"),
    ],
)
def test_what_no_adversary_can_read_is_named(change, error, word):
    given = {"score": np.linspace(0, 1, 40), "a": np.arange(40) % 2} | change
    with pytest.raises(error, match=word):
        held_out_adversary(**given)


def test_the_held_out_adversary_reads_tensors_and_text():
    rng = np.random.default_rng(4)
    a = rng.integers(0, 2, 200)
    score = rng.normal(size=200) + a
    wanted = held_out_adversary(score, a)
    assert wanted.auc > 0.6
    assert held_out_adversary(torch.tensor(score, requires_grad=True) * 1, np.array(["f", "m"])[a]) == wanted
