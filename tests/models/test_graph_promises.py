"""What graph networks promise: a rule of the world's own keeps it, others do not, and gaps grow with homophily."""

from types import SimpleNamespace

import numpy as np
import pytest

from audit.data.worlds.lending_network import lending_network
from audit.models.graph_promises import linear_rule, near_simple_convolutions, scored, simple_convolutions
from benchmarks.homophily import gaps


def test_the_best_linear_rule_is_that_of_least_squares():
    x, y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([0.0, 0.0, 1.0, 1.0])
    np.testing.assert_allclose(linear_rule(x, y), [0.8, -1.2])
    np.testing.assert_allclose(scored(linear_rule(x, y), x), [-1.2, -0.4, 0.4, 1.2])


@pytest.fixture(scope="module")
def judged():
    """Scores of a graph's rows: the known rule of another network, a person's own income and savings, and one answer for all."""
    other = lending_network().draw(4000, np.random.default_rng(8))
    rule = linear_rule(simple_convolutions(other.inputs), other.y)
    return {
        "rule": lambda x: scored(rule, simple_convolutions(x)),
        "alone": lambda x: x.values[:, :2].sum(axis=1),
        "mirrored": lambda x: -scored(rule, simple_convolutions(x)),
        "none": lambda x: np.ones(len(x)),
    }


@pytest.mark.parametrize(
    ("which", "kept"),
    [("rule", [True, True]), ("alone", [True, False]), ("mirrored", [False, False]), ("none", [False, False])],
)
def test_promises_are_kept_by_a_rule_of_the_world_and_broken_by_what_reads_no_ties(monkeypatch, judged, which, kept):
    monkeypatch.setattr("audit.models.graph_promises.NODES", 6000)
    model = SimpleNamespace(predict=lambda x: 1 / (1 + np.exp(-judged[which](x))))
    found = list(near_simple_convolutions(model, None, lending_network()))
    assert [each.kept for each in found] == kept, found


def test_gaps_grow_with_homophily():
    """Of labels that differ alike, what ties bring in: five seeds of whole networks stand in benchmarks/homophily.py."""
    found = [
        gaps(lending_network(homophily=h), "gcn", 3, rows=800, unseen=4000, epochs=60).mean() for h in (0.5, 0.7, 0.9)
    ]
    assert found[0] + 0.05 < found[1]
    assert found[1] + 0.02 < found[2]
