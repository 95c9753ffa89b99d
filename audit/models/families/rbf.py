"""The network of radial basis functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from audit.core import DataError, Dataset, UsageError, suggest
from audit.data.tables import listed
from audit.models.encoding import Encoder, encoder, labels_of, rows_of
from audit.models.reference import Reference
from audit.models.seeds import seeded
from audit.models.training import Training, log_loss, train
from audit.registry import family

Kernel = Literal["gaussian", "multiquadric"]
Centres = Literal["kmeans", "rows"]
LLOYD = 10  # rounds of k-means: the centres need only lie where people are
NEIGHBOURS = 2  # whose mean distance is a centre's first width


class RBF(Reference):
    """Encoder, distances to centres, a radial function of each, one logit (n,).

    With r the distance to a centre over its width, gaussian is exp(-r²/2), multiquadric is sqrt(1 + r²).
    """

    def __init__(self, *, encoder: Mapping[str, Any], centres: int, kernel: Kernel) -> None:
        super().__init__()
        self.config = {"encoder": dict(encoder), "centres": centres, "kernel": kernel}
        self.encoder = Encoder(**encoder)
        self.kernel = kernel
        self.centres = nn.Parameter(torch.zeros(centres, self.encoder.width))
        self.log_widths = nn.Parameter(torch.zeros(centres))
        self.readout = nn.Linear(centres, 1)

    def basis(self, x: Tensor) -> Tensor:
        """The radial functions (n, centres) of raw rows (n, d)."""
        # The product form of the distance loses digits where a row lies on its centre.
        apart = torch.cdist(*self._wide(self.encoder(x)), compute_mode="donot_use_mm_for_euclid_dist").to(x.dtype)
        square = (apart / self.log_widths.exp()).square()
        return (-square / 2).exp() if self.kernel == "gaussian" else (1 + square).sqrt()

    def _wide(self, encoded: Tensor) -> tuple[Tensor, Tensor]:
        """Rows and centres in a type that distances can be computed in: there are none of half precision."""
        kind = encoded.dtype if encoded.dtype in (torch.float32, torch.float64) else torch.float32
        return encoded.to(kind), self.centres.to(kind)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n,) of raw rows (n, d)."""
        logits: Tensor = self.readout(self.basis(x))[:, 0]
        return logits


@family("rbf", title="Network of radial basis functions", world="credit", sources=("broomhead1988", "moody1989"))
def rbf(
    data: Dataset,
    *,
    seed: int = 0,
    device: str = "cpu",
    centres: int = 48,
    kernel: Kernel = "gaussian",
    placed: Centres = "kmeans",
    epochs: int = 12,
    rate: float = 1e-2,
) -> RBF:
    """Centres placed by k-means or on random rows, widths from their neighbours, then all trained with the read-out."""
    for name, value, allowed in (("kernel", kernel, get_args(Kernel)), ("placed", placed, get_args(Centres))):
        if value not in allowed:
            raise UsageError(f"{name}: one of {listed(allowed)}, got {value!r}{suggest(str(value), allowed)}")
    front = encoder(data)
    x, y = rows_of(data, device), labels_of(data, device)
    if not NEIGHBOURS < centres <= len(x):
        raise DataError(f"centres: more than {NEIGHBOURS}, and no more than the {len(x)} rows; got {centres}")
    with seeded(seed) as generator:
        module = RBF(encoder=front.config, centres=centres, kernel=kernel).to(device)
        module.encoder.load_state_dict(front.state_dict())
        with torch.no_grad():
            places = placed_centres(module.encoder(x), centres, generator, rounds=LLOYD if placed == "kmeans" else 0)
            module.centres.copy_(places)
            module.log_widths.copy_(neighbour_distance(places).log())
    train(module, x, y, training=Training(epochs=epochs, rate=rate, seed=seed), loss=log_loss)
    return module


def placed_centres(z: Tensor, count: int, generator: torch.Generator, *, rounds: int) -> Tensor:
    """Centres (count, w): random rows of z (n, w), moved to the means of those nearest to them in `rounds` of Lloyd's."""
    centres = z[torch.randperm(len(z), generator=generator)[:count].to(z.device)].clone()
    for _ in range(rounds):
        nearest = torch.cdist(z, centres).argmin(dim=1)
        member = nn.functional.one_hot(nearest, count).to(z.dtype)
        size = member.sum(dim=0)
        # A centre that nobody is nearest to stays where it is.
        centres = torch.where(size[:, None] > 0, member.T @ z / size.clamp_min(1)[:, None], centres)
    return centres


def neighbour_distance(centres: Tensor) -> Tensor:
    """The mean distance (k,) of each centre to its nearest others; 1 where they all lie in one place."""
    nearest = torch.cdist(centres, centres).topk(NEIGHBOURS + 1, largest=False).values[:, 1:]
    mean = nearest.mean(dim=1)
    return torch.where(mean > 0, mean, torch.ones_like(mean))
