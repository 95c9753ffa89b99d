"""Nodes, ties and features through the masking door, on an oracle whose explanations have a closed form."""

from dataclasses import replace

import numpy as np
import pytest
from little_models import context, subject

from audit.core import DataSpec, ModelSpec, NotApplicable, RunSpec, Spec, Table, UsageError
from audit.data.worlds.base import planted
from audit.data.worlds.lending_network import lending_network
from audit.explain.closed_forms import additive_shapley
from audit.explain.games import game
from audit.explain.masking import masker
from audit.explain.quality.known import known
from audit.explain.quality.truth import truth
from audit.explain.shapley import shapley
from audit.models.adapters.oracle import module, oracle
from audit.models.adapters.torch import wrap

ROWS = np.array([0, 3, 5, 7])


@pytest.fixture(scope="module")
def world():
    return lending_network(homophily=0.9, degree=4.0)


@pytest.fixture(scope="module")
def data(world):
    return world.draw(60, np.random.default_rng(4))


@pytest.fixture(scope="module")
def play(world, data):
    spec = Spec(run=RunSpec(device="cpu"))
    model = wrap(module(world.oracle()), data, replace(spec, model=replace(spec.model, output="logit")))

    def one(players, fill=None):
        return game(model, data.inputs.take(ROWS), link="logit", players=players, size=1, fill=fill)

    return one


def by_node(found, row, nodes):
    """Values of players named "node k" as an array over all nodes."""
    values = np.zeros(nodes)
    for name, value in zip(found.players[row], found.values[row], strict=False):
        values[int(name.removeprefix("node "))] = value
    return values


def test_features_taken_away_everywhere(world, data, play):
    found = shapley(play("feature"))
    wanted = world.oracle().feature_truth(data.inputs.take(ROWS), data.inputs.features.mean(axis=0))
    np.testing.assert_allclose(found.values, wanted, atol=1e-6)


@pytest.fixture(scope="module")
def audited():
    """The oracle as `audit run` has it, and what explain.truth says of it."""
    spec = Spec(model=ModelSpec(kind="oracle"), data=DataSpec(world="lending_network"), run=RunSpec(device="cpu"))
    drawn = planted(spec.data).draw(300, np.random.default_rng(2))
    judged = subject(oracle(spec, drawn), drawn.inputs, drawn.y, names=drawn.names)
    return drawn, judged, list(truth(judged, context()))


def test_the_truth_of_features_is_told_and_found(audited):
    drawn, _, found = audited
    errors = {e.where["explainer"]: e for e in found if e.name == "mean_absolute_error"}
    assert set(errors) == {"shapley", "additive_shapley"}
    assert all(e.value < 1e-6 and e.n == 24 for e in errors.values())
    agree = {e.where["explainer"]: e.value for e in found if e.name == "rank_correlation_with_shapley"}
    assert agree["shapley"] == pytest.approx(1)
    assert agree["lime"] > 0.9
    table = next(e for e in found if isinstance(e, Table) and e.name == "truth")
    told = {row[1]: row[3] for row in table.rows if row[0] == "shapley"}
    assert set(told) == set(drawn.names)
    assert min(told["income"], told["savings"]) > 0.5
    assert max(told[name] for name in ("n1", "n2", "n3", "n4")) < 1e-9


def test_the_truth_of_features_is_what_the_logit_loses_and_that_of_ties_is_not_told_so(audited):
    """By the logits of a graph whose column is taken away: a mask written by hand."""
    drawn, judged, _ = audited
    form, inputs, centre = lending_network().oracle(), drawn.inputs, drawn.inputs.features.mean(axis=0)
    for k in range(len(drawn.names)):
        without = inputs.features.copy()
        without[:, k] = centre[k]
        lost = form.logit(inputs) - form.logit(replace(inputs, features=without))
        np.testing.assert_allclose(form.occlusion_truth(inputs, centre)[:, k], lost, atol=1e-12)
    ties = game(judged.model, inputs.take(ROWS), link="logit", players="edge")
    with pytest.raises(NotApplicable, match="features cannot be told for players that are edges"):
        known(form, ties, "shapley")
    assert known(form, ties, "lime") is None


def test_the_oracle_of_a_graph_knows_its_ties(audited):
    drawn, judged, _ = audited
    assert "graph" in judged.model.offers
    np.testing.assert_array_equal(np.unique(judged.model.edges(), axis=0), np.unique(drawn.inputs.edges, axis=0))
    assert judged.model.link(np.array([[0, 1]])) is None


def test_neighbours_whose_features_are_taken_away(world, data, play):
    centre, inputs = data.inputs.features.mean(axis=0), data.inputs.take(ROWS)
    for explain in (shapley, additive_shapley):
        found = explain(play("node", "mean"))
        for row in range(len(ROWS)):
            wanted = world.oracle().node_truth(inputs, row, centre)
            wanted[inputs.targets[row]] = 0.0  # who is asked about is no player
            np.testing.assert_allclose(by_node(found, row, 60), wanted, atol=1e-6)


def test_neighbours_who_leave_the_mean(world, data, play):
    """A mean over fewer people: not additive, so by all coalitions, and by the closed form of a mean."""
    found, inputs = shapley(play("node")), data.inputs.take(ROWS)
    assert max(map(len, found.players)) > 3
    for row in range(len(ROWS)):
        wanted = world.oracle().company_truth(inputs, row)
        np.testing.assert_allclose(by_node(found, row, 60), wanted, atol=1e-6)
        assert wanted.sum() == pytest.approx(found.outputs[row] - found.base[row])


def test_ties_are_worth_what_they_bring(world, data, play):
    found, inputs = shapley(play("edge")), data.inputs.take(ROWS)
    for row in range(len(ROWS)):
        target, wanted = int(inputs.targets[row]), world.oracle().company_truth(inputs, row)
        for name, value in zip(found.players[row], found.values[row], strict=False):
            ends = [int(end) for end in name.split("–")]
            other = next(end for end in ends if end != target) if target in ends else None
            assert value == pytest.approx(0.0 if other is None else wanted[other], abs=1e-6)


def test_a_mean_of_one_is_all_that_there_is():
    form = lending_network().oracle()
    from audit.data.graphs import graph

    two = graph(np.arange(16.0).reshape(2, 8), np.array([[0, 1]]))
    np.testing.assert_allclose(form.company_truth(two, 0), [0.0, two.features[1] @ form.neighbours])
    alone = graph(np.ones((2, 8)), np.empty((0, 2)))
    np.testing.assert_array_equal(form.company_truth(alone, 1), [0.0, 0.0])


def test_fills_are_those_of_their_players(data):
    assert masker(data.inputs.take(ROWS), players="node", fill="mean", size=1).background.startswith(
        "absent nodes keep their ties"
    )
    with pytest.raises(UsageError, match="nodes of a graph know 'delete' or 'mean', got 'blur'"):
        masker(data.inputs, players="node", fill="blur")
