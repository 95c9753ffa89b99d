"""Every way of estimating Shapley values: how far off, how well it knows that, against three peers, and at the edges."""

import itertools
import tracemalloc
import warnings
from dataclasses import replace

import numpy as np
import pytest
from known_games import network
from little_models import Plain, sigmoid, table

from audit.core import ModelError, UsageError
from audit.explain import game, shapley
from audit.explain.pairs import play

SAMPLED = ("wls", "odd_gp", "odd_gp_ard", "permutation", "auto")
NAMES = "abcdefghijkl"


@pytest.fixture(scope="module")
def twelve():
    """A game of 12 features over 100 background rows, and its exact values."""
    rng = np.random.default_rng(1)
    played = game(Plain(network(12)), table(rng.normal(size=(6, 12)), NAMES), table(rng.normal(size=(100, 12)), NAMES))
    return played, shapley(played, budget=4096)


@pytest.mark.parametrize("estimator", SAMPLED)
def test_each_estimator_is_near_and_knows_how_near(twelve, estimator):
    played, exact = twelve
    assert (exact.se_sampling == 0).all()
    inside = []
    for seed in range(3):
        found = shapley(played, budget=300, estimator=estimator, seed=seed)
        assert np.abs(found.delta).max() < 1e-9
        assert (found.values != 0).all()
        inside.append(np.abs(found.values - exact.values) < 1.96 * found.se_sampling)
        np.testing.assert_allclose(found.base, exact.base, atol=1e-12)
    assert 0.88 < np.mean(inside) < 0.995
    ratio = found.se_background / exact.se_background
    assert 0.8 < np.median(ratio) < 1.25
    assert found.params["estimator"] == estimator


@pytest.mark.parametrize("budget", [128, 512, 2048])
def test_auto_is_nearer_than_three_peers_at_the_same_evaluations(twelve, budget):
    shap, shapiq, captum = (pytest.importorskip(name) for name in ("shap", "shapiq", "captum.attr"))
    import torch

    played, exact = twelve
    answer, rows, behind = network(12), played.masker.inputs.values[:2], played.masker.others
    truth = exact.values[:2]
    ours = shapley(played, budget=budget).values[:2]
    theirs = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kernel = shap.KernelExplainer(answer, behind, seed=0)
        theirs["shap"] = kernel.shap_values(rows, nsamples=budget, l1_reg=0, silent=True)
        theirs["shap default"] = kernel.shap_values(rows, nsamples=budget, silent=True)

        def value(row):
            def play(coalitions):
                present = np.asarray(coalitions, dtype=bool).reshape(-1, 12)
                filled = np.where(present[:, None], row, behind)
                return answer(filled.reshape(-1, 12)).reshape(len(present), -1).mean(axis=1)

            return play

        theirs["shapiq"] = np.array(
            [
                shapiq.KernelSHAP(n=12, random_state=0).approximate(budget, value(row)).get_n_order_values(1)
                for row in rows
            ]
        )
        with torch.random.fork_rng():
            torch.manual_seed(0)
            explainer = captum.KernelShap(lambda z, row: torch.as_tensor(value(row)(z.numpy())))
            theirs["captum"] = np.stack(
                [
                    explainer.attribute(
                        torch.ones(1, 12),
                        torch.zeros(1, 12),
                        additional_forward_args=(row,),
                        n_samples=budget,
                        perturbations_per_eval=budget,
                    )[0].numpy()
                    for row in rows
                ]
            )
    error = np.abs(ours - truth).mean()
    for name, values in theirs.items():
        assert error < 0.75 * np.abs(values - truth).mean(), name


def test_the_background_interval_covers_what_fresh_backgrounds_give():
    """On a network whose pool is the population: 95 % intervals of 40 rows against the mean over all of the pool."""
    rng = np.random.default_rng(0)
    answer, inputs, pool = network(7), table(rng.normal(size=(4, 7)), "abcdefg"), rng.normal(size=(2000, 7))
    truth = shapley(game(Plain(answer), inputs, table(pool, "abcdefg"))).values
    inside = []
    for seed in range(60):
        some = np.random.default_rng(seed).choice(pool, size=40)
        found = shapley(game(Plain(answer), inputs, table(some, "abcdefg")), budget=90)
        error = np.hypot(found.se_background, found.se_sampling)
        inside.append(np.abs(found.values - truth) < 1.96 * error)
    assert 0.92 < np.mean(inside) < 0.98


