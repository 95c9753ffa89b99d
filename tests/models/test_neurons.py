"""Single neurons: truth tables, the convergence theorem, maximum likelihood, and the table of activations."""

from itertools import product
from math import erf, exp, sqrt, tanh

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from audit.core import DataError, DataSpec, ModelSpec, RunSpec, Spec, UsageError, stream
from audit.data.worlds.base import planted
from audit.models.encoding import rows_of
from audit.models.families.mcculloch_pitts import McCullochPitts, keeps_its_word, mcculloch_pitts
from audit.models.families.neuron import NEURONS, neuron
from audit.models.families.perceptron import learn, near_the_oracle_s_accuracy, perceptron
from audit.models.promises import auc
from audit.models.reference import read, save, trained
from audit.models.stack import ACTIVATIONS

SPEC = Spec(model=ModelSpec(kind="family"), data=DataSpec(world="credit"), run=RunSpec(device="cpu"))
WORLD = planted(SPEC.data)
BITS = np.array(list(product((0, 1), repeat=2)))
AND, OR, XOR = BITS.all(axis=1) * 1, BITS.any(axis=1) * 1, BITS.sum(axis=1) % 2


@pytest.fixture(scope="module")
def data():
    return WORLD.draw(8000, stream(0, "train"))


@pytest.fixture(scope="module")
def unseen():
    return WORLD.draw(20_000, stream(1, "test"))


# --------------------------------------------------------------------------------------------- McCulloch and Pitts
def unit(inputs, excitatory, inhibitory, threshold):
    columns = [f"x{i}" for i in range(inputs)]
    module = McCullochPitts(columns=columns, excitatory=excitatory, inhibitory=inhibitory, threshold=threshold)
    module.cuts.fill_(0.5)
    return module


def table(module, inputs):
    rows = torch.tensor(list(product((0.0, 1.0), repeat=inputs)), dtype=torch.float64)
    return module(rows).tolist()


def test_the_truth_tables_of_and_or_not():
    assert table(unit(2, [0, 1], [], 2), 2) == [0, 0, 0, 1]
    assert table(unit(2, [0, 1], [], 1), 2) == [0, 1, 1, 1]
    assert table(unit(1, [], [0], 0), 1) == [1, 0]
    assert table(unit(2, [0], [1], 1), 2) == [0, 0, 1, 0]  # one and not the other


@settings(max_examples=40, deadline=None)
@given(roles=st.lists(st.sampled_from("ei-"), min_size=1, max_size=5), threshold=st.integers(0, 5))
def test_inhibition_is_absolute_and_the_clauses_are_the_unit(roles, threshold):
    places = {role: [i for i, each in enumerate(roles) if each == role] for role in "ei"}
    assume(threshold <= len(places["e"]))
    module = unit(len(roles), places["e"], places["i"], threshold)
    rows = np.array(list(product((0.0, 1.0), repeat=len(roles))))
    by_hand = [sum(row[i] for i in places["e"]) >= threshold and not any(row[i] for i in places["i"]) for row in rows]
    assert table(module, len(roles)) == by_hand
    assert module.rules().decide(rows).tolist() == by_hand


def test_a_wired_unit_on_the_credit_world(data, unseen, tmp_path):
    model = trained("mcculloch_pitts", data, SPEC)
    assert model.offers == {"rules"}
    assert all(promise.kept for promise in keeps_its_word(model, unseen, WORLD))
    mean = data.inputs.values.mean(axis=0)
    income, debt, history = (unseen.inputs.values[:, i] > mean[i] for i in range(3))
    assert np.array_equal(model.predict(unseen.inputs), (income | history) & ~debt)
    save(model, tmp_path)
    assert np.array_equal(read(tmp_path, unseen, SPEC).predict(unseen.inputs), model.predict(unseen.inputs))
    assert len(model.rules().clauses) == 3


