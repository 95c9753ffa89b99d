"""The world of biographies: surgeons and nurses by a naive-Bayes grammar, whose pronouns tell their occupation too."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from audit.core import Codes, Dataset, Floats, Ints, Origin
from audit.data.texts import MASK, PAD, UNKNOWN, Texts
from audit.data.worlds.additive import TokenForm
from audit.data.worlds.base import Draw, Stratum, bounded, counted, source
from audit.data.worlds.enumerated import counted_out
from audit.data.worlds.quadrature import sigmoid
from audit.registry import world

CLASSES = ("surgeon", "nurse")
LEVELS = ("female", "male")
PRONOUNS = ("she", "he")  # of the levels
NAMES, CITIES = ("reed", "stone", "marsh", "hale"), ("leeds", "york", "bath")
FILLERS = ("music", "gardens", "chess", "books")
# What a surgeon and a nurse are told to know: two draws from a Dirichlet distribution of parameter 1.5, written down so
# that the world is the same everywhere, in the order of their log-odds. Of several draws it is one where few posteriors lie
# near one half, so that the gap does not jump where a model's log-odds are slightly off.
EVIDENCE: Mapping[str, tuple[float, float]] = {
    "incisions": (0.031, 0.004),
    "transplants": (0.056, 0.012),
    "sutures": (0.071, 0.017),
    "scalpels": (0.097, 0.028),
    "anatomy": (0.403, 0.230),
    "research": (0.080, 0.055),
    "charts": (0.021, 0.022),
    "lectures": (0.128, 0.167),
    "medication": (0.030, 0.042),
    "bandages": (0.047, 0.067),
    "wards": (0.032, 0.059),
    "vaccines": (0.004, 0.297),
}
SLOTS = 4
# What stands at each place; None for what is drawn.
TEMPLATE = (None, "trained", "in", None, ".", None, "knows", None, ",", None, ",", None, "and", None)
NAME, CITY, PRONOUN, KNOWN = 0, 3, 5, (7, 9, 11, 13)
VOCABULARY = (
    *(PAD, UNKNOWN, MASK),
    *(".", ",", "and", "in", "knows", "trained"),
    *NAMES,
    *CITIES,
    *PRONOUNS,
    *FILLERS,
    *EVIDENCE,
)
ID: Mapping[str, int] = {token: id for id, token in enumerate(VOCABULARY)}
KNOBS = {"pi1": "(0, 1)", "pi0": "(0, 1)", "rho": "[0, 1]", "p": "(0, 1)"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Biographies:
    """The world of biographies with its knobs; see `biographies`."""

    pi1: float
    pi0: float
    rho: float
    p: float

    def __post_init__(self) -> None:
        for knob, allowed in KNOBS.items():
            bounded(knob, getattr(self, knob), allowed)

    def draw(self, rows: int, rng: np.random.Generator) -> Dataset:
        """A dataset of `rows` biographies with occupation, sex and twins."""
        return self.sample(rows, rng).dataset

    def sample(self, rows: int, rng: np.random.Generator) -> Draw:
        """Biographies and, each, the same one with the other pronoun.

        latent: a, 1 for a man, and evidence, the log-odds of a nurse that the four slots hold.
        """
        counted(rows)
        y = (rng.random(rows) < self.p).astype(np.int64)
        a = (rng.random(rows) >= np.where(y == 1, self.pi1, self.pi0)).astype(np.int64)
        ids = np.tile([0 if token is None else ID[token] for token in TEMPLATE], (rows, 1))
        ids[:, NAME] = _any(NAMES, rows, rng)
        ids[:, CITY] = _any(CITIES, rows, rng)
        ids[:, PRONOUN] = _ids(PRONOUNS)[a]
        shares = np.array(list(EVIDENCE.values()))
        for place in KNOWN:
            told = (np.cumsum(shares[:-1], axis=0).T[y] < rng.random(rows)[:, None]).sum(axis=1)
            filler = _any(FILLERS, rows, rng)
            ids[:, place] = np.where(rng.random(rows) < self.rho, filler, _ids(tuple(EVIDENCE))[told])
        inputs = texts(ids)
        other = ids.copy()
        other[:, PRONOUN] = _ids(PRONOUNS)[1 - a]
        twin = texts(other)
        dataset = Dataset(
            inputs=inputs,
            twin=twin,
            groups={"sex": Codes(values=a.astype(np.uint8), levels=LEVELS)},
            origin=Origin(name="world: biographies", source=source(self)),
            y=y,
            classes=CLASSES,
        )
        evidence = np.asarray(self.oracle().weights[ids[:, KNOWN]].sum(axis=1))
        return Draw(dataset=dataset, latent={"a": a.astype(np.float64), "evidence": evidence}, twin=twin)

    def oracle(self) -> TokenForm:
        """The posterior log-odds of a nurse: what each token adds is exact, and 0 for what says nothing.

        The slots are independent given the occupation, so with tokens replaced by [MASK] it is still the posterior given
        the tokens that are left.
        """
        weights = np.zeros(len(VOCABULARY))
        for token, (surgeon, nurse) in EVIDENCE.items():
            weights[ID[token]] = math.log(nurse / surgeon)
        weights[_ids(PRONOUNS)] = math.log(self.pi1 / self.pi0), math.log((1 - self.pi1) / (1 - self.pi0))
        return TokenForm(weights=weights, bias=math.log(self.p / (1 - self.p)))

    def posterior(self, data: Dataset) -> Floats:
        """P(nurse | the text) (n,): the oracle's own."""
        return sigmoid(self.oracle().logit(data.inputs.values))  # type: ignore[union-attr]

    def strata(self) -> tuple[Stratum, ...]:
        """The posterior of every way to fill the four slots, by sex."""
        form = self.oracle()
        shares = np.array([*EVIDENCE.values(), (0.0, 0.0)]) * (1 - self.rho)
        shares[-1] = self.rho
        weights = np.array([*form.weights[_ids(tuple(EVIDENCE))], 0.0])
        logit, mass = np.zeros(1), np.ones((2, 1))
        for _ in range(SLOTS):
            logit = np.add.outer(logit, weights).ravel()
            mass = np.stack([np.outer(mass[k], shares[:, k]).ravel() for k in range(2)])
        of_women = np.array([(1 - self.p) * self.pi0, self.p * self.pi1])
        of_men = np.array([(1 - self.p) * (1 - self.pi0), self.p * (1 - self.pi1)])
        found = []
        for level, pronoun, prior in zip(LEVELS, PRONOUNS, (of_women, of_men), strict=True):
            chance = sigmoid(logit + form.weights[ID[pronoun]] + form.bias)
            found.append(Stratum(levels={"sex": level}, chance=chance, mass=prior @ mass))
        return tuple(found)

    def truth(self) -> Mapping[str, float]:
        """Exact quantities under the Bayes decision (nurse where the posterior is 1/2 or more), all fillings counted out.

        base_rate, selection_rate, tpr, fpr and accuracy: overall, as NAME.female and NAME.male;
        demographic_parity_difference and equal_opportunity_difference (male less female); tpr_gap, how much more often a
        nurse is recognised who is a woman (female less male); auc of the posterior; counterfactual_logit, what the
        log-odds gain where "he" becomes "she", and counterfactual_flip_rate, how often the other pronoun turns the
        decision.
        """
        strata = self.strata()
        values = counted_out(strata, "sex", LEVELS)
        if "equal_opportunity_difference" in values:
            values["tpr_gap"] = -values["equal_opportunity_difference"]
        she, he = self.oracle().weights[_ids(PRONOUNS)]
        values["counterfactual_logit"] = float(she - he)
        turned = (strata[0].chance >= 0.5) != (strata[1].chance >= 0.5)
        values["counterfactual_flip_rate"] = float(sum(each.mass[turned].sum() for each in strata))
        return values


