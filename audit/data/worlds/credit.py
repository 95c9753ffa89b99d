"""The credit world: applicants, a protected attribute, a proxy, and a loan that is repaid or not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from audit.core import Codes, Dataset, Floats, Origin
from audit.data.tabular import Tabular
from audit.data.worlds.applicants import (
    CLASSES,
    COLUMNS,
    DEBT,
    HISTORY,
    INCOME,
    LEVELS,
    RACES,
    RESIDUAL,
    features,
)
from audit.data.worlds.base import Draw, Stratum, bounded, counted, source
from audit.data.worlds.forms import LogisticForm
from audit.data.worlds.frontier import best_accuracy
from audit.data.worlds.quadrature import even, hermite, sigmoid, spread_nodes
from audit.registry import world

__all__ = ["CLASSES", "COLUMNS", "LEVELS", "RACES", "Credit", "best_accuracy", "credit", "features"]

SHARES = (0.6, 0.3, 0.1)  # of the races, whatever the sex
SHIFTS = (0.2, -0.2, -0.6)  # of income and zip at race = 1; their mean is 0
KNOBS = {
    "tau": "(-inf, inf)",
    "b": "(-inf, inf)",
    "p": "(0, 1)",
    "flip": "[0, 1)",
    "selection": "[0, 1)",
    "noise": "[0, inf)",
    "omega": "(-inf, inf)",
    "race": "[0, inf)",
    "proxy": "[0, inf)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Credit:
    """The credit world with its knobs; see `credit`."""

    tau: float
    b: float
    p: float
    flip: float
    selection: float
    noise: float
    omega: float
    race: float = 0.0
    proxy: float = 0.8

    def __post_init__(self) -> None:
        for knob, allowed in KNOBS.items():
            bounded(knob, getattr(self, knob), allowed)

    def draw(self, rows: int, rng: np.random.Generator) -> Dataset:
        """A dataset of `rows` applicants with label, sex, race and twins; the oracle's score is not recorded."""
        return self.sample(rows, rng).dataset

    def sample(self, rows: int, rng: np.random.Generator) -> Draw:
        """Applicants with their latent factors and, each, the same person with the other sex."""
        counted(rows)
        blocks: list[Mapping[str, Floats]] = []
        missing = rows
        while missing > 0:
            block = self._block(missing + missing // 8 + 8 if self.selection else missing, rng)
            blocks.append({name: column[:missing] for name, column in block.items()})
            missing -= len(blocks[-1]["a"])
        latent = {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
        a, y = latent["a"].astype(np.int64), latent.pop("y").astype(np.int64)
        groups = {"sex": Codes(values=a.astype(np.uint8), levels=LEVELS)}
        if self.race:
            groups["race"] = Codes(values=latent["race"].astype(np.uint8), levels=RACES)
        inputs = Tabular(values=self._observed(latent, latent["a"]), columns=COLUMNS, integers=frozenset({"sex"}))
        twin = inputs.with_values(self._observed(latent, 1 - latent["a"]))
        dataset = Dataset(
            inputs=inputs,
            twin=twin,
            groups=groups,
            origin=Origin(name="world: credit", source=source(self)),
            y=y,
            names=COLUMNS,
            classes=CLASSES,
        )
        return Draw(dataset=dataset, latent=latent, twin=twin)

    def _block(self, rows: int, rng: np.random.Generator) -> dict[str, Floats]:
        """Latent factors and labels of the applicants that the selection leaves."""
        names = ("merit", "e_income", "e_debt", "e_history", "e_zip", "n1", "n2", "e_noise")
        latent = dict(zip(names, rng.standard_normal((len(names), rows)), strict=True))
        latent["a"] = (rng.random(rows) < self.p).astype(np.float64)
        if self.race:
            latent["race"] = np.searchsorted(np.cumsum(SHARES[:-1]), rng.random(rows), side="right").astype(np.float64)
        logit = self.oracle().logit(self._true(latent, latent["a"]))
        repaid = rng.random(rows) < 1 / (1 + np.exp(-logit))
        wronged = latent["a"] == 0
        repaid &= ~(wronged & (rng.random(rows) < self.flip))
        kept = ~(wronged & repaid & (rng.random(rows) < self.selection))
        return {name: column[kept] for name, column in (latent | {"y": repaid.astype(np.float64)}).items()}

    def _true(self, latent: Mapping[str, Floats], a: Floats) -> Floats:
        shift = self.race * np.array(SHIFTS)[latent["race"].astype(np.int64)] if self.race else 0.0
        return features(latent, a, self.proxy, shift)

    def _observed(self, latent: Mapping[str, Floats], a: Floats) -> Floats:
        values = self._true(latent, a)
        values[:, 0] += self.noise * latent["e_noise"] * (a == 0)
        return values

    def oracle(self) -> LogisticForm:
        """The world's own logit; sex is a feature of weight 2 tau."""
        weights = (INCOME, DEBT, HISTORY, 0.0, 0.0, 0.0, 2 * self.tau)
        pairs = ((0, 2, self.omega),) if self.omega else ()
        return LogisticForm(columns=COLUMNS, weights=weights, bias=self.b - self.tau, pairs=pairs)

    def races(self) -> Iterator[tuple[str, float, float]]:
        """Level, share and shift of each race; one nameless level without races."""
        if not self.race:
            yield "", 1.0, 0.0
            return
        for level, share, shift in zip(RACES, SHARES, SHIFTS, strict=True):
            yield level, share, self.race * shift

    def _recorded(self, a: int, chance: Floats) -> tuple[Floats, Floats]:
        """P(recorded as repaid | in the data) and the share that is in the data, from P(repays), for a sex."""
        if a == 1:
            return chance, np.ones_like(chance)
        chance = (1 - self.flip) * chance
        kept = 1 - self.selection * chance
        return chance * (1 - self.selection) / kept, kept

    def truth(self) -> Mapping[str, float]:
        """Exact quantities of the recorded population under the oracle's decisions (probability 1/2 or more).

        base_rate, selection_rate, tpr, fpr and accuracy: overall, as NAME.female and NAME.male, and with races as
        NAME.blue, ..., NAME.female.blue, ...; demographic_parity_difference and equal_opportunity_difference (male less
        female; with races also .race and .sex.race, the largest less the smallest); counterfactual_logit, the mean
        change over women of the logit were a woman a man, and its parts path.income, path.debt, path.history,
        path.direct (of a product, what the column moves on the mean of both ends). Without interaction and noise the
        change is the same for every person. A rate over nobody is left out, and every difference that it enters.
        """
        from audit.data.worlds.credit_truth import truth

        return truth(self)

    # ------------------------------------------------------------------------------------------ the posterior
    def _doubt(self, a: int) -> float:
        """Variance of a person's true income given the recorded one and the debt: 0 but for women with noise."""
        return 1 / (1 + 1 / self.noise**2 + 0.25 / RESIDUAL**2) if self.noise and a == 0 else 0.0

    def _chance(self, a: int, logit: Floats, doubt: Floats) -> tuple[Floats, Floats]:
        """P(recorded as repaid) and the share in the data where the logit is N(logit, doubt) given what is seen."""
        z, mass = hermite(40) if self._doubt(a) else (np.zeros(1), np.ones(1))
        return self._recorded(a, sigmoid(logit[..., None] + np.sqrt(doubt)[..., None] * z) @ mass)

    def posterior(self, data: Dataset) -> Floats:
        """P(recorded as repaid | features, sex, race) (n,): the oracle's own but for flips, selection and noise."""
        x = data.inputs.values  # type: ignore[union-attr]
        found = np.empty(len(x))
        race = data.groups["race"].values if self.race else np.zeros(len(x), dtype=np.int64)
        mean = np.array([shift for _, _, shift in self.races()])[race]
        for a in range(2):
            rows = x[:, 6] == a
            seen, doubt = x[rows].copy(), self._doubt(a)
            if doubt:
                told = seen[:, 0] / self.noise**2 - 0.5 * seen[:, 1] / RESIDUAL**2
                seen[:, 0] = doubt * (mean[rows] - 0.5 + told)
            step = INCOME + self.omega * seen[:, 2]  # of the logit in income
            found[rows] = self._chance(a, self.oracle().logit(seen), step**2 * doubt)[0]
        return found

    def strata(self) -> tuple[Stratum, ...]:
        """The posterior in each sex and race: given history the logit that is seen is normal, over a grid of history."""
        z, mass = even(151)
        found = []
        for a, weight in enumerate((1 - self.p, self.p)):
            s, doubt = 2 * a - 1, self._doubt(a)
            for level, share, shift in self.races():
                h = 0.3 * s + z
                step = INCOME + self.omega * h
                mean = (step - DEBT / 2) * (0.5 * s + shift) + HISTORY * h + self.tau * s + self.b
                sd = np.sqrt((step - DEBT / 2) ** 2 + (DEBT * RESIDUAL) ** 2 - step**2 * doubt)
                logit, there = spread_nodes(mean, sd, weight * share * mass)
                chance, kept = self._chance(a, logit, np.broadcast_to(step[:, None] ** 2 * doubt, logit.shape))
                levels = {"sex": LEVELS[a]} | ({"race": level} if level else {})
                found.append((levels, chance.ravel(), (there * kept).ravel()))
        total = sum(each[2].sum() for each in found)
        return tuple(Stratum(levels=levels, chance=chance, mass=mass / total) for levels, chance, mass in found)


@world("credit", title="Consumer credit with planted discrimination", sources=("baumann2023",))
def credit(
    *,
    tau: float = 0.4,
    b: float = 0.0,
    p: float = 0.5,
    flip: float = 0.0,
    selection: float = 0.0,
    noise: float = 0.0,
    omega: float = 0.0,
    race: float = 0.0,
    proxy: float = 0.8,
) -> Credit:
    """Who repays depends on income, debt and history, on sex itself, and not on zip, which is a pure proxy of sex.

    With s = -1 for women and 1 for men, and e, merit ~ N(0, 1): income = .5 s + .8 merit + .6 e + r,
    debt = -.5 income + √.75 e, history = .3 s + e, zip = proxy s + .6 e + r, n1 and n2 noise;
    logit = 1.2 income - .9 debt + .7 history + tau s + b + omega income history.

    tau: direct discrimination. b: intercept. p: share of men. flip: share of women who repaid but are recorded as
    defaulted. selection: share of women recorded as repaid who are missing from the data. noise: sd of the error with
    which women's income is recorded. omega: interaction of income and history. race: above 0 there is a second
    attribute race, no feature, of levels blue, green and orange (shares .6, .3, .1, whatever the sex), with
    r = race times .2, -.2, -.6. proxy: how far zip tells the sexes apart. Knobs outside their range raise DataError.
    """
    return Credit(tau=tau, b=b, p=p, flip=flip, selection=selection, noise=noise, omega=omega, race=race, proxy=proxy)
