"""The attack: what it hides from which explainers, and who sees it."""

import numpy as np
import pytest
import torch

from audit import codec
from audit.core import Measure, stream
from audit.explain.games import game
from audit.explain.quality.hiding import hiding
from audit.explain.quality.scaffold import first_by
from audit.explain.shapley import shapley
from audit.explain.surrogate import lime
from audit.models.families.scaffold import converted
from audit.models.reference import read, save, trained
from audit.registry import entries
from tests.little_models import Plain, context, sigmoid, subject

SPEC = codec.spec_from_toml(
    '[model]\nkind = "family"\nfamily = "scaffold"\n[data]\nworld = "credit"\nrows = 4000\n[groups]\nattributes = ["sex"]\n'
)
SEX = 6


@pytest.fixture(scope="module")
def world():
    return entries("worlds")["credit"].function()


@pytest.fixture(scope="module")
def drawn(world):
    return world.draw(5000, stream(9, "scaffold"))


@pytest.fixture(scope="module")
def unseen(world):
    return world.draw(1500, stream(10, "scaffold"))


@pytest.fixture(scope="module")
def attack(drawn):
    return trained("scaffold", drawn, SPEC)


def test_a_converted_forest_is_the_forest(drawn):
    from sklearn.ensemble import RandomForestClassifier

    forest = RandomForestClassifier(7, random_state=0).fit(drawn.inputs.values[:600], drawn.y[:600])
    rows = np.concatenate([drawn.inputs.values, 3 * drawn.inputs.values[::-1]])
    with torch.no_grad():
        ours = converted(forest)(torch.as_tensor(rows)).numpy()
    np.testing.assert_allclose(ours, forest.predict_proba(rows)[:, 1], atol=1e-12)


def test_people_are_decided_by_the_hidden_attribute(attack, unseen, world):
    kept = list(entries("families")["scaffold"].facts["promise"](attack, unseen, world))
    assert all(each.kept for each in kept), kept
    assert ((attack.predict(unseen.inputs) >= 0.5) == (unseen.inputs.values[:, SEX] == 1)).mean() >= 0.99


def test_it_is_saved_without_pickle(attack, unseen, tmp_path):
    save(attack, tmp_path)
    again = read(tmp_path, unseen, SPEC)
    assert np.array_equal(again.predict(unseen.inputs), attack.predict(unseen.inputs))
    assert {path.name for path in tmp_path.iterdir()} == {"model.safetensors", "card.json"}


def test_lime_as_it_was_published_sees_nothing_and_shapley_over_people_sees_it(attack, drawn, unseen):
    rows = unseen.inputs.take(np.arange(16))
    many, few = drawn.inputs.take(np.arange(1000)), drawn.inputs.take(np.arange(30))
    for space in ("continuous", "around"):
        fooled = lime(game(attack, rows, many), space=space, samples=800, seed=0)
        assert first_by(fooled.values, SEX).mean() == 0.0
        assert first_by(fooled.values, attack.module.innocuous).mean() == 1.0
    seen = first_by(shapley(game(attack, rows, few), budget=128, seed=0).values, SEX).mean()
    assert seen >= 0.9
    averaged = first_by(shapley(game(attack, rows, many, fill="mean"), budget=128, seed=0).values, SEX).mean()
    assert averaged < seen - 0.2


def test_the_lime_package_is_fooled_as_well(attack, drawn, unseen):
    from lime.lime_tabular import LimeTabularExplainer

    explainer = LimeTabularExplainer(drawn.inputs.values[:1000], discretize_continuous=False, random_state=0)

    def answer(values):
        score = attack.predict(drawn.inputs.with_values(values))
        return np.column_stack([1 - score, score])

    for row in unseen.inputs.values[:4]:
        told = explainer.explain_instance(row, answer, num_features=7, num_samples=500).as_map()[1]
        assert max(told, key=lambda pair: abs(pair[1]))[0] == attack.module.innocuous


# ---------------------------------------------------------------------------------------------- explain.hiding
def read_off(model, data, rows=300, **params):
    codes = data.groups["sex"]
    few = type(codes)(values=codes.values[:rows], levels=codes.levels)
    asked = subject(model, data.inputs.take(np.arange(rows)), data.y[:rows], {"sex": few})
    return [each for each in hiding(asked, context(), **params) if isinstance(each, Measure)]


def shift(found, kind):
    return next(each for each in found if each.name == "shift" and each.where == {"method": kind})


def test_the_attack_is_warned_of(attack, unseen):
    found = read_off(attack, unseen, explained=6)
    assert shift(found, "mean").note.startswith("warning")
    assert "'sex'" in shift(found, "mean").note
    lost = next(m for m in found if m.name == "hidden_share" and m.where == {"feature": "sex", "method": "mean"})
    assert lost.value > 0.9
    told = {m.where["explainer"]: m.value for m in found if m.name == "attributed"}
    assert told["lime (continuous)"] < 0.1 < 0.8 < told["shapley (people as background)"]


def test_honest_models_are_not(world, drawn, unseen):
    weights = world.oracle()
    mlp = trained("mlp", drawn, SPEC, options={"epochs": 6})
    for model in (Plain(lambda x: sigmoid(weights.logit(x))), mlp):
        found = read_off(model, unseen, explained=0)
        for kind in ("noise", "mean"):
            assert shift(found, kind).interval.high < 0.25
            assert shift(found, kind).note.startswith("no warning")


def test_a_model_of_additive_answers_leans_alike_everywhere(unseen):
    model = Plain(lambda x: 0.5 + 0.01 * x[:, 0] + 0.02 * x[:, SEX])
    found = read_off(model, unseen, explained=0)
    assert shift(found, "noise").value == pytest.approx(0.0, abs=1e-12)
    assert shift(found, "mean").value == pytest.approx(0.0, abs=1e-12)


def test_a_constant_model_has_no_share(unseen):
    found = read_off(Plain(lambda x: np.full(len(x), 0.5)), unseen, explained=0)
    assert shift(found, "noise").value is None
    assert "no swap" in shift(found, "noise").note
