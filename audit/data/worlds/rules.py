"""The rule world: the credit applicants, decided by readable rules, one of which turns on sex and where people live."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from audit.core import Codes, Dataset, Floats, Origin
from audit.data.rules import Clause, Literal, Rules
from audit.data.tabular import Tabular
from audit.data.worlds.applicants import COLUMNS, LEVELS, features
from audit.data.worlds.base import Draw, Stratum, bounded, counted, source
from audit.data.worlds.boxes import Box, Boxes, boxes, plus, product
from audit.data.worlds.forms import RuleForm
from audit.data.worlds.quadrature import correlated
from audit.data.worlds.scores import difference, rates
from audit.registry import world

CLASSES = ("refused", "approved")
CERTAIN = 10.0  # the log-odds that stand for certainty where no label is flipped
KNOBS = {"p": "(0, 1)", "strength": "[0, 1]", "noise": "[0, 0.5)", "proxy": "[0, inf)"}


def _literal(name: str, op: str, threshold: float) -> Literal:
    return Literal(column=COLUMNS.index(name), name=name, op=">" if op == ">" else "<=", threshold=threshold)


LAWFUL = (
    Clause(literals=(_literal("income", ">", 0.0), _literal("debt", "<=", 0.5))),
    Clause(literals=(_literal("history", ">", 1.0),)),
)
PLANTED = Clause(literals=(_literal("zip", "<=", -0.5), _literal("sex", "<=", 0.5)), accepts=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleWorld:
    """The rule world with its knobs; see `rules`."""

    p: float
    strength: float
    noise: float
    proxy: float

    def __post_init__(self) -> None:
        for knob, allowed in KNOBS.items():
            bounded(knob, getattr(self, knob), allowed)

    def draw(self, rows: int, rng: np.random.Generator) -> Dataset:
        """A dataset of `rows` applicants with the recorded decision as label, sex and twins."""
        return self.sample(rows, rng).dataset

    def sample(self, rows: int, rng: np.random.Generator) -> Draw:
        """Applicants with their latent factors and, each, the same person with the other sex."""
        counted(rows)
        names = ("merit", "e_income", "e_debt", "e_history", "e_zip", "n1", "n2")
        latent: dict[str, Floats] = dict(zip(names, rng.standard_normal((len(names), rows)), strict=True))
        latent["a"] = (rng.random(rows) < self.p).astype(np.float64)
        inputs = Tabular(values=features(latent, latent["a"], self.proxy), columns=COLUMNS, integers=frozenset({"sex"}))
        wronged = PLANTED.holds(inputs.values) & (rng.random(rows) < self.strength)
        latent["wronged"] = wronged.astype(np.float64)
        approved = (self._rules(lawful=True).decide(inputs.values) == 1) & ~wronged
        y = (approved ^ (rng.random(rows) < self.noise)).astype(np.int64)
        twin = inputs.with_values(features(latent, 1 - latent["a"], self.proxy))
        dataset = Dataset(
            inputs=inputs,
            twin=twin,
            groups={"sex": Codes(values=latent["a"].astype(np.uint8), levels=LEVELS)},
            origin=Origin(name="world: rules", source=source(self)),
            y=y,
            names=COLUMNS,
            classes=CLASSES,
        )
        return Draw(dataset=dataset, latent=latent, twin=twin)

    def _rules(self, *, lawful: bool) -> Rules:
        return Rules(columns=COLUMNS, clauses=LAWFUL if lawful else (*LAWFUL, PLANTED))

    def _chances(self) -> Floats:
        """P(y = 1) of people whom no clause accepts, of the accepted, and of accepted people whom the planted one meets."""
        wronged = (1 - self.strength) * (1 - self.noise) + self.strength * self.noise
        return np.array([self.noise, 1 - self.noise, wronged])

    def _ladder(self) -> list[float]:
        """The log-odds of the three."""
        return [
            min(max(math.log(p) - math.log1p(-p) if 0 < p < 1 else math.copysign(CERTAIN, p - 0.5), -CERTAIN), CERTAIN)
            for p in self._chances()
        ]

    def oracle(self) -> RuleForm:
        """The world's own log-odds; those of certainty are ±10. Its rules leave the planted clause out below half strength."""
        refused, approved, wronged = self._ladder()
        lawful = self._rules(lawful=True)
        met = tuple(Clause(literals=(*clause.literals, *PLANTED.literals)) for clause in LAWFUL)
        parts = ((lawful, approved - refused), (Rules(columns=COLUMNS, clauses=met), wronged - approved))
        return RuleForm(
            columns=COLUMNS,
            rules=self._rules(lawful=self.strength <= 0.5),
            bias=refused,
            parts=parts if self.strength else parts[:1],
        )

    def posterior(self, data: Dataset) -> Floats:
        """P(y = 1 | all that is recorded) (n,)."""
        x = data.inputs.values  # type: ignore[union-attr]
        lawful = self._rules(lawful=True).decide(x)
        return np.asarray(self._chances()[lawful * (1 + PLANTED.holds(x))])

    # ---------------------------------------------------------------------------------------------- the truth
    def _states(self, a: int) -> Floats:
        """Shares (3,) of people of a sex whom no clause accepts, who are accepted, and who are accepted but met."""
        accepted = self._latent(boxes(self._rules(lawful=True)), a)
        left = self._latent(boxes(self._rules(lawful=False)), a)
        return np.array([1 - chance(accepted), chance(left), chance(accepted) - chance(left)])

    def _latent(self, found: Boxes, a: int) -> Boxes:
        """A sum of boxes over the features of people of a sex, over their standardised income, debt, history and zip."""
        s = 2 * a - 1
        mean, sd = (0.5 * s, -0.25 * s, 0.3 * s, self.proxy * s, 0.0, 0.0), (1.0, 1.0, 1.0, 0.6, 1.0, 1.0)
        total: Boxes = {}
        for box, weight in found.items():
            if all(low < a <= high for column, low, high in box if column == 6):
                sides = [each for each in box if each[0] != 6]
                here = tuple((c, (low - mean[c]) / sd[c], (high - mean[c]) / sd[c]) for c, low, high in sides)
                total = plus(total, {here: weight})
        return total

    def truth(self) -> Mapping[str, float]:
        """Exact quantities of the population under the oracle's decisions (probability 1/2 or more).

        base_rate, selection_rate, tpr, fpr and accuracy, overall and as NAME.female and NAME.male;
        demographic_parity_difference, equal_opportunity_difference (male less female); planted_share.SEX, those whom
        the lawful clauses accept and the planted one meets, and refused_share.SEX, those whom it refuses;
        counterfactual_logit, the mean change of the oracle's log-odds were a woman a man, and
        counterfactual_flip_rate, the share of people whom the oracle decides otherwise with the other sex.
        """
        shares = np.stack([self._states(a) for a in range(2)])
        chances, decided = self._chances(), np.array([0, 1, int(self.strength <= 0.5)])
        label = np.stack([1 - chances, chances])
        cells = np.stack([[[share @ (row * (decided == d)) for d in range(2)] for row in label] for share in shares])
        values = rates(cells[0] * (1 - self.p) + cells[1] * self.p)
        for a, level in enumerate(LEVELS):
            values |= rates(cells[a], f".{level}")
            values |= {f"planted_share.{level}": shares[a, 2], f"refused_share.{level}": self.strength * shares[a, 2]}
        for name, rate in (("demographic_parity", "selection_rate"), ("equal_opportunity", "tpr")):
            values |= difference(values, f"{name}_difference", f"{rate}.male", f"{rate}.female")
        women, men = shares @ np.array(self._ladder())
        values["counterfactual_logit"] = men - women
        values["counterfactual_flip_rate"] = self._flips()
        return {name: float(value) for name, value in values.items()}

    def _flips(self) -> float:
        """P(the decision as a woman differs from that as a man), over latent factors that both share."""
        women, men = (self._latent(boxes(self.oracle().rules), a) for a in range(2))
        return chance(women) + chance(men) - 2 * chance(product(women, men))

    def strata(self) -> tuple[Stratum, ...]:
        """The three values of the posterior in each sex."""
        return tuple(
            Stratum(levels={"sex": LEVELS[a]}, chance=self._chances(), mass=weight * self._states(a))
            for a, weight in enumerate((1 - self.p, self.p))
        )


