"""Consistency and the flip test, against nearest neighbours by scikit-learn and answers known by construction."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from little_models import Plain, codes, context, subject, table
from sklearn.neighbors import NearestNeighbors
from subjects import find

from audit.core import ALL, Codes, DataError, DataSpec, NotApplicable, UsageError
from audit.data.worlds.base import planted
from audit.fairness import consistency_score, flip_test, neighbour_distance, similarity_features
from audit.fairness.individual import flip, individual, level_values, mean_measure, sampled


def peer_consistency(x, y, k):
    """AIF360's formula, word for word."""
    places = NearestNeighbors(n_neighbors=k, algorithm="ball_tree").fit(x).kneighbors(x, return_distance=False)
    return 1 - np.abs(y - y[places].mean(axis=1)).mean()


@pytest.mark.parametrize(("n", "d", "k"), [(40, 1, 5), (300, 4, 5), (301, 7, 1), (500, 2, 20), (12, 3, 12)])
def test_consistency_is_that_of_the_peer(n, d, k):
    rng = np.random.default_rng(n)
    x, y = rng.normal(size=(n, d)), (rng.random(n) < 0.4).astype(float)
    assert consistency_score(x, y, n_neighbors=k) == pytest.approx(peer_consistency(x, y, k), abs=1e-12)


def test_consistency_in_blocks_and_for_some_rows(monkeypatch):
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(200, 3)), rng.random(200)
    whole = neighbour_distance(x, y)
    monkeypatch.setattr("audit.fairness.individual.BLOCK", 777)
    np.testing.assert_allclose(neighbour_distance(x, y), whole, atol=1e-12)
    rows = np.array([5, 3, 199])
    np.testing.assert_allclose(neighbour_distance(x, y, rows=rows), whole[rows], atol=1e-12)


@given(seed=st.integers(0, 10**6), k=st.integers(1, 9))
def test_ties_share_the_last_places_whatever_the_order(seed, k):
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, 3, size=(30, 2)).astype(float), rng.integers(0, 2, 30).astype(float)
    order = rng.permutation(30)
    found = neighbour_distance(x, y, n_neighbors=k)
    np.testing.assert_allclose(neighbour_distance(x[order], y[order], n_neighbors=k), found[order], atol=1e-12)
    for row in range(30):  # brute force: the mean over random breakings of ties is the weighted mean
        distance = ((x - x[row]) ** 2).sum(axis=1)
        edge = np.sort(distance)[k - 1]
        near, tied = distance < edge, distance == edge
        mean = (y[near].sum() + (k - near.sum()) * y[tied].mean()) / k
        assert found[row] == pytest.approx(abs(y[row] - mean), abs=1e-12)


def test_equal_answers_are_consistent_and_bad_calls_say_so():
    x = np.zeros((6, 2))
    assert consistency_score(x, np.ones(6)) == 1.0
    assert consistency_score(x, [0, 1, 0, 1, 0, 1]) == 0.5
    with pytest.raises(UsageError, match="1 to 6"):
        consistency_score(x, np.ones(6), n_neighbors=7)
    with pytest.raises(UsageError, match=r"\(n, d\)"):
        consistency_score(np.zeros(6), np.ones(6))


def test_features_for_resemblance():
    inputs = table(
        [[1.0, 0.0, 5.0, 9.0], [3.0, 1.0, 5.0, np.nan], [5.0, np.nan, 5.0, 7.0]],
        ("a", "colour", "still", "b"),
        categories={"colour": ("blå", "rød")},
    )
    found = similarity_features(inputs)
    spread, half = np.sqrt(8 / 3), np.sqrt(0.5)
    np.testing.assert_allclose(found[:, 0], [-2 / spread, 0, 2 / spread])
    np.testing.assert_allclose(found[:, 1:3], [[half, 0], [0, half], [0, 0]])
    np.testing.assert_allclose(found[:, 3], [1, 0, -1])
    assert similarity_features(inputs, ("colour", "a", "b")).shape == (3, 0)


# ------------------------------------------------------------------------------------------------- the check
def people(n=400, seed=0, known=1.0):
    rng = np.random.default_rng(seed)
    sex = rng.integers(0, 2, n)
    inputs = table(np.column_stack([rng.normal(size=n), sex]), ("x", "sex"))
    values = np.where(rng.random(n) < known, sex, 2)
    return inputs, Codes(values=values, levels=("f", "m"))


def test_individual_check_against_the_peer():
    inputs, sex = people()
    made = subject(Plain(lambda v: (v[:, 0] > 0.3).astype(float)), inputs, groups={"sex": sex})
    evidence = list(individual(made, context()))
    x = inputs.values[:, :1]
    distance = 1 - neighbour_distance(x, made.decision)
    assert find(evidence, "consistency").value == pytest.approx(peer_consistency(x, made.decision, 5), abs=1e-12)
    assert find(evidence, "consistency", sex="f").value == pytest.approx(distance[sex.values == 0].mean())
    assert find(evidence, "score_consistency").value == pytest.approx(find(evidence, "consistency").value)
    whole = find(list(individual(made, context(), protected=True)), "consistency")
    assert whole.note.endswith("2 columns")
    few = list(individual(made, context(), rows=50))
    assert find(few, "consistency").n == 50


def test_individual_needs_features_that_vary():
    inputs = table(np.zeros((20, 2)), ("x", "sex"))
    sex = codes(["f", "m"] * 10)
    made = subject(Plain(lambda v: np.full(len(v), 0.5)), inputs, groups={"sex": sex})
    with pytest.raises(NotApplicable, match="no feature varies"):
        list(individual(made, context()))
    inputs, sex = people(3)
    made = subject(Plain(lambda v: np.full(len(v), 0.5)), inputs, groups={"sex": sex})
    with pytest.raises(NotApplicable, match="at least 5 rows"):
        list(individual(made, context()))


