"""Every family on a CUDA device beside the CPU: outputs, gradients, what it offers beside, decisions in bfloat16 by group.

The comparisons are functions of two models, so that the tests without a GPU run them on a copy on the CPU, which must
agree, and on one whose weights are a little off, which must not. `pytest -m gpu -s tests/models/test_gpu.py` prints the
flips.
"""

import copy
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hugging_folders import bert, gpt
from little_families import CPU, FAMILIES, little, spec_of, training_rows, unseen
from subjects import context_of
from torch import nn

from audit.core import Dataset, DataSpec, Floats, Measure, ModelSpec, NotApplicable, Origin, Spec
from audit.data.captioned import Captioned
from audit.data.graphs import Graphs
from audit.data.readers import from_frame
from audit.data.series import Series
from audit.data.texts import Texts
from audit.models.adapters.torch import TorchModel, wrap
from audit.models.load import inputs, load
from audit.models.reference import trained
from audit.robustness.precision import precision
from audit.subject import assemble

EVERY = pytest.mark.parametrize("id", list(FAMILIES))
TOLERANCE = 1e-4
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


def difference(one: Floats, other: Floats) -> float:
    """The largest difference, relative where the first are above 1; what is unknown (NaN) must be so in both."""
    assert one.shape == other.shape
    np.testing.assert_array_equal(np.isnan(one), np.isnan(other))
    return float(np.nan_to_num(np.abs(one - other) / np.maximum(np.abs(one), 1)).max(initial=0))


def apart(here: TorchModel, there: TorchModel, rows: Any) -> float:
    """How far their raw outputs on the rows are apart."""
    with exact():
        one, other = here._answer(rows), there._answer(rows)
    assert np.isfinite(one).all()
    return difference(one, other)


def slopes(model: TorchModel, rows: Any) -> list[Floats]:
    """Gradients of the log-odds at the attribution point; of nodes by all features and by the weights of edges."""
    if not isinstance(rows, Graphs):
        leaf, forward = model.attribution_point(rows)
        return [torch.autograd.grad(forward(leaf).sum(), leaf)[0].double().cpu().numpy()]
    leaves = [model.tensor(rows.features).requires_grad_()]
    raw = [model._nodes(rows, leaves[0])]
    if model.card.output != "value":
        leaves.append(torch.ones(len(rows.edges), device=model.device, requires_grad=True))
        raw.append(model.tie_weights(rows, np.ones(len(rows), dtype=np.int64))(leaves[1]))
    return [
        torch.autograd.grad(each.sum(), leaf)[0].double().cpu().numpy() for each, leaf in zip(raw, leaves, strict=True)
    ]


def slopes_apart(here: TorchModel, there: TorchModel, rows: Any) -> float:
    """How far their gradients are apart, in units of the largest."""
    with exact():
        pairs = list(zip(slopes(here, rows), slopes(there, rows), strict=True))
    assert all(np.isfinite(one).all() for one, _ in pairs)
    return max(float(np.abs(one - other).max() / max(np.abs(one).max(), 1e-12)) for one, other in pairs)


def _attention(model: Any, rows: Any) -> Floats:
    return np.concatenate([layer.ravel() for layer in model.attentions(rows).layers])


def _matching(model: Any, rows: Any) -> Floats:
    return model.match(rows.images, rows.texts) if isinstance(rows, Captioned) else model.predict(rows)


def _lines(rows: Any) -> Any:
    found = rows.texts if isinstance(rows, Captioned) else rows
    return found.strings() if isinstance(found, Texts) else rows


# What models offer beside answers and gradients, as numbers; "sample" and "uncertainty" are draws, which devices do not share.
BESIDE: Mapping[str, Callable[[Any, Any], Floats]] = {
    "reconstruction": lambda model, rows: model.reconstruct(rows)[1],
    "experts": lambda model, rows: model.routes(rows),
    "segmentation": lambda model, rows: model.segment(rows),
    "likelihood": lambda model, rows: model.log_likelihood(_lines(rows)),
    "embedding": lambda model, rows: model.embed(_lines(rows)),
    "attention": _attention,
    "matching": _matching,
}


def tensors(model: TorchModel, rows: Any) -> list[torch.Tensor]:
    """What the module reads of the rows."""
    if isinstance(rows, Graphs):
        return [model.tensor(rows.features), torch.as_tensor(rows.edges.T.copy())]
    return [model.tensor(rows)]


