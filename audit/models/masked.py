"""Models of transformers as modules of ids alone."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class Masked(nn.Module):
    """A model of transformers that reads ids (n, tokens) alone: an attention mask tells it what is padding."""

    def __init__(self, model: nn.Module, *, pad: int, fill: int) -> None:
        super().__init__()
        self.model, self.pad, self.fill = model, pad, fill

    def forward(self, ids: Tensor) -> Tensor:
        """Logits (n, k), of language models (n, tokens, vocabulary)."""
        logits: Tensor = self.asked(self.model, ids).logits
        return logits

    def asked(self, model: Any, ids: Tensor, **options: Any) -> Any:
        """All that the model, or its body, says of ids."""
        return model(input_ids=self.filled(ids), attention_mask=(ids != self.pad).long(), **options)

    def filled(self, ids: Tensor) -> Tensor:
        """The ids, padding replaced by what the embedding knows."""
        return ids.masked_fill(ids == self.pad, self.fill)
