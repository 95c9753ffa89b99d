"""A counterfactually fair predictor: it reads what a causal graph leaves of each person, and no more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from audit.core import DataError, Dataset, Model
from audit.data.tables import listed
from audit.data.worlds.base import World
from audit.models.debias.counterfactual import Equations, Graph, equations
from audit.models.encoding import group_of, labels_of, table_of
from audit.models.promises import Promise
from audit.models.reference import Reference
from audit.models.seeds import seeded
from audit.models.stack import layers_of
from audit.models.training import Training, log_loss, train
from audit.registry import family

CREDIT: Graph = {  # of the credit world, as its own docstring has it, for sex as 0 and 1
    "income": {"sex": 1.0},
    "debt": {"income": -0.5},
    "history": {"sex": 0.6},
    "zip": {"sex": 1.6},
}
GRID = 2.0**-20  # of the residuals: a person and the twin differ by rounding errors, which are far below


class CounterfactuallyFair(Reference):
    """Residuals of a linear graph, all but the protected one's, standardised, and a network to one logit (n,).

    It reckons in float64 and reads residuals to the nearest 2^-20, so that people and their twins, who differ by the
    protected attribute and all that follows from it, get the very same number.
    """

    weights: Tensor
    bias: Tensor
    scale: Tensor
    notes = (
        "Level 3 of counterfactual fairness: fair if the causal graph is right, which data alone cannot show. A flip of "
        "the protected column alone changes its answers, as no person is changed in that way.",
    )

    def __init__(self, *, columns: Sequence[str], protected: Sequence[str], hidden: Sequence[int]) -> None:
        super().__init__()
        self.config = {"columns": list(columns), "protected": list(protected), "hidden": list(hidden)}
        self.kept = [place for place, name in enumerate(columns) if name not in protected]
        width = len(columns)
        self.register_buffer("weights", torch.zeros(width, width, dtype=torch.float64))
        self.register_buffer("bias", torch.zeros(width, dtype=torch.float64))
        self.register_buffer("scale", torch.ones(len(self.kept), dtype=torch.float64))
        self.layers = layers_of([len(self.kept), *hidden, 1]).double()

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n,) of raw rows (n, d); a missing number counts as what the equations say."""
        said: Tensor = self.layers(self.residuals(x) / self.scale)
        return said[:, 0]

    def residuals(self, x: Tensor) -> Tensor:
        """What the equations leave (n, kept) of raw rows (n, d), on the grid; gradients pass as if there were none."""
        # Parent by parent: a product of matrices rounds by the number of rows as well.
        said = self.bias + (torch.nan_to_num(x)[:, None, :] * self.weights).sum(dim=2)
        exact = torch.nan_to_num(x - said)[:, self.kept]
        return exact + ((exact / GRID).round() * GRID - exact).detach()

    def take(self, found: Equations) -> None:
        """Take over the equations."""
        self.weights.copy_(torch.from_numpy(found.weights))
        self.bias.copy_(torch.from_numpy(found.bias))


def _unmoved(model: Model, data: Dataset, world: World) -> Iterator[Promise]:
    """People and their twins get the same score, and it still tells who repays."""
    if data.twin is None or data.y is None:
        raise DataError("the promise speaks of twins, which the data do not have")
    score = model.predict(data.inputs)
    change = float(np.abs(score - model.predict(data.twin)).max())
    yield Promise(
        name="largest change under the full counterfactual", value=change, high=0.0, why="the world's equations"
    )
    decided, a = score >= 0.5, group_of(data)
    accuracy = float((decided == data.y).mean())
    yield Promise(name="accuracy", value=accuracy, low=0.70, why="the reference reaches .72 on residuals alone")
    gap = abs(float(decided[a == 1].mean() - decided[a == 0].mean()))
    yield Promise(name="|gap of decisions|", value=gap, high=0.05, why="residuals do not depend on sex")


@family(
    "counterfactual",
    title="Counterfactually fair predictor",
    world="credit",
    promise=_unmoved,
    sources=("kusner2017",),
)
def counterfactual(
    data: Dataset,
    *,
    seed: int = 0,
    device: str = "cpu",
    graph: Mapping[str, Mapping[str, float | None]] | None = None,
    attribute: str | None = None,
    hidden: Sequence[int] = (32,),
    epochs: int = 10,
    batch: int = 256,
    rate: float | None = None,
) -> CounterfactuallyFair:
    """A network on the residuals of a linear causal graph, without that of the protected attribute (level 3).

    graph: of each column that has parents these and their coefficients, None for one to be fitted by least squares; by
    default the credit world's own. attribute: the protected column, by default the first attribute. Raises DataError.
    """
    table = table_of(data)
    name = attribute or next(iter(data.groups), "")
    if name not in table.columns:
        raise DataError(
            f"attribute: a causal graph needs it as a column; there are {listed(table.columns)}, got {name!r}"
        )
    if table.categories:
        raise DataError(f"graph: a linear graph reads numbers; {listed(sorted(table.categories))} are categories")
    found = equations(table, CREDIT if graph is None else graph)
    with seeded(seed):
        module = CounterfactuallyFair(columns=table.columns, protected=(name,), hidden=hidden)
    module.take(found)
    left = np.nanstd(found.residuals(table.values), axis=0)[module.kept]
    module.scale.copy_(torch.from_numpy(np.where(left > 0, left, 1.0)))
    module.to(device)
    training = Training(epochs=epochs, batch=batch, rate=rate, seed=seed)
    x = torch.as_tensor(table.values, dtype=torch.float64, device=device)
    train(module, x, labels_of(data, device), training=training, loss=log_loss)
    return module
