"""The kind of inputs that a reference model was trained on: kept without rows, told as JSON, compared with new data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from audit.core import ModelError
from audit.data.captioned import Captioned
from audit.data.graphs import Graphs
from audit.data.images import Images
from audit.data.series import Series
from audit.data.tables import listed
from audit.data.tabular import Tabular
from audit.data.texts import Texts

WORDS: Mapping[type, str] = {
    Tabular: "tables",
    Images: "pictures",
    Series: "sequences",
    Texts: "texts",
    Graphs: "graphs",
    Captioned: "pictures with captions",
    type(None): "no inputs",
}


def called(kind: type) -> str:
    """A kind of inputs in words."""
    return WORDS.get(kind, kind.__name__)


def blank(inputs: Any) -> Any:
    """The same kind of inputs without rows; None where there are no inputs."""
    if inputs is None:
        return None
    if isinstance(inputs, Graphs):
        none = np.empty(0, dtype=np.int64)
        empty = np.empty((0, len(inputs.columns)))
        return Graphs(features=empty, edges=none.reshape(0, 2), targets=none, copies=none, columns=inputs.columns)
    return inputs.take(np.arange(0))


def described(inputs: Any) -> Mapping[str, Any]:
    """What card.json says of inputs that are no table: their kind, and what must agree with it."""
    if isinstance(inputs, Images):
        shape, scale = list(inputs.values.shape[1:]), [inputs.black, inputs.white]
        return {"kind": "images", "shape": shape, "scale": scale}
    if isinstance(inputs, Series):
        return {"kind": "series", "columns": list(inputs.columns), "steps": inputs.values.shape[1]}
    if isinstance(inputs, Texts):
        length = inputs.ids.shape[1]
        facts = {"vocabulary": list(inputs.vocabulary), "pad": inputs.pad, "mask": inputs.mask, "length": length}
        return {"kind": "texts", **facts}
    if isinstance(inputs, Graphs):
        return {"kind": "graphs", "columns": list(inputs.columns)}
    if isinstance(inputs, Captioned):
        return {"kind": "captioned", "images": described(inputs.images), "texts": described(inputs.texts)}
    return {}


def rebuilt(facts: Mapping[str, Any]) -> Any:
    """The inputs without rows that `described` told of; None for none. Raises KeyError, TypeError, ValueError, DataError."""
    none = np.empty(0, dtype=np.int64)
    kind = facts.get("kind")
    if kind == "images":
        black, white = facts["scale"]
        return Images(values=np.empty((0, *facts["shape"])), black=black, white=white)
    if kind == "series":
        columns = tuple(facts["columns"])
        return Series(values=np.empty((0, facts["steps"], len(columns))), columns=columns, lengths=none)
    if kind == "texts":
        ids = np.empty((0, facts["length"]), dtype=np.int64)
        words = tuple(facts["vocabulary"])
        return Texts(ids=ids, words=ids, vocabulary=words, pad=facts["pad"], mask=facts["mask"])
    if kind == "graphs":
        empty = np.empty((0, len(facts["columns"])))
        edges = none.reshape(0, 2)
        return Graphs(features=empty, edges=edges, targets=none, copies=none, columns=tuple(facts["columns"]))
    if kind == "captioned":
        return Captioned(images=rebuilt(facts["images"]), texts=rebuilt(facts["texts"]))
    return None


# What may differ from data to data: sequences and texts of another length.
FREE = ("steps", "length")


def agree(id: str, own: Any, given: Any) -> None:
    """Raise ModelError unless the data hold what the model was trained on: kind, shape and scale, columns, vocabulary."""
    if type(own) is not type(given):
        raise ModelError(f"{id} was trained on {called(type(own))}, the data hold {called(type(given))}")
    if isinstance(own, Tabular):
        return
    if isinstance(own, Captioned):
        agree(id, own.images, given.images)
        agree(id, own.texts, given.texts)
        return
    trained, come = described(own), described(given)
    for name, value in trained.items():
        if name not in FREE and come[name] != value:
            raise ModelError(f"{id} was trained with {name} {_shown(value)}, the data have {_shown(come[name])}")


def _shown(value: Any) -> str:
    return listed(list(map(str, value))) if isinstance(value, list) else str(value)
