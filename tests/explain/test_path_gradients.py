"""Integrated and expected gradients against closed forms, quadrature by hand, and captum."""

from dataclasses import replace

import little_graphs
import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients
from gradient_models import (
    Encoder,
    Formula,
    Last,
    Residual,
    lenet,
    mlp,
    pictures,
    rows,
    seeded,
    sequences,
    tables,
    texts,
)
from little_graphs import random_graph
from little_models import Open, Plain, seeded_mlp, table
from torch import nn

from audit.core import BudgetSpent, MissingOffer, ModelError, NotApplicable, UsageError
from audit.explain import game, tokenised
from audit.explain.games import counted
from audit.explain.path_gradients import expected_gradients, integrated_gradients
from audit.explain.slopes import Slopes, completeness, reference


def of(function, inputs=((2.0, 3.0),), background=((0.0, 0.0),), link="logit", **options):
    module = function if isinstance(function, nn.Module) else Formula(function)
    return integrated_gradients(game(Open(module), table(inputs), table(background), link=link), **options)


def kink(x):
    return torch.relu(x[:, 0] + x[:, 1] - 3)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: x[:, 0] * x[:, 1], [3, 3]),
        (lambda x: x[:, 0] ** 2 * x[:, 1], [8, 4]),
    ],
)
def test_closed_forms(function, expected):
    found = of(function)
    np.testing.assert_allclose(found.values, [expected], atol=1e-9)
    assert found.link == "logit"
    assert not found.note
    assert found.evaluations == 35  # two ends, 32 steps, and one row to see what the model answers
    assert found.forwards == 3 * 32 + 2 + 1


def test_a_kink_is_closed_in_on():
    found = of(kink, tolerance=1e-6)
    np.testing.assert_allclose(found.values, [[0.8, 1.2]], atol=1e-6)
    np.testing.assert_allclose(of(kink).values, [[0.8, 1.2]], rtol=1e-3)
    assert np.isnan(of(kink, tolerance=1e-12, max_steps=64).values).all()


def test_from_the_mean_of_the_background_with_the_interaction():
    """The credit model's logit with omega x_i x_h: from the mean m, x_i gains (x_i - m_i)(x_h + m_h) omega / 2."""
    weights, omega = torch.tensor([1.2, -0.9, 0.7], dtype=torch.float64), 0.8
    rng = np.random.default_rng(1)
    inputs, background = rng.normal(size=(7, 3)), rng.normal(size=(30, 3))
    found = of(lambda x: x @ weights + omega * x[:, 0] * x[:, 2], inputs, background)
    m = background.mean(axis=0)
    truth = weights.numpy() * (inputs - m)
    truth[:, 0] += omega / 2 * (inputs[:, 0] - m[0]) * (inputs[:, 2] + m[2])
    truth[:, 2] += omega / 2 * (inputs[:, 2] - m[2]) * (inputs[:, 0] + m[0])
    np.testing.assert_allclose(found.values, truth, atol=1e-9)


def test_the_probability_is_explained_where_the_link_says_so():
    """One player alone gains all that the probability moves, whatever the way."""
    found = of(lambda x: 3 * x[:, 0], ((0.5,),), ((-0.2,),), link="identity")
    gained = 1 / (1 + np.exp(-1.5)) - 1 / (1 + np.exp(0.6))
    assert found.link == "identity"
    assert found.values[0, 0] == pytest.approx(gained, abs=1e-9)


GAMES = {
    "ReLU": lambda: tables(seeded(mlp())),
    "GELU": lambda: tables(seeded(mlp(nn.GELU))),
    "LSTM": lambda: sequences(seeded(Last(nn.LSTM(3, 8, batch_first=True)).double())),
    "GRU": lambda: sequences(seeded(Last(nn.GRU(3, 8, batch_first=True)).double())),
    "Transformer": lambda: sequences(seeded(Encoder().double())),
    "functional ReLU": lambda: tables(seeded(Residual().double())),
    "CNN": lambda: pictures(seeded(lenet())),
    "three classes, each row its own": lambda: pictures(
        seeded(lenet(3)), classes=("a", "b", "c"), target=np.array([2, 0, 1]), link="identity"
    ),
    "texts": lambda: texts(),
    "float32": lambda: sequences(seeded(Encoder())),
    "binary with two outputs, the negative class": lambda: tables(seeded(mlp(out=2)), target=0, link="identity"),
    "a number": lambda: tables(seeded(mlp()), output="value", link="identity"),
    "a sigmoid inside": lambda: tables(nn.Sequential(seeded(mlp(nn.Tanh)), nn.Sigmoid()), output="probability"),
}


