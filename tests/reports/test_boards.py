import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import HOSTILE, PEOPLE, fairness_report, sample_report

from audit import registry
from audit.core import ALL, Curve, Interval, Measure, Outcome, Table
from audit.drawing import format as fmt
from audit.drawing import svg
from audit.reports import arrange, boards, sources
from audit.reports.html import render
from audit.reports.markdown import render as markdown

SECTIONS = sources.TEMPLATES / "sections"
OWN = [id for id, entry in registry.entries("checks").items() if entry.function.__module__.startswith("audit.")]


def shelves(report, section="fairness"):
    return next(found for id, _, found in arrange.sections(report) if id == section)


def shelf(report, check):
    return next(one for one in shelves(report) if one.outcome.check == check)


def with_evidence(*evidence, check="fairness.extra"):
    report = sample_report(gates=False)
    outcome = Outcome(check=check, title="Extra", status="done", evidence=evidence)
    return replace(report, outcomes=(outcome,), verdict=replace(report.verdict, headline=()))


# ---------------------------------------------------------------------------------------------------- prose
@pytest.mark.parametrize("check", OWN)
def test_every_check_says_what_it_is_when_it_matters_and_whom_it_affects(check):
    text = (SECTIONS / f"{check}.html.j2").read_text("utf-8")
    for question in ("What is it?", "When does it matter?", "Who is affected?"):
        assert text.count(f"<b>{question}</b>") == 1
    plain = re.sub(r"<[^>]+>", "", text)
    assert not re.search(r"\d", plain), "figures belong to the record"
    assert not re.search(r"complian|lawful|guarantee|prove that|is fair\b", plain)
    assert 50 < len(plain.split()) < 170
    assert not re.search(r"{[{%]", text)


def test_no_prose_is_left_over():
    known = {
        *registry.entries("checks"),
        *(id for id, _ in arrange.SECTIONS),
        "fairness.overview",
        "compare.models",
        "instruments",
    }
    assert {path.name.removesuffix(".html.j2") for path in SECTIONS.iterdir()} <= known


@pytest.mark.parametrize("section", list(arrange.READING))
def test_every_check_has_its_place_in_the_order_of_reading(section):
    named = [check for _, checks in arrange.READING[section] for check in checks]
    assert len(named) == len(set(named))
    assert set(named) == {id for id in OWN if id.startswith(f"{section}.")}


# ----------------------------------------------------------------------------------------------- the overview
def test_the_overview_repeats_the_tests_of_the_family():
    report = fairness_report()
    found = boards.overviews(shelves(report))
    assert [one.attribute for one in found] == ["race", "sex"]
    table = shelf(report, "fairness.significance").tables[0]
    for one in found:
        wanted = [row for row in table.rows if row[0] == one.attribute]
        assert [
            (row.metric, row.n, row.gap, row.low, row.high, row.chance, row.p, row.outcome) for row in one.rows
        ] == [row[1:9] for row in wanted]
        assert one.rows[0].ends == " to ".join(wanted[0][9:])
        assert one.rows[3].ends == ""


def test_the_overview_shows_every_outcome_in_words_and_shape():
    page = render(fairness_report())
    part = page[page.index('aria-labelledby="fairness-overview"') : page.index('id="check-fairness.selection"')]
    for word, mark in boards.OUTCOMES.items():
        assert part.count(f"{mark}</span> <bdi>{word}</bdi>") == 2
    assert part.count("&lt; 0.001") == 2
    assert part.count("0.432") == 2
    assert part.count('<rect class="h"') == 6, "three gaps of each attribute have a gap expected by chance"
    assert "undefined" in part


def test_without_tests_the_overview_has_the_gaps_as_measured():
    span = Interval(low=0.01, high=0.2, level=0.95, method="all pairs")
    gap = Measure(
        name="demographic_parity_difference",
        value=0.1,
        unit="difference",
        n=90,
        interval=span,
        where={"a": ALL, "b": ALL},
        note="lowest: x, highest: y",
    )
    other = replace(gap, name="tpr_ratio", unit="ratio")
    [found] = boards.overviews(shelves(with_evidence(gap, other)))
    assert (found.attribute, found.tested) == ("a × b", False)
    [row] = found.rows
    assert (row.gap, row.low, row.high, row.n, row.ends) == (0.1, 0.01, 0.2, 90, "lowest: x, highest: y")
    page = render(with_evidence(gap, other))
    assert "The gaps at a glance" in page
    assert "Adjusted p" not in page
    assert "The gaps at a glance" not in render(with_evidence(other))