def test_wiring_that_cannot_be_is_named(data):
    with pytest.raises(
        DataError, match=r"excitatory: columns of numbers: income, .*got 'incom'; did you mean 'income'"
    ):
        mcculloch_pitts(data, excitatory=("incom",))
    with pytest.raises(UsageError, match="threshold: a whole number from 0 to 2 inputs, got 3"):
        mcculloch_pitts(data, threshold=3)


# ------------------------------------------------------------------------------------------------------ perceptron
def bound(x, y, plane):
    """Novikoff's (R / γ)² for a separating plane (d + 1,)."""
    rows = np.column_stack([x, np.ones(len(x))]) * np.where(y == 1, 1, -1)[:, None]
    margin = (rows @ plane / np.linalg.norm(plane)).min()
    assert margin > 0
    return float((np.linalg.norm(rows, axis=1).max() / margin) ** 2)


def right(found, x, y):
    return bool((((x @ found.weights[:-1] + found.weights[-1]) > 0) == (y == 1)).all())


@pytest.mark.parametrize(("y", "plane"), [(AND, (2.0, 2.0, -3.0)), (OR, (2.0, 2.0, -1.0))])
@pytest.mark.parametrize("variant", ["last", "averaged", "pocket"])
@pytest.mark.parametrize("seed", range(3))
def test_and_or_are_learnt_within_the_bound(y, plane, variant, seed):
    found = learn(BITS, y, epochs=100, variant=variant, seed=seed)
    assert found.converged
    assert right(found, BITS, y)
    assert found.mistakes <= bound(BITS, y, np.array(plane))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), columns=st.integers(1, 4))
def test_separable_rows_are_learnt_within_the_bound(seed, columns):
    rng = np.random.default_rng(seed)
    x, plane = rng.standard_normal((40, columns)), rng.standard_normal(columns + 1)
    side = x @ plane[:-1] + plane[-1]
    kept = np.abs(side) > 0.3 * np.linalg.norm(plane)
    assume(kept.any())
    x, y = x[kept], (side[kept] > 0) * 1
    most = bound(x, y, plane)
    found = learn(x, y, epochs=int(most) + 2, seed=seed)
    assert found.converged
    assert right(found, x, y)
    assert found.mistakes <= most


@pytest.mark.parametrize("variant", ["last", "averaged", "pocket"])
def test_xor_is_never_learnt(variant):
    found = learn(BITS, XOR, epochs=300, variant=variant)
    assert not found.converged
    assert found.epochs == 300
    assert found.mistakes >= 300
    assert not right(found, BITS, XOR)


def test_the_mean_of_the_weights_is_that_of_every_step():
    rng = np.random.default_rng(4)
    x, y = rng.standard_normal((30, 2)), rng.integers(0, 2, 30)
    rows = np.column_stack([x, np.ones(30)]) * np.where(y == 1, 1, -1)[:, None]
    weights, every = np.zeros(3), []
    order = stream(9, "models.perceptron")
    for _ in range(3):
        for i in order.permutation(30):
            weights = weights + rows[i] if rows[i] @ weights <= 0 else weights
            every.append(weights)
    found = learn(x, y, epochs=3, variant="averaged", seed=9)
    assert np.allclose(found.weights, np.mean(every, axis=0))
    assert np.array_equal(learn(x, y, epochs=3, variant="last", seed=9).weights, weights)


def test_the_pocket_holds_the_best_weights():
    rng = np.random.default_rng(5)
    x = rng.standard_normal((200, 2))
    y = (x[:, 0] + rng.standard_normal(200) > 0) * 1

    def correct(variant):
        found = learn(x, y, epochs=5, variant=variant)
        return int((((x @ found.weights[:-1] + found.weights[-1]) > 0) == (y == 1)).sum())

    assert correct("pocket") >= correct("last")
    assert correct("pocket") >= 0.95 * max(int(((x[:, 0] > cut) == (y == 1)).sum()) for cut in np.linspace(-1, 1, 201))