@pytest.mark.parametrize("name", GAMES)
@pytest.mark.parametrize("method", [integrated_gradients, expected_gradients])
def test_complete_on_every_kind_of_module_and_input(name, method):
    played = GAMES[name]()
    found = method(played)
    assert not found.note
    assert np.isfinite(found.values[found.present]).all()
    assert np.isnan(found.values[~found.present]).all()
    moved = np.abs(found.outputs - found.base)
    if method is expected_gradients:  # its error is relative to the mean distance, which is no less
        start = game(played.model, played.masker.rows, link=played.link).outputs() if name == "ReLU" else None
        moved = moved if start is None else np.abs(found.outputs[:, None] - start).mean(axis=1)
    allowed = 0.01 * moved if method is integrated_gradients or name == "ReLU" else 0.01
    assert (np.abs(found.delta) <= allowed + 1e-5).all()
    if played.model.card.output != "value":
        np.testing.assert_allclose(found.outputs, played.outputs(), atol=1e-5)


def test_agrees_with_captum_for_each_rows_class():
    module = seeded(mlp(nn.Tanh, out=3))
    targets = np.array([2, 0, 1, 1, 0])
    played = tables(module, classes=("a", "b", "c"), target=targets)
    found = integrated_gradients(played, steps=64)

    def log_odds(x, target):
        odds = torch.softmax(module(x), dim=1).gather(1, target[:, None])[:, 0]
        return torch.logit(odds)

    start = torch.as_tensor(rows(8, seed=2).mean(axis=0, keepdims=True))
    peer = IntegratedGradients(log_odds).attribute(
        torch.as_tensor(rows()),
        start,
        additional_forward_args=torch.as_tensor(targets),
        n_steps=64,
        method="gausslegendre",
    )
    np.testing.assert_allclose(found.values, peer.detach().numpy(), atol=1e-8)


def test_expected_gradients_are_captum_looped_over_the_background():
    module = seeded(mlp(nn.Tanh))
    found = expected_gradients(tables(module), steps=32)
    inputs = torch.as_tensor(rows())
    each = [
        IntegratedGradients(lambda x: module(x)[:, 0])
        .attribute(inputs, torch.as_tensor(row[None]), n_steps=32, method="gausslegendre")
        .numpy()
        for row in rows(8, seed=2)
    ]
    np.testing.assert_allclose(found.values, np.mean(each, axis=0), atol=1e-8)
    np.testing.assert_allclose(found.se_background, np.std(each, axis=0, ddof=1) / np.sqrt(8), atol=1e-8)


def test_of_a_linear_model_both_are_its_shapley_values():
    weights = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    inputs, background = np.random.default_rng(0).normal(size=(2, 4, 3))
    played = game(Open(Formula(lambda x: x @ weights)), table(inputs), table(background), link="logit")
    truth = weights.numpy() * (inputs - background.mean(axis=0))
    for method in (integrated_gradients, expected_gradients):
        np.testing.assert_allclose(method(played).values, truth, atol=1e-12)


def test_nodes_are_doubled_until_a_row_is_complete():
    few = expected_gradients(tables(seeded(mlp())), steps=2, max_steps=2, tolerance=10)
    many = expected_gradients(tables(seeded(mlp())), steps=2, max_steps=512)
    assert np.abs(many.delta).max() < np.abs(few.delta).max()
    assert "up to 2 " in few.method
    assert "up to 2 " not in many.method


