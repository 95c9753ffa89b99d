"""Encoders of texts: their answers against transformers asked directly, masks, gaps, and what they refuse."""

import sys
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from audit.core import DataError, ModelError, RunSpec, Spec, UsageError, stream
from audit.data.texts import tokenised
from audit.data.worlds import occupations as jobs
from audit.data.worlds.base import planted
from audit.models.cloze import cloze
from audit.models.encoders import classifier, tpr_gap
from audit.models.family_model import FamilyModel
from audit.models.masked_language import hidden
from audit.models.reference import read, save, trained
from audit.workflows.calibrate import wanted

CPU = Spec(run=RunSpec(device="cpu", threads=1))


def drawn(world, rows=120, seed=0):
    return planted(wanted(CPU, world, {}, "bert").data).draw(rows, stream(seed, "test"))


@pytest.fixture(scope="module")
def untaught():
    """Every encoder with its first weights, and the data that it reads."""
    made = {}
    for family in ("bert", "roberta", "albert", "bert_mlm"):
        data = drawn("occupations" if family == "bert_mlm" else "biographies")
        options = {"pretraining": 0} if family == "roberta" else {}
        made[family] = trained(family, data, CPU, seed=1, options={"epochs": 0, **options}), data
    return made


def padded(ids, pad, rng):
    """The ids with a few tokens of padding behind some texts."""
    ids = torch.as_tensor(ids[:20].copy())
    ids[::3, -3:] = pad
    return ids


def begun(module, ids):
    """The ids behind [CLS], as transformers gets them, and their mask."""
    own = torch.full((len(ids), 1), module.shape.vocabulary)
    both = torch.cat([own, ids], dim=1)
    return {"input_ids": both, "attention_mask": (both != module.shape.pad).long()}


@pytest.mark.parametrize("family", ["bert", "roberta", "albert"])
def test_logits_are_those_of_transformers_asked_with_ids(family, untaught):
    model, data = untaught[family]
    module = model.module
    ids = padded(data.inputs.ids, data.inputs.pad, np.random.default_rng(0))
    with torch.no_grad():
        # transformers counts RoBERTa's places by itself, from the padding in the ids
        direct = module.model(**begun(module, ids)).logits[:, 0]
        np.testing.assert_allclose(module(ids).numpy(), direct.numpy(), atol=1e-6)
        shorter = module(ids[:1, :-3])
    np.testing.assert_allclose(shorter.numpy(), direct[:1].numpy(), atol=1e-5)


def test_the_gap_is_read_as_a_mask_and_never_the_pronoun(untaught):
    model, data = untaught["bert_mlm"]
    module, ids = model.module, data.inputs.ids
    assert (module.place, module.words) == (jobs.PRONOUN, [jobs.ID["he"], jobs.ID["she"]])
    masked = torch.as_tensor(ids).clone()
    masked[:, jobs.PRONOUN] = data.inputs.mask
    with torch.no_grad():
        said = module.model(**begun(module, masked)).logits[:, jobs.PRONOUN + 1]
    chance = said[:, module.words].softmax(dim=-1)[:, 1].numpy()
    np.testing.assert_allclose(model.predict(data.inputs), chance, atol=1e-6)
    swapped = ids.copy()
    swapped[:, jobs.PRONOUN] = jobs.ID["he"]
    np.testing.assert_array_equal(
        model.predict(data.inputs.with_ids(swapped, data.inputs.words)), model.predict(data.inputs)
    )
    leaf, forward = model.attribution_point(data.inputs)
    slope = torch.autograd.grad(forward(leaf).sum(), leaf)[0].abs().sum(dim=(0, 2))
    assert slope[jobs.PRONOUN] == 0
    assert (slope[[jobs.OCCUPATION, jobs.TIME]] > 0).all()


def test_the_pseudo_likelihood_of_lines_is_that_of_brute_force(untaught):
    model, data = untaught["bert_mlm"]
    lines = ["the nurse said that she left", "often the pilot saw the letter"]
    found = model.log_likelihood(lines)
    texts = tokenised(lines, data.inputs.vocabulary)
    for row, length in enumerate((6, 6)):
        total = 0.0
        for place in range(length):
            ids = torch.as_tensor(texts.ids[row : row + 1, :length]).clone()
            token = int(ids[0, place])
            ids[0, place] = texts.mask
            with torch.no_grad():
                said = model.module.model(**begun(model.module, ids)).logits[0, place + 1]
            total += float(said[: len(texts.vocabulary)].double().log_softmax(dim=-1)[token])
        assert found[row] == pytest.approx(total, abs=1e-5)
    vectors = model.embed([*lines, "the zebra left"])
    assert vectors.shape == (3, 48)
    assert np.isfinite(vectors[:2]).all()
    assert np.isnan(vectors[2]).all()


def test_weights_that_are_tied_stay_tied_when_they_are_read(untaught, tmp_path):
    model, data = untaught["bert_mlm"]
    save(model, tmp_path)
    net = read(tmp_path, data, CPU).module.model
    assert net.cls.predictions.decoder.weight is net.bert.embeddings.word_embeddings.weight
    np.testing.assert_array_equal(read(tmp_path, data, CPU).predict(data.inputs), model.predict(data.inputs))