# ------------------------------------------------------------------------------------------------- the flip
def test_flip_of_a_set_rule():
    inputs, sex = people(1000, known=0.9)
    model = Plain(lambda v: np.clip(0.5 + 0.2 * v[:, 0] + 0.1 * v[:, 1], 0, 1))
    made = subject(model, inputs, groups={"sex": sex})
    evidence = list(flip(made, context()))
    x, known = inputs.values[:, 0], sex.known()
    on, off = np.clip(0.6 + 0.2 * x, 0, 1), np.clip(0.5 + 0.2 * x, 0, 1)
    moved = ((on >= 0.5) != (off >= 0.5))[known]
    rate = find(evidence, "flip_rate", sex=ALL)
    assert rate.value == pytest.approx(moved.mean())
    assert rate.n == known.sum()
    assert rate.interval.low < rate.value < rate.interval.high
    women = find(evidence, "mean_score_change", sex="f")
    assert women.value == pytest.approx((on - off)[sex.values == 0].mean())
    assert find(evidence, "mean_score_change", sex="m").value == pytest.approx((off - on)[sex.values == 1].mean())
    assert find(evidence, "mean_abs_score_change", sex=ALL).value == pytest.approx((on - off)[known].mean())


def test_flip_over_several_levels_and_categories():
    levels = ("a", "b", "ç")
    inputs = table(
        [[0.0, 2.0], [0.0, 0.0], [0.0, 1.0], [1.0, 2.0]], ("x", "kind"), categories={"kind": ("ç", "b", "a")}
    )
    kind = codes(["a", "ç", "b", "a"], levels)
    score = np.array([0.1, 0.4, 0.6])  # of the column's numbers 0 (ç), 1 (b), 2 (a)
    found = flip_test(lambda t: score[t.values[:, 1].astype(int)], inputs, "kind", kind)
    np.testing.assert_array_equal(found.flipped, [True, True, True, True])
    np.testing.assert_allclose(found.moved, [0.5, 0.5, 0.3, 0.5])
    np.testing.assert_allclose(found.change, [(-0.5 - 0.2) / 2, (0.3 + 0.5) / 2, (-0.3 + 0.2) / 2, -0.35])
    np.testing.assert_array_equal(level_values(inputs, "kind", kind), [2, 1, 0])


def test_flip_with_several_classes_has_no_signed_change():
    inputs, sex = people(60)
    model = Plain(lambda v: np.column_stack([v[:, 1], 1 - v[:, 1], np.zeros(len(v))]))
    made = subject(model, inputs, groups={"sex": sex}, classes=("x", "y", "z"))
    evidence = list(flip(made, context()))
    assert find(evidence, "flip_rate", sex=ALL).value == 1.0
    assert {e.name for e in evidence} == {"flip_rate", "mean_abs_score_change"}


def test_flip_where_the_attribute_is_no_feature():
    inputs, sex = people(60)
    model = Plain(lambda v: np.full(len(v), 0.4))
    other = codes(["u", "v"] * 30)
    with pytest.raises(NotApplicable, match="not among the features"):
        list(flip(subject(model, inputs, groups={"race": other}), context()))
    evidence = list(flip(subject(model, inputs, groups={"race": other, "sex": sex}), context()))
    assert find(evidence, "flip_rate", race=ALL).value is None
    assert find(evidence, "flip_rate", sex=ALL).value == 0.0


@pytest.mark.parametrize(
    ("values", "message"),
    [([0, 1, 2, 0], "2 values among"), ([1, 1, 1, 1], "does not tell"), ([0, np.nan] * 2, "among")],
)
def test_a_column_that_is_not_the_attribute(values, message):
    inputs = table(np.array(values, dtype=float)[:, None], ("sex",))
    with pytest.raises(DataError, match=message):
        level_values(inputs, "sex", codes(["f", "m", "f", "f"]))


def test_one_group_cannot_be_flipped():
    inputs = table(np.ones((4, 1)), ("sex",))
    with pytest.raises(DataError, match="does not tell"):
        level_values(inputs, "sex", codes(["m"] * 4))


def test_weights_and_empty_groups_in_a_mean():
    weighted = mean_measure("m", [1.0, 3.0, 9.0], level=0.95, weights=np.array([1.0, 1.0, 0.0]))
    assert weighted.value == 2.0
    assert "effective n 2.0" in weighted.note
    assert mean_measure("m", [], level=0.95).value is None
    assert mean_measure("m", [1.0], level=0.95, weights=np.zeros(1)).value is None
    np.testing.assert_array_equal(sampled(np.random.default_rng(0), 5, 9), np.arange(5))
    with pytest.raises(UsageError, match="rows"):
        sampled(np.random.default_rng(0), 5, 0)


def test_the_credit_oracle_reads_the_direct_effect_only():
    world = planted(DataSpec(world="credit"))
    data = world.draw(3000, np.random.default_rng(4))
    found = flip_test(lambda t: world.oracle().logit(t.values), data.inputs, "sex", data.groups["sex"], threshold=0.0)
    np.testing.assert_allclose(found.moved, 0.8, atol=1e-12)
    sex = data.groups["sex"].values
    np.testing.assert_allclose(found.change, np.where(sex == 0, 0.8, -0.8), atol=1e-12)
