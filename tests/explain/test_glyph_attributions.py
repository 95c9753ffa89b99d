"""On faces whose mouth decides, and nothing else, explanations of the oracle point at the mouth and at nothing else."""

import numpy as np
import pytest
from subjects import context_of

from audit.core import DataSpec, ModelSpec, Spec
from audit.data.images import Images
from audit.data.worlds.base import planted
from audit.explain import game, integrated_gradients, saliency, shapley
from audit.explain.quality.localisation import localisation, pixels, relevance_mass
from audit.models.adapters.oracle import oracle
from audit.subject import assemble


@pytest.fixture(scope="module", params=[{"jitter": 0.0}, {"jitter": 1.0, "patch": 0.8, "shadow": 0.3}])
def faces(request):
    spec = Spec(model=ModelSpec(kind="oracle"), data=DataSpec(world="glyphs", knobs=request.param))
    draw = planted(spec.data).draw(12, np.random.default_rng(0))
    return draw, planted(spec.data).oracle(), oracle(spec, draw), spec


def test_gradients_lie_wholly_inside_the_mask(faces):
    draw, _, model, _ = faces
    inputs, background = draw.inputs.take(np.arange(6)), draw.inputs.take(np.arange(6, 12))
    played = game(model, inputs, background, link="logit", players="pixels")
    for explain in (integrated_gradients, saliency):
        found = pixels(explain(played))
        mask = inputs.mask.reshape(6, -1)
        assert np.abs(found[~mask]).max() == 0
        assert np.abs(found[mask]).max() > 0
        np.testing.assert_array_equal(relevance_mass(np.abs(found), mask), np.ones(6))


def test_shapley_values_of_a_grid_are_the_sums_of_the_truth_and_nought_off_the_mask(faces):
    """A square that touches the mask may hold something; every other square holds exactly nothing."""
    draw, form, model, _ = faces
    inputs, background = draw.inputs.take(np.arange(3)), draw.inputs.take(np.arange(6, 12))
    played = game(model, inputs, background, link="logit", players="grid", size=8, fill="background")
    found = shapley(played, budget=256)
    owner = played.masker.owners()
    each = form.shapley_truth(inputs.values, background.values)
    for row in range(3):
        place = np.broadcast_to(owner[row], each[row].shape)
        known = np.bincount(place.ravel(), weights=each[row].ravel(), minlength=found.values.shape[1])
        np.testing.assert_allclose(found.values[row], known, atol=1e-6)
        touching = np.unique(place[:, inputs.mask[row]])
        apart = np.setdiff1d(np.arange(found.values.shape[1]), touching)
        assert len(apart) > len(touching)
        assert np.abs(found.values[row, apart]).max() < 1e-6


def test_the_check_of_places_finds_the_relevance_of_the_oracle_at_the_mask(faces):
    """It spreads what a square holds over all of its pixels, so squares at the edge of the mask lie partly outside."""
    draw, _, model, spec = faces
    found = list(localisation(assemble(spec, draw, model), context_of(), rows=5, background=4, link="logit"))
    mass = {each.where["explainer"]: each.value for each in found if each.name == "relevance_mass"}
    area = next(each.value for each in found if each.name == "mask_area")
    assert 0 < area < 0.07
    for explainer in ("input_x_gradient", "saliency", "smooth_grad", "integrated_gradients", "shapley"):
        assert mass[explainer] > 8 * area, explainer


def test_what_is_drawn_again_has_no_mask():
    draw = planted(DataSpec(world="glyphs")).draw(2, np.random.default_rng(0))
    assert isinstance(draw.inputs, Images)
    assert draw.inputs.with_values(draw.inputs.values).mask is None
