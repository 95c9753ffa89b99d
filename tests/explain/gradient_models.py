"""Small seeded modules of the architectures on which gradient methods differ, and games around them."""

from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from audit.explain import Images, game, series, tokenised


def seeded(module: nn.Module, seed: int = 0, scale: float = 1.5) -> nn.Module:
    """Weights drawn from a seed of their own: no global generator is touched, and biases are not zero."""
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for each in module.parameters():
            fan = each.shape[1:].numel() if each.ndim > 1 else 4
            each.copy_(torch.as_tensor(scale * rng.normal(size=tuple(each.shape)) / np.sqrt(fan)))
    return module.eval()


class Formula(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Last(nn.Module):
    """A recurrent layer and a linear one on its last step."""

    def __init__(self, layer: nn.Module, out: int = 1):
        super().__init__()
        self.layer, self.head = layer, nn.Linear(layer.hidden_size, out)

    def forward(self, x):
        return self.head(self.layer(x)[0][:, -1])


class Encoder(nn.Module):
    """A Transformer encoder of steps, averaged."""

    def __init__(self, size: int = 3, out: int = 1, activation: str = "gelu"):
        super().__init__()
        self.into = nn.Linear(size, 8)
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, activation=activation, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(8, out)

    def forward(self, x):
        return self.head(self.encoder(self.into(x)).mean(dim=1))


class Residual(nn.Module):
    """A residual block whose ReLUs are functions."""

    def __init__(self, size: int = 6):
        super().__init__()
        self.first, self.second, self.third = nn.Linear(size, 12), nn.Linear(12, 12), nn.Linear(12, 1)

    def forward(self, x):
        x = F.relu(self.first(x))
        return self.third(F.relu(x + self.second(x)))


class Reader(nn.Module):
    """A classifier of tokens: embedding, Transformer that passes over padding (id 0), mean of the tokens."""

    def __init__(self, vocabulary: int, out: int = 1):
        super().__init__()
        self.table = nn.Embedding(vocabulary, 8)
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, activation="gelu", batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.head = nn.Linear(8, out)

    def forward(self, ids):
        there = (ids != 0).unsqueeze(-1).to(torch.float64)
        x = self.encoder(self.table(ids), src_key_padding_mask=ids == 0)
        return self.head((x * there).sum(1) / there.sum(1))


def mlp(activation: type[nn.Module] = nn.ReLU, out: int = 1, size: int = 6) -> nn.Module:
    return nn.Sequential(
        nn.Linear(size, 16), activation(), nn.Linear(16, 16), activation(), nn.Linear(16, out)
    ).double()


def lenet(out: int = 1, channels: int = 1) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(channels, 4, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(6 * 3 * 3, out),
    ).double()


def rows(count: int = 5, size: int = 6, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, size))


def tables(module: nn.Module, count: int = 5, behind: int = 8, **options: Any):
    return game(module, rows(count), rows(behind, seed=2), **({"output": "logit", "link": "logit"} | options))


def sequences(module: nn.Module, count: int = 5, **options: Any):
    rng = np.random.default_rng(3)
    inputs, behind = series(rng.normal(size=(count, 7, 3))), series(rng.normal(size=(6, 7, 3)))
    return game(module, inputs, behind, **({"output": "logit", "link": "logit"} | options))


def pictures(module: nn.Module, count: int = 3, channels: int = 1, **options: Any):
    rng = np.random.default_rng(4)
    inputs, behind = (Images(values=rng.normal(size=(n, channels, 12, 12))) for n in (count, 5))
    return game(module, inputs, behind, **({"output": "logit", "link": "logit", "size": 4} | options))


SENTENCES = ("the cat sat on the mat .", "no cat .", "the mat was not red , the cat was")


def texts(out: int = 1, **options: Any):
    inputs = tokenised(SENTENCES)
    module = seeded(Reader(len(inputs.vocabulary), out).double())
    return game(module, inputs, **({"output": "logit", "link": "logit"} | options))
