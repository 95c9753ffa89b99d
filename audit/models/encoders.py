"""Encoders of transformers over the tokens of texts, built from configuration: BERT, RoBERTa and ALBERT."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from audit.core import Dataset, Floats, Model, ModelError, UsageError
from audit.data.texts import Texts
from audit.data.worlds.base import Stratified
from audit.models.encoding import inputs_of, labels_of, outputs_of
from audit.models.family_model import Reference
from audit.models.hugging import built
from audit.models.options import share, whole
from audit.models.promises import Promise, near_the_oracle
from audit.models.seeds import seeded
from audit.models.training import Training, log_loss, train

Kind = Literal["bert", "roberta", "albert"]
NAMES: Mapping[Kind, str] = {"bert": "Bert", "roberta": "Roberta", "albert": "Albert"}
PLACES = 64  # tokens that an encoder has places for at least
INIT = 0.08  # the spread of first weights; .02, made for hundreds of units, starts slowly with 48


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What an encoder is built of.

    vocabulary: how many tokens the data know; the id behind them is [CLS]. pad, mask: their ids. places: the most tokens
    of a text. width, layers, heads, inner: of the encoder. embedding: the width of ALBERT's factorised embedding.
    dropout: of states and attention weights.
    """

    kind: Kind
    vocabulary: int
    pad: int
    mask: int | None = None
    places: int = PLACES
    width: int = 48
    layers: int = 2
    heads: int = 4
    inner: int = 96
    embedding: int = 16
    dropout: float = 0.1

    def __post_init__(self) -> None:
        for name in ("width", "layers", "heads", "inner", "embedding"):
            whole(name, getattr(self, name))
        if self.width % self.heads:
            raise UsageError(f"width: a multiple of the {self.heads} heads, got {self.width}")
        share("dropout", self.dropout)

    def options(self, outputs: int) -> dict[str, Any]:
        """The configuration of transformers."""
        behind = self.pad + 1 if self.kind == "roberta" else 0  # its places begin behind the number of the padding
        options: dict[str, Any] = {
            "vocab_size": self.vocabulary + 1,
            "pad_token_id": self.pad,
            "bos_token_id": None,
            "eos_token_id": None,
            "hidden_size": self.width,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "intermediate_size": self.inner,
            "hidden_act": "gelu",
            "hidden_dropout_prob": self.dropout,
            "attention_probs_dropout_prob": self.dropout,
            "max_position_embeddings": self.places + 1 + behind,
            "type_vocab_size": 1 if self.kind == "roberta" else 2,
            "num_labels": outputs,
            "initializer_range": INIT,
        }
        if self.kind == "albert":
            return options | {"embedding_size": self.embedding, "classifier_dropout_prob": self.dropout}
        return options


class Encoding(Reference):
    """A model of transformers over ids (n, tokens), which reads a token of its own, [CLS], before them."""

    def __init__(self, *, shape: Mapping[str, Any], task: str, outputs: int) -> None:
        super().__init__()
        self.shape = Shape(**shape)
        self.config = {"shape": asdict(self.shape)}
        kind = NAMES[self.shape.kind]
        options = self.shape.options(outputs)
        self.model = built(self.shape.kind, f"{kind}For{task}", f"{kind}Config", **options)

    @property
    def body(self) -> Any:
        """The encoder itself, without a head."""
        return self.model.base_model

    def asked(self, model: Any, ids: Tensor, gap: int | None = None) -> Any:
        """What the model, or its body, says of [CLS] and the tokens; gap: the place that is read as [MASK]."""
        shape = self.shape
        if ids.shape[1] > shape.places:
            raise ModelError(f"{shape.kind}: reads texts of at most {shape.places} tokens, got {ids.shape[1]}")
        table = self.model.get_input_embeddings()
        vectors = table(ids)  # called once and on the ids themselves: gradients enter here
        if gap is not None:
            here = (torch.arange(ids.shape[1], device=ids.device) == gap)[:, None]
            vectors = torch.where(here, table.weight[shape.mask], vectors)
        begin = table.weight[shape.vocabulary].expand(len(ids), 1, -1)
        there = F.pad((ids != shape.pad).long(), (1, 0), value=1)
        options = {"inputs_embeds": torch.cat([begin, vectors], dim=1), "attention_mask": there}
        if shape.kind == "roberta":
            options["position_ids"] = there.cumsum(dim=1) * there + shape.pad
        return model(**options)


class Classifier(Encoding):
    """Logits (n,) of two classes, or (n, k) of k, read from [CLS]."""

    def __init__(self, *, shape: Mapping[str, Any], outputs: int) -> None:
        super().__init__(shape=shape, task="SequenceClassification", outputs=outputs)
        self.config = {"shape": asdict(self.shape), "outputs": outputs}
        self.outputs = outputs

    def forward(self, ids: Tensor) -> Tensor:
        """Logits (n,) or (n, k) of ids (n, tokens)."""
        logits: Tensor = self.asked(self.model, ids).logits
        return logits[:, 0] if self.outputs == 1 else logits


def shape_of(data: Dataset, family: Kind, **options: Any) -> Mapping[str, Any]:
    """The shape of an encoder for the texts of a dataset; raises DataError for other inputs."""
    texts = inputs_of(data, Texts, family)
    places = max(PLACES, texts.ids.shape[1])
    found = Shape(
        kind=family, vocabulary=len(texts.vocabulary), pad=texts.pad, mask=texts.mask, places=places, **options
    )
    return asdict(found)


def classifier(data: Dataset, family: Kind, *, seed: int, device: str, **options: Any) -> Classifier:
    """An encoder that classifies the texts of a dataset, with its first weights; raises DataError, UsageError, ModelError."""
    shape = shape_of(data, family, **options)
    with seeded(seed):
        module = Classifier(shape=shape, outputs=outputs_of(data))
    return module.to(device)


def ids_of(data: Dataset, device: str) -> Tensor:
    """The ids (n, tokens) of the texts of a dataset."""
    return torch.as_tensor(data.inputs.values, dtype=torch.long, device=device)  # type: ignore[union-attr]


def taught(module: Classifier, data: Dataset, *, epochs: int, batch: int, rate: float, seed: int, device: str) -> None:
    """Train a classifier on the log loss as its authors did: AdamW, whose rate rises over a tenth of the steps and falls."""
    training = Training(epochs=epochs, batch=batch, optimiser="adamw", rate=rate, warmup=0.1, seed=seed)
    train(module, ids_of(data, device), labels_of(data, device), training=training, loss=log_loss)


def tpr_gap(data: Dataset, score: Floats, attribute: str = "sex") -> float:
    """How much more often a positive row is found of the first level of an attribute than of the second."""
    assert data.y is not None
    codes = data.groups[attribute].values
    first, second = (float((score[(codes == k) & (data.y == 1)] >= 0.5).mean()) for k in range(2))
    return first - second


def near_bayes(model: Model, data: Dataset, world: Stratified) -> Iterator[Promise]:
    """AUC at most .015 under that of the posterior on the same rows."""
    yield from near_the_oracle(model, data, world, below=0.015)


def near_the_gap_of_bayes(model: Model, data: Dataset, world: Stratified) -> Iterator[Promise]:
    """The gap between women and men in finding positive rows is within .05 of that of the posterior on the same rows."""
    best, found = (tpr_gap(data, np.asarray(score)) for score in (world.posterior(data), model.predict(data.inputs)))
    yield Promise(name="TPR gap", value=found, low=best - 0.05, high=best + 0.05, why=f"Bayes {best:.4f}")
