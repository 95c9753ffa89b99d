"""DeepLIFT and LRP against closed forms and captum; what they get wrong is refused."""

import numpy as np
import pytest
import torch
from captum.attr import LRP, DeepLift
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
from torch.nn import functional as F

from audit.core import MissingOffer, ModelError, NotApplicable, UsageError
from audit.explain import game, integrated_gradients
from audit.explain.relevance import deep_lift, lrp


def kink(bias: float = -3.0) -> nn.Module:
    """relu(x1 + x2 + bias)."""
    module = nn.Sequential(nn.Linear(2, 1), nn.ReLU(), nn.Linear(1, 1, bias=False)).double()
    with torch.no_grad():
        module[0].weight.fill_(1)
        module[0].bias.fill_(bias)
        module[2].weight.fill_(1)
    return module


def at_2_3(module: nn.Module, **options):
    return game(
        module, np.array([[2.0, 3.0]]), np.array([[0.0, 0.0]]), **({"output": "logit", "link": "logit"} | options)
    )


def test_a_kink_in_closed_form():
    np.testing.assert_allclose(deep_lift(at_2_3(kink())).values, [[0.8, 1.2]], atol=1e-12)
    np.testing.assert_allclose(integrated_gradients(at_2_3(kink()), tolerance=1e-6).values, [[0.8, 1.2]], atol=1e-6)


def test_relevance_that_the_bias_holds_is_the_base():
    """Of 2 = 2 + 3 - 3 the inputs have 2 and 3, the bias -3."""
    found = lrp(at_2_3(kink()))
    np.testing.assert_allclose(found.values, [[2, 3]], atol=1e-8)
    np.testing.assert_allclose([found.base[0], found.outputs[0]], [-3, 2], atol=1e-8)


def test_the_epsilon_rule_by_hand():
    """Two layers, epsilon 0.5: R_j = a_j w_j R / (z + 0.5), and what is left over makes the row incomplete."""
    found = lrp(at_2_3(kink(0.0)), epsilon=0.5, tolerance=10)
    out = 5 * 5 / 5.5
    np.testing.assert_allclose(found.values, [[2 * out / 5.5, 3 * out / 5.5]])
    assert np.isnan(lrp(at_2_3(kink(0.0)), epsilon=0.5).values).all()


@pytest.mark.parametrize("fill", ["mean", "background"])
def test_deep_lift_agrees_with_captum_where_that_is_complete(fill):
    module = seeded(
        nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(100, 8), nn.Tanh(), nn.Linear(8, 1)
        ).double()
    )
    played = pictures(module, players="pixels", size=None, fill=fill)
    given, behind = played.masker.inputs.values, played.masker.rows.values
    start = (
        given.mean(axis=(2, 3), keepdims=True) + 0 * given if fill == "mean" else behind.mean(axis=0)[None] + 0 * given
    )
    with pytest.warns(UserWarning, match="Setting forward, backward hooks"):
        peer = DeepLift(module).attribute(torch.tensor(given, requires_grad=True), torch.as_tensor(start))
    np.testing.assert_allclose(deep_lift(played).values, peer.detach().numpy().reshape(3, -1), atol=1e-8)


def test_deep_lift_of_max_pooling_behind_a_relu_is_complete_where_captums_is_not():
    module = seeded(lenet())
    played = pictures(module, players="pixels", size=None, fill="background")
    found = deep_lift(played)
    np.testing.assert_allclose(found.delta, 0, atol=1e-12)
    start = played.masker.rows.values.mean(axis=0)[None]
    given = torch.tensor(played.masker.inputs.values, requires_grad=True)
    with pytest.warns(UserWarning, match="Setting forward, backward hooks"):
        _, delta = DeepLift(module).attribute(
            given, torch.as_tensor(start).expand_as(given), return_convergence_delta=True
        )
    assert (delta.abs().detach().numpy() > 0.01 * np.abs(found.outputs - found.base)).any()


