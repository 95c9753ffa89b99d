"""The mixture of experts: a router sends each row to the best few of several small networks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from audit.core import Dataset, UsageError
from audit.models.encoding import Encoder, encoder, labels_of, rows_of
from audit.models.reference import Reference
from audit.models.seeds import seeded
from audit.models.training import Training, log_loss, train
from audit.registry import family


class Mixture(Reference):
    """Encoder, a router of softmax gates, experts of one hidden layer; the logit is the sum of gate times expert.

    Only the `top` experts of largest gate are asked, the others take no part and cost nothing.
    """

    offers = frozenset({"experts"})
    notes = (
        "Each row is answered by the experts of its largest gates: a small change of a row can change who answers.",
    )

    def __init__(self, *, encoder: Mapping[str, Any], experts: int, hidden: int, top: int) -> None:
        super().__init__()
        self.config = {"encoder": dict(encoder), "experts": experts, "hidden": hidden, "top": top}
        self.encoder = Encoder(**encoder)
        self.top = top
        width = self.encoder.width
        self.router = nn.Linear(width, experts)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, 1)) for _ in range(experts)
        )
        self.imbalance = torch.zeros(())

    def gates(self, z: Tensor) -> Tensor:
        """Softmax gates (n, experts) of encoded rows (n, width), 0 for all but the largest `top`."""
        gates = self.router(z).softmax(dim=1)
        kept = torch.zeros_like(gates).scatter(1, gates.topk(self.top, dim=1).indices, 1.0)
        if self.training:
            self.imbalance = gates.shape[1] / self.top * (kept.mean(dim=0) * gates.mean(dim=0)).sum()
        weights: Tensor = gates * kept
        return weights

    def routes(self, x: Tensor) -> Tensor:
        """The weight (n, experts) of each expert in the answer to raw rows (n, d), as `gates` gives them.

        A row sums to less than 1 where not all experts are asked: the gates are not scaled up again, as in fedus2022,
        so that the router learns from the answer even where it asks one expert only.
        """
        return self.gates(self.encoder(x))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n,) of raw rows (n, d)."""
        z = self.encoder(x)
        gates = self.gates(z)
        logits: Tensor = z.new_zeros(len(z))
        for index, expert in enumerate(self.experts):
            rows = gates[:, index].nonzero()[:, 0]
            if len(rows):
                logits = logits.index_add(0, rows, gates[rows, index] * expert(z[rows])[:, 0])
        return logits


@family(
    "mixture_of_experts",
    title="Mixture of experts",
    world="credit",
    offers=("experts",),
    sources=("jacobs1991", "shazeer2017", "fedus2022"),
)
def mixture_of_experts(
    data: Dataset,
    *,
    seed: int = 0,
    device: str = "cpu",
    experts: int = 4,
    hidden: int = 16,
    top: int = 1,
    balance: float = 1e-2,
    epochs: int = 12,
) -> Mixture:
    """Experts and router trained together; `balance` is the weight of the loss that keeps experts equally busy."""
    if experts < 1 or not 1 <= top <= experts:
        raise UsageError(f"experts, top: at least one expert, and from 1 to experts asked; got {experts} and {top}")
    if hidden < 1 or balance < 0:
        raise UsageError(f"hidden, balance: at least 1 unit, and a weight from 0 on; got {hidden} and {balance}")
    front = encoder(data)
    with seeded(seed):
        module = Mixture(encoder=front.config, experts=experts, hidden=hidden, top=top).to(device)
    module.encoder.load_state_dict(front.state_dict())
    x, y = rows_of(data, device), labels_of(data, device)

    def loss(raw: Tensor, y: Tensor) -> Tensor:
        return log_loss(raw, y) + balance * module.imbalance

    train(module, x, y, training=Training(epochs=epochs, seed=seed), loss=loss)
    module.imbalance = torch.zeros(())  # no part of what it learnt, and bound to the last batch's graph
    return module
