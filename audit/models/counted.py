"""A model that counts the rows it is asked for, and stops where a budget is spent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from audit.core import BudgetSpent, Card, Dtype, FirstLayer, Floats, Ints, Model, Offer


@dataclass(slots=True, kw_only=True)
class Counted:
    """The same model, counting: `evaluations` are the rows answered or differentiated so far.

    limit: the most rows it answers, None for no limit. Everything else that the model offers passes through.
    """

    model: Model
    limit: int | None = None
    evaluations: int = field(default=0)

    @property
    def family(self) -> str:
        """The name of the architecture."""
        return self.model.family

    @property
    def card(self) -> Card:
        """The model's own card."""
        return self.model.card

    @property
    def offers(self) -> frozenset[Offer]:
        """What the model offers."""
        return self.model.offers

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def charge(self, rows: int) -> None:
        """Count rows before they are answered; raises BudgetSpent where they are more than what is left."""
        if self.limit is not None and self.evaluations + rows > self.limit:
            raise BudgetSpent(
                f"the budget of {self.limit:,} model rows a check is spent: {self.evaluations:,} were used and {rows:,} more "
                "were asked for; raise --budget, or lower rows, background or budget of this check"
            )
        self.evaluations += rows

    def predict(self, inputs: Any) -> Floats:
        """The model's answer; raises BudgetSpent."""
        self.charge(len(inputs))
        return self.model.predict(inputs)

    def scores_in(self, dtype: Dtype, inputs: Any) -> Floats:
        """The model's own, its rows counted; raises BudgetSpent."""
        self.charge(len(inputs))
        found: Floats = self.model.scores_in(dtype, inputs)  # type: ignore[attr-defined]
        return found

    def draws(self, inputs: Any, count: int, *, seed: int) -> Floats:
        """The model's own, every draw of every row counted; raises BudgetSpent."""
        self.charge(count * len(inputs))
        found: Floats = self.model.draws(inputs, count, seed=seed)  # type: ignore[attr-defined]
        return found

    def reconstruct(self, inputs: Any) -> tuple[Floats, Floats]:
        """The model's own, its rows counted; raises BudgetSpent."""
        self.charge(len(inputs))
        found: tuple[Floats, Floats] = self.model.reconstruct(inputs)  # type: ignore[attr-defined]
        return found

    def routes(self, inputs: Any) -> Floats:
        """The model's own, its rows counted; raises BudgetSpent."""
        self.charge(len(inputs))
        found: Floats = self.model.routes(inputs)  # type: ignore[attr-defined]
        return found

    def match(self, pictures: Any, texts: Any) -> Floats:
        """The model's own, pictures and texts counted once each; raises BudgetSpent."""
        self.charge(len(pictures) + len(texts))
        found: Floats = self.model.match(pictures, texts)  # type: ignore[attr-defined]
        return found

    def attribution_point(self, inputs: Any, targets: Ints | None = None) -> tuple[Any, Callable[[Any], Any]]:
        """The model's own, its forward passes counted; raises BudgetSpent."""
        leaf, forward = self.model.attribution_point(inputs, targets)  # type: ignore[attr-defined]

        def counted(point: Any) -> Any:
            self.charge(len(point))
            return forward(point)

        return leaf, counted

    def attentions(self, inputs: Any) -> Any:
        """The model's own, its rows counted; raises BudgetSpent."""
        self.charge(len(inputs))
        return self.model.attentions(inputs)  # type: ignore[attr-defined]

    def attention_gradients(self, inputs: Any, targets: Ints | None = None) -> Any:
        """The model's own, its rows counted; raises BudgetSpent."""
        self.charge(len(inputs))
        return self.model.attention_gradients(inputs, targets)  # type: ignore[attr-defined]

    def attribution_layers(self, inputs: Any, targets: Ints | None = None) -> Any:
        """The model's own, its forward passes counted; raises BudgetSpent."""
        found = self.model.attribution_layers(inputs, targets)  # type: ignore[attr-defined]

        def counted(point: Any) -> Any:
            self.charge(len(point))
            return found.raw(point)

        return replace(found, raw=counted)

    def tie_weights(self, graphs: Any, targets: Ints) -> Callable[[Any], Any]:
        """The model's own, its forward passes counted; raises BudgetSpent."""
        forward = self.model.tie_weights(graphs, targets)  # type: ignore[attr-defined]

        def counted(weights: Any) -> Any:
            self.charge(len(graphs))
            return forward(weights)

        return counted

    def first_layer(self) -> FirstLayer:
        """The model's own, its answers counted; raises BudgetSpent."""
        return _CountedLayer(layer=self.model.first_layer(), charge=self.charge)  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True, kw_only=True)
class _CountedLayer:
    layer: FirstLayer
    charge: Callable[[int], None]

    @property
    def width(self) -> int:
        return self.layer.width

    def hidden(self, values: Floats, *, bias: bool = False) -> Any:
        return self.layer.hidden(values, bias=bias)

    def scores(self, first: Any, second: Any) -> Floats:
        coalitions, rows, fillings = len(first), first.shape[1], second.shape[1]
        self.charge(coalitions * rows * fillings)
        return self.layer.scores(first, second)
