"""What a saved reference model is read with: its columns by name, its levels, its card, its options."""

import contextlib
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from audit import codec, registry
from audit.core import AuditError, Dataset, DataSpec, ModelError, Origin, OutputError, UsageError, stream
from audit.data.tabular import Tabular
from audit.data.worlds.base import planted
from audit.models import reference
from audit.models.families.rule_net import RuleNet
from audit.workflows.calibrate import wanted
from audit.workflows.zoo import named

SPEC = codec.spec_from_toml('[data]\nworld = "credit"\n[run]\nthreads = 1\ndevice = "cpu"\n')
DATA = planted(SPEC.data).draw(600, stream(0, "test.saved"))
ORDER = np.array([3, 0, 6, 1, 5, 2, 4])


def shuffled(data, order=ORDER, names=None):
    """The same rows with their columns in another order, perhaps under other names."""
    names = names or tuple(data.inputs.columns[i] for i in order)
    inputs = Tabular(values=data.inputs.values[:, order], columns=names)
    return replace(data, inputs=inputs, names=names, twin=None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("zoo") / "mlp"
    reference.save(reference.trained("mlp", DATA, SPEC, options={"epochs": 2, "hidden": [8]}), str(folder))
    return folder


def test_columns_in_another_order_are_found_by_name(folder):
    model, other = reference.read(str(folder), DATA, SPEC), shuffled(DATA)
    again = reference.read(folder, other, SPEC)
    scores = model.predict(DATA.inputs)
    np.testing.assert_array_equal(again.predict(other.inputs), scores)
    np.testing.assert_array_equal(again.predict(other.inputs.values), scores)  # a matrix comes in the data's order
    np.testing.assert_array_equal(again.predict(DATA.inputs), scores)  # a table says itself what is what
    np.testing.assert_array_equal(model.predict(other.inputs), scores)
    assert again.card.digest == model.card.digest


def test_gradients_belong_to_the_columns_of_the_data(folder):
    found = []
    for data in (DATA, shuffled(DATA)):
        leaf, forward = reference.read(folder, data, SPEC).attribution_point(data.inputs)
        found.append(torch.autograd.grad(forward(leaf).sum(), leaf)[0].numpy())
    np.testing.assert_array_equal(found[1], found[0][:, ORDER])


@pytest.mark.parametrize("wrong", ["renamed", "fewer", "more", "twice"])
def test_other_columns_are_refused(folder, wrong):
    names = list(DATA.names)
    other = {
        "renamed": lambda: shuffled(DATA, np.arange(7), ("wage", *names[1:])),
        "fewer": lambda: shuffled(DATA, np.arange(6)),
        "more": lambda: shuffled(DATA, np.array([*range(7), 0]), (*names, "more")),
        "twice": lambda: shuffled(DATA, np.array([*range(7), 0]), (*names, "income")),
    }[wrong]()
    with pytest.raises(ModelError, match=r"mlp was trained on the columns 'income', 'debt'.*the data has"):
        reference.read(folder, other, SPEC)
    with pytest.raises(ModelError, match="mlp"):
        reference.read(folder, DATA, SPEC).predict(other.inputs)
    if wrong in ("fewer", "more"):
        with pytest.raises(ModelError, match=r"mlp reads 7 columns .*, got [68]"):
            reference.read(folder, DATA, SPEC).predict(other.inputs.values)


def test_another_world_is_refused_where_its_columns_differ(folder):
    other = planted(DataSpec(world="long_tail")).draw(50, stream(0, "test"))
    with pytest.raises(ModelError, match="was trained on the columns 'income'"):
        reference.read(folder, other, SPEC)
    same = planted(DataSpec(world="rules")).draw(50, stream(0, "test"))
    assert len(reference.read(folder, same, SPEC).predict(same.inputs)) == 50


def coloured(levels, rows=400):
    """One number and one category; the same people whatever the levels' order."""
    rng = np.random.default_rng(0)
    number, colour = rng.normal(size=rows), rng.integers(0, 3, rows)
    names = np.array(["amber", "blue", "cyan"])[colour]
    known = {level: float(code) for code, level in enumerate(levels)}
    values = np.column_stack([number, [known[name] for name in names]])
    table = Tabular(values=values, columns=("number", "colour"), categories={"colour": tuple(levels)})
    y = (number + 2.0 * (colour == 1) + rng.normal(size=rows) > 0.5).astype(np.int64)
    return Dataset(inputs=table, groups={}, origin=Origin(name="colours"), y=y, names=table.columns), names


def test_levels_are_the_models_own(tmp_path):
    data, names = coloured(["amber", "blue", "cyan"])
    spec = codec.spec_from_toml('[data]\npath = "-"\n[run]\ndevice = "cpu"\n')
    reference.save(reference.trained("mlp", data, spec, options={"epochs": 1, "hidden": [4]}), tmp_path)
    scores = reference.read(tmp_path, data, spec).predict(data.inputs)
    other, _ = coloured(["zinc", "cyan", "amber", "blue"])
    model = reference.read(tmp_path, other, spec)
    np.testing.assert_array_equal(model.predict(other.inputs), scores)
    np.testing.assert_array_equal(model.predict(data.inputs), scores)
    assert any("never saw and reads as missing: 'zinc'" in note for note in model.card.notes)
    strange = other.inputs.with_values(np.column_stack([other.inputs.values[:, 0], np.zeros(len(names))]))
    absent = data.inputs.with_values(np.column_stack([data.inputs.values[:, 0], np.full(len(names), np.nan)]))
    np.testing.assert_array_equal(model.predict(strange), model.predict(absent))
    numbers = replace(data, inputs=Tabular(values=data.inputs.values, columns=data.names))
    with pytest.raises(ModelError, match=r"'colour' as categories; the data holds numbers"):
        reference.read(tmp_path, numbers, spec)


def test_what_a_module_offers_beside_scores_moves_with_the_columns(tmp_path):
    for id in ("rule_net", "pca", "bayesian"):
        made = reference.trained(
            id, DATA, SPEC, options={"rule_net": {"epochs": 2, "soft": 1}, "pca": {}, "bayesian": {"epochs": 1}}[id]
        )
        reference.save(made, tmp_path / id)
        other = shuffled(DATA)
        again = reference.read(tmp_path / id, other, SPEC)
        if id == "rule_net":
            assert isinstance(made.module, RuleNet)
            np.testing.assert_array_equal(
                again.rules().decide(other.inputs.values), made.rules().decide(DATA.inputs.values)
            )
            assert again.rules().columns == other.inputs.columns
        if id == "pca":
            for left, right in zip(again.reconstruct(other.inputs), made.reconstruct(DATA.inputs), strict=True):
                np.testing.assert_array_equal(left, right)
        if id == "bayesian":
            np.testing.assert_array_equal(again.draws(other.inputs, 3, seed=1), made.draws(DATA.inputs, 3, seed=1))
            for count in (0, -1, 1.5, True):
                with pytest.raises(UsageError, match="count must be a whole number from 1 on"):
                    made.draws(DATA.inputs, count, seed=1)
        if "sample" in made.offers:
            drawn = again.sample(20, seed=1)
            assert drawn.columns == other.inputs.columns
            np.testing.assert_allclose(drawn.values, made.sample(20, seed=1).values[:, ORDER])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("trained", value) for value in (5, None, ["a"], {"seed": 5, "x": [1]})),
        ("config", [1]),
        ("module", 5),
        ("module", None),
        ("sha256", 5),
        ("family", {"a": 1}),
        ("columns", "income"),
        ("columns", [1]),
        ("categories", []),
        ("categories", {"income": "a"}),
        ("integers", None),
    ],
)
def test_a_damaged_card_is_named(folder, tmp_path, key, value):
    for name in (reference.CARD, reference.WEIGHTS):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    card = json.loads((tmp_path / reference.CARD).read_text())
    (tmp_path / reference.CARD).write_text(json.dumps(card | {key: value}))
    with pytest.raises(ModelError, match=rf"card\.json: {key} must be"):
        reference.read(tmp_path, DATA, SPEC)


