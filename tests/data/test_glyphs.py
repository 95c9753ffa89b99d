"""The glyph world: its truth against draws and in closed form, twins, knobs, mask, and an oracle that looks there alone."""

import itertools
import math

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from audit.core import DataError, DataSpec
from audit.data.worlds.base import planted
from audit.data.worlds.glyphs import COLOUR, MOUTH, PATCH, RANGES, SIDE, glyphs, mouth, places

HARD = {"p_dark": 0.4, "p_long": 0.3, "noise": 0.4, "exposure": 0.7, "shadow": 0.4, "patch": 0.3, "jitter": 1.0}


def draw(rows=64, seed=0, **knobs):
    return glyphs(**knobs).sample(rows, np.random.default_rng(seed))


def cells(latent):
    """The rows of every combination of tone and hair, by the ending that the truth gives them."""
    for tone, hair in itertools.product((None, "dark", "light"), (None, "long", "short")):
        inside = np.ones(len(latent["y"]), dtype=bool)
        inside &= True if tone is None else latent["light"] == (tone == "light")
        inside &= True if hair is None else latent["short"] == (hair == "short")
        yield "".join(f".{name}" for name in (tone, hair) if name), inside


@pytest.mark.parametrize("knobs", [{"noise": 0.5}, HARD])
def test_truth_agrees_with_draws(knobs):
    """The noise of a linear form is one normal number a row, so many clean faces can be drawn cheaply."""
    world, rng = glyphs(**knobs), np.random.default_rng(1)
    truth, form = world.truth(), world.oracle()
    shifts = world.shifts()
    ways = itertools.product((0, 1), (0, 1), (0, 1), shifts)
    parts = [world.parts(y=y, light=a, short=h, right=right, down=down) for y, a, h, (right, down) in ways]
    sums = np.array([[(form.weights * part).sum() for part in pair] for pair in parts]).reshape(2, 2, 2, len(shifts), 2)
    rows = 400_000
    latent = {
        "y": rng.integers(0, 2, rows),
        "light": (rng.random(rows) >= world.p_dark).astype(int),
        "short": (rng.random(rows) >= world.p_long).astype(int),
    }
    place = rng.integers(0, len(shifts), rows)
    shade = rng.random(rows)

    def logit(light):
        low, high = np.array(RANGES)[light].T
        start, slope = sums[latent["y"], light, latent["short"], place].T
        return start + slope * (low + (high - low) * shade) + form.bias

    error = world.noise * np.linalg.norm(form.weights) * rng.standard_normal(rows)
    here, decided = logit(latent["light"]), logit(latent["light"]) + error >= 0
    y = latent["y"] == 1
    found = {}
    for suffix, inside in cells(latent):
        found |= {f"base_rate{suffix}": y[inside], f"selection_rate{suffix}": decided[inside]}
        found |= {f"accuracy{suffix}": (decided == y)[inside]}
        found |= {f"tpr{suffix}": decided[inside & y], f"fpr{suffix}": decided[inside & ~y]}
    found["counterfactual_logit"] = (logit(np.ones(rows, int)) - logit(np.zeros(rows, int)))[:100_000]
    assert np.isfinite(here).all()
    for name, each in found.items():
        assert abs(each.mean() - truth[name]) <= 4 * each.std() / math.sqrt(len(each)) + 1e-12, name
    assert truth["accuracy_difference"] == pytest.approx(truth["accuracy.light"] - truth["accuracy.dark"])
    both = [truth[f"accuracy.{tone}.{hair}"] for tone in ("dark", "light") for hair in ("long", "short")]
    assert truth["accuracy_difference.tone.hair"] == pytest.approx(max(both) - min(both))


@pytest.mark.parametrize("knobs", [{}, {"noise": 0.6, "patch": 0.5, "shadow": 0.3}])
def test_whole_pictures_have_the_logits_that_the_truth_counts(knobs):
    drawn, world = draw(1000, 3, **knobs), glyphs(**knobs)
    logit, y = world.oracle().logit(drawn.dataset.inputs.values), drawn.dataset.y
    truth = world.truth()
    for suffix, inside in cells(drawn.latent):
        right = ((logit >= 0) == y)[inside]
        assert abs(right.mean() - truth[f"accuracy{suffix}"]) <= 4 * max(right.std(), 0.03) / math.sqrt(len(right))


