"""Pictures with captions as players: the oracle's closed form, one side or both, and what a page shows of them."""

import numpy as np
import pytest
from little_models import context
from subjects import find

from audit import codec
from audit.core import DataError, UsageError
from audit.data.worlds.captions import captions, person
from audit.explain import game, lime, shapley
from audit.explain.attention_maps import leave_one_out
from audit.explain.captioned_views import sides
from audit.explain.cases import cases
from audit.explain.masking import masker
from audit.explain.quality.truth import truth
from audit.models.adapters.oracle import form_of, module, oracle
from audit.subject import assemble

SPEC = codec.spec_from_toml('[model]\nkind = "oracle"\n[data]\nworld = "captions"\n[groups]\nattributes = ["tone"]\n')
TAKEN = {"both": "both", "picture": "picture", "word": "words"}


@pytest.fixture(scope="module")
def drawn():
    data = captions().draw(60, np.random.default_rng(0))
    return data, oracle(SPEC, data), captions().oracle()


def of(drawn, unit, fill=None, **options):
    data, model, form = drawn
    inputs, behind = data.inputs.take(np.arange(4)), data.inputs.take(np.arange(10, 13))
    size = None if unit == "word" else 8
    return game(model, inputs, behind, link="logit", players=unit, fill=fill, size=size, **options), form


def filled(game):
    """What the background is: rows that fill in, as one pair's values each (k, d)."""
    masker = game.masker
    nobody = np.zeros((1, len(masker.players[0])), dtype=bool)
    return masker.fill(np.array([0]), nobody).values


@pytest.mark.parametrize("unit", ["both", "picture", "word"])
@pytest.mark.parametrize("fill", ["average", "background"])
def test_shapley_values_are_the_closed_form(drawn, unit, fill):
    played, form = of(drawn, unit, fill)
    found = shapley(played, budget=600, seed=0)
    truth = form.shapley_truth(played.masker.inputs.values, filled(played), taken=TAKEN[unit])
    np.testing.assert_allclose(found.values, played.masker.pool(truth), atol=1e-6)
    assert np.abs(found.delta).max() < 1e-6


@pytest.mark.parametrize("fill", ["average", "background"])
def test_occlusion_is_the_closed_form(drawn, fill):
    played, form = of(drawn, "both", fill)
    truth = played.masker.pool(form.occlusion_truth(played.masker.inputs.values, filled(played)))
    squares, found = len(played.masker.players[0]) - 5, leave_one_out(played)
    np.testing.assert_allclose(found, truth, atol=1e-6)
    assert np.abs(found[:, squares : squares + 4]).max() < 1e-9  # "a photo of a" says nothing


def test_the_whole_attribution_lies_on_the_person_and_the_occupation(drawn):
    data, model, _ = drawn
    played = game(model, data.inputs.take(np.arange(3)), data.inputs, link="logit", size=1)
    found = leave_one_out(played)
    picture, words = found[:, :256], found[:, 256:]
    assert np.abs(picture[:, ~person().ravel()]).max() < 1e-9
    assert (np.abs(picture[:, person().ravel()]).sum(axis=1) > 0.01).all()
    assert (np.abs(words).argmax(axis=1) == 4).all()
    assert np.abs(words[:, :4]).max() < 1e-9


def test_lime_finds_the_occupation(drawn):
    played, _ = of(drawn, "word")
    found = lime(played, seed=0)
    assert (np.abs(found.values).argmax(axis=1) == 4).all()


def test_the_module_is_the_form_and_gives_it_back(drawn):
    data, model, form = drawn
    again = form_of(model)
    assert np.array_equal(again.weights, form.weights)
    assert np.array_equal(again.gains, form.gains)
    assert (again.offset, again.bias) == (form.offset, form.bias)
    assert type(module(form)) is type(model.module)
    logit = np.log(model.predict(data.inputs) / (1 - model.predict(data.inputs)))
    np.testing.assert_allclose(logit, form.logit(data.inputs.values), atol=1e-9)
    crossed = model.match(data.inputs.images, data.inputs.texts)
    np.testing.assert_allclose(np.diag(crossed), logit, atol=1e-9)  # half of the pairs are true: no prior odds


