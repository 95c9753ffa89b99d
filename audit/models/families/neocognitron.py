"""The Neocognitron, whose simple and complex cells are a model of the visual cortex."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from audit.core import Dataset, UsageError
from audit.models.encoding import labels_of, outputs_of
from audit.models.pictures import Pictured, light_glyphs, shape_of, standardised
from audit.models.seeds import seeded
from audit.models.sparing import SPARING
from audit.models.stack import units
from audit.models.training import Training, log_loss, train
from audit.registry import family

ORIENTATIONS = 8
SMALL = 1e-6  # below this an inhibitory cell counts as silent
BATCH = 250
SAMPLES = 40_000  # patches that the second layer's cells are sought among


class Simple(nn.Module):
    """S-cells: the likeness of a patch to each pattern, as far as it lies above a threshold.

    The sum of what a patch excites is divided by an inhibitory cell's root mean square of the same patch: how strong it is
    does not matter, but for patches weaker than `floor`. patterns (cells, given, size, size) have length 1.
    """

    def __init__(self, given: int, cells: int, size: int, threshold: float, floor: float) -> None:
        super().__init__()
        self.excite = nn.Conv2d(given, cells, size, padding=size // 2, bias=False)
        self.inhibit = nn.Conv2d(given, 1, size, padding=size // 2, bias=False)
        self.relu = nn.ReLU()
        self.threshold, self.floor = threshold, floor
        nn.init.ones_(self.inhibit.weight)

    def learn(self, patterns: Tensor) -> None:
        """Take these patterns (cells, given, size, size) as they are; nothing trains them further."""
        with torch.no_grad():
            flat = patterns.flatten(1)
            self.excite.weight.copy_((flat / flat.norm(dim=1, keepdim=True).clamp_min(SMALL)).view_as(patterns))
        for weight in (self.excite.weight, self.inhibit.weight):
            weight.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (n, given, h, w) to (n, cells, h, w)."""
        strength = (self.inhibit(x * x) + self.floor**2).sqrt()
        out: Tensor = self.relu(self.excite(x) / strength - self.threshold)
        return out