def test_the_perceptron_on_the_credit_world_says_that_it_did_not_converge(data, unseen, tmp_path):
    model = trained("perceptron", data, SPEC)
    assert all(promise.kept for promise in near_the_oracle_s_accuracy(model, unseen, WORLD))
    assert not model.module.converged
    assert any("did not converge" in note for note in model.card.notes)
    assert set(np.unique(model.predict(unseen.inputs))) == {0.0, 1.0}
    assert "gradients" not in model.offers
    save(model, tmp_path)
    again = read(tmp_path, unseen, SPEC)
    assert again.card.notes == model.card.notes
    assert np.array_equal(again.predict(unseen.inputs), model.predict(unseen.inputs))
    with pytest.raises(UsageError, match="variant: one of 'averaged', 'pocket', 'last', got 'voted'"):
        perceptron(data, variant="voted")
    with pytest.raises(UsageError, match="epochs: a whole number from 1 on, got 0"):
        perceptron(data, epochs=0)


# ----------------------------------------------------------------------------------------------- one neuron's logit
def test_the_logistic_neuron_is_logistic_regression_and_finds_the_worlds_weights(data, unseen):
    module = neuron(data)
    plane = module.layers[0]
    found = np.append(plane.weight.detach().numpy()[0], plane.bias.item())
    peer = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(data.inputs.values, data.y)
    assert np.abs(found - np.append(peer.coef_[0], peer.intercept_)).max() < 1e-4
    rows = np.column_stack([data.inputs.values, np.ones(len(data))])
    p = 1 / (1 + np.exp(-rows @ found))
    errors = np.sqrt(np.diag(np.linalg.inv((rows * (p * (1 - p))[:, None]).T @ rows)))
    truth = np.append(WORLD.oracle().weights, WORLD.oracle().bias)
    assert (np.abs(found - truth) <= 4 * errors).all()
    with torch.no_grad():
        logits = module(rows_of(unseen)).numpy()
    assert auc(unseen, logits) >= auc(unseen, WORLD.oracle().logit(unseen.inputs.values)) - 0.01


@pytest.mark.parametrize("activation", list(ACTIVATIONS))
def test_a_neuron_of_every_activation_comes_near_the_oracle(activation, data, unseen, tmp_path):
    model = trained("neuron", data, SPEC, options={"activation": activation})
    best = auc(unseen, WORLD.oracle().logit(unseen.inputs.values))
    assert auc(unseen, model.predict(unseen.inputs)) >= best - 0.01
    assert {"gradients", "first_layer"} <= model.offers
    save(model, tmp_path)
    assert np.array_equal(read(tmp_path, unseen, SPEC).predict(unseen.inputs), model.predict(unseen.inputs))


CLOSED = {
    "relu": lambda z: max(z, 0.0),
    "sigmoid": lambda z: 1 / (1 + exp(-z)),
    "tanh": tanh,
    "leaky_relu": lambda z: z if z > 0 else 0.01 * z,
    "prelu": lambda z: z if z > 0 else 0.25 * z,  # as it begins
    "swish": lambda z: z / (1 + exp(-z)),
    "gelu": lambda z: z * (1 + erf(z / sqrt(2))) / 2,
}


@settings(max_examples=50, deadline=None)
@given(z=st.floats(-20, 20))
def test_the_table_of_activations(z):
    assert CLOSED.keys() == ACTIVATIONS.keys() == NEURONS.keys() - {"logistic"}
    for name, closed in CLOSED.items():
        with torch.no_grad():
            got = ACTIVATIONS[name]().double()(torch.tensor([z], dtype=torch.float64)).item()
        assert got == pytest.approx(closed(z), abs=1e-12)


def test_a_neurons_options(data):
    with pytest.raises(UsageError, match=r"activation: one of 'logistic', .*got 'softplus'"):
        neuron(data, activation="softplus")
    by_hand = neuron(data, optimiser="momentum", epochs=5)
    assert len(by_hand.layers) == 1
