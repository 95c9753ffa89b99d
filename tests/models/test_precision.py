"""Number types: copies in another type, scores by hand in it, decisions that turn, and who bears them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from subjects import context_of, find
from torch import nn

from audit import cli, codec, engine, registry
from audit.core import (
    Card,
    Codes,
    Dataset,
    DataSpec,
    ModelError,
    ModelSpec,
    NotApplicable,
    Origin,
    RunSpec,
    Spec,
    Subject,
    UsageError,
)
from audit.data.readers import read, tabular
from audit.data.tabular import Tabular
from audit.models.adapters.torch import wrap
from audit.models.counted import Counted
from audit.robustness.precision import precision
from audit.subject import assemble

SPEC = Spec(
    model=ModelSpec(kind="torch", output="logit"), data=DataSpec(world="credit", rows=400), run=RunSpec(device="cpu")
)


@pytest.fixture(scope="module")
def data() -> Dataset:
    return read(SPEC, None)


def net(*, dtype: torch.dtype = torch.float32) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(7, 16), nn.BatchNorm1d(16), nn.Tanh(), nn.Linear(16, 1)).to(dtype)


def in_type(dtype: str) -> Spec:
    return replace(SPEC, run=replace(SPEC.run, dtype=dtype))


class Single(nn.Module):
    """A module that only runs in float32: it makes a tensor of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(7, 1)

    def forward(self, x):
        return self.layer(x.float())[:, 0] + torch.ones(len(x)) @ torch.eye(len(x))


# -------------------------------------------------------------------------------------------------- the adapter
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_copy_runs_in_the_type_and_the_users_module_stays(dtype, data):
    module = net(dtype=torch.float64)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    model = wrap(module, data, in_type(dtype))
    kind = getattr(torch, dtype)
    assert model.card.dtype == dtype
    assert {each.dtype for each in model.module.parameters()} == {kind}
    assert model.card.digest == wrap(module, data, SPEC).card.digest  # the user's weights, in whatever type they run
    scores = model.predict(data.inputs)
    assert scores.dtype == np.float64
    own = net(dtype=torch.float64).eval().to(kind)
    with torch.no_grad():
        logits = own(torch.from_numpy(tabular(data).values).to(kind)).double()[:, 0]
    np.testing.assert_allclose(scores, torch.sigmoid(logits).numpy(), atol=1e-15)
    after = module.state_dict()
    assert all(torch.equal(value, after[name]) and value.dtype == after[name].dtype for name, value in before.items())
    assert module.training


def test_auto_and_the_modules_own_type_copy_nothing(data):
    module = net()
    assert wrap(module, data, SPEC).module is module
    assert wrap(module, data, in_type("float32")).module is module
    assert wrap(module, data, SPEC).card.dtype == "float32"
    assert wrap(net(dtype=torch.bfloat16), data, SPEC).card.dtype == "bfloat16"


def test_a_type_in_which_the_module_fails_is_named(data):
    with pytest.raises(ModelError, match=r"the module runs in bfloat16, which not every.*run\.dtype = \"auto\""):
        wrap(Single(), data, in_type("bfloat16")).predict(data.inputs)

    class Far(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.tensor(1e5))

        def forward(self, x):
            return x[:, 0] * 0 + self.weight / 1e5

    wrap(Far(), data, SPEC).predict(data.inputs)
    with pytest.raises(ModelError, match=r"not finite.*float16.*nor every number fits"):
        wrap(Far(), data, in_type("float16")).predict(data.inputs)


def test_gradients_work_in_a_lower_type(data):
    model = wrap(net(), data, in_type("bfloat16"))
    leaf, forward = model.attribution_point(data.inputs)
    slope = torch.autograd.grad(forward(leaf).sum(), leaf)[0]
    leaf, forward = wrap(net(), data, SPEC).attribution_point(data.inputs)
    exact = torch.autograd.grad(forward(leaf).sum(), leaf)[0]
    assert slope.dtype == torch.bfloat16
    assert nn.functional.cosine_similarity(slope.float().flatten(), exact.flatten(), dim=0) > 0.99


def test_rows_in_another_type_are_counted(data):
    counted = Counted(model=wrap(net(), data, SPEC))
    counted.scores_in("bfloat16", data.inputs)
    assert counted.evaluations == len(data)


