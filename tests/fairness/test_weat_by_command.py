"""The published GloVe associations through `audit run`: a scorer over word vectors that offers its embedding."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from subjects import find

from audit import codec
from audit.cli import main
from audit.core import Dataset, ModelError, Origin, Spec
from audit.fairness import WEAT
from audit.models.adapters.callable import wrap

MODEL = '''
import csv
from pathlib import Path

import numpy as np

with open(Path(__file__).parent / "vectors.csv", encoding="utf-8", newline="") as file:
    rows = list(csv.reader(file))[1:]
VECTORS = {row[0]: np.array(row[1:], dtype=float) / np.linalg.norm(np.array(row[1:], dtype=float)) for row in rows}


class Scorer:
    """How pleasant a word is: nearer to joy than to agony."""

    axis = VECTORS["joy"] - VECTORS["agony"]

    def __call__(self, frame):
        return np.array([1 / (1 + np.exp(-4 * float(VECTORS[word] @ self.axis))) for word in frame["word"]])

    def embed(self, texts):
        return np.array([VECTORS.get(text, np.full(300, np.nan)) for text in texts])


def build():
    return Scorer()
'''
TOML = """
[system]
name = "Pleasantness by GloVe"
[model]
kind = "callable"
factory = "scorer:build"
[data]
path = "words.csv"
label = "pleasant"
features = ["word"]
[checks]
only = ["fairness.association", "performance.overall"]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory, test_data):
    """A scorer of words on the 457 published vectors, audited on the pleasant and the unpleasant ones."""
    folder = tmp_path_factory.mktemp("glove")
    shutil.copy(test_data / "weat" / "cbn_item_vectors.csv", folder / "vectors.csv")
    (folder / "scorer.py").write_text(MODEL)
    items = pd.read_csv(test_data / "weat" / "cbn_items.csv", keep_default_na=False)
    words = items[(items["Study"] == "WEAT1") & items["Condition"].isin(["Pleasant", "Unpleasant"])]
    words = words.assign(word=words["Word"], pleasant=(words["Condition"] == "Pleasant").astype(int))
    words[["word", "pleasant"]].to_csv(folder / "words.csv", index=False)
    return folder


def audited(folder, extra=""):
    (folder / "audit.toml").write_text(TOML + extra)
    assert main(["run", str(folder / "audit.toml"), "--out", str(folder / "out"), "-q"]) == 0
    report = codec.read_record(folder / "out" / "result.json")
    (found,) = (each for each in report.all_outcomes if each.check == "fairness.association")
    assert found.status == "done", found.reason
    return found.evidence


@pytest.fixture(scope="module")
def expected(test_data):
    return json.loads((test_data / "expected_A.json").read_text())["weat_glove"]["tests"]


def test_the_built_in_tests(folder, expected):
    evidence = audited(folder)
    for number, name in zip(range(6, 11), WEAT, strict=True):
        truth = expected[f"WEAT{number}"]
        assert find(evidence, "effect_size", test=name).value == pytest.approx(truth["d_ddof1"], abs=1e-9)
        assert find(evidence, "p_value", test=name).value == pytest.approx(truth["exact_one_sided_p_ge"])
    page = (folder / "out" / "report.html").read_text()
    for name in WEAT:
        assert name in page


@pytest.mark.parametrize("number", range(1, 6))
def test_word_lists_of_ones_own(folder, expected, test_data, number):
    truth = expected[f"WEAT{number}"]
    items = pd.read_csv(test_data / "weat" / "cbn_items.csv", keep_default_na=False)
    items = items[items["Study"] == f"WEAT{number}"]
    sets = {side.lower(): items.loc[items["Condition"] == truth[side], "Word"].tolist() for side in "XYAB"}
    lines = [f"{side} = {json.dumps(words)}" for side, words in sets.items()]
    evidence = audited(folder, '[checks."fairness.association"]\nsplits = 500\n' + "\n".join(lines) + "\n")
    assert find(evidence, "effect_size", test="own words").value == pytest.approx(truth["d_ddof1"], abs=1e-9)
    assert find(evidence, "mean_difference", test="own words").value == pytest.approx(truth["mean_diff"], abs=1e-9)


def test_an_object_that_embeds_offers_it_and_is_checked():
    class Odd:
        def __init__(self, found):
            self.embed = lambda texts: found

        def __call__(self, x):
            return np.zeros(len(x))

    data = Dataset(inputs=None, groups={}, origin=Origin(name="none"), y=np.array([0, 1]))
    assert wrap(lambda x: x, data, Spec()).offers == frozenset()
    model = wrap(Odd(np.eye(2)), data, Spec())
    assert model.offers == frozenset({"embedding"})
    np.testing.assert_array_equal(model.embed(["a", "b"]), np.eye(2))
    with pytest.raises(ModelError, match="expected 3 vectors"):
        model.embed(["a", "b", "c"])
    with pytest.raises(ModelError, match="expected numbers"):
        wrap(Odd([["x"]]), data, Spec()).embed(["a"])
