"""The exact moments and rates of the glyph world, by quadrature over tones and in full over everything else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from audit.core import Floats
from audit.data.worlds.additive import LinearForm
from audit.data.worlds.scores import difference, gaps, rates

if TYPE_CHECKING:
    from audit.data.worlds.glyphs import Glyphs

NODES = 64  # of the tone


def truth(world: Glyphs) -> Mapping[str, float]:
    """See `Glyphs.truth`."""
    from audit.data.worlds.glyphs import HAIRS, TONES

    cells, best = decided(world), informed(world)
    share = np.outer((world.p_dark, 1 - world.p_dark), (world.p_long, 1 - world.p_long))
    weighed = share[..., None, None] * cells
    values: dict[str, float] = {}
    for tone, hair in product((None, 0, 1), (None, 0, 1)):
        inside = np.ix_([0, 1] if tone is None else [tone], [0, 1] if hair is None else [hair])
        names = ([] if tone is None else [TONES[tone]]) + ([] if hair is None else [HAIRS[hair]])
        suffix = "".join(f".{name}" for name in names)
        values |= rates(weighed[inside].sum(axis=(0, 1)), suffix)
        values[f"bayes_accuracy{suffix}"] = float((share * best)[inside].sum() / share[inside].sum())
    for name, rate in (("demographic_parity", "selection_rate"), ("equal_opportunity", "tpr")):
        values |= difference(values, f"{name}_difference", f"{rate}.light", f"{rate}.dark")
    both = tuple(f"{tone}.{hair}" for tone, hair in product(TONES, HAIRS))
    values |= gaps(values, HAIRS, "hair") | gaps(values, both, "tone.hair")
    for rate in ("accuracy", "bayes_accuracy"):
        values |= difference(values, f"{rate}_difference", f"{rate}.light", f"{rate}.dark")
        for name, levels in (("hair", HAIRS), ("tone.hair", both)):
            each = [values[f"{rate}.{level}"] for level in levels]
            values[f"{rate}_difference.{name}"] = max(each) - min(each)
    return values | {"counterfactual_logit": _counterfactual(world)}


def decided(world: Glyphs) -> Floats:
    """P(label, decision of the oracle | tone, hair) (2, 2, 2, 2): the logit is normal around what a clean face has."""
    from scipy.special import ndtr

    tones, mass = _tones()
    sd = world.noise * np.linalg.norm(world.oracle().weights)
    found = np.zeros((2, 2, 2, 2))
    for light, short, y in product((0, 1), repeat=3):
        start, slope = _logits(world, y=y, light=light, short=short)
        above = float((ndtr((start[:, None] + slope[:, None] * tones[light]) / sd) @ mass).mean())
        found[light, short, y] = np.array([1 - above, above]) / 2
    return found


def informed(world: Glyphs) -> Floats:
    """The best accuracy (2, 2) on a tone and hair of whoever knows everything of a face but its label."""
    from scipy.special import ndtr

    from audit.data.worlds.glyphs import COLOUR, MOUTH, PATCH, SIDE, mouth, places

    tones, mass = _tones()
    differ = mouth(0, *places(0, 0)) ^ mouth(1, *places(0, 0))
    patch = np.zeros((SIDE, SIDE))
    patch[PATCH] = 1.0
    found = np.zeros((2, 2))
    for light, short in product((0, 1), repeat=2):
        gain = 1.0 if light else world.exposure
        bare = 1.0 if short else 1 - world.shadow
        contrast = gain * (bare * tones[light][:, None] * COLOUR - MOUTH)
        drawn = differ.sum() * (contrast**2).sum(axis=1)
        for share, more in ((1 - world.patch, 0.0), (world.patch, 3 * patch.sum())):
            found[light, short] += share * float(mass @ ndtr(np.sqrt(drawn + more) / (2 * world.noise)))
    return found


def _tones() -> tuple[Floats, Floats]:
    """Nodes (2, k) of the tone of dark and of light skin, and their masses (k,)."""
    from audit.data.worlds.glyphs import RANGES

    nodes, mass = np.polynomial.legendre.leggauss(NODES)
    low, high = np.array(RANGES).T
    return low[:, None] + (high - low)[:, None] * (nodes + 1) / 2, mass / 2


def _logits(world: Glyphs, *, y: int, light: int, short: int) -> tuple[Floats, Floats]:
    """The oracle's logit of clean faces is start + slope tone, in each of the places (p,)."""
    form = world.oracle()
    parts = [world.parts(y=y, light=light, short=short, right=right, down=down) for right, down in world.shifts()]
    start = np.array([(form.weights * still).sum() for still, _ in parts]) + form.bias
    return start, np.array([(form.weights * skin).sum() for _, skin in parts])


def _counterfactual(world: Glyphs) -> float:
    """The mean change of the oracle's logit were a dark face light, shade for shade: logits are linear in the tone."""
    from audit.data.worlds.glyphs import RANGES

    total = 0.0
    for short, share in ((0, world.p_long), (1, 1 - world.p_long)):
        for y in (0, 1):
            for light, sign in ((0, -1), (1, 1)):
                start, slope = _logits(world, y=y, light=light, short=short)
                total += share / 2 * sign * float((start + slope * sum(RANGES[light]) / 2).mean())
    return total


@lru_cache(maxsize=16)
def discriminant(world: Glyphs) -> LinearForm:
    """See `Glyphs.oracle`: weights inside the mask are (C + noise² 1)⁻¹ (mean smile - mean frown)."""
    from audit.data.worlds.glyphs import SIDE

    mask = world.seen()
    size = 3 * int(mask.sum())
    means, second, shares = np.zeros((2, size)), np.zeros((size, size)), np.zeros(2)
    for y, share, mean, spread in _moments(world):
        means[y] += share * mean
        shares[y] += share
        second += share * (np.outer(mean, mean) + np.outer(spread, spread))
    means /= shares[:, None]
    within = second - (means.T * shares) @ means + world.noise**2 * np.eye(size)
    inside = np.linalg.solve(within, means[1] - means[0])
    inside *= 6 / float(inside @ (means[1] - means[0]))
    weights = np.zeros((3, SIDE, SIDE))
    weights[:, mask] = inside.reshape(3, -1)
    return LinearForm(weights=weights, bias=-float(inside @ means.sum(axis=0)) / 2)


def _moments(world: Glyphs) -> Iterator[tuple[int, float, Floats, Floats]]:
    """Label, share, mean of the clean pixels of the mask and their step for a standard deviation of the tone, in each kind of face."""
    from audit.data.worlds.glyphs import RANGES

    mask, shifts = world.seen(), world.shifts()
    tones, hairs = (world.p_dark, 1 - world.p_dark), (world.p_long, 1 - world.p_long)
    for y, light, short, (right, down) in product((0, 1), (0, 1), (0, 1), shifts):
        still, skin = world.parts(y=y, light=light, short=short, right=right, down=down)
        low, high = RANGES[light]
        mean = still + (low + high) / 2 * skin
        share = tones[light] * hairs[short] / 2 / len(shifts)
        yield y, share, mean[:, mask].ravel(), skin[:, mask].ravel() * (high - low) / np.sqrt(12)
