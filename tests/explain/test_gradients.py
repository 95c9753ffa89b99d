"""Slopes at the inputs against calculus and captum; models whose gradients are not their own are refused."""

import random

import numpy as np
import pytest
import torch
from captum.attr import GuidedBackprop, InputXGradient, NoiseTunnel, Saliency
from gradient_models import (
    Encoder,
    Formula,
    Last,
    Residual,
    lenet,
    mlp,
    pictures,
    rows,
    seeded,
    sequences,
    tables,
    texts,
)
from little_models import Open, Plain, table
from torch import nn

from audit.core import MissingOffer, NotApplicable, UsageError
from audit.explain import _foreign, game
from audit.explain.gradients import guided_backprop, input_x_gradient, saliency, smooth_grad
from audit.explain.path_gradients import integrated_gradients
from audit.explain.paths import differentiable
from audit.explain.relevance import deep_lift
from audit.models.layers import relus

METHODS = (saliency, input_x_gradient, smooth_grad)


def of(function, inputs=None, background=None, **options):
    inputs, background = rows() if inputs is None else inputs, rows(8, seed=2) if background is None else background
    return game(Open(Formula(function)), table(inputs), table(background), **({"link": "logit"} | options))


def test_calculus():
    played = of(lambda x: x[:, 0] ** 2 * x[:, 1] - x[:, 2], ((2.0, 3.0, 1.0),), ((1.0, 1.0, 1.0),))
    np.testing.assert_allclose(saliency(played).values, [[12, 4, 1]])
    np.testing.assert_allclose(saliency(played, absolute=False).values, [[12, 4, -1]])
    np.testing.assert_allclose(input_x_gradient(played).values, [[24, 12, -1]])
    np.testing.assert_allclose(input_x_gradient(played, centred=True).values, [[12, 8, 0]])
    assert not saliency(played).complete
    assert saliency(played).outputs == pytest.approx(11)
    assert saliency(played).base == pytest.approx(0)


def test_the_probabilitys_slope_is_that_of_the_log_odds_times_p_q():
    p = 1 / (1 + np.exp(-rows() @ np.arange(6.0)))
    slope = of(lambda x: x @ torch.arange(6.0, dtype=torch.float64), link="identity")
    np.testing.assert_allclose(saliency(slope, absolute=False).values, (p * (1 - p))[:, None] * np.arange(6.0))


def test_players_of_several_columns_get_the_sum():
    played = game(seeded(mlp()), rows(), rows(8, seed=2), output="logit", players={"both": ["x0", "x3"]})
    alone = game(seeded(mlp()), rows(), rows(8, seed=2), output="logit")
    both, each = saliency(played), saliency(alone)
    np.testing.assert_allclose(both.values[:, 0], each.values[:, 0] + each.values[:, 3])


@pytest.mark.parametrize(("peer", "method"), [(Saliency, saliency), (InputXGradient, input_x_gradient)])
def test_agrees_with_captum(peer, method):
    module = seeded(lenet())
    played = pictures(module, players="pixels", size=None)
    given = torch.tensor(played.masker.inputs.values, requires_grad=True)
    expected = peer(module).attribute(given).detach().numpy().reshape(3, -1)
    np.testing.assert_allclose(method(played).values, expected, atol=1e-12)


def test_guided_backprop_is_captums_and_leaves_no_hooks():
    module = seeded(lenet())
    played = pictures(module, players="pixels", size=None)
    with pytest.warns(UserWarning, match="Setting backward hooks"):
        expected = GuidedBackprop(module).attribute(torch.tensor(played.masker.inputs.values, requires_grad=True))
    module.train()
    found = guided_backprop(played)
    np.testing.assert_allclose(found.values, expected.detach().numpy().reshape(3, -1), atol=1e-12)
    assert module.training
    assert not any(each._forward_hooks or each._backward_hooks or each._forward_pre_hooks for each in module.modules())
    assert all(parameter.grad is None for parameter in module.parameters())


def test_guided_backprop_is_refused_where_relus_would_be_passed_over():
    with pytest.raises(NotApplicable, match=r"called as functions \(2 calls\)"):
        guided_backprop(tables(seeded(Residual().double())))
    with pytest.raises(NotApplicable, match="has none"):
        guided_backprop(tables(seeded(mlp(nn.Tanh))))


def test_relus_are_counted_by_how_they_are_called():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.relu = nn.ReLU(inplace=True)

        def forward(self, x):
            return self.relu(torch.relu(self.relu(x.relu()) - 1) + 0)

    module = Both()
    assert relus(module, lambda: module(torch.ones(2))) == (2, 2)


