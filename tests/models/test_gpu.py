"""Every family on a CUDA device beside the CPU: logits, gradients, decisions in bfloat16 by group.

The comparisons are functions of two models, so that the tests without a GPU run them on a copy on the CPU, which must
agree, and on one whose weights are a little off, which must not. `pytest -m gpu -s tests/models/test_gpu.py` prints the
flips.
"""

import copy
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hugging_folders import bert, gpt
from subjects import context_of
from torch import nn

from audit import registry
from audit.core import Dataset, DataSpec, Measure, ModelSpec, NotApplicable, Origin, RunSpec, Spec, stream
from audit.data.readers import from_frame
from audit.data.series import Series
from audit.data.worlds.base import planted
from audit.models.adapters.torch import TorchModel, wrap
from audit.models.load import inputs, load
from audit.models.reference import trained
from audit.robustness.precision import precision
from audit.subject import assemble
from audit.workflows.calibrate import wanted

FAMILIES = registry.entries("families")
CHEAP = ("mlp", "mixture_of_experts", "rbf")  # what the tests without a GPU compare; the others run where there is one
TOLERANCE = 1e-4
CPU = RunSpec(device="cpu", threads=1)
GPU = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def on_gpu(test: Any) -> Any:
    for mark in GPU:
        test = mark(test)
    return test


# ------------------------------------------------------------------------------------------------- what is compared
@contextmanager
def exact() -> Iterator[None]:
    """Float32 is float32 inside: TF32, which CUDA may use for it, keeps 10 bits."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        with torch.backends.cudnn.flags(allow_tf32=False):
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def elsewhere(model: TorchModel, device: str, *, off: float = 0.0) -> TorchModel:
    """The same model over a copy of its module on a device, its parameters and buffers off by a share of themselves."""
    module = copy.deepcopy(model.module)
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.is_floating_point():
                tensor.mul_(1 + off)
    return replace(model, module=module.to(device), device=torch.device(device))


def apart(here: TorchModel, there: TorchModel, rows: Any) -> float:
    """The largest difference of their raw outputs on the rows, relative where they are above 1."""
    with exact():
        one, other = here._answer(rows), there._answer(rows)
    assert np.isfinite(one).all()
    return float((np.abs(one - other) / np.maximum(np.abs(one), 1)).max())


def slopes_apart(here: TorchModel, there: TorchModel, rows: Any) -> float:
    """The same of the gradients of their log-odds at the attribution point, in units of the largest."""
    found = []
    for model in (here, there):
        with exact():
            leaf, forward = model.attribution_point(rows)
            found.append(torch.autograd.grad(forward(leaf).sum(), leaf)[0].double().cpu().numpy())
    return float(np.abs(found[0] - found[1]).max() / max(np.abs(found[0]).max(), 1e-12))


def flips(model: TorchModel, data: Dataset, spec: Spec) -> dict[tuple[str, ...], Measure]:
    """The flip rates in bfloat16 of everyone, of every group and between them."""
    found = list(precision(assemble(spec, data, model), context_of(), types=("bfloat16",)))
    rates = [each for each in found if each.name.startswith("flip_rate")]
    assert all(each.interval is not None for each in rates if each.value is not None)
    return {(each.name, *each.where.values()): each for each in rates}


# --------------------------------------------------------------------------------------------------------- subjects
def family_of(id: str, rows: int = 600) -> tuple[TorchModel, Dataset, Spec]:
    """A family trained on few rows of its world on the CPU, unseen rows, and their configuration."""
    facts = FAMILIES[id].facts
    spec = wanted(Spec(run=CPU), facts["world"], facts["knobs"], id)
    world = planted(spec.data)
    model = trained(id, world.draw(rows, stream(0, "test.training")), spec)
    return model, world.draw(400, stream(1, "test.unseen")), spec


class Recurrent(nn.Module):
    """A GRU whose last state gives one logit."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.GRU(3, 8, batch_first=True), nn.Linear(8, 1)

    def forward(self, x):
        return self.head(self.layer(x)[0][:, -1])[:, 0]


def recurrent() -> tuple[TorchModel, Dataset]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = Recurrent().eval()
    values = np.random.default_rng(0).normal(size=(40, 6, 3))
    series = Series(values=values, columns=("a", "b", "c"), lengths=np.full(40, 6))
    data = Dataset(inputs=series, groups={}, origin=Origin(name="made here"))
    return wrap(module, data, Spec(model=ModelSpec(kind="torch", output="logit"), run=CPU)), data


def reader(folder: Any, kind: str) -> tuple[TorchModel, Dataset]:
    made = {"bert": lambda: bert(folder / "m"), "gpt": lambda: gpt(folder / "m", "ForSequenceClassification")}
    made[kind]()
    spec = Spec(model=ModelSpec(kind="transformers", path="m"), data=DataSpec(label="y", features=("text",)), run=CPU)
    lines = ["a good film", "the film was not very good and it was dull", "bad", "very bad"]
    data = inputs(spec, from_frame(pd.DataFrame({"text": lines, "y": [1, 0, 0, 1]}), spec), folder)
    return load(spec, data, folder), data