@pytest.mark.parametrize("estimator", ["odd_gp", "wls", "auto"])
def test_the_population_is_met_with_few_rows_for_each_pair(twelve, estimator):
    played, exact = twelve  # its 100 background rows are the population here
    inside = []
    for seed in range(4):
        found = shapley(played, budget=256, estimator=estimator, estimand="population", draws=10, seed=seed)
        assert np.abs(found.delta).max() < 1e-9
        inside.append(np.abs(found.values - exact.values) < 1.96 * found.se_sampling)
    assert 0.9 < np.mean(inside) <= 0.99
    assert found.se_background is None
    assert "part of the sampling error" in found.note
    assert "drawn afresh" in found.method
    assert found.params["draws"] == 10
    assert found.evaluations < 0.15 * 256 * 100 * 6
    np.testing.assert_allclose(found.base, exact.base, atol=1e-12)


@pytest.mark.parametrize(("players", "budget", "seeds"), [(6, 64, 30), (10, 1024, 6)])
@pytest.mark.parametrize("estimator", SAMPLED)
def test_errors_of_drawn_rows_cover_where_all_pairs_are_there(estimator, players, budget, seeds):
    """As many odd terms as pairs: only the spread of each pair's draws tells noise from the game."""
    rng = np.random.default_rng(1)
    inputs, behind = (table(rng.normal(size=(size, players)), NAMES[:players]) for size in (6, 100))
    played = game(Plain(network(players)), inputs, behind)
    exact = shapley(played, budget=2**players).values
    z = []
    for seed in range(seeds):
        found = shapley(played, budget=budget, estimator=estimator, estimand="population", draws=10, seed=seed)
        z.append((found.values - exact) / found.se_sampling)
    assert 0.9 < np.mean(np.abs(z) < 1.96) < 0.99
    assert 0.7 < np.std(z) < 1.25


@pytest.mark.parametrize("max_bytes", [16_000_000, 700])
def test_the_noise_of_a_pair_is_that_of_its_own_draws(max_bytes):
    rng = np.random.default_rng(0)
    rows, behind = rng.normal(size=(3, 5)), rng.normal(size=(20, 5))
    answer = network(5)
    played = game(Plain(answer), table(rows, NAMES[:5]), table(behind, NAMES[:5]))
    present, draws = rng.random((7, 5)) < 0.5, rng.integers(20, size=(7, 3))
    found = play(played, np.arange(3), present, draws=draws, max_bytes=max_bytes)
    for row, one in enumerate(rows):
        for pair, (inside, drawn) in enumerate(zip(present, draws, strict=True)):
            both = [answer(np.where(mask, one, behind[drawn])) for mask in (inside, ~inside)]
            variance = ((both[0] - both[1]) / 2).var(ddof=1) / 3
            assert found.noise[row, pair] == pytest.approx(variance, abs=1e-14)


def test_both_members_of_a_pair_meet_the_same_background_rows():
    seen = []

    class Watched:
        def __init__(self, inner):
            self.inner = inner

        def __getattr__(self, name):
            return getattr(self.inner, name)

        def fill(self, rows, coalitions, draws=None):
            seen.append((coalitions, draws))
            return self.inner.fill(rows, coalitions, draws)

    rng = np.random.default_rng(0)
    inputs = table(rng.normal(size=(1, 9)), "abcdefghi")
    played = game(Plain(lambda x: x.sum(axis=1)), inputs, table(rng.normal(size=(50, 9)), "abcdefghi"))
    shapley(replace(played, masker=Watched(played.masker)), budget=100, estimand="population", draws=4)
    drawn = [(z, d) for z, d in seen if d is not None and len(z) > 1]
    assert drawn
    for coalitions, draws in drawn:
        np.testing.assert_array_equal(coalitions[0::2], ~coalitions[1::2])
        np.testing.assert_array_equal(draws[0::2], draws[1::2])
        assert len(np.unique(draws)) > 30


