"""Parts of sequences, texts and pictures against closed forms, and the check of truth on them."""

from dataclasses import replace

import numpy as np
import pytest
from little_models import context, subject

from audit.core import Codes, Dataset, DataSpec, Measure, ModelSpec, NotApplicable, Origin, Spec, Table
from audit.data.images import Images
from audit.data.texts import tokenised
from audit.data.worlds.additive import LinearForm, TokenForm
from audit.data.worlds.base import planted
from audit.data.worlds.payments import COLUMNS
from audit.explain import additive_shapley, expected_gradients, game, integrated_gradients, masker, shapley, value_table
from audit.explain.masking.series import repeated
from audit.explain.quality.truth import truth
from audit.models.adapters.oracle import module, oracle
from audit.models.adapters.torch import with_facts, wrap

CELL = ("step", "window", "column", "cell")
IDLE = [COLUMNS.index(name) for name in ("season", "gap")]


@pytest.fixture(scope="module")
def drawn():
    spec = Spec(model=ModelSpec(kind="oracle"), data=DataSpec(world="payments", knobs={"steps": 12}))
    world = planted(spec.data)
    data = world.draw(40, np.random.default_rng(1))
    return data, world.oracle(), oracle(spec, data)


@pytest.fixture(params=CELL)
def played(request, drawn):
    """A game of parts of sequences: size 4 where a part has one, so that every estimator is exact or the game additive."""
    data, form, model = drawn
    size = {"window": 2, "cell": 4}.get(request.param)
    inputs, behind = data.inputs.take(np.arange(6)), data.inputs.take(np.arange(6, 16))
    return game(model, inputs, behind, link="logit", players=request.param, size=size), form


def test_shapley_values_and_occlusion_of_parts_are_the_closed_form(played):
    here, form = played
    behind = repeated(here.masker.rows, 12)
    known = here.masker.pool(form.shapley_truth(here.masker.inputs.values, behind))
    players = known.shape[1]
    exact = shapley(here, budget=4096, estimator="exact" if players <= 12 else "wls")
    np.testing.assert_allclose(exact.values, known, atol=1e-6)
    np.testing.assert_allclose(additive_shapley(here).values, known, atol=1e-6)
    without = ~np.eye(players, dtype=bool)
    whole = form.logit(here.masker.inputs.values)
    for _, chosen, block in value_table(here, np.arange(len(here)), without):
        np.testing.assert_allclose(whole[:, None] - block.mean(axis=2), known[:, chosen], atol=1e-6)


def test_gradients_of_parts_are_the_closed_form(played):
    here, form = played
    x, behind = here.masker.inputs.values, repeated(here.masker.rows, 12)
    known = here.masker.pool(form.gradients_truth(x, behind.mean(axis=0)))
    np.testing.assert_allclose(integrated_gradients(here).values, known, atol=1e-6)
    np.testing.assert_allclose(expected_gradients(here).values, known, atol=1e-6)


def test_the_season_and_the_gaps_get_nothing_and_a_step_what_it_weighs(drawn):
    data, _, model = drawn
    inputs, behind = data.inputs.take(np.arange(5)), data.inputs.take(np.arange(5, 40))
    cells = game(model, inputs, behind, link="logit", players="cell", size=1)
    found = additive_shapley(cells).values.reshape(5, 12, len(COLUMNS))
    assert np.abs(found[:, :, IDLE]).max() < 1e-9
    weight = 0.9 ** np.arange(11, -1, -1.0)
    weight /= np.sqrt((weight**2).sum())
    for column, height in ((0, 2.0), (2, 0.5)):
        middle = behind.values[:, :, column].mean(axis=0)
        np.testing.assert_allclose(
            found[:, :, column], height * weight * (inputs.values[:, :, column] - middle), atol=1e-9
        )
    np.testing.assert_allclose(integrated_gradients(cells).values.reshape(found.shape), found, atol=1e-9)
    columns = shapley(game(model, inputs, behind, link="logit", players="column")).values
    assert np.abs(columns[:, IDLE]).max() < 1e-9


