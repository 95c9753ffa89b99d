"""The world of occupations: sentences whose pronoun depends on the occupation alone, for models of language."""

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

# The share of women in each occupation at skew = 1 and shift = 0; mirror images of each other around one half.
SHARES: Mapping[str, float] = {
    "plumber": 0.05,
    "engineer": 0.15,
    "pilot": 0.25,
    "surgeon": 0.35,
    "lawyer": 0.45,
    "editor": 0.55,
    "teacher": 0.65,
    "librarian": 0.75,
    "nurse": 0.85,
    "secretary": 0.95,
}
CLASSES = ("he", "she")  # y = 1: the pronoun is "she"
LEVELS = ("female", "male")  # what the occupation is held to be
TIMES, SAYS = ("yesterday", "today", "later", "often"), ("said", "wrote", "claimed", "noted")
DOES, THINGS = ("left", "saw", "liked", "found"), ("office", "garden", "report", "letter")
# What stands at each place; None for what is drawn.
TEMPLATE = (None, "the", None, None, "that", None, None, "the", None, ".")
TIME, OCCUPATION, SAY, PRONOUN, DO, THING = 0, 2, 3, 5, 6, 8
VOCABULARY = (
    *(PAD, UNKNOWN, MASK),
    *(".", "that", "the"),
    *CLASSES,
    *TIMES,
    *SAYS,
    *DOES,
    *THINGS,
    *SHARES,
)
ID: Mapping[str, int] = {token: id for id, token in enumerate(VOCABULARY)}
KNOBS = {"skew": "[0, inf)", "shift": "(-inf, inf)"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Occupations:
    """The world of occupations with its knobs; see `occupations`."""

    skew: float
    shift: float

    def __post_init__(self) -> None:
        for knob, allowed in KNOBS.items():
            bounded(knob, getattr(self, knob), allowed)

    def draw(self, rows: int, rng: np.random.Generator) -> Dataset:
        """A dataset of `rows` sentences with their pronoun, what their occupation is held to be, and twins."""
        return self.sample(rows, rng).dataset

    def sample(self, rows: int, rng: np.random.Generator) -> Draw:
        """Sentences and, each, the same one about the occupation with the mirror image of its share of women.

        latent: occupation, its number in SHARES, and chance, P(she | occupation).
        """
        counted(rows)
        occupation = rng.integers(len(SHARES), size=rows)
        chance = self.chances()[occupation]
        y = (rng.random(rows) < chance).astype(np.int64)
        ids = np.tile([0 if token is None else ID[token] for token in TEMPLATE], (rows, 1))
        for place, tokens in ((TIME, TIMES), (SAY, SAYS), (DO, DOES), (THING, THINGS)):
            ids[:, place] = _ids(tokens)[rng.integers(len(tokens), size=rows)]
        ids[:, PRONOUN] = _ids(CLASSES)[y]
        ids[:, OCCUPATION] = _ids(tuple(SHARES))[occupation]
        other = ids.copy()
        other[:, OCCUPATION] = _ids(tuple(SHARES))[len(SHARES) - 1 - occupation]
        twin = texts(other)
        dataset = Dataset(
            inputs=texts(ids),
            twin=twin,
            groups={"stereotype": Codes(values=self._held()[occupation], levels=LEVELS)},
            origin=Origin(name="world: occupations", source=source(self)),
            y=y,
            classes=CLASSES,
        )
        return Draw(dataset=dataset, latent={"occupation": occupation.astype(np.float64), "chance": chance}, twin=twin)

    def chances(self) -> Floats:
        """P(she | occupation) (10,) in the order of SHARES."""
        return sigmoid(self._log_odds())

    def _log_odds(self) -> Floats:
        return np.array([self.skew * math.log(share / (1 - share)) + self.shift for share in SHARES.values()])

    def _held(self) -> Ints:
        """The level (10,) that each occupation belongs to, whatever the knobs."""
        return (np.array(list(SHARES.values())) < 0.5).astype(np.uint8)

    def oracle(self) -> TokenForm:
        """The log-odds of "she" at the pronoun's place: those of the occupation; the pronoun itself is not read.

        Where the occupation is replaced by [MASK], the log-odds are `shift`: at shift = 0 the posterior given the rest.
        """
        weights = np.zeros(len(VOCABULARY))
        weights[_ids(tuple(SHARES))] = self._log_odds() - self.shift
        return TokenForm(weights=weights, bias=self.shift)

    def posterior(self, data: Dataset) -> Floats:
        """P(she | all of the text but the pronoun) (n,): the oracle's own."""
        return sigmoid(self.oracle().logit(data.inputs.values))  # type: ignore[union-attr]

    def strata(self) -> tuple[Stratum, ...]:
        """P(she | occupation) of the five occupations on either side."""
        chance, held = self.chances(), self._held()
        return tuple(
            Stratum(levels={"stereotype": level}, chance=chance[held == k], mass=np.full(5, 1 / len(SHARES)))
            for k, level in enumerate(LEVELS)
        )

    def truth(self) -> Mapping[str, float]:
        """Exact quantities under the Bayes decision ("she" where its chance is 1/2 or more).

        p_she.OCCUPATION: the chance of "she"; pronoun_entropy: of the pronoun given the rest, and sentence_entropy: of a
        whole sentence, both in nats (what a language model cannot better). base_rate, selection_rate, tpr, fpr and
        accuracy: overall, as NAME.female and NAME.male (what the occupation is held to be);
        demographic_parity_difference and equal_opportunity_difference (male less female); auc of the posterior;
        counterfactual_logit, the mean change of the log-odds were an occupation held to be male its mirror image, and
        counterfactual_flip_rate. A rate over nobody is left out.
        """
        chance, held = self.chances(), self._held()
        values = {f"p_she.{name}": float(each) for name, each in zip(SHARES, chance, strict=True)}
        inside = chance[(chance > 0) & (chance < 1)]
        entropy = float(-(inside * np.log(inside) + (1 - inside) * np.log1p(-inside)).sum() / len(chance))
        others = math.log(len(SHARES)) + sum(math.log(len(each)) for each in (TIMES, SAYS, DOES, THINGS))
        values |= {"pronoun_entropy": entropy, "sentence_entropy": entropy + others}
        values |= counted_out(self.strata(), "stereotype", LEVELS)
        odds = self._log_odds()
        values["counterfactual_logit"] = float((odds[::-1] - odds)[held == 1].mean())
        values["counterfactual_flip_rate"] = float(((chance >= 0.5) != (chance[::-1] >= 0.5)).mean())
        return values


def texts(ids: Ints) -> Texts:
    """Texts of ids (n, tokens) in the vocabulary of the world, every token a word."""
    words = np.broadcast_to(np.arange(ids.shape[1]), ids.shape)
    return Texts(ids=ids, words=words, vocabulary=VOCABULARY, pad=ID[PAD], mask=ID[MASK])


def _ids(tokens: Sequence[str]) -> Ints:
    return np.array([ID[token] for token in tokens])


@world("occupations", title="Pronouns that depend on the occupation", sources=("rudinger2018",))
def occupations(*, skew: float = 1.0, shift: float = 0.0) -> Occupations:
    """In "yesterday the nurse said that she left the office ." only the occupation tells whether it is "she" or "he".

    Ten occupations, all alike likely, with P(she) of .05, .15, ... .95; all other words are drawn evenly and say nothing.
    y = 1 where the pronoun is "she"; the protected attribute "stereotype" is what the occupation is held to be (female
    from one half on); the twin of a sentence is the same one about the occupation with the mirror image of its share.

    The contract with models of language. Every text holds its pronoun ("she" or "he"), always at the place PRONOUN (5)
    of TEMPLATE, and nowhere else, so whole sentences are there to train on: to predict masked tokens, the next token, or
    the sentence from one whose pronoun is replaced by [MASK]. What such a model predicts for a text is
    P(she) / (P(she) + P(he)) at that place, without reading the pronoun that stands there: a masked model reads [MASK] in
    its place, a causal one reads what stands before, an encoder is given [MASK] there and the decoder what stands
    before. So `predict` gives the same whichever pronoun the text holds, and equals P(she | occupation) where the model
    has learned the world. A model finds the place in its training data, as the one place that holds a pronoun in every
    text, and keeps it.

    skew: a factor on the log-odds of every occupation; 0 makes all of them even, 2 doubles them. shift: added to the
    log-odds of every occupation. Knobs outside their range raise DataError.
    """
    return Occupations(skew=skew, shift=shift)
