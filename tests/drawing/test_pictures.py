"""Pictures of tables: shapes that carry the numbers, text that stays text, files that a decoder reads."""

import base64
import io
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import HOSTILE

from audit.core import Table
from audit.drawing import pictures, png, svg


def table(view, rows, columns=None, **facts):
    columns = columns or tuple(f"c{place}" for place in range(len(rows[0])))
    return Table(
        name=facts.pop("name", "t"),
        title=facts.pop("title", "T"),
        columns=columns,
        rows=tuple(tuple(r) for r in rows),
        view=view,
        **facts,
    )


def decoded(picture: str) -> np.ndarray:
    """The pixels of the inline picture, read by a library that did not write them."""
    from PIL import Image

    found = re.search(r"base64,([^\"]+)", picture)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(found.group(1)))).convert("RGB"))


def test_a_waterfall_ends_where_its_parts_add_up():
    rows = [("income", 3.0, 0.4, 0.01), ("debt", None, -0.1, 0.02), ("zip", "north", 0.2, 0.01)]
    root = ET.fromstring(pictures.waterfall(table("waterfall", rows)))
    found = list(root.iter("rect"))
    assert [r.get("class") for r in found] == ["up", "down", "up"]
    spans = [(float(r.get("x")), float(r.get("x")) + float(r.get("width"))) for r in found]
    unit = (spans[0][1] - spans[0][0]) / 0.4
    assert spans[1][1] == pytest.approx(spans[0][1], abs=0.2)
    assert spans[2][1] - spans[0][0] == pytest.approx(0.5 * unit, abs=0.3)
    assert "income = 3" in "".join(root.itertext())


def test_many_players_are_gathered_without_loss():
    rows = [(f"x{k}", None, 1.0, 0.0) for k in range(40)]
    root = ET.fromstring(pictures.waterfall(table("waterfall", rows)))
    assert f"{40 - pictures.MOST} others" in "".join(root.itertext())
    found = list(root.iter("rect"))
    assert float(found[-1].get("width")) == pytest.approx(26 * float(found[0].get("width")), rel=0.05)


def test_a_swarm_has_one_point_a_case():
    rng = np.random.default_rng(0)
    rows = [(f"x{k % 3}", float(k), float(v)) for k, v in enumerate(rng.normal(size=90))] + [("x0", None, None)]
    root = ET.fromstring(pictures.beeswarm(table("beeswarm", rows)))
    points = list(root.iter("circle"))
    assert len(points) == 90
    assert {p.get("class") for p in points} == {"s0", "s1", "s2", "s3"}
    assert all(svg.LABEL - 1 <= float(p.get("cx")) <= svg.WIDTH for p in points)


@pytest.mark.parametrize("text", HOSTILE)
def test_words_stay_words(text):
    for view, row in (("tokens", (text, 1.0)), ("waterfall", (text, text, 1.0, 0.1)), ("matrix", (text, 1.0)),
                      ("beeswarm", (text, 1.0, 1.0)), ("bars", (text, 1.0, 0.5, 1.5))):  # fmt: skip
        picture = pictures.draw(table(view, [row], title=text))
        root = ET.fromstring(picture)
        assert not [e for e in root.iter() if e.tag.lower() in ("script", "img", "a", "iframe")]
    picture = pictures.draw(table("image", [(1.0, 2.0)], title=text))
    assert picture.count("<") == 1


def test_shades_of_tokens_grow_with_the_value_and_tell_the_sign():
    rows = [("a", 1.0), ("b", -1.0), ("c", 0.05), ("d", None), ("e", 0.5)]
    root = ET.fromstring(pictures.tokens(table("tokens", rows)))
    assert [e.get("class") for e in root.iter("span")] == ["tok up4", "tok down4", "tok", "tok", "tok up2"]


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 10**6))
def test_an_image_is_a_file_that_a_decoder_reads(height, width, seed):
    grid = np.random.default_rng(seed).normal(size=(height, width))
    shown = decoded(pictures.image(table("image", grid.tolist())))
    assert shown.shape == (height, width, 3)
    top = np.unravel_index(np.abs(grid).argmax(), grid.shape)
    assert tuple(shown[top]) == png.diverging(float(np.sign(grid[top])))
    grey = decoded(pictures.image(table("image", grid.tolist(), name="picture")))
    assert (grey[..., 0] == grey[..., 2]).all()
    if grid.size > 1:
        assert grey.min() == 0
        assert grey.max() == 255


def test_a_picture_in_colour_is_drawn_as_it_was_and_its_text_says_so():
    rows = [("#000000", "#ff8001"), ("#0a0b0c", "#ffffff")]
    shown = pictures.image(table("image", rows, name="picture"))
    assert decoded(shown).tolist() == [[[0, 0, 0], [255, 128, 1]], [[10, 11, 12], [255, 255, 255]]]
    assert "2 by 2 pixels in colour" in shown
    for wrong in ("#00000", "#gg0000", "red", "#FF0000\n", '"><script>'):
        assert png.colour(wrong) is None
        assert "script" not in pictures.image(table("image", [("#000000", wrong), (1.0, 2.0)], name="picture"))


def test_a_matrix_shades_its_largest_cell_darkest():
    picture = pictures.matrix(table("matrix", [("a", 0.1, 0.9), ("b", -0.9, 0.0)], ("token", "a", "b")))
    root = ET.fromstring(picture)
    kinds = {p.get("class") for p in root.iter("path")}
    assert {"x up4", "x down4"} <= kinds


def test_nothing_is_drawn_of_nothing():
    for view, row in (("bars", ("a", None)), ("waterfall", ("a", 1, None, None)), ("beeswarm", ("a", 1, None)),
                      ("image", (None,)), ("matrix", ("a", None)), ("table", ("a", 1.0))):  # fmt: skip
        assert pictures.draw(table(view, [row])) == ""
    assert pictures.draw(Table(name="t", title="T", columns=("a",), rows=(), view="bars")) == ""


def test_many_points_are_ranked_as_by_a_look_along_the_sorted_list():
    data = np.random.default_rng(0).integers(0, 300, size=900).astype(float)
    rows = tuple(("a", float(one), float(k)) for k, one in enumerate(data))
    drawn = str(
        pictures.beeswarm(Table(name="s", title="s", columns=("player", "was", "value"), rows=rows, view="beeswarm"))
    )
    known = sorted(data.tolist())
    ranks = [min(pictures.LEVELS * known.index(one) // len(known), pictures.LEVELS - 1) for one in data.tolist()]
    assert [int(one) for one in re.findall(r'circle class="s(\d+)"', drawn)] == ranks
