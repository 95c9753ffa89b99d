"""The mixture of experts: routes and answers against a loop over rows, and what balance does."""

import numpy as np
import pytest
import torch
from trained_families import DATA, OPTIONS, WORLD, unseen

from audit.core import UsageError
from audit.models.counted import Counted
from audit.models.promises import near_the_oracle
from audit.models.reference import trained


@pytest.fixture(scope="module")
def model():
    return trained("mixture_of_experts", DATA, OPTIONS, seed=1)


def test_keeps_its_promise(model):
    assert all(promise.kept for promise in near_the_oracle(model, unseen(), WORLD))


@pytest.mark.parametrize("top", [1, 2, 4])
def test_the_answer_is_the_sum_of_gates_times_experts(model, top):
    module = model.module
    module.top = top
    try:
        x = model.tensor(unseen(60).inputs)
        with torch.no_grad():
            routes, logits = module.routes(x), module(x)
            for row in range(60):
                z = module.encoder(x[row : row + 1])
                gates = torch.softmax(z @ module.router.weight.T + module.router.bias, dim=1)[0]
                best = gates.argsort(descending=True)[:top]
                expected = torch.zeros(4).index_copy(0, best, gates[best])
                torch.testing.assert_close(routes[row], expected)
                answer = sum(gates[i] * module.experts[i](z)[0, 0] for i in best)
                torch.testing.assert_close(logits[row], answer, atol=1e-5, rtol=1e-5)
    finally:
        module.top = 1


def test_routes_pass_through_and_are_counted(model):
    counted = Counted(model=model)
    found = counted.routes(unseen(60).inputs)
    assert found.shape == (60, 4)
    assert ((found > 0).sum(axis=1) == 1).all()
    assert counted.evaluations == 60


def test_imbalance_is_one_where_all_are_busy_alike_and_experts_where_one_does_all():
    module = trained("mixture_of_experts", DATA, OPTIONS, options={"epochs": 0}).module.train()
    z = torch.eye(4, 7).repeat(5, 1)
    with torch.no_grad():
        module.router.weight.zero_()
        module.router.bias.zero_()
        module.router.weight[:, :4] = 50 * torch.eye(4)
        module.gates(z)
        assert module.imbalance.item() == pytest.approx(1.0)
        module.router.weight.zero_()
        module.router.bias.copy_(torch.tensor([50.0, 0, 0, 0]))
        module.gates(z)
        assert module.imbalance.item() == pytest.approx(4.0)


def test_balance_keeps_experts_busy():
    busiest = [
        np.bincount(model.routes(unseen().inputs).argmax(axis=1), minlength=4).max() / 20_000
        for model in (
            trained("mixture_of_experts", DATA, OPTIONS, options={"balance": balance, "epochs": 4})
            for balance in (0.0, 1.0)
        )
    ]
    assert busiest[1] < min(0.4, busiest[0])


@pytest.mark.parametrize("options", [{"top": 5}, {"experts": 0}, {"top": 0}, {"hidden": 0}, {"balance": -1.0}])
def test_bad_options_are_told(options):
    with pytest.raises(UsageError, match="got"):
        trained("mixture_of_experts", DATA, OPTIONS, options=options)


def test_routes_sum_to_the_share_of_the_gate_that_is_asked(model):
    inputs = unseen(60).inputs
    with torch.no_grad():
        gates = model.module.router(model.module.encoder(model.tensor(inputs))).softmax(dim=1).numpy()
    for top in (1, 2, 4):
        model.module.top = top
        try:
            total = model.routes(inputs).sum(axis=1)
        finally:
            model.module.top = 1
        np.testing.assert_allclose(total, np.sort(gates, axis=1)[:, -top:].sum(axis=1), rtol=1e-5)
        assert (total < 1 - 1e-3).any() == (top < 4)
