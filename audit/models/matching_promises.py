"""What a model that matches pictures with captions keeps in the world of captions."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from audit.core import Dataset, Floats, Model
from audit.data.captioned import Captioned
from audit.data.images import Images
from audit.data.worlds.base import World
from audit.data.worlds.captions import LEVELS, OCCUPATIONS, captions_of, shades
from audit.fairness.ranking import ndkl
from audit.models.encoding import inputs_of
from audit.models.promises import Promise, near_the_oracle


def as_the_truth(model: Model, data: Dataset, world: World) -> Iterator[Promise]:
    """The scores of clean pictures with captions are the true mutual information, and rank pictures as it does."""
    found = model.match(Images(values=shades()), captions_of(np.arange(len(OCCUPATIONS))))  # type: ignore[attr-defined]
    truth = world.truth()
    pmi = np.array([[truth[f"pmi.{level}.{name}"] for name in OCCUPATIONS] for level in LEVELS])
    r = float(np.corrcoef(found.ravel(), pmi.ravel())[0, 1])
    yield Promise(name="correlation with the true PMI", value=r, low=0.99, why="the best InfoNCE critic is PMI")
    step = found[1] - found[0] - (found[1] - found[0]).mean()
    worst = max(abs(step[o] - truth[f"association.{name}"]) for o, name in enumerate(OCCUPATIONS))
    yield Promise(name="largest error of an association", value=float(worst), high=0.3, why="in log-odds")
    yield from near_the_oracle(model, data, world, below=0.01)
    yield from _rankings(model, data, world)


def _rankings(model: Model, data: Dataset, world: World) -> Iterator[Promise]:
    """NDKL of the pictures ranked by the model's match with every caption, less that by the world's own."""
    inputs = inputs_of(data, Captioned, "clip")
    every, tone = captions_of(np.arange(len(OCCUPATIONS))), data.groups["tone"].values
    mine: Floats = model.match(inputs.images, every)  # type: ignore[attr-defined]
    best = world.oracle().match(inputs.images.values, every.ids).round(9)  # type: ignore[attr-defined]
    gaps = [
        abs(ndkl(one, sensitive_features=tone) - ndkl(other, sensitive_features=tone))
        for one, other in zip(mine.T, best.T, strict=True)
    ]
    yield Promise(
        name="largest gap of NDKL to the oracle's ranking", value=max(gaps), high=0.02, why="of four captions"
    )