def test_albert_has_one_layer_however_often_it_is_gone_through_and_tokens_of_few_numbers():
    data = drawn("biographies", 20)
    sizes = {
        (family, layers): sum(
            each.numel() for each in classifier(data, family, seed=0, device="cpu", layers=layers).parameters()
        )
        for family in ("bert", "albert")
        for layers in (1, 4)
    }
    assert sizes["albert", 1] == sizes["albert", 4]
    assert sizes["bert", 4] > 2 * sizes["bert", 1]
    table = classifier(data, "albert", seed=0, device="cpu").model.get_input_embeddings()
    assert table.weight.shape == (35, 16)


def test_masks_are_drawn_anew_in_the_shares_of_the_paper(untaught):
    shape = untaught["bert_mlm"][0].module.shape
    ids = torch.full((400, 500), 20)
    ids[:, 450:] = shape.pad
    with torch.random.fork_rng():
        torch.manual_seed(0)
        (first, asked), (second, _) = hidden(ids, 0.15, shape), hidden(ids, 0.15, shape)
    assert not torch.equal(first, second)
    assert not asked[:, 450:].any()
    assert (first[:, 450:] == shape.pad).all()
    assert (first == ids)[~asked].all()
    count = int(asked.sum())
    assert asked[:, :450].float().mean().item() == pytest.approx(0.15, abs=0.004)
    assert (first[asked] == shape.mask).float().mean().item() == pytest.approx(0.8 + 0.1 / 34, abs=4 * count**-0.5 / 2)
    assert (first[asked] == 20).float().mean().item() == pytest.approx(0.1 + 0.1 / 34, abs=4 * count**-0.5 / 2)


def test_pretraining_leaves_the_classifier_its_encoder_and_nothing_else():
    data = drawn("biographies", 128)
    options = {"epochs": 0, "batch": 32}
    taught, plain = (trained("roberta", data, CPU, options={**options, "pretraining": n}).module for n in (1, 0))
    before, after = plain.state_dict(), taught.state_dict()
    assert before.keys() == after.keys()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert all(name.startswith("model.roberta.") for name in moved)


def test_they_classify_other_texts_into_more_classes():
    lines = ["a good film", "a bad film", "a dull , dull film"] * 8
    data = drawn("biographies", 24)
    data = replace(
        data, inputs=tokenised(lines), twin=None, groups={}, y=np.arange(24) % 3, classes=("good", "bad", "dull")
    )
    for family in ("bert", "albert"):
        model = trained(family, data, CPU, options={"epochs": 30, "dropout": 0.0, "rate": 3e-3})
        assert isinstance(model, FamilyModel)
        scores = model.predict(data.inputs)
        assert scores.shape == (24, 3)
        np.testing.assert_array_equal(scores.argmax(axis=1), data.y)


def test_the_gap_between_groups_by_hand():
    data = drawn("biographies", 4000)
    score = planted(wanted(CPU, "biographies", {}, "bert").data).posterior(data)
    sex, nurse = data.groups["sex"].values, data.y == 1
    by_hand = [np.mean([score[i] >= 0.5 for i in range(4000) if nurse[i] and sex[i] == k]) for k in range(2)]
    assert tpr_gap(data, score) == pytest.approx(by_hand[0] - by_hand[1])


# ------------------------------------------------------------------------------------------------------- refused
def test_what_is_refused_is_named(untaught):
    texts, table = drawn("biographies"), drawn("credit")
    with pytest.raises(DataError, match="bert reads texts, the data hold tables"):
        trained("bert", table, CPU)
    with pytest.raises(DataError, match=r"fills in the names of the classes .*'surgeon', 'nurse'.*no word"):
        trained("bert_mlm", texts, CPU)
    model, data = untaught["bert"]
    long = np.tile(data.inputs.ids[:2], (1, 5))
    with pytest.raises(ModelError, match="bert: reads texts of at most 64 tokens, got 70"):
        model.predict(data.inputs.with_ids(long, long))
    for options, words in (
        ({"heads": 5}, "width: a multiple of the 5 heads, got 48"),
        ({"dropout": 1.0}, r"dropout: a number in \[0, 1\), got 1.0"),
        ({"layers": 0}, "layers: a whole number from 1 on, got 0"),
    ):
        with pytest.raises(UsageError, match=words):
            trained("bert", texts, CPU, options=options)
    with pytest.raises(UsageError, match=r"masked: a share between 0 and 1, got 1.5"):
        trained("roberta", texts, CPU, options={"masked": 1.5})
    unmasked = replace(texts, inputs=replace(texts.inputs, mask=None))
    with pytest.raises(DataError, match="no mask token"):
        trained("roberta", unmasked, CPU)


def test_a_gap_needs_one_place_for_all():
    data = drawn("occupations")
    assert cloze(data, "x").place == jobs.PRONOUN
    ids = data.inputs.ids.copy()
    ids[0, jobs.PRONOUN] = jobs.ID["the"]
    with pytest.raises(DataError, match=r"exactly one of 'he', 'she'.*0 places, and 119 of 120 texts"):
        cloze(replace(data, inputs=data.inputs.with_ids(ids, data.inputs.words)), "x")


def test_without_transformers_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ModelError, match=r"bert needs transformers: pip install 'neural-audit\[transformers\]'"):
        trained("bert", drawn("biographies"), CPU)


def test_the_shape_is_all_that_builds_them_again(untaught):
    for model, _ in untaught.values():
        again = type(model.module)(**model.module.config)
        assert asdict(again.shape) == asdict(model.module.shape)
        assert {n: p.shape for n, p in again.named_parameters()} == {
            n: p.shape for n, p in model.module.named_parameters()
        }
