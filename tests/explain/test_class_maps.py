"""Grad-CAM against captum and numpy."""

import numpy as np
import pytest
import torch
from captum.attr import LayerAttribution, LayerGradCam
from gradient_models import lenet, mlp, pictures, seeded, sequences, tables, texts
from torch import nn

from audit.core import MissingOffer, NotApplicable, UsageError
from audit.explain.class_maps import grad_cam, grad_cam_plus_plus

BOTH = (grad_cam, grad_cam_plus_plus)


@pytest.mark.parametrize("place", [0, 3, 5])
def test_agrees_with_captum(place):
    module = seeded(lenet())
    played = pictures(module, players="pixels", size=None)
    given = torch.tensor(played.masker.inputs.values, requires_grad=True)
    heat = LayerGradCam(module, module[place]).attribute(given, relu_attributions=True)
    expected = LayerAttribution.interpolate(heat, (12, 12), "bilinear").detach().numpy().reshape(3, -1)
    found = grad_cam(played, layer=str(place))
    np.testing.assert_allclose(found.values, expected, atol=1e-12)
    assert (found.values >= 0).all()
    assert not found.complete
    if place == 3:
        np.testing.assert_array_equal(grad_cam(played).values, found.values)
        assert "'3'" in grad_cam(played).method


def test_plus_plus_by_the_papers_formula():
    """w_k = sum_ij a_ij^k relu(g_ij^k), a = g^2 / (2 g^2 + sum_ab A_ab^k g^3), from numpy."""
    module = seeded(nn.Sequential(nn.Conv2d(1, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(300, 1)).double())
    played = pictures(module, players="pixels", size=None)
    given = torch.tensor(played.masker.inputs.values, requires_grad=True)
    maps = module[0](given)
    (g,) = torch.autograd.grad(module[1:](maps).sum(), maps)
    a, g = maps.detach().numpy(), g.numpy()
    share = g**2 / (2 * g**2 + a.sum(axis=(2, 3), keepdims=True) * g**3)
    weight = (share * np.maximum(g, 0)).sum(axis=(2, 3), keepdims=True)
    heat = torch.as_tensor(np.maximum((weight * a).sum(axis=1, keepdims=True), 0))
    expected = nn.functional.interpolate(heat, (12, 12), mode="bilinear", align_corners=False)
    np.testing.assert_allclose(grad_cam_plus_plus(played).values, expected.numpy().reshape(3, -1), atol=1e-12)


@pytest.mark.parametrize("method", BOTH)
def test_points_where_the_class_is(method):
    """A filter that finds bright squares, and a class that is their number: the map lies on the square."""
    module = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1, bias=False), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with torch.no_grad():
        module[0].weight.fill_(1 / 9)
    played = pictures(module.double(), players="grid", size=4)
    played.masker.inputs.values[...] = 0.0
    played.masker.inputs.values[:, :, 4:8, 8:12] = 1.0
    found = method(played)
    assert (found.values.argmax(axis=1) == 5).all()  # second row, third column of three by three squares
    assert (found.values[:, 5] > 0.5 * found.values.sum(axis=1)).all()


@pytest.mark.parametrize("method", BOTH)
def test_the_class_of_each_row(method):
    module = seeded(lenet(3))
    options = {"classes": ("a", "b", "c"), "players": "pixels", "size": None}
    mixed = method(pictures(module, target=np.array([2, 0, 2]), **options))
    alone = method(pictures(module, target=2, **options))
    np.testing.assert_allclose(mixed.values[[0, 2]], alone.values[[0, 2]])
    assert (mixed.values[1] != alone.values[1]).any()


class Steps(nn.Module):
    """A convolution over the steps of a sequence or the embedded tokens of a text."""

    def __init__(self, size: int, vocabulary: int | None = None):
        super().__init__()
        self.table = nn.Identity() if vocabulary is None else nn.Embedding(vocabulary, size)
        self.convolution, self.head = nn.Conv1d(size, 4, 3, padding=1), nn.Linear(4, 1)

    def forward(self, x):
        x = torch.relu(self.convolution(self.table(x).transpose(1, 2)))
        return self.head(x.mean(dim=2))


@pytest.mark.parametrize("method", BOTH)
def test_series_and_texts_have_maps_over_their_steps(method):
    found = method(sequences(seeded(Steps(3).double())))
    assert found.values.shape == (5, 7)
    assert (found.values >= 0).all()
    assert found.values.any()
    words = texts()
    module = seeded(Steps(4, len(words.masker.inputs.vocabulary)).double())
    from audit.explain import game

    found = method(game(module, words.masker.inputs, output="logit"))
    assert (found.values[found.present] >= 0).all()
    assert found.values[found.present].any()


@pytest.mark.parametrize("method", BOTH)
def test_what_cannot_be_done_is_said(method):
    with pytest.raises(NotApplicable, match="not tables"):
        method(tables(seeded(mlp())))
    flat = nn.Sequential(nn.Flatten(), nn.Linear(144, 1)).double()
    with pytest.raises(NotApplicable, match="none ran"):
        method(pictures(seeded(flat)))
    with pytest.raises(UsageError, match=r"no 'tail'"):
        method(pictures(seeded(lenet())), layer="tail")
    with pytest.raises(NotApplicable, match="seen were"):
        method(pictures(seeded(lenet())), layer="8")
    with pytest.raises(NotApplicable, match="differ at the same place"):
        method(sequences(seeded(Steps(3).double()), players="column"))
    signs = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(200, 1)).double()

    class Hard(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = seeded(signs)

        def forward(self, x):
            return torch.round(3 * self.body(x))

    with pytest.raises(MissingOffer, match="hard steps"):
        method(pictures(Hard()))


@pytest.mark.parametrize("method", BOTH)
def test_leaves_the_module_as_it_was(method):
    module = seeded(lenet())
    module.train()
    method(pictures(module))
    assert all(each.training for each in module.modules())
    assert not any(each._forward_hooks or each._backward_hooks for each in module.modules())
    assert all(parameter.grad is None for parameter in module.parameters())
