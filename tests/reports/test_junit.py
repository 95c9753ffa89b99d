import re
import xml.etree.ElementTree as ET

from samples import hostile_report, sample_report

from audit.reports.junit import render

# What the schema that CI servers share (junit-10.xsd) allows here: children and attributes of each element.
CHILDREN = {
    "testsuite": {"properties", "testcase", "system-out", "system-err"},
    "properties": {"property"},
    "testcase": {"skipped", "failure", "system-out", "system-err"},
}
REQUIRED = {"testsuite": {"name", "tests", "failures", "errors"}, "testcase": {"name"}, "property": {"name", "value"}}
ALLOWED = {
    "testsuite": {"name", "tests", "failures", "errors", "skipped", "time", "timestamp"},
    "testcase": {"name", "time", "classname"},
    "property": {"name", "value"},
    "failure": {"type", "message"},
    "skipped": {"type", "message"},
}
TIME = re.compile(r"(([0-9]{0,3},)*[0-9]{3}|[0-9]{0,3})*(\.[0-9]{0,3})?")


def parse(report):
    root = ET.fromstring(render(report))
    assert root.tag == "testsuite"
    for element in root.iter():
        assert {child.tag for child in element} <= CHILDREN.get(element.tag, set())
        assert REQUIRED.get(element.tag, set()) <= set(element.attrib) <= ALLOWED.get(element.tag, set())
        assert TIME.fullmatch(element.get("time", ""))
    return root


def test_a_case_per_gate():
    report = sample_report()
    root = parse(report)
    cases = root.findall("testcase")
    assert len(cases) == len(report.all_rulings) == int(root.get("tests"))
    assert [[child.tag for child in case] for case in cases] == [
        ["failure"],
        ["system-out"],
        ["skipped"],
        ["skipped"],
        ["skipped"],
    ]
    assert [case[0].get("type") for case in cases] == [
        "fail",
        None,
        "inconclusive",
        "not_tested",
        "not required: undefined",
    ]
    assert (root.get("failures"), root.get("skipped"), root.get("errors")) == ("1", "3", "0")
    assert cases[0].get("name") == "Impact ratio in every group of race: at least 0.80"
    assert cases[0].get("classname") == "fairness.impact_ratio"
    assert "race: African-American: 0.64" in cases[0][0].get("message")
    assert cases[0][0].text.count("\n") == len(report.rulings[0].slices)


def test_hostile_words_stay_valid_xml():
    root = parse(hostile_report())
    assert "<script>" in root.find("testcase").get("name")


def test_no_gates_is_an_empty_suite():
    assert parse(sample_report(gates=False)).get("tests") == "0"
