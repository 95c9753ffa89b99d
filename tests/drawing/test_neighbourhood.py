"""The picture of a node among its neighbours, and the table that it is drawn from."""

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import numpy as np
import pytest

from audit.core import RunSpec, Spec, Table
from audit.data.graphs import graph
from audit.data.worlds.lending_network import lending_network
from audit.drawing.notebook import drawing
from audit.drawing.pictures import draw, pushes_down
from audit.explain.games import game
from audit.explain.graph_views import MOST, around
from audit.explain.shapley import shapley
from audit.models.adapters.oracle import module
from audit.models.adapters.torch import wrap


@pytest.fixture(scope="module")
def found():
    world = lending_network(degree=3.0)
    data = world.draw(80, np.random.default_rng(1))
    spec = Spec(run=RunSpec(device="cpu"))
    model = wrap(module(world.oracle()), data, replace(spec, model=replace(spec.model, output="logit")))
    rows = data.inputs.take(np.array([0, 2]))
    parts = {
        players: shapley(game(model, rows, players=players, link="logit"), budget=256) for players in ("node", "edge")
    }
    groups = tuple(f"district = {data.groups['district'].levels[code]}" for code in data.groups["district"].values)
    return rows, parts, groups


def parsed(markup):
    return ElementTree.fromstring(str(markup))


def test_the_table_holds_every_neighbour_and_tie_with_its_figures(found):
    rows, parts, groups = found
    table = around(parts["node"], rows, 1, title="Row 2", ties=parts["edge"], groups=groups)
    nodes = {row[0]: row for row in table.rows if row[1] is None}
    ties = {(row[0], row[1]): row for row in table.rows if row[1] is not None}
    assert table.rows[0] == ("node 2", None, 0, groups[2], None, None)
    names = parts["node"].players[1]
    assert set(nodes) == {"node 2", *names}
    for name, value in zip(names, parts["node"].values[1], strict=False):
        assert nodes[name][4] == value
        assert nodes[name][3] == groups[int(name.removeprefix("node "))]
    assert len(ties) == len(parts["edge"].players[1])
    for name, value in zip(parts["edge"].players[1], parts["edge"].values[1], strict=False):
        assert ties[tuple(f"node {end}" for end in name.split("–"))][4] == value
    first = {f"node {node}" for node in rows.edges[rows.edges[:, 1] == 2, 0]}
    assert {name for name, row in nodes.items() if row[2] == 1} == first


def test_it_is_drawn_with_a_mark_a_node_and_words_for_who_cannot_see_it(found):
    rows, parts, groups = found
    table = around(parts["node"], rows, 1, title="Row <2>", ties=parts["edge"], groups=groups)
    markup = draw(table)
    root = parsed(markup)
    space = "{http://www.w3.org/2000/svg}" if root.tag.startswith("{") else ""
    nodes = [row for row in table.rows if row[1] is None]
    discs = len(root.findall(f".//{space}circle"))
    squares = len(re.findall(r'<path class="(?:up|down|h)" d="M[^"]*v', str(markup)))
    assert discs + squares == len(nodes) + 2  # and one of each in the legend
    assert root.find(f"{space}title").text == "Row <2>"
    most = max(nodes[1:], key=lambda row: abs(row[4]))[0]
    assert f"most moved by {most} " in root.find(f"{space}desc").text
    assert "district = east" in str(markup)
    assert len(str(markup)) < 12_000
    assert "neighbourhood" in drawing(table)._repr_html_()


def test_broader_ties_and_larger_marks_move_more():
    rows = [
        ("node 0", None, 0, "", None, None),
        ("node 1", None, 1, "", 0.4, None),
        ("node 2", None, 1, "", -0.1, None),
    ]
    rows += [("node 0", "node 1", None, None, 0.2, None), ("node 0", "node 2", None, None, None, None)]
    table = Table(name="case", title="t", columns=("node", "tied to", "hops", "group", "value", "SE"), rows=tuple(rows),
                  view="neighbourhood")  # fmt: skip
    markup = str(draw(table))
    marks = {kind: float(r) for kind, r in re.findall(r'<circle class="(\w+)" [^>]*r="([\d.]+)"', markup)}
    assert marks["up"] == pytest.approx(8.5)
    assert marks["down"] < marks["up"]
    assert len(re.findall('class="up tie"', markup)) == 1
    assert str(draw(replace(table, rows=table.rows[:1]))) == ""  # nobody around


@pytest.mark.parametrize("hops", [1, -1, 1e9, "far", True])
def test_a_table_from_elsewhere_without_a_node_in_the_middle_is_not_drawn(hops):
    rows = (("node 0", None, hops, "", 0.2, None), ("node 1", None, 1, "", 0.4, None))
    columns = ("node", "tied to", "hops", "group", "value", "SE")
    odd = Table(name="case", title="t", columns=columns, rows=rows, view="neighbourhood")
    assert str(draw(odd)) == ""
    assert str(draw(replace(odd, columns=columns[:2], rows=tuple(row[:2] for row in rows)))) == ""
    assert not pushes_down(replace(odd, columns=columns[:5], rows=tuple(row[:5] for row in rows)))


def test_large_neighbourhoods_are_cut_to_those_that_move_most(found):
    ties = np.array([(0, k) for k in range(1, 90)])
    inputs = graph(np.arange(180.0).reshape(90, 2), ties, targets=np.array([0]))
    values = np.random.default_rng(0).normal(size=(1, 89))
    names = (tuple(f"node {k}" for k in range(1, 90)),)
    many = replace(
        found[1]["node"], values=values, players=names, se_sampling=None, se_background=None,
        base=np.zeros(1), outputs=values.sum(axis=1),
    )  # fmt: skip
    table = around(many, inputs, 0, title="one of many", hops=1)
    kept = [row for row in table.rows if row[1] is None]
    assert len(kept) == MOST
    assert min(abs(row[4]) for row in kept[1:]) >= np.sort(np.abs(values[0]))[-(MOST - 1)]
    assert "30 more nodes move less" in table.note
    assert len(str(draw(table))) < 20_000