def test_the_best_accuracy_is_that_of_the_published_formula_on_fixed_faces():
    truth = glyphs(noise=0.8, jitter=0.0).truth()
    differ = int((mouth(0, *places(0, 0)) ^ mouth(1, *places(0, 0))).sum())
    assert differ == 22
    for level, (low, high) in zip(("dark", "light"), RANGES, strict=True):
        tones = np.linspace(low, high, 2001)
        contrast = np.linalg.norm(tones[:, None] * COLOUR - MOUTH, axis=1) * math.sqrt(differ)
        best = np.trapezoid(norm.cdf(contrast / 1.6), tones) / (high - low)
        assert truth[f"bayes_accuracy.{level}"] == pytest.approx(best, abs=1e-6)
    assert truth["bayes_accuracy.dark"] == pytest.approx(0.78, abs=0.01)
    assert truth["bayes_accuracy.light"] == pytest.approx(0.996, abs=0.002)
    # A filter that knows neither tone nor hair loses hardly anything where faces do not move.
    assert truth["bayes_accuracy"] - 5e-4 < truth["accuracy"] <= truth["bayes_accuracy"]


def test_the_best_accuracy_is_what_the_likelihood_ratio_of_known_faces_reaches():
    world = glyphs(**HARD)
    drawn, truth = draw(1500, 5, **HARD), world.truth()
    other = drawn.latent | {"y": 1 - drawn.latent["y"]}
    pictures, here, there = drawn.dataset.inputs.values, world.clean(drawn.latent), world.clean(other)
    right = ((pictures - here) ** 2).sum(axis=(1, 2, 3)) < ((pictures - there) ** 2).sum(axis=(1, 2, 3))
    for suffix, inside in cells(drawn.latent):
        best = truth[f"bayes_accuracy{suffix}"]
        assert abs(right[inside].mean() - best) <= 4 * math.sqrt(best * (1 - best) / inside.sum())


def test_every_knob_does_what_it_says():
    plain = glyphs(noise=0.5).truth()
    assert glyphs(noise=0.7).truth()["bayes_accuracy.dark"] < plain["bayes_accuracy.dark"]
    dim = glyphs(noise=0.5, exposure=0.5).truth()
    assert dim["bayes_accuracy.dark"] < plain["bayes_accuracy.dark"]
    assert dim["bayes_accuracy.light"] == plain["bayes_accuracy.light"]
    shaded = glyphs(noise=0.5, shadow=0.4).truth()
    lost = {
        cell: plain[f"bayes_accuracy.{cell}"] - shaded[f"bayes_accuracy.{cell}"] for cell in ("dark.long", "light.long")
    }
    assert lost["dark.long"] > lost["light.long"] > 0
    assert shaded["bayes_accuracy.dark.short"] == plain["bayes_accuracy.dark.short"]
    assert glyphs(noise=0.5, patch=1.0).truth()["bayes_accuracy"] == pytest.approx(1, abs=1e-6)
    assert glyphs(noise=0.5, patch=0.5).truth()["accuracy"] == plain["accuracy"]  # the oracle does not look at it
    assert glyphs(noise=0.5, jitter=0.0).truth()["accuracy"] > plain["accuracy"]
    few = draw(1000, p_dark=0.05, p_long=0.9).dataset.groups
    assert abs((few["tone"].values == 0).mean() - 0.05) < 0.03
    assert abs((few["hair"].values == 0).mean() - 0.9) < 0.04


def test_the_patch_copies_the_label_and_lies_outside_the_mask():
    drawn = draw(300, patch=0.5, noise=0.01)
    corner = drawn.dataset.inputs.values[:, :, *PATCH].mean(axis=(1, 2, 3))
    there = drawn.latent["patched"] == 1
    assert 0.4 < there.mean() < 0.6
    np.testing.assert_allclose(corner[there], drawn.dataset.y[there], atol=0.02)
    np.testing.assert_allclose(corner[~there], 0.5, atol=0.02)
    assert not drawn.dataset.inputs.mask[:, *PATCH].any()