def test_numbers_do_not_depend_on_the_batches(monkeypatch):
    whole = [method(pictures(seeded(lenet()))).values for method in (integrated_gradients, expected_gradients)]
    monkeypatch.setattr("audit.explain.slopes.POINTS", 3)
    parts = [method(pictures(seeded(lenet()))).values for method in (integrated_gradients, expected_gradients)]
    np.testing.assert_allclose(whole, parts, atol=1e-12)


def test_the_error_is_the_spread_of_runs_with_single_background_rows():
    played = tables(seeded(mlp(nn.Tanh)), behind=6)
    found = expected_gradients(played, steps=16, max_steps=16, tolerance=10)
    one_by_one = []
    for row in range(6):
        masker = replace(played.masker, rows=played.masker.rows.take([row]))
        one_by_one.append(
            expected_gradients(replace(played, masker=masker), steps=16, max_steps=16, tolerance=10).values
        )
    np.testing.assert_allclose(found.values, np.mean(one_by_one, axis=0), atol=1e-6)
    np.testing.assert_allclose(found.se_background, np.std(one_by_one, axis=0, ddof=1) / 6**0.5, atol=1e-6)


def test_leaves_the_module_as_it_was():
    module = seeded_mlp(6)
    module.train()
    module[0].weight.requires_grad_(False)
    seen = []
    module[1].register_forward_hook(lambda *_: seen.append(1))
    before = {name: value.clone() for name, value in module.state_dict().items()}
    found = of(module, rows(20), rows(10, seed=2))
    assert (np.abs(found.delta) <= 1e-3 * np.abs(found.values).sum(axis=1)).all()
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    assert module.training
    assert module[1].training
    assert all(parameter.grad is None for parameter in module.parameters())
    assert [parameter.requires_grad for parameter in module.parameters()] == [False, True, True, True]
    assert len(module[1]._forward_hooks) == 1
    with torch.no_grad():
        np.testing.assert_array_equal(of(module, rows(20), rows(10, seed=2)).values, found.values)


def test_rows_that_stay_incomplete_are_undefined_with_the_error():
    found = of(lambda x: torch.sin(4000 * x[:, 0]) + x[:, 1], max_steps=64)
    assert np.isnan(found.values).all()
    assert np.isnan(found.delta).all()
    assert "completeness error" in found.note
    assert "1 of 1 rows are undefined" in found.note


def test_one_row_is_refused_and_the_other_is_not():
    """Row 0 never meets the steep step that row 1 has to cross."""
    found = of(lambda x: torch.sigmoid(1e9 * (x[:, 0] - 0.3)) + x[:, 1], ((0.1, 1.0), (1.0, 1.0)), max_steps=48)
    np.testing.assert_allclose(found.values[0], [0, 1], atol=1e-9)
    assert np.isnan(found.values[1]).all()
    assert "1 of 2 rows" in found.note


def test_a_row_that_equals_the_reference_gets_zeros():
    found = of(lambda x: x[:, 0] * x[:, 1], ((1.0, 2.0),), ((1.0, 2.0),))
    np.testing.assert_array_equal(found.values, [[0, 0]])


def test_completeness_is_relative_to_the_movement():
    error = completeness(
        np.array([1.1, 0.0, 1e-9, 1.0]), np.array([1.0, 0.0, 0.0, 0.0]), np.array([3.0, 0, 1, 0]), 1e-8
    )
    np.testing.assert_allclose(error, [0.1, 0, 0, np.inf], rtol=1e-6)


