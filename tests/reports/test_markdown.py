import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from samples import HOSTILE, PEOPLE, hostile_report, sample_report

from audit.reports.markdown import code, fitted, render, text
from audit.reports.render import sentence

READER = MarkdownIt("commonmark").enable("table").enable("strikethrough")


def test_the_summary_has_the_verdict_and_every_promise():
    report = sample_report()
    page = render(report)
    assert sentence(report) in page
    assert page.count("✗ broken") >= 1
    for word in (
        "Impact ratio",
        "Selection rate",
        "race: African-American",
        "not collected",
        "the deadline has passed",
    ):
        assert word in page


def test_every_table_keeps_its_columns():
    for report in (sample_report(), hostile_report()):
        html = READER.render(render(report))
        for table in re.findall(r"<table>.*?</table>", html, re.S):
            rows = [len(re.findall(r"<t[hd][ >]", row)) for row in re.findall(r"<tr>.*?</tr>", table, re.S)]
            assert len(set(rows)) == 1
        tables = len(re.findall(r"^\| --- ", render(report), re.M))
        assert html.count("<table>") == tables > 5


def test_hostile_words_make_no_markup():
    html = READER.render(render(hostile_report()))
    assert not re.search(r"<(script|img|a)\b", html)
    assert set(re.findall(r"<em>(\w+)", html)) <= {"error", "not", "stopped", "1", "4"}
    assert "<h1>" in html
    assert html.count("<h1>") == 1


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60) | st.sampled_from(HOSTILE))
def test_data_means_nothing_in_markdown(data):
    html = READER.render(f"| a | b |\n| --- | --- |\n| x{text(data)}y | {text(data)} |")
    assert html.count("<td>") == 2
    assert not re.search(r"<(?!/?(table|thead|tbody|tr|th|td)>)", html)


@pytest.mark.parametrize(
    "data", ["- a", "+ a", "1. a", "1) a", "---", "===", "# a", "> a", "* a", "    a", "-", "2.", "www.example.org"]
)
def test_data_at_the_start_of_a_line_stays_a_sentence(data):
    assert READER.render(f"lead\n\n{text(data)}") == f"<p>lead</p>\n<p>{READER.renderInline(text(data))}</p>\n"
    assert READER.render(f"lead\n{text(data)}").startswith("<p>lead\n")
    assert text("+21.4 pp") == "+21.4 pp"


def test_code_never_ends_early():
    assert code("a`b|c\nd") == "`a'b\\|c d`"
    assert code("") == ""


def test_a_long_summary_is_cut_and_counts_what_is_left_out():
    attributes = {f"a{k}": tuple(f"group {j} " + "x" * 150 for j in range(400)) for k in range(5)}
    page = render(sample_report(attributes=attributes, names=tuple(f"m{k}" for k in range(6))))
    assert len(page.encode()) <= 1024 * 1024
    assert re.search(r"\d+ omitted", page)
    assert (
        fitted(["one", "two", "three"], 10) == "one\n\ntwo\n\n*1 omitted: the record (result.json) has everything.*\n"
    )


@pytest.mark.parametrize("least", [0, 2000])
def test_small_cells_are_hidden(least):
    page = render(sample_report(attributes={"race": PEOPLE}, suppress_below=least))
    assert ("suppressed" in page) == (least > 0)