def test_a_tolerance_spends_what_it_needs_and_asks_nothing_twice(twelve):
    played, exact = twelve
    asked = []
    answer = network(12)
    watched = game(
        Plain(lambda x: [asked.append(x.copy()), answer(x)][1]), played.masker.inputs, played.masker.inputs.take([0])
    )
    found = shapley(watched, budget=2048, tol=0.03, estimator="odd_gp")
    whole = np.abs(found.values).max(axis=1, keepdims=True)
    assert (found.se_sampling <= 0.03 * whole).all()
    rows = np.concatenate(asked)
    distinct = np.unique(rows, axis=0)
    assert len(distinct) >= len(rows) - 2 * 6 * 12
    assert found.evaluations < 2048 * 6
    every = shapley(watched, budget=2048, tol=1e-9, estimator="odd_gp")
    assert "6 of 6 rows did not come within tol" in every.note
    loose = shapley(played, budget=2048, tol=0.5, estimator="permutation")
    assert loose.evaluations < found.evaluations * 100
    assert np.abs(loose.delta).max() < 1e-9
    all_of_them = shapley(played, budget=4096, tol=1e-9)
    np.testing.assert_allclose(all_of_them.values, exact.values, atol=1e-12)
    assert (all_of_them.se_sampling == 0).all()


def test_rows_do_not_depend_on_each_other(twelve):
    played, _ = twelve
    rows = played.masker.inputs
    for options in ({}, {"tol": 0.05}, {"estimator": "odd_gp_ard"}):
        both = shapley(played, budget=256, **options)
        alone = shapley(
            game(Plain(network(12)), rows.take(np.array([3])), table(played.masker.others, NAMES)),
            budget=256,
            **options,
        )
        np.testing.assert_allclose(both.values[3], alone.values[0], atol=1e-10)


@pytest.mark.parametrize("estimator", SAMPLED)
def test_a_constant_model_and_columns_that_are_the_same(estimator):
    rng = np.random.default_rng(0)
    inputs, behind = table(rng.normal(size=(2, 9)), "abcdefghi"), table(rng.normal(size=(4, 9)), "abcdefghi")
    still = shapley(game(Plain(lambda x: np.full(len(x), 0.4)), inputs, behind), budget=100, estimator=estimator)
    np.testing.assert_allclose(still.values, 0, atol=1e-12)
    np.testing.assert_allclose(still.se_sampling, 0, atol=1e-12)
    for one in (inputs, behind):
        one.values[:, 1] = one.values[:, 0]
    twice = game(Plain(lambda x: np.tanh(x[:, 0] + x[:, 1] + x[:, 2] * x[:, 3])), inputs, behind)
    found = shapley(twice, budget=100, estimator=estimator)
    apart = np.abs(found.values[:, 0] - found.values[:, 1])
    assert (apart <= 4 * np.hypot(found.se_sampling[:, 0], found.se_sampling[:, 1]) + 1e-9).all()


@pytest.mark.parametrize("estimator", [*SAMPLED, "exact"])
@pytest.mark.parametrize("players", [1, 2])
def test_one_and_two_players(estimator, players):
    model = Plain(lambda x: sigmoid(x.sum(axis=1)) * x[:, 0])
    inputs, behind = table(np.full((3, players), 0.7)), table(np.array([[0.1] * players, [0.4] * players]))
    found = shapley(game(model, inputs, behind), estimator=estimator, budget=10)
    np.testing.assert_allclose(found.values.sum(axis=1), found.outputs - found.base, atol=1e-12)
    if estimator != "exact":
        noisy = shapley(game(model, inputs, behind), estimator=estimator, budget=10, estimand="population", draws=2)
        assert np.abs(noisy.delta).max() < 1e-9


def test_voting_games_whose_sizes_do_not_decay():
    """A quota of weights: a step in all players at once, as hard as games come; the interval must still say so."""
    rng = np.random.default_rng(0)
    weights = rng.integers(1, 20, size=11).astype(float)
    model = Plain(lambda x: (x @ weights > weights.sum() / 2).astype(float))
    played = game(model, table(np.ones((1, 11))), table(np.zeros((1, 11))))
    truth = shapley(played).values
    inside = []
    for seed in range(12):
        found = shapley(played, budget=400, seed=seed, estimator="odd_gp")
        inside.append(np.abs(found.values - truth) < 1.96 * found.se_sampling)
    assert np.mean(inside) > 0.88


def test_one_background_row_tells_nothing_of_the_background():
    found = shapley(game(Plain(lambda x: x[:, 0]), table([[1.0, 2]]), table([[0.0, 0]])))
    assert found.se_background is None
    assert "one filling" in found.note


