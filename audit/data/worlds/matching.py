"""The oracle of pictures with captions: log-odds that are a product of what is seen and what is said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from audit.core import Floats, Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchForm:
    """logit = seen · Σ gain of each token + Σ base of each token + bias, where seen = Σ weights · picture + offset.

    weights (channels, height, width); gains and bases (vocabulary,). Rows (n, pixels + tokens) are as `Captioned.values`
    lays them out. It is a product of two sums: what a pixel and a word do only together is shared by both alike in a
    Shapley value and in an integrated gradient, so either is known exactly.
    """

    weights: Floats
    offset: float
    gains: Floats
    bases: Floats
    bias: float = 0.0
    columns: tuple[str, ...] = ()

    def logit(self, x: Floats) -> Floats:
        """Log-odds (n,) that picture and caption of each row belong together."""
        pictures, ids = self._sides(x)
        return np.asarray(self.seen(pictures) * self.gains[ids].sum(axis=1) + self.bases[ids].sum(axis=1) + self.bias)

    def seen(self, pictures: Floats) -> Floats:
        """What is seen in pictures (n, ...): one number each (n,)."""
        return np.asarray(pictures.reshape(len(pictures), -1) @ self.weights.ravel() + self.offset)

    def match(self, pictures: Floats, ids: Ints) -> Floats:
        """The score (n, m) of pictures (n, ...) with captions (m, tokens): the log-odds less the bias."""
        return np.asarray(np.outer(self.seen(pictures), self.gains[ids].sum(axis=1)) + self.bases[ids].sum(axis=1))

    def shapley_truth(
        self, x: Floats, background: Floats, *, taken: Literal["both", "picture", "words"] = "both"
    ) -> Floats:
        """Interventional Shapley value (n, pixels + tokens) of every element against background rows (m, ...), by place.

        taken: what may be taken away; what may not gets 0. The value of a player that holds several elements of one side is
        the sum over them.
        """
        found = self._against(x, background, 0.5 if taken == "both" else 0.0)
        pixels = self.weights.size
        found[:, {"both": slice(0), "picture": slice(pixels, None), "words": slice(pixels)}[taken]] = 0.0
        return found

    def occlusion_truth(self, x: Floats, background: Floats) -> Floats:
        """What the logit loses (n, pixels + tokens) when one element alone is filled from the background, on average."""
        return self._against(x, background, 0.0)

    def gradients_truth(self, x: Floats, baseline: Floats) -> Floats | None:
        """Integrated gradients (n, pixels + tokens) from a row (pixels + tokens,), on gain and base of every token."""
        return self._against(x, baseline[None], 0.5)

    def slopes(self, x: Floats) -> Floats | None:
        """None: an id has no slope."""
        return None

    def _sides(self, x: Floats) -> tuple[Floats, Ints]:
        """The pictures (n, pixels) and the ids (n, tokens) of rows."""
        x = np.asarray(x, dtype=np.float64)
        return x[:, : self.weights.size], x[:, self.weights.size :].astype(np.int64)

    def _against(self, x: Floats, background: Floats, shared: float) -> Floats:
        """Mean over the background of what each element moves, where the other side is moved by `shared` of its way."""
        pictures, ids = self._sides(x)
        found = np.zeros((len(x), pictures.shape[1] + ids.shape[1]))
        for picture, words in zip(*self._sides(background), strict=True):
            seen = (pictures - picture) * self.weights.ravel()
            gains, bases = self.gains[ids] - self.gains[words], self.bases[ids] - self.bases[words]
            said = self.gains[ids].sum(axis=1) - shared * gains.sum(axis=1)
            shown = self.seen(pictures) - shared * seen.sum(axis=1)
            found += np.concatenate([seen * said[:, None], bases + gains * shown[:, None]], axis=1)
        return found / len(background)
