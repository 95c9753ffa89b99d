"""A test case per promise, in the JUnit dialect that CI servers read."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from audit.core import Report
from audit.drawing import format as fmt
from audit.registry import renderer
from audit.reports import words
from audit.reports.arrange import Finding, expected, promises, redact


@renderer("junit", title="JUnit XML for CI servers")
def render(report: Report) -> str:
    """One suite, one case per gate; broken promises and errors are failures, the undecided are skipped with a type.

    A promise that is not required never fails the suite: it is skipped with the type "not required".
    An error is a failure of type "error": the schema that CI servers agree on has no element of its own for it.
    """
    shown = redact(report)
    cases = [_case(finding, shown) for finding in promises(shown)]
    tags = [child.tag for case in cases for child in case if child.tag in ("failure", "skipped")]
    facts = {"tests": len(cases), "failures": tags.count("failure"), "errors": 0, "skipped": tags.count("skipped")}
    attributes = {"name": "audit", **{name: str(number) for name, number in facts.items()}}
    attributes |= {"time": f"{min(shown.run.seconds, 999.0):.3f}", "timestamp": fmt.one_line(shown.run.started)}
    suite = ET.Element("testsuite", attributes)
    properties = ET.SubElement(suite, "properties")
    for name, content in _properties(shown).items():
        ET.SubElement(properties, "property", {"name": name, "value": fmt.one_line(content)})
    suite.extend(cases)
    ET.indent(suite)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(suite, encoding="unicode") + "\n"


def _properties(report: Report) -> dict[str, str]:
    system = report.spec.system
    return {
        "system": f"{system.name} {system.version}".strip(),
        "data": report.subject.origin.name,
        "data.sha256": report.subject.origin.sha256,
        "audit": report.environment.audit,
        "seed": str(report.environment.seed),
        "verdict": words.plain(words.verdict(report)),
    }


def _case(finding: Finding, report: Report) -> ET.Element:
    ruling = finding.ruling
    kind = "" if ruling.gate.required else " (not required)"
    origin = "" if ruling.origin == "spec" else f" ({ruling.origin})"
    whom = f" {fmt.who(finding.slots[0].measure.where)}" if ruling.origin == "baseline" and finding.slots else ""
    name = fmt.one_line(f"{words.plain(expected(finding))}{whom}{origin}{kind}")
    seconds = min(report.run.check_seconds.get(ruling.gate.check, 0.0), 999.0)
    case = ET.Element(
        "testcase", {"classname": fmt.one_line(ruling.gate.check), "name": name, "time": f"{seconds:.3f}"}
    )
    tag, type = _tag(finding)
    if tag:
        message = fmt.one_line(f"{words.plain(words.found(finding))} ({ruling.reason})")
        ET.SubElement(case, tag, {"type": type, "message": fmt.short(message, 400)}).text = _lines(finding)
    elif finding.slots:
        ET.SubElement(case, "system-out").text = _lines(finding)
    return case


def _tag(finding: Finding) -> tuple[str, str]:
    ruling = finding.ruling
    if ruling.outcome == "pass":
        return "", ""
    if not ruling.gate.required:
        return "skipped", f"not required: {fmt.MARKS[ruling.outcome][1]}"
    return ("failure", ruling.outcome) if ruling.outcome in ("fail", "error") else ("skipped", ruling.outcome)


def _lines(finding: Finding) -> str:
    """Every slice on a line of its own, the worst first."""
    lines = [
        fmt.one_line(f"{slot.judged}: {fmt.who(slot.measure.where)}: {words.plain(slot.words)}")
        for slot in finding.slots
    ]
    return "\n".join([*lines, fmt.one_line(finding.ruling.gate.why)]).strip()
