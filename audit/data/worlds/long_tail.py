"""The long-tail world: a few atypical people for whom two features mean the opposite."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from audit.core import Codes, Dataset, Floats, Origin
from audit.data.tabular import Tabular
from audit.data.worlds.base import Draw, Stratum, bounded, counted, source
from audit.data.worlds.forms import LogisticForm
from audit.data.worlds.quadrature import density, even, sigmoid, spread_nodes
from audit.registry import world

COLUMNS = tuple(f"x{place}" for place in range(12))
LEVELS = ("typical", "atypical")
WEIGHTS = (2.0, 1.5, 1.0)  # of x0, x1, x2 in the score of the typical
TURN = -3.0  # what twist = 1 adds to the weights of x1 and x2 in the tail
MARK, CUT, BLUR = 11, 0.5, 0.05  # x11 is 1 in the tail and 0 elsewhere, give or take
KNOBS = {"share": "(0, 1)", "twist": "[0, inf)", "omega": "(-inf, inf)", "sharpness": "(0, inf)"}


@dataclass(frozen=True, slots=True, kw_only=True)
class LongTail:
    """The long-tail world with its knobs; see `long_tail`."""

    share: float
    twist: float
    omega: float
    sharpness: float

    def __post_init__(self) -> None:
        for knob, allowed in KNOBS.items():
            bounded(knob, getattr(self, knob), allowed)

    def draw(self, rows: int, rng: np.random.Generator) -> Dataset:
        """A dataset of `rows` people with label, tail membership and twins."""
        return self.sample(rows, rng).dataset

    def sample(self, rows: int, rng: np.random.Generator) -> Draw:
        """People with their latent factors and, each, the same person on the other side of the tail."""
        counted(rows)
        x = rng.standard_normal((rows, len(COLUMNS)))
        tail = (rng.random(rows) < self.share).astype(np.float64)
        latent = {"tail": tail, "e_mark": x[:, MARK].copy()}
        x[:, MARK] = tail + BLUR * latent["e_mark"]
        y = (rng.random(rows) < sigmoid(self.oracle().logit(x))).astype(np.int64)
        inputs, other = Tabular(values=x, columns=COLUMNS), x.copy()
        other[:, MARK] = 1 - tail + BLUR * latent["e_mark"]
        twin = inputs.with_values(other)
        dataset = Dataset(
            inputs=inputs,
            twin=twin,
            groups={"tail": Codes(values=tail.astype(np.uint8), levels=LEVELS)},
            origin=Origin(name="world: long_tail", source=source(self)),
            y=y,
            names=COLUMNS,
        )
        return Draw(dataset=dataset, latent=latent, twin=twin)

    def oracle(self) -> LogisticForm:
        """The world's own logit; x11 enters as whether it lies above 0.5, which errs once in 10^23 people."""
        weights = tuple(self.sharpness * weight for weight in WEIGHTS) + (0.0,) * 9
        turn = self.sharpness * TURN * self.twist
        pairs = ((3, 4, self.sharpness * self.omega), (1, MARK, turn), (2, MARK, turn))
        return LogisticForm(
            columns=COLUMNS,
            weights=weights,
            pairs=tuple(pair for pair in pairs if pair[2]),
            cuts=((MARK, CUT),),
        )

    def posterior(self, data: Dataset) -> Floats:
        """P(y = 1 | all that is recorded) (n,): the oracle's own."""
        return sigmoid(self.oracle().logit(data.inputs.values))  # type: ignore[union-attr]

    # ---------------------------------------------------------------------------------------------- the truth
    def _normals(self) -> tuple[Floats, Floats, Floats]:
        """Given x4 the logits (typical, atypical) are jointly normal of mean 0: weights (k,), variances (2, k), covariance.

        Over a grid of x4; x3 x4 is then normal too.
        """
        z, mass = even(151)
        plain = np.array(WEIGHTS)
        turned = plain + TURN * self.twist * np.array([0.0, 1.0, 1.0])
        both = (self.omega * z) ** 2
        scale = self.sharpness**2
        variances = scale * (np.array([[plain @ plain], [turned @ turned]]) + both)
        return mass, variances, scale * (plain @ turned + both)

    def truth(self) -> Mapping[str, float]:
        """Exact quantities of the population under the oracle's decisions (probability 1/2 or more).

        base_rate, selection_rate, tpr, fpr, accuracy and auc (of the oracle's logit), overall and as NAME.typical and
        NAME.atypical; demographic_parity_difference and equal_opportunity_difference (atypical less typical);
        blind_accuracy.atypical, of the typical rule in the tail; counterfactual_logit, the mean change were a typical
        person atypical, its mean size counterfactual_logit_size, and counterfactual_flip_rate.
        """
        mass, variances, covariance = self._normals()
        grid = np.linspace(-9, 9, 40_001) * math.sqrt(variances.max())
        laws = np.stack([_law(grid, mass, each) for each in variances])
        values: dict[str, float] = {}
        shares = {".typical": (1.0, 0.0), ".atypical": (0.0, 1.0), "": (1 - self.share, self.share)}
        for suffix, weights in shares.items():
            right, auc = _of_law(grid, np.array(weights) @ laws)
            # The law is symmetrical and turning all signs swaps the labels: so half are positive, half are selected.
            found = {"base_rate": 0.5, "selection_rate": 0.5, "accuracy": right, "tpr": right, "fpr": 1 - right}
            values |= {name + suffix: value for name, value in (found | {"auc": auc}).items()}
        values |= {"demographic_parity_difference": 0.0}
        values["equal_opportunity_difference"] = values["tpr.atypical"] - values["tpr.typical"]
        correlation = np.clip(covariance / np.sqrt(variances[0] * variances[1]), -1.0, 1.0)
        values["blind_accuracy.atypical"] = _blind(mass, np.sqrt(variances[1]), correlation)
        values["counterfactual_logit"] = 0.0
        turn = abs(self.sharpness * TURN * self.twist)
        values["counterfactual_logit_size"] = turn * math.sqrt(2) * math.sqrt(2 / math.pi)
        values["counterfactual_flip_rate"] = float(mass @ np.arccos(correlation)) / math.pi
        return values

    def strata(self) -> tuple[Stratum, ...]:
        """The posterior on either side of the tail: given x4 the logit is normal, over a grid of x4."""
        mass, variances, _ = self._normals()
        found = []
        for level, share, variance in zip(LEVELS, (1 - self.share, self.share), variances, strict=True):
            logit, there = spread_nodes(np.zeros_like(mass), np.sqrt(variance), share * mass, points=4001)
            found.append(Stratum(levels={"tail": level}, chance=sigmoid(logit).ravel(), mass=there.ravel()))
        return tuple(found)