def test_max_pooling_by_hand():
    """max(x1, x2) from (0, 4) to (3, 1): from 4 down to 3 it is the larger of the two starts that loses, x2: -1 of it."""
    module = nn.Sequential(nn.Unflatten(1, (1, 2)), nn.MaxPool1d(2), nn.Flatten(), nn.Identity())
    for start, end, expected in (((0, 4), (3, 1), (0, -1)), ((0, 1), (3, 2), (2, 0)), ((1, 1), (1, 1), (0, 0))):
        played = game(module.double(), np.array([end], float), np.array([start], float), output="value")
        np.testing.assert_allclose(deep_lift(played).values, [expected], atol=1e-12)


@pytest.mark.parametrize("name", ["AdaptiveMaxPool2d", "overlapping"])
def test_other_poolings_are_complete(name):
    pool = nn.AdaptiveMaxPool2d(3) if name == "AdaptiveMaxPool2d" else nn.MaxPool2d(3, stride=2, padding=1)
    module = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), pool, nn.Flatten(), nn.LazyLinear(1)).double()
    module(torch.zeros(1, 1, 12, 12, dtype=torch.float64))
    found = deep_lift(pictures(seeded(module)))
    np.testing.assert_allclose(found.delta, 0, atol=1e-12)


def test_lrp_agrees_with_captum():
    module = seeded(
        nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 5), nn.Tanh()
        ).double()
    )

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = module, nn.Linear(6, 1).double()

        def forward(self, x):
            return self.head(self.body(x).flatten(1))

    net = seeded(Net())
    played = pictures(net, players="pixels", size=None)
    peer = LRP(net).attribute(torch.tensor(played.masker.inputs.values, requires_grad=True))
    found = lrp(played)
    np.testing.assert_allclose(found.values, peer.detach().numpy().reshape(3, -1), atol=1e-7)
    np.testing.assert_allclose(found.delta, 0, atol=1e-7)
    assert np.abs(found.base).min() > 1e-3


def relu_mlp():
    return tables(seeded(mlp()))


# What each method does on each module: complete, refused by its error, or refused for want of a rule.
TABLE = {
    "MLP ReLU": (relu_mlp, "complete", "complete"),
    "GELU MLP": (lambda: tables(seeded(mlp(nn.GELU))), "complete", "complete"),
    "GELU as a function": (lambda: tables(seeded(Functional(F.gelu).double())), "refused", "refused"),
    "ReLU as a function": (lambda: tables(seeded(Residual().double())), "refused", "complete"),
    "LSTM": (lambda: sequences(seeded(Last(nn.LSTM(3, 8, batch_first=True)).double())), "refused", "no rule"),
    "GRU": (lambda: sequences(seeded(Last(nn.GRU(3, 8, batch_first=True)).double())), "refused", "no rule"),
    "GELU Transformer": (lambda: sequences(seeded(Encoder().double())), "refused", "no rule"),
    "texts": (lambda: texts(), "refused", "no rule"),
    "CNN": (lambda: pictures(seeded(lenet())), "complete", "complete"),
    "CNN, each row its class": (
        lambda: pictures(
            seeded(lenet(3)).float(), classes=("a", "b", "c"), target=np.array([2, 0, 1]), link="identity"
        ),
        "complete",
        "complete",
    ),
    "sigmoid at the end": (
        lambda: tables(nn.Sequential(seeded(mlp()), nn.Sigmoid()), output="probability"),
        "complete",
        "complete",
    ),
    "softmax at the end": (
        lambda: tables(nn.Sequential(seeded(mlp(out=2)), nn.Softmax(dim=1)), output="probability", link="identity"),
        "complete",
        "complete",
    ),
}


class Functional(nn.Module):
    """A perceptron whose activation is a function."""

    def __init__(self, activation):
        super().__init__()
        self.first, self.second, self.third = nn.Linear(6, 12), nn.Linear(12, 12), nn.Linear(12, 1)
        self.activation = activation

    def forward(self, x):
        return self.third(self.activation(self.second(self.activation(self.first(x)))))


