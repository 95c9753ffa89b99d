"""Prototypes and criticisms against brute force on small sets, and where people know the answer."""

import numpy as np
import pytest
from little_models import Plain, codes, context, sigmoid, subject, table

from audit.core import Measure, NotApplicable, Table, UsageError
from audit.explain.features import standardised
from audit.explain.prototypes import (
    criticisms,
    furthest,
    mmd2,
    prototypes,
    prototypes_and_criticisms,
    rbf_kernel,
    witness,
)

RNG = np.random.default_rng(0)
POINTS = RNG.normal(size=(14, 2))


def loops(points):
    away = [[sum((a - b) ** 2) for b in points] for a in points]
    middle = np.median([away[i][j] for i in range(len(points)) for j in range(i)])
    return np.exp(-np.array(away) / middle)


def test_the_kernel_and_the_discrepancy_in_loops():
    kernel = rbf_kernel(POINTS)
    np.testing.assert_allclose(kernel, loops(POINTS), atol=1e-12)
    chosen, n = [2, 5, 7], len(POINTS)
    total = sum(kernel[i, j] for i in range(n) for j in range(n)) / n**2
    total -= 2 * sum(kernel[i, j] for i in range(n) for j in chosen) / (n * 3)
    total += sum(kernel[i, j] for i in chosen for j in chosen) / 9
    assert mmd2(kernel, np.array(chosen)) == pytest.approx(total)
    assert mmd2(kernel, np.arange(n)) == pytest.approx(0, abs=1e-12)


def test_each_prototype_is_the_best_that_could_be_added():
    kernel = rbf_kernel(POINTS)
    found = prototypes(kernel, 6)
    for size in range(6):
        left = [j for j in range(14) if j not in found[:size]]
        best = min(left, key=lambda j: mmd2(kernel, np.array([*found[:size], j])))
        assert found[size] == best


def test_each_criticism_is_the_best_that_could_be_added():
    kernel = rbf_kernel(POINTS)
    typical = prototypes(kernel, 3)
    found = criticisms(kernel, typical, 5)
    missed = np.abs(witness(kernel, typical))

    def gain(some):
        return missed[some].sum() + np.linalg.slogdet(kernel[np.ix_(some, some)])[1]

    for size in range(5):
        left = [j for j in range(14) if j not in [*typical, *found[:size]]]
        assert found[size] == max(left, key=lambda j: gain([*found[:size], j]))


def test_two_clouds_have_a_prototype_each_and_the_stranger_is_furthest():
    points = np.vstack([RNG.normal(size=(40, 2)) - 6, RNG.normal(size=(40, 2)) + 6, [[30.0, -30.0]]])
    kernel = rbf_kernel(points)
    typical = prototypes(kernel, 2)
    assert sorted(typical // 40) == [0, 1]
    assert furthest(kernel, typical, 3)[0] == 80
    assert set(furthest(kernel, typical, 81)) == set(range(81)) - set(typical)


def test_a_cloud_without_prototypes_is_criticised():
    points = np.vstack([RNG.normal(size=(40, 2)) - 6, RNG.normal(size=(40, 2)) + 6])
    kernel = rbf_kernel(points)
    one_side = np.array([0, 1])
    gap = witness(kernel, one_side)
    assert gap[:40].max() < 0 < gap[40:].min()
    assert (criticisms(kernel, one_side, 2) >= 40).any()


def test_rows_that_are_all_alike():
    kernel = rbf_kernel(np.zeros((5, 2)))
    assert prototypes(kernel, 5).tolist() == [0, 1, 2, 3, 4]
    assert len(set(criticisms(kernel, np.array([0]), 4).tolist())) == 4


def test_too_many_are_refused():
    kernel = rbf_kernel(POINTS)
    with pytest.raises(UsageError, match="from 1 to 14"):
        prototypes(kernel, 15)
    with pytest.raises(UsageError, match="from 0 to 12"):
        criticisms(kernel, np.array([1, 2]), 13)


def test_distances_are_on_one_scale():
    values = np.array([[1000.0, 0, np.nan], [3000.0, 1, 2.0], [1000.0, 2, 2.0], [3000.0, 0, 4.0]])
    points = standardised(table(values, ["pay", "job", "x"], categories={"job": ("a", "b", "c")}))
    assert np.isfinite(points).all()
    np.testing.assert_allclose(points.mean(axis=0), 0, atol=1e-12)
    assert points[:, 0].tolist() == [-1, 1, -1, 1]
    assert (points[:, 1:4] ** 2).mean(axis=0).sum() == pytest.approx(1)  # a category weighs as much as a number


def test_a_group_far_from_all_others_is_less_well_represented():
    n = 200
    sex = RNG.random(n) < 0.06
    x = RNG.normal(size=(n, 3)) * np.where(sex, 6.0, 1.0)[:, None]
    s = subject(Plain(lambda v: sigmoid(v[:, 0])), table(x), groups={"sex": codes(np.where(sex, "f", "m"))})
    found = list(prototypes_and_criticisms(s, context()))
    near = {m.where.get("sex"): m for m in found if isinstance(m, Measure) and m.name == "prototype_similarity"}
    assert near["f"].interval.high < near["m"].interval.low
    typical, unlike, far = (e for e in found if isinstance(e, Table))
    assert len(typical.rows) == 8
    assert len(unlike.rows) == 6
    assert sum(row[-1] for row in typical.rows) == pytest.approx(1)
    assert typical.columns == ("row", "x0", "x1", "x2", "sex", "score", "stands for")
    for row in (*typical.rows, *unlike.rows, *far.rows):
        assert row[1:4] == tuple(x[row[0]])
        assert row[4] == ("f" if sex[row[0]] else "m")
    assert {row[4] for row in far.rows} == {"f"}


def test_few_rows_and_constant_features():
    with pytest.raises(NotApplicable, match="10 rows"):
        list(prototypes_and_criticisms(subject(Plain(lambda v: sigmoid(v[:, 0])), table(np.eye(5))), context()))
    with pytest.raises(NotApplicable, match="one value"):
        list(prototypes_and_criticisms(subject(Plain(lambda v: sigmoid(v[:, 0])), table(np.ones((50, 2)))), context()))
    with pytest.raises(UsageError, match="count"):
        list(
            prototypes_and_criticisms(subject(Plain(lambda v: sigmoid(v[:, 0])), table(np.eye(50))), context(), count=0)
        )
