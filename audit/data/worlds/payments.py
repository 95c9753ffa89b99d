"""The payments world: how people paid their bills month by month, and whether they defaulted in the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from audit.core import Codes, DataError, Dataset, Floats, Origin
from audit.data.series import series
from audit.data.worlds.additive import LinearForm
from audit.data.worlds.base import Draw, Stratum, bounded, counted, source
from audit.data.worlds.quadrature import sigmoid
from audit.registry import world

COLUMNS = ("delay", "season", "utilisation", "gap", "settled")
LEVELS = ("newcomer", "settled")
CLASSES = ("paid", "defaulted")
STEPS = 24
MEMORY, SHOCK = 0.6, 0.8  # of the delay: what stays of it from step to step, and what is new; its variance is 1
FADING = 0.9  # how much less a step weighs than the one after it
DELAY, UTILISATION = 2.0, 0.5  # weights in the logit
LEAST, SETTLED = 0.1, 0.7  # the shortest time between two steps, and the mean time beyond it of the settled
YEAR = 12  # steps
APART = "season"  # the column that there is only where the season is recorded apart
KNOBS = {
    "tau": "(-inf, inf)",
    "b": "(-inf, inf)",
    "season": "(-inf, inf)",
    "thin": "(0, inf)",
    "p": "(0, 1)",
    "flip": "[0, 1)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Payments:
    """The payments world with its knobs; see `payments`."""

    tau: float
    b: float
    season: float
    thin: float
    p: float
    flip: float
    steps: int
    adjusted: int = 1

    def __post_init__(self) -> None:
        for knob, allowed in KNOBS.items():
            bounded(knob, getattr(self, knob), allowed)

    def draw(self, rows: int, rng: np.random.Generator) -> Dataset:
        """A dataset of `rows` histories with label, residence and twins."""
        return self.sample(rows, rng).dataset

    def sample(self, rows: int, rng: np.random.Generator) -> Draw:
        """Histories with their latent factors (n,) or (n, steps) and, each, the same person of the other residence."""
        counted(rows)
        shape = (rows, self.steps)
        latent = {"a": (rng.random(rows) < self.p).astype(np.float64), "delay": _carried(rng.standard_normal(shape))}
        latent |= {"utilisation": rng.standard_normal(shape), "wait": rng.exponential(size=shape)}
        inputs = series(self._observed(latent, latent["a"]), self.columns())
        other = series(self._observed(latent, 1 - latent["a"]), self.columns())
        y = rng.random(rows) < sigmoid(self.oracle().logit(inputs.values))
        y |= (latent["a"] == 0) & (rng.random(rows) < self.flip)
        dataset = Dataset(
            inputs=inputs,
            twin=other,
            groups={"residence": Codes(values=latent["a"].astype(np.uint8), levels=LEVELS)},
            origin=Origin(name="world: payments", source=source(self)),
            y=y.astype(np.int64),
            names=self.columns(),
            classes=CLASSES,
        )
        return Draw(dataset=dataset, latent=latent, twin=other)

    def _observed(self, latent: Mapping[str, Floats], a: Floats) -> Floats:
        """What is recorded (n, steps, columns) of people whose residence is a (n,)."""
        newcomer = (1 - a)[:, None]
        wait = LEAST + (SETTLED + (self.thin - SETTLED) * newcomer) * latent["wait"]
        settled = np.broadcast_to(a[:, None], wait.shape)
        season = self.year() * newcomer
        late = [latent["delay"], season] if self.adjusted else [latent["delay"] + season]
        return np.stack([*late, latent["utilisation"], np.log(wait), settled], axis=2)

    def columns(self) -> tuple[str, ...]:
        """What is recorded of a step: without a column of the season where it is part of the delay."""
        return tuple(name for name in COLUMNS if self.adjusted or name != APART)

    def year(self) -> Floats:
        """The newcomers' season (steps,)."""
        return np.asarray(self.season * np.sin(2 * np.pi * np.arange(self.steps) / YEAR))

    def fading(self) -> Floats:
        """The weight (steps,) of each step, of length 1: the last weighs most."""
        weights = FADING ** np.arange(self.steps - 1, -1, -1.0)
        return np.asarray(weights / np.linalg.norm(weights))

    def oracle(self) -> LinearForm:
        """The world's own logit; being settled is a column that weighs -2 tau, spread evenly over the steps.

        Where the season is part of the delay, it is taken off again: wholly by the bias, and given back to the settled,
        who have none, by their column.
        """
        columns, late, bias = self.columns(), DELAY * self.fading(), self.b + self.tau
        weights = np.zeros((self.steps, len(columns)))
        weights[:, columns.index("delay")] = late
        weights[:, columns.index("utilisation")] = UTILISATION * self.fading()
        weights[:, columns.index("settled")] = -2 * self.tau / self.steps
        if not self.adjusted:
            weights[:, columns.index("settled")] += late * self.year()
            bias -= float(late @ self.year())
        return LinearForm(weights=weights, bias=bias, columns=columns)

    def law(self, a: int) -> tuple[float, float]:
        """Mean and standard deviation of the logit, which is normal, among newcomers (0) or the settled (1)."""
        fading, step = self.fading(), np.arange(self.steps)
        together = MEMORY ** np.abs(step[:, None] - step)
        variance = DELAY**2 * fading @ together @ fading + UTILISATION**2
        return self.b - self.tau * (2 * a - 1), float(np.sqrt(variance))

    def truth(self) -> Mapping[str, float]:
        """Exact quantities of the recorded population under the oracle's decisions (probability 1/2 or more).

        base_rate, selection_rate, tpr, fpr, accuracy and auc (of the oracle's logit), overall and as NAME.newcomer and
        NAME.settled; demographic_parity_difference and equal_opportunity_difference (settled less newcomer);
        counterfactual_logit, the change of the logit of every newcomer were they settled, and its parts path.direct,
        path.season and path.gap, of which the last two are 0: what follows from the residence causes nothing. Where the
        season is part of the delay, also how that change reads in the columns: read.delay, what the delay loses with the
        season, and read.settled, which takes back as much beside path.direct.
        """
        from audit.data.worlds.payments_truth import truth

        return truth(self)

    def recorded(self, a: int, chance: Floats) -> Floats:
        """P(recorded as defaulted) from P(defaults)."""
        return chance + self.flip * (1 - chance) if a == 0 else chance

    def posterior(self, data: Dataset) -> Floats:
        """P(recorded as defaulted | history, residence) (n,): the oracle's own but for flips."""
        values = data.inputs.values  # type: ignore[union-attr]
        chance = sigmoid(self.oracle().logit(values))
        return np.asarray(np.where(values[:, 0, -1] == 0, self.recorded(0, chance), chance))

    def strata(self) -> tuple[Stratum, ...]:
        """The posterior in either residence."""
        from audit.data.worlds.payments_truth import strata

        return strata(self)


