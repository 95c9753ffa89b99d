"""Integrated gradients against closed forms; the door to captum leaves no trace."""

import random

import numpy as np
import pytest
import torch
from little_models import Open, Plain, seeded_mlp, table

from audit.core import MissingOffer
from audit.explain import _foreign, game
from audit.explain.gradients import baseline_of, integrated_gradients


class Formula(torch.nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def gradients(function, inputs=((2.0, 3.0),), background=((0.0, 0.0),), **options):
    model = Open(Formula(function) if not isinstance(function, torch.nn.Module) else function)
    return integrated_gradients(game(model, table(inputs), table(background)), **options)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: x[:, 0] * x[:, 1], [3, 3]),
        (lambda x: x[:, 0] ** 2 * x[:, 1], [8, 4]),
    ],
)
def test_closed_forms(function, expected):
    found = gradients(function)
    np.testing.assert_allclose(found.values, [expected], atol=1e-9)
    assert found.link == "logit"
    assert not found.note


def test_a_kink_takes_more_steps():
    def kink(x):
        return torch.relu(x[:, 0] + x[:, 1] - 3)

    found = gradients(kink, tolerance=5e-3)
    np.testing.assert_allclose(found.values, [[0.8, 1.2]], rtol=5e-3)
    assert abs(found.delta[0]) <= 5e-3 * 2
    assert found.evaluations > 34
    assert np.isnan(gradients(kink, tolerance=1e-4).values).all()


def test_from_the_mean_of_the_background_with_the_interaction():
    """The credit model's logit with omega x_i x_h: from the mean m, x_i gains (x_i - m_i)(x_h + m_h) omega / 2."""
    weights, omega = torch.tensor([1.2, -0.9, 0.7], dtype=torch.float64), 0.8
    rng = np.random.default_rng(1)
    inputs, background = rng.normal(size=(7, 3)), rng.normal(size=(30, 3))
    found = gradients(lambda x: x @ weights + omega * x[:, 0] * x[:, 2], inputs, background)
    m = background.mean(axis=0)
    truth = weights.numpy() * (inputs - m)
    truth[:, 0] += omega / 2 * (inputs[:, 0] - m[0]) * (inputs[:, 2] + m[2])
    truth[:, 2] += omega / 2 * (inputs[:, 2] - m[2]) * (inputs[:, 0] + m[0])
    np.testing.assert_allclose(found.values, truth, atol=1e-6)


def test_complete_on_a_network_and_leaves_it_alone():
    module = seeded_mlp(6)
    module.train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    rng = np.random.default_rng(2)
    found = gradients(module, rng.normal(size=(20, 6)), rng.normal(size=(10, 6)))
    assert (np.abs(found.delta) <= 1e-3 * np.abs(found.values).sum(axis=1)).all()
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    assert module.training
    assert all(parameter.grad is None for parameter in module.parameters())


def test_rows_that_stay_incomplete_are_undefined_with_the_reason():
    found = gradients(lambda x: torch.sin(4000 * x[:, 0]) + x[:, 1], max_steps=64)
    assert np.isnan(found.values).all()
    assert "undefined for 1 rows" in found.note
    assert "64 steps" in found.note


def test_a_row_that_equals_the_baseline_gets_zeros():
    found = gradients(lambda x: x[:, 0] * x[:, 1], ((1.0, 2.0),), ((1.0, 2.0),))
    np.testing.assert_array_equal(found.values, [[0, 0]])


def test_the_baseline_takes_the_most_frequent_level():
    inputs = table([[1.0, 2], [3, 2], [8, 0]], ["a", "c"], categories={"c": ("u", "v", "w")})
    np.testing.assert_array_equal(baseline_of(inputs).values, [[4, 2]])


def test_models_without_gradients_are_refused():
    with pytest.raises(MissingOffer, match="gradients"):
        integrated_gradients(game(Plain(lambda x: x[:, 0]), table([[1.0]]), table([[0.0]])))


def test_the_door_lends_and_restores_the_global_generators():
    def state():
        return random.getstate(), np.random.get_state()[1].tolist(), torch.random.get_rng_state().tolist()  # noqa: NPY002

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
    gradients(lambda x: x[:, 0] * x[:, 1])
    assert state() == before
