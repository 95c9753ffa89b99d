import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from samples import HOSTILE, PEOPLE, fairness_report, hostile_report, sample_report

from audit import codec
from audit.core import Interval, Measure, Outcome
from audit.reports.html import render

VOID = {"meta", "link", "img", "br", "hr", "input"}
TEMPLATES = Path(__file__).parents[2] / "templates"


class Page(HTMLParser):
    """A page as a flat list of elements: (tag, attributes, text, names of the elements around it)."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.wrong = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        element = {"tag": tag, "attrs": dict(attrs), "text": "", "around": [e["tag"] for e in self.open], "inside": []}
        for outer in self.open:
            outer["inside"].append(tag)
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag):
        if not self.open or self.open[-1]["tag"] != tag:
            self.wrong.append(tag)
        else:
            self.open.pop()

    def handle_data(self, data):
        for element in self.open:
            element["text"] += data

    def all(self, tag):
        return [element for element in self.elements if element["tag"] == tag]


def page_of(report):
    page = Page(render(report))
    assert not page.wrong
    assert not page.open
    return page


REPORTS = {
    "plain": sample_report(),
    "hostile": hostile_report(),
    "ungated": sample_report(gates=False, complete=False),
    "suppressed": sample_report(suppress_below=60),
    "fairness": fairness_report(),
}


@pytest.fixture(scope="module", params=REPORTS)
def case(request):
    report = REPORTS[request.param]
    return report, page_of(report)


def _at(document, ref):
    """The number that a reference of the page means, looked up in the JSON of the record."""
    if not ref.startswith("/"):
        address, _, field = ref.partition("/")
        check, _, index = address.rpartition("#")
        outcomes = document["outcomes"] + document["run"]["outcomes"]
        document = next(o for o in outcomes if o["check"] == check)["evidence"][int(index)]
        ref = "/" + field
    for step in ref[1:].split("/"):
        document = document[int(step) if isinstance(document, list) else step]
    if isinstance(document, dict):
        return sum(document.values())
    return len(document) if isinstance(document, list) else document


def test_every_number_in_prose_is_the_number_of_the_record(case):
    report, page = case
    document = json.loads(codec.dumps(report))
    data = page.all("data")
    assert len(data) > 20
    for element in data:
        exact = _at(document, element["attrs"]["data-ref"])
        assert element["attrs"]["value"] == repr(exact), element


FACTOR = {"proportion": 100, "difference": 100, "ratio": 1, "": 1}


def test_what_is_shown_is_the_number_rounded(case):
    report, page = case
    checked = 0
    for element in page.all("data"):
        ref, exact = element["attrs"]["data-ref"], float(element["attrs"]["value"])
        number = re.match(r"[+−]?[\d,]*\.?\d*", element["text"]).group().replace(",", "").replace("−", "-")
        if ref.startswith("/"):
            gate = re.match(r"/rulings/(\d+)/(gate|slices)", ref)
            if gate or element["text"] == "one" or ref == "/run/seconds":
                continue
            assert float(number) == exact
        else:
            unit = report.find(ref.partition("/")[0]).unit if not ref.endswith("/n") else ""
            if unit not in FACTOR:
                continue
            half = 0.5 * 10.0 ** -len(number.partition(".")[2])
            assert abs(float(number) - exact * FACTOR[unit]) <= half * (1 + 1e-9), element
        checked += 1
    assert checked > 15


def test_the_verdict_and_the_findings_hold_no_number_without_its_address(case):
    _, page = case
    verdict = next(e for e in page.elements if e["attrs"].get("class") == "sentence")
    bare = verdict["text"]
    for element in page.all("data"):
        bare = bare.replace(element["text"], "", 1) if element["attrs"]["data-ref"].startswith("/verdict") else bare
    assert not re.search(r"\d", bare)


def test_the_page_is_one_file_that_asks_for_nothing(case):
    _, page = case
    assert not page.all("script")
    assert not page.all("link")
    assert not page.all("img")
    assert not page.all("iframe")
    policy = next(e for e in page.all("meta") if e["attrs"].get("http-equiv") == "Content-Security-Policy")
    assert policy["attrs"]["content"].startswith("default-src 'none'")
    for element in page.elements:
        names = set(element["attrs"])
        assert not {name for name in names if name.startswith("on")}
        assert not names & {"src", "srcset", "action", "ping"}
        assert element["attrs"].get("href", "#").startswith("#")
    assert "@import" not in render(sample_report())
    assert "url(" not in render(sample_report())


def test_the_page_can_be_read_by_ear_and_by_keyboard(case):
    _, page = case
    assert page.all("html")[0]["attrs"]["lang"] == "en"
    assert page.all("title")[0]["text"].startswith("Audit of")
    assert len(page.all("h1")) == len(page.all("main")) == 1
    assert page.all("a")[0]["attrs"]["href"] == "#verdict"
    ids = [e["attrs"]["id"] for e in page.elements if "id" in e["attrs"]]
    assert len(ids) == len(set(ids))
    for link in page.all("a"):
        assert link["attrs"]["href"][1:] in ids
    for table in page.all("table"):
        assert table["inside"][0] == "caption"
    for cell in page.all("th"):
        assert cell["attrs"].get("scope") in ("col", "row")
    for svg in page.all("svg"):
        assert svg["attrs"]["role"] == "img"
        assert svg["inside"][:2] == ["title", "desc"]
        assert "figure" in svg["around"]
    for figure in page.all("figure"):
        assert "svg" in figure["inside"] or "nothing to draw" in figure["text"]
        assert "table" in figure["inside"]


def test_hostile_words_are_shown_and_do_nothing():
    report = hostile_report()
    page = page_of(report)
    text = page.all("body")[0]["text"]
    for word in HOSTILE[:2]:
        assert word in text
    assert "7 * 7" in text
    assert "49 }" not in text
    endings = page.all("section")[-1]
    assert endings["attrs"]["id"] == "texts"
    assert text.count(HOSTILE[4]) == endings["text"].count(HOSTILE[4]) > 0, "long words stand in full at the end only"
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", text)


def test_every_evidence_status_and_reason_is_on_the_page():
    report = sample_report()
    text = " ".join(page_of(report).all("main")[0]["text"].split())
    for outcome in report.all_outcomes:
        assert outcome.check in text
        assert outcome.title in text
        assert outcome.reason in text
    for left_out in report.not_tested:
        assert left_out.topic in text
        assert left_out.why in text
    for line in report.limitations:
        assert line in text
    for word in (
        "✗ broken",
        "≈ undecided",
        "✓ kept",
        "∅ undefined",
        "○ not tested",
        "Wilson (1927)",
        "nosuchkey",
        "ab01" * 16,
    ):
        assert word in text
    assert "ompliant" not in text


def test_sections_stand_in_their_order():
    page = page_of(sample_report())
    found = [e["attrs"]["id"] for e in page.all("section") if e["around"] == ["html", "body", "main"]]
    fixed = [
        "verdict",
        "scope",
        "findings",
        "system",
        "performance",
        "fairness",
        "explain",
        "robustness",
        "carbon",
        "other",
    ]
    assert found == [*fixed, "not-tested", "methods", "reproduce", "sign-off"]


def test_small_cells_are_hidden_everywhere():
    canary = Measure(
        name="tpr",
        value=0.123456,
        unit="proportion",
        n=7,
        interval=Interval(low=0.0987, high=0.3217, level=0.95, method="Wilson"),
        where={"race": PEOPLE[0]},
    )
    rest = Measure(name="tpr", value=0.9, unit="proportion", n=10, where={"race": PEOPLE[1]})
    report = sample_report(suppress_below=10)
    outcome = Outcome(check="fairness.extra", title="Extra", status="done", evidence=(canary, rest))
    report = replace(report, outcomes=(*report.outcomes, outcome))
    report = replace(report, verdict=replace(report.verdict, headline=("fairness.extra#0",)))
    text = render(report)
    assert "suppressed (n &lt; 10)" in text
    assert "0.123456" not in text
    assert "[9.9, 32.2]" not in text
    assert "90.0" in text
    assert f'{PEOPLE[0]}</bdi></th><td class="num">under' in text
    assert "0.123456" in render(
        replace(report, spec=replace(report.spec, report=replace(report.spec.report, suppress_below=0)))
    )


def test_size_for_two_attributes_of_ten_groups():
    names = ("selection_rate", "tpr", "fpr", "ppv")
    report = sample_report(attributes={"race": PEOPLE, "age": tuple(f"{k}0-{k}9" for k in range(10))}, names=names)
    assert len(render(report).encode()) <= 100_000


def test_size_for_five_attributes_twelve_measures_thirty_groups():
    attributes = {f"attribute {k}": tuple(f"group {k}.{j} of many" for j in range(30)) for k in range(5)}
    report = sample_report(attributes=attributes, names=tuple(f"measure_{k}" for k in range(12)))
    page = render(report)
    assert len(page.encode()) <= 1_000_000
    assert page.count("<svg") >= 60


def test_a_record_of_nothing_is_a_page():
    report = sample_report(gates=False)
    bare = replace(report.subject, model=None, classes=(), features=(), groups={}, unknown={}, notes=())
    verdict = replace(report.verdict, headline=())
    run = replace(report.run, outcomes=())
    page = page_of(replace(report, subject=bare, outcomes=(), run=run, not_tested=(), limitations=(), verdict=verdict))
    assert "No promise was set" in page.all("main")[0]["text"]


# --------------------------------------------------------------------------------------------------- colours
def _tokens(css):
    """The colour tokens of the three schemes: light, dark, print."""
    blocks = re.findall(r":root \{(.*?)\}", css, re.S)
    return [dict(re.findall(r"--([a-z]+): (#[0-9a-f]{3,6})", block)) for block in blocks]


def _luminance(colour):
    digits = colour[1:] if len(colour) == 7 else "".join(2 * d for d in colour[1:])
    parts = [int(digits[k : k + 2], 16) / 255 for k in (0, 2, 4)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", [0, 1, 2])
def test_every_text_colour_has_contrast(scheme):
    tokens = _tokens((TEMPLATES / "style.css").read_text("utf-8"))
    assert len(tokens) == 3
    colours = tokens[scheme]
    for ground in ("paper", "sheet"):
        for name in ("ink", "muted", "accent", "good", "bad", "open"):
            one, two = sorted((_luminance(colours[ground]), _luminance(colours[name])))
            assert (two + 0.05) / (one + 0.05) >= 4.5, (name, ground)
    one, two = sorted((_luminance(colours["paper"]), _luminance(colours["bar"])))
    assert (two + 0.05) / (one + 0.05) >= 3, "bars are graphics: 3 to 1"
