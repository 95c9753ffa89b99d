"""The adapter of torch_geometric: modules over the nodes of one graph, and its data as a dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from torch import nn

from audit.core import Codes, DataError, Dataset, Floats, Ints, ModelError, Offer, Origin, Spec
from audit.data.graphs import Graphs, graph
from audit.data.tables import listed
from audit.fairness.encode import encode
from audit.models.adapters.torch import TorchModel
from audit.models.adapters.torch import load as load_torch
from audit.models.adapters.torch import wrap as wrap_torch
from audit.models.linking import edges_between, linked
from audit.registry import adapter


@dataclass(frozen=True, slots=True, kw_only=True)
class GeometricModel(TorchModel):
    """A module over the nodes of a graph behind the protocol; it knows the graph that it was audited on."""

    graphs: Graphs

    @property
    def offers(self) -> frozenset[Offer]:
        """What a torch module offers, and its graph."""
        found: frozenset[Offer] = TorchModel.offers.fget(self)  # type: ignore[attr-defined]
        return found | {"graph"}

    def edges(self) -> Ints:
        """The ties (m, 2) between the nodes that are asked about, as row numbers."""
        return edges_between(self.graphs)

    def link(self, pairs: Ints) -> Floats | None:
        """The chance (k,) that each pair of rows (k, 2) is tied, by module.link(features, edge_index, pairs (2, k)).

        None where the module has no such method. Raises ModelError for what is no probability.
        """
        return linked(self, self.graphs, pairs)


@adapter("geometric", title="PyTorch Geometric module")
def wrap(module: nn.Module, dataset: Dataset, spec: Spec) -> GeometricModel:
    """A module called as module(features, edge_index) that answers for every node; log-probabilities are logits.

    A method link(features, edge_index, pairs), where it has one, says which nodes are tied. Raises ModelError.
    """
    inputs = dataset.inputs
    if not isinstance(inputs, Graphs):
        raise ModelError(
            f'model.kind = "geometric" reads the nodes of a graph, the data hold {type(inputs).__name__}: let '
            "data.factory return a Dataset over audit.data.graphs.Graphs"
        )
    if len(np.unique(inputs.targets)) < len(inputs):
        raise DataError("graph: two rows ask about the same node; a row is a node here")
    plain = wrap_torch(module, dataset, spec)
    found = GeometricModel(**{field.name: getattr(plain, field.name) for field in fields(TorchModel)}, graphs=inputs)
    return replace(found, card=replace(found.card, kind="geometric"))


def load(spec: Spec, dataset: Dataset, base: Path) -> GeometricModel:
    """The module that model.factory builds, with the weights of model.weights; raises ModelError."""
    return wrap(load_torch(spec, dataset, base).module, dataset, spec)


# ------------------------------------------------------------------------------------------------------ its data
def dataset(
    data: Any,
    *,
    attributes: Mapping[str, ArrayLike | int],
    nodes: str | ArrayLike | None = None,
    node_type: str = "",
    columns: Sequence[str] = (),
    classes: Sequence[str] = (),
    name: str = "torch_geometric graph",
) -> Dataset:
    """A Data or HeteroData of torch_geometric as a dataset whose rows are nodes; for a [data] factory.

    attributes: each group's level for every node (n,), or the number of the feature column that holds it. nodes: which
    are rows: a mask of the data by its name ("test_mask"), or node numbers; by default all. node_type: of HeteroData the
    one that is judged; ties to nodes of other types are left out, which a note says. Raises DataError.
    """
    store, ties, notes = _homogeneous(data, node_type)
    for part in ("x", "y"):
        if getattr(store, part, None) is None:
            raise DataError(f"graph: the nodes have no {part}; needed are x, y and edge_index")
    features, y = np.asarray(store.x.cpu(), dtype=np.float64), np.asarray(store.y.cpu()).reshape(-1)
    if y.shape != (len(features),) or y.dtype.kind not in "iub":
        raise DataError(f"graph: y must be a class (n,) of each of {len(features)} nodes, got {y.dtype} {y.shape}")
    whole = graph(features, ties, targets=_rows(store, nodes), columns=tuple(columns), both_ways=False)
    known = tuple(classes) or tuple(str(each) for each in range(max(int(y.max()) + 1, 2)))
    return Dataset(
        inputs=whole,
        groups={key: _group(key, levels, features, whole.targets) for key, levels in attributes.items()},
        origin=Origin(name=name),
        y=y[whole.targets].astype(np.int64),
        names=whole.columns,
        classes=known,
        notes=notes,
    )


def _homogeneous(data: Any, node_type: str) -> tuple[Any, Ints, tuple[str, ...]]:
    """The nodes, their ties (m, 2), and what was left out."""
    types = getattr(data, "node_types", None)
    if types is None:
        return data, np.asarray(data.edge_index.cpu()).T, ()
    if node_type not in types:
        raise DataError(f"node_type: of this HeteroData one of {listed(types)}, got {node_type!r}")
    inside = [kind for kind in data.edge_types if kind[0] == kind[2] == node_type]
    outside = [kind for kind in data.edge_types if kind not in inside]
    parts = [np.asarray(data[kind].edge_index.cpu()).T for kind in inside]
    left = f"Ties to nodes of other types were left out: {listed('-'.join(kind) for kind in outside)}."
    ties = np.concatenate(parts) if parts else np.empty((0, 2), dtype=np.int64)
    return data[node_type], ties, (left,) if outside else ()


def _rows(store: Any, nodes: str | ArrayLike | None) -> Ints | None:
    if nodes is None:
        return None
    if isinstance(nodes, str):
        mask = getattr(store, nodes, None)
        if mask is None:
            raise DataError(f"nodes: the data have no {nodes!r}")
        nodes = mask.cpu()
    found = np.asarray(nodes)
    return np.flatnonzero(found) if found.dtype == bool else found.astype(np.int64)


def _group(name: str, levels: ArrayLike | int, features: Floats, targets: Ints) -> Codes:
    if isinstance(levels, int):
        if not 0 <= levels < features.shape[1]:
            raise DataError(f"attributes: {name!r} must name a column from 0 to {features.shape[1] - 1}, got {levels}")
        levels = features[:, levels]
    found = np.asarray(levels)
    if found.shape != (len(features),):
        raise DataError(f"attributes: {name!r} needs a level for each of {len(features)} nodes, got {found.shape}")
    return encode(found[targets], name)
