"""What a trained reference model keeps: a figure, and the bounds within which it must lie."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from audit.core import DataError, Dataset, Floats, Model
from audit.data.worlds.base import World, read_by


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """A figure of a trained model beside its bounds; `why` says where they come from."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    why: str = ""

    @property
    def kept(self) -> bool:
        """Whether the value lies within the bounds."""
        return (self.low is None or self.value >= self.low) and (self.high is None or self.value <= self.high)


def near_the_oracle(model: Model, data: Dataset, world: World, *, below: float = 0.01) -> Iterator[Promise]:
    """The model's AUC on unseen data is at most `below` under that of the world's own logit on the same rows."""
    best = auc(data, world.oracle().logit(read_by(data.inputs)))
    yield Promise(name="AUC", value=auc(data, model.predict(data.inputs)), low=best - below, why=f"oracle {best:.4f}")


def auc(data: Dataset, score: Floats) -> float:
    """The area under the ROC curve of scores (n,) for the labels of the data; raises DataError without two classes."""
    from scipy.stats import rankdata

    if data.y is None or not 0 < data.y.sum() < len(data.y):
        raise DataError("AUC needs labels of both classes")
    positive = data.y == 1
    ranks = rankdata(score)
    n1 = int(positive.sum())
    return float((ranks[positive].sum() - n1 * (n1 + 1) / 2) / (n1 * (len(ranks) - n1)))
