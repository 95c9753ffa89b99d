"""Small seeded transformers that read word ids: an encoder, a causal decoder, an encoder-decoder, one with a shared layer."""

from typing import Any

import torch
from torch import Tensor, nn

from audit.core import Dataset, ModelSpec, Origin, RunSpec, Spec
from audit.data.texts import Texts, tokenised
from audit.models.adapters.torch import TorchModel, wrap

LINES = (
    "a truly good film",
    "a truly bad film with a bad end",
    "the film was not good",
    "good good good",
    "what a dull and bad story",
    "fine",
)


def texts(lines: tuple[str, ...] = LINES) -> Texts:
    return tokenised(lines)


def later(tokens: int) -> Tensor:
    """True (tokens, tokens) where a query must not look."""
    return torch.ones(tokens, tokens, dtype=torch.bool).triu(1)


class Encoder(nn.Module):
    """Embeds ids, attends in nn.TransformerEncoder, and reads the first token or the mean over the words."""

    def __init__(
        self,
        words: int,
        *,
        reads: str = "first",
        layers: int = 2,
        wide: int = 8,
        causal: bool = False,
        nested: bool = False,
    ) -> None:
        super().__init__()
        self.table = nn.Embedding(words, wide, padding_idx=0)
        self.places = nn.Parameter(torch.randn(1, 16, wide))
        layer = nn.TransformerEncoderLayer(wide, 2, 16, batch_first=True, dropout=0.3)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=nested)
        self.head = nn.Linear(wide, 1)
        self.reads, self.causal = reads, causal

    def forward(self, ids: Tensor) -> Tensor:
        absent = ids == 0
        x = self.table(ids) + self.places[:, : ids.shape[1]]
        mask = later(ids.shape[1]) if self.causal else None
        x = self.encoder(x, mask=mask, src_key_padding_mask=absent, is_causal=self.causal)
        if self.reads == "first":
            return self.head(x[:, 0])
        there = (~absent).to(x)[..., None]
        if self.reads == "mean":
            return self.head((x * there).sum(1) / there.sum(1))
        last = (~absent).sum(1) - 1
        return self.head(x[torch.arange(len(x)), last])


class Translator(nn.Module):
    """nn.Transformer from word ids to three learned queries, of which the last is read."""

    def __init__(self, words: int, *, wide: int = 8) -> None:
        super().__init__()
        self.table = nn.Embedding(words, wide, padding_idx=0)
        self.places = nn.Parameter(torch.randn(1, 16, wide))
        self.start = nn.Parameter(torch.randn(1, 3, wide))
        self.both = nn.Transformer(wide, 2, 2, 2, 16, batch_first=True)
        self.both.encoder.use_nested_tensor = False
        self.head = nn.Linear(wide, 1)

    def forward(self, ids: Tensor) -> Tensor:
        absent = ids == 0
        x = self.table(ids) + self.places[:, : ids.shape[1]]
        out = self.both(
            x,
            self.start.expand(len(ids), -1, -1),
            tgt_mask=later(3),
            src_key_padding_mask=absent,
            memory_key_padding_mask=absent,
        )
        return self.head(out[:, -1])


class Shared(nn.Module):
    """One attention layer written by hand and called three times, as in ALBERT; with softmax or with the fused product."""

    def __init__(self, words: int, *, wide: int = 8, fused: bool = False) -> None:
        super().__init__()
        self.table = nn.Embedding(words, wide, padding_idx=0)
        self.places = nn.Parameter(torch.randn(1, 16, wide))
        self.attention = SelfAttention(wide, fused=fused)
        self.norm = nn.LayerNorm(wide)
        self.head = nn.Linear(wide, 2)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.table(ids) + self.places[:, : ids.shape[1]]
        for _ in range(3):
            x = self.norm(x + self.attention(x, ids == 0))
        return self.head(x[:, 0])


class PlantedAttention(nn.Module):
    """One attention whose weights follow the place alone and whose values the word alone: log-odds = sum of weight * value.

    Masking a word takes exactly weight * value away, since [MASK] has the value 0.
    """

    def __init__(self, values: Tensor, places: Tensor) -> None:
        super().__init__()
        self.values, self.places = nn.Parameter(values), nn.Parameter(places)

    def forward(self, ids: Tensor) -> Tensor:
        scores = self.places[: ids.shape[1]].expand(len(ids), -1).masked_fill(ids == 0, float("-inf"))
        return (scores[:, None, None].softmax(-1) @ self.values[ids][:, None, :, None]).reshape(-1)


class SelfAttention(nn.Module):
    def __init__(self, wide: int, *, heads: int = 2, fused: bool = False) -> None:
        super().__init__()
        self.heads, self.fused = heads, fused
        self.three, self.out, self.drop = nn.Linear(wide, 3 * wide), nn.Linear(wide, wide), nn.Dropout(0.2)

    def forward(self, x: Tensor, absent: Tensor) -> Tensor:
        n, t, d = x.shape
        q, k, v = (p.reshape(n, t, self.heads, -1).transpose(1, 2) for p in self.three(x).chunk(3, dim=-1))
        seen = ~absent[:, None, None, :]
        if self.fused:
            y = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        else:
            scores = (q @ k.transpose(-1, -2)) / q.shape[-1] ** 0.5
            y = self.drop(scores.masked_fill(~seen, float("-inf")).softmax(-1)) @ v
        return self.out(y.transpose(1, 2).reshape(n, t, d))


def seeded(make: Any, *arguments: Any, seed: int = 0, **options: Any) -> nn.Module:
    """A module in float64 made under a seed, without a trace in the global generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make(*arguments, **options).double().eval()


def trained(module: nn.Module, inputs: Texts, y: Any, *, steps: int = 60) -> nn.Module:
    """The same module after a few steps of Adam on labels (n,), its dropout off."""
    ids = torch.as_tensor(inputs.ids)
    goal = torch.as_tensor(y, dtype=torch.float64)
    optimiser = torch.optim.Adam(module.parameters(), lr=0.02)
    for _ in range(steps):
        optimiser.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(module(ids).reshape(len(ids), -1)[:, -1], goal).backward()
        optimiser.step()
    for parameter in module.parameters():
        parameter.grad = None
    return module.eval()


def model(module: nn.Module, inputs: Texts) -> TorchModel:
    """The module behind the protocol, its outputs read as log-odds."""
    spec = Spec(model=ModelSpec(kind="torch", output="logit"), run=RunSpec(device="cpu"))
    return wrap(module, Dataset(inputs=inputs, groups={}, origin=Origin(name="made here")), spec)
