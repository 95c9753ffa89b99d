"""Recurrent families: their equations, padding that is never read, other columns, lengths and classes, and clipping."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from audit.core import DataError, RunSpec, Spec, UsageError, stream
from audit.data.series import Series, series
from audit.data.worlds.payments import payments
from audit.models.adapters.torch import wrap
from audit.models.recurrent import Recurrent, Standard, lengths_of, padded
from audit.models.reference import read, save, trained
from audit.models.training import Training, train

SPEC = Spec(run=RunSpec(device="cpu", threads=1))
IDS = ("elman", "birnn", "lstm", "gru")
EVERY = pytest.mark.parametrize("id", IDS)


@pytest.fixture(scope="module")
def ragged():
    """Histories of 2 to 9 steps, garbage behind them, of four columns and three classes."""
    rng = np.random.default_rng(0)
    data = payments(steps=9).draw(240, rng)
    lengths = rng.integers(2, 10, 240)
    values = data.inputs.values[:, :, :4].copy()
    values[5, 1, 2] = np.nan  # one that is missing, and no padding
    values[np.arange(9) >= lengths[:, None]] = 1e6
    inputs = Series(values=values, columns=data.names[:4], lengths=lengths)
    total = np.nansum(np.where(np.arange(9)[:, None] < lengths[:, None, None], values, 0)[:, :, 0], axis=1)
    y = np.digitize(total, np.quantile(total, [1 / 3, 2 / 3]))
    return replace(data, inputs=inputs, twin=None, y=y, names=data.names[:4], classes=("low", "middle", "high"))


@pytest.fixture(scope="module")
def models(ragged):
    return {id: trained(id, ragged, SPEC, options={"hidden": 6, "epochs": 2}) for id in IDS}


@EVERY
def test_padding_is_never_read(id, models, ragged):
    model, inputs = models[id], ragged.inputs
    found = model.predict(inputs)
    assert found.shape == (240, 3)
    other = inputs.values.copy()
    other[np.arange(9) >= inputs.lengths[:, None]] = np.nan
    np.testing.assert_array_equal(model.predict(replace(inputs, values=other)), found)
    for row in (0, 1, 5):
        short = inputs.values[row : row + 1, : inputs.lengths[row]]
        np.testing.assert_allclose(model.predict(series(short, inputs.columns))[0], found[row], atol=1e-6)
    # An array that tells no lengths tells them by its NaN.
    np.testing.assert_allclose(model.predict(other), found, atol=1e-6)
    assert np.abs(found - found.mean(axis=0)).max() > 0.01


@EVERY
def test_gradients_stop_at_the_last_step_and_reach_every_step_before(id, models, ragged):
    inputs = ragged.inputs.take(np.arange(20, 40))
    leaf, forward = models[id].attribution_point(inputs)
    twice = torch.cat([leaf, leaf])  # stacked copies know their lengths
    (slope,) = torch.autograd.grad(forward(twice).sum(), twice)
    real = torch.as_tensor(np.arange(9) < inputs.lengths[:, None])
    for part in slope.split(20):
        assert not part[~real].any()
        assert (part[real].abs().sum(dim=1) > 0).all()


@EVERY
def test_the_state_is_that_of_torch_over_packed_sequences(id, models, ragged):
    module = models[id].module
    x = padded(ragged.inputs)
    lengths = torch.as_tensor(ragged.inputs.lengths)
    assert lengths_of(x).tolist() == lengths.tolist()
    packed = nn.utils.rnn.pack_padded_sequence(module.front(x), lengths, batch_first=True, enforce_sorted=False)
    kind, both = {"elman": nn.RNN, "birnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}[id], id == "birnn"
    peer = kind(4, 6, batch_first=True, bidirectional=both)
    weights = dict(module.forwards.state_dict())
    if both:
        weights |= {f"{name}_reverse": value for name, value in module.backwards.state_dict().items()}
    peer.load_state_dict(weights)
    with torch.no_grad():
        state = peer(packed)[1]
        state = state[0] if id == "lstm" else state
        expected = module.last(torch.cat(list(state), dim=1))
        torch.testing.assert_close(module(x), expected, atol=1e-6, rtol=1e-6)


def test_the_elman_network_is_its_equation(models, ragged):
    module, row = models["elman"].module, 3
    x = module.front(padded(ragged.inputs))[row, : ragged.inputs.lengths[row]].numpy()
    w, u, b, c = (each.detach().numpy() for each in module.forwards.parameters())
    state = np.zeros(6)
    for step in x:
        state = np.tanh(w @ step + b + u @ state + c)
    logits = module.last.weight.detach().numpy() @ state + module.last.bias.detach().numpy()
    odds = np.exp(logits - logits.max())
    np.testing.assert_allclose(models["elman"].predict(ragged.inputs)[row], odds / odds.sum(), atol=1e-6)


def test_saved_and_read_again_for_sequences_of_another_length(models, ragged, tmp_path):
    save(models["gru"], tmp_path / "gru")
    short = replace(
        ragged,
        inputs=replace(ragged.inputs, values=ragged.inputs.values[:, :5], lengths=np.minimum(5, ragged.inputs.lengths)),
    )
    model = read(tmp_path / "gru", short, SPEC)
    np.testing.assert_array_equal(model.predict(short.inputs), models["gru"].predict(short.inputs))
    assert model.module.config == {"cell": "gru", "columns": 4, "hidden": 6, "outputs": 3, "both": False}


def test_numbers_are_standardised_without_padding_and_a_constant_column_stays(ragged):
    values = np.array([[[1.0, 7.0], [3.0, 7.0], [99.0, 99.0]], [[5.0, 7.0], [np.nan, 7.0], [7.0, 7.0]]])
    front = Standard(2)
    front.learn(Series(values=values, columns=("a", "b"), lengths=np.array([2, 3])))
    assert front.mean.tolist() == [4.0, 7.0]
    assert front.scale.tolist() == pytest.approx([np.std([1, 3, 5, 7]), 1.0])
    assert front(torch.tensor([[[4.0, 7.0], [torch.nan, 8.0]]])).tolist() == [[[0.0, 0.0], [0.0, 1.0]]]


def test_a_module_of_anyone_reads_lengths_where_it_asks_for_them(ragged):
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

        def forward(self, x, lengths):
            return self.weight * lengths.to(x.dtype)

    two = replace(ragged, y=(ragged.y > 0).astype(np.int64), classes=("0", "1"))
    spec = replace(SPEC, model=replace(SPEC.model, output="logit"))
    model = wrap(Counting(), two, spec)
    np.testing.assert_allclose(model.predict(two.inputs), 1 / (1 + np.exp(-two.inputs.lengths)), atol=1e-6)
    small = replace(model, reading=replace(model.reading, batch_size=7))
    np.testing.assert_allclose(small.predict(two.inputs), model.predict(two.inputs))


def test_a_gradient_longer_than_the_clip_is_shortened():
    x, y = torch.tensor([[3.0, 4.0]]), torch.zeros(1)
    steps = {}
    for clip in (None, 1.0, 100.0):
        layer = nn.Linear(2, 1, bias=False)
        nn.init.zeros_(layer.weight)
        training = Training(epochs=1, optimiser="sgd", rate=1.0, clip=clip)
        train(layer, x, y, training=training, loss=lambda raw, y: 10 * raw[:, 0])
        steps[clip] = layer.weight.detach().norm().item()
    assert steps == pytest.approx({None: 50.0, 1.0: 1.0, 100.0: 50.0})


@pytest.mark.parametrize("clip", [0.0, -1.0])
def test_wrong_options(clip, ragged):
    with pytest.raises(UsageError, match="clip: a number above 0, or None"):
        trained("gru", ragged, SPEC, options={"clip": clip})
    with pytest.raises(UsageError, match="hidden: a whole number from 1 on"):
        trained("lstm", ragged, SPEC, options={"hidden": 0})
    with pytest.raises(UsageError, match="cell: one of"):
        Recurrent(cell="gated", columns=1, hidden=2)


def test_other_inputs_are_refused():
    from audit.data.worlds.credit import credit

    with pytest.raises(DataError, match="gru reads sequences, the data hold tables"):
        trained("gru", credit().draw(50, stream(0, "x")), SPEC)


@pytest.mark.gpu
@EVERY
def test_on_a_gpu_as_on_the_cpu_and_gradients_in_evaluation_mode(id, models, ragged):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    here = models[id]
    there = wrap(
        here.module, ragged, replace(SPEC, run=RunSpec(device="cuda"), model=replace(SPEC.model, output="logit"))
    )
    np.testing.assert_allclose(there.predict(ragged.inputs), here.predict(ragged.inputs), atol=1e-4)
    slopes = []
    for model in (here, there):
        leaf, forward = model.attribution_point(ragged.inputs)
        (slope,) = torch.autograd.grad(forward(leaf).sum(), leaf)
        slopes.append(slope.cpu())
    torch.testing.assert_close(slopes[1], slopes[0], atol=1e-4, rtol=1e-3)
