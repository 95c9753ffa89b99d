import itertools
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import HOSTILE, PEOPLE

from audit.core import Curve
from audit.drawing import svg
from audit.drawing.svg import Row

ROWS = [
    Row(label=name, value=0.5 + k / 20, low=0.45 + k / 20, high=0.55 + k / 20, judged="pass")
    for k, name in enumerate(PEOPLE)
]


def parse(picture: str) -> ET.Element:
    root = ET.fromstring(picture)
    assert root.get("role") == "img"
    assert root.find("title").text
    assert root.find("desc").text
    return root


def test_a_forest_of_ten_groups_is_small_and_places_values_in_order():
    picture = svg.forest(ROWS, title="Selection rate by race", desc="d", unit="proportion", limits=[0.8])
    root = parse(picture)
    assert len(picture.encode()) < 3000
    places = [float(c.get("cx")) for c in root.iter("circle")]
    assert places == sorted(places)
    assert len(places) == 10
    steps = {round(b - a, 1) for a, b in itertools.pairwise(places)}
    assert max(steps) - min(steps) <= 0.11  # equal steps of the value are equal steps on paper
    assert "limit 80%" in picture


def test_broken_promises_have_another_shape_not_only_another_colour():
    rows = [
        Row(label="a", value=1.0, judged="fail"),
        Row(label="b", value=1.0, judged="pass"),
        Row(label="c", value=None),
    ]
    root = parse(svg.forest(rows, title="t", desc="d", unit="ratio"))
    assert len(list(root.iter("circle"))) == 1
    assert [p.get("class") for p in root.iter("path")].count("f") == 1
    assert "undefined" in "".join(root.itertext())


@pytest.mark.parametrize("label", HOSTILE)
def test_names_of_groups_stay_text(label):
    row = Row(label=label, value=0.1, low=0.0, high=0.2)
    for picture in (svg.forest([row], title=label, desc=label), svg.bars([row], title=label, desc=label)):
        root = parse(picture)
        assert not [e for e in root.iter() if e.tag in ("script", "img")]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(-1e9, 1e9), st.floats(0, 1e9)), min_size=1, max_size=8),
    st.sampled_from(["", "ratio", "difference"]),
)
def test_everything_drawn_lies_inside_the_picture(values, unit):
    rows = [Row(label="g", value=v, low=v - w, high=v + w) for v, w in values]
    for picture in (
        svg.forest(rows, title="t", desc="d", unit=unit, limits=[0.8]),
        svg.bars(rows, title="t", desc="d", unit=unit),
    ):
        root = parse(picture)
        assert all(svg.LABEL - 0.1 <= float(c.get("cx")) <= svg.WIDTH for c in root.iter("circle"))
        assert all(float(r.get("width")) >= 0 for r in root.iter("rect"))


def test_a_gap_in_a_curve_stays_a_gap():
    curve = Curve(
        name="c",
        x=(0, 1, 2, 3),
        y=(0.1, None, 0.3, 0.4),
        low=(0, None, 0.2, 0.3),
        high=(0.2, None, 0.4, 0.5),
        note="no cases",
    )
    root = parse(svg.line(curve, title="t", desc="d"))
    line = next(p for p in root.iter("path") if p.get("class") == "c").get("d")
    band = next(p for p in root.iter("path") if p.get("class") == "a").get("d")
    assert line.count("M") == 2
    assert band.count("Z") == 2
    assert len(list(root.iter("circle"))) == 3


def test_curves_without_points_or_spread_are_drawn():
    parse(svg.line(Curve(name="c", x=(1.0,), y=(0.0,)), title="t", desc="d"))
    parse(svg.line(Curve(name="c", x=(1.0, 1.0), y=(None, None), note="nothing"), title="t", desc="d"))
    parse(svg.bars([], title="t", desc="d"))


@settings(max_examples=100, deadline=None)
@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_ticks_are_few_and_inside(low, width):
    marks = svg.ticks(low, low + width)
    assert 1 <= len(marks) <= 6
    assert all(low - width * 1e-6 <= mark <= low + width * (1 + 1e-6) for mark in marks)
