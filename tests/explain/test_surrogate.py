"""LIME of tables, pictures, texts and sequences: closed forms, coverage of its intervals, and what it refuses."""

import functools
import itertools

import numpy as np
import pytest
from little_models import Plain, sigmoid, table

from audit.core import ModelError, NotApplicable, UsageError
from audit.explain import Images, game, lime, series, shapley, stability, tokenised
from audit.explain.surrogate_stability import _agreement
from audit.registry import entries

W = np.array([1.2, -0.9, 0.7, 0.0, 0.3])


def draws(rows, columns=5, seed=0):
    return table(np.random.default_rng(seed).normal(size=(rows, columns)))


def curved(x):
    return sigmoid(x @ W + x[:, 0] * x[:, 1] + np.sin(2 * x[:, 2]))


def curved_game(rows=8, **options):
    return game(Plain(curved), draws(rows), draws(300, seed=1), **options)


@pytest.mark.parametrize("space", ["continuous", "around"])
def test_a_linear_model_has_its_weights_times_the_spread(space):
    background = draws(60, seed=1)
    found = lime(game(Plain(lambda x: x @ W + 2), draws(6), background), space=space, samples=200, ridge=1e-9)
    sd, centre = background.values.std(axis=0), background.values.mean(axis=0)
    np.testing.assert_allclose(found.values, np.tile(W * sd, (6, 1)), atol=1e-8)
    np.testing.assert_allclose(found.base, centre @ W + 2, atol=1e-8)
    np.testing.assert_allclose(found.fit, 1, atol=1e-12)
    assert found.se_sampling.max() < 1e-6
    assert not found.complete


def test_an_additive_game_has_the_change_that_each_player_makes():
    inputs, behind = draws(4), draws(1, seed=1)
    played = game(Plain(lambda x: x @ W), inputs, behind)
    found = lime(played, space="binary", samples=300, ridge=1e-9)
    np.testing.assert_allclose(found.values, W * (inputs.values - behind.values), atol=1e-8)
    np.testing.assert_allclose(found.base, np.repeat(behind.values @ W, 4), atol=1e-8)
    assert found.evaluations <= 4 + 4 * 2**5  # equal coalitions are asked once


@pytest.mark.parametrize("space", ["discretised", "continuous"])
def test_shared_draws_cost_samples_plus_rows(space):
    played = curved_game(30)
    played.model.calls.clear()
    found = lime(played, space=space, samples=500)
    assert sum(played.model.calls) == found.evaluations == 530
    own = lime(curved_game(6), space=space, samples=500, shared=False)
    assert own.evaluations == 6 * 501
    z = (own.values - found.values[:6]) / np.hypot(own.se_sampling, found.se_sampling[:6])
    assert 0.5 < np.sqrt((z**2).mean()) < 1.6
    around = curved_game(3)
    around.model.calls.clear()
    assert lime(around, space="around", samples=100).evaluations == sum(around.model.calls) == 3 * 101


@pytest.mark.parametrize("space", ["discretised", "continuous", "around", "binary"])
def test_intervals_cover_the_coefficients_of_many_perturbations(space):
    played = curved_game(6)
    truth = lime(played, space=space, samples=60_000, seed=1000, ridge=0.01).values
    hits = []
    for seed in range(60):
        found = lime(played, space=space, samples=600, seed=seed, ridge=0.01, shared=space != "binary")
        hits.append(np.abs(found.values - truth) <= 1.96 * found.se_sampling)
    assert 0.92 < np.mean(hits) < 0.98


def test_the_same_seed_gives_the_same_bytes_and_rows_do_not_depend_on_their_neighbours():
    one, two, other = (lime(curved_game(), samples=300, seed=seed) for seed in (3, 3, 4))
    assert one.values.tobytes() == two.values.tobytes()
    assert np.abs(one.values - other.values).max() > 1e-4
    few = lime(curved_game(3), samples=300, seed=3)
    np.testing.assert_allclose(few.values, one.values[:3], atol=1e-12)
    before = np.random.get_state()[1].copy()  # noqa: NPY002 (looked at)
    lime(curved_game(), samples=50, features=2, selection="lasso")
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002 (looked at)


def test_a_pass_over_the_perturbations_serves_every_class():
    def three(x):
        odds = np.exp(np.stack([x[:, 0], x[:, 1], 0.5 * x[:, 2]], axis=1))
        return odds / odds.sum(axis=1, keepdims=True)

    model = Plain(three, classes=("a", "b", "c"))
    targets = np.array([0, 1, 2, 1])
    mixed = lime(game(model, draws(4), draws(90, seed=1), target=targets), samples=400)
    assert mixed.evaluations == 404
    for each in range(3):
        alone = lime(game(model, draws(4), draws(90, seed=1), target=each), samples=400)
        np.testing.assert_allclose(mixed.values[targets == each], alone.values[targets == each], atol=1e-12)
    odds = lime(game(Plain(lambda x: sigmoid(x @ W)), draws(4), draws(90, seed=1), link="logit"), space="continuous")
    assert odds.link == "logit"
    assert odds.fit == pytest.approx(np.ones(4), rel=1e-4)


