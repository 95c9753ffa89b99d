"""The page of the zoo says what the calibrations say, of every family."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from audit import registry
from audit.workflows.calibrate import SHIPPED, known
from audit.workflows.zoo_page import FOLDER, pages, picture

PAGES = pages()
ROWS = {
    found.group(1): line
    for line in PAGES[FOLDER.with_suffix(".md")].splitlines()
    if (found := re.match(r"\| \*\*(\w+)\*\*", line))
}
CALIBRATED = sorted(path.stem for path in SHIPPED.glob("*.json"))


def test_every_family_has_a_row_of_six_cells_with_its_papers():
    families = registry.entries("families")
    assert list(ROWS) == list(families)
    for id, entry in families.items():
        cells = re.split(r"(?<!\\)\|", ROWS[id].strip("|"))
        assert len(cells) == 6
        assert len(cells[1].split("<br>")) == len(entry.sources)
        assert re.search(r"\((19|20)\d\d\)\.", cells[1]), "a paper has a year"
        assert cells[2].split()[0] == entry.facts["world"]


@pytest.mark.parametrize("id", CALIBRATED)
def test_a_row_says_what_the_file_says_and_shows_its_picture(id):
    figures = json.loads((SHIPPED / f"{id}.json").read_text())["figures"]
    said = re.findall(r"([\d.]+|−[\d.]+) true, (-?[\d.]+) read, within ± ([\d.]+)", ROWS[id])
    assert said
    known_figures = {tuple(f"{f[name]:.3f}" for name in ("truth", "read", "within")) for f in figures}
    assert set(said) <= known_figures
    assert f"(zoo/{id}.svg)" in ROWS[id]
    assert FOLDER / f"{id}.svg" in PAGES


def test_a_picture_stands_alone_and_tells_itself_in_words():
    calibration = known("mlp")
    root = ElementTree.fromstring(picture(calibration))
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    told = [each.text for each in root if each.tag.endswith(("title", "desc"))]
    assert "mlp" in told[0]
    assert "true" in told[1]
    assert "script" not in picture(calibration)
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", picture(calibration))


def test_the_page_lies_where_the_documents_link_to_it():
    assert Path("docs/zoo.md") in PAGES
