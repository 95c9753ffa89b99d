"""The concept bottleneck: what it sees, that nothing passes beside the concepts, and what an intervention changes."""

import numpy as np
import pytest
import torch

from audit import codec
from audit.core import DataError, DataSpec, UsageError, stream
from audit.data.worlds.base import planted
from audit.models import reference
from audit.models.families.concept_bottleneck import CONCEPTS, concepts_of, sees_its_concepts

SPEC = codec.spec_from_toml('[model]\nkind = "family"\nfamily = "concept_bottleneck"\n[data]\nworld = "rules"\n')
WORLD = planted(DataSpec(world="rules"))
ILLEGAL = CONCEPTS[-1]


@pytest.fixture(scope="module")
def data():
    return WORLD.draw(8000, stream(0, "train"))


@pytest.fixture(scope="module")
def unseen():
    return WORLD.draw(20_000, stream(1, "unseen"))


@pytest.fixture(scope="module")
def model(data):
    return reference.trained("concept_bottleneck", data, SPEC, seed=0)


def gap(decided, data):
    group = data.groups["sex"].values
    return float(decided[group == 1].mean() - decided[group == 0].mean())


def test_it_keeps_what_it_promises(model, unseen):
    found = {each.name: each for each in sees_its_concepts(model, unseen, WORLD)}
    assert all(each.kept for each in found.values()), found
    assert found["accuracy of concepts"].value > 0.98


def test_concepts_are_the_conditions_of_the_columns(unseen):
    x = unseen.inputs.values
    by_hand = [x[:, 0] > 0, x[:, 1] <= 0.5, x[:, 2] > 1, (x[:, 3] <= -0.5) & (x[:, 6] == 0)]
    assert np.array_equal(concepts_of(unseen, CONCEPTS), np.column_stack(by_hand))


def test_switching_the_illegal_concept_off_leaves_the_gap_of_the_lawful_rules(model, unseen):
    x, tensor = unseen.inputs.values, model.tensor(unseen.inputs)
    with torch.no_grad():
        before, after = (model.module.intervene(tensor, set_to).numpy() > 0 for set_to in ({}, {ILLEGAL: 0.0}))
    lawful = ((x[:, 0] > 0) & (x[:, 1] <= 0.5)) | (x[:, 2] > 1)
    assert gap(before, unseen) == pytest.approx(gap(unseen.y, unseen), abs=0.03)
    assert gap(after, unseen) == pytest.approx(gap(lawful, unseen), abs=0.03)
    assert gap(before, unseen) - gap(after, unseen) > 0.15
    assert (after == lawful).mean() > 0.96


def test_nothing_passes_beside_the_concepts(model, unseen):
    rows = model.tensor(unseen.inputs)[:50]
    given = dict(zip(CONCEPTS, (1.0, 0.0, 1.0, 0.0), strict=True))
    with torch.no_grad():
        answers = model.module.intervene(rows, given)
    head = model.module.head
    by_hand = head.weight[0, 0] + head.weight[0, 2] + head.bias[0]
    assert torch.allclose(answers, by_hand.detach().expand(50))


def test_a_model_overruled_for_good_is_saved_and_read(data, model, unseen, tmp_path):
    fixed = reference.trained("concept_bottleneck", data, SPEC, seed=0, options={"fixed": {ILLEGAL: 0.0}})
    rows = unseen.inputs.take(np.arange(500))
    with torch.no_grad():
        expected = torch.sigmoid(model.module.intervene(model.tensor(rows), {ILLEGAL: 0.0})).double().numpy()
    assert np.allclose(fixed.predict(rows), expected, atol=1e-6)
    reference.save(fixed, tmp_path)
    assert np.array_equal(reference.read(tmp_path, unseen, SPEC).predict(rows), fixed.predict(rows))


def test_both_ways_of_training_see_the_concepts(unseen, data):
    joint = reference.trained("concept_bottleneck", data, SPEC, options={"way": "joint", "epochs": 6}).module
    truth = torch.from_numpy(concepts_of(unseen, CONCEPTS)) > 0.5
    with torch.no_grad():
        right = ((joint.sees(torch.as_tensor(unseen.inputs.values, dtype=torch.float32)) > 0) == truth).double().mean()
    assert right > 0.95


def test_bad_input_is_told(model, data):
    with pytest.raises(UsageError, match="did you mean 'income > 0'"):
        model.module.intervene(model.tensor(data.inputs), {"income>0": 1.0})
    with pytest.raises(UsageError, match="from 0"):
        model.module.overruled({ILLEGAL: 2.0})
    with pytest.raises(DataError, match="wage"):
        reference.trained("concept_bottleneck", data, SPEC, options={"concepts": ("wage > 0",)})
    with pytest.raises(UsageError, match="one of 'joint', 'sequential'"):
        reference.trained("concept_bottleneck", data, SPEC, options={"way": "both"})


@pytest.mark.parametrize(
    "wrong", [{0: 1.0}, {"wage > 0": 1.0}, {None: 0.0}, [1.0], {CONCEPTS[0]: "a"}, {CONCEPTS[0]: 2}]
)
def test_an_intervention_on_what_is_no_concept_names_the_concepts(model, unseen, wrong):
    x = model.tensor(unseen.inputs.take(np.arange(3)))
    assert model.module.names == CONCEPTS
    for act in (lambda: model.module.intervene(x, wrong), lambda: model.module.overruled(wrong)):
        with pytest.raises(UsageError, match=r"concept.*income > 0"):
            act()
