"""A classifier with random weights scores the sentences of Winogender: no association is read."""

import csv
import json

import numpy as np
import pytest
import torch
from hugging_folders import bert

from audit.cli import main
from audit.core import DataSpec, ModelSpec, Spec
from audit.data.readers import read
from audit.fairness.pairs import correlation, preference, read_winogender
from audit.fairness.shared_words import differing, variance_of_mean
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


def scores(path):
    """What the model in the folder gives the sentences (n,) of "he" and (n,) of "she", template by template."""
    spec = Spec(
        model=ModelSpec(kind="transformers", path="model", output="logit"),
        data=DataSpec(path="sentences.csv", features=("sentence",)),
    )
    data = in_tokens(spec, read(spec, path), path)
    return np.split(load(spec, data, path).predict(data.inputs), 2)


@pytest.fixture(scope="module")
def leads(folder):
    """How much higher "she" is scored than "he" in each template (seeds, n), by models of eight random weights."""
    from transformers import BertForSequenceClassification

    path, found = folder[0], []
    config = BertForSequenceClassification.from_pretrained(path / "model").config
    for seed in range(8):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            BertForSequenceClassification(config).save_pretrained(path / "model")
        male, female = scores(path)
        found.append(female - male)
    return np.array(found)


def follows(lead, texts):
    """Correlation of the mean lead of "she" (n,) with the share of women over occupations, and its interval."""
    names, own = np.array(texts.occupation), np.array(texts.own)
    shares = dict(zip(texts.occupation, texts.female_share, strict=True))
    means = [lead[(names == name) & own].mean() for name in shares]
    assert len(means) == 60
    return correlation(means, list(shares.values()))


def stereotyped(lead, texts):
    """The lead (m,) of the stereotyped pronoun in templates where it is the occupation's, and what each pair differs in."""
    share = np.array(texts.female_share)
    used = np.flatnonzero(np.array(texts.own) & (share != 50))
    words = [differing(texts.male[row], texts.female[row]) for row in used]
    return (lead * np.sign(share - 50))[used], words


def test_the_audit_gives_the_mean_of_the_paired_differences(folder, tmp_path):
    male, female = scores(folder[0])
    assert main(["run", str(folder[0] / "audit.toml"), "--out", str(tmp_path), "-q"]) == 0
    record = json.loads((tmp_path / "result.json").read_text())
    (gap,) = (
        piece
        for outcome in record["outcomes"]
        for piece in outcome["evidence"]
        if piece.get("name") == "score_mean_difference" and piece["where"] == {"gender": "female"}
    )
    assert gap["value"] == pytest.approx((female - male).mean(), rel=1e-4)


def test_random_weights_give_no_occupation_its_pronoun(folder, leads):
    """Paired by template, over eight models: the intervals hold nothing in seven or more."""
    texts, held = folder[1], []
    assert (np.abs(leads).max(axis=1) > 1e-3).all()  # each model does tell "she" from "he"
    for lead in leads:
        _, low, high = follows(lead, texts)
        own, words = stereotyped(lead, texts)
        found = preference(own, np.zeros(len(own)), words=words)
        far = 1.98 * np.sqrt(variance_of_mean(own, words))
        held.append((low < 0 < high, found.low < 0.5 < found.high, abs(own.mean()) < far))
    assert (np.sum(held, axis=0) >= 7).all(), np.array(held)


def test_a_pronoun_that_follows_the_occupation_is_seen(folder, leads):
    """The same models whose lead of "she" follows the share of women by as much as it varies between templates."""
    texts = folder[1]
    share = np.array(texts.female_share)
    for lead in leads:
        moved = lead + lead.std() * (share - share.mean()) / share.std()
        assert follows(moved, texts)[1] > 0
        own, words = stereotyped(moved - moved.mean(), texts)
        assert preference(own, np.zeros(len(own)), words=words).share > 0.6
