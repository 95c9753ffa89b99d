"""Colour refinement against networkx, and what networks that pass messages can tell beside it."""

import networkx
import numpy as np
import pytest
import torch

from audit.core import DataError, UsageError
from audit.models.families.gat import GAT
from audit.models.families.gcn import GCN
from audit.models.families.gin import GIN
from audit.models.seeds import seeded
from audit.models.weisfeiler_lehman import PAIRS, refined, same

EACH = pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.name)


def embedded(kind, graph, **options):
    """The embeddings (nodes, width) of a graph whose nodes look alike, by random weights in double precision."""
    with seeded(1):
        module = kind(features=1, classes=1, **options).double().eval()
        for parameter in module.parameters():
            torch.nn.init.normal_(parameter)
    nodes, ties = graph
    ties = np.array(ties).reshape(-1, 2)
    edges = torch.as_tensor(np.concatenate([ties, ties[:, ::-1]]).T.copy())
    with torch.no_grad():
        return module.embed(torch.ones(nodes, 1, dtype=torch.float64), edges).numpy()


def told_apart(kind, pair, **options):
    one, other = (embedded(kind, graph, **options) for graph in (pair.first, pair.second))
    return not np.allclose(one.sum(axis=0), other.sum(axis=0), rtol=1e-9)


def known(graph):
    made = networkx.Graph()
    made.add_nodes_from(range(graph[0]), colour="all alike")
    made.add_edges_from(graph[1])
    return made


@EACH
def test_known_pairs(pair):
    assert same(pair.first, pair.second) is not pair.told
    one, other = known(pair.first), known(pair.second)
    assert not networkx.is_isomorphic(one, other)
    hashes = {networkx.weisfeiler_lehman_graph_hash(each, node_attr="colour", iterations=10) for each in (one, other)}
    assert (len(hashes) == 2) is pair.told


@EACH
def test_sums_tell_what_colour_refinement_tells(pair):
    assert told_apart(GIN, pair, hidden=32) is pair.told


def test_means_do_not_tell_how_many_neighbours_are_alike():
    by_name = {pair.name: pair for pair in PAIRS}
    regular, trees = by_name["hexagon and prism"], by_name["path and star of four"]
    assert not told_apart(GCN, regular)
    assert told_apart(GCN, trees)  # its norms know degrees, where these differ from node to node
    assert not told_apart(GAT, regular)
    assert not told_apart(GAT, trees)  # weights that sum to 1 over equal neighbours give what each of them holds
    for pair in PAIRS[:2]:
        assert not told_apart(GCN, pair)
        assert not told_apart(GAT, pair)


@pytest.mark.parametrize("seed", range(12))
def test_two_layers_of_sums_part_nodes_as_two_rounds_do(seed):
    graph = networkx.gnm_random_graph(12, 15, seed=seed)
    colours = refined(12, list(graph.edges), rounds=2)
    z = embedded(GIN, (12, list(graph.edges)), hidden=64)
    close = np.abs(z[:, None] - z[None]).max(axis=2) < 1e-9 * np.abs(z).max()
    np.testing.assert_array_equal(close, colours[:, None] == colours[None])
    networkx.set_node_attributes(graph, "all alike", "colour")
    hashes = networkx.weisfeiler_lehman_subgraph_hashes(graph, node_attr="colour", iterations=2).values()
    last = np.array([one[-1] for one in hashes])
    np.testing.assert_array_equal(colours[:, None] == colours[None], last[:, None] == last[None])


@pytest.mark.parametrize("seed", range(8))
def test_the_order_of_nodes_does_not_matter(seed):
    rng = np.random.default_rng(seed)
    ties = np.array(networkx.gnm_random_graph(15, 22, seed=seed).edges)
    order = rng.permutation(15)
    assert same((15, ties), (15, order[ties]))
    colours, moved = refined(15, ties), refined(15, order[ties])
    np.testing.assert_array_equal(colours[:, None] == colours[None], moved[order][:, None] == moved[order][None])
    assert len(set(refined(15, ties, rounds=1))) <= len(set(colours))


def test_colours_to_begin_with_part_what_looks_alike():
    hexagon = PAIRS[0].second
    assert len(set(refined(*hexagon))) == 1
    assert len(set(refined(*hexagon, colours=[1, 0, 0, 0, 0, 0]))) == 4  # by steps away from the first
    np.testing.assert_array_equal(refined(3, np.empty((0, 2), dtype=int), colours=[5, 2, 5]), [1, 0, 1])
    with pytest.raises(DataError, match="colours: 6 whole numbers"):
        refined(*hexagon, colours=[1.0, 2.0])
    with pytest.raises(UsageError, match="rounds: 0 or more"):
        refined(*hexagon, rounds=-1)
    with pytest.raises(DataError, match="nodes 0 to 1, got 0 to 5"):
        refined(2, hexagon[1])
