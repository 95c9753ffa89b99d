"""Families of pictures: parts as in their papers, pictures of any size and number of classes, what they learn of glyphs."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from little_families import little, unseen
from torch import nn

from audit.core import DataError, Dataset, Origin, RunSpec, Spec, UsageError
from audit.data.images import Images
from audit.data.worlds.glyphs import glyphs
from audit.explain import deep_lift, game, grad_cam, lrp
from audit.models.families.alexnet import AlexNet
from audit.models.families.lenet import LeNet, table
from audit.models.families.neocognitron import Neocognitron, edges, patterns
from audit.models.families.resnet import Block, ResNet
from audit.models.families.vgg import VGG
from audit.models.pictures import light_glyphs
from audit.models.reference import trained

SPEC = Spec(run=RunSpec(device="cpu", threads=1))
SHORT = {"lenet": {}, "vgg": {}, "alexnet": {}, "resnet": {}, "neocognitron": {"cells": 6}}
EVERY = pytest.mark.parametrize("id", list(SHORT))


def made(shape, classes=3, rows=40, seed=0):
    """Pictures whose class is how bright their upper left quarter is."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, rows)
    values = rng.normal(0, 0.3, (rows, *shape))
    values[:, :, : shape[1] // 2, : shape[2] // 2] += y[:, None, None, None]
    return Dataset(
        inputs=Images(values=values), y=y, groups={}, origin=Origin(name="made here"), classes=tuple("abcdef"[:classes])
    )


def own(module):
    return sum(each.numel() for each in module.parameters())


@EVERY
@pytest.mark.parametrize(("shape", "classes"), [((1, 8, 8), 3), ((2, 9, 14), 2), ((3, 40, 33), 4)])
def test_any_picture_from_eight_pixels_on_and_any_number_of_classes(id, shape, classes):
    data = made(shape, classes)
    model = trained(id, data, SPEC, options=SHORT[id] | {"epochs": 1})
    scores = model.predict(data.inputs)
    assert scores.shape == ((40,) if classes == 2 else (40, classes))
    assert np.isfinite(scores).all()
    with pytest.raises(DataError, match=f"{id} reads pictures of 8 x 8 pixels and more, got 7 x 9"):
        trained(id, made((1, 7, 9)), SPEC, options=SHORT[id] | {"epochs": 1})


@EVERY
def test_scale_and_offset_of_the_pictures_make_no_difference(id):
    data = made((1, 12, 12), 2)
    other = replace(data, inputs=Images(values=255 * data.inputs.values - 40.0))
    here = trained(id, data, SPEC, options=SHORT[id] | {"epochs": 1})
    there = trained(id, other, SPEC, options=SHORT[id] | {"epochs": 1})
    np.testing.assert_allclose(here.predict(data.inputs), there.predict(other.inputs), atol=2e-3)


@EVERY
def test_a_picture_is_answered_alike_in_any_company(id):
    model, data = little(id), unseen(id)
    whole = model.predict(data.inputs)
    for row in (0, 7):
        np.testing.assert_allclose(model.predict(data.inputs.take(np.array([row]))), whole[[row]], atol=1e-5)
    again = model.predict(data.inputs)
    np.testing.assert_array_equal(whole, again)


@pytest.mark.parametrize("id", ["lenet", "vgg", "resnet"])
def test_relevance_and_deep_lift_are_complete_on_enlarged_pictures_too(id):
    """The front is a batch norm and an enlargement, for which both have rules."""
    data = made((1, 8, 8), 3)
    model = trained(id, data, SPEC, options={"epochs": 1})
    few, others = data.inputs.take(np.arange(3)), data.inputs.take(np.arange(10, 20))
    played = game(model, few, others, link="logit", target="predicted", players="grid", size=2)
    for explain in (lrp, deep_lift):
        assert np.abs(explain(played).delta).max() < 1e-4
    layer = {"lenet": "body.5", "vgg": "body.12", "resnet": "body.5.way.3"}[id]
    assert f"'{layer}'" in grad_cam(played).method  # the last convolution with more than one place


@EVERY
def test_every_site_has_an_activation_of_its_own(id):
    model, calls = little(id), []
    handles = [
        each.register_forward_hook(lambda module, *_: calls.append(id_of(module)))
        for each in model.module.modules()
        if isinstance(each, nn.ReLU | nn.Tanh)
    ]
    model.module(model.tensor(unseen(id).inputs.take(np.arange(2))))
    for handle in handles:
        handle.remove()
    assert calls
    assert len(calls) == len(set(calls)) == len(handles)


def id_of(module):
    return id(module)


def test_lenet_has_the_weights_that_its_paper_counts():
    """lecun1998, section II B: 156 + 12 + 1,516 + 32 + 48,120 + 10,164 = 60,000 before the output, for grey pictures."""
    module = LeNet(shape=[1, 32, 32], outputs=10)
    unused = int((table() == 0).sum()) * 25
    assert own(module) - unused - own(module.body[-1]) == 60_000
    assert [int(each) for each in table().sum(dim=1)] == [3] * 6 + [4] * 9 + [6]
    assert [int(each) for each in table().sum(dim=0)] == [10] * 6  # each map of S2 is read as often as any other
    assert not module.third.weight[table() == 0].any()
    maps = []
    for each in module.body:
        each.register_forward_hook(lambda module, given, out: maps.append(tuple(out.shape[1:])))
    module(torch.zeros(1, 1, 32, 32))
    assert next(shape for shape in maps if len(shape) == 3) == (6, 28, 28)
    assert (16, 10, 10) in maps
    assert (120, 1, 1) in maps


def test_training_leaves_what_lenets_third_layer_does_not_read_at_nought():
    module = little("lenet").module
    weight = module.third.weight
    assert not weight[table() == 0].any()
    assert (weight[table() == 1] != 0).all()


def test_alexnet_pools_with_overlap_and_normalises_responses():
    module = AlexNet(
        shape=[3, 32, 32],
        outputs=2,
        widths=(4, 6, 8, 8, 6),
        hidden=10,
        dropout=0.5,
        response_norm=True,
        stride=1,
    )
    pools = [each for each in module.modules() if isinstance(each, nn.MaxPool2d)]
    assert [(each.kernel_size, each.stride) for each in pools] == [(3, 2)] * 3
    assert sum(isinstance(each, nn.Conv2d) for each in module.modules()) == 5
    assert sum(isinstance(each, nn.Linear) for each in module.modules()) == 3
    (norm, _) = (each for each in module.modules() if isinstance(each, nn.LocalResponseNorm))
    x = torch.randn(2, 7, 3, 3, dtype=torch.float64)
    for channel in range(7):  # the paper's formula; its alpha is not divided by the number of channels, torch's is
        low, high = max(0, channel - 2), min(7, channel + 3)
        below = (2 + norm.alpha / 5 * (x[:, low:high] ** 2).sum(dim=1)) ** 0.75
        torch.testing.assert_close(norm(x)[:, channel], x[:, channel] / below)
    assert norm.alpha / 5 == pytest.approx(1e-4)


def test_a_residual_block_without_weights_is_its_shortcut():
    block = Block(4, 4, 1).eval()
    for each in (block.way[-1].weight, block.way[-1].bias):
        nn.init.zeros_(each)
    x = torch.randn(3, 4, 6, 6)
    torch.testing.assert_close(block(x), x.relu())
    assert isinstance(block.shortcut, nn.Identity)
    assert not isinstance(Block(4, 8, 2).shortcut, nn.Identity)
    depth = [
        sum(isinstance(each, nn.Conv2d) and each.kernel_size == (3, 3) for each in module.modules())
        for module in (
            ResNet(shape=[3, 32, 32], outputs=1, width=8, blocks=(1, 1, 1), stem=2),
            ResNet(shape=[3, 32, 32], outputs=10, width=16, blocks=(3, 3, 3), stem=1),
        )
    ]
    assert depth == [7, 19]  # with the linear layer ResNet-8 and ResNet-20
    plain = ResNet(shape=[3, 32, 32], outputs=10, width=16, blocks=(3, 3, 3), stem=1)
    shortcuts = sum(own(each.shortcut) for each in plain.modules() if isinstance(each, Block))
    assert own(plain) - shortcuts == pytest.approx(0.27e6, rel=0.01)  # he2016, table 6


def test_vgg_is_made_of_pairs_of_small_convolutions():
    module = VGG(shape=[3, 32, 32], outputs=1, widths=(4, 8), hidden=5, dropout=0.5)
    kinds = [type(each).__name__ for each in module.body]
    block = ["Conv2d", "ReLU", "Conv2d", "ReLU", "MaxPool2d"]
    assert kinds == [*block, *block, "Flatten", "Linear", "ReLU", "Dropout", "Linear"]
    assert {each.kernel_size for each in module.modules() if isinstance(each, nn.Conv2d)} == {(3, 3)}


def test_cells_of_the_neocognitron_see_their_own_direction_most_and_nothing_in_what_is_flat():
    module = Neocognitron(shape=[1, 24, 24], outputs=1, cells=4, thresholds=(0.0, 0.3), floor=0.5)
    below, across = torch.meshgrid(torch.arange(24.0) - 12, torch.arange(24.0) - 12, indexing="ij")
    for k in range(8):
        angle = 2 * math.pi * k / 8
        step = torch.sign(across * math.cos(angle) + below * math.sin(angle) + 1e-3)
        fired = module.first(step[None, None])[0, :, 8:16, 8:16].amax(dim=(1, 2))
        assert int(fired.argmax()) == k
    assert float(module.first(torch.full((1, 1, 24, 24), 3.0))[..., 4:-4, 4:-4].max()) < 1e-5
    torch.testing.assert_close(edges(1).sum(dim=(1, 2, 3)), torch.zeros(8), atol=1e-5, rtol=0)
    x = torch.rand(1, 1, 24, 24) * 50
    torch.testing.assert_close(module.first(3 * x), module.first(x), atol=5e-3, rtol=0)  # contrast makes no difference


def test_the_neocognitrons_patterns_are_found_again():
    """Patches made of three directions: k-means finds these three."""
    rng = torch.Generator().manual_seed(0)
    true = torch.nn.functional.normalize(torch.rand(3, 2 * 25, generator=rng), dim=1)
    maps = torch.zeros(60, 2, 5, 5)
    for row in range(60):
        maps[row] = true[row % 3].view(2, 5, 5) * (1 + row / 60) + 0.001 * torch.rand(2, 5, 5, generator=rng)
    found = patterns(maps, 3, rng).flatten(1)
    assert sorted((found @ true.T).argmax(dim=1).tolist()) == [0, 1, 2]
    assert float((found @ true.T).amax(dim=1).min()) > 0.999
    with pytest.raises(UsageError, match="cells: at most"):
        patterns(maps[:2], 5, rng)


@pytest.mark.parametrize(
    ("id", "options", "message"),
    [
        ("alexnet", {"widths": (4, 4)}, "five numbers of channels"),
        ("alexnet", {"dropout": 1.0}, "dropout: a share"),
        ("alexnet", {"stride": 0}, "stride: a whole number"),
        ("alexnet", {"stride": 1.5}, "stride: must be a whole number"),
        ("vgg", {"widths": (0,)}, "whole numbers from 1 on"),
        ("vgg", {"dropout": -0.1}, "dropout: a share"),
        ("vgg", {"widths": ()}, "widths: a number of channels for each block"),
        ("resnet", {"blocks": ()}, "blocks: how many each stage has"),
        ("resnet", {"width": 0}, "whole numbers"),
        ("neocognitron", {"thresholds": (0.5, 1.0)}, "thresholds: two numbers"),
        ("neocognitron", {"floor": 0.0}, "floor: a number above 0"),
        ("lenet", {"epochs": -1}, "epochs: a whole number"),
    ],
)
def test_options_that_are_refused(id, options, message):
    with pytest.raises(UsageError, match=message):
        trained(id, made((1, 8, 8), 2), SPEC, options=options)


def test_the_promise_reads_accuracy_on_light_and_on_dark_faces():
    world = glyphs()
    data = world.draw(200, np.random.default_rng(0))
    light = data.groups["tone"].values == 1

    class Blind:
        def predict(self, inputs):
            return np.where(light, data.y, 1 - data.y) * 0.9

    first, second = light_glyphs(Blind(), data, world)
    assert (first.value, first.low, first.kept) == (1.0, 0.97, True)
    assert second.value == 1.0
