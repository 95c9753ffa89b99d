"""What a reference model is: a module that knows how it was built, and what it offers behind the protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from audit.core import Floats, Inputs, Ints, MissingOffer, ModelError, Offer, Output, UsageError
from audit.data.captioned import Captioned
from audit.data.graphs import Graphs
from audit.data.images import Images
from audit.data.tables import listed
from audit.data.tabular import Tabular
from audit.data.texts import UNKNOWN, Texts, tokenised
from audit.models.adapters.torch import TorchModel
from audit.models.arrangement import Arrangement, arranged
from audit.models.attentions import Attentions
from audit.models.kinds import agree, blank
from audit.models.linking import attended, edges_between, linked
from audit.models.matching import both


class Reference(nn.Module):
    """The base of reference modules; `config` are the JSON-able arguments that build it again.

    output: what forward gives. differentiable: whether gradients mean anything. stochastic: whether it answers the same
    rows differently. offers: what it can do beside what every torch module can, by methods of tensors (see `FamilyModel`).
    map_layer: the name of the layer whose maps hold all that the head reads of places, where that is not the last convolution.
    """

    map_layer: str = ""
    output: Output = "logit"
    differentiable: bool = True
    stochastic: bool = False
    offers: frozenset[Offer] = frozenset()
    notes: tuple[str, ...] = ()
    config: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyModel(TorchModel):
    """A trained reference model behind the protocol; what its module offers passes through as arrays.

    own: the kind of inputs, without rows, that it was trained on; given: that of the data that it is asked about. Tables
    are matched by name; matrices come in the order of the given columns. graphs: the nodes that it is asked about.
    """

    own: Inputs | None = None
    given: Inputs | None = None
    graphs: Graphs | None = None

    @property
    def offers(self) -> frozenset[Offer]:
        """What a torch module offers, and what the family adds or takes away."""
        module = self._module
        found = TorchModel.offers.fget(self)  # type: ignore[attr-defined]
        return frozenset((found if module.differentiable else found - {"gradients"}) | module.offers)

    @property
    def _module(self) -> Reference:
        assert isinstance(self.module, Reference)
        return self.module

    def _asked(self, offer: Offer) -> Any:
        if offer not in self._module.offers:
            raise MissingOffer(
                f"{self.family} does not offer {offer!r}; it offers {listed(sorted(self.offers)) or 'nothing'}"
            )
        return self._module

    def tensor(self, inputs: Any) -> torch.Tensor:
        """Inputs or an array (n, d) as a tensor in the order of the data's columns; raises ModelError for other columns."""
        if isinstance(inputs, Tabular) and isinstance(self.given, Tabular):
            inputs = arranged(self.family, self.given, inputs).moved(inputs, self.given)
        elif isinstance(self.given, Tabular) and np.ndim(inputs) == 2:
            width = len(self.given.columns)
            if np.shape(inputs)[1] != width:
                raise ModelError(
                    f"{self.family} reads {width} columns ({listed(self.given.columns)}), got {np.shape(inputs)[1]}"
                )
        return TorchModel.tensor(self, inputs)

    def _read(self, inputs: Any) -> torch.Tensor:
        """Inputs as the module's own methods read them; its forward gets them from a hook (see `wrapped`).

        Lines of text become tokens of the model's own vocabulary.
        """
        if isinstance(self.own, Texts) and isinstance(inputs, Sequence):
            inputs = tokenised(inputs, self.own.vocabulary)
        tensor = self.tensor(inputs)
        return tensor if self._way is None else self._way(tensor)

    @property
    def _way(self) -> Arrangement | None:
        if not (isinstance(self.own, Tabular) and isinstance(self.given, Tabular)):
            return None
        way = arranged(self.family, self.own, self.given)
        return None if way.same else way

    def draws(self, inputs: Any, count: int, *, seed: int) -> Floats:
        """Scores (count, n) or (count, n, k) by `count` draws of the model itself: module.draws(x, count, seed) gives raw ones.

        Raises UsageError for a count below 1.
        """
        module = self._asked("uncertainty")
        if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 1:
            raise UsageError(f"draws: count must be a whole number from 1 on, got {count!r}")
        with torch.no_grad():
            raw = module.draws(self._read(inputs), count, seed)
        return np.stack([self._scored(one) for one in raw])

    def _scored(self, raw: torch.Tensor) -> Floats:
        from audit.models.base import scored

        return scored(raw.double().cpu().numpy(), len(raw), self.reading)

    def reconstruct(self, inputs: Any) -> tuple[Floats, Floats]:
        """What the model reads of each row (n, w) and what it gives back: module.reconstruct(x)."""
        module = self._asked("reconstruction")
        with torch.no_grad():
            read, restored = module.reconstruct(self._read(inputs))
        return read.double().cpu().numpy(), restored.double().cpu().numpy()

    def segment(self, inputs: Any) -> Floats:
        """The chance (n, height, width) that each pixel belongs to what is looked for: module.segment(x)."""
        module = self._asked("segmentation")
        with torch.no_grad():
            found: Floats = module.segment(self._read(inputs)).double().cpu().numpy()
        return found

    def routes(self, inputs: Any) -> Floats:
        """The weight (n, experts) with which each expert answers each row: module.routes(x); see `core.Mixed`."""
        module = self._asked("experts")
        with torch.no_grad():
            found: Floats = module.routes(self._read(inputs)).double().cpu().numpy()
        return found

    def sample(self, count: int, *, seed: int) -> Inputs:
        """Rows (count) drawn from the model: module.sample(count, seed) gives raw columns (count, d), or ids (count, tokens)."""
        module = self._asked("sample")
        with torch.no_grad():
            raw = module.sample(count, seed)
        if isinstance(self.own, Texts):
            ids = raw.cpu().numpy()
            numbers = np.where(ids == self.own.pad, -1, np.arange(ids.shape[1]))
            return self.own.with_ids(ids, numbers)
        values = raw.double().cpu().numpy()
        if not (isinstance(self.own, Tabular) and isinstance(self.given, Tabular)):
            raise ModelError(f"{self.family}: only tables and texts can be drawn")
        return arranged(self.family, self.given, self.own).moved(self.own.with_values(values), self.given)

    def log_likelihood(self, inputs: Any) -> Floats:
        """Log-likelihood of each row (n,) under the model: module.log_likelihood(x)."""
        module = self._asked("likelihood")
        with torch.no_grad():
            found: Floats = module.log_likelihood(self._read(inputs)).double().cpu().numpy()
        return found

    def embed(self, texts: Sequence[str]) -> Floats:
        """One vector a text (n, d): module.embed(ids); a row of NaN for a text with a word that the model does not know."""
        module = self._asked("embedding")
        own = self.own.texts if isinstance(self.own, Captioned) else self.own
        if not isinstance(own, Texts):
            raise ModelError(f"{self.family}: only models of texts embed them")
        found = tokenised(texts, own.vocabulary)
        with torch.no_grad():
            vectors: Floats = module.embed(self.tensor(found)).double().cpu().numpy()
        vectors[(found.ids == own.vocabulary.index(UNKNOWN)).any(axis=1)] = np.nan
        return vectors

    def match(self, pictures: Images, texts: Texts) -> Floats:
        """The score (n, m) of every picture with every text, on the scale of log-odds: module.match(pictures, ids).

        Raises ModelError for pictures or texts of another kind than the model was trained on.
        """
        module = self._asked("matching")
        pictures, texts = both(pictures, texts)
        given = Captioned(images=blank(pictures), texts=blank(texts))
        agree(self.family, self.own, given)
        size = self.reading.batch_size
        starts = range(0, len(pictures), size)
        blocks = [np.arange(start, min(start + size, len(pictures))) for start in starts]
        with torch.no_grad():
            ids = self.tensor(texts)
            parts = [module.match(self.tensor(pictures.take(rows)), ids).double().cpu().numpy() for rows in blocks]
        return np.concatenate(parts) if parts else np.empty((0, len(texts)))

    def attentions(self, inputs: Any) -> Attentions:
        """The attention weights that the module uses on inputs; of a graph by module.attention(x, edges), see `attended`."""
        return attended(self, inputs) if isinstance(inputs, Graphs) else TorchModel.attentions(self, inputs)

    def attention_gradients(self, inputs: Any, targets: Ints | None = None) -> Attentions:
        """The same with gradients, see `TorchModel`; raises MissingOffer for graphs."""
        if isinstance(inputs, Graphs):
            raise MissingOffer(f"{self.family}: gradients of attention are not told for graphs, its weights are")
        return TorchModel.attention_gradients(self, inputs, targets)

    def edges(self) -> Ints:
        """The ties (m, 2) between the nodes that are asked about, as row numbers."""
        return edges_between(self._nodes_of_rows())

    def link(self, pairs: Ints) -> Floats | None:
        """The chance (k,) that each pair of rows (k, 2) is tied, None where the module says nothing of it: module.link(x, edges, pairs)."""
        return linked(self, self._nodes_of_rows(), pairs)

    def _nodes_of_rows(self) -> Graphs:
        self._asked("graph")
        if self.graphs is None:
            raise ModelError(f"{self.family}: its data are no graph")
        return self.graphs

    def rules(self) -> Any:
        """The rules (`audit.data.rules.Rules`) whose decisions are the model's own."""
        found = self._asked("rules").rules()
        return found if self._way is None else self._way.rules(found)
