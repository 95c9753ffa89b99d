"""CLIP: a tower for pictures and one for captions, whose vectors meet where they belong together."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from audit.core import DataError, Dataset, UsageError
from audit.data.captioned import Captioned
from audit.models.encoding import inputs_of
from audit.models.family_model import Reference
from audit.models.matching import sides
from audit.models.matching_promises import as_the_truth
from audit.models.seeds import seeded
from audit.models.sparing import SPARING
from audit.models.training import Optimiser, Training, train
from audit.registry import family

WIDTH, HEADS = 32, 4  # of the text tower
CHANNELS = (8, 16)  # of the picture tower's convolutions
LARGEST = math.log(100.0)  # of the logarithm of 1 / temperature, as in the paper
CROSSED = 2048  # pictures and captions whose every pair tells the level of the scores


class PictureTower(nn.Module):
    """Two convolutions of stride 2, their mean over places, a linear layer: vectors (n, k) of pictures (n, c, h, w)."""

    mean: Tensor
    scale: Tensor

    def __init__(self, *, channels: int, size: int) -> None:
        super().__init__()
        first, second = CHANNELS
        self.register_buffer("mean", torch.zeros(channels, 1, 1))
        self.register_buffer("scale", torch.ones(channels, 1, 1))
        self.body = nn.Sequential(
            nn.Conv2d(channels, first, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(first, second, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(second, size),
        )

    def forward(self, pictures: Tensor) -> Tensor:
        """Vectors (n, k), not of length 1."""
        found: Tensor = self.body((pictures.to(self.mean.dtype) - self.mean) / self.scale)
        return found


class TextTower(nn.Module):
    """A causal transformer of one block, read at the last token: vectors (n, k) of captions (n, tokens)."""

    def __init__(self, *, vocabulary: int, length: int, pad: int, size: int) -> None:
        super().__init__()
        self.length, self.pad = length, pad
        self.tokens = nn.Embedding(vocabulary, WIDTH)
        self.places = nn.Parameter(torch.randn(length, WIDTH) * 0.02)
        self.before = nn.LayerNorm(WIDTH)
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.between = nn.LayerNorm(WIDTH)
        self.wide = nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH))
        self.after = nn.LayerNorm(WIDTH)
        self.last = nn.Linear(WIDTH, size, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        """Vectors (n, k), not of length 1; what lies behind the first `length` tokens is not read."""
        ids = ids[:, : self.length]
        n, count = ids.shape
        x = self.tokens(ids) + self.places[:count]
        later = torch.ones(count, count, dtype=torch.bool, device=ids.device).triu(1)
        padding = ids == self.pad
        padding[:, 0] = False  # so that a caption without a word has something to look at
        y = self.before(x)
        x = x + self.attention(y, y, y, attn_mask=later, key_padding_mask=padding)[0]
        x = x + self.wide(self.between(x))
        place = ((~padding) * torch.arange(count, device=ids.device)).argmax(dim=1)
        found: Tensor = self.last(self.after(x[torch.arange(n, device=ids.device), place]))
        return found


class CLIP(Reference):
    """The log-odds (n,) that picture and caption of rows (n, pixels + tokens) belong together (see `Captioned.values`).

    shape: (channels, height, width) of pictures. vocabulary, pad: of captions, which are read up to `length` tokens.
    size: numbers of the vectors that meet. The score of a pair is their cosine over the temperature, less `level`,
    which makes the mean of its exponential over pictures and captions at random 1, as of PMI; `prior` are the log-odds
    of a true pair.
    """

    offers = frozenset({"matching", "embedding"})
    level: Tensor
    prior: Tensor

    def __init__(
        self, *, shape: Sequence[int], vocabulary: int, pad: int, length: int, size: int, temperature: float
    ) -> None:
        super().__init__()
        told = {"shape": list(shape), "vocabulary": vocabulary, "pad": pad, "length": length}
        self.config = {**told, "size": size, "temperature": temperature}
        self.shape = tuple(shape)
        self.pictures = PictureTower(channels=shape[0], size=size)
        self.texts = TextTower(vocabulary=vocabulary, length=length, pad=pad, size=size)
        self.sharpness = nn.Parameter(torch.tensor(-math.log(temperature)))
        self.register_buffer("level", torch.zeros(()))
        self.register_buffer("prior", torch.zeros(()))
        self.notes = (
            "Scores of pairs estimate pointwise mutual information: cosine over temperature, less a constant that "
            "makes their exponential 1 on average over pictures and captions at random; a prediction adds the log-odds "
            "of a true pair.",
            f"Captions are read up to {length} tokens.",
        )

    def forward(self, x: Tensor) -> Tensor:
        """Log-odds (n,) of rows (n, pixels + tokens)."""
        shown, said = self.towers(x)
        return self.scored((shown * said).sum(dim=1)) + self.prior

    def towers(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The vectors (n, k) of length 1 of both sides of rows (n, pixels + tokens)."""
        pictures, ids = sides(x, self.shape)
        return self.seen(pictures), self.embed(ids)

    def seen(self, pictures: Tensor) -> Tensor:
        """Vectors (n, k) of length 1 of pictures (n, channels, height, width)."""
        return nn.functional.normalize(self.pictures(pictures), dim=1)

    def embed(self, ids: Tensor) -> Tensor:
        """Vectors (n, k) of length 1 of captions (n, tokens)."""
        return nn.functional.normalize(self.texts(ids), dim=1)

    def scored(self, cosine: Tensor) -> Tensor:
        """Cosines as scores on the scale of log-odds."""
        return cosine * self.sharpness.clamp(max=LARGEST).exp() - self.level

    def match(self, pictures: Tensor, ids: Tensor) -> Tensor:
        """The score (n, m) of every picture with every caption."""
        return self.scored(self.seen(pictures) @ self.embed(ids).T)