def test_categories_and_missing_values_are_levels():
    """A tree's split on one category and on being missing, which a linear surrogate of levels holds exactly."""
    rng = np.random.default_rng(0)
    values = np.column_stack([rng.integers(0, 3, 200), rng.normal(size=200), rng.normal(size=200)]).astype(float)
    values[::4, 1] = np.nan
    background = table(values, categories={"x0": ("a", "b", "c")})
    model = Plain(lambda x: 0.2 + 0.5 * (x[:, 0] == 1) + 0.25 * np.isnan(x[:, 1]))
    rows = background.with_values(np.array([[1.0, np.nan, 0.0], [0.0, 0.1, 0.0], [np.nan, 0.1, 0.0]]))
    found = lime(game(model, rows, background), samples=4000, ridge=1e-6)
    np.testing.assert_allclose(found.values[0], [0.5, 0.25, 0], atol=1e-6)
    assert found.fit[0] == pytest.approx(1)
    assert found.values[1, 0] < -0.15  # being "a" rules "b" out
    assert abs(found.values[2, 0]) < 1  # a level that the background does not have: the row alone shows it
    with pytest.raises(UsageError, match="'x1' has some"):
        lime(game(model, rows, background), space="continuous")


def test_columns_taken_together_have_a_binary_space():
    grouped = curved_game(players={"both": ("x0", "x1")})
    found = lime(grouped, samples=400)
    assert found.params["space"] == "binary"
    assert found.players[0] == ("both", "x2", "x3", "x4")
    with pytest.raises(NotApplicable, match="groups of columns"):
        lime(grouped, space="discretised")


def test_a_filling_drawn_with_each_coalition_estimates_the_mean_over_fillings():
    drawn = lime(curved_game(3), space="binary", samples=4000)
    assert drawn.evaluations == 3 + 3 * 4000
    whole = lime(curved_game(3), space="binary", samples=32 * 300)  # every coalition over all fillings
    assert whole.evaluations == 3 + 3 * 32 * 300
    assert (np.abs(drawn.values - whole.values) < 4.5 * drawn.se_sampling).all()
    assert (whole.se_sampling < drawn.se_sampling / 1.5).all()


def test_pictures_texts_and_sequences():
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(6, 6))
    pictures = Images(values=rng.random((3, 1, 6, 6)))
    found = lime(
        game(Plain(lambda x: (x[:, 0] * weights).sum(axis=(1, 2))), pictures, size=3, fill="black"), ridge=1e-9
    )
    blocks = (pictures.values[:, 0] * weights).reshape(3, 2, 3, 2, 3).sum(axis=(2, 4)).reshape(3, 4)
    np.testing.assert_allclose(found.values, blocks, atol=1e-7)
    lines = tokenised(["a good film", "a bad film that is long", "good"])
    good, bad = (lines.vocabulary.index(word) for word in ("good", "bad"))
    reader = Plain(lambda x: 0.5 + 0.4 * (x == good).any(axis=1) - 0.3 * (x == bad).any(axis=1))
    texts = lime(game(reader, lines), samples=800, ridge=1e-9)
    np.testing.assert_allclose(texts.values[0, :3], [0, 0.4, 0], atol=1e-7)
    np.testing.assert_allclose(texts.values[1], [0, -0.3, 0, 0, 0, 0], atol=1e-7)
    assert texts.values[2, 0] == pytest.approx(0.4)
    assert np.isnan(texts.values[0, 3:]).all()
    walks = series(rng.normal(size=(3, 6, 2)))
    steps = rng.normal(size=6)
    walked = game(Plain(lambda x: x[:, :, 0] @ steps), walks, series(np.zeros((1, 6, 2))))
    np.testing.assert_allclose(lime(walked, ridge=1e-9).values, walks.values[:, :, 0] * steps, atol=1e-7)


@pytest.mark.parametrize("selection", ["forward", "lasso", "highest"])
def test_a_sparse_surrogate_keeps_what_matters(selection):
    played = game(Plain(lambda x: 3 * x[:, 1] - 2 * x[:, 4]), draws(5), draws(200, seed=1))
    found = lime(played, space="continuous", features=2, selection=selection, samples=2000)
    assert ((found.values != 0) == [False, True, False, False, True]).all()
    assert (np.isnan(found.se_sampling) == (found.values == 0)).all()
    assert found.fit.min() > 0.99