@pytest.mark.parametrize("estimator", ["auto", "wls", "permutation"])
def test_a_model_that_fails_on_masked_inputs_is_named(estimator):
    inputs, behind = table(np.ones((2, 9)), "abcdefghi"), table(np.zeros((3, 9)), "abcdefghi")
    model = Plain(lambda x: np.where((x == 0).any(axis=1), np.nan, 0.5))
    with pytest.raises(ModelError, match=r"not finite .* masked: filled in from 3 background rows"):
        shapley(game(model, inputs, behind), budget=60, estimator=estimator)


def test_a_thousand_players_in_bounded_memory():
    rng = np.random.default_rng(0)
    weights = rng.normal(size=1000)
    model = Plain(lambda x: x @ weights + (x[:, 0] * x[:, 1]))
    played = game(model, table(rng.normal(size=(1, 1000))), table(rng.normal(size=(2, 1000))))
    for estimator in ("odd_gp", "permutation"):
        tracemalloc.start()
        found = shapley(played, budget=4002, estimator=estimator)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 700e6
        assert np.abs(found.delta).max() < 1e-9
    assert np.isfinite(found.values).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"estimator": "kernel"}, "estimator: one of auto, exact"),
        ({"estimand": "pool"}, "estimand: one of fixed, population"),
        ({"tol": 0.0}, "tol: a share above 0"),
        ({"estimator": "exact", "budget": 1000}, r"needs a budget of 2\^12 = 4096"),
        ({"budget": 40}, "budget: 12 features need at least 50"),
        ({"budget": 40, "estimator": "permutation"}, "budget: 12 features need at least 50"),
        ({"estimand": "population", "draws": 0}, "draws background rows"),
    ],
)
def test_what_cannot_be_asked(twelve, options, message):
    with pytest.raises(UsageError, match=message):
        shapley(twelve[0], **options)


def test_small_games_meet_their_known_values_however_they_are_estimated():
    games = {
        "gloves": (lambda z: np.minimum(z[:, :2].sum(axis=1), z[:, 2]), [1 / 6, 1 / 6, 2 / 3]),
        "airport": (lambda z: (z * [1, 2, 3]).max(axis=1), [1 / 3, 5 / 6, 11 / 6]),
        "vote": (lambda z: (z @ [50, 49, 1] >= 51).astype(float), [2 / 3, 1 / 6, 1 / 6]),
    }
    for (answer, wanted), estimator in itertools.product(games.values(), SAMPLED):
        found = shapley(game(Plain(answer), table([[1.0, 1, 1]]), table([[0.0, 0, 0]])), estimator=estimator)
        np.testing.assert_allclose(found.values, [wanted], atol=1e-12)


@pytest.mark.parametrize(
    "options",
    [
        {"budget": 100},
        {"budget": 100, "estimator": "permutation"},
        {"budget": 512, "tol": 0.1},
        {"budget": 100, "estimand": "population", "draws": 5},
        {"budget": 512},
    ],
)
def test_rows_are_estimated_in_blocks_that_change_nothing(monkeypatch, options):
    rng = np.random.default_rng(0)
    inputs, behind = table(rng.normal(size=(25, 9)), NAMES[:9]), table(rng.normal(size=(20, 9)), NAMES[:9])
    played = game(Plain(network(9)), inputs, behind)
    whole = shapley(played, **options)
    monkeypatch.setattr("audit.explain.rounds.TABLED", 1000)
    parts = shapley(played, **options)
    np.testing.assert_allclose(parts.values, whole.values, atol=1e-10)
    np.testing.assert_allclose(parts.se_sampling, whole.se_sampling, atol=1e-8)
    assert (parts.method, parts.note) == (whole.method, whole.note)


def test_many_rows_are_bounded_in_memory(monkeypatch):
    monkeypatch.setattr("audit.explain.rounds.TABLED", 2**18)
    rng = np.random.default_rng(0)
    inputs = table(rng.normal(size=(4000, 10)), NAMES[:10])
    played = game(Plain(lambda x: x @ np.arange(10.0)), inputs, table(np.zeros((1, 10)), NAMES[:10]))
    tracemalloc.start()
    shapley(played, budget=512, max_bytes=1_000_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16_000_000 + 5 * 8 * 2**18 < 2 * 8 * 4000 * 512
