"""Mean-field inference against closed forms: a linear regression's optimum, a divergence, a law of logits."""

import math

import numpy as np
import pytest
import torch
from trained_families import DATA, OPTIONS, WORLD, unseen

from audit.core import MissingOffer, UsageError
from audit.models.counted import Counted
from audit.models.families.bayesian import MeanField, bayesian
from audit.models.promises import near_the_oracle
from audit.models.reference import trained
from audit.models.seeds import seeded
from audit.models.training import Training, train


@pytest.fixture(scope="module")
def model():
    return trained("bayesian", DATA, OPTIONS, seed=1)


def test_keeps_its_promise(model):
    assert all(promise.kept for promise in near_the_oracle(model, unseen(), WORLD))


def test_a_linear_regression_finds_the_known_optimum():
    """With precision Λ = XᵀX/σ² + I/s², the best independent normals have the exact means and variances 1/Λ_ii."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3)) @ np.array([[1, 0.6, 0], [0, 0.8, 0], [0, 0, 0.5]])
    noise, prior = 0.7, 1.3
    y = x @ np.array([1.0, -2.0, 0.5]) + 0.3 + noise * rng.normal(size=200)
    design = np.column_stack([x, np.ones(200)])
    precision = design.T @ design / noise**2 + np.eye(4) / prior**2
    mean, sd = np.linalg.solve(precision, design.T @ y / noise**2), np.diag(precision) ** -0.5

    with seeded(0):
        layer = MeanField(3, 1).double()

    def loss(raw, target):
        return (raw[:, 0] - target).square() / (2 * noise**2) + layer.divergence(prior) / len(x)

    rows, target = torch.as_tensor(x), torch.as_tensor(y)
    for rate in (3e-2, 3e-3, 3e-4):
        train(layer, rows, target, training=Training(epochs=400, batch=200, rate=rate), loss=loss)
    found = np.append(layer.weight.detach().numpy()[0], layer.bias.item())
    spread = np.exp(np.append(layer.log_sd.detach().numpy()[0], layer.bias_log_sd.item()))
    np.testing.assert_allclose(found, mean, atol=0.1 * sd.max())
    np.testing.assert_allclose(spread, sd, rtol=0.1)


def test_divergence_is_that_of_normal_laws():
    with seeded(0):
        layer = MeanField(2, 3).double()
    with torch.no_grad():
        layer.weight.normal_(generator=torch.Generator().manual_seed(0))
        layer.log_sd.copy_(torch.linspace(-2, 0.5, 6).reshape(3, 2))
    laws = [
        torch.distributions.Normal(mean, log_sd.exp())
        for mean, log_sd in ((layer.weight, layer.log_sd), (layer.bias, layer.bias_log_sd))
    ]
    prior = torch.distributions.Normal(*torch.tensor([0.0, 0.8], dtype=torch.float64))
    expected = sum(torch.distributions.kl_divergence(law, prior).sum() for law in laws)
    assert layer.divergence(0.8).item() == pytest.approx(expected.item(), rel=1e-12)


def test_without_hidden_layers_logits_have_a_normal_law():
    model = trained("bayesian", DATA, OPTIONS, options={"hidden": [], "epochs": 2})
    module, inputs = model.module, unseen(20).inputs
    (layer,) = module.layers
    z = module.encoder(model.tensor(inputs))
    sd = (z.square() @ layer.log_sd.detach().T.mul(2).exp() + layer.bias_log_sd.detach().mul(2).exp()).sqrt()[:, 0]
    with torch.no_grad():
        draws = module.draws(model.tensor(inputs), 4000, 0)
        mean = module(model.tensor(inputs))
    standard = ((draws - mean) / sd).numpy()
    np.testing.assert_allclose(standard.mean(axis=0), 0.0, atol=5 / math.sqrt(4000))
    np.testing.assert_allclose(standard.std(axis=0), 1.0, atol=5 / math.sqrt(8000))


def test_predicts_the_same_and_draws_by_the_seed(model):
    inputs = unseen(200).inputs
    np.testing.assert_array_equal(model.predict(inputs), model.predict(inputs))
    assert any("mean of every weight" in note for note in model.card.notes)
    first = model.draws(inputs, 5, seed=3)
    assert first.shape == (5, 200)
    np.testing.assert_array_equal(first, model.draws(inputs, 5, seed=3))
    assert (first != model.draws(inputs, 5, seed=4)).all()
    assert ((first > 0) & (first < 1)).all()
    # One draw is one network: a row is answered alike whatever stands beside it.
    np.testing.assert_allclose(first[:, 7:9], model.draws(inputs.take(np.array([7, 8])), 5, seed=3), atol=1e-6)


def test_draws_are_counted_and_other_families_have_none(model):
    counted = Counted(model=model)
    counted.draws(unseen(200).inputs, 5, seed=0)
    assert counted.evaluations == 1000
    with pytest.raises(MissingOffer, match="uncertainty"):
        trained("pca", DATA, OPTIONS).draws(unseen(200).inputs, 5, seed=0)
    with pytest.raises(UsageError, match="prior_sd"):
        bayesian(DATA, prior_sd=0.0)