# ---------------------------------------------------------------------------------------------------- the check
class Identity(nn.Module):
    """The score is the input, so that what a type rounds is known."""

    def __init__(self, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self.one = nn.Parameter(torch.ones((), dtype=dtype))

    def forward(self, x):
        return x[:, 0] * self.one


def subject_on(values, groups, *, threshold=0.5, module=None) -> Subject:
    table = Tabular(values=np.asarray(values, dtype=np.float64)[:, None], columns=("x",))
    data = Dataset(
        inputs=table,
        groups={"sex": Codes(values=np.asarray(groups), levels=("f", "m"))},
        origin=Origin(name="by hand"),
        names=("x",),
    )
    spec = Spec(model=ModelSpec(kind="torch"), data=DataSpec(threshold=threshold), run=RunSpec(device="cpu"))
    return assemble(spec, data, wrap(module or Identity(), data, spec))


def test_flips_are_those_that_rounding_makes():
    # Beside 0.5 bfloat16 steps by 2^-9 below and 2^-8 above, float16 by 2^-12 and 2^-11: to the even one of two as near.
    below = 0.5 - 2.0**-11  # bfloat16 rounds it up to 0.5, float16 keeps it
    close = 0.5 - 2.0**-14  # both round it up
    values = [0.2, 0.9, below, 0.5, close, 0.3, 0.7, 0.1]
    found = list(precision(subject_on(values, [0, 0, 0, 0, 1, 1, 1, 1]), context_of()))
    assert find(found, "flip_rate", dtype="bfloat16").value == 2 / 8
    assert find(found, "flip_rate", dtype="float16").value == 1 / 8
    assert find(found, "flip_rate", dtype="float16", sex="f").value == 0
    assert find(found, "flip_rate", dtype="float16", sex="m").value == 1 / 4
    gap = find(found, "flip_rate_difference", dtype="float16", sex="*")
    assert gap.value == 1 / 4
    assert gap.interval.low <= 1 / 4 <= gap.interval.high
    largest = max(abs(float(torch.tensor(v, dtype=torch.bfloat16)) - v) for v in values)
    assert find(found, "max_score_change", dtype="bfloat16").value == pytest.approx(largest, abs=1e-12)
    assert find(found, "flip_rate", dtype="bfloat16", sex="f").interval.low >= 0


def test_a_group_at_the_threshold_bears_the_flips():
    rng = np.random.default_rng(0)
    groups = np.repeat([0, 1], 1000)
    values = np.where(groups == 0, rng.uniform(0.495, 0.505, 2000), rng.uniform(0.6, 0.9, 2000))
    found = list(precision(subject_on(values, groups), context_of()))
    expected = np.mean(
        (torch.tensor(values[:1000]).to(torch.bfloat16).double().numpy() >= 0.5) != (values[:1000] >= 0.5)
    )
    assert find(found, "flip_rate", dtype="bfloat16", sex="f").value == pytest.approx(expected) != 0
    assert find(found, "flip_rate", dtype="bfloat16", sex="m").value == 0
    assert find(found, "flip_rate_difference", dtype="bfloat16", sex="*").interval.low > 0


def test_a_module_that_fails_in_every_type_is_not_applicable_with_the_reason(data):
    subject = assemble(SPEC, data, wrap(Single(), data, SPEC))
    with pytest.raises(NotApplicable, match=r"runs in none of the lower number types: bfloat16: .*float16: "):
        list(precision(subject, context_of()))
    with pytest.raises(NotApplicable, match="runs in bfloat16 already"):
        list(precision(subject_on([0.1], [0], module=Identity(torch.bfloat16)), context_of(), types=("bfloat16",)))
    with pytest.raises(UsageError, match=r"types: some of float32, bfloat16, float16; .*got \['int8'\]"):
        list(precision(subject, context_of(), types=("int8",)))


def test_a_type_that_fails_beside_one_that_runs_has_no_value():
    found = list(precision(subject_on([1e6, 0.1], [0, 1], module=_Scaled()), context_of()))
    assert find(found, "flip_rate", dtype="bfloat16").value == 0
    failed = find(found, "flip_rate", dtype="float16")
    assert failed.value is None
    assert "not finite" in failed.note


class _Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return x[:, 0] * self.one / 1e7


def test_recorded_predictions_have_no_number_type():
    entry = registry.entries("checks")["robustness.precision"]
    subject = subject_on([0.1, 0.9], [0, 1])
    closed = replace(subject, model=_Closed())
    assert "not open to inspection" in engine.missing_needs(entry, closed)


class _Closed:
    family, offers = "closed", frozenset()
    card = Card(family="closed", kind="callable")


# ------------------------------------------------------------------------------------------------- the command
def test_the_command_takes_the_type_and_the_threads(tmp_path):
    config = tmp_path / "audit.toml"
    config.write_text(
        '[model]\nkind = "oracle"\n[data]\nworld = "credit"\nrows = 200\n[groups]\nattributes = ["sex"]\n'
        '[checks]\nonly = ["robustness.precision"]\n'
    )
    before = torch.get_num_threads()
    code = cli.main(["run", str(config), "--out", str(tmp_path), "-q", "--dtype", "bfloat16", "--threads", "1"])
    report = codec.read_record(tmp_path / "result.json")
    assert code == 0
    assert (report.spec.run.dtype, report.spec.run.threads) == ("bfloat16", 1)
    assert report.subject.model.dtype == "bfloat16"
    assert "--dtype bfloat16 --threads 1" in report.environment.command
    assert torch.get_num_threads() == before
    assert cli.main(["run", str(config), "--out", str(tmp_path), "-q", "--threads", "0"]) == 2


def test_no_more_threads_than_given_run_inside_a_model(tmp_path, monkeypatch):
    (tmp_path / "own.py").write_text(
        "import torch\nfrom torch import nn\n\nclass M(nn.Module):\n    def forward(self, x):\n"
        "        assert torch.get_num_threads() == 1\n        return torch.sigmoid(x[:, 0])\n\ndef build():\n    return M()\n"
    )
    (tmp_path / "data.csv").write_text("x,y\n" + "".join(f"{i / 9},{i % 2}\n" for i in range(20)))
    (tmp_path / "audit.toml").write_text(
        '[model]\nkind = "torch"\nfactory = "own:build"\n[data]\npath = "data.csv"\nlabel = "y"\n[run]\nthreads = 1\n'
        '[checks]\nonly = ["performance"]\n'
    )
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert cli.main(["run", str(tmp_path / "audit.toml"), "--out", str(tmp_path), "-q"]) == 0
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
