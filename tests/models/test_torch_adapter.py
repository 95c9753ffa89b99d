"""The torch adapter: nothing of the user's module changes, weights are exact, gradients are right."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from audit.core import DataSpec, ModelError, ModelSpec, RunSpec, Spec
from audit.data.readers import read, tabular
from audit.models.adapters.oracle import oracle
from audit.models.adapters.torch import digest, evaluating, load_weights, wrap

SPEC = Spec(
    model=ModelSpec(kind="torch", output="logit"), data=DataSpec(world="credit", rows=300), run=RunSpec(device="cpu")
)
PROBABILITY = replace(SPEC, model=ModelSpec(kind="torch"))


@pytest.fixture(scope="module")
def data():
    return read(SPEC, None)


def net(*last: nn.Module, outputs: int = 1, dtype: torch.dtype = torch.float32) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        layers = (nn.Linear(7, 12), nn.BatchNorm1d(12), nn.Tanh(), nn.Dropout(0.4), nn.Linear(12, outputs), *last)
        return nn.Sequential(*layers).to(dtype)


def snapshot(module: nn.Module):
    state = {name: value.clone() for name, value in module.state_dict().items()}
    grads = [None if each.grad is None else each.grad.clone() for each in module.parameters()]
    return (
        state,
        grads,
        [each.training for each in module.modules()],
        [each.requires_grad for each in module.parameters()],
    )


def same(one, other) -> bool:
    tensors = all(
        torch.equal(value, other[0][name]) and value.dtype == other[0][name].dtype for name, value in one[0].items()
    )
    grads = all(
        (a is None) == (b is None) and (a is None or torch.equal(a, b)) for a, b in zip(one[1], other[1], strict=True)
    )
    return tensors and grads and one[2:] == other[2:]


def test_the_module_is_left_as_it_was(data):
    module = net()
    module.train()
    module[3].eval()
    module[0].weight.requires_grad_(False)
    module(torch.randn(5, 7, generator=torch.Generator().manual_seed(0))).sum().backward()
    before = snapshot(module)
    model = wrap(module, data, SPEC)
    assert model.module is module
    model.predict(data.inputs)
    leaf, forward = model.attribution_point(data.inputs)
    torch.autograd.grad(forward(leaf).sum(), leaf)
    assert same(before, snapshot(module))


def test_the_mode_comes_back_after_an_error(data):
    class Broken(nn.Module):
        def __init__(self):
            super().__init__()
            self.drop = nn.Dropout()

        def forward(self, x):
            raise RuntimeError("no")

    module = Broken().train()
    with pytest.raises(ModelError, match="raised RuntimeError: no"):
        wrap(module, data, SPEC).predict(data.inputs)
    assert module.training
    assert module.drop.training
    with evaluating(module):
        assert not module.drop.training


def test_scores_are_those_of_torch_itself(data):
    x = torch.from_numpy(tabular(data).values)
    for dtype, tolerance in ((torch.float32, 1e-7), (torch.float64, 1e-15)):
        module = net(dtype=dtype).eval()
        with torch.no_grad():
            expected = torch.sigmoid(module(x.to(dtype)).double())[:, 0].numpy()
        np.testing.assert_allclose(wrap(module, data, SPEC).predict(data.inputs), expected, atol=tolerance)
    pair = net(outputs=2, dtype=torch.float64).eval()
    with torch.no_grad():
        expected = torch.softmax(pair(x), dim=1)[:, 1].numpy()
    np.testing.assert_allclose(wrap(pair, data, SPEC).predict(data.inputs), expected, atol=1e-15)


@pytest.mark.parametrize("last", [(nn.Sigmoid(),), (nn.Flatten(0), nn.Sigmoid())])
def test_probabilities_as_one_column_or_none(last, data):
    plain = wrap(net(), data, SPEC).predict(data.inputs)
    np.testing.assert_allclose(wrap(net(*last), data, PROBABILITY).predict(data.inputs), plain, atol=1e-6)


def test_logits_without_saying_so_are_refused(data):
    with pytest.raises(ModelError, match=r'set model\.output = "logit"'):
        wrap(net(), data, PROBABILITY).predict(data.inputs)


@pytest.mark.parametrize(
    ("last", "outputs", "spec"),
    [((), 1, SPEC), ((), 2, SPEC), ((nn.Sigmoid(),), 1, PROBABILITY), ((nn.Softmax(dim=1),), 2, PROBABILITY)],
)
@pytest.mark.parametrize("classes", [(), ("repaid", "defaulted")])
def test_the_attribution_point_is_the_log_odds_of_the_score(last, outputs, spec, classes, data):
    spec = replace(spec, model=replace(spec.model, classes=classes))
    model = wrap(net(*last, outputs=outputs, dtype=torch.float64), data, spec)
    leaf, forward = model.attribution_point(data.inputs)
    odds = forward(leaf)
    p = model.predict(data.inputs)
    np.testing.assert_allclose(odds.detach().numpy(), np.log(p / (1 - p)), atol=1e-9)
    gradient = torch.autograd.grad(odds.sum(), leaf)[0].numpy()
    step = 1e-6
    for column in range(3):
        moved = tabular(data).values.copy()
        moved[:, column] += step
        numeric = (forward(torch.from_numpy(moved)) - odds).detach().numpy() / step
        np.testing.assert_allclose(gradient[:, column], numeric, atol=1e-4)


def test_several_classes_point_at_the_positive_one(data):
    several = replace(data, classes=("a", "b", "c"))
    model = wrap(net(outputs=3, dtype=torch.float64), several, SPEC)
    p = model.predict(data.inputs)
    assert p.shape == (300, 3)
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-12)
    leaf, forward = model.attribution_point(data.inputs)
    np.testing.assert_allclose(forward(leaf).detach().numpy(), np.log(p[:, 1] / (1 - p[:, 1])), atol=1e-9)


def test_saturated_probabilities_keep_finite_log_odds(data):
    class Sure(nn.Module):
        def forward(self, x):
            return (x[:, 0] > 0).float() + 0 * x[:, 0]

    leaf, forward = wrap(Sure(), data, PROBABILITY).attribution_point(data.inputs)
    assert torch.isfinite(forward(leaf)).all()


def test_an_output_without_gradient_is_named(data):
    class Detached(nn.Module):
        def forward(self, x):
            return x.detach()[:, 0]

    leaf, forward = wrap(Detached(), data, SPEC).attribution_point(data.inputs)
    with pytest.raises(ModelError, match="no gradient reaches the inputs"):
        forward(leaf)


def test_a_module_that_writes_into_its_input_does_not_change_the_data(data):
    class Greedy(nn.Module):
        def forward(self, x):
            return x.mul_(0)[:, 0]

    before = tabular(data).values.copy()
    wrap(Greedy().double(), data, SPEC).predict(data.inputs)
    np.testing.assert_array_equal(tabular(data).values, before)


def test_outputs_that_are_no_tensor_are_refused(data):
    class Pair(nn.Module):
        def forward(self, x):
            return x, x

    with pytest.raises(ModelError, match="returned tuple, expected one tensor"):
        wrap(Pair(), data, SPEC).predict(data.inputs)


def test_the_card_counts_what_is_there(data):
    module = net()
    card = wrap(module, data, SPEC).card
    assert card.parameters == 7 * 12 + 12 + 12 + 12 + 12 + 1
    assert card.size_bytes == 4 * (card.parameters + 24) + 8
    assert card.digest == digest(module) == digest(copy.deepcopy(module))
    assert (card.family, card.kind, card.device, card.parameters_open) == ("Sequential", "torch", "cpu", True)
    with torch.no_grad():
        module[0].weight[0, 0] += 1e-6
    assert digest(module) != card.digest


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.int8])
def test_every_type_of_tensor_has_a_digest(dtype):
    module = nn.Module()
    module.register_buffer("b", torch.ones(3, dtype=dtype))
    module.register_buffer("scalar", torch.tensor(2.0))
    assert len(digest(module)) == 64


# ------------------------------------------------------------------------------------------------------- weights
@pytest.mark.parametrize("name", ["w.safetensors", "w.pt", "w.pth"])
def test_weights_come_back_bit_for_bit(tmp_path, name):
    source, target = net(), copy.deepcopy(net())
    with torch.no_grad():
        for each in target.parameters():
            each.zero_()
    if name.endswith("safetensors"):
        safetensors.torch.save_model(source, str(tmp_path / name))
    else:
        torch.save(source.state_dict(), tmp_path / name)
    load_weights(target, tmp_path / name)
    assert digest(target) == digest(source)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.one = nn.Linear(3, 3)
        self.two = nn.Linear(3, 3)
        self.two.weight = self.one.weight


def test_tied_weights_come_back(tmp_path):
    source = Tied()
    safetensors.torch.save_model(source, str(tmp_path / "t.safetensors"))
    target = Tied()
    load_weights(target, tmp_path / "t.safetensors")
    assert digest(target) == digest(source)


class Evil:
    def __reduce__(self):
        return (print, ("run",))


def test_weights_that_do_not_fit_are_named(tmp_path, capsys):
    safetensors.torch.save_file({"0.weight": torch.zeros(12, 7), "extra": torch.zeros(1)}, tmp_path / "a.safetensors")
    with pytest.raises(ModelError, match=r"missing: 0\.bias, .*unexpected: extra"):
        load_weights(net(), tmp_path / "a.safetensors")
    torch.save(net(outputs=5).state_dict(), tmp_path / "b.pt")
    with pytest.raises(ModelError, match=r"size mismatch for 4\.weight"):
        load_weights(net(), tmp_path / "b.pt")
    torch.save([1, 2], tmp_path / "c.pt")
    with pytest.raises(ModelError, match="holds list, expected a state dict"):
        load_weights(net(), tmp_path / "c.pt")
    torch.save({"x": Evil()}, tmp_path / "d.pt")
    with pytest.raises(ModelError, match=r"d\.pt cannot be loaded"):
        load_weights(net(), tmp_path / "d.pt")
    assert "run" not in capsys.readouterr().out
    (tmp_path / "e.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0nonsense")
    with pytest.raises(ModelError, match=r"e\.safetensors cannot be loaded"):
        load_weights(net(), tmp_path / "e.safetensors")
    (tmp_path / "f.bin").write_bytes(b"")
    with pytest.raises(ModelError, match=r"must end in \.safetensors, \.pt or \.pth"):
        load_weights(net(), tmp_path / "f.bin")


# -------------------------------------------------------------------------------------------------------- oracle
@pytest.mark.parametrize("knobs", [{}, {"omega": 0.8, "tau": 0.1}])
def test_the_oracle_is_the_form_of_its_world(knobs):
    from audit.data.worlds.base import planted

    spec = replace(SPEC, model=ModelSpec(kind="oracle"), data=DataSpec(world="credit", rows=500, knobs=knobs))
    data = read(spec, None)
    model, form = oracle(spec, data), planted(spec.data).oracle()
    logit = form.logit(tabular(data).values)
    np.testing.assert_allclose(model.predict(data.inputs), 1 / (1 + np.exp(-logit)), atol=1e-14)
    leaf, forward = model.attribution_point(data.inputs)
    np.testing.assert_allclose(forward(leaf).detach().numpy(), logit, atol=1e-12)
    assert leaf.dtype == torch.float64
    assert model.card.kind == "oracle"
    assert model.card.parameters == 8 + len(form.pairs)


def test_the_oracle_needs_its_world(data):
    with pytest.raises(ModelError, match=r"needs data\.world"):
        oracle(Spec(), data)
    with pytest.raises(ModelError, match="the oracle reads"):
        oracle(SPEC, replace(data, names=("a",)))


def test_cuda_that_is_not_there_is_an_error(data):
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(ModelError, match="no CUDA device"):
        wrap(net(), data, replace(SPEC, run=RunSpec(device="cuda")))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_gives_the_scores_of_the_cpu_and_leaves_the_module_there(data):
    module = net()
    before = snapshot(module)
    there = wrap(module, data, replace(SPEC, run=RunSpec(device="cuda")))
    here = wrap(module, data, SPEC)
    assert there.card.device.startswith("cuda")
    assert there.card.digest == here.card.digest
    np.testing.assert_allclose(there.predict(data.inputs), here.predict(data.inputs), atol=1e-5)
    leaf, forward = there.attribution_point(data.inputs)
    on_gpu = torch.autograd.grad(forward(leaf).sum(), leaf)[0].cpu()
    leaf, forward = here.attribution_point(data.inputs)
    torch.testing.assert_close(on_gpu, torch.autograd.grad(forward(leaf).sum(), leaf)[0], atol=1e-4, rtol=1e-4)
    assert same(before, snapshot(module))
    assert all(each.device.type == "cpu" for each in module.parameters())


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.cells, self.head = nn.LSTM(1, 8, batch_first=True), nn.Linear(8, 1)

    def forward(self, x):
        return self.head(self.cells(x[:, :, None])[0][:, -1])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_recurrent_layers_have_gradients(data):
    leaf, forward = wrap(Recurrent(), data, replace(SPEC, run=RunSpec(device="cuda"))).attribution_point(data.inputs)
    assert torch.isfinite(torch.autograd.grad(forward(leaf).sum(), leaf)[0]).all()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_runs_out_of_memory_and_goes_on(data):
    class Hungry(nn.Module):
        def forward(self, x):
            # 2 GiB a row: 300 rows do not fit on any one device of today.
            room = torch.empty((len(x), 2**29), dtype=torch.float32, device=x.device)
            return x[:, 0] + 0 * room[:, 0].nan_to_num(0, 0, 0)

    there = wrap(Hungry(), data, replace(SPEC, run=RunSpec(device="cuda"))).predict(data.inputs)
    expected = torch.sigmoid(torch.from_numpy(tabular(data).values[:, 0]).float()).numpy()
    np.testing.assert_allclose(there, expected, atol=1e-6)
