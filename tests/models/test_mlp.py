"""The perceptron of several layers: what it learns, by every optimiser and rule, and what is left after folding."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from audit.core import DataSpec, ModelSpec, RunSpec, Spec, UsageError, stream
from audit.data.worlds.base import planted
from audit.models.encoding import encoder, rows_of
from audit.models.families.mlp import MLP, mlp
from audit.models.first_layer import FirstLayer
from audit.models.promises import auc
from audit.models.reference import read, save, trained
from audit.models.seeds import seeded
from audit.models.stack import ACTIVATIONS, FOLDED, layers_of
from audit.models.training import RATES, Training, log_loss, train

SPEC = Spec(model=ModelSpec(kind="family"), data=DataSpec(world="credit"), run=RunSpec(device="cpu"))
WORLD = planted(SPEC.data)


@pytest.fixture(scope="module")
def data():
    return WORLD.draw(4000, stream(0, "train"))


@pytest.fixture(scope="module")
def unseen():
    return WORLD.draw(20_000, stream(1, "test"))


def under(module, unseen):
    """How far the AUC lies under the oracle's."""
    with torch.no_grad():
        logits = module(rows_of(unseen)).numpy()
    return auc(unseen, WORLD.oracle().logit(unseen.inputs.values)) - auc(unseen, logits)


@pytest.mark.parametrize("rule", ["backpropagation", "feedback_alignment", "direct_feedback_alignment"])
@pytest.mark.parametrize("optimiser", list(RATES))
def test_every_optimiser_and_rule_comes_near_the_oracle(optimiser, rule, data, unseen):
    assert under(mlp(data, hidden=(64, 32), optimiser=optimiser, rule=rule), unseen) <= 0.01


@pytest.mark.parametrize("options", [{"norm": "batch"}, {"norm": "layer"}, {"dropout": 0.2}, {"weight_decay": 1e-3}])
def test_so_it_does_with_regularisation(options, data, unseen):
    assert under(mlp(data, **options), unseen) <= 0.01


@pytest.mark.parametrize("activation", list(ACTIVATIONS))
def test_so_it_does_with_every_activation(activation, data, unseen):
    assert under(mlp(data, activation=activation, hidden=(32,)), unseen) <= 0.01


def test_options_reach_the_layers(data):
    module = mlp(data, hidden=(5, 3), activation="gelu", norm="layer", dropout=0.25, epochs=1)
    kinds = [type(each).__name__ for each in module.layers]
    block = ["Linear", "LayerNorm", "GELU", "Dropout"]
    assert kinds == [*block, *block, "Linear"]
    assert [each.out_features for each in module.layers if hasattr(each, "out_features")] == [5, 3, 1]
    assert module.layers[3].p == 0.25


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activation": "rleu"}, "activation: one of .*got 'rleu'; did you mean 'relu'"),
        ({"norm": "group"}, "norm: one of 'none', 'batch', 'layer', got 'group'"),
        ({"dropout": 1.0}, "dropout: a share in .*got 1.0"),
        ({"hidden": (4, 0)}, "hidden: a list of whole numbers of units from 1 on, got .4, 0"),
        ({"hidden": 64}, "hidden: a list of whole numbers of units from 1 on, got 64"),
        ({"optimiser": "lion"}, "optimiser: one of"),
        ({"rule": "hebb"}, "rule: one of"),
        ({"epochs": 1.5}, "epochs: a whole number"),
    ],
)
def test_options_that_are_not_allowed_are_named(options, message, data):
    with pytest.raises(UsageError, match=message):
        mlp(data, **options)


# ------------------------------------------------------------------------------------------------------ folding
def test_folding_changes_nothing_but_rounding(data, unseen):
    front = encoder(data)
    with seeded(0):
        module = MLP(encoder=front.config, hidden=(16, 8))
    module.front = front
    x = rows_of(unseen)
    with torch.no_grad():
        before = module(x)
        module.settled(data)
        assert torch.allclose(module(x), before, atol=1e-5)
    assert module.front is None
    assert FOLDED in module.notes
    assert module.config["encoder"] is None
    assert sum(each.numel() for each in module.buffers()) == 0


def test_a_folded_one_offers_its_first_layer_and_loads_bit_equal(data, unseen, tmp_path):
    model = trained("mlp", data, SPEC, options={"epochs": 2, "hidden": [8, 8]})
    assert "first_layer" in model.offers
    layer = model.first_layer()
    assert isinstance(layer, FirstLayer)
    x = unseen.inputs.values[:50]
    zero = layer.hidden(np.zeros((1, 1, x.shape[1])))
    halves = layer.scores(layer.hidden(x[None], bias=True), zero)[0, :, 0]
    assert np.allclose(halves, model.predict(unseen.inputs.with_values(x)), atol=1e-6)
    save(model, tmp_path)
    again = read(tmp_path, unseen, SPEC)
    assert np.array_equal(again.predict(unseen.inputs), model.predict(unseen.inputs))
    assert again.card.notes == model.card.notes
    assert again.offers == model.offers


def test_categories_and_missing_values_keep_the_encoder(data, tmp_path):
    levels = replace(data.inputs, categories={"sex": ("female", "male")}, integers=frozenset())
    holes = data.inputs.values.copy()
    holes[::7, 0] = np.nan
    for inputs in (levels, data.inputs.with_values(holes)):
        other = replace(data, inputs=inputs, twin=None)
        model = trained("mlp", other, SPEC, options={"epochs": 1})
        assert model.module.front is not None
        assert "first_layer" not in model.offers
        assert np.isfinite(model.predict(inputs)).all()
        save(model, tmp_path)
        assert np.array_equal(read(tmp_path, other, SPEC).predict(inputs), model.predict(inputs))


# ------------------------------------------------------------------------------------------- what it can learn
def test_two_layers_learn_xor():
    x = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    y = torch.tensor([0, 1, 1, 0])
    with seeded(1):
        module = layers_of([2, 8, 1], activation="tanh")
    history = train(module, x, y, training=Training(epochs=150, batch=4, rate=0.05), loss=log_loss)
    assert ((module(x)[:, 0] > 0) == y.bool()).all()
    assert history[-1] < 0.05


def test_one_hidden_layer_approximates_a_curve_that_one_unit_cannot():
    x = torch.linspace(-1, 1, 200)[:, None]
    y = torch.sin(4 * x) + 0.5 * x**2
    errors = []
    for width in (1, 64):
        with seeded(0):
            module = layers_of([1, width, 1])
        train(module, x, y, training=Training(epochs=100, batch=50, rate=0.02), loss=lambda r, t: (r - t)[:, 0] ** 2)
        with torch.no_grad():
            errors.append(float((module(x) - y).abs().mean()))
    assert errors[0] > 0.4
    assert errors[1] < 0.02
