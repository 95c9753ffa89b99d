"""A bound by multipliers and penalties in the loss, against values of the hand and the best rule of the world."""

import inspect
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from audit.core import DataSpec, ModelSpec, RunSpec, Spec, stream
from audit.data.worlds.credit import best_accuracy
from audit.models import debias, reference
from audit.models.debias.lagrangian import MOST, RISE, aim, differences, lagrangian, moved
from audit.models.debias.penalties import covariance, penalised, squared_gap
from audit.models.debias.selection import Rows, gap
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
    found = moved(torch.tensor([0.0, 0.0, 0.1, -0.1, 3.0, MOST]), torch.tensor([0.25, 0.04, 0.0, 0.0, 1.0, 1.0]), 0.05)
    assert RISE == 0.05
    assert found.tolist() == pytest.approx([0.05 * 0.2, 0.0, 0.0975, -0.0975, 3.0475, MOST])


@given(now=st.floats(-MOST, MOST), hard=st.floats(-1, 1), eps=st.floats(0.001, 0.5))
def test_a_multiplier_stays_on_its_side_and_moves_in_proportion(now, hard, eps):
    def after(value, gap):
        return moved(torch.tensor([value], dtype=torch.float64), torch.tensor([gap], dtype=torch.float64), eps).item()

    found = after(now, hard)
    assert abs(found) <= MOST
    assert found == pytest.approx(-after(-now, -hard), abs=1e-12)  # neither side is favoured
    if now == 0:  # free to take either side, and still within the bound
        assert found == pytest.approx(math.copysign(RISE * max(0.0, abs(hard) - eps), hard), abs=1e-12)
    else:
        side = math.copysign(1.0, now)
        assert side * found >= 0  # it stops at 0 and does not jump to the other side
        straight = now + RISE * (hard - side * eps)
        if 0 <= side * straight <= MOST:
            assert found == pytest.approx(straight, abs=1e-12)
        else:
            assert found in (0.0, side * MOST)


def test_the_noise_of_batches_cancels_in_a_multiplier():
    now = torch.tensor([1.0], dtype=torch.float64)
    for hard in (0.35, -0.25) * 50:  # 0.05 on average, which is the bound
        now = moved(now, torch.tensor([hard], dtype=torch.float64), 0.05)
    assert now.item() == pytest.approx(1.0, abs=1e-9)


def test_the_bound_to_train_for_by_hand():
    y = torch.tensor([1] * 200 + [0] * 1000)
    a = torch.cat([torch.arange(200) % 2, torch.arange(1000) // 900])
    held = Rows(
        x=torch.zeros(1200, 1), y=y, a=a
    )  # groups of 1,000 and 200; of 100 and 100 with y = 1, of 900 and 100 with y = 0
    assert aim(0.15, held, "demographic_parity", 1.0) == pytest.approx(0.15 - math.sqrt(0.25 / 1000 + 0.25 / 200))
    assert aim(0.15, held, "equal_opportunity", 1.0) == pytest.approx(0.15 - math.sqrt(0.5 / 100))
    assert aim(0.15, held, "equalized_odds", 0.5) == pytest.approx(
        0.15 - 0.5 * math.sqrt(0.5 / 100)
    )  # the worse of two
    assert aim(0.05, held, "equal_opportunity", 2.0) == 0.025  # not below half of eps
    assert aim(0.05, held, "demographic_parity", 0.0) == 0.05


@pytest.mark.parametrize("eps", [0.05, 0.15])
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


@pytest.mark.parametrize(
    ("id", "algorithm"),
    [("adversarial", debias.adversarial), ("lagrangian", debias.lagrangian), ("penalty", debias.penalised)],
)
def test_a_familys_defaults_are_its_algorithms(id, algorithm):
    theirs = inspect.signature(algorithm).parameters
    offered = entries("families")[id].params
    shared = [name for name in offered if name in theirs and name not in ("seed", "hidden")]
    assert {"criterion", "eps", "epochs", "margin"} <= set(shared)
    assert [offered[name] for name in shared] == [theirs[name].default for name in shared]


def squared_error(decided):
    """Of a share, with a row more on either side (Agresti and Caffo)."""
    share = (decided.sum() + 1) / (len(decided) + 2)
    return share * (1 - share) / (len(decided) + 2)


def test_a_promise_speaks_of_the_bound_that_was_asked_for():
    world = entries("worlds")["credit"].function()
    drawn, new = world.draw(3000, stream(7, "constraint")), world.draw(10_000, stream(8, "constraint"))
    spec = Spec(data=DataSpec(world="credit"), model=ModelSpec(kind="family"), run=RunSpec(device="cpu", threads=1))
    options = {"criterion": "equal_opportunity", "eps": 0.1, "epochs": 4}
    model = reference.trained("lagrangian", drawn, spec, options=options)
    of_gap, of_accuracy = entries("families")["lagrangian"].facts["promise"](model, new, world)
    decided, sex = model.predict(new.inputs) >= 0.5, new.groups["sex"].values
    rates = [decided[(new.y == 1) & (sex == level)] for level in (0, 1)]
    assert of_gap.value == pytest.approx(abs(rates[0].mean() - rates[1].mean()))
    assert of_gap.high == pytest.approx(0.1 + 2 * math.sqrt(sum(map(squared_error, rates))))
    best = best_accuracy(world, 0.1, constraint="equal_opportunity")
    assert of_accuracy.low == pytest.approx(best - 0.03 - 2 * math.sqrt(best * (1 - best) / 10_000))
    assert of_accuracy.value == (decided == new.y).mean()
