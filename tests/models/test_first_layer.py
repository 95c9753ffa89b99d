"""A module cut behind its first layer: the same numbers as the whole one, or left whole."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from audit.core import MissingOffer, ModelError
from audit.explain.wrapping import as_inputs, as_model
from audit.models import first_layer as cutting
from audit.models.counted import Counted

ROWS = np.random.default_rng(0).normal(size=(50, 5))


def layers(outputs: int = 1, *, last: tuple = (), dtype=torch.float32) -> list[nn.Module]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        found = [nn.Linear(5, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 6), nn.BatchNorm1d(6), nn.Tanh()]
        return [each.to(dtype) for each in (*found, nn.Linear(6, outputs), *last)]


class Body(nn.Module):
    """A forward of its own around plain layers."""

    def __init__(self, outputs: int = 1):
        super().__init__()
        self.stack = nn.Sequential(*layers(outputs))

    def forward(self, x):
        return self.stack(x).squeeze(-1)


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, _, _, self.second, *_, self.last = layers()

    def forward(self, x):
        h = torch.relu(self.first(x))
        return self.last(nn.functional.relu(self.second(h)) + self.second(h))


def model(module, output="logit", classes=()):
    return as_model(module, as_inputs(ROWS), output, classes)


@pytest.mark.parametrize(
    ("module", "output", "classes"),
    [
        (nn.Sequential(*layers()), "logit", ()),
        (nn.Sequential(*layers(dtype=torch.float64)), "logit", ()),
        (nn.Sequential(nn.Sequential(*layers(2)), nn.Identity()), "logit", ()),
        (nn.Sequential(*layers(3, last=(nn.Softmax(dim=1),))), "probability", ("a", "b", "c")),
        (nn.Sequential(*layers(last=(nn.Sigmoid(),))), "probability", ()),
        (nn.Sequential(*layers()), "value", ()),
        (nn.Sequential(nn.Linear(5, 1, bias=False)), "logit", ()),
        (Body(), "logit", ()),
        (Functional(), "logit", ()),
    ],
)
@pytest.mark.parametrize("bytes_of_a_chunk", [1, 2**20])
def test_the_halves_give_the_scores_of_the_sum(module, output, classes, bytes_of_a_chunk, monkeypatch):
    monkeypatch.setattr(cutting, "CHUNK_BYTES", bytes_of_a_chunk)
    monkeypatch.setattr(cutting, "FEWEST", 7)
    whole = model(module, output, classes)
    assert "first_layer" in whole.offers
    counted = Counted(model=whole)
    layer = counted.first_layer()
    rng = np.random.default_rng(1)
    first, second = rng.normal(size=(3, 4, 5)), rng.normal(size=(3, 6, 5))
    scores = layer.scores(layer.hidden(first, bias=True), layer.hidden(second))
    assert layer.width == layer.hidden(first).shape[2]
    assert counted.evaluations == 3 * 4 * 6
    sums = (first[:, :, None] + second[:, None]).reshape(-1, 5)
    tolerance = 1e-12 if next(module.parameters()).dtype == torch.float64 else 2e-6
    np.testing.assert_allclose(scores, whole.predict(sums).reshape(scores.shape), atol=tolerance)


def test_the_module_is_left_as_it_was():
    module = Body().train()
    module.stack[2].eval()
    before, weights = (
        {name: vars(each).copy() for name, each in module.named_modules()},
        copy.deepcopy(module.state_dict()),
    )
    kept = torch.random.get_rng_state()
    layer = model(module).first_layer()
    layer.scores(layer.hidden(ROWS[None], bias=True), layer.hidden(ROWS[None]))
    assert torch.equal(torch.random.get_rng_state(), kept)
    for name, each in module.named_modules():
        assert vars(each).keys() == before[name].keys()
        assert each.training == before[name]["training"]
    assert all(torch.equal(weights[name], value) for name, value in module.state_dict().items())


def test_the_halves_follow_the_weights():
    module = nn.Sequential(*layers())
    whole = model(module)
    layer = whole.first_layer()
    with torch.no_grad():
        module[-1].weight += 1
    zero = layer.hidden(np.zeros((1, 1, 5)))
    np.testing.assert_allclose(
        layer.scores(layer.hidden(ROWS[None], bias=True), zero)[0, :, 0], whole.predict(ROWS), atol=2e-6
    )


class Twice(Body):
    """The input goes around the first layer too."""

    def forward(self, x):
        return self.stack(x).squeeze(-1) + x[:, 0]


class Noisy(Body):
    """Chance that torch.fx would freeze."""

    def forward(self, x):
        return self.stack(x).squeeze(-1) + torch.randn(1)


class Branching(Body):
    def forward(self, x):
        out = self.stack(x).squeeze(-1)
        return -out if out.sum() > 0 else out


class Remembers(Body):
    """Writes on itself: a trace must not leave its tokens there."""

    def forward(self, x):
        self.seen = self.stack(x)
        return self.seen.squeeze(-1)


class Cast(Body):
    """Half precision inside a context that torch.fx does not see."""

    def forward(self, x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return 1000 * self.stack(x).squeeze(-1).float()


class Fussy(Body):
    """Knows batches of eight rows only."""

    def forward(self, x):
        return self.stack(x).reshape(8, 1)


class OwnLinear(nn.Linear):
    def forward(self, x):
        return super().forward(x).clamp_min(0)


@pytest.mark.parametrize(
    "module",
    [
        Twice(),
        Noisy(),
        Branching(),
        Cast(),
        nn.Sequential(OwnLinear(5, 3), nn.Linear(3, 1)),
        nn.Sequential(nn.BatchNorm1d(5), *layers()),
        nn.Sequential(nn.ReLU(), *layers()),
        nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(5, 1))),
    ],
    ids=lambda module: type(module).__name__,
)
def test_what_cannot_be_cut_is_left_whole(module):
    whole = model(module)
    assert whole.offers == {"gradients"}
    with pytest.raises(MissingOffer, match="cannot be cut"):
        whole.first_layer()


@pytest.mark.parametrize("place", [(), (0,), (3,)])
@pytest.mark.parametrize("kind", ["register_forward_hook", "register_forward_pre_hook", "forward"])
def test_who_listens_to_the_module_hears_every_call(place, kind):
    module = nn.Sequential(*layers())
    each = module[place[0]] if place else module
    if kind == "forward":
        each.forward = lambda x, old=each.forward: old(x)
    else:
        getattr(each, kind)(lambda *arguments: None)
    assert "first_layer" not in model(module).offers


def test_a_module_that_writes_on_itself_keeps_numbers_there():
    module = Remembers()
    whole = model(module)
    assert "first_layer" in whole.offers
    assert isinstance(module.seen, torch.Tensor)


def test_what_the_rest_raises_or_returns_is_named():
    layer = model(Fussy()).first_layer()
    with pytest.raises(ModelError, match="the model raised RuntimeError: shape"):
        layer.scores(layer.hidden(ROWS[None]), layer.hidden(ROWS[None]))
    layer = model(nn.Sequential(nn.Linear(5, 1), nn.Hardtanh(0, 9)), "probability").first_layer()
    with pytest.raises(ModelError, match="not probabilities"):
        layer.scores(layer.hidden(100 * ROWS[None]), layer.hidden(ROWS[None]))
    layer = model(nn.Sequential(*layers())).first_layer()
    with pytest.raises(ModelError, match="not finite"):
        layer.scores(layer.hidden(np.full((1, 1, 5), np.nan)), layer.hidden(ROWS[None]))


def test_gradients_of_the_weights_are_not_gathered():
    module = nn.Sequential(*layers())
    layer = model(module).first_layer()
    assert not layer.hidden(ROWS).requires_grad
    layer.scores(layer.hidden(ROWS[None]), layer.hidden(ROWS[None]))
    assert all(each.grad is None for each in module.parameters())
