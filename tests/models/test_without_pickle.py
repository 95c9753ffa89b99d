"""Saved models are read again bit for bit in a process in which unpickling raises."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from adapters import BUILDERS, WORLD, Place, world

from audit.core import ModelSpec
from audit.models import reference

READER = """
import builtins, json, pickle, sys, _pickle
from pathlib import Path

def refuse(*_, **__):
    raise AssertionError("something was unpickled")

class Refused(pickle._Unpickler):
    def __init__(self, *_, **__):
        refuse()

for module in (pickle, _pickle):
    module.load = module.loads = refuse
    module.Unpickler = Refused
pickle._load = pickle._loads = refuse
pickle._Unpickler = Refused

import numpy as np
from audit import codec
from audit.models.load import inputs, load
from audit.data.readers import read

for kind, text in json.loads(sys.argv[1]).items():
    spec = codec.spec_from_toml(text)
    data = read(spec, None)
    scores = load(spec, data, Path(sys.argv[2])).predict(data.inputs)
    np.save(Path(sys.argv[2]) / f"{kind}.npy", scores, allow_pickle=False)
"""
KEYS = {
    "xgboost": 'weights = "model.ubj"',
    "lightgbm": 'weights = "model.txt"',
    "onnx": 'weights = "model.onnx"\noutput = "logit"',
    "family": 'path = "mlp"',
}


@pytest.mark.filterwarnings("ignore")
def test_what_is_saved_is_read_bit_for_bit_without_pickle(tmp_path):
    place = Place(world(), tmp_path, "")
    expected = {}
    for kind in KEYS:
        built = BUILDERS[kind](place)
        expected[kind] = built.model.predict(built.data.inputs)
        if kind == "family":
            reference.save(built.model, tmp_path / "mlp")
    texts = {
        kind: f'[model]\nkind = "{kind}"\n{keys}\n[data]\nworld = "credit"\nrows = 400\n[run]\ndevice = "cpu"\n'
        for kind, keys in KEYS.items()
    }
    subprocess.run([sys.executable, "-c", READER, json.dumps(texts), str(tmp_path)], check=True, timeout=120)
    for kind, scores in expected.items():
        np.testing.assert_array_equal(np.load(tmp_path / f"{kind}.npy"), scores, err_msg=kind)


def test_the_reader_would_notice(tmp_path):
    (tmp_path / "x.pkl").write_bytes(b"\x80\x04K\x01.")
    first = READER.partition("import numpy")[0]
    for code in ("import pickle; pickle.loads(open(sys.argv[2] + '/x.pkl', 'rb').read())", "pickle.Unpickler(None)"):
        done = subprocess.run([sys.executable, "-c", first + code, "{}", str(tmp_path)], capture_output=True, text=True)
        assert "something was unpickled" in done.stderr


def test_a_family_that_was_read_says_the_same_of_itself(tmp_path):
    built = BUILDERS["family"](Place(world(), tmp_path, ""))
    reference.save(built.model, tmp_path / "mlp")
    spec = replace(WORLD, model=ModelSpec(kind="family", path="mlp"))
    again = reference.read(tmp_path / "mlp", built.data, spec)
    assert replace(again.card, device="") == replace(built.model.card, device="")
