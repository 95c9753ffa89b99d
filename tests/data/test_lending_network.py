"""The lending network: its truth against draws, its ties against networkx, its oracle against all coalitions."""

import networkx
import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from audit.core import DataError, DataSpec
from audit.data.worlds.base import planted
from audit.data.worlds.blocks import _pairs, ties
from audit.data.worlds.lending_network import lending_network
from audit.fairness.graphs import assortativity, class_insensitive_homophily, edge_homophily, mixing

GRAPHS, ROWS = 12, 4000
SETTINGS = [
    {},
    {"homophily": 0.9, "gap": 0.5, "degree": 3.0, "proxy": 0.0},
    {"homophily": 0.35, "gap": -0.4, "degree": 8.0, "shift": 0.4, "proxy": 1.2},
]


def figures(world, data):
    """Everything that truth tells, of one draw."""
    inputs, codes = data.inputs, data.groups["district"]
    logit, other = world.oracle().logit(inputs), world.oracle().logit(data.twin)
    y, decided, mixed = data.y == 1, logit >= 0, mixing(inputs.edges, codes)
    found = {
        "counterfactual_logit": (other - logit)[codes.values == 0].mean(),
        "edge_homophily": edge_homophily(mixed),
        "assortativity": assortativity(mixed)[0],
        "class_insensitive_homophily": class_insensitive_homophily(mixed),
        "mean_degree": len(inputs.edges) / len(data),
    }
    step = (data.twin.values - inputs.values)[codes.values == 0] * world.oracle().own
    found["path.label"] = step[:, :2].sum(axis=1).mean()
    found["path.proxy"] = step[:, 2:4].sum(axis=1).mean() if world.proxy else 0.0
    for suffix, inside in (("", codes.values >= 0), (".east", codes.values == 0), (".west", codes.values == 1)):
        found["base_rate" + suffix] = y[inside].mean()
        found["selection_rate" + suffix] = decided[inside].mean()
        found["accuracy" + suffix] = (decided == y)[inside].mean()
        found["tpr" + suffix] = decided[inside & y].mean()
        found["fpr" + suffix] = decided[inside & ~y].mean()
    return found


@pytest.mark.parametrize("knobs", SETTINGS)
def test_truth_agrees_with_draws(knobs):
    """Nodes of one graph are not independent, so the error is told by the spread between graphs."""
    world, each = lending_network(**knobs), []
    for seed in range(GRAPHS):
        each.append(figures(world, world.draw(ROWS, np.random.default_rng(seed))))
    truth = dict(world.truth())
    for name, rate in (("demographic_parity", "selection_rate"), ("equal_opportunity", "tpr")):
        assert truth.pop(f"{name}_difference") == truth[f"{rate}.west"] - truth[f"{rate}.east"]
    assert set(truth) == set(each[0])
    for name, value in truth.items():
        drawn = np.array([one[name] for one in each])
        error = drawn.std(ddof=1) / np.sqrt(GRAPHS)
        assert abs(drawn.mean() - value) <= 4 * error + 1e-12, name


def test_the_oracle_is_the_linear_discriminant_of_means_over_acquaintances():
    world = lending_network(homophily=0.85)
    data = world.draw(60_000, np.random.default_rng(3))
    form, inputs = world.oracle(), data.inputs
    around = np.stack([form.around(inputs, column) for column in inputs.features.T], axis=1)
    found = LinearDiscriminantAnalysis(solver="lsqr").fit(np.hstack([inputs.features, around]), data.y).coef_[0]
    np.testing.assert_allclose(found, np.concatenate([form.own, form.neighbours]), atol=0.06)


