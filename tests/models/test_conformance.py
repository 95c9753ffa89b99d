"""What every adapter must do alike, on a model each: order, batches, number types, missing offers, nothing left behind."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from adapters import BUILDERS, TABLES, WORLD, Case, Place, net, world
from little_service import serving
from sklearn.ensemble import RandomForestClassifier
from torch import nn

from audit.core import MissingOffer, ModelError, ModelSpec, RunSpec, Spec
from audit.data.readers import tabular
from audit.models.load import load, wrap
from audit.models.offering import METHODS
from audit.registry import entries

CPU = RunSpec(device="cpu")
NAMES = list(BUILDERS)
# A graph is one whole: its nodes answer in any order, but never without their neighbours.
SLICED = [name for name in NAMES if name not in ("graph", "geometric")]


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """The case of a name, built once for all tests here."""
    with serving() as service:
        place = Place(world(), tmp_path_factory.mktemp("adapters"), service.url)
        built: dict[str, Case] = {}

        def of(name: str) -> Case:
            if name not in built:
                built[name] = BUILDERS[name](place)
            return built[name]

        yield of


def test_every_adapter_is_here(case):
    kinds = {case(name).model.card.kind for name in NAMES}
    assert set(entries("adapters")) <= kinds


@pytest.mark.parametrize("name", NAMES)
def test_scores_are_float64_probabilities_of_each_row(name, case):
    model, data = case(name).model, case(name).data
    scores = model.predict(data.inputs)
    assert scores.shape == (len(data),)
    assert scores.dtype == np.float64
    assert scores.min() >= 0
    assert scores.max() <= 1
    assert np.ptp(scores) > 1e-3
    assert model.family
    assert model.family == model.card.family
    assert model.card.classes == data.classes
    assert set(model.card.features) <= set(data.names)
    assert len(model.card.digest) == (0 if name == "http" else 64)  # of a service no weights are seen
    assert model.card.device == ("elsewhere" if name == "http" else "cpu")
    assert isinstance(model.offers, frozenset)


@pytest.mark.parametrize("name", NAMES)
def test_neither_the_order_of_rows_nor_the_batch_matters(name, case):
    model, data = case(name).model, case(name).data
    scores = model.predict(data.inputs)
    order = np.random.default_rng(0).permutation(len(data))
    np.testing.assert_allclose(model.predict(data.inputs.take(order)), scores[order], atol=1e-6)
    sizes = (1, 7, 399, 400, 10_000) if name in SLICED else (10_000,)
    for size in sizes:
        small = replace(model, reading=replace(model.reading, batch_size=size))
        np.testing.assert_allclose(small.predict(data.inputs), scores, atol=1e-6)


@pytest.mark.parametrize("name", TABLES)
def test_an_array_is_read_like_a_table_and_left_alone(name, case):
    model, data = case(name).model, case(name).data
    values = tabular(data).values
    before = values.copy()
    np.testing.assert_array_equal(model.predict(values), model.predict(data.inputs))
    np.testing.assert_array_equal(values, before)
    assert model.predict(data.inputs.take(np.arange(0))).shape == (0,)


@pytest.mark.parametrize("name", [name for name in TABLES if name != "predictions"])
def test_the_number_type_of_the_rows_does_not_matter(name, case):
    """Whole numbers from -4 to 4 are the same in every type: so are the scores, bit for bit."""
    model, data = case(name).model, case(name).data
    whole = np.rint(tabular(data).values[:40])
    expected = model.predict(whole)
    for kind in (np.float32, np.int64, np.int32, np.int8):
        np.testing.assert_array_equal(model.predict(whole.astype(kind)), expected, err_msg=np.dtype(kind).name)
    np.testing.assert_array_equal(model.predict(np.asfortranarray(whole)), expected)
    np.testing.assert_array_equal(model.predict(np.repeat(whole, 2, axis=0)[::2]), expected)


@pytest.mark.parametrize("name", NAMES)
def test_the_global_random_state_and_the_threads_stay(name, case):
    model, data = case(name).model, case(name).data
    numpy_state, torch_state = np.random.get_state()[1].copy(), torch.random.get_rng_state()  # noqa: NPY002
    threads = torch.get_num_threads()
    model.predict(data.inputs)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002
    assert torch.equal(torch.random.get_rng_state(), torch_state)
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("name", NAMES)
def test_what_is_missing_is_named_beside_what_there_is(name, case):
    model = case(name).model
    for method, offer in METHODS.items():
        if offer in model.offers or callable(getattr(type(model), method, None)):
            continue
        with pytest.raises(MissingOffer, match=f"does not offer {offer!r}") as caught:
            getattr(model, method)
        assert all(repr(each) in str(caught.value) for each in model.offers)
    assert not hasattr(model, "nothing_of_the_kind")


@pytest.mark.parametrize(
    "name", ["oracle", "torch1", "torch2", "xgboost", "onnx", "family", "transformers", "graph", "geometric"]
)
def test_logits_that_are_taken_for_probabilities_are_caught(name, case):
    model, data = case(name).model, case(name).data
    assert model.reading.output == "logit"
    taken = replace(model, reading=replace(model.reading, output="probability"))
    with pytest.raises(ModelError, match=r'not probabilities.*set model\.output = "logit"'):
        taken.predict(data.inputs)


# ----------------------------------------------------------------------------------------- the user's own module
def state_of(module: nn.Module) -> tuple:
    tensors = [*module.parameters(), *module.buffers()]
    bytes_of = [hashlib.sha256(each.detach().numpy().tobytes()).hexdigest() for each in tensors]
    hooks = [
        (len(each._forward_hooks), len(each._forward_pre_hooks), len(each._backward_hooks)) for each in module.modules()
    ]
    modes = [each.training for each in module.modules()]
    return (
        bytes_of,
        [each.requires_grad for each in tensors],
        [each.grad for each in tensors],
        [each.device for each in tensors],
        hooks,
        modes,
    )


@pytest.mark.parametrize("name", ["torch1", "torch2", "family", "transformers", "graph", "geometric"])
@pytest.mark.parametrize("training", [True, False])
def test_the_users_module_is_left_as_it_was(name, training, case):
    built = case(name)
    model, data, module = built.model, built.data, built.own
    frozen = next(module.parameters())
    frozen.requires_grad_(False)
    module.train(training)
    before = state_of(module)
    try:
        model.predict(data.inputs)
        if name in SLICED and "gradients" in model.offers:
            leaf, forward = model.attribution_point(data.inputs.take(np.arange(3)))
            torch.autograd.grad(forward(leaf).sum(), leaf)
        assert state_of(module) == before
    finally:
        frozen.requires_grad_(True)
        module.eval()


def test_the_digest_changes_with_the_weights_only(case):
    data = case("sklearn").data
    spec = replace(WORLD, model=ModelSpec(kind="torch", output="logit"))
    assert wrap(net(1), data, spec).card.digest == wrap(net(1), data, spec).card.digest
    assert wrap(net(1, seed=1), data, spec).card.digest != wrap(net(1), data, spec).card.digest
    assert load(WORLD, data, None).card.digest == load(WORLD, data, None).card.digest
    x, rows = tabular(data).values, slice(0, 200)
    forests = [RandomForestClassifier(3, random_state=seed).fit(x[rows], data.y[rows]) for seed in (0, 0, 1)]
    digests = [wrap(forest, data, Spec(run=CPU)).card.digest for forest in forests]
    assert digests[0] == digests[1] != digests[2]