def test_small_gaps_are_hidden_in_the_overview():
    report = fairness_report()
    report = replace(report, spec=replace(report.spec, report=replace(report.spec.report, suppress_below=50)))
    rows = {row.metric: row for row in boards.overviews(shelves(arrange.redact(report)))[0].rows}
    assert rows["fpr"].hidden.startswith(fmt.SUPPRESSED)
    assert (rows["fpr"].gap, rows["fpr"].p, rows["fpr"].chance, rows["fpr"].outcome) == (None, None, None, "")
    page = render(report)
    part = page[page.index('aria-labelledby="fairness-overview"') : page.index('id="check-fairness.selection"')]
    assert "0.432" not in part
    assert "suppressed (n &lt; 50)" in part


@pytest.mark.parametrize(
    "rows",
    [(), ((None,),), (("a",),)],
)
def test_a_table_of_tests_without_its_columns_is_no_error(rows):
    table = Table(name="significance", title="t", columns=("attribute",), rows=rows)
    report = with_evidence(table, check="fairness.significance")
    assert len(boards.overviews(shelves(report))) == len(rows)
    render(report)


# ----------------------------------------------------------------------------------------------- key figures
def test_figures_of_several_populations_stand_side_by_side():
    attributes = {f"a{k}": ("x", "y") for k in range(6)}
    report = sample_report(attributes=attributes, names=tuple(f"m{k}" for k in range(14)))
    found = boards.boards(shelf(report, "fairness.selection"))
    columns = [column for board in found for column in board.columns]
    assert columns == ["everyone", *(f"{name}: all groups" for name in attributes)]
    assert all(len(board.columns) <= boards.ABREAST for board in found)
    slots = [slot.ref for board in found for slot in board.slots.values()]
    assert sorted(slots) == sorted(slot.ref for slot in shelf(report, "fairness.selection").figures)
    assert "more figures of" in render(report)
    bare = [Measure(name="m", value=None, n=0, note="nobody", where={name: ALL}) for name in ("a", "b")]
    assert '<small>n <data value="0"' in render(with_evidence(*bare))
    assert boards.boards(next(one for one in shelves(report, "performance"))) == ()


def test_a_figure_that_stands_twice_is_listed_and_not_lost():
    one = Measure(name="m", value=1.0, n=5)
    report = with_evidence(one, replace(one, value=2.0), replace(one, where={"a": ALL}))
    assert boards.boards(shelves(report)[0]) == ()
    assert "2" in render(report)


def test_measures_over_all_groups_by_something_else_are_rows_of_a_panel():
    report = fairness_report()
    panels = shelf(report, "fairness.significance").panels
    assert {panel.title for panel in panels} == {"metric (all of race)"}
    assert {panel.groups for panel in panels} == {("tpr", "fpr")}
    assert all(panel.drawn == () for panel in panels), "neither p values nor bare points are drawn"
    assert "metric (all of race)" in markdown(report)


# ---------------------------------------------------------------------------------------------- trade-offs
def test_a_trade_off_joins_its_curves_and_the_policies_that_were_measured():
    report = fairness_report()
    [found] = boards.trade_offs(shelf(report, "fairness.thresholds"))
    assert [curve.where["policy"] for curve in found.curves] == ["single threshold", "threshold of each group"]
    assert [(choice.name, choice.gap.measure.value, choice.accuracy.measure.value) for choice in found.choices] == [
        ("threshold in use", 0.3, 0.7),
        ("single threshold", 0.3, 0.7),
        ("single threshold, demographic parity", 0.05, 0.7),
    ]
    assert [family[0].name for family in boards.singles(shelf(report, "fairness.thresholds"))] == [
        "accuracy",
        "demographic_parity_difference",
    ]


def test_a_long_curve_has_every_kth_point_in_its_table():
    page = render(fairness_report())
    assert "one in 4; the record has them all" in page