def test_pairs_are_numbered_one_after_the_other_and_far_out():
    np.testing.assert_array_equal(_pairs(np.arange(6)), [[1, 0], [2, 0], [2, 1], [3, 0], [3, 1], [3, 2]])
    last = np.array([10**5 * (10**5 - 1) // 2 - 1, 10**9 * (10**9 - 1) // 2 - 1, 10**9 * (10**9 - 1) // 2])
    np.testing.assert_array_equal(_pairs(last), [[99_999, 99_998], [999_999_999, 999_999_998], [1_000_000_000, 0]])


def test_ties_are_drawn_once_without_loops_with_the_chances_of_their_blocks():
    group = np.repeat([0, 1, 0], [40, 50, 20])
    counts = np.zeros((110, 110))
    for seed in range(300):
        found = ties(group, 0.3, 0.05, np.random.default_rng(seed))
        assert len(np.unique(np.sort(found, axis=1), axis=0)) == len(found)
        assert (found[:, 0] != found[:, 1]).all()
        counts[found[:, 0], found[:, 1]] += 1
    share = (counts + counts.T) / 300
    alike = group[:, None] == group[None, :]
    off = ~np.eye(110, dtype=bool)
    assert share[alike & off].mean() == pytest.approx(0.3, abs=0.003)
    assert share[~alike].mean() == pytest.approx(0.05, abs=0.002)
    assert share[alike & off].min() > 0.15  # no pair is left out
    assert share[~alike].max() < 0.15
    peer = networkx.stochastic_block_model([60, 50], [[0.3, 0.05], [0.05, 0.3]], seed=1).number_of_edges()
    assert peer == pytest.approx(counts.sum() / 300, rel=0.1)


def test_large_networks_cost_what_their_ties_cost():
    data = lending_network().draw(100_000, np.random.default_rng(0))
    assert len(data.inputs.edges) / 100_000 == pytest.approx(8, abs=0.1)


def test_a_twin_is_heard_by_nobody_and_hears_the_same_people():
    world = lending_network()
    drawn = world.sample(400, np.random.default_rng(2))
    data, twin = drawn.dataset, drawn.twin
    assert len(twin) == 400
    np.testing.assert_array_equal(twin.features[:400], data.inputs.features)
    assert (twin.edges[:, 0] < 400).all()
    for row in (0, 17, 399):
        near = data.inputs.edges[data.inputs.edges[:, 1] == row, 0]
        np.testing.assert_array_equal(np.sort(twin.edges[twin.edges[:, 1] == twin.targets[row], 0]), np.sort(near))
    s = 2 * drawn.latent["a"] - 1
    np.testing.assert_allclose(twin.values[:, 2] - data.inputs.values[:, 2], -1.6 * s)
    np.testing.assert_allclose(twin.values[:, 4:], data.inputs.values[:, 4:])
    moved = (twin.values[:, 0] - data.inputs.values[:, 0]) * s
    assert set(moved.round(9)) == {0.0, -1.6}  # who would have repaid elsewhere, and who would have either way
    alone = twin.take(np.array([3, 5]))
    np.testing.assert_array_equal(world.oracle().logit(alone), world.oracle().logit(twin)[[3, 5]])


def test_proxies_are_left_out_and_knobs_are_checked():
    assert lending_network(proxy=0.0).draw(10, np.random.default_rng(0)).names == (
        "income", "savings", "n1", "n2", "n3", "n4",
    )  # fmt: skip
    assert len(lending_network().draw(1, np.random.default_rng(0)).inputs.edges) == 0
    for knob, value, words in (
        ("homophily", 1.2, "lie in"),
        ("gap", 1.0, "lie in"),
        ("degree", 0.0, "lie in"),
        ("shift", 0.0, "more than 0"),
        ("proxy", -0.1, "0 or more"),
    ):
        with pytest.raises(DataError, match=f"{knob} must.*{words}"):
            planted(DataSpec(world="lending_network", knobs={knob: value}))
    with pytest.raises(DataError, match="1 or more, got 0"):
        lending_network().draw(0, np.random.default_rng(0))
    with pytest.raises(DataError, match="did you mean 'homophily'"):
        planted(DataSpec(world="lending_network", knobs={"homophilly": 0.5}))
