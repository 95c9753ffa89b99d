"""A model that hides its use of a protected attribute from explainers: the attack, as a reference (slack2020)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from audit.core import DataError, Dataset, Floats, Model, UsageError, stream
from audit.data.tables import listed
from audit.data.worlds.base import World
from audit.models.encoding import table_of
from audit.models.hiding import cut_of, detector, flattened, noisy
from audit.models.promises import Promise
from audit.models.reference import Reference
from audit.registry import family

LEARNT = 4000  # rows that the detector learns on at most; a quarter more set its limit
PEOPLE = 0.995  # share of unseen people that it takes for people


class Forest(nn.Module):
    """A scikit-learn forest of two classes as tensors: P(class 1) (n,) of rows (n, d), to the last digit of float32 rows.

    Of each tree and node: the column asked for (-1 in a leaf), the threshold, the children, and P(class 1).
    """

    column: Tensor
    threshold: Tensor
    left: Tensor
    right: Tensor
    chance: Tensor

    def __init__(self, *, trees: int, nodes: int, depth: int) -> None:
        super().__init__()
        self.depth = depth
        for name in ("threshold", "chance"):
            self.register_buffer(name, torch.zeros(trees, nodes, dtype=torch.float64))
        for name in ("column", "left", "right"):
            self.register_buffer(name, torch.zeros(trees, nodes, dtype=torch.long))

    def forward(self, x: Tensor) -> Tensor:
        """P(class 1) (n,) of rows (n, d); the trees are gone down one after the other, to keep memory small."""
        x = torch.nan_to_num(x).float().double()  # scikit-learn reads rows as float32 and compares in float64
        total = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        every = torch.arange(len(x), device=x.device)
        for column, threshold, left, right, chance in zip(
            self.column, self.threshold, self.left, self.right, self.chance, strict=True
        ):
            rows, node = every, torch.zeros_like(every)
            for _ in range(self.depth + 1):
                asked = column[node]
                there = asked < 0
                total[rows[there]] += chance[node[there]]
                # Most rows arrive long before the deepest.
                rows, node, asked = rows[~there], node[~there], asked[~there]
                if not len(rows):
                    break
                node = torch.where(x[rows, asked] <= threshold[node], left[node], right[node])
        return total / len(self.column)


def converted(forest: Any) -> Forest:
    """The tensors of a fitted RandomForestClassifier of two classes; raises DataError for more."""
    if len(forest.classes_) != 2:
        raise DataError(f"a forest of two classes, got {len(forest.classes_)}")
    trees = [each.tree_ for each in forest.estimators_]
    made = Forest(
        trees=len(trees), nodes=max(t.node_count for t in trees), depth=max(max(t.max_depth for t in trees), 1)
    )
    for place, tree in enumerate(trees):
        count = tree.node_count
        leaf = tree.children_left < 0
        own = np.arange(count)  # a leaf is its own child: whoever has arrived stays
        value = tree.value[:, 0, :]
        facts: dict[str, Any] = {
            "column": np.where(leaf, -1, tree.feature),
            "threshold": np.where(leaf, 0.0, tree.threshold),
            "left": np.where(leaf, own, tree.children_left),
            "right": np.where(leaf, own, tree.children_right),
            "chance": value[:, 1] / value.sum(axis=1),
        }
        for name, values in facts.items():
            getattr(made, name)[place, :count] = torch.as_tensor(values)
    return made


class Scaffolded(Reference):
    """A biased rule on rows that look like people, an innocuous one on the others; says 0 or 1 (n,)."""

    output = "probability"
    differentiable = False
    cuts: Tensor
    least: Tensor
    notes = (
        "This model is an attack: it decides people by a protected attribute, and shows another rule to whatever looks "
        "like an explainer's probe.",
    )

    def __init__(self, *, trees: int, nodes: int, depth: int, biased: int, innocuous: int) -> None:
        super().__init__()
        self.config = {"trees": trees, "nodes": nodes, "depth": depth, "biased": biased, "innocuous": innocuous}
        self.forest = Forest(trees=trees, nodes=nodes, depth=depth)
        self.biased, self.innocuous = biased, innocuous
        self.register_buffer("cuts", torch.zeros(2, dtype=torch.float64))
        self.register_buffer("least", torch.tensor(0.5, dtype=torch.float64))

    def real(self, x: Tensor) -> Tensor:
        """Whether rows (n, d) are taken for people (n,)."""
        found: Tensor = self.forest(x) >= self.least
        return found

    def forward(self, x: Tensor) -> Tensor:
        """Decisions (n,), 0 or 1, of raw rows (n, d)."""
        rules = (x[:, [self.biased, self.innocuous]] > self.cuts).double()
        return torch.where(self.real(x), rules[:, 0], rules[:, 1])


def _attacks(model: Model, data: Dataset, world: World) -> Iterator[Promise]:
    """People are decided by the hidden attribute, and what explainers ask is not."""
    module = model.module  # type: ignore[attr-defined]
    values = table_of(data).values
    hidden = values[:, module.biased] > float(module.cuts[0])
    follows = float(((model.predict(data.inputs) >= 0.5) == hidden).mean())
    why = "the rule for people, and the half of those taken for probes whom both rules treat alike"
    yield Promise(name="people decided by the hidden attribute", value=follows, low=0.99, why=why)
    rng = stream(0, "families.scaffold.promise")
    probes = np.concatenate([noisy(values, rng), flattened(values, rng)])
    with torch.no_grad():
        seen = float(module.real(torch.as_tensor(probes)).double().mean())
    yield Promise(
        name="probes taken for people", value=seen, high=0.35, why="noise of one deviation, columns at their mean"
    )


@family("scaffold", title="Scaffolding attack", world="credit", promise=_attacks, sources=("slack2020", "breiman2001"))
def scaffold(
    data: Dataset,
    *,
    seed: int = 0,
    device: str = "cpu",
    attribute: str | None = None,
    innocuous: str | None = None,
    trees: int = 12,
    people: float = PEOPLE,
) -> Scaffolded:
    """A model that decides people by a protected column and everything else by an innocuous one.

    A forest of `trees` tells people from noise of one deviation and from columns set to their mean. attribute: the hidden
    column, by default the first attribute. innocuous: by default the column least correlated with it. people: the share of unseen rows that it
    takes for people. Raises DataError, UsageError.
    """
    if trees < 1 or not 0 < people <= 1:
        raise UsageError(f"trees, people: at least one tree, and a share in (0, 1]; got {trees} and {people}")
    table = table_of(data)
    hidden = attribute or next((name for name in data.groups if name in table.columns), "")
    for name, value in (("attribute", hidden), ("innocuous", innocuous or table.columns[0])):
        if value not in table.columns:
            raise DataError(f"{name}: the columns are {listed(table.columns)}; got {value!r}")
    biased = table.columns.index(hidden)
    other = _farthest(table.values, biased) if innocuous is None else table.columns.index(innocuous)
    rng = stream(seed, "families.scaffold")
    order = rng.permutation(len(table))
    unseen, values = np.split(table.values[order], [max(1, len(table) // 5)])
    values = values[:LEARNT]
    probes = [make(values, rng) for make in (noisy, flattened)]
    forest, least = detector(values, probes, unseen, rng, share=people, trees=trees, leaf=10)
    tensors = converted(forest)
    module = Scaffolded(trees=trees, nodes=tensors.column.shape[1], depth=tensors.depth, biased=biased, innocuous=other)
    module.forest = tensors
    module.least.fill_(least)
    module.cuts.copy_(torch.tensor([cut_of(table.values[:, place]) for place in (biased, other)]))
    return module.to(device).eval()


def _farthest(values: Floats, column: int) -> int:
    """The number that says least of this column; raises DataError where there is no other that varies."""
    filled = np.nan_to_num(values)
    others = [k for k in range(values.shape[1]) if k != column and len(np.unique(filled[:, k])) > 2]
    if not others:
        raise DataError("innocuous: there is no other number that varies")
    close = [abs(float(np.corrcoef(filled[:, column], filled[:, k])[0, 1])) for k in others]
    return others[int(np.argmin(close))]