def test_the_scatter_shows_points_lines_rings_and_numbers():
    report = fairness_report()
    [found] = boards.trade_offs(shelf(report, "fairness.thresholds"))
    spots = [svg.Spot(x=0.3, y=0.7, low=0.68, high=0.71), svg.Spot(x=0.301, y=0.7), svg.Spot(x=0.05, y=0.62)]
    root = ET.fromstring(svg.scatter(found.curves, spots, title="t", desc="d"))
    assert root.find("title").text == "t"
    assert root.find("desc").text == "d"
    rings = [e for e in root.iter("circle") if e.get("class") == "s"]
    assert len(rings) == 3
    assert [e.text for e in root.iter("text") if "k" in e.get("class").split()] == ["1, 2", "3"]
    assert len([e for e in root.iter("circle") if e.get("class") != "s"]) == 15, "a gap in a curve has no point"
    lines = [e for e in root.iter("path") if (e.get("class") or "").startswith("c j")]
    assert [e.get("class") for e in lines] == ["c j", "c j d"], "the second line differs in its dashes"
    assert float(rings[2].get("cx")) < float(rings[0].get("cx"))
    assert float(rings[2].get("cy")) > float(rings[0].get("cy"))
    whole = [float(e.get("cx")) for e in root.iter("circle")]
    assert 0 <= min(whole) <= max(whole) <= svg.WIDTH


def test_a_scatter_of_nothing_is_a_picture():
    report = fairness_report()
    curve = boards.trade_offs(shelf(report, "fairness.thresholds"))[0].curves[0]
    empty = replace(curve, x=(0.0,), y=(None,))
    ET.fromstring(svg.scatter([empty], [], title=HOSTILE[0], desc=HOSTILE[4]))
    outcome = Outcome(check="fairness.thresholds", title="T", status="done", evidence=(empty,))
    assert "nothing to draw" in render(
        replace(report, outcomes=(outcome,), verdict=replace(report.verdict, headline=()))
    )


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=9),
    st.lists(st.tuples(st.floats(-0.2, 1.2), st.floats(0, 1), st.floats(0, 0.5)), max_size=9),
)
def test_everything_in_a_scatter_lies_inside_and_every_spot_has_its_number(points, chosen):
    curve = Curve(name="c", x=tuple(x for x, _ in points), y=tuple(y for _, y in points))
    spots = [svg.Spot(x=x, y=y, low=y - w, high=y + w) for x, y, w in chosen]
    root = ET.fromstring(svg.scatter([curve], spots, title="t", desc="d"))
    for ring in root.iter("circle"):
        assert 0 <= float(ring.get("cx")) <= svg.WIDTH
        assert 0 <= float(ring.get("cy")) <= float(root.get("viewBox").split()[3])
    told = [e.text for e in root.iter("text") if "k" in e.get("class").split()]
    assert sorted(int(number) for text in told for number in text.split(", ")) == list(range(1, len(spots) + 1))


@pytest.mark.parametrize("shift", [0.0, 0.3, -5.0])
def test_the_diagonal_lies_where_both_agree(shift):
    xs = tuple(k / 10 for k in range(11))
    curve = Curve(name="calibration", x=xs, y=tuple(x + shift for x in xs))
    root = ET.fromstring(svg.line(curve, title="t", desc="d", diagonal=True))
    found = [e.get("d") for e in root.iter("path") if e.get("class") == "r i"]
    if shift == -5.0:
        assert found == [], "the axes share no number"
        return
    x1, y1, x2, y2 = (float(number) for number in re.findall(r"-?[\d.]+", found[0]))
    own = [(float(e.get("cx")), float(e.get("cy"))) for e in root.iter("circle")]
    if shift == 0.0:
        slope = (y2 - y1) / (x2 - x1)
        assert all(y == pytest.approx(y1 + slope * (x - x1), abs=0.2) for x, y in own)
    else:
        assert all(y < y1 + (y2 - y1) / (x2 - x1) * (x - x1) for x, y in own), "what lies above is drawn above"


# ----------------------------------------------------------------------------------- chance and the worst case
def test_chance_is_a_hollow_square_and_the_worst_case_a_bar():
    rows = [
        svg.Row(label="a", value=0.5, low=0.4, high=0.6, chance=0.2),
        svg.Row(label="b", value=0.5, low=0.1, high=0.9, wide=True),
    ]
    root = ET.fromstring(svg.forest(rows, title="t", desc="d", unit="proportion"))
    squares = {e.get("class"): e for e in root.iter("rect")}
    assert set(squares) == {"h", "a"}
    points = [float(e.get("cx")) for e in root.iter("circle")]
    middle = float(squares["h"].get("x")) + 3.5
    assert middle < points[0]
    left, width = float(squares["a"].get("x")), float(squares["a"].get("width"))
    assert left < middle
    assert points[1] == pytest.approx(left + width / 2, abs=0.2)
    whiskers = next(e for e in root.iter("path") if e.get("class") == "w").get("d")
    assert whiskers.count("M") == 1, "a worst case is no interval"
    assert (points[0] - middle) / (left + width - points[1]) == pytest.approx(0.3 / 0.4, abs=0.01)


