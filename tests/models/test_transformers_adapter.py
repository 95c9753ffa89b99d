"""The transformers adapter: local folders only, padding without effect, likelihoods by brute force, and audits by command."""

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
from hugging_folders import WORDS, bert, gpt
from subjects import context_of, find

from audit import cli, codec
from audit.core import DataError, Dataset, DataSpec, MissingOffer, ModelError, ModelSpec, Origin, RunSpec, Spec, Subject
from audit.data.readers import from_frame
from audit.fairness.association import association_check
from audit.fairness.pairs import pairs_check, read_crows_pairs, read_winogender
from audit.models.adapters.torch import load_weights
from audit.models.load import inputs, load

LINES = (
    "a good film",
    "the film was not very good and it was a dull films.",
    "bad",
    "very very bad",
    "the end of the story",
)
Y = ("good", "bad", "bad", "bad", "good")
CPU = RunSpec(device="cpu")


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("hub")
    bert(folder / "bert", id2label={0: "good", 1: "bad"})
    bert(folder / "masked", "MaskedLM")
    gpt(folder / "gpt")
    gpt(folder / "gptclass", "ForSequenceClassification")
    return folder


def spec_of(path: str, **options) -> Spec:
    model = ModelSpec(kind="transformers", path=path, **options)
    return Spec(model=model, data=DataSpec(label="y", positive="good", features=("text",)), run=CPU)


def of(path: str, base: Path, *, lines=LINES, y=Y, **options):
    spec = spec_of(path, **options)
    data = inputs(spec, from_frame(pd.DataFrame({"text": lines, "y": y}), spec), base)
    return load(spec, data, base), data


# ------------------------------------------------------------------------------------------------ classification
@pytest.mark.parametrize("path", ["bert", "gptclass"])
def test_scores_are_those_of_transformers_one_text_at_a_time(path, base):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model, data = of(path, base)
    own = AutoModelForSequenceClassification.from_pretrained(base / path).eval()
    tokenizer = AutoTokenizer.from_pretrained(base / path)
    with torch.no_grad():
        logits = torch.cat([own(**tokenizer(line, return_tensors="pt")).logits for line in LINES]).double()
    place = 0 if path == "bert" else 1  # BERT names its classes; GPT-2 only numbers them, in the order of the data
    np.testing.assert_allclose(model.predict(data.inputs), logits.softmax(1)[:, place].numpy(), atol=1e-6)


@pytest.mark.parametrize("path", ["bert", "gptclass"])
def test_neither_padding_nor_the_batch_changes_a_score(path, base):
    model, data = of(path, base)
    scores = model.predict(data.inputs)
    for size in (1, 2):
        small = replace(model, reading=replace(model.reading, batch_size=size))
        np.testing.assert_allclose(small.predict(data.inputs), scores, atol=1e-5)
    wide = model.tokens.of(
        np.pad(data.inputs.ids, ((0, 0), (0, 5)), constant_values=data.inputs.pad),
        np.pad(data.inputs.words, ((0, 0), (0, 5)), constant_values=-1),
    )
    np.testing.assert_allclose(model.predict(wide), scores, atol=1e-5)
    assert np.ptp(scores) > 0.1  # they can be told apart, so that a wrong mask would show


def test_tokens_carry_their_words_and_special_ones_none(base):
    _, data = of("bert", base)
    texts = data.inputs
    assert texts.tokens(0) == ("[CLS]", "a", "good", "film", "[SEP]")
    assert texts.words[0].tolist()[:6] == [-1, 0, 1, 2, -1, -1]
    assert texts.strings()[1] == "[CLS] the film was not very good and it was a dull films . [SEP]"
    assert texts.vocabulary[texts.mask] == "[MASK]"


