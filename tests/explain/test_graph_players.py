"""Ties, nodes and features as players, against the whole graph with the same things taken away; masks that are learned."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from little_graphs import model, network, random_graph

from audit.core import DataError, NotApplicable, UsageError
from audit.data.graphs import Graphs, graph, neighbourhood
from audit.explain import game, shapley
from audit.explain.gnn import gnn_explainer

networkx = pytest.importorskip("networkx")


def whole(inputs, row, *, edges=None, features=None):
    """The module's answer for one row on the whole graph with other edges or features."""
    changed = Graphs(
        features=inputs.features if features is None else features,
        edges=inputs.edges if edges is None else edges,
        targets=inputs.targets[[row]],
        copies=inputs.copies,
        columns=inputs.columns,
    )
    return model(network(3)).predict(changed)[0]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4))
def test_neighbourhoods_are_those_of_networkx(seed, hops):
    inputs = random_graph(seed=seed)
    known = networkx.DiGraph()
    known.add_nodes_from(range(14))
    known.add_edges_from(inputs.edges)
    for row in range(14):
        nodes, edges = neighbourhood(inputs, row, hops)
        assert nodes[0] == row
        assert set(nodes) == set(networkx.ego_graph(known.reverse(), row, radius=hops))
        inside = {(a, b) for a, b in known.edges if b in set(nodes)}
        assert {tuple(edge) for edge in inputs.edges[edges]} == inside


def test_taking_rows_takes_their_copies_and_no_others():
    inputs = random_graph(targets=[3, 5, 5])
    assert inputs.take(np.array([1])).features.shape == inputs.features.shape
    filled = game(model(network(3)), inputs).masker.fill(
        np.array([0]), np.ones((4, len(masker_of(inputs).players[0])), bool)
    )
    two = filled.take(np.array([3, 1]))
    assert len(np.unique(two.copies)) == 2
    np.testing.assert_allclose(model(network(3)).predict(two), model(network(3)).predict(filled)[[3, 1]])


def masker_of(inputs, **options):
    return game(model(network(3)), inputs, **options).masker


def test_cut_ties_give_what_the_whole_graph_without_them_gives():
    """Two hops around a node hold all that two layers and their norms can see."""
    inputs = random_graph(nodes=30, ties=40, targets=[3, 7])
    played = game(model(network(3)), inputs, size=2)
    filler = played.masker
    rng = np.random.default_rng(1)
    for row in range(2):
        names = filler.players[row]
        coalitions = rng.random((5, len(names))) < 0.6
        got = played.model.predict(filler.fill(np.array([row]), coalitions))
        for value, present in zip(got, coalitions, strict=True):
            gone = {
                frozenset(map(int, name.split("–"))) for name, there in zip(names, present, strict=True) if not there
            }
            kept = np.array([e for e in inputs.edges if frozenset(map(int, e)) not in gone])
            assert value == pytest.approx(whole(inputs, row, edges=kept), abs=1e-9)


def test_absent_nodes_lose_their_ties_and_absent_features_take_the_mean():
    inputs = random_graph(targets=[2, 2])
    centre = inputs.features.mean(axis=0)
    played = game(model(network(3)), inputs, players="node")
    names = played.masker.players[0]
    present = np.arange(len(names)) % 2 == 0
    got = played.model.predict(played.masker.fill(np.array([0]), present[None]))[0]
    gone = [int(name.split()[1]) for name, there in zip(names, present, strict=True) if not there]
    features = inputs.features.copy()
    features[gone] = centre
    kept = inputs.edges[~np.isin(inputs.edges, gone).any(axis=1)]
    assert got == pytest.approx(whole(inputs, 0, edges=kept, features=features), abs=1e-9)
    columns = game(model(network(3)), inputs, players="feature")
    got = columns.model.predict(columns.masker.fill(np.array([1]), np.array([[True, False, True]])))[0]
    changed = inputs.features.copy()
    changed[:, 1] = centre[1]
    assert got == pytest.approx(whole(inputs, 0, features=changed), abs=1e-9)


def test_shapley_values_of_ties_and_features():
    inputs = random_graph(nodes=8, ties=7, targets=[0, 1, 2], seed=3)
    played = game(model(network(3)), inputs, players="feature", link="logit")
    found = shapley(played)
    np.testing.assert_allclose(found.delta, 0, atol=1e-9)
    np.testing.assert_allclose(found.outputs, played.outputs(), atol=1e-9)
    assert found.features == ("x0", "x1", "x2")


def test_one_layer_needs_only_the_ties_that_end_in_the_node():
    """A convolution of one layer never sees other ties (but through the degree of a neighbour)."""
    inputs = random_graph(nodes=10, ties=14, targets=[4], seed=5)
    played = game(model(network(3, layers=1)), inputs)
    found = gnn_explainer(played, epochs=300, rate=0.05)
    own = np.array(["4" in name.split("–") for name in found.players[0]])
    assert found.values[0, ~own].max() < 0.2
    assert (found.values >= 0).all()
    assert (found.values <= 1).all()
    assert not found.complete
    np.testing.assert_allclose(found.outputs, played.outputs())


def test_nodes_together_come_to_what_each_comes_to_alone():
    inputs = random_graph(nodes=12, ties=16, targets=[1, 4, 9], seed=2)
    m = model(network(3))
    together = gnn_explainer(game(m, inputs, size=2), epochs=400, rate=0.05, repeats=2)
    assert (together.se_sampling[~np.isnan(together.values)] >= 0).all()
    for row in range(3):
        alone = gnn_explainer(game(m, inputs.take(np.array([row])), size=2), epochs=400, rate=0.05, repeats=2)
        count = len(alone.players[0])
        # different starts, the same end where the mask is decided
        decided = np.abs(together.values[row, :count] - 0.5) > 0.45
        assert np.abs(together.values[row, :count] - alone.values[0])[decided].max(initial=0) < 0.2


def test_the_same_seed_gives_the_same_mask():
    inputs = random_graph(targets=[1, 2])
    played = game(model(network(3)), inputs)
    one, two = (gnn_explainer(played, epochs=20, seed=4) for _ in range(2))
    np.testing.assert_array_equal(one.values, two.values)
    assert np.isnan(one.se_sampling).all()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"players": "tie"}, UsageError, "of graphs one of edge, node, feature"),
        ({"fill": "mean"}, UsageError, "edges of a graph know 'delete'"),
        ({"size": 0}, UsageError, "at least 1 hop"),
    ],
)
def test_what_cannot_be_played(options, error, message):
    with pytest.raises(error, match=message):
        masker_of(random_graph(), **options)


def test_a_node_without_ties_and_other_inputs():
    lonely = graph(np.ones((3, 3)), np.array([[0, 1]]), targets=[2])
    with pytest.raises(DataError, match="node 2 has no ties"):
        masker_of(lonely)
    with pytest.raises(NotApplicable, match="ties of a graph"):
        gnn_explainer(game(model(network(3)), random_graph(), players="node"))
    with pytest.raises(DataError, match="edges must name nodes"):
        graph(np.ones((3, 2)), np.array([[0, 7]]))
