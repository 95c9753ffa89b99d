import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from samples import hostile_report, sample_report, verdict_of

from audit.core import OutputError, UsageError
from audit.reports.render import render, sentence, write


@pytest.mark.parametrize("make", [sample_report, hostile_report])
@pytest.mark.parametrize("format", ["html", "json", "junit", "md"])
def test_the_same_record_gives_the_same_bytes(format, make):
    assert render(make(), format) == render(make(), format)


def test_hash_seed_and_locale_change_nothing():
    code = "from samples import *; from audit.reports.render import render; import hashlib\n"
    code += "r = sample_report(); print([hashlib.sha256(render(r, f).encode()).hexdigest() for f in ('html', 'md', 'junit')])"
    tests = str(Path(__file__).parents[1])
    runs = [
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": tests, "LC_ALL": place},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed, place in (("1", "C"), ("2", "C.UTF-8"))
    ]
    assert runs[0] == runs[1]


def test_drawing_needs_neither_torch_nor_pandas_nor_scipy():
    code = (
        "import sys\n"
        "for name in ('torch', 'pandas', 'scipy', 'sklearn', 'captum'): sys.modules[name] = None\n"
        "from samples import sample_report\n"
        "from audit.reports.render import render\n"
        "r = sample_report()\n"
        "assert all(render(r, f) for f in ('html', 'md', 'junit', 'json'))"
    )
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_an_unknown_format_names_the_nearest():
    with pytest.raises(UsageError, match=r"'htm'.*did you mean 'html'"):
        render(sample_report(), "htm")


def test_json_is_the_record():
    report = sample_report()
    assert json.loads(render(report, "json"))["verdict"]["required"]["fail"] == report.verdict.required["fail"]


def test_a_file_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "deep" / "report.html"
    assert write("one", path) == path
    path.chmod(0o640)
    write("two ✓\n", path)
    assert path.read_bytes() == "two ✓\n".encode()
    assert path.stat().st_mode & 0o777 == 0o640
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]


def test_what_cannot_be_written_is_an_error_and_leaves_nothing_behind(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="file"):
        write("x", tmp_path / "file" / "report.html")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="folder"):
        write("x", tmp_path / "folder")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]


def _with(*outcomes: str, complete: bool = True):
    report = sample_report()
    first = report.rulings[1]
    rulings = tuple(replace(first, outcome=outcome) for outcome in outcomes)
    return replace(report, rulings=rulings, verdict=verdict_of(rulings), complete=complete)


@pytest.mark.parametrize(
    ("outcomes", "words"),
    [
        ((), "No promise was set: measured, not judged."),
        (("pass",), "The one required promise is kept."),
        (("pass", "pass"), "All 2 required promises are kept."),
        (("fail",), "The one required promise is broken."),
        (("fail", "fail", "pass", "pass", "pass"), "2 of 5 required promises are broken."),
        (("fail", "pass", "inconclusive"), "1 of 3 required promises is broken. 1 is undecided."),
        (
            ("inconclusive", "undefined", "pass"),
            "None of 3 required promises is broken. 1 is undecided, 1 is undefined.",
        ),
        (("error", "fail", "pass"), "1 of 3 required promises is stopped by an error. 1 is broken."),
    ],
)
def test_the_verdict_in_one_sentence(outcomes, words):
    assert sentence(_with(*outcomes)) == words


def test_a_stopped_audit_says_so():
    assert sentence(_with("pass", complete=False)).endswith("The audit was stopped before its end.")