@pytest.mark.parametrize("path", ["bert", "gptclass"])
def test_gradients_at_the_embedding_agree_with_differences(path, base):
    model, data = of(path, base)
    model = replace(model, module=model.module.double())
    try:
        leaf, forward = model.attribution_point(data.inputs)
        odds = forward(leaf)
        p = model.predict(data.inputs)
        np.testing.assert_allclose(odds.detach().numpy(), np.log(p / (1 - p)), atol=1e-9)
        slope = torch.autograd.grad(odds.sum(), leaf)[0]
        step = torch.zeros_like(leaf)
        step[:, 1, 3] = 1e-6
        numeric = (forward(leaf.detach() + step) - odds).detach() / 1e-6
        np.testing.assert_allclose(slope[:, 1, 3].numpy(), numeric.numpy(), atol=1e-4)
        there = torch.as_tensor(data.inputs.ids != data.inputs.pad)
        assert (slope.abs().sum(-1)[~there] < 1e-12).all()  # no way leads through padding
    finally:
        model.module.float()


def test_attentions_are_those_that_transformers_returns(base):
    from transformers import AutoModelForSequenceClassification

    model, data = of("bert", base)
    assert "attention" in model.offers
    own = AutoModelForSequenceClassification.from_pretrained(base / "bert", attn_implementation="eager").eval()
    ids = torch.as_tensor(data.inputs.ids)
    with torch.no_grad():
        expected = own(ids, attention_mask=(ids != 0).long(), output_attentions=True).attentions
    found = model.attentions(data.inputs)
    assert len(found.layers) == len(expected) == 2
    for one, other in zip(found.layers, expected, strict=True):
        np.testing.assert_allclose(one, other.numpy(), atol=1e-6)
    assert model.attention_gradients(data.inputs).gradients is not None


def test_classes_that_do_not_fit_are_named(base, tmp_path):
    with pytest.raises(ModelError, match=r"the model's classes are 'good', 'bad', the data's 'no', 'good'"):
        of("bert", base, y=("good", "no", "no", "no", "good"))
    bert(tmp_path / "three", id2label={0: "a", 1: "b", 2: "good"})
    with pytest.raises(ModelError, match=r"the model's classes are 'a', 'b', 'good'"):
        of("three", tmp_path)
    renamed, data = of("bert", base, y=("good", "no", "no", "no", "good"), classes=("good", "no"))
    np.testing.assert_array_equal(renamed.predict(data.inputs), of("bert", base)[0].predict(data.inputs))


def test_long_texts_are_cut_and_told_and_missing_ones_refused(base):
    long = " ".join(["good"] * 60)
    model, data = of("bert", base, lines=(*LINES[:4], long))
    assert data.inputs.ids.shape[1] == 32
    assert data.inputs.ids[4, -1] == 3  # [SEP] still ends it
    assert "1 of 5 texts are longer than the 32 tokens" in data.notes[-1]
    assert np.isfinite(model.predict(data.inputs)).all()
    with pytest.raises(DataError, match="'text' has no text in 1 rows, first in row 2"):
        of("bert", base, lines=(*LINES[:2], None, *LINES[3:]))
    spec = replace(spec_of("bert"), data=DataSpec(label="y", positive="good"))
    frame = pd.DataFrame({"text": LINES, "age": range(5), "y": Y})
    with pytest.raises(DataError, match="reads one column of text, got 'text', 'age'"):
        inputs(spec, from_frame(frame, spec), base)


# --------------------------------------------------------------------------------------------- what is not opened
def test_a_pickle_is_refused_with_the_reason(base, tmp_path):
    folder = bert(tmp_path / "old")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"pytorch_model.bin and no model.safetensors: a pickle can run any code"):
        of("old", tmp_path)
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(ModelError, match=r"holds no model\.safetensors"):
        of("old", tmp_path)
    with pytest.raises(ModelError, match="is no folder"):
        of("google-bert/bert-base-uncased", tmp_path)


def test_weights_that_would_be_random_are_refused(base):
    with pytest.raises(ModelError, match=r"no weights for .*'classifier\.bias', 'classifier\.weight'.*BertForMaskedLM"):
        of("masked", base)


