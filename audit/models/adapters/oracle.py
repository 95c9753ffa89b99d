"""The oracle of a planted world as a double-precision torch model: its weights are set, not trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import singledispatch
from typing import Any

import torch
from torch import Tensor, nn

from audit.core import Dataset, ModelError, Offer, Spec
from audit.data.graphs import Graphs
from audit.data.rules import Rules
from audit.data.worlds import base
from audit.data.worlds.additive import LinearForm, NodeForm, TokenForm
from audit.data.worlds.base import planted
from audit.data.worlds.forms import LogisticForm, RuleForm
from audit.data.worlds.matching import MatchForm
from audit.models.adapters.geometric import GeometricModel
from audit.models.adapters.torch import TorchModel, with_facts, wrap
from audit.models.matching import Matched, MatchedModel
from audit.registry import adapter


class Logistic(nn.Module):
    """z @ weights + bias + the weighted products of pairs, a logit (n,), all in float64; z is x, or 1 above a cut."""

    above: Tensor

    def __init__(self, form: LogisticForm) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.tensor(form.weights, dtype=torch.float64))
        self.bias = nn.Parameter(torch.tensor(form.bias, dtype=torch.float64))
        self.products = nn.Parameter(torch.tensor([weight for _, _, weight in form.pairs], dtype=torch.float64))
        self.left = [left for left, _, _ in form.pairs]
        self.right = [right for _, right, _ in form.pairs]
        self.columns = form.columns
        self.cut = [column for column, _ in form.cuts]
        self.register_buffer("above", torch.tensor([cut for _, cut in form.cuts], dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        """The logit (n,) of rows x (n, d)."""
        z = x
        if self.cut:
            z = x.clone()
            z[:, self.cut] = (x[:, self.cut] > self.above).to(x.dtype)
        return z @ self.weights + self.bias + (z[:, self.left] * z[:, self.right]) @ self.products

    def form(self) -> LogisticForm:
        """What its weights say, as numbers."""
        cuts = self.above.tolist()
        return LogisticForm(
            columns=self.columns,
            weights=tuple(self.weights.tolist()),
            bias=self.bias.item(),
            pairs=tuple(zip(self.left, self.right, self.products.tolist(), strict=True)),
            cuts=tuple(zip(self.cut, cuts, strict=True)),
        )


class Ruled(nn.Module):
    """bias + the weight of each part whose rules accept the row, a logit (n,) in float64, without gradients."""

    def __init__(self, form: RuleForm) -> None:
        super().__init__()
        weights = [weight for _, weight in form.parts]
        self.weights = nn.Parameter(torch.tensor(weights, dtype=torch.float64), requires_grad=False)
        self.bias = nn.Parameter(torch.tensor(form.bias, dtype=torch.float64), requires_grad=False)
        self.columns, self.rules = form.columns, form.rules
        self.parts = [rules for rules, _ in form.parts]

    def forward(self, x: Tensor) -> Tensor:
        """The logit (n,) of rows x (n, d)."""
        held = [_accepted(rules, x).to(self.weights.dtype) for rules in self.parts]
        return self.bias + (torch.stack(held, dim=1) @ self.weights if held else x.new_zeros(len(x)))

    def form(self) -> RuleForm:
        """What its weights and rules say."""
        parts = tuple(zip(self.parts, self.weights.tolist(), strict=True))
        return RuleForm(columns=self.columns, rules=self.rules, bias=self.bias.item(), parts=parts)


class Linear(nn.Module):
    """Σ weights · x + bias of pictures or sequences (n, ...), a logit (n,) in float64."""

    def __init__(self, form: LinearForm) -> None:
        super().__init__()
        self.layer = nn.Linear(form.weights.size, 1, dtype=torch.float64)
        self.shape, self.columns = form.weights.shape, form.columns
        with torch.no_grad():
            self.layer.weight.copy_(torch.from_numpy(form.weights.reshape(1, -1).copy()))
            self.layer.bias.fill_(form.bias)

    def forward(self, x: Tensor) -> Tensor:
        """The logit (n,) of values (n, ...)."""
        found: Tensor = self.layer(x.flatten(1))[:, 0]
        return found

    def form(self) -> LinearForm:
        """What its weights say, as numbers."""
        weights = self.layer.weight.detach().double().cpu().numpy().reshape(self.shape)
        return LinearForm(weights=weights, bias=self.layer.bias.item(), columns=self.columns)


class Tokens(nn.Module):
    """The log-odds of every token, an embedding of one dimension, summed: a logit (n,) in float64."""

    def __init__(self, form: TokenForm) -> None:
        super().__init__()
        self.table = nn.Embedding(len(form.weights), 1, dtype=torch.float64)
        with torch.no_grad():
            self.table.weight.copy_(torch.from_numpy(form.weights[:, None].copy()))
        self.bias = nn.Parameter(torch.tensor(form.bias, dtype=torch.float64))
        self.columns = form.columns

    def forward(self, ids: Tensor) -> Tensor:
        """The logit (n,) of ids (n, tokens)."""
        found: Tensor = self.table(ids)[..., 0].sum(dim=1) + self.bias
        return found

    def form(self) -> TokenForm:
        """What its weights say, as numbers."""
        weights = self.table.weight.detach().double().cpu().numpy()[:, 0]
        return TokenForm(weights=weights, bias=self.bias.item(), columns=self.columns)


class Nodes(nn.Module):
    """x_i · own + mean of x_j · neighbours over the edges to i + bias: a logit (nodes,) in float64."""

    def __init__(self, form: NodeForm) -> None:
        super().__init__()
        self.own = nn.Parameter(torch.from_numpy(form.own.copy()))
        self.neighbours = nn.Parameter(torch.from_numpy(form.neighbours.copy()))
        self.bias = nn.Parameter(torch.tensor(form.bias, dtype=torch.float64))
        self.columns = form.columns

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        """The logit (nodes,) of features x (nodes, d) and edges (2, m), from a source to a target."""
        source, target = edges
        zero = x.new_zeros(len(x))
        count = zero.index_add(0, target, torch.ones_like(target, dtype=x.dtype)).clamp_min(1.0)
        return x @ self.own + zero.index_add(0, target, (x @ self.neighbours)[source]) / count + self.bias

    def form(self) -> NodeForm:
        """What its weights say, as numbers."""
        own, neighbours = (each.detach().double().cpu().numpy() for each in (self.own, self.neighbours))
        return NodeForm(own=own, neighbours=neighbours, bias=self.bias.item(), columns=self.columns)


def _accepted(rules: Rules, x: Tensor) -> Tensor:
    """Whether rules accept each row (n,)."""
    accepted, denied = (torch.zeros(len(x), dtype=torch.bool, device=x.device) for _ in range(2))
    for clause in rules.clauses:
        held = torch.ones_like(accepted)
        for literal in clause.literals:
            values = x[:, literal.column]
            yes = values > literal.threshold if literal.op in (">", "<=") else values == literal.threshold
            held &= yes if literal.op in (">", "is") else ~yes
        if clause.accepts:
            accepted |= held
        else:
            denied |= held
    return accepted & ~denied


@dataclass(frozen=True, slots=True, kw_only=True)
class RuledModel(TorchModel):
    """The oracle of a world of rules: no gradient reaches its inputs, and its rules are open."""

    @property
    def offers(self) -> frozenset[Offer]:
        """Its rules, and no gradients."""
        return frozenset({"rules"})

    def rules(self) -> Rules:
        """The rules that hold where the model's logit is 0 or more."""
        assert isinstance(self.module, Ruled)
        return self.module.rules