def test_the_mask_is_where_a_smile_differs_from_a_frown():
    for knobs in ({"jitter": 0.0}, {"jitter": 1.9}, {"jitter": 2.0, "shadow": 0.5}):
        world, drawn = glyphs(**knobs), draw(400, **knobs)
        frown, smile = (world.clean(drawn.latent | {"y": np.full(400, y)}) for y in (0.0, 1.0))
        differ = (frown != smile).any(axis=(0, 1))
        np.testing.assert_array_equal(differ, world.seen())
        np.testing.assert_array_equal(drawn.dataset.inputs.mask, np.broadcast_to(differ, (400, SIDE, SIDE)))


def test_twins_differ_in_tone_alone_and_keep_their_noise():
    drawn = draw(50, noise=0.3, exposure=0.8)
    world = glyphs(noise=0.3, exposure=0.8)
    turned = drawn.latent | {"light": 1 - drawn.latent["light"]}
    change = world.clean(turned) - world.clean(drawn.latent)
    np.testing.assert_allclose(drawn.twin.values - drawn.dataset.inputs.values, change, atol=1e-12)
    assert draw(5, seed=2).dataset.inputs.values.tolist() == draw(5, seed=2).dataset.inputs.values.tolist()


@pytest.mark.parametrize("jitter", [0.0, 1.0])
def test_all_that_the_oracle_explains_lies_inside_the_mask(jitter):
    drawn, form = draw(40, jitter=jitter), glyphs(jitter=jitter).oracle()
    x, mask = drawn.dataset.inputs.values, drawn.dataset.inputs.mask[:, None]
    for found in (form.gradients_truth(x, x.mean(axis=0)), form.shapley_truth(x, x[:8]), form.slopes(x)):
        assert np.abs(found * mask).sum() == np.abs(found).sum() > 0
    expected = (form.logit(x) - form.logit(x[:8]).mean())[:, None]
    np.testing.assert_allclose(form.shapley_truth(x, x[:8]).reshape(40, -1).sum(axis=1)[:, None], expected)


def test_the_oracle_is_fishers_discriminant_of_the_mask():
    """Its direction is what scikit-learn finds on many faces."""
    world = glyphs(noise=0.4)
    drawn = draw(1000, 7, noise=0.4)
    clean = np.concatenate([world.clean(drawn.latent), world.clean(drawn.latent | {"y": 1 - drawn.latent["y"]})])
    y = np.concatenate([drawn.latent["y"], 1 - drawn.latent["y"]])
    inside = clean[:, :, world.seen()].reshape(len(clean), -1)
    means = [inside[y == label].mean(axis=0) for label in (0, 1)]
    within = inside - np.stack(means)[y.astype(int)]
    lda = LinearDiscriminantAnalysis(solver="lsqr", covariance_estimator=Known(within, 0.4)).fit(inside, y)
    own = world.oracle().weights[:, world.seen()].ravel()
    cosine = lda.coef_[0] @ own / np.linalg.norm(lda.coef_) / np.linalg.norm(own)
    assert cosine > 0.98


class Known:
    """An estimator of covariance that adds the noise that is known."""

    def __init__(self, within, noise):
        self.covariance_ = within.T @ within / len(within) + noise**2 * np.eye(within.shape[1])

    def fit(self, x):
        return self


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"p_drak": 0.1}, "no knob 'p_drak'.*did you mean 'p_dark'"),
        ({"p_dark": 0.0}, r"p_dark must lie in \(0, 1\), got 0.0"),
        ({"noise": 0.0}, "noise must be more than 0, got 0.0"),
        ({"exposure": -1.0}, "exposure must be more than 0, got -1.0"),
        ({"shadow": 1.0}, r"shadow must lie in \[0, 1\), got 1.0"),
        ({"patch": 1.1}, r"patch must lie in \[0, 1\], got 1.1"),
        ({"jitter": 3.0}, r"jitter must lie in \[0, 2\], got 3.0"),
    ],
)
def test_knobs_that_are_refused(knobs, message):
    with pytest.raises(DataError, match=message):
        planted(DataSpec(world="glyphs", knobs=knobs))
    with pytest.raises(DataError, match="a world draws 1 or more"):
        glyphs().draw(0, np.random.default_rng(0))