# ------------------------------------------------------------------------------------------ that they can fail: the CPU
@pytest.mark.parametrize("id", CHEAP)
def test_a_copy_on_the_cpu_agrees_and_one_a_little_off_does_not(id):
    model, data, spec = family_of(id)
    assert apart(model, elsewhere(model, "cpu"), data.inputs) == 0
    assert slopes_apart(model, elsewhere(model, "cpu"), data.inputs) == 0
    off = elsewhere(model, "cpu", off=1e-2)
    assert apart(model, off, data.inputs) > TOLERANCE
    assert slopes_apart(model, off, data.inputs) > TOLERANCE
    found = flips(model, data, spec)
    assert ("flip_rate", "bfloat16") in found
    assert any(key[0] == "flip_rate_difference" for key in found)


@pytest.mark.parametrize("kind", ["gru", "bert", "gpt"])
def test_the_comparison_reads_recurrent_nets_and_texts(kind, tmp_path):
    model, data = recurrent() if kind == "gru" else reader(tmp_path, kind)
    assert apart(model, elsewhere(model, "cpu"), data.inputs) == 0
    assert slopes_apart(model, elsewhere(model, "cpu"), data.inputs) == 0
    assert apart(model, elsewhere(model, "cpu", off=1e-2), data.inputs) > TOLERANCE
    assert slopes_apart(model, elsewhere(model, "cpu", off=1e-2), data.inputs) > TOLERANCE


# Where rows go different ways by their values there is nothing to see without values.
BY_VALUES = {"mixture_of_experts", "rule_net", "scaffold"}


@pytest.mark.parametrize("id", sorted(set(FAMILIES) - BY_VALUES))
def test_no_family_keeps_tensors_behind_when_it_moves(id):
    """On the device "meta", which computes shapes only, a tensor left on the CPU is an error as it would be on CUDA."""
    model, data, _ = family_of(id, rows=100)
    module = copy.deepcopy(model.module).to("meta").eval()
    with torch.no_grad():
        raw = module(model.tensor(data.inputs).to("meta"))
    assert raw.device.type == "meta"
    assert len(raw) == len(data)


# --------------------------------------------------------------------------------------------------------- the device
@on_gpu
@pytest.mark.parametrize("id", list(FAMILIES))
def test_a_family_gives_the_same_logits_and_gradients_on_cuda(id):
    model, data, _ = family_of(id)
    if model.card.stochastic:
        pytest.skip("it answers by draws of its own, which differ between devices")
    there = elsewhere(model, "cuda")
    assert apart(model, there, data.inputs) <= TOLERANCE
    if "gradients" in model.offers:
        assert slopes_apart(model, there, data.inputs) <= TOLERANCE


@on_gpu
@pytest.mark.parametrize("id", list(FAMILIES))
def test_a_family_trains_on_cuda(id):
    facts = FAMILIES[id].facts
    spec = wanted(Spec(run=replace(CPU, device="cuda")), facts["world"], facts["knobs"], id)
    world = planted(spec.data)
    model = trained(id, world.draw(600, stream(0, "test.training")), spec)
    scores = model.predict(world.draw(100, stream(1, "test.unseen")).inputs)
    assert np.isfinite(scores).all()
    assert model.card.device.startswith("cuda")


@on_gpu
@pytest.mark.parametrize("id", list(FAMILIES))
def test_flips_in_bfloat16_on_cuda_are_told_by_group(id):
    model, data, spec = family_of(id)
    try:
        found = flips(elsewhere(model, "cuda"), data, spec)
    except NotApplicable as reason:
        pytest.skip(str(reason))
    assert found
    for key, measure in found.items():
        if measure.value is not None:
            sys.stdout.write(
                f"{id} {' '.join(key)}: {measure.value:.4f} [{measure.interval.low:.4f}, {measure.interval.high:.4f}]\n"
            )


@on_gpu
@pytest.mark.parametrize("kind", ["gru", "bert", "gpt"])
def test_recurrent_nets_and_texts_agree_on_cuda_in_evaluation_mode(kind, tmp_path):
    model, data = recurrent() if kind == "gru" else reader(tmp_path, kind)
    there = elsewhere(model, "cuda")
    assert apart(model, there, data.inputs) <= TOLERANCE
    assert slopes_apart(model, there, data.inputs) <= TOLERANCE  # cuDNN alone refuses this for the GRU
    if kind != "gru":
        np.testing.assert_allclose(there.embed(["a good film"]), model.embed(["a good film"]), atol=TOLERANCE)


@on_gpu
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_recurrent_net_runs_in_a_lower_type_on_cuda(dtype):
    model, data = recurrent()
    there = elsewhere(model, "cuda")
    np.testing.assert_allclose(there.scores_in(dtype, data.inputs), model.predict(data.inputs), atol=0.02)


def test_an_error_of_memory_in_a_librarys_words_halves_the_batch():
    from audit.models.base import Reading, predict

    for words in (
        "CUDA out of memory. Tried to allocate 2 GiB",
        "CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`",
    ):
        asked = []

        def narrow(x, words=words, asked=asked):
            asked.append(len(x))
            if len(x) > 30:
                raise RuntimeError(words)
            return x[:, 0]

        values = np.linspace(0, 1, 100)[:, None]
        np.testing.assert_array_equal(predict(narrow, values, Reading()), values[:, 0])
        assert asked[:4] == [100, 50, 25, 25]