@singledispatch
def module(form: base.Oracle) -> nn.Module:
    """The set weights of a world as a torch module that returns logits (n,); raises ModelError for an unknown form."""
    raise ModelError(
        f"the form of an oracle must be one of {', '.join(kind.__name__ for kind in FORMS)}, got {type(form).__name__}"
    )


FORMS: Mapping[type, type[nn.Module]] = {
    LogisticForm: Logistic,
    RuleForm: Ruled,
    LinearForm: Linear,
    TokenForm: Tokens,
    NodeForm: Nodes,
    MatchForm: Matched,
}
for _form, _module in FORMS.items():
    module.register(_form, _module)


def form_of(model: Any) -> base.Oracle | None:
    """The form that a model is by its own weights, so that its explanations are known; None for other models."""
    found = getattr(model, "module", None)
    return found.form() if isinstance(found, Logistic | Ruled | Linear | Tokens | Nodes | Matched) else None


@adapter("oracle", title="Oracle of a planted world")
def oracle(spec: Spec, dataset: Dataset) -> TorchModel:
    """The model that a planted world itself follows, with set weights: what a check finds on it is known beforehand.

    Needs data.world; raises ModelError without one.
    """
    if spec.data.world is None:
        raise ModelError('model.kind = "oracle" needs data.world: only a planted world has an oracle')
    form = planted(spec.data).oracle()
    if form.columns and form.columns != dataset.names:
        raise ModelError(f"the oracle reads {form.columns}, the dataset has {dataset.names}")
    logits = replace(spec, model=replace(spec.model, output="logit", classes=()))
    model = wrap(module(form), dataset, logits)
    kind = {RuleForm: RuledModel, MatchForm: MatchedModel}.get(type(form))
    parts = {each.name: getattr(model, each.name) for each in fields(model)}
    if kind is not None:
        model = kind(**parts)
    elif isinstance(dataset.inputs, Graphs):
        model = GeometricModel(**parts, graphs=dataset.inputs)
    return with_facts(model, family="oracle", kind="oracle", name=f"oracle of the world {spec.data.world!r}")