def test_where_the_season_is_in_the_delay_explanations_are_as_exact():
    spec = Spec(model=ModelSpec(kind="oracle"), data=DataSpec(world="payments", knobs={"steps": 12, "adjusted": 0}))
    data = planted(spec.data).draw(40, np.random.default_rng(1))
    inputs, behind = data.inputs.take(np.arange(5)), data.inputs.take(np.arange(5, 40))
    cells = game(oracle(spec, data), inputs, behind, link="logit", players="cell", size=1)
    found = additive_shapley(cells).values.reshape(5, 12, 4)
    step = np.arange(12)
    weight = 0.9 ** (11 - step)
    weight = 2 * weight / np.sqrt((weight**2).sum())
    # The equation by hand: 2 w_t of the delay, the season given back to the settled, whose column weighs -2 tau / 12.
    settled = weight * 0.8 * np.sin(2 * np.pi * step / 12) - 2 * 0.4 / 12
    known = (inputs.values - behind.values.mean(axis=0)) * np.stack([weight, weight / 4, 0 * weight, settled], axis=1)
    np.testing.assert_allclose(found, known, atol=1e-6)
    for gradients in (integrated_gradients, expected_gradients):
        np.testing.assert_allclose(gradients(cells).values.reshape(found.shape), known, atol=1e-6)
    columns = shapley(game(oracle(spec, data), inputs, behind, link="logit", players="column"), estimator="exact")
    np.testing.assert_allclose(columns.values, known.sum(axis=1), atol=1e-6)


def errors(evidence):
    return {
        e.where["explainer"]: e.value for e in evidence if isinstance(e, Measure) and e.name == "mean_absolute_error"
    }


def test_the_check_of_truth_on_sequences(drawn):
    data, _, model = drawn
    found = list(truth(replace(subject(model, data.inputs), data=data), context(), rows=3, background=5, repeats=2))
    apart = errors(found)
    for id in ("shapley", "additive_shapley", "integrated_gradients", "expected_gradients", "saliency", "smooth_grad"):
        assert apart[id] == pytest.approx(0, abs=1e-4 if id == "shapley" else 1e-9), id
    (table,) = (e for e in found if isinstance(e, Table) and e.name == "truth")
    assert {row[1] for row in table.rows} == {f"step {k}" for k in range(12)}


def other(inputs, form, y):
    """Any additive oracle on inputs of its kind."""
    groups = {"half": Codes(values=np.arange(len(y), dtype=np.uint8) % 2, levels=("a", "b"))}
    data = Dataset(inputs=inputs, groups=groups, origin=Origin(name="planted"), y=y)
    spec = Spec(model=ModelSpec(kind="oracle", output="logit"))
    return data, with_facts(wrap(module(form), data, spec), kind="oracle")


@pytest.mark.parametrize("mask", [True, False])
def test_the_check_of_truth_on_texts(mask):
    lines = ["the cat sat", "the dog", "a cat and a dog sat", "the mat", "a dog sat on the mat", "cat"]
    texts = tokenised(lines)
    if not mask:  # absent tokens are deleted
        texts = replace(texts, mask=None)
    weights = np.random.default_rng(0).standard_normal(len(texts.vocabulary))
    weights[:3] = 0.0
    data, model = other(texts, TokenForm(weights=weights), np.array([0, 1, 0, 1, 0, 1]))
    found = list(truth(replace(subject(model, texts), data=data), context(), rows=6, background=3, repeats=2))
    apart = errors(found)
    assert apart["shapley"] == pytest.approx(0, abs=1e-9)
    assert apart["integrated_gradients"] == pytest.approx(0, abs=1e-9)
    assert "saliency" not in apart  # an id has no slope
    assert not [e for e in found if isinstance(e, Table) and e.name == "truth"]  # every text has words of its own


def test_the_check_of_truth_on_pictures():
    rng = np.random.default_rng(0)
    pictures = Images(values=rng.random((8, 2, 32, 32)))
    weights = rng.standard_normal((2, 32, 32)) * (np.arange(32) < 16)
    data, model = other(pictures, LinearForm(weights=weights), np.arange(8) % 2)
    found = list(truth(replace(subject(model, pictures), data=data), context(), rows=3, background=4, repeats=2))
    apart = errors(found)
    for id in ("additive_shapley", "integrated_gradients", "expected_gradients", "saliency", "input_x_gradient"):
        assert apart[id] == pytest.approx(0, abs=1e-9), id
    (table,) = (e for e in found if isinstance(e, Table) and e.name == "truth")
    assert len({row[1] for row in table.rows}) <= 24
    assert len(masker(pictures).players[0]) == 49
    assert "24 of 49 features" in table.note


def test_models_without_a_form_have_no_truth(drawn):
    data, _, model = drawn
    about = replace(subject(model, data.inputs), data=data)
    plain = with_facts(model, kind="torch")
    with pytest.raises(NotApplicable, match="known on planted worlds only"):
        list(truth(replace(about, model=plain), context()))
    strange = replace(model, module=__import__("torch").nn.Linear(2, 1))
    with pytest.raises(NotApplicable, match="no closed form says what parts of Series are worth"):
        list(truth(replace(about, model=strange), context()))