def texts(ids: Ints) -> Texts:
    """Texts of ids (n, tokens) in the vocabulary of the world, every token a word."""
    words = np.broadcast_to(np.arange(ids.shape[1]), ids.shape)
    return Texts(ids=ids, words=words, vocabulary=VOCABULARY, pad=ID[PAD], mask=ID[MASK])


def _ids(tokens: Sequence[str]) -> Ints:
    return np.array([ID[token] for token in tokens])


def _any(tokens: Sequence[str], rows: int, rng: np.random.Generator) -> Ints:
    """One of the tokens (rows,), all alike likely."""
    return np.asarray(_ids(tokens)[rng.integers(len(tokens), size=rows)])


@world("biographies", title="Biographies whose pronouns tell the occupation", sources=("dearteaga2019",))
def biographies(*, pi1: float = 0.85, pi0: float = 0.2, rho: float = 0.5, p: float = 0.5) -> Biographies:
    """A text tells who is a nurse (y = 1) and who a surgeon by what they know, and by the pronoun.

    "reed trained in york . she knows wards , chess , charts and music": y ~ Bern(p); the pronoun is "she" with probability
    pi1 for a nurse and pi0 for a surgeon; each of four slots holds a filler (music, gardens, chess, books) with
    probability rho, else one of twelve words drawn with probabilities that differ by occupation. Names, cities and
    fillers say nothing. So the log-odds of a nurse are a sum: log P(word | nurse) / P(word | surgeon) of each word,
    log(pi1 / pi0) for "she", log((1 - pi1) / (1 - pi0)) for "he".

    pi1: share of women among nurses. pi0: share of women among surgeons; where both are the same, pronouns say nothing
    and the gap is 0. rho: how much of the evidence is hidden; the more, the more weight a good model gives to the pronoun.
    p: share of nurses. Knobs outside their range raise DataError.
    """
    return Biographies(pi1=pi1, pi0=pi0, rho=rho, p=p)
