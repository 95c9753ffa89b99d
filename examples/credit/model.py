"""A small network that learns who repays, trained in seconds on the planted credit world, without the column sex."""

import numpy as np
import torch
from torch import nn

from audit.data.worlds.credit import COLUMNS, credit

SEEN = COLUMNS.index("sex")  # the features before sex: income, debt, history, zip, n1, n2


class Scorer(nn.Module):
    """Log-odds of repayment from every feature but sex."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(SEEN, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map applicants (n, 7) to log-odds (n,)."""
        return self.net(x[:, :SEEN]).squeeze(-1)


def build() -> nn.Module:
    """The trained network; the audit draws other applicants than these."""
    world = credit(flip=0.15)  # one in seven women who repaid is on record as defaulted
    data = world.draw(20_000, np.random.default_rng(2026))
    x = torch.from_numpy(data.inputs.values).float()
    y = torch.from_numpy(data.y).float()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Scorer()
        optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
        for _ in range(4):
            for batch in torch.randperm(len(x)).split(500):
                optimiser.zero_grad()
                nn.functional.binary_cross_entropy_with_logits(model(x[batch]), y[batch]).backward()
                optimiser.step()
    return model.eval()
