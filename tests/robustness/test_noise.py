"""Flip rates against closed forms, and what must hold of them whatever the model."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from little_models import Plain, codes, context, sigmoid, subject, table
from scipy.stats import binomtest

from audit.core import Curve, Measure, NotApplicable, UsageError
from audit.data.tabular import noisy_columns
from audit.robustness.noise import decide, noise


def made(n=2000, seed=0, *, labels=True, weights=None, groups=True, function=None):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2)) * [1.0, 3.0]
    y = (rng.random(n) < sigmoid(x[:, 0])).astype(np.int64) if labels else None
    sex = {"sex": codes(rng.choice(["f", "m", "?"], size=n), ("f", "m"))} if groups else {}
    model = Plain(function or (lambda v: sigmoid(v[:, 0])))
    return subject(model, table(x), y, sex, weights=weights)


def one(evidence, name, **where):
    (found,) = [e for e in evidence if e.name == name and dict(getattr(e, "where", {})) == where]
    return found


@pytest.mark.parametrize("scale", [0.1, 0.5])
def test_flip_rate_of_a_threshold_on_one_feature_is_an_angle(scale):
    """x ~ N(0, 1) and x + s e have correlation 1/sqrt(1 + s^2); their signs differ with probability arccos(r) / pi."""
    found = list(noise(made(6000), context(), scale=scale, rows=6000))
    measure = one(found, "flip_rate")
    truth = np.arccos(1 / np.sqrt(1 + scale**2)) / np.pi
    assert measure.interval.low < truth < measure.interval.high
    assert measure.value == pytest.approx(truth, abs=0.012)
    assert measure.n == 6000


def test_interval_is_wilsons_with_rows_counted_once():
    measure = one(list(noise(made(500), context(), rows=200, repeats=1)), "flip_rate", scale="0.25")
    flips = round(measure.value * 200)
    peer = binomtest(flips, 200).proportion_ci(method="wilson")
    assert (measure.interval.low, measure.interval.high) == pytest.approx((peer.low, peer.high))


def test_accuracy_drop_is_the_difference_of_two_accuracies():
    asked = []

    def recording(v):
        asked.append(v.copy())
        return sigmoid(v[:, 0])

    s = made(300, function=recording)
    asked.clear()
    found = list(noise(s, context(), scales=(0.5,), scale=0.5, rows=300, repeats=2))
    before, *after = [np.mean((a[:, 0] >= 0) == s.y) for a in asked]
    measure = one(found, "accuracy_drop")
    assert measure.value == pytest.approx(before - np.mean(after))
    assert measure.interval.low <= measure.value <= measure.interval.high
    shift = max(np.abs(sigmoid(a[:, 0]) - sigmoid(asked[0][:, 0])).max() for a in asked[1:])
    assert one(found, "max_score_change").value == pytest.approx(shift)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 60), st.integers(0, 10**6))
def test_no_noise_changes_nothing(n, seed):
    s = made(max(n, 4), seed)
    found = list(noise(s, context(seed), scales=(0.0,), scale=0.0, rows=n))
    for measure in (e for e in found if isinstance(e, Measure)):
        assert measure.value in (0, None)
        if measure.interval is not None and measure.name == "accuracy_drop":
            assert measure.interval.low < 0 < measure.interval.high


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6))
def test_a_flip_is_a_flip_either_way(seed):
    """A model that answers the other way round has the same flip rates, and rates keep to [0, 1]."""
    rates = [
        [e.value for e in noise(made(80, seed, function=f), context(), rows=50) if e.name == "flip_rate"]
        for f in (lambda v: sigmoid(v[:, 0]), lambda v: 1 - sigmoid(v[:, 0]) - 1e-12)
    ]
    assert rates[0] == rates[1]
    assert all(0 <= rate <= 1 for rate in rates[0])


def test_groups_are_measured_at_the_named_scale_and_unknown_left_out():
    s = made(900)
    found = list(noise(s, context(), rows=900))
    parts = [one(found, "flip_rate", sex=level) for level in ("f", "m")]
    for part, index in zip(parts, (0, 1), strict=True):
        assert part.n == (s.groups["sex"].values == index).sum()
        assert "0.1 standard deviations" in part.note
    assert sum(part.n for part in parts) < 900
    assert one(found, "flip_rate").value == one(found, "flip_rate", scale="0.1").value


def test_the_gap_between_groups_and_its_interval():
    """A model that is noisy for one group only: the gap is that group's excess of flips."""
    rng = np.random.default_rng(4)
    x = np.stack([rng.normal(size=3000), rng.integers(0, 2, 3000)], axis=1)
    model = Plain(lambda v: sigmoid(np.where(v[:, 1] > 0, v[:, 0], 50 * np.sign(v[:, 1] - 0.5))))
    s = subject(model, table(x), None, {"sex": codes(np.where(x[:, 1] > 0, "f", "m"))})
    found = list(noise(s, context(), scale=0.5, rows=3000))
    gap = one(found, "flip_rate_difference", sex="*")
    assert one(found, "flip_rate", sex="m").value == 0
    assert gap.value == one(found, "flip_rate", sex="f").value
    assert gap.interval.low < np.arccos(1 / np.sqrt(1.25)) / np.pi < gap.interval.high
    alone = subject(model, table(x), None, {"sex": codes(["f"] * 3000)})
    assert "two groups" in one(list(noise(alone, context())), "flip_rate_difference", sex="*").note