def _carried(shocks: Floats) -> Floats:
    """Stationary autoregressive sequences (n, steps) of variance 1 from independent standard normal shocks (n, steps)."""
    found = shocks.copy()
    for step in range(1, shocks.shape[1]):
        found[:, step] = MEMORY * found[:, step - 1] + SHOCK * shocks[:, step]
    return found


@world("payments", title="Histories of payments with thin files and a season", sources=("hochreiter1997", "ismail2020"))
def payments(
    *,
    tau: float = 0.4,
    b: float = 0.0,
    season: float = 0.8,
    thin: float = 1.5,
    p: float = 0.5,
    flip: float = 0.0,
    steps: float = STEPS,
    adjusted: float = 1,
) -> Payments:
    """Who defaults depends on how late people paid, most of all lately, on how much of their limit they use, and on residence.

    A history has `steps` steps t = 0, 1, ... With s = -1 for newcomers and 1 for the settled: delay is autoregressive
    (.6 of the last, shocks of sd .8, so of variance 1), utilisation ~ N(0, 1); for newcomers season = season sin(2π t / 12),
    else 0; gap is the log of the time since the last step, .1 + Exp(mean thin for newcomers, .7 for the settled).
    logit = 2 Σ w_t delay_t + .5 Σ w_t utilisation_t - tau s + b with w_t in proportion to .9^(steps - 1 - t), Σ w_t² = 1.
    The delay that a bank sees is delay + season. Neither season nor gap causes anything: they only tell the residence.
    By default both parts of it are recorded, as by a seasonal adjustment; then season and thin change no decision, rate or
    effect, by construction: their columns are there as distractors. Without the adjustment the season is in the delay and
    misleads whoever reads that alone. It is known for every step and residence, so the log-odds stay linear in what is
    recorded: 2 Σ w_t delay_t + Σ 2 w_t season sin(2π t / 12) settled_t + a constant, and the rest as before.

    tau: direct discrimination. b: intercept. season: height of the newcomers' season. thin: mean time between the steps of
    newcomers, beyond .1. p: share of the settled. flip: share of newcomers who paid but are recorded as defaulted. steps:
    a whole number from 2 to 1000. adjusted: 1, or 0 to record delay + season as the delay, and no season. Knobs outside
    their range raise DataError.
    """
    bounded("steps", steps, "[2, 1000]")
    if not float(steps).is_integer():
        raise DataError(f"data.knobs: steps must be a whole number, got {steps}")
    bounded("adjusted", adjusted, "[0, 1]")
    if adjusted not in (0, 1):
        raise DataError(f"data.knobs: adjusted must be 0 or 1, got {adjusted}")
    return Payments(tau=tau, b=b, season=season, thin=thin, p=p, flip=flip, steps=int(steps), adjusted=int(adjusted))