def test_saving_onto_a_file_is_an_output_error(folder, tmp_path):
    (tmp_path / "taken").write_text("here")
    with pytest.raises(OutputError, match="taken"):
        reference.save(reference.read(folder, DATA, SPEC), tmp_path / "taken")


# ----------------------------------------------------------------------------------------------------- options
@pytest.mark.parametrize(
    ("told", "words"),
    [
        ("mlp:rate=nan", r"rate: must be a finite number or none, got 'nan'"),
        ("mlp:rate=NaN", r"rate: must be a finite number or none, got nan"),
        ("mlp:rate=abc", r"rate: .*got 'abc'"),
        ("mlp:rate=[1]", r"rate: .*got \[1\]"),
        ("mlp:epochs=x", r"epochs: must be a whole number, got 'x'"),
        ("mlp:epochs=1.5", r"epochs: must be a whole number"),
        ("mlp:epochs=true", r"epochs: must be a whole number"),
        ("mlp:hidden=abc", r"hidden: must be a list of whole numbers from 1 on, got 'abc'"),
        ("mlp:hidden=[0]", r"hidden: .*got \[0\]"),
        ("mlp:hidden=5", r"hidden: .*got 5"),
        ("mlp:dropout=Infinity", r"dropout: must be a finite number"),
        ("mlp:optimiser=adan", r"optimiser: must be one of 'sgd', .*'adam'.*got 'adan'.*adam"),
        ("autoencoder:tied=1", r"tied: must be true or false, got 1"),
        ("concept_bottleneck:concepts=5", r"concepts: must be a list of texts"),
        ("concept_bottleneck:fixed=[1]", r"fixed: must be a table by name or none"),
    ],
)
def test_an_option_of_another_kind_is_named(told, words):
    wish = named(told)
    with pytest.raises(UsageError, match=words):
        reference.trained(wish.id, DATA, SPEC, options=wish.options)


@pytest.mark.parametrize("id", list(registry.entries("families")))
def test_no_option_value_escapes_as_a_foreign_error(id):
    entry = registry.entries("families")[id]
    spec = wanted(SPEC, entry.facts["world"], entry.facts["knobs"], id)
    data = planted(spec.data).draw(60, stream(0, "test.options"))
    for name in entry.params:
        for value in ("nope", float("nan"), -1, [0], [["a"]], {"a": "b"}):
            if name not in ("seed", "device"):
                short = {"epochs": 1} if "epochs" in entry.params else {}
                with contextlib.suppress(AuditError):  # any other error fails here
                    reference.trained(id, data, spec, options=short | {name: value})


@pytest.mark.parametrize("place", ['path = "mlp"', ""])
def test_an_unknown_family_is_named_with_all_that_there_are(folder, place):
    text = f'[model]\nkind = "family"\nfamily = "nope"\n{place}\n[data]\nworld = "credit"\n'
    with pytest.raises(ModelError, match=r"no family 'nope'; families: .*") as caught:
        reference.load(codec.spec_from_toml(text), DATA, folder.parent)
    assert all(repr(id) in str(caught.value) for id in registry.entries("families"))
    other = codec.spec_from_toml(text.replace("nope", "pca"))
    if place:
        with pytest.raises(ModelError, match=r"holds the family 'mlp', not 'pca'"):
            reference.load(other, DATA, folder.parent)