def test_a_constant_weight_changes_nothing():
    plain = list(noise(made(200, groups=False), context(), rows=200))
    heavy = list(noise(made(200, groups=False, weights=np.full(200, 2.5)), context(), rows=200))
    assert one(heavy, "flip_rate").value == pytest.approx(one(plain, "flip_rate").value)
    assert one(heavy, "flip_rate").interval.high == pytest.approx(one(plain, "flip_rate").interval.high)


def test_the_curve_rises_with_the_scale_and_holds_its_band():
    curve = one(list(noise(made(), context())), "flip_rate_by_scale")
    assert isinstance(curve, Curve)
    assert curve.x == (0.05, 0.1, 0.25, 0.5)
    assert list(curve.y) == sorted(curve.y)
    assert all(low <= y <= high for low, y, high in zip(curve.low, curve.y, curve.high, strict=True))


def test_categories_and_two_valued_columns_are_left_alone():
    rng = np.random.default_rng(0)
    x = np.stack([rng.normal(size=50) * 2, rng.integers(0, 3, 50), rng.integers(0, 2, 50), np.zeros(50)], axis=1)
    x[0, 0] = np.nan
    inputs = table(x, ["x", "c", "flag", "same"], categories={"c": ("a", "b", "d")})
    np.testing.assert_allclose(noisy_columns(inputs), [np.nanstd(x[:, 0]), 0, 0, 0])
    seen = []
    s = subject(Plain(lambda v: seen.append(v.copy()) or np.full(len(v), 0.5)), inputs)
    list(noise(s, context(), rows=50))
    for values in seen:
        np.testing.assert_array_equal(values[:, 1:], x[:, 1:])
        assert np.isnan(values[0, 0])
    with pytest.raises(NotApplicable, match="no numeric feature"):
        list(noise(subject(Plain(lambda v: v[:, 1]), inputs.with_values(x * [0, 1, 1, 0])), context()))


def test_a_model_of_numbers_has_no_decision_that_could_flip():
    with pytest.raises(NotApplicable, match="a number and no score"):
        list(noise(replace(made(50), score=None, decision=None), context()))


def test_without_labels_the_drop_is_undefined_and_says_so():
    measure = one(list(noise(made(labels=False), context())), "accuracy_drop")
    assert measure.value is None
    assert "labels" in measure.note


def test_several_classes_flip_where_the_largest_changes():
    assert decide(np.array([[0.2, 0.5, 0.3], [0.9, 0.05, 0.05]]), 0.5).tolist() == [1, 0]
    rng = np.random.default_rng(0)

    def three(v):
        odds = np.exp(np.stack([v[:, 0], v[:, 1], 0 * v[:, 0]], axis=1))
        return odds / odds.sum(axis=1, keepdims=True)

    s = subject(Plain(three), table(rng.normal(size=(100, 2))), rng.integers(0, 3, 100))
    assert 0 < one(list(noise(s, context(), scale=0.5)), "flip_rate").value < 1


@pytest.mark.parametrize("params", [{"rows": 0}, {"repeats": 0}, {"scales": (-0.1,)}, {"scale": float("nan")}])
def test_wrong_parameters(params):
    with pytest.raises(UsageError):
        list(noise(made(50), context(), **params))


def test_the_same_seed_gives_the_same_evidence_at_any_batch_size():
    first = list(noise(made(300), context()))
    s = made(300)
    s.model.batch = 7
    assert list(noise(s, context())) == first
