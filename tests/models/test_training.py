"""Optimisers and learning rules against torch.optim, hand formulas and brute force."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from audit.core import DataError, ModelError, UsageError
from audit.models.feedback import alignment, feeding_back
from audit.models.kfac import KFAC, output_roots
from audit.models.seeds import seeded
from audit.models.training import RATES, Training, log_loss, train

RULES = ("backpropagation", "feedback_alignment", "direct_feedback_alignment")


def stack(*widths, seed=0, activation=nn.Tanh, dtype=torch.float64, dropout=0.0):
    with seeded(seed):
        layers = [
            each
            for a, b in pairwise(widths[:-1])
            for each in (nn.Linear(a, b), activation(), *([nn.Dropout(dropout)] if dropout else []))
        ]
        return nn.Sequential(*layers, nn.Linear(widths[-2], widths[-1])).to(dtype)


def problem(rows=64, columns=4, seed=0, dtype=torch.float64):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, columns))
    y = (x @ np.arange(1, columns + 1) + rng.logistic(size=rows) > 0).astype(np.int64)
    return torch.from_numpy(x).to(dtype), torch.from_numpy(y)


def squared(raw, y):
    return ((raw - y) ** 2).reshape(len(raw), -1).sum(dim=1)


def flat(module):
    return torch.cat([each.detach().flatten() for each in module.parameters()])


def gradients(module, x, y, rule="backpropagation", weights=None):
    with feeding_back(module, rule, x[:2], weights=weights):
        module.zero_grad()
        log_loss(module(x), y).mean().backward()
    return [each.grad.clone() for each in module.parameters()]


# ---------------------------------------------------------------------------------------------------- optimisers
@pytest.mark.parametrize(
    ("name", "peer"),
    [
        ("sgd", lambda p: torch.optim.SGD(p, lr=0.02, weight_decay=0.1)),
        ("momentum", lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.8, weight_decay=0.1)),
        ("nesterov", lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.8, nesterov=True, weight_decay=0.1)),
        ("adam", lambda p: torch.optim.Adam(p, lr=0.02, weight_decay=0.1)),
        ("adamw", lambda p: torch.optim.AdamW(p, lr=0.02, weight_decay=0.1)),
    ],
)
def test_each_optimiser_takes_the_steps_of_torch(name, peer):
    x, y = problem()
    ours, theirs = stack(4, 5, 1), stack(4, 5, 1)
    settings = Training(optimiser=name, rate=0.02, momentum=0.8, weight_decay=0.1, epochs=3, batch=100)
    train(ours, x, y, training=settings, loss=log_loss)
    optimiser = peer(theirs.parameters())
    for _ in range(3):
        optimiser.zero_grad()
        log_loss(theirs(x), y).mean().backward()
        optimiser.step()
    assert torch.allclose(flat(ours), flat(theirs), atol=1e-12)


def hand(name, gradient, w, steps, rate, decay):
    """The same optimisers as formulas on one number."""
    m = v = 0.0
    for t in range(1, steps + 1):
        g = gradient(w) + (0.0 if name == "adamw" else decay * w)
        if name == "sgd":
            w -= rate * g
        elif name in ("momentum", "nesterov"):
            m = 0.9 * m + g
            w -= rate * (g + 0.9 * m if name == "nesterov" else m)
        else:
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
            step = rate * (m / (1 - 0.9**t)) / (math.sqrt(v / (1 - 0.999**t)) + 1e-8)
            w = w * (1 - rate * decay if name == "adamw" else 1.0) - step
    return w


@pytest.mark.parametrize("name", ["sgd", "momentum", "nesterov", "adam", "adamw"])
def test_each_optimiser_follows_its_formula(name):
    module = nn.Linear(1, 1, bias=False).double()
    with torch.no_grad():
        module.weight.fill_(2.0)
    x, y = torch.tensor([[3.0]], dtype=torch.float64), torch.tensor([[1.0]], dtype=torch.float64)
    train(module, x, y, training=Training(optimiser=name, rate=0.01, weight_decay=0.2, epochs=7), loss=squared)
    assert module.weight.item() == pytest.approx(hand(name, lambda w: 6 * (3 * w - 1), 2.0, 7, 0.01, 0.2), abs=1e-12)


# --------------------------------------------------------------------------------------------------------- K-FAC
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), columns=st.integers(1, 6), outputs=st.integers(1, 3), bias=st.booleans())
def test_the_natural_gradient_of_a_linear_layer_ends_in_one_step(seed, columns, outputs, bias):
    rng = np.random.default_rng(seed)
    x, y = torch.from_numpy(rng.standard_normal((40, columns))), torch.from_numpy(rng.standard_normal((40, outputs)))
    with seeded(seed):
        module = nn.Linear(columns, outputs, bias=bias).double()
    train(module, x, y, training=Training(optimiser="kfac", rate=1.0, damping=1e-14, epochs=1, batch=40), loss=squared)
    design = np.column_stack([x, np.ones(40)]) if bias else x.numpy()
    best = np.linalg.lstsq(design, y.numpy(), rcond=None)[0]
    reached = squared(module(x), y).mean().item()
    assert reached - float(((design @ best - y.numpy()) ** 2).sum(axis=1).mean()) <= 1e-9


def test_kfac_preconditions_by_the_inverse_of_the_kronecker_product():
    x, y = problem()
    shares = torch.from_numpy(np.random.default_rng(1).uniform(0.2, 2.0, len(x)))
    module, kfac = stack(4, 3, 2), KFAC(damping=0.03)
    with kfac.watching(module):
        raw = module(x)
        kfac.observe(log_loss, raw, y, shares)
        (log_loss(raw, y) * shares).mean().backward()
    plain = [each.grad.clone() for each in module.parameters()]
    kfac.precondition()
    hidden = torch.tanh(module[0](x)).detach()
    p = torch.softmax(module(x), dim=1).detach()
    hessian = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]  # of the log loss in the logits, in closed form
    down = (1 - hidden**2)[:, None, :] * module[2].weight.detach()  # d logits / d what goes into tanh
    cases = [(module[0], x, down.mT @ hessian @ down, plain[:2]), (module[2], hidden, hessian, plain[2:])]
    for layer, inputs, output, (weight, bias) in cases:
        rows = torch.cat([inputs, torch.ones(len(x), 1)], dim=1)
        a = torch.einsum("n,ni,nj->ij", shares, rows, rows) / len(x)
        g = torch.einsum("n,nij->ij", shares, output) / len(x)
        pi = ((a.trace() / len(a)) / (g.trace() / len(g))).sqrt()
        damped_a = a + pi * 0.03**0.5 * torch.eye(len(a), dtype=a.dtype)
        damped_g = g + 0.03**0.5 / pi * torch.eye(len(g), dtype=g.dtype)
        whole = torch.linalg.inv(torch.kron(damped_g.contiguous(), damped_a.contiguous()))  # row by row: G first
        natural = (whole @ torch.cat([weight, bias[:, None]], dim=1).flatten()).reshape(layer.out_features, -1)
        got = torch.cat([layer.weight.grad, layer.bias.grad[:, None]], dim=1)
        assert torch.allclose(got, natural, rtol=1e-8, atol=1e-12)


def test_roots_of_the_loss_s_curvature():
    rng = np.random.default_rng(0)
    raw, y = torch.from_numpy(rng.standard_normal((9, 3))), torch.from_numpy(rng.integers(0, 3, 9))
    roots = torch.stack(output_roots(log_loss, raw, y), dim=2)
    p = torch.softmax(raw, dim=1)
    assert torch.allclose(roots @ roots.mT, torch.diag_embed(p) - p[:, :, None] * p[:, None, :], atol=1e-12)
    (single,) = output_roots(log_loss, raw[:, 0], y > 0)
    assert torch.allclose(single**2, torch.sigmoid(raw[:, 0]) * (1 - torch.sigmoid(raw[:, 0])))
    assert output_roots(lambda z, t: z[:, 0], raw, y) == []


def test_kfac_needs_linear_layers_that_see_every_row():
    x, y = problem()
    with pytest.raises(ModelError, match="the module has none"):
        train(nn.PReLU(4).double(), x, y, training=Training(optimiser="kfac", epochs=1), loss=lambda r, t: r[:, 0] ** 2)

    class Half(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(4, 4).double(), nn.Linear(4, 1).double()

        def forward(self, x):
            return self.last(torch.cat([self.first(x[:5]), x[5:]]))

    with pytest.raises(ModelError, match="one saw 5 of 64"):
        train(Half(), x, y, training=Training(optimiser="kfac", epochs=1), loss=log_loss)


def test_kfac_says_when_it_needs_damping():
    x, y = problem()
    twice = torch.cat([x, torch.zeros_like(x)], dim=1)
    with pytest.raises(ModelError, match=r"kfac: a factor is singular with damping 0\.0e\+00"):
        train(stack(8, 2), twice, y, training=Training(optimiser="kfac", damping=0.0, epochs=1), loss=log_loss)


# ---------------------------------------------------------------------------------------------------------- rules
def test_feedback_through_the_layers_own_weights_is_backpropagation():
    x, y = problem()
    module = stack(4, 6, 5, 1, activation=nn.GELU)
    own = {name: each.weight.detach() for name, each in module.named_modules() if isinstance(each, nn.Linear)}
    pairs = zip(gradients(module, x, y), gradients(module, x, y, "feedback_alignment", own), strict=True)
    assert all(torch.allclose(a, b, atol=1e-14) for a, b in pairs)


def test_direct_feedback_on_one_hidden_layer_through_its_own_weights_is_backpropagation():
    x, y = problem()
    module = stack(4, 6, 3)
    own = {"0": torch.zeros(3, 4, dtype=torch.float64), "2": module[2].weight.detach()}
    pairs = zip(gradients(module, x, y), gradients(module, x, y, "direct_feedback_alignment", own), strict=True)
    assert all(torch.allclose(a, b, atol=1e-14) for a, b in pairs)


def test_both_rules_are_their_formulas():
    x, y = problem()
    module = stack(4, 6, 5, 2)
    rng = np.random.default_rng(3)

    def drawn(*shape):
        return torch.from_numpy(rng.standard_normal(shape))

    one = torch.tanh(module[0](x))
    two = torch.tanh(module[2](one))
    error = (torch.softmax(module[4](two), dim=1) - nn.functional.one_hot(y, 2)) / len(x)
    for rule, back in (
        ("feedback_alignment", {"0": drawn(6, 4), "2": drawn(5, 6), "4": drawn(2, 5)}),
        ("direct_feedback_alignment", {"0": drawn(2, 4), "2": drawn(2, 6), "4": drawn(2, 5)}),
    ):
        second = (error @ back["4"]) * (1 - two**2)
        first = ((second if rule == "feedback_alignment" else error) @ back["2"]) * (1 - one**2)
        got = gradients(module, x, y, rule, back)
        want = [first.T @ x, first.sum(0), second.T @ one, second.sum(0), error.T @ two, error.sum(0)]
        assert all(torch.allclose(a, b.detach(), atol=1e-12) for a, b in zip(got, want, strict=True))


def test_weights_turn_towards_the_backward_weights():
    x, y = problem(rows=400, dtype=torch.float32)
    module = stack(4, 16, 1, dtype=torch.float32)
    with feeding_back(module, "feedback_alignment", x[:2], seed=1) as back:
        before = alignment(module, back)["2"]
    train(
        module,
        x,
        y,
        training=Training(optimiser="sgd", rule="feedback_alignment", epochs=30, batch=50, seed=1),
        loss=log_loss,
    )
    after = alignment(module, back)["2"]
    assert after > max(before, 0.0) + 0.2


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_learns_through_norms_and_dropout_and_leaves_no_trace(rule):
    x, y = problem(rows=300, dtype=torch.float32)
    with seeded(0):
        norms = (nn.BatchNorm1d(8), nn.LayerNorm(8))
        body = [each for norm in norms for each in (nn.Linear(4 if norm is norms[0] else 8, 8), norm, nn.PReLU())]
        module = nn.Sequential(*body, nn.Dropout(0.1), nn.Linear(8, 1))
    history = train(module, x, y, training=Training(rule=rule, epochs=12, batch=50, rate=0.01), loss=log_loss)
    assert history[-1] < history[0] - 0.1
    assert not any("forward" in vars(each) for each in module.modules())
    assert not any(each._forward_hooks for each in module.modules())
    assert not module.training


class Around(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 1)

    def forward(self, x):
        one = torch.relu(self.first(x))
        return self.last(one + self.second(one))


@pytest.mark.parametrize("rule", RULES[1:])
def test_a_rule_that_does_not_suit_a_module_says_so(rule):
    x, y = problem(dtype=torch.float32)
    once = Training(rule=rule, epochs=1)
    with pytest.raises(ModelError, match="without ways around one"):
        train(Around(), x, y, training=once, loss=log_loss)
    with pytest.raises(ModelError, match="0 is Bilinear"):
        train(nn.Sequential(nn.Bilinear(1, 1, 1), nn.Linear(4, 1)), x, y, training=once, loss=log_loss)
    shared = nn.Linear(4, 4)
    with pytest.raises(ModelError, match="used once"):
        train(nn.Sequential(shared, nn.ReLU(), shared, nn.Linear(4, 1)), x, y, training=once, loss=log_loss)


# ------------------------------------------------------------------------------------------------ all of them
@pytest.mark.parametrize("optimiser", list(RATES))
@pytest.mark.parametrize("rule", RULES)
def test_same_seed_same_bits_and_the_random_state_stays(optimiser, rule):
    x, y = problem(dtype=torch.float32)
    modules = [stack(4, 6, 5, 1, dtype=torch.float32, dropout=0.2) for _ in range(3)]
    torch.manual_seed(5)
    before = torch.get_rng_state()
    runs = [
        train(
            module, x, y, training=Training(optimiser=optimiser, rule=rule, epochs=2, batch=20, seed=s), loss=log_loss
        )
        for module, s in zip(modules, (3, 3, 4), strict=True)
    ]
    assert torch.equal(torch.get_rng_state(), before)
    assert runs[0] == runs[1]
    assert torch.equal(flat(modules[0]), flat(modules[1]))
    assert not torch.equal(flat(modules[0]), flat(modules[2]))


@pytest.mark.parametrize("optimiser", list(RATES))
def test_a_row_of_weight_two_is_two_rows(optimiser):
    x, y = problem(rows=30)
    times = torch.from_numpy(np.random.default_rng(2).integers(0, 4, 30))
    weighted, repeated = stack(4, 5, 1), stack(4, 5, 1)
    settings = Training(optimiser=optimiser, epochs=4, batch=1000)
    first = train(weighted, x, y, training=settings, loss=log_loss, weights=times.double())
    again = [each.repeat_interleave(times, dim=0) for each in (x, y)]
    assert first == pytest.approx(train(repeated, *again, training=settings, loss=log_loss), abs=1e-9)
    assert torch.allclose(flat(weighted), flat(repeated), atol=1e-9)


def test_what_is_not_allowed_is_named():
    with pytest.raises(UsageError, match=r"optimiser: one of 'sgd', .* got 'adamm'; did you mean 'adam'"):
        Training(optimiser="adamm")
    with pytest.raises(UsageError, match=r"rule: one of 'backpropagation'.* got 'hebb'"):
        Training(rule="hebb")
    for wrong in (
        {"epochs": -1},
        {"batch": 0},
        {"rate": 0.0},
        {"momentum": 1.0},
        {"weight_decay": -1.0},
        {"damping": -1.0},
    ):
        with pytest.raises(UsageError, match=f"{next(iter(wrong))}: .* got"):
            Training(**wrong)
    x, y = problem()
    with pytest.raises(DataError, match="64 rows, 3 targets"):
        train(stack(4, 2, 1), x, y[:3], training=Training(), loss=log_loss)
    for weights in (torch.ones(3), -torch.ones(64), torch.zeros(64), torch.full((64,), math.nan)):
        with pytest.raises(DataError, match="weights: 64 numbers"):
            train(stack(4, 2, 1), x, y, training=Training(), loss=log_loss, weights=weights)
    module = stack(4, 2, 1)
    with pytest.raises(ModelError, match=r"loss of epoch 1 is nan with sgd at rate 0\.2"):
        train(module, x * math.nan, y, training=Training(optimiser="sgd"), loss=log_loss)
    assert not module.training


def test_the_rate_rises_and_falls_over_the_steps():
    """Where the gradient is always 1 the weight goes as far as the rates add up to."""
    module = torch.nn.Linear(1, 1, bias=False, dtype=torch.float64)
    torch.nn.init.zeros_(module.weight)
    training = Training(epochs=2, batch=2, optimiser="sgd", rate=0.1, warmup=0.4)
    x = torch.ones(10, 1, dtype=torch.float64)
    train(module, x, x, training=training, loss=lambda raw, y: raw[:, 0])
    # ten steps, the first four of which rise to the whole rate at the fifth, which the other five fall from
    shares = [1 / 5, 2 / 5, 3 / 5, 4 / 5, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6]
    assert module.weight.item() == pytest.approx(-0.1 * sum(shares))
    with pytest.raises(UsageError, match=r"warmup: a share in \[0, 1\), or None for one rate throughout, got 1"):
        Training(warmup=1.0)
