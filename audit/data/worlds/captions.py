"""The world of captions: pictures of people of a light or a dark tone, and the occupation that is said of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from audit.core import Codes, Dataset, Floats, Ints, Origin
from audit.data.captioned import Captioned
from audit.data.images import Images
from audit.data.texts import Texts, tokenised
from audit.data.worlds.base import Draw, bounded, counted, source
from audit.data.worlds.matching import MatchForm
from audit.registry import world

OCCUPATIONS = ("doctor", "lawyer", "teacher", "nurse")
CAPTIONS = tuple(f"a photo of a {occupation}" for occupation in OCCUPATIONS)
VOCABULARY = ("[PAD]", "[UNK]", "[MASK]", "a", "of", "photo", *OCCUPATIONS)
LEVELS = ("light", "dark")
CLASSES = ("mismatched", "matched")
SIDE, RADII = 16, (5.0, 6.0)  # pixels a side; the person's half width and half height
TONES, SKIN, GROUND = (0.75, 0.3), (1.0, 0.82, 0.68), 0.5
KNOBS = dict.fromkeys((*OCCUPATIONS, "share"), "(0, 1)") | {"noise": "[0, inf)"}


@cache
def person() -> np.ndarray:
    """Where the person is (height, width)."""
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    return np.asarray((x / RADII[0]) ** 2 + (y / RADII[1]) ** 2 <= 1)


@cache
def shades() -> Floats:
    """A picture (2, channels, height, width) of a person of each tone, without noise."""
    tone = np.array(TONES)[:, None, None, None] * np.array(SKIN)[:, None, None]
    return np.where(person(), tone, GROUND)


@dataclass(frozen=True, slots=True, kw_only=True)
class Captions:
    """The world of captions with its knobs; see `captions`."""

    doctor: float
    lawyer: float
    teacher: float
    nurse: float
    share: float
    noise: float

    def __post_init__(self) -> None:
        for knob, allowed in KNOBS.items():
            bounded(knob, getattr(self, knob), allowed)

    @property
    def dark(self) -> Floats:
        """P(dark | occupation) (4,)."""
        return np.array([getattr(self, occupation) for occupation in OCCUPATIONS])

    @property
    def pmi(self) -> Floats:
        """Log P(tone | occupation) / P(tone) (2, 4): how much likelier a tone and an occupation meet than by chance."""
        given = np.stack([1 - self.dark, self.dark])
        return np.asarray(np.log(given / given.mean(axis=1, keepdims=True)))

    def draw(self, rows: int, rng: np.random.Generator) -> Dataset:
        """A dataset of `rows` pictures with a caption each, whether they belong together, tone and twins."""
        return self.sample(rows, rng).dataset

    def sample(self, rows: int, rng: np.random.Generator) -> Draw:
        """Pairs with their latent factors and, each, the same picture and caption with the other tone."""
        counted(rows)
        occupation = rng.integers(0, len(OCCUPATIONS), rows)
        dark = (rng.random(rows) < self.dark[occupation]).astype(np.int64)
        true = rng.random(rows) < self.share
        said = np.where(true, occupation, rng.integers(0, len(OCCUPATIONS), rows))
        noise = self._texture(rows, rng)
        texts = captions_of(said)
        inputs, twin = (
            Captioned(images=Images(values=shades()[tone] + noise, mask=np.tile(person(), (rows, 1, 1))), texts=texts)
            for tone in (dark, 1 - dark)
        )
        dataset = Dataset(
            inputs=inputs,
            twin=twin,
            groups={"tone": Codes(values=dark.astype(np.uint8), levels=LEVELS)},
            origin=Origin(name="world: captions", source=source(self)),
            y=true.astype(np.int64),
            classes=CLASSES,
        )
        latent = {"occupation": occupation, "said": said, "dark": dark}
        return Draw(dataset=dataset, latent={k: v.astype(np.float64) for k, v in latent.items()}, twin=twin)

    def _texture(self, rows: int, rng: np.random.Generator) -> Floats:
        """Noise (n, channels, height, width) that leaves the tone: none along the way from one to the other."""
        noise = self.noise * rng.standard_normal((rows, *shades().shape[1:]))
        way = shades()[1] - shades()[0]
        along = noise.reshape(rows, -1) @ way.ravel() / (way**2).sum()
        return np.asarray(noise - along[:, None, None, None] * way)

    def oracle(self) -> MatchForm:
        """The world's own log-odds: PMI of tone and occupation, and odds of a true pair; other words say nothing."""
        light, dark = shades()
        way, pmi = dark - light, self.pmi
        gains, bases = np.zeros((2, len(VOCABULARY)))
        gains[-len(OCCUPATIONS) :] = pmi[1] - pmi[0]
        bases[-len(OCCUPATIONS) :] = pmi[0]
        weights = way / (way**2).sum()
        bias = float(np.log(self.share / (1 - self.share)))
        return MatchForm(weights=weights, offset=-float((weights * light).sum()), gains=gains, bases=bases, bias=bias)

    def truth(self) -> Mapping[str, float]:
        """Exact quantities under the oracle's decisions (probability 1/2 or more), tone by tone and caption by caption.

        base_rate, selection_rate, tpr, fpr and accuracy: overall, as NAME.light and NAME.dark;
        demographic_parity_difference and equal_opportunity_difference (dark less light); auc of the oracle.
        pmi.TONE.OCCUPATION; association.OCCUPATION: the PMI with dark less that with light, less the mean of that over
        the occupations. max_skew.OCCUPATION (of the first 100) and ndkl.OCCUPATION: their means over galleries of 1,000
        pictures drawn from the world and ranked by the oracle's match with the caption; left out where every picture
        matches alike. Rates are left out where a decision hangs on rounding.
        """
        from audit.data.worlds.captions_truth import truth

        return truth(self)


def captions_of(said: Ints) -> Texts:
    """The captions (n) of occupations given by their numbers."""
    every = tokenised(CAPTIONS, VOCABULARY)
    return every.take(said)


@world("captions", title="Captions that tie a tone to an occupation", sources=("oord2018", "berg2022"))
def captions(
    *,
    doctor: float = 0.1,
    lawyer: float = 0.3,
    teacher: float = 0.5,
    nurse: float = 0.8,
    share: float = 0.5,
    noise: float = 0.1,
) -> Captions:
    """Pictures (3, 16, 16) of a light or dark person, and captions such as "a photo of a nurse": are they a pair?

    In a true pair the occupation is one of four, each as likely, and the tone of the picture is drawn given it; in a
    mismatched one the caption is drawn by itself. So nothing but the tone tells whether they match, and the best score
    is their pointwise mutual information (PMI). The person is an ellipse in the middle, tone * (1, .82, .68) on grey.

    doctor, lawyer, teacher, nurse: P(dark | occupation); where all are equal, nothing can be told. share: of pairs that
    are true. noise: standard deviation of a texture over the whole picture, which leaves the tone as it is.
    """
    return Captions(doctor=doctor, lawyer=lawyer, teacher=teacher, nurse=nurse, share=share, noise=noise)