def test_what_is_absent_is_filled_in_and_nothing_else(drawn):
    played, _ = of(drawn, "both", "background")
    filler = played.masker
    coalitions = np.random.default_rng(0).random((5, len(filler.players[0]))) < 0.5
    found = filler.fill(np.array([2, 0]), coalitions).values.reshape(2, 5, 3, -1)
    there = coalitions[:, filler.owners()[0]]
    for place, row in enumerate((2, 0)):
        for c in range(5):
            for k in range(3):
                expected = np.where(there[c], filler.inputs.values[row], filler.rows.values[k])
                np.testing.assert_array_equal(found[place, c, k], expected)


def test_words_become_the_mask_and_squares_the_mean_picture(drawn):
    data = drawn[0]
    filler = masker(data.inputs.take(np.arange(2)), data.inputs.take(np.arange(5)))
    nobody = filler.fill(np.array([0]), np.zeros((1, len(filler.players[0])), dtype=bool))
    np.testing.assert_allclose(nobody.images.values[0], data.inputs.images.values[:5].mean(axis=0))
    assert nobody.texts.tokens(0) == ("[MASK]",) * 5
    assert filler.players[0][-5:-1] == ("a (1)", "photo", "of", "a (2)")
    assert filler.fillings == 1
    assert filler.width == 773
    stays = masker(data.inputs.take(np.arange(2)), data.inputs, players="picture")
    kept = stays.fill(np.array([1]), np.zeros((1, len(stays.players[1])), dtype=bool))
    assert kept.texts.tokens(0) == data.inputs.texts.tokens(1)


def test_superpixels_of_rows_with_different_numbers_of_players(drawn):
    pytest.importorskip("skimage")
    data = drawn[0]
    filler = masker(data.inputs.take(np.arange(6)), data.inputs, players="slic", size=9)
    counts = [len(names) for names in filler.players]
    for count in set(counts):
        rows = np.flatnonzero(np.array(counts) == count)
        everyone = filler.fill(rows, np.ones((1, count), dtype=bool))
        np.testing.assert_array_equal(everyone.values, filler.inputs.values[rows])


def test_both_sides_add_up_to_the_whole(drawn):
    played, _ = of(drawn, "both")
    found = shapley(played, budget=600, seed=0)
    for row in range(4):
        picture, words = sides(found, played.masker.inputs, row)
        total = picture.values.sum() + words.values.sum()
        assert total == pytest.approx(found.outputs[row] - found.base[row], abs=1e-6)
        assert picture.owners.shape == (1, 3, 16, 16)
        assert len(words.players[0]) == 5
    alone, _ = of(drawn, "word")
    assert sides(shapley(alone, budget=100, seed=0), alone.masker.inputs, 0)[0] is None


def test_cases_show_the_map_and_the_words_together(drawn):
    data, model, _ = drawn
    subject = assemble(SPEC, data, model)
    found = list(cases(subject, context(), rows=2, budget=200))
    assert [each.name for each in found[:3]] == ["picture", "shap", "shap_caption"]
    assert [each.view for each in found[:3]] == ["image", "image", "tokens"]
    assert "a photo of a" in found[0].title
    assert [row[0] for row in found[2].rows][:4] == ["a", "photo", "of", "a"]
    assert "the words together" in found[2].note


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"players": "sentence"}, UsageError, "one of both, picture, word, slic"),
        ({"fill": "delete"}, UsageError, "one of average, mean"),
        ({"players": "word", "size": 2}, UsageError, "have none"),
    ],
)
def test_wrong_options(drawn, options, error, message):
    with pytest.raises(error, match=message):
        masker(drawn[0].inputs, **options)


def test_a_background_of_another_kind(drawn):
    inputs = drawn[0].inputs
    with pytest.raises(DataError, match="other such pairs, got Images"):
        masker(inputs, inputs.images)


def test_the_check_of_truth_knows_the_shapley_values(drawn):
    data, model, _ = drawn
    found = list(truth(assemble(SPEC, data, model), context(), rows=3, background=6, repeats=1))
    agree = find(found, "rank_correlation_with_shapley", explainer="shapley").value
    error = find(found, "mean_absolute_error", explainer="shapley")
    assert error.value < 0.02
    assert agree > 0.8
