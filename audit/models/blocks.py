"""The parts that transformers are made of: a block of attention, and places told by sines."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn


class Block(nn.Module):
    """Attention within, where there is memory attention to it, and two linear layers; each added to what came in, normed."""

    def __init__(self, *, width: int, heads: int, inner: int, dropout: float, cross: bool) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, dropout=dropout, batch_first=True)
        self.cross_attention = nn.MultiheadAttention(width, heads, dropout=dropout, batch_first=True) if cross else None
        self.inner, self.activation, self.outer = nn.Linear(width, inner), nn.ReLU(), nn.Linear(inner, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3 if cross else 2))
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, hidden: Tensor | None = None, memory: Tensor | None = None, absent: Tensor | None = None
    ) -> Tensor:
        """States (n, tokens, width); hidden (tokens, tokens): pairs not seen within; absent (n, keys): padding of the keys."""
        own = absent if memory is None else None
        found = self.attention(x, x, x, attn_mask=hidden, key_padding_mask=own, need_weights=False)[0]
        x = self.norms[0](x + self.dropout(found))
        if self.cross_attention is not None and memory is not None:
            found = self.cross_attention(x, memory, memory, key_padding_mask=absent, need_weights=False)[0]
            x = self.norms[1](x + self.dropout(found))
        found = self.outer(self.activation(self.inner(x)))
        last: Tensor = self.norms[-1](x + self.dropout(found))
        return last


def sinusoids(places: int, width: int) -> Tensor:
    """Sines and cosines (places, width) of the place at wavelengths from 2π to 10000 · 2π, in turns (vaswani2017)."""
    column = np.arange(width)
    angle = np.arange(places)[:, None] / 10000.0 ** ((column // 2 * 2) / width)
    found = np.where(column % 2 == 0, np.sin(angle), np.cos(angle))
    return torch.as_tensor(found, dtype=torch.float32)
