"""Shapley values against closed forms, shap's KernelExplainer, and the promises of the result type."""

import sys
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from little_models import Open, Plain, seeded_mlp, sigmoid, table

from audit.core import UsageError
from audit.explain import game
from audit.explain import shapley as engine

GAMES = sys.modules[game.__module__]


def shapley(model, inputs, background, *, budget=2048, seed=11, max_bytes=GAMES.MAX_BYTES, **options):
    return engine(game(model, inputs, background, **options), budget=budget, seed=seed, max_bytes=max_bytes)


W = np.array([1.2, -0.9, 0.7, 0.0, 0.3])


def draws(rows, columns, seed=0):
    return table(np.random.default_rng(seed).normal(size=(rows, columns)))


def test_a_linear_log_odds_model_has_its_closed_form():
    model = Plain(lambda x: sigmoid(x @ W + 0.2))
    inputs, background = draws(30, 5), draws(40, 5, seed=1)
    found = shapley(model, inputs, background, link="logit")
    np.testing.assert_allclose(found.values, W * (inputs.values - background.values.mean(axis=0)), atol=1e-9)
    np.testing.assert_allclose(found.outputs, inputs.values @ W + 0.2, atol=1e-9)
    # one background row alone has values w (x - b), whose spread over b is known
    error = np.abs(W) * background.values.std(axis=0, ddof=1) / np.sqrt(40)
    np.testing.assert_allclose(found.se_background, np.tile(error, (30, 1)), atol=1e-9)
    assert (found.se_sampling == 0).all()
    # of the mean absolute value: a background row moves all values of a feature alike, so that signs cancel
    sign = np.sign(found.values).mean(axis=0)
    np.testing.assert_allclose(found.se_mean_abs, np.abs(sign) * error, atol=1e-9)


def test_the_product_game_splits_evenly():
    model = Plain(lambda x: x.prod(axis=1))
    found = shapley(model, table([[2.0, 3, 4]]), table([[0.0, 0, 0]]))
    np.testing.assert_allclose(found.values, [[8, 8, 8]], atol=1e-12)
    assert found.se_background is None
    assert "one filling" in found.note


def test_x1_squared_x2_and_a_kink():
    cases = ((lambda x: x[:, 0] ** 2 * x[:, 1], [6, 6]), (lambda x: np.maximum(x.sum(axis=1) - 3, 0), [1, 1]))
    for function, expected in cases:
        found = shapley(Plain(function), table([[2.0, 3]]), table([[0.0, 0]]))
        np.testing.assert_allclose(found.values, [expected], atol=1e-12)


def test_the_interaction_of_two_features_has_its_closed_form():
    """A logit with omega x_i x_h: each of the two gains half of what the other's presence changes."""
    omega = 0.8
    model = Plain(lambda x: sigmoid(x @ W + omega * x[:, 0] * x[:, 2]))
    inputs, background = draws(20, 5), draws(60, 5, seed=2)
    x, b = inputs.values, background.values
    mean = b.mean(axis=0)
    both = (b[:, 0] * b[:, 2]).mean()
    truth = W * (x - mean)
    gain = x[:, 0] * x[:, 2] - both
    truth[:, 0] += omega / 2 * (gain + x[:, 0] * mean[2] - mean[0] * x[:, 2])
    truth[:, 2] += omega / 2 * (gain + mean[0] * x[:, 2] - x[:, 0] * mean[2])
    found = shapley(model, inputs, background, link="logit")
    np.testing.assert_allclose(found.values, truth, atol=1e-9)


def test_agrees_with_kernel_shap_of_the_peer():
    shap = pytest.importorskip("shap")
    model = Open(seeded_mlp(12))
    inputs, background = draws(4, 12), draws(20, 12, seed=3)
    exact = shapley(model, inputs, background, budget=2**12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = shap.KernelExplainer(lambda x: model.predict(table(x)), background.values, seed=0)
        # all 2^12 coalitions: the peer is exact too
        theirs = peer.shap_values(inputs.values, nsamples=2**12, l1_reg=0, silent=True)
    np.testing.assert_allclose(exact.values, theirs, atol=1e-6)
    np.testing.assert_allclose(exact.base, peer.expected_value, atol=1e-12)
    sampled = shapley(model, inputs, background, budget=600)
    assert sampled.evaluations <= 600 * 20 * 4
    assert (sampled.se_sampling > 0).all()
    z = (sampled.values - exact.values) / sampled.se_sampling
    assert np.sqrt((z**2).mean()) < 1.6
    np.testing.assert_allclose(sampled.se_background, exact.se_background, rtol=0.25)


def test_the_background_error_is_the_spread_over_fresh_backgrounds():
    model = Plain(lambda x: sigmoid(x @ W + x[:, 0] * x[:, 1]))
    inputs = draws(1, 5)
    found = [shapley(model, inputs, draws(25, 5, seed=100 + k)) for k in range(80)]
    seen = np.array([one.values[0] for one in found]).std(axis=0, ddof=1)
    claimed = np.sqrt(np.mean([one.se_background[0] ** 2 for one in found], axis=0))
    moving = W != 0
    np.testing.assert_allclose(claimed[moving], seen[moving], rtol=0.3)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 14), st.integers(1, 5), st.integers(1, 7), st.integers(0, 10**6))
