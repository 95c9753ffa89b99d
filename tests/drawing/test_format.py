import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.core import Interval, Measure
from audit.drawing import format as fmt

PREFIX = {"n": 1e-9, "µ": 1e-6, "m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18}
FACTOR = {"proportion": 0.01, "difference": 0.01, "ratio": 1.0, "": 1.0}


def read(text: str) -> tuple[float, float]:
    """A shown number and the half of its last place."""
    number = re.match(r"[+−]?[\d,]*\.?\d*(e[+−]?\d+)?", text).group().replace(",", "").replace("−", "-")
    mantissa, _, power = number.partition("e")
    places = len(mantissa.partition(".")[2])
    return float(number), 0.5 * 10.0 ** (int(power or 0) - places)


@pytest.mark.parametrize(
    ("number", "unit", "text"),
    [
        (0.448, "proportion", "44.8 %"),
        (1.0, "proportion", "100.0 %"),
        (0.0, "proportion", "0.0 %"),
        (0.99996, "proportion", "99.996 %"),
        (0.00003, "proportion", "0.003 %"),
        (-1e-16, "difference", "0.0 pp"),
        (0.021, "difference", "+2.1 pp"),
        (-0.03, "difference", "−3.0 pp"),
        (0.0, "difference", "0.0 pp"),
        (0.78, "ratio", "0.78"),
        (0.702166, "", "0.702"),
        (7214.0, "", "7,214"),
        (12345678.0, "", "12,300,000"),
        (1.25e-7, "", "1.25e−07"),
        (0.0012, "kWh", "1.2 Wh"),
        (12.3, "kWh", "12 kWh"),
        (0.00048, "kgCO2e", "480 mgCO2e"),
        (12_544.0, "FLOP", "13 kFLOP"),
        (999.6, "FLOP", "1.0 kFLOP"),
        (0.0341, "s", "34 ms"),
        (1.2e6, "bytes", "1.2 MB"),
        (3.0, "gCO2e/kWh", "3.0 gCO2e/kWh"),
        (None, "proportion", "undefined"),
    ],
)
def test_numbers_read_as_people_write_them(number, unit, text):
    assert fmt.value(number, unit).replace(fmt.NBSP, " ") == text


@settings(max_examples=200, deadline=None)
@given(st.floats(-1, 1), st.sampled_from(["proportion", "difference", "ratio"]))
def test_shown_shares_differ_from_the_number_by_less_than_half_a_place(number, unit):
    shown, half = read(fmt.value(number, unit))
    assert abs(shown - number / FACTOR[unit]) <= half * (1 + 1e-9) + 1e-9


@settings(max_examples=200, deadline=None)
@given(st.floats(1e-6, 1e12), st.sampled_from(["FLOP", "kWh", "bytes", "gCO2e"]))
def test_physical_numbers_keep_two_digits_and_read_back(number, unit):
    text = fmt.value(number, unit)
    prefix = text.partition(fmt.NBSP)[2].removesuffix({"bytes": "B", "kWh": "Wh"}.get(unit, unit))
    shown, _ = read(text)
    assert shown * PREFIX[prefix] == pytest.approx(
        number * (1000 if unit == "kWh" else 1), rel=0.051, abs=0.051 * PREFIX[prefix]
    )


def test_a_value_is_never_shown_as_the_limit_that_it_misses():

    for number in (0.7996, 0.79999, 0.80004):
        text = fmt.value(number, "ratio", 0.8)
        assert float(text) != 0.8, text
    assert fmt.value(0.8, "ratio", 0.8) == "0.80"


def test_an_interval_is_in_the_unit_and_prefix_of_its_value():
    span = Interval(low=0.0004, high=0.0031, level=0.95, method="plausible range")
    energy = Measure(name="energy", value=0.0012, unit="kWh", interval=span, n=7214)
    assert fmt.full(energy).replace(fmt.NBSP, " ") == "1.2 Wh [0.40, 3.1], n 7,214"
    share = Measure(
        name="tpr", value=0.5, unit="proportion", interval=Interval(low=0.431, high=0.465, level=0.95, method="x")
    )
    assert fmt.interval(share) == "[43.1, 46.5]"
    assert fmt.interval(Measure(name="tpr", value=None, note="0/0")) == ""


def test_names_are_words():
    assert fmt.label("selection_rate") == "Selection rate"
    assert fmt.label("tpr_difference") == "TPR difference"
    assert fmt.label("auc") == "AUC"
    assert fmt.who({}) == "everyone"
    assert fmt.who({"race": "*"}) == "race: all groups"
    assert fmt.who({"race": "Black", "sex": "Female"}) == "race: Black, sex: Female"


def test_durations():
    assert [fmt.duration(s).replace(fmt.NBSP, " ") for s in (0.24, 12.345, 192, 7500)] == [
        "240 ms",
        "12 s",
        "3 min 12 s",
        "2 h 5 min",
    ]


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_cleaned_text_is_one_line_that_xml_can_carry(text):
    line = fmt.one_line(text)
    assert not re.search("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]", line)
    assert len(fmt.short(line, 10)) <= 10
    assert len(fmt.fit(text, 10)) <= 11
