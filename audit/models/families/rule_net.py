"""The rule network: clauses learnt by gradients, read off as the rules that they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from audit.core import DataError, Dataset, Model, Output, UsageError
from audit.data.rules import Clause, Literal, Rules
from audit.data.tabular import Tabular
from audit.data.worlds.base import World
from audit.models.encoding import labels_of, table_of
from audit.models.promises import Promise
from audit.models.reference import Reference
from audit.models.seeds import seeded
from audit.models.symbolic.conditions import Condition, conditions
from audit.registry import family

WARM, COLD = 0.35, 0.05  # temperature of the gates in the first and in the last epoch
LITERALS, CLAUSES = 3e-4, 1e-3  # what a chosen literal, and a clause that is used, cost in units of the mean loss
START, SPREAD, USED = -0.8, 0.3, 0.5  # first weights: few literals are chosen, all clauses are used
BATCH, RATE = 256, 0.03


class RuleNet(Reference):
    """Decisions (n,) of 0 or 1: some accepting clause holds, and no denying one.

    A clause holds where none of the literals it has chosen fails; `gates` (clauses, literals) are above 0 where one is
    chosen, `used` (clauses,) where the clause counts. Literals are the answers yes, then no, to every condition. Numbers
    are compared in float64, as `rules().decide` does.
    """

    output: Output = "probability"
    differentiable = False
    offers = frozenset({"rules"})
    notes = ("a score is 1 where the rules accept and 0 elsewhere: it is no calibrated probability",)
    thresholds: Tensor
    named: Tensor
    accepting: Tensor

    def __init__(
        self, *, columns: Sequence[str], asked: Sequence[int], levels: Sequence[str | None], clauses: int, denying: int
    ) -> None:
        super().__init__()
        questions = {"columns": list(columns), "asked": list(asked), "levels": list(levels)}
        self.config = {**questions, "clauses": clauses, "denying": denying}
        self.columns, self.asked, self.levels = tuple(columns), list(asked), tuple(levels)
        self.register_buffer("thresholds", torch.zeros(len(asked), dtype=torch.float64))
        self.register_buffer("named", torch.tensor([level is not None for level in levels]), persistent=False)
        self.register_buffer("accepting", torch.arange(clauses) < clauses - denying, persistent=False)
        self.gates = nn.Parameter(torch.zeros(clauses, 2 * len(asked), dtype=torch.float64))
        self.used = nn.Parameter(torch.zeros(clauses, dtype=torch.float64))

    def literals(self, x: Tensor) -> Tensor:
        """Which literals hold (n, 2 conditions) in raw rows (n, d)."""
        asked = x[:, self.asked].to(self.thresholds.dtype)
        yes = torch.where(self.named, asked == self.thresholds, asked > self.thresholds)
        return torch.cat([yes, ~yes], dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """The decision (n,) on raw rows (n, d)."""
        return self.decided((~self.literals(x)).to(self.gates.dtype))

    def decided(self, failed: Tensor) -> Tensor:
        """The decision (n,), 0 or 1, where failed (n, literals) is 1 for literals that do not hold."""
        held = (failed @ (self.gates > 0).to(failed.dtype).T < 0.5) & (self.used > 0)
        return (held[:, self.accepting].any(dim=1) & ~held[:, ~self.accepting].any(dim=1)).to(failed.dtype)

    def softly(self, failed: Tensor, temperature: float) -> Tensor:
        """The product-logic reading (n,) in [0, 1] that gradients go through."""
        chosen = torch.sigmoid(self.gates / temperature)
        held = torch.exp(failed @ torch.log1p(-0.999 * chosen).T) * torch.sigmoid(self.used / temperature)
        missed: Tensor = 1 - held
        return (1 - missed[:, self.accepting].prod(dim=1)) * missed[:, ~self.accepting].prod(dim=1)

    def rules(self) -> Rules:
        """The clauses that are used, each without what its other literals imply: the model itself, in words."""
        made = []
        for k in torch.nonzero(self.used > 0)[:, 0].tolist():
            picked = [self._literal(j) for j in torch.nonzero(self.gates[k] > 0)[:, 0].tolist()]
            made.append(Clause(literals=tuple(picked), accepts=bool(self.accepting[k])).tidy())
        return Rules(columns=self.columns, clauses=tuple(dict.fromkeys(made)))

    def _literal(self, place: int) -> Literal:
        no, at = divmod(place, len(self.asked))
        threshold = float(self.thresholds[at])
        condition = Condition(column=self.asked[at], threshold=threshold, level=self.levels[at])
        return condition.literal(self.columns, yes=not no)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """Rows to learn from, or to choose on: raw x (n, d), failed literals (n, literals) and labels (n,)."""

    x: Tensor
    failed: Tensor
    y: Tensor

    def accuracy(self, net: RuleNet) -> float:
        """The share of rows that the network decides as they are labelled."""
        with torch.no_grad():
            return float((net.decided(self.failed) == self.y).double().mean())


def _part(net: RuleNet, x: Tensor, y: Tensor) -> _Part:
    return _Part(x=x, failed=(~net.literals(x)).to(net.gates.dtype), y=y.to(net.gates.dtype))


def _learn(net: RuleNet, fitted: _Part, chosen: _Part, *, epochs: int, soft: int, generator: torch.Generator) -> None:
    """Soft epochs, then hard ones with soft gradients; the best hard epoch on the rows to choose on stays."""
    optimiser = torch.optim.Adam(net.parameters(), lr=RATE)
    best, state = -1.0, {}
    for epoch in range(epochs):
        temperature = WARM * (COLD / WARM) ** (epoch / max(epochs - 1, 1))
        order = torch.randperm(len(fitted.y), generator=generator).to(fitted.y.device)
        for rows in order.split(BATCH):  # type: ignore[no-untyped-call]
            said = net.softly(fitted.failed[rows], temperature)
            if epoch >= soft:
                # Forward the hard decision, backward the soft one: the loss is that of the rules themselves.
                said = said + (net.decided(fitted.failed[rows]) - said).detach()
            loss = torch.square(said - fitted.y[rows]).mean() + _size(net, temperature)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        if epoch >= soft and (found := chosen.accuracy(net)) > best:
            best, state = found, {name: value.clone() for name, value in net.state_dict().items()}
    net.load_state_dict(state)


def _size(net: RuleNet, temperature: float) -> Tensor:
    literals, clauses = torch.sigmoid(net.gates / temperature).sum(), torch.sigmoid(net.used / temperature).sum()
    return LITERALS * literals + CLAUSES * clauses


def _prune(net: RuleNet, part: _Part) -> None:
    """Drop the clauses, then the literals, without which no more rows are decided wrongly."""
    with torch.no_grad():
        net.gates[net.used <= 0] = -1.0
        for weights in (net.used, net.gates):
            for place in torch.nonzero(weights > 0).tolist():
                before, kept = part.accuracy(net), float(weights[tuple(place)])
                weights[tuple(place)] = -1.0
                if part.accuracy(net) < before:
                    weights[tuple(place)] = kept


def _sharpen(net: RuleNet, part: _Part, cuts: int) -> None:
    """Move every threshold that is used, one after the other, to the quantile of `cuts` that decides most rows rightly."""
    used = ((net.gates > 0) & (net.used > 0)[:, None]).any(dim=0).reshape(2, -1).any(dim=0) & ~net.named
    for j in torch.nonzero(used)[:, 0].tolist():
        values = part.x[:, net.asked[j]].double()
        values = values[~values.isnan()]
        steps = torch.linspace(0, 1, cuts + 2, dtype=values.dtype, device=values.device)[1:-1]
        best, kept = part.accuracy(net), float(net.thresholds[j])
        for cut in torch.unique(torch.quantile(values[:100_000], steps)).tolist():
            net.thresholds[j] = cut
            _asked_again(net, part, j)
            if (found := part.accuracy(net)) > best:
                best, kept = found, cut
        net.thresholds[j] = kept
        _asked_again(net, part, j)


def _asked_again(net: RuleNet, part: _Part, j: int) -> None:
    """Write the answers to condition j anew after its threshold was moved."""
    above = part.x[:, net.asked[j]].double() > net.thresholds[j]
    part.failed[:, j], part.failed[:, j + len(net.asked)] = (~above).double(), above.double()


def keeps_its_rules(model: Model, data: Dataset, world: World) -> Iterator[Promise]:
    """The exported rules decide every unseen row as the model does, and nearly every row as the world's own rules do."""
    table, rules = table_of(data), model.rules()  # type: ignore[attr-defined]
    decided = rules.decide(table.values)
    same = float((decided == (model.predict(table) >= 0.5)).mean())
    yield Promise(name="agreement of rules and model", value=same, low=1.0, why="the rules are the model")
    told = world.oracle().logit(table.values) > 0
    yield Promise(name="accuracy", value=float((decided == told).mean()), low=0.97, why="against the world's own rules")


