"""GoogLeNet, DenseNet, EfficientNet and U-Net: their architecture by hand, any pictures, and what explanations say of them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from little_families import drawn, spec_of
from torch import nn

from audit.carbon import flops
from audit.core import Codes, DataError, Dataset, MissingOffer, Origin, UsageError
from audit.data.images import Images
from audit.explain.class_maps import grad_cam
from audit.explain.games import game
from audit.explain.path_gradients import integrated_gradients
from audit.explain.relevance import deep_lift
from audit.models.convolutions import restated
from audit.models.families.densenet import DenseNet, densenet
from audit.models.families.efficientnet import EfficientNet, efficientnet
from audit.models.families.inception import Inception, inception
from audit.models.families.unet import UNet, unet
from audit.models.pictures import standardised
from audit.models.reference import read, save, trained

FAMILIES = {"inception": inception, "densenet": densenet, "efficientnet": efficientnet, "unet": unet}
EVERY = pytest.mark.parametrize("id", list(FAMILIES))


@pytest.fixture(scope="module")
def faces():
    return drawn("unet", 128, 0, "test.faces")


@pytest.fixture(scope="module")
def models(faces):
    return {id: trained(id, faces, spec_of(id), seed=0, options={"epochs": 4, "batch": 32}) for id in FAMILIES}


def pictures(shape, classes=2, rows=24, mask=True):
    """Noise of any shape with any number of classes."""
    rng = np.random.default_rng(0)
    images = Images(values=rng.normal(size=(rows, *shape)), mask=rng.random((rows, *shape[1:])) < 0.2 if mask else None)
    names = tuple("abcdef"[:classes])
    y = np.arange(rows) % classes
    return Dataset(
        inputs=images,
        y=y,
        groups={"g": Codes(values=y % 2, levels=("0", "1"))},
        origin=Origin(name="noise"),
        classes=names,
    )


# --------------------------------------------------------------------------------------------------- architecture
def weights(module):
    return sum(each.numel() for each in module.parameters())


def test_an_inception_block_stacks_four_ways():
    module = Inception(shape=(3, 32, 32), outputs=1, width=4, blocks=2, dropout=0.0, stem=2)
    assert [block.width for block in module.body if hasattr(block, "ways")] == [16, 32]
    first = next(block for block in module.body if hasattr(block, "ways"))
    x = torch.randn(2, 8, 6, 6)
    parts = first.eval()(x).split([4, 8, 2, 2], dim=1)
    for part, way in zip(parts, first.ways, strict=True):
        torch.testing.assert_close(part, way(x))
    # 8 channels in: 1 x 1 to 4; to 4, 3 x 3 to 8; to 2, 5 x 5 to 2; 1 x 1 to 2; a scale and a shift of each channel.
    by_hand = 8 * 4 + 8 * 4 + 4 * 8 * 9 + 8 * 2 + 2 * 2 * 25 + 8 * 2 + 2 * (4 + 4 + 8 + 2 + 2 + 2)
    assert weights(first) == by_hand


def test_a_dense_layer_keeps_all_before_it():
    module = DenseNet(shape=(3, 32, 32), outputs=1, growth=4, layers=(2, 3), compression=0.5, stem=2).eval()
    layers = [each for each in module.body if hasattr(each, "way")]
    assert [each.way[2].in_channels for each in layers] == [8, 12, 8, 12, 16]
    x = torch.randn(2, 8, 5, 5)
    out = layers[0](x)
    torch.testing.assert_close(out[:, :8], x)
    assert out.shape[1] == 12
    seen = {}
    dict(module.named_modules())[module.map_layer].register_forward_hook(lambda m, i, o: seen.update(map=o))
    module(torch.randn(1, 3, 32, 32))
    assert seen["map"].shape == (1, 20, 8, 8), "all channels of the last block"


def cost(module):
    return flops.count(module.eval(), torch.zeros(1, 3, 32, 32)).total


def scaled(**options):
    told = {"channels": 1.0, "blocks": 1.0, "sides": 1.0, "squeeze": 0.25, "dilation": 1}
    return EfficientNet(shape=(3, 32, 32), outputs=1, **told | options)


def test_compound_scaling_multiplies_what_the_paper_says():
    plain = scaled()
    deeper, wider, larger = scaled(blocks=2.0), scaled(channels=2.0), scaled(sides=2.0)
    count = lambda module: sum(hasattr(each, "added") for each in module.modules())  # noqa: E731
    assert (count(plain), count(deeper)) == (4, 8)
    assert [(m.in_channels, m.groups) for m in wider.modules() if isinstance(m, nn.Conv2d)][1] == (16, 16)
    assert cost(larger) == pytest.approx(4 * cost(plain), rel=0.05), "the square of the sides"
    assert 3 < cost(wider) / cost(plain) < 4.2, "about the square of the channels"
    grown = [cost(scaled(channels=1.1**phi, blocks=1.2**phi, sides=1.15**phi)) for phi in (0, 3, 6)]
    assert 4 < grown[1] / grown[0] < 16, "about 2 ** 3"
    assert 4 < grown[2] / grown[1] < 16


def test_depthwise_convolutions_squeeze_and_dilation():
    plain, flat, wide = scaled(), scaled(squeeze=0.0), scaled(dilation=2)
    depthwise = [m for m in plain.modules() if isinstance(m, nn.Conv2d) and m.groups > 1]
    assert all(m.groups == m.in_channels == m.out_channels for m in depthwise)
    assert not any(isinstance(m, nn.Sigmoid) for m in flat.modules())
    assert sum(isinstance(m, nn.Sigmoid) for m in plain.modules()) == 4
    assert [m.dilation for m in wide.modules() if isinstance(m, nn.Conv2d) and m.groups > 1][-2:] == [(2, 2)] * 2
    last = {}
    for name, module in (("plain", plain), ("wide", wide)):
        module.body[-4].register_forward_hook(lambda m, i, o, name=name: last.update({name: o.shape[-1]}))
        module.eval()(torch.zeros(1, 3, 32, 32))
    assert last == {"plain": 4, "wide": 8}, "dilated, the last stage keeps its map's size"


@pytest.mark.parametrize("shape", [(1, 8, 8), (2, 9, 13), (3, 16, 10)])
def test_a_unet_marks_every_pixel_of_any_picture(shape):
    module = UNet(shape=shape, outputs=1, width=4, depth=2).eval()
    chances = module.segment(torch.randn(3, *shape))
    assert chances.shape == (3, *shape[1:])
    assert ((chances > 0) & (chances < 1)).all()
    # The shortcut: without it the last block would read half the channels.
    assert [each[0].in_channels for each in module.body.joined] == [16, 8]


# ------------------------------------------------------------------------------------------------------- any data
@EVERY
@pytest.mark.parametrize(("shape", "classes"), [((1, 8, 8), 3), ((2, 9, 13), 2)])
def test_other_pictures_and_classes(id, shape, classes):
    data = pictures(shape, classes)
    options = {"epochs": 1, "batch": 12}
    module = FAMILIES[id](data, **options)
    raw = module(torch.as_tensor(data.inputs.values, dtype=torch.float32))
    assert raw.shape == ((24,) if classes == 2 else (24, 3))
    model = trained(id, data, replace(spec_of(id)), options=options)
    assert model.predict(data.inputs).shape == raw.shape


@EVERY
def test_what_they_refuse(id):
    with pytest.raises(DataError, match="8 x 8 pixels and more, got 7 x 9"):
        FAMILIES[id](pictures((1, 7, 9)))
    with pytest.raises(UsageError, match="epochs"):
        FAMILIES[id](pictures((1, 8, 8)), epochs=-1)


def test_options_out_of_their_range():
    data = pictures((1, 8, 8))
    for family, options, said in (
        (inception, {"dropout": 1.0}, r"dropout: a share in \[0, 1\)"),
        (densenet, {"compression": 0.0}, r"compression: a share in \(0, 1\]"),
        (efficientnet, {"phi": -1.0}, r"phi: a number in \[0, 8\]"),
        (efficientnet, {"width": 9.0}, r"width: a factor in \[1, 4\]"),
        (efficientnet, {"squeeze": 2.0}, r"squeeze: a share in \[0, 1\]"),
        (unet, {"weight": -1.0}, "weight: a number from 0 on"),
    ):
        with pytest.raises(UsageError, match=said):
            family(data, **options)
    with pytest.raises(DataError, match="need a mask"):
        unet(pictures((1, 8, 8), mask=False))


# ------------------------------------------------------------------------------------------------------- learning
def test_batch_norms_are_told_the_pictures_under_the_last_weights():
    data = pictures((2, 8, 8))
    module, x = standardised(densenet(data, epochs=0), data)
    first = next(each for each in module.body if hasattr(each, "way")).way[0]
    restated(module, x, batch=len(x))
    with torch.no_grad():
        seen = module.body[0](module.front(x))
    torch.testing.assert_close(first.running_mean, seen.mean(dim=(0, 2, 3)), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(first.running_var, seen.var(dim=(0, 2, 3)), atol=1e-4, rtol=1e-4)
    assert first.momentum == 0.1
    assert not module.training


def test_what_it_marks_passes_through_and_is_saved(models, faces, tmp_path):
    model = models["unet"]
    chances = model.segment(faces.inputs)
    assert chances.shape == faces.inputs.mask.shape
    assert ((chances >= 0) & (chances <= 1)).all()
    assert "segmentation" in model.offers
    save(model, tmp_path)
    again = read(tmp_path, faces, spec_of("unet"))
    np.testing.assert_array_equal(again.segment(faces.inputs), chances)
    with pytest.raises(MissingOffer, match="segmentation"):
        models["densenet"].segment(faces.inputs)


# --------------------------------------------------------------------------------------------------- explanations
@EVERY
def test_heat_maps_lie_on_all_that_the_head_reads(id, models, faces):
    played = game(
        models[id], faces.inputs.take(np.arange(2)), faces.inputs.take(np.arange(9, 11)), players="slic", link="logit"
    )
    assert min(map(len, played.masker.players)) >= 25
    found = grad_cam(played)
    assert np.nanmin(found.values) >= 0
    where = {"inception": "'body.4'", "densenet": "'body.12'", "efficientnet": "'body.5.0'", "unet": "'body.last'"}
    assert where[id] in found.method


@EVERY
def test_integrated_gradients_and_deep_lift_add_up_where_they_can(id, models, faces):
    rows, background = faces.inputs.take(np.arange(2)), faces.inputs.take(np.arange(9, 11))
    played = game(models[id], rows, background, players="grid", size=8, link="logit")
    kinked = integrated_gradients(played, tolerance=0.05)
    missed = np.abs(kinked.values.sum(axis=1) - (kinked.outputs - kinked.base))
    told = ~np.isnan(
        missed
    )  # a row that moves by less than the network's kinks is left undefined, and the note says so
    assert told.any()
    assert (missed[told] < 0.05 * np.abs(kinked.values[told]).sum(axis=1)).all()
    lifted = deep_lift(played)
    if id == "efficientnet":
        # Gates multiply what depends on the same pixels: no rule shares that out, and it is said.
        assert np.isnan(lifted.values).any(axis=1).all()
        assert lifted.note
    else:
        assert np.abs(lifted.values.sum(axis=1) - (lifted.outputs - lifted.base)).max() < 1e-4 * moved(lifted)


def moved(found):
    """How far the outputs lie from those of the background, at most."""
    return np.abs(found.outputs - found.base).max()
