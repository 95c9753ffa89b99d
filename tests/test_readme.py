"""The README, the Makefile, the generated pages and the code say the same; the examples do what they promise."""

import os
import re
import shlex
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from audit.cli import main
from audit.workflows.docs import pages

ROOT = Path(__file__).resolve().parents[1]
MARKDOWN = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "examples").rglob("*.md"))]
PAGES = pages()
FAIRNESS = ROOT / "docs" / "fairness.md"  # run by a test of its own
TOLD = [path for path in MARKDOWN if "\n```python\n" in path.read_text() and path != FAIRNESS]


def recipe(*targets: str) -> list[str]:
    """The commands of Makefile targets, as they run."""
    text = (ROOT / "Makefile").read_text()
    variables = {"$(BIN)": ".venv/bin", "$(PYTHON)": "python3"}
    commands = []
    for target in targets:
        found = re.search(rf"^{re.escape(target)}:[^\n]*\n((?:\t[^\n]*\n)+)", text, re.MULTILINE)
        for line in found.group(1).splitlines():
            for variable, value in variables.items():
                line = line.replace(variable, value)
            commands.append(line.strip().removeprefix("OMP_NUM_THREADS=1 "))
    return commands


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL)


def test_the_lines_beneath_the_two_commands_are_those_that_make_runs():
    plain = [line for block in blocks(ROOT / "README.md", "") for line in block.splitlines()]
    told = [line for line in plain if line.startswith((".venv/bin/", "python3"))]
    run = recipe(".venv/demo", "demo", ".venv/test", "test")
    assert len(told) == 5
    assert [line for line in run if line in told] == told


def run_page(path: Path, folder: Path) -> str:
    """Run the blocks of a page in a fresh process, where they share their names; returns the code."""
    code = "\n".join(blocks(path, "python"))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return code


@pytest.mark.parametrize("path", TOLD, ids=lambda path: str(path.relative_to(ROOT)))
def test_python_in_markdown_runs(path, tmp_path):
    run_page(path, tmp_path)


def test_the_page_on_fairness_ends_in_a_drawing(tmp_path):
    code = run_page(FAIRNESS, tmp_path)
    for word in ("polars", "wilson", "permutation_test", "sweep(", "find_subgroups", "first + second", "from_counts"):
        assert word in code
    assert code.rstrip().endswith('assert "torch" not in sys.modules')
    drawn = (tmp_path / "fairness.html").read_text("utf-8")
    assert drawn.count("<svg") == 2
    for picture in re.findall(r"<svg.*?</svg>", drawn, re.DOTALL):
        assert ET.fromstring(picture).find("desc").text


@pytest.mark.parametrize("path", MARKDOWN, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#]+)", path.read_text()):
        assert "://" in target or (path.parent / target).exists(), target


def test_every_command_in_the_readmes_is_understood():
    from audit.cli import _parser

    for path in MARKDOWN:
        for line in re.findall(
            r"^(?:    |`?)(audit (?:init|run|check|report|list|explain|schema)\b[^`\n]*)", path.read_text(), re.M
        ):
            arguments = shlex.split(line, comments=True)[1:]
            if "..." not in arguments:
                _parser().parse_args(arguments)


@pytest.mark.parametrize("path", [str(path) for path in PAGES])
def test_generated_files_are_fresh(path):
    assert (ROOT / path).read_text() == PAGES[Path(path)], "run `make docs`"


def test_no_generated_page_is_left_over():
    assert {p.name for p in (ROOT / "docs" / "checks").iterdir()} == {
        p.name for p in PAGES if p.parent.name == "checks"
    }


@pytest.mark.parametrize(
    ("example", "code"),
    [
        ("credit/audit.toml", 1),
        ("published-counts/audit.toml", 1),
        ("published-counts/ricci.toml", 3),
        ("sklearn/audit.toml", 3),
        ("explanations/audit.toml", 1),
        ("debiased/audit.toml", 0),
        ("graphs/audit.toml", 1),
        ("images/audit.toml", 1),
        ("sequences/audit.toml", 1),
        ("text/audit.toml", 1),
    ],
)
def test_examples_run_and_end_as_their_readme_says(example, code, tmp_path, capsys):
    config = ROOT / "examples" / example
    assert main(["run", str(config), "--out", str(tmp_path)]) == code
    told = capsys.readouterr()
    assert told.out == ""
    assert "wrote" in told.err
    assert (tmp_path / "report.html").stat().st_size > 20_000
    text = (config.parent / "README.md").read_text()
    assert f"exits with {code}" in text or code == 3
    if example == "published-counts/audit.toml":
        assert main(["run", str(config), "--out", str(tmp_path), "-q", "--exit-zero"]) == 0


def test_references_are_used_and_whole():
    text = (ROOT / "references.bib").read_text()
    keys = re.findall(r"@\w+\{([^,]+),", text)
    assert len(keys) == len(set(keys))
    for entry in re.split(r"\n@", text)[1:]:
        for field in ("title", "year", "author"):
            assert re.search(rf"\b{field}\s*=", entry), entry[:60]