def test_references_are_never_zeros_for_want_of_better():
    inputs = table([[1.0, 2], [3, 2], [8, 0]], ["a", "c"], categories={"c": ("u", "v", "w")})
    played = game(Open(Formula(lambda x: x[:, 0])), inputs, inputs)
    np.testing.assert_array_equal(reference(Slopes(game=played)).leaf.numpy(), [[4, 2]] * 3)

    played = pictures(seeded(lenet()))
    own = played.masker.inputs.values.mean(axis=(2, 3), keepdims=True)
    np.testing.assert_allclose(reference(Slopes(game=played)).leaf.numpy() - own, 0, atol=1e-12)
    played = pictures(seeded(lenet()), fill="background")
    mean = played.masker.rows.values.mean(axis=0)
    np.testing.assert_allclose(reference(Slopes(game=played)).leaf.numpy() - mean, 0, atol=1e-12)

    played = sequences(seeded(Last(nn.GRU(3, 8, batch_first=True)).double()))
    mean = played.masker.rows.values.mean(axis=0)
    np.testing.assert_allclose(reference(Slopes(game=played)).leaf.numpy() - mean, 0, atol=1e-12)

    played = texts()
    start = reference(Slopes(game=played))
    ids = played.masker.inputs.ids
    expected = np.where(ids == played.masker.inputs.pad, played.masker.inputs.pad, played.masker.inputs.mask)
    np.testing.assert_array_equal(start.leaf.numpy(), played.model.module.table.weight.detach().numpy()[expected])
    assert "[MASK]" in start.words


def test_padding_is_no_players_and_gets_nothing():
    found = integrated_gradients(texts())
    lengths = [len(names) for names in found.players]
    assert len(set(lengths)) > 1
    for values, length in zip(found.values, lengths, strict=True):
        assert np.isfinite(values[:length]).all()
        assert np.isnan(values[length:]).all()


def test_texts_are_expected_over_what_fills_them_in():
    inputs = tokenised(("a b c", "b c a"))
    behind = tokenised(("c c", "a"), inputs.vocabulary, length=3)
    module = seeded(nn.Sequential(nn.Embedding(6, 4), nn.Flatten(), nn.Linear(12, 1)).double())
    found = expected_gradients(game(module, inputs, behind, output="logit", link="logit", fill="background"))
    vectors, weights = module[0].weight.detach().numpy(), module[2].weight.detach().numpy().reshape(3, 4)
    # The tokens of the background repeated: c c c, and a a a.
    middle = (vectors[5] + vectors[3]) / 2
    np.testing.assert_allclose(found.values, ((vectors[inputs.ids] - middle) * weights).sum(axis=2), atol=1e-9)


def test_one_background_row_has_no_error_to_show():
    found = expected_gradients(tables(seeded(mlp(nn.Tanh)), behind=1))
    assert found.se_background is None
    np.testing.assert_allclose(
        found.values, integrated_gradients(tables(seeded(mlp(nn.Tanh)), behind=1)).values, atol=1e-2
    )


def test_a_budget_of_rows_is_kept():
    played, counter = counted(tables(seeded(mlp(nn.Tanh))))
    assert integrated_gradients(played).evaluations == counter.evaluations
    counter.limit = counter.evaluations + 10
    with pytest.raises(BudgetSpent):
        integrated_gradients(played)


@pytest.mark.parametrize("method", [integrated_gradients, expected_gradients])
def test_what_cannot_be_done_is_said(method):
    with pytest.raises(MissingOffer, match="gradients"):
        method(game(Plain(lambda x: x[:, 0]), table([[1.0]]), table([[0.0]])))
    with pytest.raises(MissingOffer, match="no gradient reaches"):
        method(game(Open(Formula(lambda x: x[:, 0].detach())), table([[1.0]]), table([[0.0]])))
    with pytest.raises(UsageError, match="steps"):
        method(tables(seeded(mlp())), steps=0)
    with pytest.raises(UsageError, match="tolerance"):
        method(tables(seeded(mlp())), tolerance=0)
    with pytest.raises(ModelError, match="not finite in 1 of 2 rows"):
        method(game(Open(Formula(lambda x: x[:, 0])), table([[1.0], [np.nan]]), table([[0.0]])))
    words = tokenised(("a b",))
    with pytest.raises(ModelError, match=r"Embedding|dtype"):
        method(game(nn.Sequential(nn.Linear(2, 1)), words, output="logit"))
    with pytest.raises(MissingOffer, match="hard steps"):
        method(tables(Formula(lambda x: torch.sign(x).sum(1) + 0 * x[:, 0])))


def test_graphs_have_an_explainer_of_their_own():
    with pytest.raises(NotApplicable, match="Graphs"):
        integrated_gradients(game(little_graphs.model(little_graphs.network(3)), random_graph(), random_graph()))
