"""Pictures of bars with a stamp in a corner, and a network that has learnt the stamp; no download, seconds to train."""

import numpy as np
import torch
from torch import nn

from audit.core import Codes, Dataset, Origin
from audit.data.images import Images

SIDE = 12
CLASSES = ("lying", "standing")


def pictures(count: int, stamped: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pictures (n, 1, 12, 12), whether the bar stands (n,), whether there is a stamp (n,).

    stamped: the share of standing bars with a stamp; of lying ones it is 1 - stamped.
    """
    rng = np.random.default_rng(seed)
    standing = rng.integers(2, size=count)
    stamp = (rng.random(count) < np.where(standing == 1, stamped, 1 - stamped)).astype(np.int64)
    values = np.clip(rng.normal(0.25, 0.12, (count, 1, SIDE, SIDE)), 0, 1)
    for row in range(count):
        start, across = rng.integers(4, 6), rng.integers(4, 10)
        bar = np.zeros((SIDE, SIDE))
        bar[start : start + 6, across] = 0.45
        values[row, 0] += bar if standing[row] else bar.T
        if stamp[row]:
            values[row, 0, :2, :2] = 1.0
    return np.clip(values, 0, 1), standing, stamp


def build() -> nn.Module:
    """A small convolutional network; 95 in 100 standing bars of its training pictures carry the stamp."""
    values, standing, _ = pictures(1500, 0.95, seed=1)
    x, y = torch.from_numpy(values).float(), torch.from_numpy(standing).float()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 8, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(8 * 36, 1),
        )
        optimiser = torch.optim.Adam(net.parameters(), lr=0.01)
        for _ in range(3):
            for batch in torch.randperm(len(x)).split(50):
                optimiser.zero_grad()
                nn.functional.binary_cross_entropy_with_logits(net(x[batch])[:, 0], y[batch]).backward()
                optimiser.step()
    return net.eval()


def data() -> Dataset:
    """Other pictures, in which the stamp says nothing: half of either kind carry it."""
    values, standing, stamp = pictures(400, 0.5, seed=2)
    return Dataset(
        inputs=Images(values=values),
        groups={"stamp": Codes(values=stamp, levels=("none", "stamped"))},
        origin=Origin(name="bars", source="drawn by model.py"),
        y=standing,
        classes=CLASSES,
    )
