"""Groups in networks: real graphs, networkx, brute force, and links predicted by a tiny model."""

import json

import networkx
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from little_models import Plain, context, sigmoid, subject, table
from subjects import find

from audit.core import ALL, Codes, DataError, Table
from audit.fairness import (
    assortativity,
    chance_homophily,
    class_insensitive_homophily,
    count,
    degrees,
    dyadic_parity,
    edge_homophily,
    homophily_p,
    mixing,
    rates,
    undirected,
)
from audit.fairness.encode import encode
from audit.fairness.graphs import graph


@pytest.fixture(scope="module")
def expected(test_data):
    return json.loads((test_data / "expected_A.json").read_text())


def agree(edges, codes, truth):
    """The published figures, and networkx on the same graph."""
    mixed, each = mixing(edges, codes), degrees(edges, len(codes))
    assert mixed.total == truth["undirected_edges"]
    assert (each == 0).sum() == truth["isolated"]
    assert edge_homophily(mixed) == pytest.approx(truth["edge_homophily"], abs=1e-12)
    r, low, high = assortativity(mixed)
    assert r == pytest.approx(truth["attribute_assortativity"], abs=1e-12)
    assert low < r < high
    assert each.mean() == pytest.approx(truth["mean_degree"], abs=1e-9)
    for index, level in enumerate(codes.levels):
        assert each[codes.values == index].mean() == pytest.approx(truth["mean_degree_by_group"][level], abs=1e-9)
    return mixed, peer(edges, codes)


def peer(edges, codes):
    known = networkx.Graph()
    known.add_nodes_from((i, {"g": int(value)}) for i, value in enumerate(codes.values))
    known.add_edges_from(map(tuple, undirected(edges, len(codes)).tolist()))
    return known


def test_german_similarity_graph(test_data, expected):
    folder, truth = test_data / "graph_german", expected["graph_german"]
    frame = pd.read_csv(folder / "german.csv")
    edges = np.loadtxt(folder / "german_edges.txt").astype(np.int64)
    assert len(edges) == truth["raw_edge_lines"]
    gender = encode(frame["Gender"], "gender")
    _, known = agree(edges, gender, truth["gender"])
    assert networkx.attribute_assortativity_coefficient(known, "g") == pytest.approx(
        truth["gender"]["attribute_assortativity"], abs=1e-12
    )
    agree(edges, encode(frame["GoodCustomer"], "label"), truth["label"])
    counted = rates(count(frame["GoodCustomer"] == 1, sensitive_features={"gender": gender}), ["base_rate"])
    for group, rate in zip(gender.levels, counted.value[:, 0], strict=True):
        assert rate == pytest.approx(truth["label_rate_by_gender"]["by_group"][group]["rate"])


@pytest.mark.parametrize("name", ["polblogs", "cora"])
def test_blogs_and_papers(test_data, expected, name):
    held = np.load(test_data / "graph_citation_blogs" / f"{name}.npz", allow_pickle=False)
    rows = np.repeat(np.arange(held["adj_shape"][0]), np.diff(held["adj_indptr"]))
    edges = np.column_stack([rows, held["adj_indices"]])
    truth = expected[f"graph_{name}"]
    assert len(edges) == truth["stored_directed_entries"]
    codes = encode(held["labels"].astype(str), "class")
    agree(edges, codes, truth["stats"])
    assert np.bincount(codes.values).tolist() == list(truth["classes"].values())
    assert homophily_p(edges, codes, np.random.default_rng(0), 99) == 0.01


def made(seed, nodes=14, groups=3, chance=0.35):
    rng = np.random.default_rng(seed)
    codes = Codes(values=rng.integers(0, groups, nodes), levels=tuple("aβc"[:groups]))
    pairs = np.argwhere(np.triu(rng.random((nodes, nodes)) < chance, 1))
    return rng, pairs, codes


@given(seed=st.integers(0, 10**6))
def test_assortativity_and_its_jackknife_by_brute_force(seed):
    _, pairs, codes = made(seed)
    mixed = mixing(pairs, codes)
    r, low, high = assortativity(mixed)
    if np.isnan(r):
        return
    assert r == pytest.approx(networkx.attribute_assortativity_coefficient(peer(pairs, codes), "g"), abs=1e-9)
    without = [assortativity(mixing(np.delete(pairs, i, axis=0), codes))[0] for i in range(len(pairs))]
    if len(pairs) < 3 or np.isnan(without).any():
        assert np.isnan(low)
        return
    m = len(pairs)
    half = 1.959963984540054 * np.sqrt((m - 1) / m * ((without - np.mean(without)) ** 2).sum())
    assert low == pytest.approx(max(-1, r - half), abs=1e-9)
    assert high == pytest.approx(min(1, r + half), abs=1e-9)


@given(seed=st.integers(0, 10**6))
def test_homophily_by_brute_force(seed):
    rng, pairs, codes = made(seed)
    mixed, values = mixing(pairs, codes), codes.values
    if not len(pairs):
        return
    assert edge_homophily(mixed) == pytest.approx(np.mean([values[i] == values[j] for i, j in pairs]))
    both = np.concatenate([pairs, pairs[:, ::-1]])
    excess = []
    for group in np.unique(values):
        mine = both[values[both[:, 0]] == group]
        home = np.mean(values[mine[:, 1]] == group) if len(mine) else 0.0
        excess.append(max(0.0, home - np.mean(values == group)))
    if len(excess) > 1:
        assert class_insensitive_homophily(mixed) == pytest.approx(sum(excess) / (len(excess) - 1), abs=1e-12)
    same = [values[i] == values[j] for i in range(14) for j in range(14) if i != j]
    assert chance_homophily(mixed) == pytest.approx(np.mean(same))
    order = rng.permutation(14)  # nodes by other names, ties both ways and twice
    place = np.argsort(order)
    again = mixing(place[np.concatenate([both, pairs])], Codes(values=values[order], levels=codes.levels))
    assert edge_homophily(again) == edge_homophily(mixed)
    np.testing.assert_array_equal(again.ties, mixed.ties)


