"""Calibration by group against scikit-learn, definitions over rows, published figures and simulation."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression
from subjects import context_of, find, subject_of

from audit.core import Curve, DataError, Measure, NotApplicable
from audit.fairness.calibration import calibration, calibration_by_group, calibration_errors, places, recalibration


def people(seed: int, n: int, slope: float = 1.0, shift: float = 0.0) -> pd.DataFrame:
    """Scores whose log-odds are off by a known slope and shift: logit P(y) = shift + slope logit(score)."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    truth = 1 / (1 + np.exp(-(shift + slope * x)))
    return pd.DataFrame(
        {
            "g": rng.choice(["a", "b"], n),
            "y": (rng.random(n) < truth).astype(int),
            "s": 1 / (1 + np.exp(-x)),
            "w": rng.gamma(2.0, size=n),
            "f": rng.integers(0, 4, n),
        }
    )


def logit(score):
    return np.log(score / (1 - score))


@given(st.integers(0, 2**32 - 1), st.floats(0.3, 2.0), st.floats(-1.0, 1.0))
@settings(max_examples=15, deadline=None)
def test_recalibration_equals_scikit_learn(seed, slope, shift):
    frame = people(seed, 400, slope, shift)
    x = logit(frame.s.to_numpy())
    fit = recalibration(frame.y, frame.s, frame.w)
    theirs = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(x[:, None], frame.y, sample_weight=frame.w)
    assert fit.slope == pytest.approx(theirs.coef_[0, 0], abs=1e-4)
    assert fit.intercept == pytest.approx(theirs.intercept_[0], abs=1e-4)

    # the slope of 1 and the standard errors from the likelihood itself
    def loss(beta):
        eta = beta[0] + (beta[1] if len(beta) > 1 else 1.0) * x
        return float((frame.w * (np.logaddexp(0, eta) - frame.y * eta)).sum())

    assert fit.in_the_large == pytest.approx(minimize(loss, [0.0]).x[0], abs=1e-4)
    step, at = 1e-3, np.array([fit.intercept, fit.slope])
    hessian = np.empty((2, 2))
    for i in range(2):
        for j in range(2):
            corners = [(1, 1), (1, -1), (-1, 1), (-1, -1)]
            ends = [a * b * loss(at + step * (a * np.eye(2)[i] + b * np.eye(2)[j])) for a, b in corners]
            hessian[i, j] = sum(ends) / (4 * step * step)
    errors = np.sqrt(np.diag(np.linalg.inv(hessian)))
    assert [fit.intercept_error, fit.slope_error] == pytest.approx(errors, rel=1e-3)


@pytest.mark.parametrize(
    ("y", "score"),
    [
        ([1, 1, 1], [0.2, 0.4, 0.6]),
        ([0, 1, 0], [0.3, 0.3, 0.3]),
        ([0, 0, 1, 1], [0.1, 0.2, 0.3, 0.4]),
        ([0, 1, 0, 1], [0.1, 0.2, 0.3, 1.0]),
        ([], []),
    ],
)
def test_no_finite_slope_is_undefined(y, score):
    assert np.isnan(recalibration(np.array(y, dtype=int), np.array(score)).slope)


def test_errors_equal_their_definition():
    rng = np.random.default_rng(2)
    n, mean, rate = np.array([40.0, 25.0, 1.0]), np.array([0.2, 0.55, 0.9]), np.array([0.3, 0.4, 1.0])
    plain, unbiased, root = calibration_errors(n, mean, rate)
    assert plain == pytest.approx((40 * 0.1 + 25 * 0.15 + 0.1) / 66)
    squares = [0.1**2 - 0.3 * 0.7 / 39, 0.15**2 - 0.4 * 0.6 / 24]
    assert root == pytest.approx(np.sqrt((40 * squares[0] + 25 * squares[1]) / 66))
    # the published recipe: draw each rate again as a normal number, and take off what the error grew by
    spread = np.sqrt([0.3 * 0.7 / 39, 0.4 * 0.6 / 24])
    again = np.abs(rng.normal(rate[:2], spread, size=(400_000, 2)) - mean[:2]).mean(0)
    plain_two = np.array([0.1, 0.15])
    assert unbiased == pytest.approx(((2 * plain_two - again) * n[:2]).sum() / 66, abs=5e-4)


def test_debiased_errors_are_right_on_average_where_the_plain_one_is_not():
    found = []
    for seed in range(200):
        frame = people(seed, 300)
        place = places(frame.s.to_numpy(), np.ones(300))
        n = np.bincount(place)
        mean, rate = (np.bincount(place, column) / n for column in (frame.s, frame.y))
        found.append(calibration_errors(n.astype(float), mean, rate))
    plain, unbiased, root = np.array(found).T
    assert plain.mean() > 0.055
    assert unbiased.mean() < 0.6 * plain.mean()
    assert (root == 0).mean() > 0.3


def subject(frame, **more):
    return subject_of(frame, attributes=("g",), y="y", score="s", **more)