def chance(found: Boxes) -> float:
    """The mean of a sum of boxes over standard normals, of which the first two (income, debt) correlate by -0.5."""
    return sum(weight * _inside(box) for box, weight in found.items())


def _inside(box: Box) -> float:
    from scipy.special import ndtr

    sides = {column: (low, high) for column, low, high in box}
    everything = (-math.inf, math.inf)
    share = correlated(sides.pop(0, everything), sides.pop(1, everything), -0.5)
    for low, high in sides.values():
        share *= float(ndtr(high) - ndtr(low))
    return share


@world("rules", title="Credit decided by rules, one of them discriminatory", sources=("baumann2023",))
def rules(*, p: float = 0.5, strength: float = 1.0, noise: float = 0.0, proxy: float = 0.8) -> RuleWorld:
    """An applicant is approved who has income > 0 and debt ≤ .5, or history > 1; a planted clause denies women of some places.

    The features are those of the credit world. The planted clause: not (zip ≤ -.5 and sex is female), which denies
    whatever others accept. The label is the recorded decision.

    p: share of men. strength: share of the people whom the planted clause meets that it denies; 0 switches it off.
    noise: share of decisions that are recorded the wrong way round. proxy: how far zip tells the sexes apart. Knobs
    outside their range raise DataError.
    """
    return RuleWorld(p=p, strength=strength, noise=noise, proxy=proxy)