def test_code_of_the_folder_never_runs(tmp_path):
    folder = bert(tmp_path / "custom")
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "model_type": "mine",
        "auto_map": {"AutoConfig": "own.Config", "AutoModelForSequenceClassification": "own.M"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text("raise SystemExit('it ran')\n")
    with pytest.raises(ModelError, match="cannot be loaded"):
        of("custom", tmp_path)


def test_nothing_is_fetched_and_the_random_state_stays(base, monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    before = torch.random.get_rng_state()
    model, data = of("bert", base)
    model.predict(data.inputs)
    of("gpt", base, task="causal_lm")[0].log_likelihood(LINES)
    assert torch.equal(before, torch.random.get_rng_state())


# ------------------------------------------------------------------------------------------------ language models
def test_the_masked_likelihood_is_that_of_brute_force(base):
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    model, _ = of("masked", base, task="masked_lm")
    own = AutoModelForMaskedLM.from_pretrained(base / "masked").eval()
    tokenizer = AutoTokenizer.from_pretrained(base / "masked")
    expected = []
    for line in LINES:
        ids, total = tokenizer(line, return_tensors="pt")["input_ids"], 0.0
        for place in range(1, ids.shape[1] - 1):
            hidden = ids.clone()
            hidden[0, place] = tokenizer.mask_token_id
            with torch.no_grad():
                total += float(own(hidden).logits[0, place].double().log_softmax(-1)[ids[0, place]])
        expected.append(total)
    np.testing.assert_allclose(model.log_likelihood(LINES), expected, atol=1e-5)


def test_the_causal_likelihood_is_that_of_the_models_own_loss(base):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, _ = of("gpt", base, task="causal_lm")
    own = AutoModelForCausalLM.from_pretrained(base / "gpt").eval()
    tokenizer = AutoTokenizer.from_pretrained(base / "gpt")
    expected = []
    for line in LINES:
        ids = torch.tensor([[tokenizer.bos_token_id, *tokenizer(line)["input_ids"]]])
        with torch.no_grad():
            expected.append(-float(own(ids, labels=ids).loss) * (ids.shape[1] - 1))
    np.testing.assert_allclose(model.log_likelihood(LINES), expected, atol=1e-4)
    np.testing.assert_allclose([model.log_likelihood([line])[0] for line in LINES], expected, atol=1e-4)


def test_the_probabilities_of_all_texts_of_two_words_sum_to_one(base):
    model, _ = of("gpt", base, task="causal_lm")
    words = [*WORDS, ".", ","]
    pairs = model.log_likelihood([f"{one} {other}" for one in words for other in words])
    known = [place for place, token in enumerate(model.tokens.vocabulary) if token in words]
    with torch.no_grad():
        first = model.module(torch.tensor([[0]])).double().log_softmax(-1)[0, 0].numpy()
        second = model.module(torch.tensor([[0, place] for place in known])).double().log_softmax(-1)[:, 1].numpy()
    inside = np.exp(first[known][:, None] + second[:, known]).sum()
    assert np.exp(pairs).sum() == pytest.approx(inside, abs=1e-6)
    assert inside < 1


def test_language_models_name_what_they_do_not_do(base):
    model, data = of("masked", base, task="masked_lm")
    assert model.offers == {"embedding", "likelihood", "attention"}
    assert not model.card.answers_new_inputs
    with pytest.raises(MissingOffer, match="predicts no class"):
        model.predict(data.inputs)
    with pytest.raises(MissingOffer, match="offers 'attention', 'embedding', 'gradients'"):
        of("bert", base)[0].log_likelihood(LINES)
    with pytest.raises(ModelError, match="reads at most 23 tokens of a text; longer are 1"):
        of("gpt", base, task="causal_lm")[0].log_likelihood(["a good film", " ".join(["good"] * 24)])


def test_the_embedding_is_the_mean_of_the_words_own_states(base):
    from transformers import AutoModel, AutoTokenizer

    own = AutoModel.from_pretrained(base / "bert").eval()
    tokenizer = AutoTokenizer.from_pretrained(base / "bert")
    for layer in (0, 1, -1):
        model, _ = of("bert", base, layer=layer)
        found = model.embed(["a good films", "a zebra", "", "bad"])
        with torch.no_grad():
            states = own(**tokenizer("a good films", return_tensors="pt"), output_hidden_states=True).hidden_states
        np.testing.assert_allclose(found[0], states[layer][0, 1:-1].double().mean(0).numpy(), atol=1e-6)
        assert np.isnan(found[1:3]).all()
        assert np.isfinite(found[3]).all()
    with pytest.raises(ModelError, match=r"model\.layer: from 0 to 2"):
        of("bert", base, layer=7)[0].embed(["good"])


def test_tied_weights_keep_their_tie(base, tmp_path):
    model, _ = of("gpt", base, task="causal_lm")
    net = model.module.model
    assert net.lm_head.weight is net.transformer.wte.weight
    half = model.in_type("bfloat16").module.model
    assert half.lm_head.weight is half.transformer.wte.weight
    assert half.lm_head.weight.dtype == torch.bfloat16
    assert net.lm_head.weight.dtype == torch.float32
    with pytest.raises(RuntimeError, match="share memory"):
        safetensors.torch.save_file(net.state_dict(), tmp_path / "x.safetensors")
    safetensors.torch.save_model(net, tmp_path / "tied.safetensors")
    fresh = type(net)(net.config)
    load_weights(fresh, tmp_path / "tied.safetensors")
    assert torch.equal(fresh.lm_head.weight, net.lm_head.weight)


# ------------------------------------------------------------------------------------------------------ audits
def subject_over(model) -> Subject:
    data = Dataset(inputs=None, groups={}, origin=Origin(name="made here"), y=np.zeros(2, dtype=np.int64))
    return Subject(model=model, data=data, y=None, decision=None, score=None, groups={})


def words_of(texts) -> list[str]:
    from tokenizers.pre_tokenizers import BertPreTokenizer

    cut = [BertPreTokenizer().pre_tokenize_str(text.lower()) for text in texts]
    return sorted({word for line in cut for word, _ in line} - {".", ","})


@pytest.fixture(scope="module")
def winogender(test_data, tmp_path_factory):
    """Forty of the sentences, of both genders, and the paths of their files."""
    folder = tmp_path_factory.mktemp("winogender")
    lines = (test_data / "winogender" / "all_sentences.tsv").read_text().splitlines()
    own = [line for line in lines[1:] if line.split(".")[2] == "0" and "neutral" not in line and ".someone." in line]
    (folder / "sentences.tsv").write_text("\n".join([lines[0], *own[:60]]) + "\n")
    return [str(folder / "sentences.tsv"), str(test_data / "winogender" / "occupations-stats.tsv")]


@pytest.mark.parametrize("task", ["masked_lm", "causal_lm"])
def test_random_weights_show_no_preference_on_winogender_and_crows_pairs(task, winogender, test_data, tmp_path):
    crows = read_crows_pairs(test_data / "crows_pairs" / "crows_pairs_anonymized.csv")
    short = [i for i in range(len(crows)) if max(len(crows.more[i]), len(crows.less[i])) < 60][:40]
    pairs = [[crows.more[i], crows.less[i], crows.topic[i]] for i in short]
    sentences = read_winogender(*winogender)
    words = words_of([*sentences.male, *sentences.female, *(text for row in pairs for text in row[:2])])
    bert(tmp_path / "m", "MaskedLM", words=words)
    gpt(tmp_path / "m2", words=words, places=40)
    model, _ = of("m" if task == "masked_lm" else "m2", tmp_path, task=task)
    found = list(pairs_check(subject_over(model), context_of(), winogender=winogender, pairs=pairs))
    for test in ("winogender", "own pairs"):
        share = find(found, "stereotype_preference", test=test)
        assert share.n >= 25
        assert share.interval.low <= 0.5 <= share.interval.high, (task, test, share)
    slope = find(found, "occupation_correlation", test="winogender")
    assert slope.interval.low <= 0 <= slope.interval.high


def test_associations_run_on_the_embedding(base):
    model, _ = of("bert", base)
    words = {"x": ("good", "very"), "y": ("bad", "dull"), "a": ("he", "zebra"), "b": ("she",)}
    found = list(association_check(subject_over(model), context_of(), **words))
    effect = find(found, "effect_size", test="own words")
    assert -2 <= effect.value <= 2
    assert ("own words", "a", 1, "zebra") in found[-1].rows


def audited(folder: Path, document: str, *more: str):
    (folder / "audit.toml").write_text(document)
    code = cli.main(["run", str(folder / "audit.toml"), "--out", str(folder / "out"), "-q", "--exit-zero", *more])
    return code, codec.read_record(folder / "out" / "result.json")


def test_a_classifier_is_audited_by_the_command(base, tmp_path):
    rng = np.random.default_rng(0)
    lines = [" ".join(rng.choice(WORDS, size=rng.integers(2, 7))) for _ in range(60)]
    frame = pd.DataFrame({"text": lines, "y": rng.choice(["good", "bad"], 60), "sex": rng.choice(["f", "m"], 60)})
    frame.to_csv(tmp_path / "data.csv", index=False)
    document = (
        f'[model]\nkind = "transformers"\npath = "{base / "bert"}"\n'
        '[data]\npath = "data.csv"\nlabel = "y"\npositive = "good"\n[groups]\nattributes = ["sex"]\nmin_n = 5\n'
        '[checks."explain.cases"]\nrows = 2\n'
    )
    only = "performance.overall,fairness.selection,explain.cases,explain.attention,robustness.precision"
    code, report = audited(tmp_path, document, "--only", only, "--dtype", "float32", "--threads", "1")
    assert code == 0
    assert {o.check: (o.status, o.reason) for o in report.outcomes if o.status != "done"} == {}
    assert report.subject.model.kind == "transformers"
    assert report.subject.model.dtype == "float32"
    assert report.subject.rows == 60


def test_a_language_model_is_audited_by_the_command(base, tmp_path):
    pd.DataFrame({"text": LINES}).to_csv(tmp_path / "data.csv", index=False)
    document = (
        f'[model]\nkind = "transformers"\npath = "{base / "masked"}"\ntask = "masked_lm"\n[data]\npath = "data.csv"\n'
        '[checks]\nonly = ["fairness.pairs", "fairness.association", "explain.cases"]\n'
        '[checks."fairness.pairs"]\npairs = [["he works", "she works", "job"], ["she works", "he works", "job"]]\n'
        '[checks."fairness.association"]\nx = ["good", "very"]\ny = ["bad", "dull"]\na = ["he"]\nb = ["she"]\n'
    )
    code, report = audited(tmp_path, document)
    assert code == 0
    status = {outcome.check: outcome.status for outcome in report.outcomes}
    assert status == {"fairness.pairs": "done", "fairness.association": "done", "explain.cases": "not_applicable"}


# ----------------------------------------------------------------------------------------------- a broken torchvision
def test_a_broken_torchvision_is_named_as_the_cause(base, tmp_path):
    package = tmp_path / "site" / "torchvision"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text('raise RuntimeError("operator torchvision::nms does not exist")\n')
    facts = tmp_path / "site" / "torchvision-0.28.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: torchvision\nVersion: 0.28.0\n")
    (tmp_path / "data.csv").write_text("text,y\na good film,good\nbad,bad\n")
    (tmp_path / "audit.toml").write_text(
        f'[model]\nkind = "transformers"\npath = "{base / "bert"}"\n[data]\npath = "data.csv"\nlabel = "y"\npositive = "good"\n'
    )
    path = os.pathsep.join([str(tmp_path / "site"), *sys.path])
    done = subprocess.run(
        [sys.executable, "-m", "audit", "run", "audit.toml"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2, done.stderr
    version = torch.__version__
    minor = int(version.split(".")[1])
    for words in (
        f"torchvision 0.28.0 is installed but cannot be imported beside torch {version}",
        "RuntimeError: operator torchvision::nms does not exist",
        "pip uninstall torchvision",
        f"'torchvision==0.{minor + 15}.*'",
    ):
        assert words in done.stderr
