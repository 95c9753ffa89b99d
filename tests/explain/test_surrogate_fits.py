"""The arithmetic of local surrogates against scikit-learn's Ridge and lime's own fitting on the same numbers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

from audit.core import UsageError
from audit.explain.surrogate_fits import Neighbours, blocks, fit, moments, pairs_of, weighted_ridge
from audit.explain.surrogate_selection import select


def numbers(rows=6, players=5, samples=80, *, own=False, seed=0):
    rng = np.random.default_rng(seed)
    design = rng.normal(size=(rows, samples, players) if own else (samples, players))
    targets = (design[..., 0].T if own else design[:, :1]) + rng.normal(size=(samples, rows))
    return design, targets, rng.random((rows, samples))


def ridge(design, targets, weights, alpha):
    model = Ridge(alpha=alpha).fit(design, targets, sample_weight=weights)
    return model.coef_, model.intercept_, model.score(design, targets, sample_weight=weights)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 5),
    players=st.integers(1, 7),
    samples=st.integers(2, 40),
    own=st.booleans(),
    alpha=st.sampled_from([0.01, 1.0, 30.0]),
    away=st.sampled_from([0.0, 1e3]),
)
def test_it_is_scikit_learns_ridge(rows, players, samples, own, alpha, away):
    design, targets, weights = numbers(rows, players, samples, own=own, seed=samples)
    design, targets = design + away, targets - away
    found = weighted_ridge(design, targets, weights, alpha)
    for row in range(rows):
        each = design[row] if own else design
        coefficients, intercept, r2 = ridge(each, targets[:, row], weights[row], alpha)
        np.testing.assert_allclose(found.coefficients[row], coefficients, atol=1e-8)
        np.testing.assert_allclose(found.intercept[row], intercept, atol=1e-8 * max(1, away))
        np.testing.assert_allclose(found.r2[row], r2, atol=1e-8)


def test_blocks_of_rows_change_nothing(monkeypatch):
    for own in (False, True):
        whole = weighted_ridge(*numbers(40, own=own))
        monkeypatch.setattr("audit.explain.surrogate_fits._CHUNK", 8000)
        assert len(list(blocks(np.arange(40), 80, 5))) > 4
        parts = weighted_ridge(*numbers(40, own=own))
        monkeypatch.undo()
        np.testing.assert_allclose(parts.coefficients, whole.coefficients, atol=1e-12)
        np.testing.assert_allclose(parts.se, whole.se, rtol=1e-5)


def sandwich(design, targets, weights, alpha):
    """HC1 written out with the constant as a regressor."""
    samples, players = design.shape
    whole = np.column_stack([design, np.ones(samples)])
    bread = np.linalg.inv(whole.T @ (whole * weights[:, None]) + alpha * np.diag([1.0] * players + [0.0]))
    scores = whole * (weights * (targets - whole @ bread @ whole.T @ (weights * targets)))[:, None]
    scores -= scores.mean(axis=0)
    return np.sqrt(np.diag(bread @ scores.T @ scores @ bread)[:-1] * samples / (samples - players - 1))


@pytest.mark.parametrize("own", [False, True])
def test_standard_errors_are_the_sandwich(own):
    design, targets, weights = numbers(own=own)
    found = weighted_ridge(design, targets, weights, 1.0)
    for row in range(6):
        expected = sandwich(design[row] if own else design, targets[:, row], weights[row], 1.0)
        np.testing.assert_allclose(found.se[row], expected, rtol=1e-4)


def test_every_road_to_the_sums_leads_to_the_same():
    design, targets, weights = numbers(4)
    anchor, outputs = np.random.default_rng(3).normal(size=(4, 5)), np.arange(4.0)
    common = {"targets": targets.T, "anchor": anchor, "outputs": outputs}
    flat = np.ascontiguousarray(design.T)
    roads = [
        Neighbours(design=flat, weights=weights, **common),
        Neighbours(design=flat, weights=weights, pairs=pairs_of(flat), **common),
        Neighbours(design=np.repeat(flat[None], 4, axis=0), weights=weights, **common),
    ]
    plain, *others = (fit(near, 1.0) for near in roads)
    for other in others:
        np.testing.assert_allclose(other.coefficients, plain.coefficients, atol=1e-12)
        np.testing.assert_allclose(other.se, plain.se, rtol=1e-5)
    for row in range(4):  # the row itself is one more case of weight 1
        every = np.vstack([design, anchor[row]]), np.append(targets[:, row], outputs[row]), np.append(weights[row], 1)
        np.testing.assert_allclose(plain.coefficients[row], ridge(*every, 1.0)[0], atol=1e-10)
    same = Neighbours(design=flat, weights=weights[:1], **common)
    spread = Neighbours(design=flat, weights=np.repeat(weights[:1], 4, axis=0), **common)
    np.testing.assert_allclose(fit(same, 1.0).coefficients, fit(spread, 1.0).coefficients, atol=1e-12)
    np.testing.assert_allclose(fit(same, 1.0).se, fit(spread, 1.0).se, rtol=1e-5)


@pytest.mark.parametrize("road", ["pairs", "products", "own design"])
def test_targets_that_rows_share_are_as_good_as_copies(road):
    design, targets, weights = numbers(4)
    flat, outputs = np.ascontiguousarray(design.T), np.arange(4.0)
    common = {"anchor": np.random.default_rng(3).normal(size=(4, 5)), "outputs": outputs, "weights": weights}
    if road == "own design":
        common["design"] = np.repeat(flat[None], 4, axis=0)
    else:
        common |= {"design": flat, "pairs": pairs_of(flat) if road == "pairs" else None}
    once = 1e3 + targets.T[:1]  # far from 0, single precision would lose digits
    one, copies = (fit(Neighbours(targets=each, **common), 1.0) for each in (once, np.repeat(once, 4, axis=0)))
    for name in ("coefficients", "intercept", "r2"):
        np.testing.assert_allclose(getattr(one, name), getattr(copies, name), atol=1e-10, rtol=1e-10)
    np.testing.assert_allclose(one.se, copies.se, rtol=1e-4)


def test_pairs_are_left_when_they_would_not_fit():
    assert pairs_of(np.zeros((300, 5000))) is None


@pytest.mark.parametrize(
    ("ours", "theirs"), [("forward", "forward_selection"), ("highest", "highest_weights"), ("lasso", "lasso_path")]
)
@pytest.mark.parametrize("count", [1, 3, 6, 9])
@pytest.mark.parametrize("binary", [False, True])
def test_selections_and_coefficients_are_limes(ours, theirs, count, binary):
    from lime.lime_base import LimeBase

    rng = np.random.default_rng(count)
    samples, players, rows = 300, 9, 5
    design = rng.normal(size=(rows, players, samples))
    if binary:
        design = (design > 0).astype(np.float64)
    anchor = np.ones((rows, players)) if binary else rng.normal(size=(rows, players))
    truth = rng.normal(size=(rows, players)) * (rng.random((rows, players)) < 0.6)
    targets = np.einsum("rp,rps->rs", truth, design) + design[:, 0] * design[:, 1] + rng.normal(size=(rows, samples))
    outputs = rng.normal(size=rows)
    distance = rng.random((rows, samples))
    near = Neighbours(design=design, targets=targets, weights=np.exp(-distance), anchor=anchor, outputs=outputs)
    chosen = select(moments(near), anchor, count, ours, samples + 1)
    found = fit(near, 1.0, chosen)
    base = LimeBase(lambda d: np.exp(-d), random_state=0)
    for row in range(rows):
        data = np.vstack([anchor[row], design[row].T])
        labels = np.append(outputs[row], targets[row])[:, None]
        intercept, pairs, score, _ = base.explain_instance_with_data(
            data, labels, np.append(0.0, distance[row]), 0, count, feature_selection=theirs
        )
        expected = np.zeros(players)
        for player, value in pairs:
            expected[player] = value
        assert set(np.flatnonzero(chosen[row])) == {player for player, _ in pairs}
        np.testing.assert_allclose(found.coefficients[row], expected, atol=1e-8)
        np.testing.assert_allclose([found.intercept[row], found.r2[row]], [intercept, score], atol=1e-8)
        assert (np.isnan(found.se[row]) == ~chosen[row]).all()


def test_forward_selection_passes_over_a_copy():
    design, targets, weights = numbers(1, 3, 200)
    design[:, 1] = design[:, 0]
    near = Neighbours(
        design=design.T.copy(), targets=targets.T, weights=weights, anchor=np.zeros((1, 3)), outputs=np.zeros(1)
    )
    assert select(moments(near), near.anchor, 2, "forward", 201).tolist() == [[True, False, True]]


def test_what_cannot_be_fitted_is_refused_or_undefined():
    design, targets, weights = numbers(2)
    with pytest.raises(UsageError, match="expected a design"):
        weighted_ridge(design, targets, weights.T)
    with pytest.raises(UsageError, match="weights"):
        weighted_ridge(design, targets, weights - 1)
    twice = design.copy()
    twice[:, 1] = twice[:, 0]
    with pytest.raises(UsageError, match="ridge: 0 does not identify"):
        weighted_ridge(twice, targets, weights, 0.0)
    split = weighted_ridge(twice, targets, weights, 1.0).coefficients
    np.testing.assert_allclose(split[:, 0], split[:, 1], atol=1e-9)  # a penalty shares alike
    flat = weighted_ridge(design, np.full((80, 2), 0.3), weights, 1.0)
    assert (flat.coefficients == 0).all()
    assert np.isnan(flat.r2).all()
    assert flat.intercept == pytest.approx([0.3, 0.3], abs=1e-15)
    few = weighted_ridge(design[:4], targets[:4], weights[:, :4], 1.0)
    assert np.isnan(few.se).all()
    np.testing.assert_allclose(
        few.coefficients[0], ridge(design[:4], targets[:4, 0], weights[0, :4], 1.0)[0], atol=1e-9
    )
