"""The wheel holds what it needs, and an old record is drawn and judged where torch is not installed."""

import importlib.metadata as metadata
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LIGHT = ("numpy", "pydantic", "jinja2", "rich")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".*", "out", "*.egg-info", "__pycache__"))
    shutil.copy(ROOT / ".gitignore", source)
    build = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", build, str(folder)], cwd=source, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def test_the_wheel_is_whole(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for path in (ROOT / "audit").rglob("*.py"):
        assert str(path.relative_to(ROOT)) in names
    for path in (ROOT / "templates").rglob("*.*"):
        assert f"audit/reports/{path.relative_to(ROOT)}" in names
    assert {"audit/py.typed", "audit/reports/references.bib"} <= names
    assert not [name for name in names if name.startswith(("tests/", "examples/", "benchmarks/"))]


def needed(names) -> set[str]:
    """Distributions and what they need, without extras."""
    from packaging.requirements import Requirement

    found, waiting = set(), list(names)
    while waiting:
        name = waiting.pop()
        if name.lower() in found:
            continue
        found.add(name.lower())
        for line in metadata.requires(name) or []:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(requirement.name)
    return found


@pytest.fixture(scope="module")
def light(tmp_path_factory, wheel):
    """A virtual environment with the wheel and its light dependencies, copied from this one; no torch."""
    folder = tmp_path_factory.mktemp("light") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    site = next(folder.glob("lib/python*/site-packages"))
    for name in needed(LIGHT):
        for file in metadata.files(name) or []:
            source = Path(file.locate())
            if ".." not in file.parts and source.is_file():
                (site / file).parent.mkdir(parents=True, exist_ok=True)
                (site / file).symlink_to(source)
    zipfile.ZipFile(wheel).extractall(site)
    return folder / "bin" / "python"


def test_old_records_need_no_torch(light, tmp_path):
    config = ROOT / "examples" / "published-counts" / "audit.toml"
    made = subprocess.run([sys.executable, "-m", "audit", "run", str(config), "--out", str(tmp_path), "-q"])
    assert made.returncode == 1
    missing = "import importlib.util as u; print([n for n in ('torch', 'pandas', 'sklearn', 'scipy', 'captum') if u.find_spec(n)])"
    assert subprocess.run([light, "-c", missing], capture_output=True, text=True, cwd=tmp_path).stdout.strip() == "[]"
    outputs = [part for format in ("html", "md", "junit") for part in ("-o", f"{format}:{tmp_path / format}")]
    record = str(tmp_path / "result.json")
    drawn = subprocess.run(
        [light, "-m", "audit", "report", record, *outputs], capture_output=True, text=True, cwd=tmp_path
    )
    assert drawn.returncode == 0, drawn.stderr
    assert (tmp_path / "html").read_text() == (tmp_path / "report.html").read_text()
    judged = subprocess.run([light, "-m", "audit", "check", record], capture_output=True, text=True, cwd=tmp_path)
    assert judged.returncode == 1, judged.stderr
