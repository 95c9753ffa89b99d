"""The habits of every renderer."""

import pytest

from audit import codec, registry
from audit.core import Curve, Interval, Measure, NotTested, Outcome, Table
from audit.reports.render import render

RENDERERS = registry.entries("renderers")
HOSTILE = '<script>alert(1)</script>"><img src=x onerror=alert(1)>|`*_\n]]>&amp;\u202e\x07'


@pytest.fixture
def reports(report_of):
    """An empty record, and one with every kind of evidence and status under hostile names."""
    from dataclasses import replace

    interval = Interval(low=0.1, high=0.3, level=0.95, method=HOSTILE)
    evidence = (
        Measure(name="rate", value=0.2, unit="proportion", n=9, interval=interval, where={HOSTILE: HOSTILE}),
        Measure(name=HOSTILE, value=None, note=HOSTILE),
        Curve(name=HOSTILE, x=(0.0, 1.0), y=(0.5, None), note=HOSTILE, where={HOSTILE: HOSTILE}),
        Table(name="t", title=HOSTILE, columns=(HOSTILE, "b"), rows=((HOSTILE, 1), (None, 2.5))),
    )
    full = report_of(
        Outcome(check="fairness.x", title=HOSTILE, status="done", evidence=evidence),
        *(
            Outcome(check=f"other.{s}", title="T", status=s, reason=HOSTILE)
            for s in ("error", "stopped", "not_applicable")
        ),
    )
    return report_of(), replace(full, not_tested=(NotTested(topic=HOSTILE, why=HOSTILE),), limitations=(HOSTILE,))


@pytest.mark.parametrize("id", list(RENDERERS))
def test_draws_any_record_the_same_way_twice(id, reports):
    for report in reports:
        text = render(report, id)
        assert text == render(codec.loads(codec.dumps(report)), id)
        assert text.strip()
        if id != "json":
            assert "<script>alert" not in text
            assert "<img src=x" not in text


@pytest.mark.parametrize("id", list(RENDERERS))
def test_documented(id):
    assert RENDERERS[id].title
    assert RENDERERS[id].doc
