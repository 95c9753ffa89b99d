"""The payments world: its truth against draws, closed forms and brute force."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import integrate, stats

from audit.core import DataError, DataSpec
from audit.data.worlds.base import planted
from audit.data.worlds.payments import COLUMNS, LEVELS, payments
from audit.data.worlds.quadrature import sigmoid
from audit.models.promises import auc

SETTINGS = [
    {},
    {"tau": -1.0, "b": 0.7, "p": 0.3, "flip": 0.2, "season": 0.0, "thin": 0.2, "steps": 6},
    {"tau": 0.6, "b": -0.3, "season": 1.5, "adjusted": 0, "steps": 17},
]


def read_as_drawn(world, data, told):
    """Every newcomer's logit gains so much when one column alone becomes the twin's; the two add up to the whole."""
    here = data.inputs.values[data.groups["residence"].values == 0]
    there = data.twin.values[data.groups["residence"].values == 0]
    for name, gain in told.items():
        moved, column = here.copy(), data.names.index(name)
        moved[:, :, column] = there[:, :, column]
        np.testing.assert_allclose(world.oracle().logit(moved) - world.oracle().logit(here), gain, atol=1e-9)
    assert sum(told.values()) == pytest.approx(world.truth()["counterfactual_logit"], abs=1e-12)
    assert abs(told["delay"]) > 0.1


@pytest.mark.parametrize("knobs", SETTINGS)
def test_truth_agrees_with_draws(knobs):
    world, rows = payments(**knobs), 200_000
    data = world.draw(rows, np.random.default_rng(11))
    logit = world.oracle().logit(data.inputs.values)
    truth = dict(world.truth())
    for name, rate in (("demographic_parity", "selection_rate"), ("equal_opportunity", "tpr")):
        assert truth.pop(f"{name}_difference") == truth[f"{rate}.settled"] - truth[f"{rate}.newcomer"]
    for name in ("path.direct", "counterfactual_logit"):
        assert truth.pop(name) == pytest.approx(-2 * world.tau)
    assert (truth.pop("path.season"), truth.pop("path.gap")) == (0.0, 0.0)
    if not world.adjusted:
        read_as_drawn(world, data, {name: truth.pop(f"read.{name}") for name in ("delay", "settled")})
    y, decided, group = data.y == 1, logit >= 0, data.groups["residence"]
    for suffix, inside in [
        ("", np.ones(rows, dtype=bool)),
        *((f".{g}", group.values == k) for k, g in enumerate(LEVELS)),
    ]:
        for name, hit, among in (
            ("base_rate", y, inside),
            ("selection_rate", decided, inside),
            ("accuracy", decided == y, inside),
            ("tpr", decided, inside & y),
            ("fpr", decided, inside & ~y),
        ):
            exact, drawn = truth.pop(name + suffix), hit[among].mean()
            assert abs(drawn - exact) <= 4 * math.sqrt(exact * (1 - exact) / among.sum()), name + suffix
        part = replace(data, y=data.y[inside])
        exact, least = truth.pop(f"auc{suffix}"), min((inside & y).sum(), (inside & ~y).sum())
        # An AUC's variance is at most AUC (1 - AUC) over the smaller class (Van Dantzig).
        assert abs(auc(part, logit[inside]) - exact) <= 4 * math.sqrt(exact * (1 - exact) / least), suffix
    assert not truth


@pytest.mark.parametrize("knobs", SETTINGS)
def test_truth_agrees_with_adaptive_quadrature(knobs):
    world = payments(**knobs)
    truth = world.truth()
    for a, level in enumerate(LEVELS):
        mean, sd = world.law(a)
        score, ends = stats.norm(mean, sd), (mean - 12 * sd, mean + 12 * sd)
        flip = world.flip if a == 0 else 0.0

        def late(z, flip=flip):
            return sigmoid(z) + flip * sigmoid(-z)

        def mass(low, high, score=score, late=late):
            return integrate.quad(lambda z: score.pdf(z) * late(z), low, high, epsabs=1e-12, limit=200)[0]

        assert truth[f"selection_rate.{level}"] == pytest.approx(score.sf(0), abs=1e-9)
        assert truth[f"base_rate.{level}"] == pytest.approx(mass(*ends), abs=1e-8)
        assert truth[f"tpr.{level}"] == pytest.approx(mass(0, ends[1]) / mass(*ends), abs=1e-8)
        # P(s > s') over pairs: an even grid far finer than the truth's own, summed by the trapezoid rule.
        grid = np.linspace(*ends, 60_001)
        one, none = score.pdf(grid) * late(grid), score.pdf(grid) * (1 - late(grid))
        below = integrate.cumulative_trapezoid(none, grid, initial=0)
        exact = np.trapezoid(one * below, grid) / (np.trapezoid(one, grid) * below[-1])
        assert truth[f"auc.{level}"] == pytest.approx(exact, abs=1e-6)


def test_the_figures_that_are_known():
    truth = payments().truth()
    assert truth["auc"] == pytest.approx(0.9413, abs=1e-4)  # 0.942 in a draw
    assert truth["base_rate"] == pytest.approx(0.5)
    assert truth["accuracy.newcomer"] == pytest.approx(truth["accuracy.settled"])  # mirror images
    assert payments(tau=0.0).truth()["demographic_parity_difference"] == pytest.approx(0, abs=1e-12)


def test_delays_are_autoregressive_and_the_files_of_newcomers_are_thin():
    drawn = payments().sample(60_000, np.random.default_rng(5))
    values, settled = drawn.dataset.inputs.values, drawn.dataset.groups["residence"].values == 1
    delay, season, utilisation, gap, residence = np.moveaxis(values, 2, 0)
    step = np.arange(24)
    np.testing.assert_allclose(np.corrcoef(delay.T), 0.6 ** np.abs(step[:, None] - step), atol=0.02)
    np.testing.assert_allclose(delay.std(axis=0), 1.0, atol=0.02)
    assert np.abs(np.corrcoef(utilisation.T) - np.eye(24)).max() < 0.02
    assert not season[settled].any()
    np.testing.assert_allclose(season[~settled], np.tile(0.8 * np.sin(2 * np.pi * step / 12), ((~settled).sum(), 1)))
    wait = np.exp(gap)
    assert wait.min() >= 0.1
    assert wait[~settled].mean() == pytest.approx(1.6, abs=0.02)
    assert wait[settled].mean() == pytest.approx(0.8, abs=0.02)
    assert (residence == settled[:, None]).all()


def test_a_twin_is_the_same_person_of_the_other_residence():
    world = payments(tau=0.3)
    data = world.draw(500, np.random.default_rng(2))
    here, there, settled = data.inputs.values, data.twin.values, data.groups["residence"].values == 1
    np.testing.assert_array_equal(here[:, :, [0, 2]], there[:, :, [0, 2]])  # delay and utilisation
    assert (here[:, :, 4] + there[:, :, 4] == 1).all()
    assert not there[~settled, :, 1].any()
    longer = (np.exp(there[settled, :, 3]) - 0.1) / (np.exp(here[settled, :, 3]) - 0.1)
    np.testing.assert_allclose(longer, 1.5 / 0.7)  # the same luck, the other mean
    change = world.oracle().logit(there) - world.oracle().logit(here)
    np.testing.assert_allclose(change[~settled], world.truth()["counterfactual_logit"])


def test_the_oracle_is_the_equation():
    world = payments(tau=0.7, b=0.2, steps=9)
    drawn = world.sample(300, np.random.default_rng(3))
    weight = 0.9 ** (8 - np.arange(9))
    weight /= math.sqrt((weight**2).sum())
    s = 2 * drawn.latent["a"] - 1
    expected = 2 * drawn.latent["delay"] @ weight + 0.5 * drawn.latent["utilisation"] @ weight - 0.7 * s + 0.2
    form = world.oracle()
    np.testing.assert_allclose(form.logit(drawn.dataset.inputs.values), expected, atol=1e-12)
    assert not form.weights[:, [1, 3]].any()  # season and gap
    assert form.columns == drawn.dataset.names == COLUMNS


@pytest.mark.parametrize("steps", [2, 9, 24])
def test_the_oracle_takes_the_season_off_again(steps):
    world = payments(tau=0.7, b=0.2, season=1.3, steps=steps, adjusted=0)
    drawn = world.sample(300, np.random.default_rng(3))
    weight = 0.9 ** (steps - 1 - np.arange(steps))
    weight /= math.sqrt((weight**2).sum())
    a, latent, form = drawn.latent["a"], drawn.latent, world.oracle()
    expected = 2 * latent["delay"] @ weight + 0.5 * latent["utilisation"] @ weight - 0.7 * (2 * a - 1) + 0.2
    twins = expected + 2 * 0.7 * (2 * a - 1)
    assert form.columns == drawn.dataset.names == drawn.twin.columns == ("delay", "utilisation", "gap", "settled")
    np.testing.assert_allclose(form.logit(drawn.dataset.inputs.values), expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(form.logit(drawn.twin.values), twins, rtol=0, atol=1e-12)
    season = 1.3 * np.sin(2 * np.pi * np.arange(steps) / 12) * (1 - a)[:, None]
    np.testing.assert_allclose(drawn.dataset.inputs.values[:, :, 0], latent["delay"] + season, atol=1e-12)
    assert not form.weights[:, 2].any()  # gap


def test_a_season_in_the_delay_misleads_and_one_beside_it_changes_nothing():
    found = {}
    for adjusted in (0, 1):
        world = payments(tau=0.0, adjusted=adjusted)
        data = world.draw(20_000, np.random.default_rng(6))
        found[adjusted] = data
        late = 2 * data.inputs.values[:, :, 0] @ world.fading()  # who reads the delay alone
        newcomer = data.groups["residence"].values == 0
        apart = late[newcomer].mean() - late[~newcomer].mean()
        season = 2 * 0.8 * float(np.sin(2 * np.pi * np.arange(24) / 12) @ world.fading())
        error = math.sqrt(late.var() * 4 / 20_000)  # of the difference of two halves
        assert abs(apart - (0 if adjusted else season)) < 4 * error
        assert abs(season) > 20 * error
    np.testing.assert_array_equal(found[0].y, found[1].y)  # the same people decide the same
    by_default = payments().truth()
    assert payments(season=3.0, thin=0.1).truth() == by_default
    without = {name: value for name, value in payments(adjusted=0).truth().items() if not name.startswith("read.")}
    assert without == by_default


@pytest.mark.parametrize("adjusted", [1, 0])
def test_the_posterior_is_calibrated_and_its_strata_add_up(adjusted):
    world = payments(flip=0.3, p=0.4, tau=0.6, adjusted=adjusted)
    data = world.draw(100_000, np.random.default_rng(4))
    chance = world.posterior(data)
    for part in np.array_split(np.argsort(chance), 10):
        assert abs(data.y[part].mean() - chance[part].mean()) < 4 * math.sqrt(0.25 / len(part))
    truth, strata = world.truth(), {each.levels["residence"]: each for each in world.strata()}
    for level, share in zip(LEVELS, (0.6, 0.4), strict=True):
        assert strata[level].mass.sum() == pytest.approx(share, abs=1e-9)
        assert strata[level].chance @ strata[level].mass / share == pytest.approx(truth[f"base_rate.{level}"], abs=1e-6)


@pytest.mark.parametrize("knobs", [{"tau": 1e6}, {"b": -1e6}, {"tau": -1e6, "flip": 0.5}])
def test_what_is_undefined_is_left_out(knobs):
    truth = payments(**knobs).truth()
    assert all(math.isfinite(value) for value in truth.values())
    for level in LEVELS:
        assert (f"tpr.{level}" in truth) == (truth[f"base_rate.{level}"] > 0)
        assert (f"auc.{level}" in truth) == (0 < truth[f"base_rate.{level}"] < 1)


@pytest.mark.parametrize(
    ("knob", "value"),
    [
        ("steps", 2.5),
        ("steps", 1),
        ("steps", 1001),
        ("steps", "a"),
        ("p", 1),
        ("flip", 1),
        ("adjusted", 0.5),
        ("adjusted", 2),
        ("adjusted", True),
        ("thin", 0),
        ("season", math.inf),
    ],
)
def test_wrong_knobs(knob, value):
    with pytest.raises(DataError, match=f"data.knobs: {knob} must"):
        payments(**{knob: value})
    with pytest.raises(DataError, match=f"data.knobs: {knob} must"):
        planted(DataSpec(world="payments", knobs={knob: value}))


def test_the_same_generator_gives_the_same_rows_and_steps_may_be_a_whole_float():
    one, two = (payments(steps=n).draw(50, np.random.default_rng(9)) for n in (12, 12.0))
    np.testing.assert_array_equal(one.inputs.values, two.inputs.values)
    np.testing.assert_array_equal(one.y, two.y)
    assert one.inputs.values.shape == (50, 12, 5)
    assert "steps = 12" in one.origin.source
