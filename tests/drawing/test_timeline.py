"""Time lines: what stands where, in the page and in the words for those who cannot see it."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from little_models import Plain, context, subject
from samples import HOSTILE

from audit.core import Table, UsageError
from audit.data.series import Series, series
from audit.drawing import pictures
from audit.drawing.svg import LABEL, RIGHT
from audit.drawing.timeline import MOST, POINTS, attributed, timeline
from audit.explain import game, shapley
from audit.explain.cases import cases
from audit.explain.views import heat_map, time_line


def table(rows, columns=("step", "pulse", "flat", "shap", "shap SE", "integrated gradients (log-odds)")):
    return Table(name="timeline", title="T", columns=columns, rows=tuple(map(tuple, rows)), view="timeline")


def numbers(path):
    return [float(x) for x in re.findall(r"-?\d+(?:\.\d+)?", path)]


ROWS = [(f"step {k}", float(k % 3), 7.0, moved, 0.01, 9.9) for k, moved in enumerate([0.0, 0.1, -0.2, 0.4])]


def test_a_line_a_column_and_a_bar_a_step_at_the_same_places():
    root = ET.fromstring(timeline(table(ROWS)))
    lines = [numbers(p.get("d")) for p in root.iter("path") if p.get("class") == "c"]
    assert len(lines) == 2  # the columns of the sequence, not the second method
    middles = [LABEL + (k + 0.5) * (RIGHT - LABEL) / 4 for k in range(4)]
    for line in lines:
        assert line[::2] == pytest.approx(middles, abs=0.06)
    high, low = lines[0][5], lines[0][1]
    assert high < lines[0][3] < low  # larger is higher up
    assert len(set(lines[1][1::2])) == 1
    (up,), (down,) = ([p.get("d") for p in root.iter("path") if p.get("class") == kind] for kind in ("up", "down"))
    assert (up.count("z"), down.count("z")) == (2, 1)  # nought has no bar
    heights = [abs(a - b) for a, b in (numbers(bar)[1:3] for bar in (up + down).split("z")[:3])]
    assert np.array(heights) / heights[1] == pytest.approx([0.25, 1.0, 0.5], abs=0.02)
    starts = [numbers(bar)[0] for bar in (up + down).split("z")[:3]]
    assert starts == pytest.approx([LABEL + k * (RIGHT - LABEL) / 4 + 1 for k in (1, 3, 2)], abs=0.06)
    assert pictures.pushes_down(table(ROWS))
    assert not pictures.pushes_down(table(ROWS[:2]))


def test_the_words_name_the_steps_that_moved_most():
    root = ET.fromstring(pictures.draw(table(ROWS)))
    assert root.get("role") == "img"
    told = root.find("desc").text
    assert told.startswith("4 steps in time, lines of pulse, flat; most moved by step 3 0.4")
    assert told.index("step 3") < told.index("step 2") < told.index("step 1")


def test_gaps_stay_gaps_and_single_points_are_dots():
    rows = [(f"step {k}", value, None, 0.1, 0.0, 0.0) for k, value in enumerate([1.0, None, 2.0, 3.0, None, 4.0])]
    root = ET.fromstring(timeline(table(rows)))
    (line,) = (p.get("d") for p in root.iter("path") if p.get("class") == "c")
    assert (line.count("M"), line.count("L")) == (1, 1)
    assert len(list(root.iter("circle"))) == 2
    assert "undefined" in "".join(root.itertext())


def test_long_sequences_are_thinned_out_and_their_bars_added_up():
    rows = [(f"step {k}", float(k), 0.0, 0.001, 0.0, 0.0) for k in range(3 * POINTS)]
    drawn = timeline(table(rows))
    root = ET.fromstring(drawn)
    (up,) = (p.get("d") for p in root.iter("path") if p.get("class") == "up")
    assert up.count("z") == POINTS
    assert len(drawn) < 20_000
    many = ("step", *(f"x{k}" for k in range(20)), "value", "SE")
    wide = table([("step 0", *range(20), 0.1, 0.0), ("step 1", *range(20), 0.2, 0.0)], many)
    assert len([p for p in ET.fromstring(timeline(wide)).iter("path") if p.get("class") == "c"]) == MOST


def test_columns_may_have_any_name_and_text_stays_text():
    odd = ("step", "SE", "value", "shap", "shap SE", "ig")
    assert attributed(table(ROWS, odd)) == 3
    for text in HOSTILE:
        drawn = timeline(table([(text, 1.0, 2.0, 0.5, 0.1, 0.0)], ("step", text, "b", "value", "SE", "ig")))
        assert {each.tag for each in ET.fromstring(drawn).iter()} <= {"svg", "title", "desc", "text", "path", "circle"}


def test_nothing_is_drawn_where_nothing_is_known():
    assert pictures.draw(table([("step 0", 1.0, 1.0, None, None, None)])) == ""
    still = ET.fromstring(timeline(table([("step 0", 1.0, 1.0, 0.0, 0.0, 0.0)])))
    assert not [p for p in still.iter("path") if p.get("class") in ("up", "down")]


@pytest.mark.parametrize("columns", [("step", "value"), ("SE", "value"), ("value", "SE"), ("step", "value SEX")])
def test_a_table_from_elsewhere_without_standard_errors_is_not_drawn(columns):
    odd = table([("step 0", -0.5), ("step 1", 0.5)], columns)
    assert attributed(odd) is None
    assert pictures.draw(odd) == ""
    assert not pictures.pushes_down(odd)


@pytest.fixture(scope="module")
def told():
    """Sequences of two lengths and a model that reads the pulse of the second step alone."""
    values = np.random.default_rng(0).random((12, 4, 2))
    inputs = Series(values=values, columns=("pulse", "value"), lengths=np.array([4, 3] * 6))
    return inputs, Plain(lambda x: 0.2 + 0.6 * x[:, 1, 0])


def test_cases_of_sequences_are_time_lines(told):
    inputs, model = told
    found = [e for e in cases(subject(model, inputs), context(), rows=3) if isinstance(e, Table)]
    assert [e.view for e in found] == ["timeline"] * 3
    for each in found:
        row = int(re.search(r"Row (\d+)", each.title).group(1))
        assert each.columns == ("step", "pulse", "value", "shap", "shap SE")
        assert [line[0] for line in each.rows] == [f"step {k}" for k in range(inputs.lengths[row])]
        np.testing.assert_array_equal([line[1:3] for line in each.rows], inputs.values[row, : inputs.lengths[row]])
        moved = np.array([line[3] for line in each.rows])
        assert np.abs(np.delete(moved, 1)).max() < 1e-9 < abs(moved[1])
        assert pictures.draw(each).startswith('<svg class="timeline"')


def test_the_drawing_of_windows_shows_their_means_and_other_parts_are_waterfalls(told):
    inputs, model = told
    found = shapley(game(model, inputs.take(np.arange(2)), inputs, players="window", size=2))
    shown = time_line(found, 0, title="t")
    assert [line[0] for line in shown.rows] == ["steps 0-1", "steps 2-3"]
    np.testing.assert_allclose([line[1] for line in shown.rows], inputs.values[0, :, 0].reshape(2, 2).mean(axis=1))
    assert "timeline" in found.plot(0)._repr_html_()
    for players in ("column", "cell"):
        other = shapley(game(model, inputs.take(np.arange(2)), inputs, players=players))
        assert "waterfall" in other.plot(0)._repr_html_()
    with pytest.raises(UsageError, match="a heat map needs an attribution of images"):
        heat_map(found, 0, title="t")


def test_what_is_missing_within_a_sequence_is_a_gap():
    values = np.random.default_rng(1).random((4, 3, 1))
    values[0, 1] = np.nan
    found = shapley(game(Plain(lambda x: np.nan_to_num(x[:, 0, 0])), series(values[:1]), series(values[1:])))
    assert [line[1] for line in time_line(found, 0, title="t").rows][1] is None
