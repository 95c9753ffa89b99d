"""Pictures with captions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from audit.core import DataError, Floats, Ints
from audit.data.images import Images
from audit.data.texts import Texts


@dataclass(frozen=True, slots=True, kw_only=True)
class Captioned:
    """Pairs of a picture and a text, `images` (n) and `texts` (n); raises DataError where their numbers differ."""

    images: Images
    texts: Texts

    def __post_init__(self) -> None:
        if len(self.images) != len(self.texts):
            raise DataError(
                f"captioned: expected a text for every picture, got {len(self.images)} pictures, {len(self.texts)} texts"
            )

    def __len__(self) -> int:
        return len(self.images)

    @property
    def pixels(self) -> int:
        """Numbers of one picture, channels * height * width: where the ids begin in a row of `values`."""
        return int(np.prod(self.images.values.shape[1:]))

    @property
    def values(self) -> Floats:
        """What a model reads: one row (n, pixels + tokens) a pair, the picture's numbers in their order, then the ids."""
        pictures = self.images.values.reshape(len(self), self.pixels)
        return np.concatenate([pictures, self.texts.ids.astype(np.float64)], axis=1)

    def take(self, rows: Ints) -> Captioned:
        """The named pairs (k,), in that order."""
        return Captioned(images=self.images.take(rows), texts=self.texts.take(rows))