def test_the_check_equals_definitions_over_rows():
    frame = people(4, 3000, slope=0.7, shift=0.3)
    evidence = list(calibration(subject(frame), context_of(), replicates=100))
    a = frame[frame.g == "a"]
    expected = {
        "calibration_in_the_large": (a.y - a.s).mean(),
        "brier": ((a.y - a.s) ** 2).mean(),
        "overconfidence": (np.maximum(a.s, 1 - a.s) - ((a.s >= 0.5) == a.y)).mean(),
        "calibration_slope": recalibration(a.y, a.s).slope,
    }
    for name, value in expected.items():
        assert find(evidence, name, g="a").value == pytest.approx(value, abs=1e-12)
    slope = find(evidence, "calibration_slope").interval
    assert slope.low < 0.7 < slope.high
    assert find(evidence, "calibration_intercept", g="a").interval.low > 0
    for measure in evidence:
        if isinstance(measure, Measure) and measure.interval is not None:
            assert measure.interval.low <= measure.value <= measure.interval.high, measure
    curves = [each for each in evidence if isinstance(each, Curve)]
    assert [dict(each.where) for each in curves] == [{}, {"g": "a"}, {"g": "b"}]
    assert sum(curve.n for curve in curves[1:]) == 3000
    assert find(evidence, "brier_difference", g="*").interval.low == 0.0


def test_compas_by_decile(test_data):
    truth = json.loads((test_data / "expected_A.json").read_text())["compas"]["race"]
    frame = pd.read_csv(test_data / "compas" / "compas_two_years_deidentified.csv")
    frame["s"] = frame.decile_score / 10 - 0.05
    compas = subject_of(frame, attributes=("race",), y="two_year_recid", score="s")
    evidence = list(calibration(compas, context_of(), replicates=20))
    for race, deciles in truth["calibration_recid_rate_by_decile"].items():
        curve = next(e for e in evidence if isinstance(e, Curve) and e.where == {"race": race})
        for x, y in zip(curve.x, curve.y, strict=True):
            assert y == pytest.approx(deciles[str(round((x + 0.05) * 10))], abs=1e-12)


def test_weights_and_frequencies_count_like_rows():
    frame = people(8, 400)
    spread = frame.loc[frame.index.repeat(frame.f)]
    counted = calibration_by_group(frame.y, frame.s, sensitive_features=frame.g, frequency=frame.f)
    repeated = calibration_by_group(spread.y, spread.s, sensitive_features=spread.g)
    np.testing.assert_allclose(counted.value, repeated.value, atol=1e-9)
    heavy = calibration_by_group(frame.y, frame.s, sensitive_features=frame.g, weights=frame.w)
    twice = calibration_by_group(frame.y, frame.s, sensitive_features=frame.g, weights=2 * frame.w)
    np.testing.assert_allclose(heavy.high, twice.high, atol=1e-9)
    none = calibration_by_group(frame.y, frame.s, sensitive_features=frame.g, weights=1.0 * (frame.g == "a"))
    assert np.isnan(none.value[1]).all()


def test_edges():
    frame = people(1, 80).assign(g=lambda f: pd.Categorical(f.g, categories=["a", "b", "nïe"]))
    evidence = list(calibration(subject(frame.assign(y=1, s=0.5)), context_of(), replicates=20))
    assert find(evidence, "calibration_slope", g="a").value is None
    assert find(evidence, "ece_debiased", g="nïe").value is None
    assert find(evidence, "calibration_in_the_large", g="a").value == 0.5
    assert find(evidence, "calibration_slope_difference", g="*").value is None
    with pytest.raises(NotApplicable, match="no probabilities"):
        next(calibration(subject(frame.assign(s=frame.s * 2)), context_of()))
    with pytest.raises(DataError, match="probabilities from 0 to 1"):
        calibration_by_group([0, 1], [0.5, 1.5], sensitive_features=["a", "b"])


def test_coverage():
    held = {"calibration_slope": 0, "calibration_in_the_large": 0, "ece_debiased": 0}
    for seed in range(150):
        frame = people(seed, 250)
        evidence = list(calibration(subject(frame.assign(g="a")), context_of(seed), replicates=60))
        for name, truth in zip(held, (1.0, 0.0, 0.0), strict=True):
            interval = find(evidence, name, g="a").interval
            held[name] += interval.low <= truth <= interval.high
    assert all(0.92 <= count / 150 <= 1.0 for count in held.values()), held


def test_the_interval_of_the_debiased_error_holds_a_known_error():
    # the score says .3 and .6 where the truth is .4 and .5: an error of .1 in each half
    held = 0
    for seed in range(150):
        rng = np.random.default_rng(seed)
        score = rng.choice([0.3, 0.6], 400)
        y = (rng.random(400) < np.where(score == 0.3, 0.4, 0.5)).astype(int)
        found = calibration_by_group(y, score, sensitive_features=np.zeros(400), rng=rng, replicates=100)
        _, low, high = found.of("ece_debiased")
        held += low[0] <= 0.1 <= high[0]
    assert 0.9 <= held / 150 <= 1.0