def test_efficiency_dummy_and_evaluations(columns, rows, fillings, seed):
    weights = np.random.default_rng(seed).normal(size=columns)
    weights[-1] = 0.0 if columns > 1 else weights[-1]
    model = Plain(lambda x: np.tanh(x @ weights) + (x @ weights) ** 2)
    found = shapley(model, draws(rows, columns, seed), draws(fillings, columns, seed + 1), budget=100)
    assert np.abs(found.delta).max() < 1e-9
    assert sum(model.calls) == found.evaluations
    np.testing.assert_allclose(found.outputs, model.predict(draws(rows, columns, seed)), atol=1e-12)
    if columns > 1 and 2**columns <= 100:
        np.testing.assert_allclose(found.values[:, -1], 0, atol=1e-10)


def test_groups_of_columns_are_one_player():
    model = Plain(lambda x: x[:, 0] * x[:, 1] + x[:, 2])
    found = shapley(model, table([[2.0, 3, 4]]), table([[0.0, 0, 0]]), players={"both": ["x0", "x1"]})
    assert found.features == ("both", "x2")
    np.testing.assert_allclose(found.values, [[6, 4]], atol=1e-12)


def test_the_same_seed_gives_the_same_values_however_the_work_is_cut():
    inputs, background = draws(9, 11), draws(6, 11, seed=1)
    net = Open(seeded_mlp(11))
    whole = shapley(net, inputs, background, budget=300)
    again = shapley(net, inputs, background, budget=300)
    np.testing.assert_array_equal(whole.values, again.values)
    small = shapley(Plain(lambda x: net.predict(table(x)), batch=7), inputs, background, budget=300)
    np.testing.assert_allclose(whole.values, small.values, atol=1e-12)
    for cells in (1, 500, 7_000):
        cut = shapley(net, inputs, background, budget=300, max_bytes=8 * cells)
        np.testing.assert_allclose(whole.values, cut.values, atol=1e-12)
        np.testing.assert_allclose(whole.se_background, cut.se_background, atol=1e-12)


def test_memory_is_bounded_by_blocks():
    model = Plain(lambda x: x.sum(axis=1))
    shapley(model, draws(50, 20), draws(50, 20, seed=1), budget=1000)
    assert max(model.calls) * 20 * 8 <= GAMES.MAX_BYTES


def test_a_class_of_several_is_named():
    def softmax(x):
        odds = np.exp(np.stack([x[:, 0], x[:, 1], 0 * x[:, 0]], axis=1))
        return odds / odds.sum(axis=1, keepdims=True)

    model = Plain(softmax, classes=("a", "b", "c"))
    inputs, background = draws(3, 2), draws(4, 2, seed=1)
    total = sum(shapley(model, inputs, background, target=k).values for k in range(3))
    np.testing.assert_allclose(total, 0, atol=1e-12)
    with pytest.raises(UsageError, match="target: the model has 3 classes"):
        shapley(model, inputs, background, target=3)


def test_certain_probabilities_have_no_log_odds():
    model = Plain(lambda x: (x[:, 0] > 0).astype(float))
    with pytest.raises(UsageError, match=r"link: .*infinite; use link = \"identity\""):
        shapley(model, draws(5, 2), draws(5, 2, seed=1), link="logit")
    with pytest.raises(UsageError, match="link"):
        shapley(model, draws(5, 2), draws(5, 2, seed=1), link="odds")


def test_frame_and_shap_explanation():
    shap = pytest.importorskip("shap")
    model = Plain(lambda x: sigmoid(x @ W))
    found = shapley(model, draws(3, 5), draws(4, 5, seed=1))
    frame = found.frame()
    assert list(frame.columns) == list(found.features)
    np.testing.assert_array_equal(frame.to_numpy(), found.values)
    explanation = found.to_shap()
    assert isinstance(explanation, shap.Explanation)
    np.testing.assert_array_equal(explanation.values, found.values)
    np.testing.assert_array_equal(explanation.base_values, found.base)
    np.testing.assert_array_equal(explanation.data, draws(3, 5).values)
    assert explanation.feature_names == list(found.features)
