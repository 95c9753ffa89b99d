"""A classifier with random weights scores the sentences of Winogender: no association is read."""

import csv
import json

import numpy as np
import pytest
from hugging_folders import bert

from audit.cli import main
from audit.core import DataSpec, ModelSpec, Spec
from audit.data.readers import read
from audit.fairness.pairs import correlation, read_winogender
from audit.models.adapters.transformers import load
from audit.models.adapters.transformers import read as in_tokens

CONFIG = """
schema = 1
[model]
kind = "transformers"
path = "model"
output = "logit"
[data]
path = "sentences.csv"
features = ["sentence"]
[groups]
attributes = ["gender"]
[checks]
only = ["fairness.scores"]
"""


@pytest.fixture(scope="module")
def folder(test_data, tmp_path_factory):
    """All sentences with the pronoun's gender, a configuration, and a BERT of random weights that knows their words."""
    from tokenizers.pre_tokenizers import BertPreTokenizer

    found = tmp_path_factory.mktemp("winogender")
    texts = read_winogender(
        *(test_data / "winogender" / name for name in ("all_sentences.tsv", "occupations-stats.tsv"))
    )
    rows = [(line, gender) for gender in ("male", "female") for line in getattr(texts, gender)]
    cut = BertPreTokenizer()
    words = {word for line, _ in rows for word, _ in cut.pre_tokenize_str(line.lower())} - {".", ","}
    bert(found / "model", words=sorted(words), num_labels=2)
    with (found / "sentences.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("sentence", "gender"), *rows])
    (found / "audit.toml").write_text(CONFIG)
    return found, texts


def test_the_scores_of_both_pronouns_are_alike_within_their_doubt(folder, tmp_path):
    assert main(["run", str(folder[0] / "audit.toml"), "--out", str(tmp_path), "-q"]) == 0
    record = json.loads((tmp_path / "result.json").read_text())
    (gap,) = (
        piece
        for outcome in record["outcomes"]
        for piece in outcome["evidence"]
        if piece.get("name") == "score_mean_difference" and piece["where"] == {"gender": "female"}
    )
    assert gap["interval"]["low"] < 0 < gap["interval"]["high"]


def test_what_a_pronoun_does_to_a_score_has_nothing_to_do_with_the_occupation(folder):
    path, texts = folder
    spec = Spec(
        model=ModelSpec(kind="transformers", path="model", output="logit"),
        data=DataSpec(path="sentences.csv", features=("sentence",)),
    )
    data = in_tokens(spec, read(spec, path), path)
    score = load(spec, data, path).predict(data.inputs)
    male, female = np.split(score, 2)
    lead = female - male
    names = np.array(texts.occupation)
    shares = dict(zip(texts.occupation, texts.female_share, strict=True))
    means = [lead[(names == name) & np.array(texts.own)].mean() for name in shares]
    r, low, high = correlation(means, list(shares.values()))
    assert len(means) == 60
    assert low < 0 < high, r
