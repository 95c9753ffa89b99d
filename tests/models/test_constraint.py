"""A bound by multipliers and penalties in the loss, against values of the hand and the best rule of the world."""

import math

import pytest
import torch

from audit.core import stream
from audit.data.worlds.credit import best_accuracy
from audit.models.debias.lagrangian import differences, lagrangian, moved
from audit.models.debias.penalties import covariance, penalised, squared_gap
from audit.models.debias.selection import gap
from audit.models.encoding import encoder, rows_of
from audit.models.stack import layers_of
from audit.registry import entries

SCORES, Y, A = torch.tensor([2.0, 0.0, -1.0, 3.0]), torch.tensor([1, 0, 1, 1]), torch.tensor([0, 0, 1, 1])


def test_covariance_by_hand():
    # mean of (1[a] - 1/2) score: (-2 - 0 - 1 + 3) / 8 = 0; among y = 1: scores 2, -1, 3 with shares 1/3 and 2/3
    assert covariance(SCORES, Y, A).item() == pytest.approx(0.0)
    inside = (-2 / 3 * 2 + 1 / 3 * -1 + 1 / 3 * 3) / 3
    assert covariance(SCORES, Y, A, criterion="equal_opportunity").item() == pytest.approx(2 * inside**2)


def test_squared_gap_by_hand():
    def sigmoid(z):
        return 1 / (1 + math.exp(-z))

    expected = ((sigmoid(-1) + sigmoid(3)) / 2 - (sigmoid(2) + 0.5) / 2) ** 2
    assert squared_gap(SCORES, Y, A).item() == pytest.approx(expected, abs=1e-7)


def test_differences_of_three_groups_and_of_a_group_without_rows():
    values, y = torch.tensor([1.0, 0.0, 1.0, 0.5]), torch.tensor([1, 1, 1, 0])
    assert differences(values, y, torch.tensor([0, 0, 1, 2]), "demographic_parity", 3).tolist() == [0.5, 0.0, -0.5]
    assert differences(values, y, torch.tensor([0, 0, 1, 2]), "equal_opportunity", 3).tolist() == [0.5, 0.0, 0.0]


def test_a_multiplier_follows_the_violation_and_falls_back():
    found = moved(torch.tensor([0.0, 0.1, -0.1, 3.0]), torch.tensor([0.25, 0.0, 0.0, 1.0]), 0.05)
    assert found.tolist() == pytest.approx([0.02 * 0.2, 0.092, -0.092, 3.0])


MISSED = pytest.mark.xfail(strict=True, reason="gap .0655 on unseen rows; eps and two standard errors are .0641")


@pytest.mark.parametrize("eps", [pytest.param(0.05, marks=MISSED), 0.15])
def test_the_bound_is_kept_on_the_credit_world(eps):
    world = entries("worlds")["credit"].function()
    drawn, new = world.draw(8000, stream(4, "constraint")), world.draw(20_000, stream(5, "constraint"))
    front = encoder(drawn)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        start = torch.nn.Sequential(front, layers_of([front.width, 32, 1]))
    found = lagrangian(start, drawn.inputs.values, drawn.y, drawn.groups["sex"].values.astype(int), eps=eps)
    with torch.no_grad():
        decided = found.module(rows_of(new))[:, 0].numpy() > 0
    sex = new.groups["sex"].values
    doubt = gap(decided, new.y, sex, "demographic_parity", margin=2.0) - gap(decided, new.y, sex, "demographic_parity")
    assert gap(decided, new.y, sex, "demographic_parity") <= eps + doubt
    assert (decided == new.y).mean() >= best_accuracy(world, eps) - 0.03


def test_a_heavier_penalty_leaves_a_smaller_gap():
    drawn = entries("worlds")["credit"].function().draw(3000, stream(6, "constraint"))
    front = encoder(drawn)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        start = torch.nn.Sequential(front, layers_of([front.width, 8, 1]))
    sex = drawn.groups["sex"].values.astype(int)
    for kind in ("gap", "covariance"):
        gaps = []
        for weight in (0.0, 20.0):
            found = penalised(start, drawn.inputs.values, drawn.y, sex, kind=kind, weight=weight, epochs=8)
            gaps.append(found.history[-1].gap)  # the choice of an epoch would hide the weight
        assert gaps[1] < gaps[0] / 2