class _Contrast(nn.Module):
    """Every picture of a batch with every caption of it: scores (b, b)."""

    def __init__(self, clip: CLIP) -> None:
        super().__init__()
        self.clip = clip

    def forward(self, x: Tensor) -> Tensor:
        shown, said = self.clip.towers(x)
        return self.clip.scored(shown @ said.T)


def info_nce(scores: Tensor, own: Tensor) -> Tensor:
    """The mean log loss (b,) of finding each picture's caption, and each caption's picture, in a batch (oord2018)."""
    place = torch.arange(len(scores), device=scores.device)
    sideways = nn.functional.cross_entropy(scores, place, reduction="none")
    return (sideways + nn.functional.cross_entropy(scores.T, place, reduction="none")) / 2


@family(
    "clip",
    title="Contrastive pictures and captions (CLIP)",
    world="captions",
    offers={"matching", "embedding", "attention"},
    promise=as_the_truth,
    checks=SPARING,
    sources=("radford2021", "oord2018"),
)
def clip(
    data: Dataset,
    *,
    seed: int = 0,
    device: str = "cpu",
    size: int = 16,
    length: int = 16,
    temperature: float = 1.0,
    epochs: int = 10,
    batch: int = 512,
    optimiser: Optimiser = "adamw",
    rate: float | None = None,
    weight_decay: float = 0.2,
) -> CLIP:
    """Two towers, convolutions for pictures, a causal transformer for captions, trained by InfoNCE on the true pairs.

    size: of the vectors that meet. length: the most tokens of a caption that are read. temperature: at the start; it is learnt. With
    few captions that come again and again, 1 is learnt from faster than the paper's .07. Large batches matter: the
    captions of a batch stand for all. optimiser, rate, weight_decay: see `audit.models.training.Training`.
    Training uses the rows of the positive class, all where there are no labels; the share of these is the prior.
    Raises UsageError, DataError.
    """
    if size < 1 or length < 1 or not temperature > 0:
        raise UsageError(f"size, length: 1 or more, temperature: above 0; got {size}, {length}, {temperature}")
    inputs = inputs_of(data, Captioned, "clip")
    training = Training(
        epochs=epochs, batch=batch, optimiser=optimiser, rate=rate, weight_decay=weight_decay, seed=seed
    )
    pairs, prior = _pairs(data)
    with seeded(seed):
        module = CLIP(
            shape=inputs.images.values.shape[1:],
            vocabulary=len(inputs.texts.vocabulary),
            pad=inputs.texts.pad,
            length=length,
            size=size,
            temperature=temperature,
        )
    x = torch.as_tensor(inputs.take(pairs).values, dtype=torch.float32)
    pictures = sides(x, module.shape)[0]
    module.pictures.mean.copy_(pictures.mean(dim=(0, 2, 3))[:, None, None])
    module.pictures.scale.copy_(pictures.std(dim=(0, 2, 3)).clamp_min(1e-6)[:, None, None])
    module.to(device)
    x = x.to(device)
    train(_Contrast(module), x, torch.zeros(len(x), device=device), training=training, loss=info_nce)
    with torch.no_grad():
        pictures, ids = sides(x[:CROSSED], module.shape)
        module.level.copy_(_level(module.match(pictures, ids)))
        module.prior.fill_(prior)
    return module.eval()


def _level(scores: Tensor) -> Tensor:
    """The logarithm of the mean exponential of scores (n, m)."""
    return scores.flatten().logsumexp(dim=0) - math.log(scores.numel())


def _pairs(data: Dataset) -> tuple[np.ndarray, float]:
    """The rows of true pairs, and the log-odds of one: 0 where there are no labels or no mismatched pairs."""
    if data.y is None:
        return np.arange(len(data)), 0.0
    if len(data.classes) != 2:
        raise DataError(f"clip: pairs match or do not, two classes; the data have {len(data.classes)}")
    true = np.flatnonzero(data.y == 1)
    if len(true) < 2:
        raise DataError(f"clip: at least two rows of the class {data.classes[1]!r} are needed, got {len(true)}")
    others = len(data) - len(true)
    return true, math.log(len(true) / others) if others else 0.0
