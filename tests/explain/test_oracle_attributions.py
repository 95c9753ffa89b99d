"""Explanations of the planted worlds' oracles against the worlds' own closed forms, and shap's."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from little_models import context, subject

from audit.core import DataSpec, Measure, MissingOffer, ModelError, ModelSpec, Spec
from audit.data.worlds.base import planted
from audit.explain import game, integrated_gradients, shapley
from audit.explain.quality.truth import truth
from audit.models.adapters.oracle import form_of, module, oracle

WORLDS = [
    ("credit", {}),
    ("credit", {"omega": 0.8, "race": 1.0, "noise": 0.5}),
    ("rules", {"noise": 0.1}),
    ("rules", {"strength": 0.3}),
    ("long_tail", {"share": 0.3}),
]


def of(world, knobs, rows):
    """A draw of the world, its form, and its oracle behind the protocol."""
    spec = Spec(model=ModelSpec(kind="oracle"), data=DataSpec(world=world, knobs=knobs))
    draw = planted(spec.data).draw(rows, np.random.default_rng(0))
    return draw, planted(spec.data).oracle(), oracle(spec, draw)


@pytest.mark.parametrize(("world", "knobs"), WORLDS)
def test_the_module_is_the_form_and_gives_it_back(world, knobs):
    draw, form, model = of(world, knobs, 500)
    logit = form.logit(draw.inputs.values)
    with torch.no_grad():
        np.testing.assert_allclose(model.module(torch.tensor(draw.inputs.values)).numpy(), logit, atol=1e-12)
    np.testing.assert_allclose(model.predict(draw.inputs), 1 / (1 + np.exp(-logit)), atol=1e-14)
    assert form_of(model) == form
    assert all(each.dtype == torch.float64 for each in model.module.parameters())


@pytest.mark.parametrize(("world", "knobs"), WORLDS[:4])
def test_shapley_values_are_the_truth(world, knobs):
    draw, form, model = of(world, knobs, 300)
    inputs, background = draw.inputs.take(np.arange(40)), draw.inputs.take(np.arange(40, 300))
    played = game(model, inputs, background, link="logit")
    known = form.shapley_truth(inputs.values, background.values)
    np.testing.assert_allclose(shapley(played).values, known, atol=1e-6)
    idle = [form.columns.index(name) for name in ("n1", "n2")]
    assert np.abs(known[:, idle]).max() == 0


@pytest.mark.parametrize(("world", "knobs"), WORLDS[2:])
def test_shapley_values_are_those_of_shap(world, knobs):
    draw, form, _ = of(world, knobs, 40)
    x, background = draw.inputs.values[:4], draw.inputs.values[4:16]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import shap

        # all coalitions: the peer is exact
        peer = shap.KernelExplainer(form.logit, background, seed=0)
        theirs = peer.shap_values(x, nsamples=2 ** x.shape[1], silent=True, l1_reg=False)
    np.testing.assert_allclose(form.shapley_truth(x, background), theirs, atol=1e-6)


@pytest.mark.parametrize("omega", [0.0, 0.8])
def test_integrated_gradients_recover_their_own_truth(omega):
    draw, form, model = of("credit", {"omega": omega}, 400)
    inputs, background = draw.inputs.take(np.arange(60)), draw.inputs.take(np.arange(60, 400))
    played = game(model, inputs, background, link="logit")
    found = integrated_gradients(played).values
    np.testing.assert_allclose(found, form.gradients_truth(inputs.values, background.values.mean(axis=0)), atol=1e-9)
    apart = np.abs(found - form.shapley_truth(inputs.values, background.values)).max()
    assert (apart > 1e-3) == bool(omega)


def test_rules_have_no_gradients_and_say_so():
    draw, form, model = of("rules", {}, 50)
    assert model.offers == {"rules"}
    assert model.rules() == form.rules
    decided = model.predict(draw.inputs) >= 0.5
    np.testing.assert_array_equal(model.rules().decide(draw.inputs.values), decided)
    assert form.gradients_truth(draw.inputs.values, draw.inputs.values[0]) is None
    leaf, forward = model.attribution_point(draw.inputs)
    with pytest.raises(MissingOffer, match="no gradient reaches the inputs"):
        forward(leaf)
    with pytest.raises(ModelError, match=r"must be one of LogisticForm, RuleForm, .*got int"):
        module(3)


@pytest.mark.parametrize(("world", "knobs"), [("credit", {"race": 1.0}), ("rules", {"noise": 0.1}), ("long_tail", {})])
def test_the_check_of_truth_runs_on_every_world(world, knobs):
    draw, _, model = of(world, knobs, 300)
    found = list(truth(replace(subject(model, draw.inputs), data=draw), context(), rows=6, background=8, repeats=2))
    errors = {
        e.where["explainer"]: e.value for e in found if isinstance(e, Measure) and e.name == "mean_absolute_error"
    }
    if world != "long_tail":  # twelve columns have more coalitions than the check may spend
        assert errors["shapley"] == pytest.approx(0, abs=1e-9)
    assert ("integrated_gradients" in errors) == (world == "credit")
    assert "shapley" in errors