def test_worst_cases_of_a_record_are_drawn_as_bars():
    page = render(fairness_report())
    part = page[page.index('id="check-fairness.missing"') :]
    part = part[: part.index("</section>")]
    assert part.count('<rect class="a"') == 6
    assert "light bar of its worst case" in part


# -------------------------------------------------------------------------------------------- a long section
def test_the_contents_of_a_section_lead_to_its_checks():
    page = render(fairness_report())
    contents = re.search(r'<nav class="within" aria-label="Checks of this section: Fairness">(.*?)</nav>', page, re.S)[
        1
    ]
    targets = re.findall(r'href="#([^"]+)"', contents)
    assert targets == [
        "check-fairness.selection",
        "check-fairness.impact_ratio",
        "check-fairness.significance",
        "check-fairness.missing",
        "check-fairness.thresholds",
        "check-fairness.broken",
    ]
    for target in targets:
        assert page.count(f'id="{target}"') == 1
    assert re.findall(r"<dt>(.*?)</dt>", contents)[-1] == "Others"
    assert page.count('<nav class="within"') == 1


def test_checks_that_do_not_suit_stand_together_at_the_end():
    page = render(fairness_report())
    assert 'id="fairness-idle"' in page
    assert page.index("there is no graph") > page.index('id="fairness-idle"')
    assert 'id="check-fairness.graph"' not in page


@pytest.mark.parametrize("check", [*HOSTILE, "fairness.x", "a b", "a-b"])
def test_addresses_of_checks_are_plain_and_differ(check):
    place = arrange.anchor(check)
    assert re.fullmatch(r"check-[A-Za-z0-9_.-]{1,60}", place)
    assert arrange.anchor("a b") != arrange.anchor("a-b")


def test_a_tall_table_is_folded_and_a_short_one_is_not():
    def table(rows):
        return Table(name="t", title=f"of {rows}", columns=("g", "n"), rows=tuple((f"g{k}", k) for k in range(rows)))

    page = render(with_evidence(table(boards.TALL), table(boards.TALL + 1)))
    folded = re.findall(r"<details><summary><bdi>(.*?)</bdi>: (\d+) rows", page)
    assert folded == [(f"of {boards.TALL + 1}", str(boards.TALL + 1))]


def test_more_curves_than_are_read_at_once_are_folded():
    report = sample_report(gates=False)
    curve = next(c for c in report.outcomes[0].evidence if c.kind == "curve")
    curves = tuple(replace(curve, where={"race": name}) for name in PEOPLE)
    assert "4 more curves" in render(with_evidence(*curves))


@pytest.mark.parametrize(
    ("number", "text"), [(0.0, "< 0.001"), (0.0009999, "< 0.001"), (0.05, "0.050"), (1.0, "1.000")]
)
def test_p_values_as_readers_know_them(number, text):
    assert fmt.p_value(number) == text


@pytest.mark.parametrize(
    ("name", "is_p"), [("p_value", True), ("fisher_p", True), ("ndkl_p_value", True), ("ppv", False), ("parity", False)]
)
def test_p_values_are_known_by_their_name(name, is_p):
    assert fmt.is_p_value(name) is is_p


def test_a_wide_table_is_told_in_parts_that_repeat_what_names_the_rows():
    columns = ("attribute", "group", *(f"c{k}" for k in range(15)))
    table = Table(name="t", title="wide", columns=columns, rows=(("a", None, *range(15)), ("a", "x", *range(15))))
    found = boards.sheets(table)
    assert all(len(sheet) <= boards.COLUMNS for sheet in found)
    assert {sheet[:2] for sheet in found} == {(0, 1)}
    assert [k for sheet in found for k in sheet[2:]] == list(range(2, 17)), "every column once, in its order"
    page = render(with_evidence(table))
    assert page.count("part 1 of 3") == 1
    assert boards.sheets(replace(table, columns=columns[:9], rows=())) == (tuple(range(9)),)


@pytest.mark.parametrize("row", [tuple(range(12)), ("a",) * 12, (None,) * 12])
@pytest.mark.parametrize("rows", [0, 1, 3])
def test_every_column_of_a_wide_table_has_its_sheet(row, rows):
    table = Table(name="t", title="wide", columns=tuple(f"c{k}" for k in range(12)), rows=(row,) * rows)
    found = boards.sheets(table)
    assert {k for sheet in found for k in sheet} == set(range(12))
    assert all(1 <= len(sheet) <= boards.COLUMNS for sheet in found)
