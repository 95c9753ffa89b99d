"""Bounds must hold whatever values within them come true; units cancel; unknown stays unknown."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.carbon.quantity import Quantity

numbers = st.floats(0, 1e9)


@st.composite
def quantities(draw, unit="kWh"):
    low, value, high = sorted(draw(st.tuples(numbers, numbers, numbers)))
    return Quantity(low=low, value=value, high=high, unit=unit, grade=draw(st.sampled_from("ABCDE")), method="m")


def within(quantity, share):
    return quantity.low + share * (quantity.high - quantity.low)


def holds(quantity, value):
    room = 1e-9 * max(1.0, quantity.high)
    return quantity.low - room <= value <= quantity.high + room


@settings(max_examples=60, deadline=None)
@given(quantities(), quantities(), quantities("gCO2e/kWh"), st.floats(0, 1), st.floats(0, 1), st.floats(0, 100))
def test_sums_and_products_hold_every_value_within_the_bounds(a, b, grid, s, t, factor):
    for made, value in (
        (a + b, within(a, s) + within(b, t)),
        (a * grid, within(a, s) * within(grid, t)),
        (factor * a, factor * within(a, s)),
    ):
        assert made.low <= made.value <= made.high
        assert holds(made, value)
    assert (a + b).grade == max(a.grade, b.grade)
    assert (a * grid).grade == max(a.grade, grid.grade)
    assert (a * grid).unit == "gCO2e"
    assert (factor * a).grade == a.grade


def test_units_cancel_and_add_up():
    def q(unit):
        return Quantity(value=2.0, unit=unit, grade="C", method="")

    assert (q("s") * q("J/s")).unit == "J"
    assert (q("s") * q("s")).unit == "s·s"
    assert (q("a·b/c") * q("c·d/a")).unit == "b·d"
    assert (q("1/s") * q("")).unit == "1/s"
    with pytest.raises(ValueError, match="cannot be added"):
        q("s") + q("J")


def test_unknown_is_not_zero():
    unknown = Quantity(value=None, unit="kWh", grade="D", method="no sensor")
    known = Quantity(value=1.0, unit="kWh", grade="A", method="metered")
    assert (unknown + known).value is None
    assert (unknown * 0.0).value is None
    measure = unknown.measure("energy", level=0.95)
    assert measure.value is None
    assert measure.note == "no sensor"


def test_measure_carries_grade_range_and_method():
    measure = Quantity(low=1, value=2, high=4, unit="kWh", grade="C", method="how").measure(
        "energy", level=0.9, note="why"
    )
    assert (measure.interval.low, measure.interval.high, measure.interval.level) == (1, 4, 0.9)
    assert measure.interval.method == "plausible range"
    assert (measure.grade, measure.note) == ("C", "how; why")
    assert Quantity(value=2.0, unit="s", grade="A", method="m").measure("t", level=0.9).interval is None


@pytest.mark.parametrize(
    "parts",
    [
        {"low": 2, "value": 1, "high": 3},
        {"low": 0, "value": 4, "high": 3},
        {"low": -1, "value": 1, "high": 3},
        {"value": float("nan")},
        {"value": float("inf")},
        {"value": None, "low": 1},
    ],
)
def test_impossible_quantities_cannot_be_built(parts):
    with pytest.raises(ValueError, match="Quantity"):
        Quantity(unit="s", grade="A", method="m", **parts)
