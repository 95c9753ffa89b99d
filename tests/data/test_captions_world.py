"""The world of captions: its truth against draws and brute force, its oracle against enumeration."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from audit.core import DataError
from audit.data.captioned import Captioned
from audit.data.texts import tokenised
from audit.data.worlds.captions import CAPTIONS, OCCUPATIONS, VOCABULARY, captions, person
from audit.data.worlds.captions_truth import GALLERY, TOP
from audit.fairness.ranking import ndkl, skew
from audit.subject import fingerprint

SETTINGS = [{}, {"doctor": 0.6, "lawyer": 0.6, "teacher": 0.55, "nurse": 0.9, "share": 0.35, "noise": 0.5}]


@pytest.fixture(scope="module", params=SETTINGS, ids=["default", "other"])
def drawn(request):
    world = captions(**request.param)
    return world, world.sample(16 * GALLERY, np.random.default_rng(3))


def test_the_reference_associations():
    truth = captions().truth()
    found = [truth[f"association.{name}"] for name in OCCUPATIONS]
    assert np.allclose(found, [-1.78, -0.43, 0.41, 1.80], atol=0.006)


def test_truth_agrees_with_draws(drawn):
    world, draw = drawn
    truth, data = world.truth(), draw.dataset
    y, decided = data.y == 1, world.oracle().logit(data.inputs.values) > 0
    tone = data.groups["tone"].values
    for suffix, inside in (("", tone >= 0), (".light", tone == 0), (".dark", tone == 1)):
        for name, hit, among in (
            ("base_rate", y, inside),
            ("selection_rate", decided, inside),
            ("accuracy", decided == y, inside),
            ("tpr", decided, inside & y),
            ("fpr", decided, inside & ~y),
        ):
            each = hit[among].astype(float)
            assert abs(each.mean() - truth[name + suffix]) < 4 * each.std() / np.sqrt(len(each)) + 1e-12, name + suffix
    assert truth["demographic_parity_difference"] == truth["selection_rate.dark"] - truth["selection_rate.light"]
    assert truth["equal_opportunity_difference"] == truth["tpr.dark"] - truth["tpr.light"]


def test_auc_agrees_with_draws(drawn):
    world, draw = drawn
    score = world.oracle().logit(draw.dataset.inputs.values).round(9)
    each = [roc_auc_score(y, part) for y, part in zip(np.split(draw.dataset.y, 16), np.split(score, 16), strict=True)]
    assert abs(np.mean(each) - world.truth()["auc"]) < 4 * np.std(each) / 4


def test_pmi_agrees_with_counts_of_true_pairs(drawn):
    world, draw = drawn
    true = draw.dataset.y == 1
    said, dark = draw.latent["said"][true], draw.latent["dark"][true]
    assert (draw.latent["occupation"][true] == said).all()
    for (o, name), (tone, level) in itertools.product(enumerate(OCCUPATIONS), enumerate(("light", "dark"))):
        n, given, overall = (said == o).sum(), (dark[said == o] == tone).mean(), (dark == tone).mean()
        error = np.sqrt((1 - given) / (given * n) + (1 - overall) / (overall * len(dark)))
        assert abs(np.log(given / overall) - world.truth()[f"pmi.{level}.{name}"]) < 4 * error


def test_retrieval_agrees_with_galleries_that_are_ranked(drawn):
    world, draw = drawn
    scores = world.oracle().match(draw.dataset.inputs.images.values, tokenised(CAPTIONS, VOCABULARY).ids).round(9)
    tone, truth = draw.dataset.groups["tone"].values, world.truth()
    for o, name in enumerate(OCCUPATIONS):
        found = []
        for score, group in zip(np.split(scores[:, o], 16), np.split(tone, 16), strict=True):
            found.append((skew(score, TOP, sensitive_features=group).max(), ndkl(score, sensitive_features=group)))
        mean, error = np.mean(found, axis=0), np.std(found, axis=0) / 4
        assert (np.abs(mean - [truth[f"max_skew.{name}"], truth[f"ndkl.{name}"]]) < 4 * error + 1e-9).all()


def test_the_picture_shows_the_tone_and_nothing_else(drawn):
    world, draw = drawn
    images, form = draw.dataset.inputs.images, world.oracle()
    assert np.allclose(form.seen(images.values), draw.latent["dark"], atol=1e-9)
    assert (images.mask == person()).all()
    assert not form.weights[:, ~person()].any()
    moved = draw.twin.images.values - images.values
    assert not moved[:, :, ~person()].any()
    assert np.allclose(form.seen(draw.twin.images.values), 1 - draw.latent["dark"], atol=1e-9)
    assert (draw.twin.texts.ids == draw.dataset.inputs.texts.ids).all()


def test_oracle_is_the_posterior_by_enumeration():
    world = captions(**SETTINGS[1])
    rows = world.sample(50, np.random.default_rng(0))
    for x, dark, said in zip(rows.dataset.inputs.values, rows.latent["dark"], rows.latent["said"], strict=True):
        p = world.dark if dark else 1 - world.dark
        true, apart = world.share * p[int(said)] / 4, (1 - world.share) * p.mean() / 4
        assert world.oracle().logit(x[None])[0] == pytest.approx(np.log(true / apart), abs=1e-9)


def test_shapley_truth_by_enumeration():
    rng = np.random.default_rng(1)
    data = captions().draw(4, rng)
    form, x = captions().oracle(), data.inputs.values
    place = np.arange(773)
    parts = [place < 384, (place >= 384) & (place < 768), *(place == word for word in range(768, 773))]
    behind = x[1:3]
    truth = form.shapley_truth(x[:1], behind)[0]
    for player, part in enumerate(parts):
        others, total = [other for k, other in enumerate(parts) if k != player], []
        for there in itertools.product((False, True), repeat=len(others)):
            held = np.any([np.zeros(773, bool), *itertools.compress(others, there)], axis=0)
            weight = 1 / (len(parts) * math.comb(len(others), sum(there)))
            gain = form.logit(np.where(held | part, x[0], behind)) - form.logit(np.where(held, x[0], behind))
            total.append(weight * gain.mean())
        assert truth[part].sum() == pytest.approx(sum(total), abs=1e-9)


def test_same_generator_same_rows():
    first, second = (captions().draw(20, np.random.default_rng(5)) for _ in range(2))
    assert (first.inputs.values == second.inputs.values).all()
    assert (first.y == second.y).all()


def test_where_all_occupations_are_alike_nothing_is_ranked():
    truth = captions(doctor=0.4, lawyer=0.4, teacher=0.4, nurse=0.4).truth()
    assert truth["auc"] == pytest.approx(0.5)
    assert not any(name.startswith(("max_skew", "ndkl", "tpr")) for name in truth)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [({"nurse": 1.0}, "nurse must lie in"), ({"noise": -1}, "noise must be 0 or more"), ({"share": "x"}, "a number")],
)
def test_wrong_knobs(knobs, message):
    with pytest.raises(DataError, match=message):
        captions(**knobs)


def test_pairs_need_as_many_texts_as_pictures():
    data = captions().draw(3, np.random.default_rng(0))
    with pytest.raises(DataError, match="3 pictures, 2 texts"):
        Captioned(images=data.inputs.images, texts=data.inputs.texts.take(np.arange(2)))
    part = data.inputs.take(np.array([2, 0]))
    assert (part.values == data.inputs.values[[2, 0]]).all()
    assert part.pixels == 768


def test_the_fingerprint_reads_pictures_and_words():
    data = captions().draw(5, np.random.default_rng(0))
    images, texts = data.inputs.images, data.inputs.texts
    other = Captioned(images=images.with_values(images.values + 1e-9), texts=texts)
    words = Captioned(images=images, texts=texts.with_ids(texts.ids[::-1], texts.words))
    found = {fingerprint(replace(data, inputs=inputs)) for inputs in (data.inputs, other, words)}
    assert len(found) == 3
