import html
import json
import re

import pytest
from samples import hostile_report, sample_report

from audit import codec
from audit.core import Measure, Report, UsageError
from audit.reports.html import render
from audit.reports.notebook import NotebookReport


def test_it_is_the_same_record():
    report = sample_report()
    book = NotebookReport.of(report)
    assert isinstance(book, Report)
    assert codec.dumps(book) == codec.dumps(report)
    assert book.find("performance.overall#0") == report.find("performance.overall#0")


@pytest.mark.parametrize("make", [sample_report, hostile_report])
def test_a_notebook_shows_the_page_in_a_frame_of_its_own(make):
    shown = NotebookReport.of(make())._repr_html_()
    frame = re.fullmatch(r'<iframe title="[^"]*" sandbox style="[^"]*" srcdoc="([^"]*)"></iframe>', shown)
    assert frame
    assert html.unescape(frame.group(1)) == render(make())


def test_the_frame_has_a_row_per_measure():
    report = sample_report()
    frame = NotebookReport.of(report).frame()
    measures = [e for o in report.all_outcomes for e in o.evidence if isinstance(e, Measure)]
    assert len(frame) == len(measures)
    for row, measure in zip(frame.itertuples(), measures, strict=True):
        assert report.find(row.ref) == measure
        assert (row.measure, row.unit, row.note) == (measure.name, measure.unit, measure.note)
        assert row.value == measure.value or (measure.value is None and row.value != row.value)
    picked = frame[(frame["where:race"] == "Asian") & (frame.measure == "impact_ratio")]
    assert picked.low.item() == measures[[m.where for m in measures].index({"race": "Asian"})].interval.low
    assert frame["n"].dtype == "Int64"


def test_save_goes_by_the_suffix(tmp_path):
    book = NotebookReport.of(sample_report())
    starts = {"r.html": "<!DOCTYPE html>", "r.md": "# Audit of", "r.xml": "<?xml"}
    for name, start in starts.items():
        assert book.save(tmp_path / name).read_text("utf-8").lstrip().startswith(start)
    assert json.loads(book.save(tmp_path / "r.json").read_text("utf-8"))["schema"] == 1
    with pytest.raises(UsageError, match=r"'\.htlm'.*did you mean"):
        book.save(tmp_path / "r.htlm")