class Neocognitron(Pictured):
    """S1 of fixed oriented edges, C1, S2 of learnt patterns, C2, and a linear layer that reads C2."""

    def __init__(
        self, *, shape: Sequence[int], outputs: int, cells: int, thresholds: Sequence[float], floor: float
    ) -> None:
        super().__init__(shape=shape, outputs=outputs, least=16)
        self.config = {
            "shape": list(shape),
            "outputs": outputs,
            "cells": cells,
            "thresholds": list(thresholds),
            "floor": floor,
        }
        self.first = Simple(shape[0], ORIENTATIONS, 5, thresholds[0], floor)
        self.first.learn(edges(shape[0]))
        self.second = Simple(ORIENTATIONS, cells, 5, thresholds[1], floor)
        high, wide = (-(-side // 4) for side in self.seen)
        self.maps = nn.Sequential(self.first, *complex_cells(), self.second, *complex_cells())
        self.readout = nn.Linear(cells * high * wide, outputs)
        self.body = nn.Sequential(self.maps, nn.Flatten(), self.readout)


def complex_cells() -> list[nn.Module]:
    """C-cells: each fires with the strongest S-cell of its kind nearby, so that a small shift makes no difference."""
    return [nn.MaxPool2d(3, stride=2, padding=1)]


def edges(channels: int) -> Tensor:
    """Steps from dark to light in eight directions (8, channels, 5, 5), under a Gaussian, the same in every channel."""
    below, across = torch.meshgrid(torch.arange(-2.0, 3.0), torch.arange(-2.0, 3.0), indexing="ij")
    found = []
    for k in range(ORIENTATIONS):
        angle = 2 * math.pi * k / ORIENTATIONS
        along = across * math.cos(angle) + below * math.sin(angle)
        found.append(along * torch.exp(-(across**2 + below**2) / 4))
    return torch.stack(found)[:, None].expand(-1, channels, -1, -1).clone()


def patterns(maps: Tensor, cells: int, generator: torch.Generator, rounds: int = 15) -> Tensor:
    """Typical patches (cells, given, 5, 5) of maps (n, given, h, w): k-means of patches of length 1, by likeness (arthur2007).

    Among at most 40,000 drawn patches that are stronger than the mean; raises UsageError where there are fewer than cells.
    """
    given = maps.shape[1]
    patches = nn.functional.unfold(maps, 5).transpose(1, 2).reshape(-1, given * 25)
    length = patches.norm(dim=1)
    patches = patches[length > length.mean()]
    if len(patches) < cells:
        raise UsageError(
            f"cells: at most {len(patches)}, which is how many patches there are to learn from, got {cells}"
        )
    drawn = torch.randperm(len(patches), generator=generator)[:SAMPLES].to(maps.device)
    patches = nn.functional.normalize(patches[drawn])
    centres = patches[:1]
    while len(centres) < cells:  # what is least like those chosen so far is likeliest to be chosen next
        unlike = 1 - (patches @ centres.T).amax(dim=1)
        chosen = torch.multinomial(unlike.clamp_min(SMALL).cpu(), 1, generator=generator)
        centres = torch.cat([centres, patches[chosen.to(maps.device)]])
    for _ in range(rounds):
        nearest = (patches @ centres.T).argmax(dim=1)
        sums = torch.zeros_like(centres).index_add_(0, nearest, patches)
        known = sums.norm(dim=1) > 0
        centres[known] = nn.functional.normalize(sums[known])
    return centres.view(cells, given, 5, 5)


@family(
    "neocognitron",
    title="Neocognitron",
    world="glyphs",
    promise=light_glyphs,
    rows=2000,
    checks=SPARING,
    sources=("fukushima1980", "arthur2007"),
)
def neocognitron(
    data: Dataset,
    *,
    seed: int = 0,
    device: str = "cpu",
    cells: int = 32,
    thresholds: Sequence[float] = (0.0, 0.3),
    floor: float = 1.0,
    epochs: int = 20,
    batch: int = 64,
    rate: float | None = 1e-3,
) -> Neocognitron:
    """Simple cells that see a pattern and complex cells that see it anywhere near, twice, without a teacher.

    S1 looks for edges in eight directions, S2 for `cells` patterns of them, found by k-means in place of the paper's
    competition between cells; C-cells take the strongest nearby. Only the linear layer behind C2 sees labels. thresholds:
    likeness, from 0 to 1, from which the cells of S1 and S2 fire. floor: strength below which a patch says little. rate:
    of the readout; see `audit.models.training.Training`. Raises UsageError, DataError.
    """
    training = Training(epochs=epochs, batch=batch, rate=rate, seed=seed)
    units([cells])
    if len(thresholds) != 2 or not all(0 <= each < 1 for each in thresholds):
        raise UsageError(f"thresholds: two numbers in [0, 1), of S1 and of S2, got {thresholds!r}")
    if not 0 < floor < math.inf:
        raise UsageError(f"floor: a number above 0, got {floor!r}")
    shape = shape_of(data, "neocognitron")
    with seeded(seed) as generator, torch.no_grad():
        made = Neocognitron(shape=shape, outputs=outputs_of(data), cells=cells, thresholds=thresholds, floor=floor)
        module, x = standardised(made, data, device)
        few = torch.cat([module.maps[:2](module.front(part)) for part in torch.split(x[:1000], BATCH)])
        module.second.learn(patterns(few, cells, generator))
        seen = torch.cat([module.maps(module.front(part)) for part in torch.split(x, BATCH)]).flatten(1)
    read(module.readout, seen, labels_of(data, device), training)
    return module.eval()


def read(readout: nn.Linear, seen: Tensor, y: Tensor, training: Training) -> None:
    """Train the readout on what C2 shows (n, d), standardised, which its weights then take in."""
    mean, scale = seen.mean(dim=0), seen.std(dim=0).clamp_min(0.05)
    train(readout, (seen - mean) / scale, y, training=training, loss=log_loss)
    with torch.no_grad():
        readout.weight.div_(scale)
        readout.bias.sub_(readout.weight @ mean)
