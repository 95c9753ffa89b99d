"""The corpus world: sentences in which words of gender keep company with words of work and of home."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from audit.core import Codes, Dataset, Floats, Ints, Origin
from audit.data.texts import MASK, PAD, UNKNOWN, Texts
from audit.data.worlds.additive import TokenForm
from audit.data.worlds.base import Draw, bounded, counted, source
from audit.registry import world

FEMALE = ("she", "her", "woman", "girl")
MALE = ("he", "him", "man", "boy")  # each the counterpart of the female word in its place
CAREER = ("office", "salary", "business", "career")
FAMILY = ("home", "children", "wedding", "family")
NEUTRAL = ("table", "river", "stone", "cloud", "paper", "window", "bottle", "garden")
WORDS = (*FEMALE, *MALE, *CAREER, *FAMILY, *NEUTRAL)
VOCABULARY = (PAD, UNKNOWN, MASK, *WORDS)
LEVELS = ("female", "male")
CLASSES = ("career", "family")
LEANING = np.array([-1.0, -1 / 3, 1 / 3, 1.0])  # of the words of a topic, with `spread`
KNOBS = {"q": "(0, 1)", "p": "(0, 1)", "spread": "[0, 1)"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """The corpus world with its knobs; see `corpus`."""

    q: float
    p: float
    spread: float

    def __post_init__(self) -> None:
        for knob, allowed in KNOBS.items():
            bounded(knob, getattr(self, knob), allowed)

    def draw(self, rows: int, rng: np.random.Generator) -> Dataset:
        """A dataset of `rows` sentences with topic, gender and twins."""
        return self.sample(rows, rng).dataset

    def sample(self, rows: int, rng: np.random.Generator) -> Draw:
        """Sentences, each with the same sentence in words of the other gender; latent: male and family (rows,), 0 or 1."""
        counted(rows)
        male = (rng.random(rows) < self.p).astype(np.int64)
        family = (rng.random(rows) < np.where(male, 1 - self.q, self.q)).astype(np.int64)
        about = rng.integers(0, 4, (rows, 2))
        chance = np.cumsum(self._targets()[male, family], axis=1)
        topic = (rng.random((rows, 2, 1)) > chance[:, None, :3]).sum(axis=2)
        neutral = rng.integers(0, 8, (rows, 2))
        order = rng.permuted(np.tile(np.arange(6), (rows, 1)), axis=1)

        def written(gender: Ints) -> Texts:
            places = np.concatenate(
                [about + 4 * gender[:, None], 8 + topic + 4 * family[:, None], 16 + neutral], axis=1
            )
            ids = np.take_along_axis(places, order, axis=1) + len(VOCABULARY) - len(WORDS)
            numbers = np.tile(np.arange(6), (rows, 1))
            return Texts(ids=ids, words=numbers, vocabulary=VOCABULARY, pad=0, mask=2)

        inputs, twin = written(male), written(1 - male)
        dataset = Dataset(
            inputs=inputs,
            twin=twin,
            groups={"gender": Codes(values=male.astype(np.uint8), levels=LEVELS)},
            origin=Origin(name="world: corpus", source=source(self)),
            y=family,
            classes=CLASSES,
        )
        latent = {"male": male.astype(np.float64), "family": family.astype(np.float64)}
        return Draw(dataset=dataset, latent=latent, twin=twin)

    def _targets(self) -> Floats:
        """P(word | gender, topic) (2, 2, 4) of the four words of a topic."""
        lean = self.spread * LEANING
        # The words that lean to their topic's own gender are those that speak of it more often in that gender's sentences.
        return np.array([[1 - lean, 1 + lean], [1 + lean, 1 - lean]]) / 4

    def oracle(self) -> TokenForm:
        """The log-odds of the topic "family" by the words of gender alone: half of log(q / (1 - q)) for each of the two.

        The words of the topics are in the sentence and would tell its topic; they weigh nothing here, and so the score is
        what the writer of the corpus expects of a woman or a man before the topic is spoken of.
        """
        weights = np.zeros(len(VOCABULARY))
        half = math.log(self.q / (1 - self.q)) / 2
        weights[[VOCABULARY.index(word) for word in FEMALE]] = half
        weights[[VOCABULARY.index(word) for word in MALE]] = -half
        return TokenForm(weights=weights)

    def together(self) -> Floats:
        """The exact chance (24, 24) that two different places of a sentence, drawn at random, hold two words of `WORDS`."""
        total = np.zeros((len(WORDS), len(WORDS)))
        neutral = _placed(16, np.full(8, 1 / 8))
        for gender, share in enumerate((1 - self.p, self.p)):
            about = _placed(4 * gender, np.full(4, 1 / 4))
            home = self.q if gender == 0 else 1 - self.q
            topics = [_placed(8 + 4 * t, self._targets()[gender, t]) for t in range(2)]
            chances = (1 - home, home)
            topic = chances[0] * topics[0] + chances[1] * topics[1]
            both = sum(chance * np.outer(each, each) for chance, each in zip(chances, topics, strict=True))
            same = np.outer(about, about) + both + np.outer(neutral, neutral)
            other = np.outer(about, topic) + np.outer(about, neutral) + np.outer(topic, neutral)
            total += share * (2 * same + 4 * (other + other.T)) / 30
        return total

    def positive_pmi(self) -> Floats:
        """The exact positive pointwise mutual information (24, 24) of the words: max(0, log P(w, v) / P(w) P(v))."""
        joint = self.together()
        alone = joint.sum(axis=1)
        ratio = joint / np.outer(alone, alone)
        return np.log(np.maximum(ratio, 1.0))

    def truth(self) -> Mapping[str, float]:
        """Exact quantities of the sentences, and of the association of their words.

        effect_size, mean_difference: the word embedding association test (caliskan2017) of career against family words
        with male against female ones, on the rows of the exact positive PMI; without `spread` all words of a set are
        alike, so the effect size is 2 √(7/8) = 1.871, or -1.871 for q below a half, however weak the association is.
        base_rate: share of sentences on family; selection_rate, tpr, fpr, accuracy of the oracle's decisions
        (probability 1/2 or more), overall and as NAME.female and NAME.male; demographic_parity_difference (male less
        female); counterfactual_logit: how the oracle's log-odds change where a sentence on a woman is one on a man.
        Rates over nobody, and the effect size where no word leans, are left out.
        """
        return {**self._rates(), **self._association()}

    def _rates(self) -> dict[str, float]:
        chosen = {"female": float(self.q >= 0.5), "male": float(self.q <= 0.5)}
        base = {"female": self.q, "male": 1 - self.q}
        share = {"female": 1 - self.p, "male": self.p}
        right = {name: base[name] if chosen[name] else 1 - base[name] for name in chosen}
        overall = sum(share[name] * base[name] for name in share)
        found = {"base_rate": overall, "selection_rate": sum(share[name] * chosen[name] for name in share)}
        found["tpr"] = sum(share[name] * base[name] * chosen[name] for name in share) / overall
        found["fpr"] = sum(share[name] * (1 - base[name]) * chosen[name] for name in share) / (1 - overall)
        found["accuracy"] = sum(share[name] * right[name] for name in share)
        for name in share:
            found |= {f"base_rate.{name}": base[name], f"accuracy.{name}": right[name]}
            found |= {f"{rate}.{name}": chosen[name] for rate in ("selection_rate", "tpr", "fpr")}
        found["demographic_parity_difference"] = chosen["male"] - chosen["female"]
        found["counterfactual_logit"] = -2 * math.log(self.q / (1 - self.q))
        return found

    def _association(self) -> dict[str, float]:
        rows = self.positive_pmi()
        unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        near = unit[8:16] @ unit[:8].T
        leaning = near[:, 4:].mean(axis=1) - near[:, :4].mean(axis=1)
        difference = float(leaning[:4].mean() - leaning[4:].mean())
        spread = float(leaning.std(ddof=1))
        found = {"mean_difference": difference}
        return found | ({"effect_size": difference / spread} if spread > 1e-12 else {})


def _placed(start: int, chances: Floats) -> Floats:
    """Chances (24,) of all words from those of the words that begin at `start`."""
    found = np.zeros(len(WORDS))
    found[start : start + len(chances)] = chances
    return found


@world("corpus", title="Corpus in which gender keeps company with work and home", sources=("caliskan2017", "levy2014"))
def corpus(*, q: float = 0.8, p: float = 0.5, spread: float = 0.0) -> Corpus:
    """Sentences of six words in any order: two of one gender, two of one topic (career or family), two neutral ones.

    The label is the topic, the group the gender. 24 words: four of each gender, four of each topic, eight neutral; words
    of a kind are drawn alike and independently. The topic depends on the gender alone.

    q: the share of women's sentences that are on family, and of men's that are on career. p: share of men's sentences.
    spread: how far the words of a topic differ in whose sentences they are used, 0 for not at all: the chance of the four
    career words is 1/4 (1 + c spread) in men's and 1/4 (1 - c spread) in women's sentences, c = -1, -1/3, 1/3, 1, and of
    the family words the other way round. Knobs outside their range raise DataError.
    """
    return Corpus(q=q, p=p, spread=spread)
