"""What is registered, by being there and by plug-ins."""

import subprocess
import sys

import pytest

from audit import registry
from audit.core import UsageError

PLUGIN = """
from audit.core import Measure
from audit.registry import check


@check("fairness.from_outside", title="From outside")
def from_outside(subject, context):
    '''Is it there?'''
    yield Measure(name="x", value=1.0)
"""


def installed(folder, target: str):
    """A folder that holds a distribution with an entry point of the group audit.plugins."""
    (folder / "outside.py").write_text(PLUGIN)
    facts = folder / "outside-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: outside\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text(f"[audit.plugins]\noutside = {target}\n")


def listed(folder):
    return subprocess.run(
        [sys.executable, "-m", "audit", "list", "checks"],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(folder), "PATH": "/usr/bin:/bin"},
    )


def test_a_plug_in_is_found_by_its_entry_point(tmp_path):
    installed(tmp_path, "outside")
    lines = [line.split(maxsplit=1) for line in listed(tmp_path).stdout.splitlines()]
    assert ["fairness.from_outside", "From outside"] in lines


def test_a_broken_plug_in_is_named(tmp_path):
    installed(tmp_path, "inside")
    done = listed(tmp_path)
    assert done.returncode == 2
    assert "the plug-in outside (inside) cannot be loaded" in done.stderr


def test_one_name_is_registered_once():
    def other(subject, context):
        yield

    other.__module__ = "elsewhere"
    registry.entries("checks")
    with pytest.raises(UsageError, match="registered twice"):
        registry.check("fairness.selection", title="Twice")(other)


@pytest.mark.parametrize("kind", list(registry.ROOMS))
def test_something_is_registered_of_every_kind(kind):
    assert registry.entries(kind)