def beside(here: TorchModel, there: TorchModel, rows: Any) -> dict[str, float]:
    """How far what they offer beside is apart, by offer, on the first 20 rows."""
    some = rows.take(np.arange(20))
    with exact():
        return {
            offer: difference(ask(here, some), ask(there, some))
            for offer, ask in BESIDE.items()
            if offer in here.offers
        }


def flips(model: TorchModel, data: Dataset, spec: Spec) -> dict[tuple[str, ...], Measure]:
    """The flip rates in bfloat16 of everyone, of every group and between them."""
    found = list(precision(assemble(spec, data, model), context_of(), types=("bfloat16",)))
    rates = [each for each in found if each.name.startswith("flip_rate")]
    assert all(each.interval is not None for each in rates if each.value is not None)
    return {(each.name, *each.where.values()): each for each in rates}


# --------------------------------------------------------------------------------------------------------- subjects
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
@EVERY
def test_a_copy_on_the_cpu_agrees_and_one_a_little_off_does_not(id):
    model, rows = little(id), unseen(id).inputs.take(np.arange(60))
    if model.card.stochastic:
        pytest.skip("it answers by draws of its own")
    twin, off = elsewhere(model, "cpu"), elsewhere(model, "cpu", off=1e-2)
    assert apart(model, twin, rows) == 0
    assert not any(beside(model, twin, rows).values())
    if len(np.unique(model._answer(rows))) > 10:  # answers in few steps need not cross one
        assert apart(model, off, rows) > TOLERANCE
    if "gradients" in model.offers:
        assert slopes_apart(model, twin, rows) == 0


@EVERY
def test_flips_in_bfloat16_are_told_by_group(id):
    try:
        found = flips(little(id), unseen(id), spec_of(id))
    except NotApplicable as reason:
        pytest.skip(str(reason))
    assert ("flip_rate", "bfloat16") in found
    assert any(key[0] == "flip_rate_difference" for key in found)


@pytest.mark.parametrize("kind", ["gru", "bert", "gpt"])
def test_the_comparison_reads_recurrent_nets_and_texts(kind, tmp_path):
    model, data = recurrent() if kind == "gru" else reader(tmp_path, kind)
    assert apart(model, elsewhere(model, "cpu"), data.inputs) == 0
    assert slopes_apart(model, elsewhere(model, "cpu"), data.inputs) == 0
    assert apart(model, elsewhere(model, "cpu", off=1e-2), data.inputs) > TOLERANCE
    assert slopes_apart(model, elsewhere(model, "cpu", off=1e-2), data.inputs) > TOLERANCE


# Where rows go different ways by their values, or a library looks at them (transformers at its masks, torch_geometric at its
# ties), there is nothing to see without values.
BY_VALUES = {
    *("mixture_of_experts", "rule_net", "scaffold"),
    *("albert", "bert", "bert_mlm", "gpt", "roberta"),
    *("gat", "gcn"),
}


@pytest.mark.parametrize("id", sorted(set(FAMILIES) - BY_VALUES))
def test_no_family_keeps_tensors_behind_when_it_moves(id):
    """On the device "meta", which computes shapes only, a tensor left on the CPU is an error as it would be on CUDA."""
    model, rows = little(id), unseen(id).inputs
    module = copy.deepcopy(model.module).to("meta").eval()
    asked = [each.to("meta") for each in tensors(model, rows)]
    with torch.no_grad():
        raw = module(*asked)
    assert raw.device.type == "meta"
    assert len(raw) == len(asked[0])


# --------------------------------------------------------------------------------------------------------- the device
@on_gpu
@EVERY
def test_a_family_gives_the_same_logits_and_gradients_on_cuda(id):
    model, rows = little(id), unseen(id).inputs
    if model.card.stochastic:
        pytest.skip("it answers by draws of its own, which differ between devices")
    there = elsewhere(model, "cuda")
    assert apart(model, there, rows) <= TOLERANCE
    if "gradients" in model.offers:
        assert slopes_apart(model, there, rows) <= TOLERANCE
    assert {offer: far for offer, far in beside(model, there, rows).items() if far > TOLERANCE} == {}


@on_gpu
@EVERY
def test_a_family_trains_on_cuda(id):
    model = trained(id, training_rows(id), spec_of(id, replace(CPU, device="cuda")))
    assert np.isfinite(model.predict(unseen(id).inputs)).all()
    assert model.card.device.startswith("cuda")


@on_gpu
@EVERY
def test_flips_in_bfloat16_on_cuda_are_told_by_group(id):
    try:
        found = flips(elsewhere(little(id), "cuda"), unseen(id), spec_of(id))
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