@family(
    "rule_net",
    title="Rule network: clauses learnt by gradients",
    world="rules",
    offers={"rules"},
    promise=keeps_its_rules,
    sources=("bengio2013", "wang2021rules"),
)
def rule_net(
    data: Dataset,
    *,
    seed: int = 0,
    device: str = "cpu",
    clauses: int = 8,
    denying: int = 2,
    thresholds: int = 5,
    epochs: int = 30,
    soft: int = 12,
    cuts: int = 49,
    left_out: Sequence[str] = (),
) -> RuleNet:
    """A rule network of `clauses` clauses, `denying` of which deny, over `thresholds` thresholds a number.

    It is trained for `epochs` epochs, the first `soft` of them on product logic, the others on hard decisions with soft
    gradients (bengio2013); the best hard epoch on a fifth of the rows stays. Then what decides nothing is dropped, and
    every threshold in use moves to the best of `cuts` quantiles. left_out: columns that no rule may ask about. A missing
    number is not above a threshold. Raises UsageError and DataError.
    """
    if not 0 <= denying < clauses or not 0 <= soft < epochs or thresholds < 1 or cuts < 0:
        raise UsageError(
            "rule_net: 0 <= denying < clauses, 0 <= soft < epochs, thresholds >= 1 and cuts >= 0, got "
            f"denying {denying}, clauses {clauses}, soft {soft}, epochs {epochs}, thresholds {thresholds}, cuts {cuts}"
        )
    table = table_of(data)
    net = _untrained(table, conditions(table, thresholds=thresholds, left_out=left_out), clauses, denying).to(device)
    x, y = torch.as_tensor(table.values, device=device), labels_of(data, device)
    with seeded(seed) as generator:
        start = torch.randn(net.gates.shape, generator=generator, dtype=torch.float64)
        order = torch.randperm(len(x), generator=generator).to(x.device)
        with torch.no_grad():
            net.gates.copy_(START + SPREAD * start)
            net.used.fill_(USED)
        held = order[: max(len(x) // 5, 1)]
        fitted, chosen = _part(net, x[order[len(held) :]], y[order[len(held) :]]), _part(net, x[held], y[held])
        _learn(net, fitted, chosen, epochs=epochs, soft=soft, generator=generator)
    _prune(net, fitted)
    if cuts:
        _sharpen(net, fitted, cuts)
        _prune(net, fitted)
    return net.eval()


def _untrained(table: Tabular, asked: Sequence[Condition], clauses: int, denying: int) -> RuleNet:
    if not asked:
        raise DataError("rule_net: no column varies, so there is nothing to ask about")
    net = RuleNet(
        columns=table.columns,
        asked=[each.column for each in asked],
        levels=[each.level for each in asked],
        clauses=clauses,
        denying=denying,
    )
    net.thresholds.copy_(torch.tensor([each.threshold for each in asked], dtype=torch.float64))
    return net
