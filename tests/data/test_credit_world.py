"""The credit world: its truth against draws, closed forms and brute force."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import integrate, stats

from audit.core import DataError, DataSpec, Spec
from audit.data.readers import read, tabular
from audit.data.worlds.base import planted
from audit.data.worlds.credit import LEVELS, RACES, SHARES, SHIFTS, credit
from audit.data.worlds.forms import LogisticForm

SETTINGS = [
    ({}, 500_000),
    ({"flip": 0.15, "tau": 0.2, "b": -0.3, "p": 0.4, "proxy": 0.1}, 250_000),
    ({"omega": 0.8}, 250_000),
    ({"race": 1.5, "omega": -0.4, "tau": 0.0}, 250_000),
    ({"noise": 0.7, "selection": 0.25, "flip": 0.1, "omega": 0.5, "p": 0.6, "race": 1.0}, 500_000),
]


def slices(groups):
    """Every group that truth names, with its rows."""
    sex = groups["sex"]
    yield "", np.ones(len(sex), dtype=bool)
    parts = {
        name: {f".{level}": codes.values == k for k, level in enumerate(codes.levels)} for name, codes in groups.items()
    }
    for part in parts.values():
        yield from part.items()
    if "race" in parts:
        for (one, mine), (two, theirs) in itertools.product(parts["sex"].items(), parts["race"].items()):
            yield one + two, mine & theirs


def sums(world, rows, rng):
    """Count, sum and sum of squares of everything whose mean truth tells, in a draw."""
    data = world.draw(rows, rng)
    logit, other = (world.oracle().logit(part.values) for part in (data.inputs, data.twin))
    y, decided, found = data.y == 1, logit >= 0, {}
    for suffix, inside in slices(data.groups):
        for name, hit, among in (
            ("base_rate", y, inside),
            ("selection_rate", decided, inside),
            ("accuracy", decided == y, inside),
            ("tpr", decided, inside & y),
            ("fpr", decided, inside & ~y),
        ):
            found[name + suffix] = hit[among].astype(float)
    women = data.groups["sex"].values == 0
    found["counterfactual_logit"] = (other - logit)[women]
    for name, column in {"income": 0, "debt": 1, "history": 2, "direct": 6}.items():
        first, last = data.inputs.values[women], data.twin.values[women]
        alone, rest = first.copy(), last.copy()
        alone[:, column], rest[:, column] = last[:, column], first[:, column]
        value = world.oracle().logit
        found[f"path.{name}"] = (value(alone) - value(first) + value(last) - value(rest)) / 2
    return {name: np.array([len(each), each.sum(), (each**2).sum()]) for name, each in found.items()}


@pytest.mark.parametrize(("knobs", "rows"), SETTINGS)
def test_truth_agrees_with_draws(knobs, rows):
    world, rng = credit(**knobs), np.random.default_rng(20)
    total: dict[str, np.ndarray] = {}
    for _ in range(rows // 250_000):
        for name, each in sums(world, 250_000, rng).items():
            total[name] = total.get(name, np.zeros(3)) + each
    truth = dict(world.truth())
    for name, rate in (("demographic_parity", "selection_rate"), ("equal_opportunity", "tpr")):
        assert truth.pop(f"{name}_difference") == truth[f"{rate}.male"] - truth[f"{rate}.female"]
        if world.race:
            for by, levels in {"race": RACES, "sex.race": [f"{a}.{r}" for a in LEVELS for r in RACES]}.items():
                each = [truth[f"{rate}.{level}"] for level in levels]
                assert truth.pop(f"{name}_difference.{by}") == pytest.approx(max(each) - min(each))
    assert set(truth) == set(total)
    for name, (n, first, second) in total.items():
        error = math.sqrt(max(second / n - (first / n) ** 2, 0) / n)
        assert abs(first / n - truth[name]) <= 4 * error + 1e-12, name


def test_race_is_spread_alike_over_the_sexes_and_moves_income_and_zip():
    drawn = credit(race=2.0).sample(200_000, np.random.default_rng(8))
    race, sex = drawn.dataset.groups["race"], drawn.dataset.groups["sex"].values
    for code in (0, 1):
        shares = np.bincount(race.values[sex == code], minlength=3) / (sex == code).sum()
        np.testing.assert_allclose(shares, SHARES, atol=0.006)
    s, values = 2 * sex.astype(int) - 1, tabular(drawn.dataset).values
    for k, shift in enumerate(SHIFTS):
        here = race.values == k
        assert (values[:, 0] - 0.5 * s)[here].mean() == pytest.approx(2 * shift, abs=0.03)
        assert (values[:, 3] - 0.8 * s)[here].mean() == pytest.approx(2 * shift, abs=0.03)
    assert np.dot(SHARES, SHIFTS) == pytest.approx(0)
    np.testing.assert_allclose((drawn.twin.values - values)[:, 0], -s, atol=1e-12)


def test_without_race_the_rows_are_those_of_the_world_without_the_knob():
    data = credit().draw(1000, np.random.default_rng(0))
    assert set(data.groups) == {"sex"}
    assert data.y.sum() == 495
    assert data.inputs.values[[0, 500, 999], [0, 1, 3]] == pytest.approx(
        [1.31092532390, -1.37171006495, -0.33390125090], abs=1e-10
    )


def test_truth_agrees_with_closed_forms():
    truth, sd = credit().truth(), math.sqrt(3.82)
    for sex, mean in (("female", -1.435), ("male", 1.435)):
        score = stats.norm(mean, sd)
        assert truth[f"selection_rate.{sex}"] == pytest.approx(score.sf(0), abs=1e-9)
        rate = integrate.quad(
            lambda z, score=score: score.pdf(z) / (1 + math.exp(-z)), mean - 12 * sd, mean + 12 * sd, epsabs=1e-12
        )[0]
        assert truth[f"base_rate.{sex}"] == pytest.approx(rate, abs=1e-8)
        hits = integrate.quad(
            lambda z, score=score: score.pdf(z) / (1 + math.exp(-z)), 0, mean + 12 * sd, epsabs=1e-12
        )[0]
        assert truth[f"tpr.{sex}"] == pytest.approx(hits / rate, abs=1e-8)
    assert truth["demographic_parity_difference"] == pytest.approx(0.53718, abs=5e-6)
    assert truth["counterfactual_logit"] == pytest.approx(2.87)
    assert [truth[f"path.{name}"] for name in ("income", "debt", "history", "direct")] == pytest.approx(
        [1.2, 0.45, 0.42, 0.8]
    )


@pytest.mark.parametrize("knobs", [{"omega": 2.0}, {"omega": -1.0, "noise": 1.5, "race": 2.0}])
def test_quadrature_is_that_of_a_cubature_of_another_kind(knobs):
    """P(the oracle accepts a man), by adaptive quadrature over history of a normal tail."""
    world = credit(**knobs)
    truth, total = world.truth(), 0.0
    for share, shift in zip(SHARES, SHIFTS, strict=True):

        def tail(h, shift=shift * world.race):
            step = 1.2 + world.omega * h + 0.45
            mean = step * (0.5 + shift) + 0.7 * h + 0.4
            return stats.norm.pdf(h - 0.3) * stats.norm.cdf(mean / math.hypot(step, 0.9 * math.sqrt(0.75)))

        total += share * integrate.quad(tail, -9, 9, limit=500, epsabs=1e-12)[0]
    assert truth["selection_rate.male"] == pytest.approx(total, abs=1e-8)


def test_a_flip_wrongs_women_only():
    plain, flipped = credit().truth(), credit(flip=0.15).truth()
    assert flipped["base_rate.female"] == pytest.approx(0.85 * plain["base_rate.female"])
    assert flipped["base_rate.female"] == pytest.approx(0.2472, abs=5e-5)
    assert flipped["base_rate.male"] == plain["base_rate.male"]
    assert flipped["tpr.female"] == pytest.approx(plain["tpr.female"])


def test_every_twin_differs_by_the_counterfactual_effect():
    world = credit()
    drawn = world.sample(5000, np.random.default_rng(1))
    logit = world.oracle().logit
    change = logit(drawn.twin.values) - logit(tabular(drawn.dataset).values)
    women = drawn.dataset.groups["sex"].values == 0
    np.testing.assert_allclose(change, np.where(women, 2.87, -2.87), atol=1e-12)
    np.testing.assert_array_equal(drawn.twin.values[:, 4:6], tabular(drawn.dataset).values[:, 4:6])


def test_with_an_interaction_and_noise_the_effect_holds_on_average():
    world = credit(omega=0.8, noise=0.5)
    drawn = world.sample(200_000, np.random.default_rng(2))
    logit = world.oracle().logit
    change = (logit(drawn.twin.values) - logit(tabular(drawn.dataset).values))[drawn.dataset.groups["sex"].values == 0]
    assert abs(change.mean() - 2.87) < 4 * change.std() / math.sqrt(len(change))
    assert change.std() > 0.5


def test_the_features_have_the_moments_that_the_model_says():
    drawn = credit().sample(400_000, np.random.default_rng(3))
    values, sex = tabular(drawn.dataset).values, drawn.dataset.groups["sex"].values
    assert drawn.dataset.groups["sex"].levels == LEVELS
    for code, s in ((0, -1), (1, 1)):
        inside = values[sex == code][:, :6]
        np.testing.assert_allclose(inside.mean(axis=0), [0.5 * s, -0.25 * s, 0.3 * s, 0.8 * s, 0, 0], atol=0.012)
        covariance = np.diag([1, 1, 1, 0.36, 1, 1]).astype(float)
        covariance[0, 1] = covariance[1, 0] = -0.5
        np.testing.assert_allclose(np.cov(inside.T), covariance, atol=0.016)


def brute_shapley(form, row, background):
    """Shapley values from their definition: over all orders, absent features from the background."""
    d, values = len(row), np.zeros(len(row))
    players = range(d)
    for size in range(d):
        weight = math.factorial(size) * math.factorial(d - size - 1) / math.factorial(d)
        for player in players:
            for others in itertools.combinations([each for each in players if each != player], size):
                without, joined = background.copy(), background.copy()
                without[:, others] = row[list(others)]
                joined[:, (*others, player)] = row[[*others, player]]
                values[player] += weight * (form.logit(joined) - form.logit(without)).mean()
    return values


def test_shapley_truth_is_the_definition():
    form = LogisticForm(
        columns=tuple("abcde"),
        weights=(1.0, -2.0, 0.5, 0.0, 3.0),
        bias=0.3,
        pairs=((0, 2, 0.8), (1, 4, -1.5), (0, 1, 0.4)),
    )
    rng = np.random.default_rng(5)
    x, background = rng.normal(size=(4, 5)), rng.normal(size=(9, 5)) @ rng.normal(size=(5, 5))
    expected = np.array([brute_shapley(form, row, background) for row in x])
    np.testing.assert_allclose(form.shapley_truth(x, background), expected, atol=1e-12)
    np.testing.assert_allclose(
        form.shapley_truth(x, background).sum(axis=1), form.logit(x) - form.logit(background).mean(), atol=1e-12
    )


def test_gradients_truth_is_the_integral_of_the_gradient():
    form = credit(omega=0.8).oracle()
    rng = np.random.default_rng(6)
    x, baseline = rng.normal(size=(3, 7)), rng.normal(size=7)
    nodes, mass = np.polynomial.legendre.leggauss(3)
    expected = np.zeros_like(x)
    for node, weight in zip((nodes + 1) / 2, mass / 2, strict=True):
        at = baseline + node * (x - baseline)
        steps = [(form.logit(at + 1e-3 * unit) - form.logit(at - 1e-3 * unit)) / 2e-3 for unit in np.eye(7)]
        expected += weight * (x - baseline) * np.array(steps).T
    np.testing.assert_allclose(form.gradients_truth(x, baseline), expected, atol=1e-9)
    np.testing.assert_allclose(
        form.gradients_truth(x, baseline).sum(axis=1), form.logit(x) - form.logit(baseline[None]), atol=1e-12
    )


def test_a_seed_gives_the_same_rows_and_another_gives_others():
    spec = Spec(data=DataSpec(world="credit", rows=500, knobs={"selection": 0.3}))
    first, again = read(spec, None), read(spec, None)
    np.testing.assert_array_equal(tabular(first).values, tabular(again).values)
    np.testing.assert_array_equal(first.y, again.y)
    assert len(first) == 500
    other = read(replace(spec, run=replace(spec.run, seed=1)), None)
    assert not np.array_equal(tabular(first).values, tabular(other).values)
    assert "selection = 0.3" in first.origin.source


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (DataSpec(world="credti"), "no world 'credti'.*did you mean 'credit'"),
        (DataSpec(world="credit", knobs={"omgea": 1}), "no knob 'omgea'.*did you mean 'omega'"),
        (DataSpec(world="credit", knobs={"flip": 1.5}), r"flip must lie in \[0, 1\), got 1.5"),
        (DataSpec(world="credit", knobs={"p": 0}), r"p must lie in \(0, 1\), got 0"),
        (DataSpec(world="credit", knobs={"noise": -1}), "noise must be 0 or more"),
        (DataSpec(world="credit", knobs={"race": -0.1}), "race must be 0 or more"),
        (DataSpec(world="credit", knobs={"tau": math.nan}), "tau must be a finite number, got nan"),
        (DataSpec(world="credit", rows=0), "data.rows must be 1 or more"),
    ],
)
def test_worlds_and_knobs_that_are_refused(data, message):
    with pytest.raises(DataError, match=message):
        planted(data)
