"""The interaction index against its definition, closed forms, shapiq, and how often its intervals cover."""

import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from known_games import code, everyone, halves, interactions_of, network
from little_models import Plain, seeded_mlp, table

from audit.core import UsageError
from audit.explain import game
from audit.explain.coalitions import design
from audit.explain.interactions import even_gp, interactions

COLUMNS = tuple("abcdefghijkl")


def of_table(values):
    """A model whose game over a background of one row of zeros is (2^players,), for the row of ones."""
    return Plain(lambda x: values[code(x > 0.5)])


@settings(max_examples=12, deadline=None)
@given(st.integers(2, 6), st.integers(0, 2**32 - 1))
def test_enumeration_is_the_definition(players, seed):
    values = np.random.default_rng(seed).normal(size=2**players)
    found = interactions(game(of_table(values), table(np.ones((1, players))), table(np.zeros((1, players)))))
    np.testing.assert_allclose(found.values[0], interactions_of(values), atol=1e-10)
    assert (found.se_sampling[~np.isnan(found.se_sampling)] == 0).all()
    assert found.se_background is None


def test_a_product_and_a_sum():
    model = Plain(lambda x: x[:, 0] * x[:, 1] + x[:, 2])
    rng = np.random.default_rng(0)
    inputs, behind = table(rng.normal(size=(5, 3)), "abc"), table(rng.normal(size=(30, 3)), "abc")
    found = interactions(game(model, inputs, behind))
    x, b = inputs.values, behind.values
    wanted = x[:, 0] * x[:, 1] - x[:, 0] * b[:, 1].mean() - x[:, 1] * b[:, 0].mean() + (b[:, 0] * b[:, 1]).mean()
    np.testing.assert_allclose(found.values[:, 0, 1], wanted, atol=1e-12)
    np.testing.assert_allclose(found.values[:, 1, 0], wanted, atol=1e-12)
    np.testing.assert_allclose(found.values[:, 2, :2], 0, atol=1e-12)
    each = x[:, [0]] * x[:, [1]] - x[:, [0]] * b[:, 1] - x[:, [1]] * b[:, 0] + b[:, 0] * b[:, 1]
    np.testing.assert_allclose(found.se_background[:, 0, 1], each.std(axis=1, ddof=1) / np.sqrt(30), atol=1e-12)
    name, other, value = found.strongest(0, 1)[0]
    assert (name, other) == ("a", "b")
    assert value == pytest.approx(wanted[0])


def test_shapiq_agrees():
    shapiq = pytest.importorskip("shapiq")
    values = np.random.default_rng(5).normal(size=2**6)
    peer = shapiq.ExactComputer(n_players=6, game=lambda z: values[code(np.asarray(z, dtype=bool))])
    theirs = peer(index="SII", order=2)
    found = interactions(game(of_table(values), table(np.ones((1, 6))), table(np.zeros((1, 6)))))
    for i in range(6):
        for j in range(i + 1, 6):
            assert found.values[0, i, j] == pytest.approx(theirs[(i, j)], abs=1e-8)


@pytest.mark.parametrize(("budget", "most"), [(128, 0.8), (512, 0.2)])
def test_sampled_interactions_of_a_network(budget, most):
    rng = np.random.default_rng(3)
    inputs, behind = table(rng.normal(size=(6, 10)), "abcdefghij"), table(rng.normal(size=(12, 10)), "abcdefghij")
    played = game(Plain(network(10)), inputs, behind)
    truth = interactions(played)
    upper = np.triu_indices(10, 1)
    inside, gap = [], []
    for seed in range(3):
        found = interactions(played, budget=budget, seed=seed)
        np.testing.assert_allclose(found.values, found.values.transpose(0, 2, 1), atol=1e-12)
        apart = np.abs(found.values - truth.values)[:, *upper]
        inside.append(apart < 1.96 * found.se_sampling[:, *upper])
        gap.append(apart.mean())
    assert np.mean(gap) < most * np.abs(truth.values[:, *upper]).mean()
    assert 0.9 < np.mean(inside) < 0.99
    ratio = found.se_background[:, *upper] / truth.se_background[:, *upper]
    assert 0.7 < np.median(ratio) < 1.4
    assert found.evaluations < truth.evaluations


def test_the_mean_of_the_game_is_free():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(1, 2**9))
    plan = design(9, 100, rng)
    _, even = halves(values, plan.present)
    for one, other in zip(even_gp(plan.present, even), even_gp(plan.present, even + 1e3), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    assert everyone(2).shape == (4, 2)


def test_too_many_players_and_rows_are_refused_with_how_many_fit(monkeypatch):
    monkeypatch.setattr(sys.modules["audit.explain.interactions"], "MOST_NUMBERS", 64 * 3)
    rng = np.random.default_rng(0)
    rows, behind = rng.normal(size=(4, 8)), table(rng.normal(size=(2, 8)), "abcdefgh")
    with pytest.raises(UsageError, match=r"at most 3 at once with 8 players.*got 4"):
        interactions(game(Plain(network(8)), table(rows, "abcdefgh"), behind), budget=64)
    assert interactions(game(Plain(network(8)), table(rows[:3], "abcdefgh"), behind), budget=64).values.shape == (
        3,
        8,
        8,
    )


def test_what_is_kept_of_rows_is_bounded_behind_a_first_layer():
    rng = np.random.default_rng(0)
    names = [f"x{k}" for k in range(30)]
    module = seeded_mlp(30)
    rows, behind = table(rng.normal(size=(60, 30)), names), table(rng.normal(size=(50, 30)), names)
    played = game(module, rows, behind, output="logit")
    assert "first_layer" in played.model.offers
    whole = interactions(played, budget=128)
    tracemalloc.start()
    few = interactions(played, budget=128, max_bytes=1_000_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12_000_000  # 60 rows x 435 pairs of players x 50 background rows would be 10 MB, held twice
    np.testing.assert_allclose(few.values, whole.values, atol=1e-6)
    np.testing.assert_allclose(few.se_background, whole.se_background, atol=1e-6)
