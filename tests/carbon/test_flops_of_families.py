"""FLOPs of one prediction of each reference family against counts by hand; a mixture pays for the experts it asks."""

import pytest
from trained_families import DATA, OPTIONS

from audit.carbon import flops
from audit.models.reference import trained

D = 7  # columns of the credit world
BY_HAND = {
    "mlp": ({"hidden": (64, 64)}, 2 * (D * 64 + 64 * 64 + 64)),
    "rbf": ({"centres": 48}, 48 * (3 * D + 2)),
    "autoencoder": ({"hidden": (32,), "width": 3}, 2 * 2 * (D * 32 + 32 * 3)),
    "pca": ({"width": 3}, 2 * 2 * D * 3),
    "bayesian": ({"hidden": (32,)}, 2 * (D * 32 + 32)),
    "mixture_of_experts": ({"experts": 4, "hidden": 16}, 2 * (D * 4 + D * 16 + 16)),
}


@pytest.mark.parametrize("id", list(BY_HAND))
@pytest.mark.parametrize("rows", [1, 5])
def test_counts_by_hand(id, rows):
    options, each = BY_HAND[id]
    epochs = {} if id == "pca" else {"epochs": 0}
    model = trained(id, DATA, OPTIONS, options={**options, **epochs})
    assert flops.count(model.module, model.tensor(DATA.inputs)[:rows]).total == rows * each


def test_two_experts_cost_two():
    model = trained("mixture_of_experts", DATA, OPTIONS, options={"experts": 4, "hidden": 16, "top": 2, "epochs": 0})
    found = flops.count(model.module, model.tensor(DATA.inputs)[:5])
    assert found.total == 5 * 2 * (D * 4 + 2 * (D * 16 + 16))
    assert "on cpu" in found.method
