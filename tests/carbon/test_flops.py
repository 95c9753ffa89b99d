"""FLOPs against counts by hand, on the copy without data and on the device itself."""

import pytest
import torch
from torch import nn

from audit.carbon import flops
from audit.core import ModelError

MLP = 2 * 5 * (10 * 32 + 32 * 4)
LSTM = 2 * 4 * 20 * 4 * (32 * 64 + 64 * 64)
ENCODER = 2 * 2 * 20 * (4 * 32 * 32 + 2 * 32 * 64) + 2 * 2 * 2 * 20 * 20 * 32


class Attention(nn.Module):
    def forward(self, q, k, v):
        return nn.functional.scaled_dot_product_attention(q, k, v)


class Radial(nn.Module):
    """48 centres in 6 dimensions, two outputs."""

    def __init__(self, mode):
        super().__init__()
        self.mode, self.centres, self.readout = mode, nn.Parameter(torch.randn(48, 6)), nn.Linear(48, 2)

    def forward(self, x):
        return self.readout((-torch.cdist(x, self.centres, compute_mode=self.mode)).exp())


class Distances(nn.Module):
    def forward(self, first, second):
        return torch.cdist(first, second)


class Vector(nn.Module):
    def forward(self, x):
        return torch.dot(x @ x.new_ones(10), torch.addmv(x.new_ones(5), x, x.new_ones(10)))


class Wandering(nn.Module):
    """A module whose path depends on its data, so that it cannot run without any."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, *x):
        assert x[0].nonzero().shape[0] > 0
        return self.inner(*x)


def cases():
    return {
        "mlp": (nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 4)), (torch.ones(5, 10),), MLP),
        "lstm": (nn.LSTM(32, 64, batch_first=True), (torch.ones(4, 20, 32),), LSTM),
        "encoder": (
            nn.TransformerEncoderLayer(32, 4, 64, batch_first=True).eval(),
            (torch.ones(2, 20, 32),),
            ENCODER,
        ),
        "attention": (Attention(), tuple(torch.ones(2, 4, 16, 8) for _ in range(3)), 2 * 2 * 2 * 4 * 16 * 16 * 8),
        "vectors": (Vector(), (torch.ones(5, 10),), 2 * (50 + 50 + 5)),
        # A subtraction, a multiplication and an addition a coordinate of each pair; 1,536 of these are the read-out's.
        "radial": (Radial("donot_use_mm_for_euclid_dist"), (torch.ones(8, 6),), 8 * 48 * (3 * 6 + 2 * 2)),
        "radial by products": (Radial("use_mm_for_euclid_dist"), (torch.ones(8, 6),), 8448),
        "distances in batches": (Distances(), (torch.ones(2, 5, 3), torch.ones(2, 4, 3)), 2 * 5 * 4 * 3 * 3),
        "convolution": (nn.Conv2d(3, 8, 3, padding=1), (torch.ones(2, 3, 10, 10),), 2 * 2 * 8 * 100 * 27),
    }


@pytest.mark.parametrize("name", list(cases()))
@pytest.mark.parametrize("place", ["meta", "device"])
def test_counts_by_hand(name, place):
    module, inputs, expected = cases()[name]
    found = flops.count(module if place == "meta" else Wandering(module), *inputs)
    assert found.total == expected
    assert sum(found.by_operation.values()) == expected
    assert ("without data failed" in found.method) == (place == "device")


def test_operations_without_a_formula_are_listed_with_their_calls():
    found = flops.count(nn.Bilinear(4, 5, 6), torch.ones(3, 4), torch.ones(3, 5))
    assert found.total == 0
    assert any("trilinear" in name for name in found.uncounted), found
    found = flops.count(nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.ReLU()), torch.ones(1, 3))
    assert found.uncounted == {"aten.relu": 2}
    assert flops.count(nn.Linear(3, 3), torch.ones(1, 3)).uncounted == {}


def test_leaves_the_module_the_switches_and_the_generator_alone():
    module = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5)).train()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    state, fast, fused = (
        torch.random.get_rng_state(),
        torch.backends.mha.get_fastpath_enabled(),
        torch.backends.mkldnn.enabled,
    )
    for one in (module, Wandering(module)):
        flops.count(one, torch.ones(3, 4))
    assert module.training
    assert module[1].training
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())
    assert torch.equal(state, torch.random.get_rng_state())
    assert (fast, fused) == (torch.backends.mha.get_fastpath_enabled(), torch.backends.mkldnn.enabled)


def test_a_module_that_does_not_run_says_so():
    with pytest.raises(ModelError, match="forward pass"):
        flops.count(nn.Linear(3, 2), torch.ones(1, 4))