def test_smooth_grad_of_a_quadratic_is_its_gradient():
    """Mirrored noise cancels in the gradient of x'Ax, 2Ax, which is linear."""
    a = torch.as_tensor(np.diag(np.arange(1.0, 7.0)) + 0.1)
    found = smooth_grad(of(lambda x: torch.einsum("ni,ij,nj->n", x, a, x)), samples=8)
    np.testing.assert_allclose(found.values, 2 * rows() @ a.numpy(), atol=1e-12)
    np.testing.assert_allclose(found.se_sampling, 0, atol=1e-12)


def test_smooth_grad_of_a_cube_has_the_variance_on_top():
    """E 3 (x + e)^2 = 3 x^2 + 3 sigma^2, within the standard errors that it gives."""
    inputs, behind = rows(3, 1), rows(400, 1, seed=5)
    found = smooth_grad(of(lambda x: x[:, 0] ** 3, inputs, behind), samples=4000, noise=0.5)
    sigma = 0.5 * behind.std()
    assert (np.abs(found.values - 3 * (inputs**2 + sigma**2)) < 4 * found.se_sampling).all()
    assert (found.se_sampling > 0).all()
    assert (found.se_sampling < 0.05).all()


class Scale(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = torch.as_tensor(factor)

    def forward(self, x):
        return x * self.factor


def test_smooth_grad_nears_captums_noise_tunnel():
    module = seeded(mlp(nn.Tanh))
    behind = rows(8, seed=2)
    found = smooth_grad(tables(module), samples=2000, noise=0.3)
    sd = 0.3 * behind.std(axis=0)
    # captum's noise has one standard deviation for all columns: let the module scale them.
    scaled = nn.Sequential(Scale(sd), module)
    given = torch.tensor(rows() / sd, requires_grad=True)
    with _foreign.lent(0):
        peer = NoiseTunnel(Saliency(scaled)).attribute(
            given, nt_samples=4000, nt_samples_batch_size=500, nt_type="smoothgrad", stdevs=1.0, abs=False
        )
    assert (np.abs(found.values - peer.detach().numpy() / sd) < 5 * found.se_sampling).all()


def test_smooth_grad_leaves_categories_alone_and_draws_the_same_noise_for_every_batch(monkeypatch):
    inputs = table(np.c_[rows(6, 2), [0, 1, 2, 0, 1, 2]], ["a", "b", "c"], categories={"c": ("u", "v", "w")})
    played = game(Open(Formula(lambda x: torch.tanh(x[:, 0] * x[:, 1]) + torch.cos(np.pi * x[:, 2]))), inputs, inputs)
    found = smooth_grad(played, seed=3)
    np.testing.assert_allclose(found.se_sampling[:, 2] / (1 + np.abs(found.values[:, 2])), 0, atol=1)
    again = smooth_grad(played, seed=3)
    assert again.values.tobytes() == found.values.tobytes()
    monkeypatch.setattr("audit.explain.slopes.POINTS", 4)
    np.testing.assert_allclose(smooth_grad(played, seed=3).values, found.values, atol=1e-12)
    assert (smooth_grad(played, seed=4).values != found.values).any()


@pytest.mark.parametrize("method", METHODS)
def test_every_kind_of_input_and_each_rows_class(method):
    for played in (
        sequences(seeded(Last(nn.LSTM(3, 8, batch_first=True)).double())),
        sequences(seeded(Encoder()), players="column"),
        texts(),
        texts(out=3, classes=("a", "b", "c"), target="predicted", link="identity"),
    ):
        found = method(played)
        assert np.isfinite(found.values[found.present]).all()
        assert np.isnan(found.values[~found.present]).all()
    module = seeded(mlp(out=3))
    mixed = method(tables(module, classes=("a", "b", "c"), target=np.array([0, 2, 1, 0, 2])))
    alone = method(tables(module, classes=("a", "b", "c"), target=2))
    np.testing.assert_allclose(mixed.values[[1, 4]], alone.values[[1, 4]])
    assert (mixed.values[[0, 2, 3]] != alone.values[[0, 2, 3]]).any(axis=1).all()


def test_costs_are_counted():
    found = saliency(tables(seeded(mlp(nn.Tanh))))
    assert found.evaluations < found.forwards < 3 * found.evaluations


class Straight(torch.autograd.Function):
    """The sign, with the gradient of something else."""

    @staticmethod
    def forward(ctx, x):
        return torch.sign(x)

    @staticmethod
    def backward(ctx, slope):
        return slope


class Spikes(nn.Module):
    """Leaky integrate-and-fire with a fast-sigmoid surrogate gradient; counts spikes."""

    class Fire(torch.autograd.Function):
        @staticmethod
        def forward(ctx, v):
            ctx.save_for_backward(v)
            return (v > 0).to(v.dtype)

        @staticmethod
        def backward(ctx, slope):
            (v,) = ctx.saved_tensors
            return slope / (1 + 10 * v.abs()) ** 2

    def __init__(self):
        super().__init__()
        self.into = nn.Linear(6, 12)
        self.out = nn.Linear(12, 1)

    def forward(self, x):
        v, total = torch.zeros(len(x), 12, dtype=x.dtype), 0.0
        for _ in range(10):
            v = 0.9 * v + self.into(x)
            fired = self.Fire.apply(v - 1)
            v, total = v - fired, total + fired
        return self.out(total / 10)


REFUSED = {
    "sign": (lambda x: torch.sign(x).sum(1) + 0 * x[:, 0], "hard steps"),
    "rounding": (lambda x: torch.round(4 * x).sum(1), "hard steps"),
    "comparison": (lambda x: (x > 0).to(x).sum(1) + 0 * x[:, 0], "hard steps"),
    "straight through": (lambda x: Straight.apply(x).sum(1), "surrogate"),
    "rounding, straight through": (lambda x: (x + (torch.round(2 * x) / 2 - x).detach()).sum(1), "surrogate"),
    "a rule beside a slope": (lambda x: x[:, 0] + 2 * (x[:, 1] > 0).to(x), "jumps"),
    "spikes": (lambda: seeded(Spikes().double()), "surrogate"),
    "detached": (lambda x: x.detach().sum(1), "no gradient reaches"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("method", METHODS)
def test_what_the_model_does_not_differentiate_is_refused_with_the_reason(name, method):
    function, reason = REFUSED[name]
    played = tables(function()) if name == "spikes" else of(function)
    found = differentiable(played)
    assert not found.ok
    assert found.share < 0.95
    assert reason in found.reason
    with pytest.raises(MissingOffer, match=reason):
        method(played)


@pytest.mark.filterwarnings("ignore")  # of torch's, that there is a newer way to quantise
@pytest.mark.parametrize("method", [*METHODS, guided_backprop, deep_lift, integrated_gradients])
def test_quantised_modules_are_refused(method):
    module = torch.ao.quantization.quantize_dynamic(seeded(mlp()).float(), {nn.Linear}, dtype=torch.qint8)
    with pytest.raises(MissingOffer, match=r"no gradient reaches the inputs .*quantised"):
        method(tables(module))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.relu(x).sum(1),
        lambda x: torch.sigmoid(2000 * x[:, 0]),
        lambda x: torch.sin(300 * x[:, 0]),
        lambda x: x.abs().sum(1) + x[:, 0].clamp(-0.5, 0.5),
        lambda x: 0 * x[:, 0] + 1,
        lambda x: 1e-6 * x[:, 0] + 5,
    ],
)
@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_kinks_steep_slopes_and_constants_are_believed(function, kind):
    module = nn.Sequential(nn.Identity(), Formula(function))
    module.register_buffer("kind", torch.zeros(1, dtype=torch.float64 if kind is np.float64 else torch.float32))
    assert differentiable(tables(module)).ok


def test_the_share_of_a_rule_beside_a_slope_is_what_it_is():
    """From -1 to 1 the slope moves the output by 2 and the rule by 2: half of it can be explained."""
    played = of(lambda x: x[:, 0] + 2 * (x[:, 0] > 0.1).to(x), ((1.0,), (-1.0,)), ((-1.0,), (-1.0,)))
    assert differentiable(played).share == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("method", [*METHODS, guided_backprop])
def test_models_without_gradients_are_refused(method):
    with pytest.raises(MissingOffer, match="gradients"):
        method(game(Plain(lambda x: x[:, 0]), table([[1.0]]), table([[0.0]])))


def test_closed_layers_are_refused():
    with pytest.raises(MissingOffer, match="not open"):
        guided_backprop(game(Open(seeded(mlp())), table(rows()), table(rows())))


@pytest.mark.parametrize("options", [{"samples": 3}, {"samples": 0}, {"noise": 0}])
def test_smooth_grad_says_what_it_allows(options):
    with pytest.raises(UsageError, match="samples, noise"):
        smooth_grad(tables(seeded(mlp())), **options)


def test_the_door_lends_and_restores_the_global_generators():
    def state():
        return random.getstate(), np.random.get_state()[1].tolist(), torch.random.get_rng_state().tolist()  # noqa: NPY002

    played = tables(seeded(mlp()))
    before = state()
    drawn = []
    for _ in range(2):
        with _foreign.lent(7):
            drawn.append((random.random(), np.random.rand(), torch.rand(1).item()))  # noqa: NPY002
        assert state() == before
    assert drawn[0] == drawn[1]
    with pytest.raises(ZeroDivisionError), _foreign.lent(8):
        1 / np.random.rand(0).size  # noqa: NPY002
    assert state() == before
    saliency(played)
    guided_backprop(played)
    assert state() == before
