"""Radial basis functions: the basis against SciPy's distances, the centres against scikit-learn's k-means."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans
from trained_families import DATA, OPTIONS, WORLD, unseen

from audit.core import DataError, UsageError
from audit.models.families.rbf import RBF, neighbour_distance, placed_centres, rbf
from audit.models.promises import near_the_oracle
from audit.models.reference import trained


@pytest.fixture(scope="module")
def model():
    return trained("rbf", DATA, OPTIONS, seed=1)


def test_keeps_its_promise(model):
    assert all(promise.kept for promise in near_the_oracle(model, unseen(), WORLD))


@pytest.mark.parametrize(
    ("kernel", "function"), [("gaussian", lambda r: np.exp(-(r**2) / 2)), ("multiquadric", lambda r: np.sqrt(1 + r**2))]
)
def test_the_basis_is_the_radial_function_of_euclidean_distances(model, kernel, function):
    module = RBF(encoder=model.module.encoder.config, centres=48, kernel=kernel).double()
    module.load_state_dict(model.module.double().state_dict())
    model.module.float()
    x = torch.as_tensor(DATA.inputs.values[:50])
    with torch.no_grad():
        r = cdist(module.encoder(x).numpy(), module.centres.numpy()) / module.log_widths.exp().numpy()
        np.testing.assert_allclose(module.basis(x).numpy(), function(r), rtol=1e-12)
        logit = function(r) @ module.readout.weight.numpy()[0] + module.readout.bias.item()
        np.testing.assert_allclose(module(x).numpy(), logit, rtol=1e-10)


def test_k_means_goes_as_far_as_scikit_learns_from_the_same_start():
    rng = np.random.default_rng(0)
    z = torch.as_tensor(rng.normal(size=(300, 2)) + rng.integers(0, 3, size=(300, 1)) * 6)
    start = placed_centres(z, 5, torch.Generator().manual_seed(3), rounds=0)
    found = placed_centres(z, 5, torch.Generator().manual_seed(3), rounds=50)
    peer = KMeans(5, init=start.numpy(), n_init=1, max_iter=50, tol=0, algorithm="lloyd").fit(z.numpy())
    np.testing.assert_allclose(found.numpy(), peer.cluster_centers_, atol=1e-9)
    assert all((start[i] == z).all(dim=1).any() for i in range(5)), "the first centres are rows"


def test_widths_come_from_the_two_nearest_centres():
    line = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
    assert neighbour_distance(line).tolist() == [2.0, 1.5, 2.5, 5.0]
    assert neighbour_distance(torch.zeros(4, 2)).tolist() == [1.0] * 4


def test_a_row_on_its_centre_has_a_gradient(model):
    module = model.module
    raw = (module.centres[0].detach() * module.encoder.scale + module.encoder.mean)[None].requires_grad_()
    module(raw).sum().backward()
    assert torch.isfinite(raw.grad).all()
    for parameter in module.parameters():
        parameter.grad = None


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"kernel": "gausian"}, UsageError, "did you mean 'gaussian'"),
        ({"placed": "grid"}, UsageError, "kmeans"),
        ({"centres": 2}, DataError, "more than 2"),
        ({"centres": 10**6}, DataError, "no more than the 8000 rows"),
    ],
)
def test_bad_options_are_told(options, error, said):
    with pytest.raises(error, match=said):
        rbf(DATA, **options)


def test_other_kernel_and_random_rows_train_too():
    model = trained("rbf", DATA, OPTIONS, options={"kernel": "multiquadric", "placed": "rows", "epochs": 6})
    assert all(promise.kept for promise in near_the_oracle(model, unseen(), WORLD, below=0.02))
