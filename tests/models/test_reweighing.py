"""Weights of reweighing against the published formula, and what they do to a perceptron."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from audit import codec
from audit.core import DataError, ModelError, stream
from audit.data.tabular import Tabular
from audit.models.debias.reweighing import reweighed, weights_of
from audit.models.reference import trained
from audit.models.seeds import seeded
from audit.models.training import Training, log_loss, train
from audit.registry import entries

SPEC = codec.spec_from_toml(
    '[model]\nkind = "family"\nfamily = "reweighing"\n[data]\nworld = "credit"\nrows = 3000\n[groups]\nattributes = ["sex"]\n'
)


def published(y, a):
    """AIF360's Reweighing: (n_a / n) (n_y / n) / (n_ay / n), cell by cell."""
    n = len(y)
    return np.array(
        [
            (a == g).sum() * (y == label).sum() / (n * ((a == g) & (y == label)).sum())
            for g, label in zip(a, y, strict=True)
        ]
    )


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 2)), min_size=2, max_size=60))
def test_weights_are_the_published_ones(pairs):
    y, a = np.array(pairs).T
    np.testing.assert_allclose(weights_of(torch.as_tensor(y), a).numpy(), published(y, a), rtol=1e-12)


def test_label_and_group_are_independent_under_the_weights():
    data = entries("worlds")["credit"].function(flip=0.2).draw(4000, stream(0, "reweighing"))
    a, y = data.groups["sex"].values.astype(int), data.y
    w = weights_of(torch.as_tensor(y), a).numpy()
    for group in (0, 1):
        assert abs(np.average(y[a == group], weights=w[a == group]) - np.average(y, weights=w)) < 1e-12
    assert abs(w.mean() - 1) < 1e-12


def test_training_uses_the_weights_and_none_changes_nothing():
    x = torch.linspace(-1, 1, 64)[:, None]
    y = (x[:, 0] > 0).long()
    training = Training(epochs=3, batch=16, seed=0)

    def plain(a):
        return reweighed(lambda: nn.Linear(1, 1), x, y, a, training=training).weight.item()

    with seeded(0):
        module = nn.Linear(1, 1)
    train(module, x, y, training=training, loss=log_loss)
    independent = np.arange(64) % 2
    assert abs(plain(independent) - module.weight.item()) < 1e-6  # groups that say nothing: all weights are 1
    assert abs(plain((np.arange(64) > 20).astype(int)) - module.weight.item()) > 1e-4


def test_the_gap_of_a_perceptron_shrinks():
    world = entries("worlds")["credit"].function()
    data, test = (world.draw(rows, stream(seed, "reweighing")) for seed, rows in ((1, 3000), (2, 4000)))
    model = trained("reweighing", data, SPEC, options={"epochs": 6})
    kept = list(entries("families")["reweighing"].facts["promise"](model, test, world))
    assert all(each.kept for each in kept), kept


def test_arrays_tensors_tables_and_text_give_the_same_module():
    x = np.linspace(-1, 1, 64)[:, None]
    y, a = (x[:, 0] > 0).astype(int), np.arange(64) // 40
    training = Training(epochs=1, batch=16, seed=0)

    def weight(*given):
        return reweighed(lambda: nn.Linear(1, 1), *given, training=training).weight.item()

    wanted = weight(x, y, a)
    assert weight(torch.tensor(x, dtype=torch.float32), torch.tensor(y), torch.tensor(a)) == wanted
    assert weight(Tabular(values=x, columns=("one",)), list(y), np.array(["f", "m"])[a]) == wanted
    for wrong, error, word in (
        ((np.ones((64, 2)), y, a), ModelError, r"cannot read x of shape \(64, 2\)"),
        ((x, np.array(["yes", "no"] * 32), a), DataError, "y: an array or tensor of numbers is needed"),
        ((x, y, a[:9]), DataError, "y and a: one each of the rows"),
    ):
        with pytest.raises(error, match=word):
            weight(*wrong)
