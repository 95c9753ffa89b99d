"""Autoencoders against principal components and the Wiener filter, the best linear restorations there are."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.linalg import subspace_angles
from trained_families import DATA, OPTIONS, WORLD, unseen

from audit.core import UsageError
from audit.models.families.autoencoder import as_good_as_lines, noisy_error
from audit.models.families.pca import least_error, principal
from audit.models.reference import read, save, trained


@pytest.fixture(scope="module")
def model():
    return trained("autoencoder", DATA, OPTIONS, seed=2)


def test_keeps_its_promises(model):
    promises = list(as_good_as_lines(model, unseen(), WORLD))
    assert len(promises) == 2
    assert all(promise.kept for promise in promises), promises


def test_tied_linear_weights_span_the_principal_subspace():
    """Baldi and Hornik: the only minimum of a linear autoencoder is the subspace of the largest axes."""
    rng = np.random.default_rng(3)
    values = (
        rng.normal(size=(2000, 7))
        * np.array([3, 2.5, 2, 0.5, 0.4, 0.3, 0.2])
        @ np.linalg.qr(rng.normal(size=(7, 7)))[0].T
    )
    data = replace(DATA, inputs=DATA.inputs.with_values(values), twin=None)
    options = {"hidden": [], "tied": True, "noise": 0.0, "epochs": 60, "rate": 1e-2}
    model = trained("autoencoder", data, OPTIONS, options=options)
    z = (values - values.mean(axis=0)) / values.std(axis=0)
    _, axes, _ = principal(z, 3)
    found = model.module.inwards[0].weight.detach().numpy()
    assert np.rad2deg(subspace_angles(found.T, axes.T)).max() < 2.0
    error = float(model.predict(data.inputs).mean())
    least = least_error(model, data, 3)
    assert least <= error + 1e-6
    assert error < least + 5e-4


def test_denoising_removes_what_a_wiener_filter_removes():
    """Of standardised columns with variances λ along their axes, the best linear restoration leaves Σ λσ²/(λ+σ²)."""
    sd = 0.8
    options = {"width": 7, "noise": sd, "epochs": 15}
    denoising = trained("autoencoder", DATA, OPTIONS, options=options)
    read_, _ = denoising.reconstruct(unseen().inputs)
    variances = np.linalg.eigvalsh(np.cov(read_.T))
    wiener = (variances * sd**2 / (variances + sd**2)).mean()
    found = noisy_error(denoising, unseen(), sd)
    assert found < wiener + 0.02, "sex has two values, so that a curved way back may do better than the line"
    assert found > wiener - 0.1
    plain = trained("autoencoder", DATA, OPTIONS, options={**options, "noise": 0.0})
    assert noisy_error(plain, unseen(), sd) > found + 0.1


def test_labels_are_not_read(model):
    other = trained("autoencoder", replace(DATA, y=1 - DATA.y), OPTIONS, seed=2)
    for one, two in zip(model.module.parameters(), other.module.parameters(), strict=True):
        assert torch.equal(one, two)


def test_tied_weights_survive_a_folder(tmp_path):
    model = trained("autoencoder", DATA, OPTIONS, options={"hidden": [], "tied": True, "epochs": 1})
    assert sum(p.numel() for p in model.module.parameters()) == 7 * 3 + 3 + 7, "the way back has a bias only"
    save(model, tmp_path)
    again = read(tmp_path, DATA, OPTIONS)
    np.testing.assert_array_equal(again.predict(unseen(50).inputs), model.predict(unseen(50).inputs))


@pytest.mark.parametrize(
    ("options", "said"),
    [({"tied": True}, "without hidden layers"), ({"noise": -1.0}, "from 0 on"), ({"width": 0}, "1")],
)
def test_bad_options_are_told(options, said):
    with pytest.raises(UsageError, match=said):
        trained("autoencoder", DATA, OPTIONS, options=options)
