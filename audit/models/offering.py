"""What happens when a model is asked for what it does not offer: an error that names what is missing and what there is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from audit.core import MissingOffer, Offer
from audit.data.tables import listed

# The methods of each offer (see audit.core for their protocols).
METHODS: Mapping[str, Offer] = {
    "attribution_point": "gradients",
    "attribution_layers": "gradients",
    "first_layer": "first_layer",
    "linear": "linear",
    "places": "trees",
    "columns_of": "trees",
    "attentions": "attention",
    "attention_gradients": "attention",
    "embed": "embedding",
    "sample": "sample",
    "log_likelihood": "likelihood",
    "draws": "uncertainty",
    "rules": "rules",
    "edges": "graph",
    "link": "graph",
    "segment": "segmentation",
    "match": "matching",
}


class NotOffered(MissingOffer, AttributeError):
    """A method that comes with an offer, asked of a model that does not make it."""


class Offering:
    """The base of wrapped models: methods that come with offers which a model does not make raise MissingOffer."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        if name not in METHODS:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)
        offers: frozenset[str] = self.offers
        raise NotOffered(
            f"{self.family} does not offer {METHODS[name]!r}, with which {name}() would come; it offers "
            f"{listed(sorted(offers)) or 'nothing beside predictions'}"
        )
