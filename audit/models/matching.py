"""Models that match pictures and captions: how their inputs part, and the oracle with set weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from audit.core import Floats, ModelError, Offer
from audit.data.images import Images
from audit.data.texts import Texts
from audit.data.worlds.matching import MatchForm
from audit.models.adapters.torch import TorchModel


def sides(x: Tensor, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """The pictures (n, *shape) and the ids (n, tokens) of rows (n, pixels + tokens) as in `Captioned.values`."""
    pixels = torch.Size(shape).numel()
    return x[:, :pixels].reshape(len(x), *shape), x[:, pixels:].round().long()


def both(pictures: object, texts: object) -> tuple[Images, Texts]:
    """What is to be matched, as it came; raises ModelError for anything but pictures and texts."""
    if not (isinstance(pictures, Images) and isinstance(texts, Texts)):
        raise ModelError(f"match: expected Images and Texts, got {type(pictures).__name__} and {type(texts).__name__}")
    return pictures, texts


class Matched(nn.Module):
    """Seen · gain of the words + base of the words + bias, a logit (n,) in float64; see `MatchForm`."""

    def __init__(self, form: MatchForm) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.from_numpy(form.weights.copy()))
        self.offset = nn.Parameter(torch.tensor(form.offset, dtype=torch.float64))
        self.table = nn.Embedding(len(form.gains), 2, dtype=torch.float64)
        with torch.no_grad():
            self.table.weight.copy_(torch.stack([torch.from_numpy(form.gains), torch.from_numpy(form.bases)], dim=1))
        self.bias = nn.Parameter(torch.tensor(form.bias, dtype=torch.float64))
        self.columns = form.columns

    def forward(self, x: Tensor) -> Tensor:
        """The logit (n,) of rows (n, pixels + tokens)."""
        pictures, ids = sides(x, self.weights.shape)
        gain, base = self._said(ids)
        return self.seen(pictures) * gain + base + self.bias

    def seen(self, pictures: Tensor) -> Tensor:
        """What is seen in pictures (n, channels, height, width)."""
        return pictures.flatten(1) @ self.weights.flatten() + self.offset

    def match(self, pictures: Tensor, ids: Tensor) -> Tensor:
        """The score (n, m) of pictures with captions (m, tokens)."""
        gain, base = self._said(ids)
        return torch.outer(self.seen(pictures), gain) + base

    def _said(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Gain and base (n,) of captions (n, tokens)."""
        total: Tensor = self.table(ids).sum(dim=1)
        return total[:, 0], total[:, 1]

    def form(self) -> MatchForm:
        """What its weights say, as numbers."""
        gains, bases = self.table.weight.detach().double().cpu().numpy().T
        weights = self.weights.detach().double().cpu().numpy()
        return MatchForm(
            weights=weights,
            offset=self.offset.item(),
            gains=gains,
            bases=bases,
            bias=self.bias.item(),
            columns=self.columns,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchedModel(TorchModel):
    """The oracle of a world of captions, which also matches every picture with every caption."""

    @property
    def offers(self) -> frozenset[Offer]:
        """Gradients, and matching."""
        return frozenset({"gradients", "matching"})

    def match(self, pictures: Images, texts: Texts) -> Floats:
        """The log-odds (n, m) that each picture and each text belong together, were half of all pairs true."""
        assert isinstance(self.module, Matched)
        shown, said = both(pictures, texts)
        with torch.no_grad():
            found: Floats = self.module.match(self.tensor(shown), self.tensor(said)).double().cpu().numpy()
        return found
