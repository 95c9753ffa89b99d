import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("fairlearn")
ROOT = Path(__file__).resolve().parents[1]


def benchmarks(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120, check=False)


def test_a_case_prints_its_verdicts_and_both_sides_agree():
    done = benchmarks("metrics-categoricals", "--quick", "--size", "5000")
    assert done.returncode in (0, 1), done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert [line["case"] for line in lines] == ["metrics-categoricals-5e3", "metrics-categoricals-5e3-memory"]
    for line in lines:
        assert set(line) == {"case", "peer", "ratio", "goal", "met"}
        assert line["met"] == (line["ratio"] >= line["goal"])
        assert line["peer"].startswith("fairlearn")
    assert done.returncode == (0 if all(line["met"] for line in lines) else 1)
    distance = next(line for line in done.stdout.splitlines() if "differ by at most" in line)
    assert float(distance.split()[-1]) <= 1e-12


def test_unknown_names_are_refused_with_the_known_ones():
    done = benchmarks("metric-strings")
    assert done.returncode == 2
    assert "allowed names are bootstrap" in done.stderr
