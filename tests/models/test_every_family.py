"""The habits of every family of reference models; a new file is tested by being there."""

import json
import random
import re
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from little_families import CPU, FAMILIES, SEED, little, spec_of, training_rows, unseen

from audit import registry
from audit.core import OFFERS
from audit.data.tabular import Tabular
from audit.models.reference import Reference, read, save, trained
from audit.workflows.zoo import Named, train

EVERY = pytest.mark.parametrize("id", list(FAMILIES))
WITHOUT_PICKLE = """
import pickle, pickletools, sys
def refuse(*a, **k): raise AssertionError("something was unpickled")
class Unpickler:  # a class, for libraries make their own of it
    __init__ = refuse
pickle.load, pickle.loads, pickle.Unpickler = refuse, refuse, Unpickler
import _pickle
_pickle.load, _pickle.loads, _pickle.Unpickler = refuse, refuse, Unpickler
import numpy as np
from pathlib import Path
from audit.core import RunSpec, Spec, stream
from audit.data.worlds.base import planted
from audit.models.reference import read
from audit.workflows.calibrate import wanted
from audit import registry
for id in sys.argv[2].split(","):
    folder, entry = Path(sys.argv[1]) / id, registry.entries("families")[id]
    spec = wanted(Spec(run=RunSpec(device="cpu")), entry.facts["world"], entry.facts["knobs"], id)
    data = planted(spec.data).draw(300, stream(1, "test.unseen"))
    np.save(folder / "again.npy", read(folder, data, spec).predict(data.inputs), allow_pickle=False)
"""


def global_states():
    return [random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()]  # noqa: NPY002


@EVERY
def test_documented_and_sourced(id):
    entry = FAMILIES[id]
    assert re.fullmatch(r"[a-z][a-z0-9_]*", id)
    assert entry.title[0].isupper()
    assert entry.sources
    assert entry.doc.partition("\n")[0].endswith(".")
    assert {"seed", "device"} <= set(entry.params)
    assert entry.facts["world"] in registry.entries("worlds")
    assert entry.facts["offers"] <= OFFERS
    options = {name: value for name, value in entry.params.items() if name not in ("seed", "device")}
    assert json.loads(json.dumps(options)) == json.loads(json.dumps(options))


@EVERY
def test_it_answers_like_any_model(id):
    model, data = little(id), unseen(id)
    scores = model.predict(data.inputs)
    assert scores.shape == (300,)
    assert np.isfinite(scores).all()
    order = np.random.default_rng(0).permutation(300)
    np.testing.assert_allclose(model.predict(data.inputs.take(order)), scores[order], atol=1e-5)
    small = replace(model, reading=replace(model.reading, batch_size=7))
    np.testing.assert_allclose(small.predict(data.inputs), scores, atol=1e-5)
    assert model.family == model.card.reference == id
    assert model.card.parameters is not None
    assert isinstance(model.module, Reference)
    assert not model.module.training
    assert FAMILIES[id].facts["offers"] <= model.offers <= OFFERS
    assert json.loads(json.dumps(dict(model.module.config))) == model.module.config


@EVERY
def test_the_same_seed_gives_the_same_weights_and_nothing_else_changes(id):
    first, data = little(id).card.digest, training_rows(id)
    before, states = data.inputs.values.copy(), global_states()
    again = trained(id, data, spec_of(id), seed=SEED)
    assert global_states() == states, "the global random state has changed"
    np.testing.assert_array_equal(data.inputs.values, before)
    assert again.card.digest == first


def test_saved_and_loaded_bit_for_bit_without_pickle(tmp_path):
    before = {}
    for id in FAMILIES:
        model, data = little(id), unseen(id)
        save(model, tmp_path / id)
        before[id] = model.predict(data.inputs)
        here = read(tmp_path / id, data, spec_of(id))
        assert here.card.digest == model.card.digest
        np.testing.assert_array_equal(here.predict(data.inputs), before[id])
        assert here.offers == model.offers
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_PICKLE, str(tmp_path), ",".join(FAMILIES)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    for id, scores in before.items():
        np.testing.assert_array_equal(np.load(tmp_path / id / "again.npy"), scores)


@EVERY
def test_what_it_promises_is_kept_within_its_cpu_seconds(id):
    """Five CPU-seconds for a table, fifteen for anything else."""
    bound = 5.0 if isinstance(unseen(id).inputs, Tabular) else 15.0
    before = time.process_time()
    found = train(Named(id=id), run=CPU)
    assert found.promises
    assert found.kept, [(p.name, p.value, p.low, p.high) for p in found.promises if not p.kept]
    assert found.cpu_seconds <= bound
    assert time.process_time() > before
