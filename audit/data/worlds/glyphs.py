"""The glyph world: drawn faces that smile or frown, whose skin is dark or light and whose hair is long or short."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.core import Codes, Dataset, Floats, Ints, Origin
from audit.data.images import Images
from audit.data.worlds.additive import LinearForm
from audit.data.worlds.base import Draw, bounded, counted, source
from audit.registry import world

SIDE = 32
CLASSES = ("frown", "smile")
TONES, HAIRS = ("dark", "light"), ("long", "short")
RANGES = ((0.22, 0.38), (0.62, 0.90))  # of the tone, evenly spread, of dark and of light skin
COLOUR = np.array([1.0, 0.82, 0.68])  # red, green and blue of skin of tone 1
BACKGROUND, MOUTH, HAIR, EYES = 0.5, 0.10, 0.08, 0.05
THICK = 0.9  # half the thickness of the mouth
CHIN = 2  # below this row of the face long hair casts its shadow
PATCH = (slice(0, 4), slice(0, 4))  # rows and columns of the corner that may give the label away
KNOBS = {
    "p_dark": "(0, 1)",
    "p_long": "(0, 1)",
    "noise": "(0, inf)",
    "exposure": "(0, inf)",
    "shadow": "[0, 1)",
    "patch": "[0, 1]",
    "jitter": "[0, 2]",
    "outline": "[0, 1]",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Glyphs:
    """The glyph world with its knobs; see `glyphs`."""

    p_dark: float
    p_long: float
    noise: float
    exposure: float
    shadow: float
    patch: float
    jitter: float
    outline: float = 0.0

    def __post_init__(self) -> None:
        for knob, allowed in KNOBS.items():
            bounded(knob, getattr(self, knob), allowed)

    def draw(self, rows: int, rng: np.random.Generator) -> Dataset:
        """A dataset of `rows` faces with label, tone, hair, mask and twins."""
        return self.sample(rows, rng).dataset

    def sample(self, rows: int, rng: np.random.Generator) -> Draw:
        """Faces with their latent factors and, each, the same face with skin of the other tone.

        latent: y, light, short (0 or 1), shade in [0, 1) within the range of the tone, right and down (pixels that the face
        lies off the middle), patched (0 or 1).
        """
        counted(rows)
        reach = int(self.jitter)
        drawn = {
            "y": rng.integers(0, 2, rows),
            "light": rng.random(rows) >= self.p_dark,
            "short": rng.random(rows) >= self.p_long,
            "shade": rng.random(rows),
            "right": rng.integers(-reach, reach + 1, rows),
            "down": rng.integers(-reach, reach + 1, rows),
            "patched": rng.random(rows) < self.patch,
        }
        latent = {name: np.asarray(values, dtype=np.float64) for name, values in drawn.items()}
        noise = self.noise * rng.standard_normal((rows, 3, SIDE, SIDE))
        mask = self.drawn(latent) if int(self.outline) else np.broadcast_to(self.seen(), (rows, SIDE, SIDE))
        inputs = Images(values=self.clean(latent) + noise, mask=mask)
        twin = Images(values=self.clean(latent | {"light": 1 - latent["light"]}) + noise, mask=mask)
        groups = {"tone": ("light", TONES), "hair": ("short", HAIRS)}
        dataset = Dataset(
            inputs=inputs,
            twin=twin,
            twin_of="tone",
            groups={
                name: Codes(values=latent[of].astype(np.uint8), levels=each) for name, (of, each) in groups.items()
            },
            origin=Origin(name="world: glyphs", source=source(self)),
            y=drawn["y"].astype(np.int64),
            classes=CLASSES,
        )
        return Draw(dataset=dataset, latent=latent, twin=twin)

    def clean(self, latent: Mapping[str, Floats]) -> Floats:
        """The pictures (n, 3, 32, 32) of latent factors (n,) before noise."""
        whole = {name: each.astype(np.int64) for name, each in latent.items() if name != "shade"}
        low, high = np.array(RANGES)[whole["light"]].T
        tone = low + (high - low) * latent["shade"]
        found = np.empty((len(tone), 3, SIDE, SIDE))
        kinds = np.stack([whole[name] for name in ("y", "light", "short", "right", "down")], axis=1)
        for y, light, short, right, down in np.unique(kinds, axis=0):
            rows = np.flatnonzero((kinds == (y, light, short, right, down)).all(axis=1))
            still, skin = self.parts(y=y, light=light, short=short, right=right, down=down)
            found[rows] = still + tone[rows, None, None, None] * skin
        for y in (0, 1):
            found[((whole["patched"] == 1) & (whole["y"] == y)).nonzero()[0], :, *PATCH] = float(y)
        return found

    def parts(self, *, y: int, light: int, short: int, right: int, down: int) -> tuple[Floats, Floats]:
        """What a picture without patch is of: (3, 32, 32) that is there anyway, and (3, 32, 32) times the tone of the skin."""
        across, below = places(right, down)
        face = (across / 10) ** 2 + (below / 12) ** 2 <= 1
        still = np.full((SIDE, SIDE), BACKGROUND)
        if not short:
            still[((across / 12) ** 2 + (below / 14) ** 2 <= 1) & (below <= 8)] = HAIR
        still[face] = 0.0
        bare = face.astype(np.float64)
        if not short:
            bare[below > CHIN] *= 1 - self.shadow
        inks = ((face & (below <= -7), HAIR), ((abs(abs(across) - 4) <= 1) & (abs(below + 2) <= 1), EYES))
        for place, ink in (*inks, (mouth(y, across, below), MOUTH)):
            still[place], bare[place] = ink, 0.0
        gain = 1.0 if light else self.exposure
        return np.repeat(gain * still[None], 3, axis=0), gain * COLOUR[:, None, None] * bare

    def shifts(self) -> tuple[tuple[int, int], ...]:
        """All places of the face, each as likely as any other: pixels to the right and down."""
        reach = range(-int(self.jitter), int(self.jitter) + 1)
        return tuple(product(reach, reach))

    def seen(self) -> NDArray[np.bool_]:
        """Where a smile differs from a frown (32, 32), in any of the places that a face may have."""
        found = np.zeros((SIDE, SIDE), dtype=np.bool_)
        for shift in self.shifts():
            found |= mouth(0, *places(*shift)) ^ mouth(1, *places(*shift))
        return found

    def drawn(self, latent: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
        """The pixels (n, 32, 32) of the mouth that is drawn in each face of latent factors (n,)."""
        kinds = np.stack([latent[name] for name in ("y", "right", "down")], axis=1)
        found = np.zeros((len(kinds), SIDE, SIDE), dtype=np.bool_)
        for y, right, down in np.unique(kinds, axis=0):
            found[(kinds == (y, right, down)).all(axis=1)] = mouth(y, *places(right, down))
        return found

    def oracle(self) -> LinearForm:
        """Fisher's linear discriminant of the pixels of the mask, from the exact means and covariance; nought elsewhere.

        Where faces do not move it is the matched filter of the mouth. It is scaled so that the mean logits of smiles and
        frowns are 3 and -3: its decisions are exact, its probabilities are not calibrated.
        """
        from audit.data.worlds.glyphs_truth import discriminant

        return discriminant(self)

    def truth(self) -> Mapping[str, float]:
        """Exact quantities of the population under the oracle's decisions (probability 1/2 or more), and the best of all.

        base_rate, selection_rate, tpr, fpr and accuracy: overall, as NAME.dark and NAME.light, as NAME.long and NAME.short
        and as NAME.dark.long, ...; demographic_parity_difference, equal_opportunity_difference and accuracy_difference
        (light less dark; as .hair and .tone.hair the largest less the smallest). bayes_accuracy with the same endings:
        the best that can be reached, by whoever knows the face, where it lies, its hair and its tone, but not the label:
        Φ(‖Δ‖ / 2 noise), where Δ is a clean smile less the clean frown of the same face, on the mean over tones;
        bayes_accuracy_difference. counterfactual_logit: the mean change of the oracle's logit were a dark face light.
        """
        from audit.data.worlds.glyphs_truth import truth

        return truth(self)


def places(right: int, down: int) -> tuple[Ints, Ints]:
    """How far each pixel (32, 32) lies right of and below the middle of a face that lies off the middle of the picture."""
    below, across = np.mgrid[:SIDE, :SIDE] - SIDE // 2
    return across - right, below - down


def mouth(y: int, across: Ints, below: Ints) -> NDArray[np.bool_]:
    """Where the mouth of a smile (y = 1) or a frown (y = 0) is drawn: a parabola five pixels to either side."""
    curve = 6 + (1 if y == 0 else -1) * 2 * ((across / 5) ** 2 - 0.5)
    return np.asarray((abs(across) <= 5) & (abs(below - curve) <= THICK))


@world("glyphs", title="Drawn faces whose mouths are harder to see on dark skin", sources=("buolamwini2018",))
def glyphs(
    *,
    p_dark: float = 0.15,
    p_long: float = 0.5,
    noise: float = 0.18,
    exposure: float = 1.0,
    shadow: float = 0.0,
    patch: float = 0.0,
    jitter: float = 1.0,
    outline: float = 0.0,
) -> Glyphs:
    """A face of 32 x 32 pixels in three colours smiles or frowns; both are as likely, whatever its tone and its hair.

    The skin is tone x (1, .82, .68), with a tone from .22 to .38 where it is dark and from .62 to .90 where it is light,
    in an ellipse before a background of .5. Mouth (.10), hair (.08) and eyes (.05) are drawn with the same ink on every
    skin, so the contrast falls with the tone; last comes normal noise. The mask is where a smile differs from a frown.

    p_dark: share of dark skin; the fewer, the less a network learns of them. p_long: share of long hair. noise: sd of every
    pixel's error; at .8 the best accuracy on dark skin is .78, at .18 all can be told apart. exposure: brightness of the
    pictures of dark faces; below 1 they are underexposed. shadow: how far long hair darkens the lower face, 0 not at all;
    it hits dark faces with long hair most. patch: how often a patch in the corner, white for a smile and black for a
    frown, gives the label away: spurious, and not in the mask. jitter: pixels that a face may lie off the middle either
    way (rounded down); then the mask covers all places. outline: at 1 the mask of each face is the mouth drawn in it, for
    models that mark it; the oracle then looks beyond the mask wherever another face may have its mouth. Knobs outside
    their range raise DataError.
    """
    return Glyphs(
        p_dark=p_dark,
        p_long=p_long,
        noise=noise,
        exposure=exposure,
        shadow=shadow,
        patch=patch,
        jitter=jitter,
        outline=outline,
    )
