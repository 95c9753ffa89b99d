"""The result type: sums of players, its frame, its pictures."""

import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest
from little_models import Plain, sigmoid, table

from audit.core import UsageError
from audit.explain import game, shapley

W = np.array([1.2, -0.9, 0.7, 0.0])


@pytest.fixture
def found():
    rng = np.random.default_rng(0)
    model = Plain(lambda x: sigmoid(x @ W + x[:, 0] * x[:, 1]))
    return shapley(game(model, table(rng.normal(size=(6, 4))), table(rng.normal(size=(9, 4)))))


def test_joined_players_add_up_and_keep_the_total(found):
    joined = found.aggregate({"both": ["x0", "x2"]})
    assert joined.features == ("both", "x1", "x3")
    np.testing.assert_allclose(joined.values[:, 0], found.values[:, 0] + found.values[:, 2])
    np.testing.assert_allclose(joined.delta, found.delta, atol=1e-12)
    np.testing.assert_allclose(joined.se_background[:, 0], found.se_background[:, [0, 2]].sum(axis=1))
    assert np.isnan(joined.data[:, 0]).all()
    np.testing.assert_array_equal(joined.data[:, 1], found.data[:, 1])


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"g": ["x9"]}, "'x9', not there"),
        ({"g": ["x0"], "h": ["x0"]}, "in 'g' and in 'h'"),
        ({"x1": ["x0"]}, "outside that group"),
    ],
)
def test_players_that_cannot_be_joined(found, groups, message):
    with pytest.raises(UsageError, match=message):
        found.aggregate(groups)


def test_the_picture_of_a_row_and_of_all(found, tmp_path):
    one, everyone = found.plot(2), found.plot()
    picture = ET.fromstring(str(one.markup))
    assert picture.get("class") == "waterfall"
    assert len(list(picture.iter("rect"))) == 4
    assert len(list(ET.fromstring(str(everyone.markup)).iter("circle"))) == 24
    assert f"output {found.outputs[2]:.4g}" in one.note
    html = found._repr_html_()
    assert "<script" not in html
    assert not re.search(r"https?://", html)
    one.save(tmp_path / "row.html")
    assert (tmp_path / "row.html").read_text("utf-8").startswith("<!doctype html>")
    with pytest.raises(UsageError, match="row: from 0 to 5, got 6"):
        found.plot(6)


def test_texts_are_drawn_as_tokens_and_images_as_maps(found):
    words = replace(found, kind="texts", players=(("not", "<b>bad</b>", "at", "all"),) * 6)
    drawn = str(words.plot(0).markup)
    assert "&lt;b&gt;bad" in drawn
    assert [e.text for e in ET.fromstring(drawn).iter("span")] == ["not", "<b>bad</b>", "at", "all"]
    owners = np.tile(np.repeat(np.arange(4), 2).reshape(1, 1, 2, 4), (6, 1, 1, 1))
    assert "data:image/png" in str(replace(found, kind="images", owners=owners).plot(0).markup)


def test_an_undefined_row_is_drawn_as_nothing(found):
    gone = replace(found, values=np.full_like(found.values, np.nan), note="undefined")
    assert "nothing to draw" in str(gone.plot(1).markup)
    assert "nothing to draw" in str(gone.plot().markup)


def test_parts_that_do_not_add_up_are_bars_and_unknown_errors_are_unknown(found):
    from audit.explain import reason_codes, views

    loose = replace(found, complete=False, se_sampling=None, se_background=None)
    table = views.case(loose, 0)
    assert table.view == "bars"
    assert all(row[2] is None and row[3] is None for row in table.rows)
    assert np.isnan(views.error(loose)).all()
    with pytest.raises(UsageError, match="does not give"):
        reason_codes(loose)


def test_the_map_of_an_undefined_picture_is_empty_and_of_a_large_one_thinned(found):
    from audit.explain import views

    owners = np.zeros((6, 1, 200, 130), dtype=np.int64)
    large = replace(found, kind="images", owners=owners)
    table = views.heat_map(large, 0, title="t")
    assert (len(table.rows), len(table.columns)) == (50, 33)
    gone = replace(large, values=np.full_like(found.values, np.nan))
    assert {cell for line in views.heat_map(gone, 0, title="t").rows for cell in line} == {None}


def test_a_swarm_of_many_rows_shows_the_first_and_says_so():
    from audit.explain import views

    rng = np.random.default_rng(0)
    found = shapley(
        game(
            Plain(lambda x: sigmoid(x.sum(axis=1))),
            table(rng.normal(size=(150, 3)), "abc"),
            table(rng.normal(size=(5, 3)), "abc"),
        )
    )
    drawn = views.swarm(found)
    assert len(drawn.rows) == 3 * 128
    assert "first 128 of 150 rows" in drawn.title
    assert "first 128 of 150 rows" in drawn.note
    assert {row[2] for row in drawn.rows} == set(found.values[:128].ravel().tolist())
