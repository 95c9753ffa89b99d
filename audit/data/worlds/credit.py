"""The credit world: applicants, a protected attribute, a proxy, and a loan that is repaid or not."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from audit.core import Codes, DataError, Dataset, Floats, Origin
from audit.data.tabular import Tabular
from audit.data.worlds.base import Draw, Oracle
from audit.registry import world

COLUMNS = ("income", "debt", "history", "zip", "n1", "n2", "sex")
LEVELS = ("female", "male")  # A = 0 and A = 1, the index of the level
CLASSES = ("defaulted", "repaid")
INCOME, DEBT, HISTORY = 1.2, -0.9, 0.7  # weights of the logit
RESIDUAL = math.sqrt(0.75)  # of debt given income, so that debt has unit variance in a group
FAR = 9.0  # standard deviations beyond which nothing is integrated


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

    def __post_init__(self) -> None:
        for knob in ("p", "flip", "selection"):
            value = getattr(self, knob)
            if not 0 <= value < 1 or (knob == "p" and value == 0):
                raise DataError(f"data.knobs: {knob} must lie in {'(0, 1)' if knob == 'p' else '[0, 1)'}, got {value}")
        if self.noise < 0:
            raise DataError(f"data.knobs: noise must be 0 or more, got {self.noise}")

    def draw(self, rows: int, rng: np.random.Generator) -> Dataset:
        """A dataset of `rows` applicants with label, sex and twins; the oracle's score is not recorded."""
        return self.sample(rows, rng).dataset

    def sample(self, rows: int, rng: np.random.Generator) -> Draw:
        """Applicants with their latent factors and, each, the same person with the other sex."""
        blocks: list[Mapping[str, Floats]] = []
        missing = rows
        while missing > 0:
            block = self._block(missing + missing // 8 + 8 if self.selection else missing, rng)
            blocks.append({name: column[:missing] for name, column in block.items()})
            missing -= len(blocks[-1]["a"])
        latent = {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
        a, y = latent["a"].astype(np.int64), latent.pop("y").astype(np.int64)
        inputs = Tabular(values=self._observed(latent, latent["a"]), columns=COLUMNS, integers=frozenset({"sex"}))
        knobs = ", ".join(f"{name} = {getattr(self, name):g}" for name in self.__dataclass_fields__)
        twin = inputs.with_values(self._observed(latent, 1 - latent["a"]))
        dataset = Dataset(
            inputs=inputs,
            twin=twin,
            groups={"sex": Codes(values=a.astype(np.uint8), levels=LEVELS)},
            origin=Origin(name="world: credit", source=f"planted data with known truth ({knobs})"),
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
        logit = self.oracle().logit(self._features(latent, latent["a"]))
        repaid = rng.random(rows) < 1 / (1 + np.exp(-logit))
        wronged = latent["a"] == 0
        repaid &= ~(wronged & (rng.random(rows) < self.flip))
        kept = ~(wronged & repaid & (rng.random(rows) < self.selection))
        return {name: column[kept] for name, column in (latent | {"y": repaid.astype(np.float64)}).items()}

    def _features(self, latent: Mapping[str, Floats], a: Floats) -> Floats:
        """The true features (n, 7) of these people if their sex were a (n,)."""
        s = 2 * a - 1
        income = 0.5 * s + 0.8 * latent["merit"] + 0.6 * latent["e_income"]
        debt = -0.5 * income + RESIDUAL * latent["e_debt"]
        history = 0.3 * s + latent["e_history"]
        home = 0.8 * s + 0.6 * latent["e_zip"]
        return np.column_stack([income, debt, history, home, latent["n1"], latent["n2"], a])

    def _observed(self, latent: Mapping[str, Floats], a: Floats) -> Floats:
        features = self._features(latent, a)
        features[:, 0] += self.noise * latent["e_noise"] * (a == 0)
        return features

    def oracle(self) -> Oracle:
        """The world's own logit; sex is a feature of weight 2 tau."""
        weights = (INCOME, DEBT, HISTORY, 0.0, 0.0, 0.0, 2 * self.tau)
        pairs = ((0, 2, self.omega),) if self.omega else ()
        return Oracle(columns=COLUMNS, weights=weights, bias=self.b - self.tau, pairs=pairs)

    def cells(self) -> Floats:
        """Probability (2, 2, 2) of sex, label and the oracle's decision (at probability 1/2) among recorded people."""
        cells = np.stack([(1 - self.p) * self._joint(0), self.p * self._joint(1)])
        lost = self.flip * cells[0, 1]
        cells[0, 1] -= lost
        cells[0, 0] += lost
        cells[0, 1] *= 1 - self.selection
        return np.asarray(cells / cells.sum())

    def _joint(self, a: int) -> Floats:
        """P(label, decision | sex) (2, 2) before flips and selection.

        Gauss-Hermite over income, history and the noise of measurement, Gauss-Legendre over debt's residual on either
        side of the decision boundary.
        """
        s = 2 * a - 1
        noise = self.noise if a == 0 else 0.0
        z, mass = np.polynomial.hermite_e.hermegauss(40)
        mass = mass / mass.sum()
        i, h, e = np.meshgrid(0.5 * s + z, 0.3 * s + z, noise * z if noise else np.zeros(1), indexing="ij")
        weight = mass[:, None, None] * mass[None, :, None] * (mass if noise else np.ones(1))
        fixed = HISTORY * h + self.tau * s + self.b + DEBT * -0.5 * i
        true, seen = fixed + INCOME * i + self.omega * i * h, fixed + INCOME * (i + e) + self.omega * (i + e) * h
        slope = DEBT * RESIDUAL  # of the logit in debt's residual; negative, so below the edge is a positive decision
        edge = np.clip(-seen / slope, -FAR, FAR)
        joint = np.empty((2, 2))
        for decision, (low, high) in enumerate(((edge, np.full_like(edge, FAR)), (np.full_like(edge, -FAR), edge))):
            share, repaid = _integrate(true, slope, low, high)
            joint[1, decision] = (weight * repaid).sum()
            joint[0, decision] = (weight * (share - repaid)).sum()
        return joint

    def truth(self) -> Mapping[str, float]:
        """Exact quantities of the recorded population under the oracle's decisions (probability 1/2 or more).

        base_rate, selection_rate, tpr, fpr and accuracy, overall and as NAME.female and NAME.male;
        demographic_parity_difference, equal_opportunity_difference (male less female); counterfactual_logit, the mean
        change of the logit were a woman a man, and its parts path.income, path.debt, path.history, path.direct. Without
        interaction and noise the change is the same for every person.
        """
        cells = self.cells()
        values = _rates(cells.sum(axis=0), "")
        for a, level in enumerate(LEVELS):
            values |= _rates(cells[a], f".{level}")
        for name, rate in (("demographic_parity", "selection_rate"), ("equal_opportunity", "tpr")):
            values[f"{name}_difference"] = values[f"{rate}.male"] - values[f"{rate}.female"]
        # Twins differ by 1.0 in income, -0.5 in debt and 0.6 in history; the interaction has mean zero over women.
        paths = {"income": INCOME, "debt": DEBT * -0.5, "history": HISTORY * 0.6, "direct": 2 * self.tau}
        values |= {f"path.{name}": value for name, value in paths.items()}
        return values | {"counterfactual_logit": sum(paths.values())}


def _integrate(true: Floats, slope: float, low: Floats, high: Floats) -> tuple[Floats, Floats]:
    """∫ φ(e) de and ∫ sigmoid(true + slope e) φ(e) de between low and high, elementwise."""
    nodes, mass = np.polynomial.legendre.leggauss(48)
    half = (high - low) / 2
    e = (high + low)[..., None] / 2 + half[..., None] * nodes
    density = mass * half[..., None] * np.exp(-(e**2) / 2) / math.sqrt(2 * math.pi)
    return density.sum(axis=-1), (density / (1 + np.exp(-(true[..., None] + slope * e)))).sum(axis=-1)


def _rates(cells: Floats, suffix: str) -> dict[str, float]:
    """Rates from P(label, decision), not normalised (2, 2)."""
    (tn, fp), (fn, tp) = cells
    total = cells.sum()
    rates = {"base_rate": (fn + tp) / total, "selection_rate": (fp + tp) / total, "accuracy": (tn + tp) / total}
    rates |= {"tpr": tp / (tp + fn), "fpr": fp / (fp + tn)}
    return {name + suffix: float(value) for name, value in rates.items()}


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
) -> Credit:
    """Who repays depends on income, debt and history, on sex itself, and not on zip, which is a pure proxy of sex.

    With s = -1 for women and 1 for men, and e, merit ~ N(0, 1): income = .5 s + .8 merit + .6 e,
    debt = -.5 income + √.75 e, history = .3 s + e, zip = .8 s + .6 e, n1 and n2 noise;
    logit = 1.2 income - .9 debt + .7 history + tau s + b + omega income history.

    tau: direct discrimination. b: intercept. p: share of men. flip: share of women who repaid but are recorded as
    defaulted. selection: share of women recorded as repaid who are missing from the data. noise: sd of the error with
    which women's income is recorded. omega: interaction of income and history. Shares outside [0, 1) raise DataError.
    """
    return Credit(tau=tau, b=b, p=p, flip=flip, selection=selection, noise=noise, omega=omega)


def best_accuracy(world: Credit, gap: float) -> float:
    """The best accuracy of any rule on the world's logit whose selection rates differ by at most `gap`.

    For the world without flips, selection, noise and interaction: the logit is N(mu, v) in each group, and the rule is
    one threshold a group. Maximised over the thresholds to about 1e-6.
    """
    if world.flip or world.selection or world.noise or world.omega:
        raise DataError("best_accuracy: only for the credit world without flip, selection, noise and omega")
    sd = math.sqrt((INCOME - DEBT * 0.5) ** 2 + DEBT**2 * 0.75 + HISTORY**2)
    shares = np.linspace(1e-6, 1 - 1e-6, 4001)
    curves = []
    for s, weight in ((-1, 1 - world.p), (1, world.p)):
        mean = s * (0.5 * (INCOME - DEBT * 0.5) + HISTORY * 0.3 + world.tau) + world.b
        cut = np.array([NormalDist(mean, sd).inv_cdf(1 - share) for share in shares])
        e = np.array((cut - mean) / sd)
        far = np.full_like(e, FAR)
        _, repaid = _integrate(np.full_like(e, mean), sd, e, far)
        below, repaid_below = _integrate(np.full_like(e, mean), sd, -far, e)
        curves.append(weight * (repaid + below - repaid_below))
    width = int(gap * (len(shares) - 1) / (shares[-1] - shares[0]) + 1e-9)
    women, men = curves
    shifts = range(-width, width + 1)
    return max(
        float((women[max(0, -k) : len(women) - max(0, k)] + men[max(0, k) : len(men) + min(0, k)]).max())
        for k in shifts
    )
