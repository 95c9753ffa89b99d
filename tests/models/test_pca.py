"""Principal components against scikit-learn's, and what any linear code must lose."""

import numpy as np
import pytest
import sklearn.decomposition
from hypothesis import given, settings
from hypothesis import strategies as st
from trained_families import DATA, OPTIONS, WORLD, unseen

from audit.core import DataError
from audit.models.families.pca import lost_beside, principal
from audit.models.reference import trained


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(3, 60), st.integers(1, 6))
def test_equals_scikit_learns(seed, rows, columns):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(rows, columns)) @ rng.normal(size=(columns, columns)) + rng.normal(size=columns)
    width = min(rows, columns) - 1 or 1
    mean, axes, variances = principal(values, width)
    peer = sklearn.decomposition.PCA(width, svd_solver="full").fit(values)
    np.testing.assert_allclose(mean, peer.mean_, atol=1e-10)
    np.testing.assert_allclose(variances[:width], peer.explained_variance_, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(np.abs((axes * peer.components_).sum(axis=1)), 1.0, atol=1e-8)
    restored = mean + (values - mean) @ axes.T @ axes
    np.testing.assert_allclose(
        restored, peer.inverse_transform(peer.transform(values)), atol=1e-10 * np.abs(values).max()
    )


def test_a_trained_model_restores_what_scikit_learns_restores():
    model = trained("pca", DATA, OPTIONS, options={"width": 4})
    read, restored = model.reconstruct(unseen(500).inputs)
    mean, spread = DATA.inputs.values.mean(axis=0), DATA.inputs.values.std(axis=0)
    np.testing.assert_allclose(read, (unseen(500).inputs.values - mean) / spread, atol=1e-5)
    peer = sklearn.decomposition.PCA(4, svd_solver="full").fit((DATA.inputs.values - mean) / spread)
    np.testing.assert_allclose(restored, peer.inverse_transform(peer.transform(read)), atol=1e-5)
    np.testing.assert_allclose(model.predict(unseen(500).inputs), ((read - restored) ** 2).mean(axis=1), atol=1e-6)
    assert all(promise.kept for promise in lost_beside(model, unseen(), WORLD))


def test_the_seed_changes_nothing_and_a_bad_width_is_told():
    first, second = (trained("pca", DATA, OPTIONS, seed=seed).module.axes for seed in (0, 1))
    assert (first == second).all()
    with pytest.raises(DataError, match=r"width: from 1 to 7 .* got 8"):
        trained("pca", DATA, OPTIONS, options={"width": 8})
