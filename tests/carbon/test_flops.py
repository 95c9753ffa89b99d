"""FLOPs against counts by hand, on the copy without data and on the device itself."""

import pytest
import torch
from torch import nn

from audit.carbon import flops
from audit.core import ModelError

MLP = 2 * 5 * (10 * 32 + 32 * 4)
LSTM = 2 * 4 * 20 * 4 * (32 * 64 + 64 * 64)
HEADS = 2 * 2 * 20 * 4 * 32 * 32 + 2 * 2 * 2 * 20 * 20 * 32  # the projections, then scores and means
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


class Summed(nn.Module):
    """Sums of messages (m, 4) at five nodes, as graph networks make them."""

    def __init__(self, how):
        super().__init__()
        self.how = how

    def forward(self, x, to):
        if self.how == "index":
            return x.new_zeros(5, 4).index_add(0, to, x)
        if self.how == "largest":
            return x.new_zeros(5, 4).scatter_reduce(0, to[:, None].expand_as(x), x, "amax")
        return x.new_zeros(5, 4).scatter_add_(0, to[:, None].expand_as(x), x)


class Attended(nn.Module):
    def __init__(self, weights):
        super().__init__()
        self.weights, self.attention = weights, nn.MultiheadAttention(32, 4, batch_first=True)

    def forward(self, x):
        return self.attention(x, x, x, need_weights=self.weights)[0]


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
        "elman": (nn.RNN(8, 16, batch_first=True), (torch.ones(4, 20, 8),), 2 * 4 * 20 * 16 * (8 + 16)),
        "gru": (nn.GRU(8, 16, batch_first=True), (torch.ones(4, 20, 8),), 2 * 4 * 20 * 3 * 16 * (8 + 16)),
        "lstm both ways": (
            nn.LSTM(8, 16, batch_first=True, bidirectional=True),
            (torch.ones(4, 20, 8),),
            2 * 2 * 4 * 20 * 4 * 16 * (8 + 16),
        ),
        "heads with weights": (Attended(True), (torch.ones(2, 20, 32),), HEADS + 2 * 4 * 20 * 20),
        "heads without weights": (Attended(False), (torch.ones(2, 20, 32),), HEADS),
        "grouped": (nn.Conv2d(6, 8, 3, groups=2, bias=False), (torch.ones(2, 6, 10, 10),), 2 * 2 * 8 * 64 * 9 * 3),
        "depthwise": (nn.Conv2d(6, 6, 5, padding=2, groups=6), (torch.ones(1, 6, 10, 10),), 2 * 6 * 100 * 25),
        "dilated": (nn.Conv2d(3, 4, 3, dilation=2), (torch.ones(1, 3, 10, 10),), 2 * 4 * 36 * 27),
        "strided": (nn.Conv2d(3, 4, 3, stride=2, padding=1), (torch.ones(1, 3, 10, 10),), 2 * 4 * 25 * 27),
        # Every pixel that comes in is multiplied into a window of what goes out.
        "transposed": (nn.ConvTranspose2d(6, 4, 2, stride=2), (torch.ones(1, 6, 5, 5),), 2 * 25 * 6 * 4 * 4),
        "transposed in groups": (
            nn.ConvTranspose2d(6, 4, 2, stride=2, groups=2),
            (torch.ones(1, 6, 5, 5),),
            2 * 25 * 6 * 2 * 4,
        ),
        "over steps": (nn.Conv1d(3, 4, 5), (torch.ones(2, 3, 12),), 2 * 2 * 4 * 8 * 15),
        "batch norm": (nn.BatchNorm2d(3), (torch.ones(2, 3, 4, 4),), 2 * 96),
        "largest of windows": (nn.MaxPool2d(3, stride=2), (torch.ones(2, 3, 9, 9),), 2 * 3 * 16 * 9),
        "largest over steps": (nn.MaxPool1d(2), (torch.ones(2, 3, 8),), 2 * 3 * 4 * 2),
        "mean of windows": (nn.AvgPool2d(2), (torch.ones(2, 3, 8, 8),), 2 * 3 * 16 * 4),
        "mean of steps": (nn.AvgPool1d(2), (torch.ones(2, 3, 8),), 2 * 3 * 4 * 2),
        "mean of all": (nn.AdaptiveAvgPool2d(1), (torch.ones(2, 3, 8, 8),), 2 * 3 * 64),
        "mean of quarters": (nn.AdaptiveAvgPool2d(2), (torch.ones(2, 3, 8, 8),), 2 * 3 * 64),
        "added up at nodes": (Summed("scatter"), (torch.ones(7, 4), torch.tensor([0, 1, 1, 2, 3, 4, 4])), 28),
        "added up by index": (Summed("index"), (torch.ones(7, 4), torch.tensor([0, 1, 1, 2, 3, 4, 4])), 28),
        "largest at nodes": (Summed("largest"), (torch.ones(7, 4), torch.tensor([0, 1, 1, 2, 3, 4, 4])), 28),
        "looked up": (
            nn.Sequential(nn.Embedding(10, 8), nn.Flatten(), nn.Linear(24, 2)),
            (torch.ones(5, 3, dtype=torch.long),),
            2 * 5 * 24 * 2,
        ),
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