@pytest.mark.parametrize("name", TABLE)
def test_completeness_is_enforced(name):
    make, *expected = TABLE[name]
    played = make()
    assert not integrated_gradients(played).note
    for method, verdict in zip((deep_lift, lrp), expected, strict=True):
        if verdict == "no rule":
            with pytest.raises(NotApplicable, match="no rule for"):
                method(played)
            continue
        found = method(played)
        if verdict == "complete":
            assert not found.note
            assert (np.abs(found.delta) <= 0.01 * np.abs(found.outputs - found.base) + 1e-5).all()
            np.testing.assert_allclose(found.outputs, played.outputs(), atol=1e-5)
        else:
            undefined = np.isnan(found.values).all(axis=1)
            assert undefined.any()
            assert (np.abs(found.delta[~undefined]) <= 0.01 * np.abs(found.outputs - found.base)[~undefined]).all()
            assert "refused: completeness error" in found.note
            assert f"{undefined.sum()} of {len(found.values)} rows" in found.note


def test_one_layer_used_twice_is_followed():
    shared = nn.ReLU()
    module = seeded(nn.Sequential(nn.Linear(6, 8), shared, nn.Linear(8, 8), shared, nn.Linear(8, 1)).double())
    np.testing.assert_allclose(deep_lift(tables(module)).delta, 0, atol=1e-12)


def test_writing_over_the_input_changes_nothing():
    over = seeded(nn.Sequential(nn.Linear(6, 8), nn.ReLU(inplace=True), nn.Linear(8, 1)).double())
    plain = seeded(nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 1)).double())
    for method in (deep_lift, lrp):
        np.testing.assert_array_equal(method(tables(over)).values, method(tables(plain)).values)
    assert over[1].inplace


@pytest.mark.parametrize("method", [deep_lift, lrp])
def test_leaves_the_module_as_it_was(method):
    module = seeded(lenet())
    module.train()
    before = {name: (value.clone(), value._version) for name, value in module.state_dict().items()}
    names = [set(vars(each)) for each in module.modules()]
    method(pictures(module))
    for name, value in module.state_dict().items():
        assert torch.equal(before[name][0], value)
        assert value._version == before[name][1]
    assert [set(vars(each)) for each in module.modules()] == names
    assert not any(each._forward_hooks or each._backward_hooks for each in module.modules())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in module.parameters())
    assert all(each.training for each in module.modules())


@pytest.mark.parametrize("method", [deep_lift, lrp])
def test_numbers_do_not_depend_on_the_batches(method, monkeypatch):
    whole = method(pictures(seeded(lenet()))).values
    monkeypatch.setattr("audit.explain.slopes.POINTS", 2)
    np.testing.assert_allclose(method(pictures(seeded(lenet()))).values, whole, atol=1e-12)


@pytest.mark.parametrize("method", [deep_lift, lrp])
def test_what_cannot_be_done_is_said(method):
    with pytest.raises(MissingOffer, match="gradients"):
        method(game(Plain(lambda x: x[:, 0]), table([[1.0]]), table([[0.0]])))
    with pytest.raises(MissingOffer, match="not open"):
        method(game(Open(seeded(mlp())), table(rows()), table(rows())))
    with pytest.raises(UsageError, match="tolerance"):
        method(relu_mlp(), tolerance=0)
    with pytest.raises(MissingOffer, match="hard steps"):
        method(tables(Formula(lambda x: torch.sign(x).sum(1) + 0 * x[:, 0])))


def test_lrp_needs_logits():
    class Ends(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = seeded(mlp())

        def forward(self, x):
            return torch.sigmoid(self.body(x))

    with pytest.raises(NotApplicable, match="starts from logits"):
        lrp(tables(Ends(), output="probability"))


def test_a_module_that_cannot_be_copied_is_refused():
    module = seeded(mlp())
    module.register_buffer("kept", None)
    module.left = module[0].weight * 2
    with pytest.raises(ModelError, match="cannot be copied"):
        deep_lift(tables(module))
