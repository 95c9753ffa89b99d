"""Counterfactual effects against the truth of the credit world."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from little_models import Plain, context, sigmoid, subject
from scipy.special import logit
from subjects import find

from audit import codec
from audit.core import ALL, Codes, DataSpec, NotApplicable, UsageError
from audit.data.worlds.base import planted
from audit.fairness import counterfactual_effects
from audit.fairness.counterfactual import counterfactual, log_odds, moved_columns, whole_effects
from audit.subject import prepare


def drawn(rows=3000, seed=0, **knobs):
    world = planted(DataSpec(world="credit", knobs=knobs))
    return world, world.draw(rows, np.random.default_rng(seed))


def audited(score, data, **params):
    made = subject(
        Plain(score), data.inputs, data.y, data.groups, twin=data.twin, names=data.names, classes=data.classes
    )
    return list(counterfactual(made, context(), **params))


def test_the_oracle_reads_the_truth():
    world, data = drawn()
    truth = world.truth()
    evidence = audited(lambda v: sigmoid(world.oracle().logit(v)), data)
    assert truth["counterfactual_logit"] == pytest.approx(2.87)
    assert find(evidence, "counterfactual_effect", sex=ALL).value == pytest.approx(2.87, abs=1e-9)
    assert find(evidence, "counterfactual_effect", sex="female").value == pytest.approx(2.87, abs=1e-9)
    assert find(evidence, "flip_effect", sex=ALL).value == pytest.approx(truth["path.direct"], abs=1e-9)
    for path, feature in {"income": "income", "debt": "debt", "history": "history", "direct": "sex"}.items():
        found = find(evidence, "path_effect", sex=ALL, feature=feature)
        assert found.value == pytest.approx(truth[f"path.{path}"], abs=1e-9)
    assert find(evidence, "path_effect", sex=ALL, feature="zip").value == pytest.approx(0, abs=1e-9)
    assert find(evidence, "path_effect", sex=ALL, feature="interactions").value == pytest.approx(0, abs=1e-9)


def test_decisions_of_twins():
    world, data = drawn()
    evidence = audited(lambda v: sigmoid(world.oracle().logit(v)), data)
    other = world.oracle().logit(data.twin.values) >= 0
    here = world.oracle().logit(data.inputs.values) >= 0
    rate = find(evidence, "counterfactual_flip_rate", sex=ALL)
    assert rate.value == pytest.approx((here != other).mean())
    # closed form for women: P(-2.87 <= logit < 0) with logit ~ N(-1.435, 3.82), the same for men by symmetry
    from scipy.stats import norm

    exact = norm.cdf(0, -1.435, 3.82**0.5) - norm.cdf(-2.87, -1.435, 3.82**0.5)
    assert rate.interval.low < exact < rate.interval.high


def test_a_trained_model_and_one_that_never_sees_the_attribute():
    from sklearn.linear_model import LogisticRegression

    _, data = drawn(20_000, seed=1)
    whole = LogisticRegression(C=1e6, max_iter=500).fit(data.inputs.values, data.y)
    evidence = audited(lambda v: whole.predict_proba(v)[:, 1], data, rows=2000)
    full, flip = (find(evidence, f"{name}_effect", sex=ALL).value for name in ("counterfactual", "flip"))
    assert full == pytest.approx(2.87, abs=0.15)
    assert flip == pytest.approx(whole.coef_[0, 6], abs=1e-9)
    assert flip < 1.1  # the naive flip misses the three indirect paths
    blind = LogisticRegression(C=1e6, max_iter=500).fit(data.inputs.values[:, :6], data.y)
    evidence = audited(lambda v: blind.predict_proba(v[:, :6])[:, 1], data, rows=2000)
    assert find(evidence, "flip_effect", sex=ALL).value == 0.0
    assert find(evidence, "counterfactual_effect", sex=ALL).value > 2.3
    # the whole split follows from the weights and the twins' steps
    steps = dict(zip(data.names, [1.0, -0.5, 0.6, 1.6, 0, 0], strict=False))
    for name, weight in zip(data.names[:6], blind.coef_[0], strict=True):
        if steps[name]:
            found = find(evidence, "path_effect", sex=ALL, feature=name)
            assert found.value == pytest.approx(weight * steps[name], abs=1e-6)


def test_pairs_that_interact_leave_nothing_over_and_triples_do():
    world, data = drawn(500, omega=0.8)
    columns = data.inputs.values.shape[1]
    rng = np.random.default_rng(2)
    mixed = rng.normal(size=(columns, columns))

    def quadratic(inputs):
        return np.einsum("ni,ij,nj->n", inputs.values, mixed, inputs.values)

    found = counterfactual_effects(quadratic, data.inputs, data.twin, "sex", data.groups["sex"])
    np.testing.assert_allclose(found.rest, 0, atol=1e-10)
    oracle = counterfactual_effects(
        lambda t: world.oracle().logit(t.values), data.inputs, data.twin, "sex", data.groups["sex"]
    )
    np.testing.assert_allclose(sum(oracle.paths.values()), oracle.full, atol=1e-10)
    cubic = counterfactual_effects(
        lambda t: t.values[:, 0] * t.values[:, 1] * t.values[:, 2], data.inputs, data.twin, "sex", data.groups["sex"]
    )
    assert np.abs(cubic.rest).max() > 1e-3
    np.testing.assert_allclose(sum(cubic.paths.values()) + cubic.rest, cubic.full, atol=1e-10)


def test_paths_are_shapley_values_for_pairs():
    """Brute force over all orders of the five features that twins differ in."""
    from itertools import permutations

    world, data = drawn(20, omega=0.7)
    logit_of, names = world.oracle().logit, moved_columns(data.inputs, data.twin)
    places = [data.names.index(name) for name in names]
    total = np.zeros((len(names), 20))
    orders = list(permutations(range(len(names))))
    for order in orders:
        state = data.inputs.values.copy()
        before = logit_of(state)
        for i in order:
            state[:, places[i]] = data.twin.values[:, places[i]]
            after = logit_of(state)
            total[i] += after - before
            before = after
    found = counterfactual_effects(lambda t: logit_of(t.values), data.inputs, data.twin, "sex", data.groups["sex"])
    sign = np.where(data.groups["sex"].values == 0, 1, -1)
    for i, name in enumerate(names):
        np.testing.assert_allclose(found.paths[name], sign * total[i] / len(orders), atol=1e-10)


def test_draws_are_what_they_were_and_have_twins():
    world, data = drawn(50, seed=9)
    again = world.sample(50, np.random.default_rng(9))
    np.testing.assert_array_equal(data.twin.values, again.twin.values)
    np.testing.assert_array_equal(data.inputs.values, again.dataset.inputs.values)
    np.testing.assert_array_equal(data.inputs.values[:, 6], 1 - data.twin.values[:, 6])


def test_not_for_every_subject():
    world, data = drawn(40)
    model = Plain(lambda v: sigmoid(world.oracle().logit(v)))
    made = subject(model, data.inputs, data.y, data.groups, twin=data.twin, names=data.names)
    with pytest.raises(NotApplicable, match="planted worlds only"):
        list(counterfactual(replace(made, data=replace(made.data, twin=None)), context()))
    three = Codes(values=np.arange(40) % 3, levels=("a", "b", "c"))
    with pytest.raises(NotApplicable, match="two known levels"):
        list(counterfactual(replace(made, groups={"race": three}), context()))
    two = Codes(values=np.arange(40) % 2, levels=("a", "b"))
    with pytest.raises(NotApplicable, match="cannot tell"):
        list(counterfactual(replace(made, groups={"race": two, "age": two}), context()))
    with pytest.raises(UsageError, match="two known levels"):
        counterfactual_effects(lambda t: t.values[:, 0], data.inputs, data.twin, "sex", three)
    with pytest.raises(UsageError, match="same rows"):
        counterfactual_effects(
            lambda t: t.values[:, 0], data.inputs, data.twin.take(np.arange(3)), "sex", data.groups["sex"]
        )


def test_scores_that_are_no_probabilities_stay_in_their_unit():
    world, data = drawn(200)
    evidence = audited(world.oracle().logit, data)
    found = find(evidence, "counterfactual_effect", sex=ALL)
    assert found.value == pytest.approx(2.87, abs=1e-9)
    assert "units of the score" in found.note


def test_log_odds_against_scipy():
    p = np.linspace(0.001, 0.999, 99)
    np.testing.assert_allclose(log_odds(p), logit(p), atol=1e-12)
    assert np.isfinite(log_odds(np.array([0.0, 1.0]))).all()


def test_whole_effects_are_the_gain_of_the_second_level():
    codes = Codes(values=np.array([0, 1, 0, 1]), levels=("a", "b"))
    found = whole_effects(np.array([1.0, 5.0, -1.0, 0.0]), np.array([4.0, 3.0, -2.0, 0.5]), codes)
    np.testing.assert_array_equal(found.full, [3.0, 2.0, -1.0, -0.5])
    np.testing.assert_array_equal(found.rest, found.full)
    assert found.flip is None
    assert found.paths == {}


@pytest.mark.parametrize(
    ("name", "attribute", "direction"),
    [
        ("payments", "residence", ("newcomer", "settled")),
        ("biographies", "sex", ("male", "female")),  # the truth is of "she" instead of "he", the first level
        ("lending_network", "district", ("east", "west")),
        ("glyphs", "tone", ("dark", "light")),
    ],
)
def test_twins_of_any_kind_of_inputs_tell_the_whole_effect_and_no_more(name, attribute, direction):
    spec = codec.spec_from_toml(f'[model]\nkind = "oracle"\n[data]\nworld = "{name}"\nrows = 400')
    subject = prepare(spec, Path())
    measures = [m for m in counterfactual(subject, context()) if m.where == {attribute: ALL}]
    by_name = {m.name: m for m in measures}
    assert set(by_name) == {"counterfactual_effect", "counterfactual_flip_rate"}
    levels = subject.groups[attribute].levels
    assert set(levels) == set(direction)
    truth = planted(spec.data).truth()["counterfactual_logit"] * (1 if levels == direction else -1)
    effect = by_name["counterfactual_effect"]
    error = (effect.interval.high - effect.interval.low) / 2 / 1.96
    band = max(4 * error, 1e-6)
    assert abs(effect.value - truth) < band
    if name != "glyphs":  # where the whole effect is next to nothing, for either tone
        assert band < abs(truth)