def test_what_says_little_says_so():
    flat = lime(game(Plain(lambda x: np.full(len(x), 0.1 + 0.2)), draws(3), draws(40, seed=1)), samples=100)
    assert (flat.values == 0).all()
    assert np.isnan(flat.fit).all()
    assert "R2 is undefined for 3 of 3 rows" in flat.note
    few = lime(curved_game(), samples=4)
    assert np.isnan(few.se_sampling).all()
    assert "too few" in few.note
    away = table(np.vstack([draws(2).values, np.full((1, 5), 50.0)]))
    far = lime(game(Plain(curved), away, draws(40, seed=1)), space="continuous", samples=300)
    assert far.note.startswith("1 of 3 rows lie so far")
    assert np.abs(far.values[2]).max() < 1e-3
    empty = lime(game(Plain(lambda x: (x == 3).any(axis=1) / 2), tokenised(["", "a b c"])), samples=400)
    assert empty.note == "1 of 2 rows have no player to take away"
    assert np.isnan(empty.values[0]).all()
    alone = lime(game(Plain(lambda x: sigmoid(x[:, 0])), draws(3, 1), draws(80, 1, seed=1)), samples=300)
    assert alone.values.shape == (3, 1)
    assert np.isfinite(alone.se_sampling).all()
    copied = table(np.repeat(draws(4, 1).values, 2, axis=1)), table(np.repeat(draws(50, 1, seed=1).values, 2, axis=1))
    assert np.isfinite(lime(game(Plain(lambda x: x.sum(axis=1)), *copied), samples=300).values).all()


def test_what_cannot_be_explained_is_refused():
    played = curved_game()
    for options, message in (
        ({"features": 6, "selection": "forward"}, "from 1 to 5"),
        ({"features": 2}, "needs a selection"),
        ({"selection": "foward"}, "did you mean 'forward'"),
        ({"space": "discretized"}, "did you mean 'discretised'"),
        ({"samples": 1}, "samples"),
        ({"ridge": -1.0}, "ridge"),
        ({"kernel_width": 0.0}, "kernel_width"),
    ):
        with pytest.raises(UsageError, match=message):
            lime(played, **options)
    for space in ("discretised", "binary"):
        inside = Plain(lambda x: np.where(np.abs(x - draws(8).values[0]).sum(axis=1) < 1e-9, 0.5, np.nan))
        with pytest.raises(ModelError, match="must be finite"):
            lime(game(inside, draws(1), draws(40, seed=1)), space=space, samples=100)
    with pytest.raises(NotApplicable, match="Images"):
        lime(game(Plain(lambda x: x.mean(axis=(1, 2, 3))), Images(values=np.zeros((1, 1, 4, 4)))), space="continuous")


def test_stability_over_seeds():
    played = curved_game(4)
    found = stability(played, explain=functools.partial(lime, samples=300), seeds=12, top=2)
    runs = np.stack([lime(played, samples=300, seed=seed).values for seed in range(12)])
    np.testing.assert_allclose(found.mean, runs.mean(axis=0))
    np.testing.assert_allclose(found.sd, runs.std(axis=0, ddof=1))
    np.testing.assert_allclose(found.high - found.mean, 2.200985 * found.sd / np.sqrt(12), rtol=1e-6)  # t, 11 degrees
    tops = [[set(np.argsort(-np.abs(row))[:2]) for row in run] for run in runs]
    pairs = [[len(a & b) / 2 for a, b in zip(*two, strict=True)] for two in itertools.combinations(tops, 2)]
    np.testing.assert_allclose(found.agreement, np.mean(pairs, axis=0))
    assert found.sign.min() >= 0.5
    exact = stability(played, explain=shapley, seeds=2)
    assert (exact.agreement == 1).all()
    assert (exact.sd == 0).all()
    several = stability(game(Plain(lambda x: x[:, 0] / 10), tokenised(["a b", "a"]).take(np.arange(2))), seeds=2, top=1)
    assert np.isnan(several.mean[1, 1])
    assert several.agreement.shape == (2,)
    for options in ({"seeds": 1}, {"top": 0}):
        with pytest.raises(UsageError):
            stability(played, **options)


def test_the_agreement_of_rows_with_fewer_players():
    values = np.array([[[3.0, 1, np.nan], [3, 2, 1]], [[1.0, 3, np.nan], [1, 2, 3]]])
    np.testing.assert_allclose(_agreement(values, 1), [0, 0])
    np.testing.assert_allclose(_agreement(values, 2), [1, 0.5])
    np.testing.assert_allclose(_agreement(values, 9), [1, 1])
    assert np.isnan(_agreement(np.full((2, 1, 2), np.nan), 2)).all()


def test_it_is_registered_with_its_sources():
    assert entries("explainers")["lime"].sources == ("ribeiro2016", "white1980")