def _law(grid: Floats, mass: Floats, variance: Floats) -> Floats:
    """The share of people (g,) at each point of an even grid, of a mixture of normals of mean 0."""
    sd = np.sqrt(variance)[:, None]
    share = mass @ (density(grid / sd) / sd)
    return np.asarray(share / share.sum())


def _of_law(grid: Floats, law: Floats) -> tuple[float, float]:
    """Accuracy of the sign, and AUC, of a logit of this law whose labels follow it."""
    positive, negative = law * sigmoid(grid), law * sigmoid(-grid)
    below = np.cumsum(negative) - negative / 2
    right = float((law * sigmoid(np.abs(grid))).sum())
    return right, float((positive * below).sum() / (positive.sum() * negative.sum()))


def _blind(mass: Floats, sd: Floats, correlation: Floats) -> float:
    """How often the label follows the sign of another logit, of this correlation with the one (of this sd) it is drawn from."""
    from scipy.special import ndtr

    nodes, weight = np.polynomial.legendre.leggauss(400)
    z = 4.5 * (nodes + 1)  # the other half is its mirror image
    steep = correlation / np.sqrt(np.maximum(1 - correlation**2, 1e-30))
    logit = sd[:, None] * z
    # the other logit has the sign of this one with probability Φ(z steep)
    same = ndtr(z * steep[:, None])
    right = same * sigmoid(logit) + (1 - same) * sigmoid(-logit)
    return float(mass @ (right @ (2 * 4.5 * weight * density(z))))


@world("long_tail", title="A long tail with a rule of its own", sources=("hooker2020",))
def long_tail(*, share: float = 0.06, twist: float = 1.0, omega: float = 0.8, sharpness: float = 3.0) -> LongTail:
    """A few people are atypical, and for them two of the features that matter mean the opposite.

    x0 ... x10 ~ N(0, 1), x11 = t + .05 e where t = 1 in the tail and 0 elsewhere; score = 2 x0 + 1.5 x1 + x2 +
    omega x3 x4 for the typical and 2 x0 + (1.5 - 3 twist) x1 + (1 - 3 twist) x2 + omega x3 x4 in the tail; y = 1 with
    probability sigmoid(sharpness score). A model that spares capacity gives up the tail first.

    share: of the atypical. twist: 0 gives the tail the rule of the others, 1 its own. omega: interaction of x3 and x4.
    sharpness: how certain labels are. Knobs outside their range raise DataError.
    """
    return LongTail(share=share, twist=twist, omega=omega, sharpness=sharpness)
