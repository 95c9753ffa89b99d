"""A time line in the page: the drawing, its key, and its figures folded beneath it."""

import re

import pytest

from audit.core import Outcome, Table
from audit.reports.html import render

ROWS = [("step 0", 1.0, 0.2, 0.01), ("step 1", 2.0, -0.1, 0.01)]


def page(report_of, rows):
    columns = ("step", "pulse", "shap", "shap SE")
    line = Table(name="timeline", title="Row 3", columns=columns, rows=tuple(rows), view="timeline", note="base 0")
    told = Outcome(check="explain.cases", title="Single decisions", status="done", evidence=(line,))
    return render(report_of(told))


@pytest.mark.parametrize(("rows", "key"), [(ROWS, True), (ROWS[:1], False)])
def test_a_time_line_has_a_key_where_something_pushes_down(report_of, rows, key):
    text = page(report_of, rows)
    (drawn,) = re.findall(r'<svg class="timeline".*?</svg>', text, re.S)
    assert "<title>Row 3</title>" in drawn
    assert "most moved by step 0 0.2" in drawn
    assert ('<span class="swatch down">' in text) == key
    figure = text[text.index('<svg class="timeline"') :]
    assert f"The figures as a table: {len(rows)} rows" in figure
    assert re.search(r'<th scope="row">.*step 0.*</th>', figure)