def test_the_permutation_p_holds_its_level():
    p = []
    for seed in range(200):
        rng, pairs, codes = made(seed, nodes=40, groups=2, chance=0.1)
        p.append(homophily_p(pairs, codes, rng, 99))
    assert np.mean(np.array(p) <= 0.05) <= 0.09


def test_edges_of_the_range():
    none = Codes(values=np.zeros(0, dtype=int), levels=())
    empty = mixing(np.empty((0, 2), dtype=int), none)
    assert all(np.isnan([edge_homophily(empty), chance_homophily(empty), class_insensitive_homophily(empty)]))
    assert all(np.isnan(assortativity(empty)))
    one = Codes(values=np.zeros(4, dtype=int), levels=("only",))
    mixed = mixing([[0, 1], [1, 2], [2, 2]], one)
    assert (mixed.total, edge_homophily(mixed)) == (2, 1.0)
    assert np.isnan(assortativity(mixed)[0])
    assert np.isnan(homophily_p(np.empty((0, 2), dtype=int), one, np.random.default_rng(0)))
    unknown = Codes(values=np.array([0, 1, 2, 0]), levels=("a", "b"))
    mixed = mixing([[0, 1], [1, 2], [0, 3]], unknown)
    assert (mixed.total, mixed.unknown, mixed.same) == (2, 1, 1)
    with pytest.raises(DataError, match="nodes 0 to 3"):
        mixing([[0, 4]], one)
    with pytest.raises(DataError, match="whole numbers"):
        mixing([[0.5, 1.0]], one)


def test_ten_thousand_groups_stay_small():
    rng = np.random.default_rng(0)
    codes = Codes(values=rng.integers(0, 10_000, 20_000), levels=tuple(map(str, range(10_000))))
    mixed = mixing(rng.integers(0, 20_000, (30_000, 2)), codes)
    assert len(mixed.ties) <= 30_000
    assert abs(assortativity(mixed)[0]) < 0.01


def test_dyadic_parity_is_two_rates():
    rng, _, codes = made(4, nodes=50)
    pairs = rng.integers(0, 50, (500, 2))
    linked = rng.integers(0, 2, 500)
    alike = codes.values[pairs[:, 0]] == codes.values[pairs[:, 1]]
    found = dyadic_parity(pairs, linked, codes)
    # the same figures from the counts of pairs by kind
    kinds = rates(count(None, linked, sensitive_features={"alike": alike}), ["selection_rate"]).value[:, 0]
    assert (found.across, found.within) == pytest.approx(tuple(kinds))
    assert found.difference == pytest.approx(kinds[1] - kinds[0])
    assert found.ratio == pytest.approx(kinds[0] / kinds[1])
    assert found.difference_interval[0] < found.difference < found.difference_interval[1]
    assert found.ratio_interval[0] < found.ratio < found.ratio_interval[1]
    with pytest.raises(DataError, match="0 or 1"):
        dyadic_parity(pairs, linked + 0.5, codes)


class Network(Plain):
    """Planted ties; links are predicted from the distance of one feature, within groups more often."""

    def __init__(self, edges, values, groups, predicts=True):
        super().__init__(lambda v: np.zeros(len(v)), offers=frozenset({"graph"}))
        self.held, self.values, self.groups, self.predicts = edges, values, groups, predicts

    def edges(self):
        return self.held

    def link(self, pairs):
        if not self.predicts:
            return None
        near = 1 - np.abs(self.values[pairs[:, 0]] - self.values[pairs[:, 1]])
        return sigmoid(2 * near + (self.groups[pairs[:, 0]] == self.groups[pairs[:, 1]]))


@pytest.mark.parametrize("predicts", [True, False])
def test_the_check(predicts):
    rng, pairs, codes = made(1, nodes=200, chance=0.05)
    values = rng.normal(size=200)
    model = Network(pairs, values, codes.values, predicts)
    evidence = list(graph(subject(model, table(values[:, None]), groups={"g": codes}), context(), shuffles=50))
    mixed = mixing(pairs, codes)
    assert find(evidence, "edge_homophily", g=ALL).value == edge_homophily(mixed)
    assert find(evidence, "assortativity", g=ALL).value == assortativity(mixed)[0]
    assert find(evidence, "p_value", g=ALL).value > 0.01
    degree = find(evidence, "mean_degree", g="β")
    assert degree.value == pytest.approx(degrees(pairs, 200)[codes.values == 1].mean())
    ties = next(e for e in evidence if isinstance(e, Table))
    assert sum(row[3] for row in ties.rows) == len(pairs)
    names = {e.name for e in evidence}
    assert ("dyadic_parity_difference" in names) == predicts
    if predicts:
        gap = find(evidence, "dyadic_parity_difference", g=ALL)
        every = np.array([(i, j) for i in range(200) for j in range(i)])
        truth = dyadic_parity(every, (model.link(every) >= 0.5).astype(int), codes)
        assert gap.interval.low < truth.difference < gap.interval.high
        assert find(evidence, "link_rate", g=ALL, pair="same").interval.low < truth.within


def test_the_check_on_a_graph_without_ties():
    _, _, codes = made(1)
    model = Network(np.empty((0, 2), dtype=int), np.zeros(14), codes.values)
    evidence = list(graph(subject(model, table(np.zeros((14, 1))), groups={"g": codes}), context(), shuffles=5))
    for name in ("edge_homophily", "assortativity", "p_value"):
        assert find(evidence, name, g=ALL).value is None
