"""The command line as other programs meet it: exit codes, streams, repeatability, interruption."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from explained_models import SMALL

from audit import codec
from audit.cli import main

ROOT = Path(__file__).resolve().parents[1]
COUNTS = ROOT / "examples" / "published-counts"


def audit(*arguments, cwd=None, **rest):
    return subprocess.run(
        [sys.executable, "-m", "audit", *map(str, arguments)], capture_output=True, text=True, cwd=cwd, **rest
    )


@pytest.fixture(scope="module")
def ricci(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ricci")
    assert main(["run", str(COUNTS / "ricci.toml"), "--out", str(folder), "-q"]) == 3
    return folder / "result.json"


@pytest.mark.parametrize(
    ("limit", "flags", "code"),
    [
        ("min = 0.0", (), 0),
        ("min = 2.0", (), 1),
        ("min = 2.0", ("--exit-zero",), 0),
        ("min = 0.8", (), 3),
        ("min = 0.8", ("--allow-inconclusive",), 0),
        ("min = 0.8", ("--exit-zero",), 0),
    ],
)
def test_exit_codes_under_new_gates(ricci, tmp_path, limit, flags, code, capsys):
    gates = tmp_path / "gates.toml"
    gates.write_text((COUNTS / "ricci.toml").read_text().replace("min = 0.80", limit))
    assert main(["check", str(ricci), "--config", str(gates), *flags]) == code
    assert capsys.readouterr().out == ""


def test_a_check_that_breaks_is_never_hidden(ricci, tmp_path):
    gates = tmp_path / "gates.toml"
    gates.write_text((COUNTS / "ricci.toml").read_text().replace('measure = "impact_ratio"', 'measure = "impact"'))
    assert main(["check", str(ricci), "--config", str(gates), "--exit-zero", "--allow-inconclusive"]) == 2


def test_stdout_carries_json_when_asked_and_else_nothing(ricci, tmp_path):
    done = audit("check", ricci, "-o", "json")
    assert done.returncode == 3
    assert codec.loads(done.stdout).verdict.outcome == "inconclusive"
    assert "undecided" in done.stderr
    quiet = audit("run", COUNTS / "audit.toml", "--out", tmp_path, "-q")
    assert (quiet.stdout, quiet.stderr) == ("", "")


def test_a_record_is_drawn_again(ricci, tmp_path):
    outputs = {name: tmp_path / "deep" / f"page.{name}" for name in ("html", "md", "junit", "json")}
    flags = [part for name, path in outputs.items() for part in ("-o", f"{name}:{path}")]
    assert main(["report", str(ricci), *flags]) == 0
    assert outputs["json"].read_text() == ricci.read_text()
    assert outputs["html"].read_text() == (ricci.parent / "report.html").read_text()
    assert all(path.stat().st_size for path in outputs.values())
    assert not [path for path in (tmp_path / "deep").iterdir() if path.name.startswith(".")]


@pytest.fixture(scope="module")
def credit(tmp_path_factory):
    """The first example in small, and the records of two processes that audited it."""
    folder = tmp_path_factory.mktemp("credit")
    for file in (ROOT / "examples" / "credit").glob("*.py"):
        shutil.copy(file, folder)
    config = (ROOT / "examples" / "credit" / "audit.toml").read_text()
    assert "rows = 10000" in config
    (folder / "audit.toml").write_text(config.replace("rows = 10000", "rows = 1500") + SMALL)
    codes = []
    for name, seed in (("a", "0"), ("b", "123")):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "LC_ALL": "C"}
        done = audit("run", folder / "audit.toml", "--out", folder / name, "-q", env=environment)
        codes.append(done.returncode)
        assert done.returncode in (0, 1, 3), done.stderr
    assert codes[0] == codes[1]
    return folder


def test_two_runs_are_byte_identical_but_for_one_block(credit):
    texts = []
    for name in ("a", "b"):
        parsed = json.loads((credit / name / "result.json").read_text())
        assert set(parsed.pop("run")) == {"started", "seconds", "check_seconds", "outcomes", "rulings"}
        texts.append(json.dumps(parsed))
    assert texts[0] == texts[1]


def test_fewer_checks_change_no_other_number(credit, tmp_path):
    config = str(credit / "audit.toml")
    main(["run", config, "--out", str(tmp_path), "-q", "--exit-zero", "--only", "explain.cases,fairness"])
    whole = {o.check: o for o in codec.read_record(credit / "a" / "result.json").outcomes}
    some = codec.read_record(tmp_path / "result.json")
    assert {o.check for o in some.outcomes} == {
        id for id in whole if id == "explain.cases" or id.startswith("fairness.")
    }
    assert all(whole[outcome.check] == outcome for outcome in some.outcomes)
    assert {"performance.overall", "carbon.audit"} <= {t.topic.split("(")[-1].rstrip(")") for t in some.not_tested}


def test_another_seed_changes_what_is_drawn_and_the_command_says_it(tmp_path):
    config = str(ROOT / "examples/credit/audit.toml")
    main(["run", config, "--out", str(tmp_path), "-q", "--exit-zero", "--only", "performance", "--seed", "8"])
    report = codec.read_record(tmp_path / "result.json")
    assert report.environment.command == "audit run audit.toml --only performance --seed 8"
    assert report.spec.run.seed == report.environment.seed == 8


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_the_end_of_a_ci_job_leave_a_valid_partial_record(tmp_path, how):
    (tmp_path / "model.py").write_text(
        "import sys, time\n"
        "calls = []\n"
        "def build():\n"
        "    def model(x):\n"
        "        calls.append(1)\n"
        "        if len(calls) > 1:\n"
        "            time.sleep(1.5)\n"
        "        return 1 / (1 + 2.7 ** -x[:, 0])\n"
        "    return model\n"
    )
    (tmp_path / "audit.toml").write_text(
        '[model]\nkind = "callable"\nfactory = "model:build"\n[data]\nworld = "credit"\nrows = 500\n'
        "[groups]\nattributes = ['sex']\n[[gate]]\ncheck = 'performance.overall'\nmeasure = 'auc'\nmin = 0.5\n"
        "[checks]\nonly = ['performance.overall', 'explain.cases', 'carbon.audit']\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "audit", "run"], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    for line in process.stderr:
        if "Single decisions" in line:
            break
    time.sleep(0.5)
    process.send_signal(how)
    with process.stderr:
        rest = process.stderr.read()
    assert process.wait(timeout=60) == 3, rest
    report = codec.read_record(tmp_path / "out" / "result.json")
    states = {o.check: o.status for o in report.all_outcomes}
    assert not report.complete
    assert states["explain.cases"] == "stopped"
    assert states["carbon.audit"] == "done"
    assert "Traceback" not in rest
    assert "Ctrl-C" in (tmp_path / "out" / "report.html").read_text()


def test_max_seconds_leaves_a_valid_partial_record(tmp_path):
    config = str(ROOT / "examples/credit/audit.toml")
    assert main(["run", config, "--out", str(tmp_path), "--max-seconds", "0.01"]) == 3
    report = codec.read_record(tmp_path / "result.json")
    assert not report.complete
    assert all("deadline" in o.reason for o in report.outcomes if o.status == "stopped")
    assert {o.status for o in report.outcomes} == {"stopped", "not_applicable"}


@pytest.mark.parametrize("kind", ["checks", "explainers", "adapters", "families", "worlds", "renderers"])
def test_list(kind, capsys):
    assert main(["list", kind]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines
    assert lines == sorted(lines)


def test_explain_and_schema(capsys):
    assert main(["explain", "fairness.impact_ratio"]) == 0
    assert "# fairness.impact_ratio" in capsys.readouterr().out
    for noun in ("config", "result"):
        assert main(["schema", noun]) == 0
        assert json.loads(capsys.readouterr().out)["$schema"].endswith("2020-12/schema")


def test_a_closed_pipe_is_no_error():
    done = subprocess.run(
        f"{sys.executable} -m audit list checks | head -1", shell=True, capture_output=True, text=True
    )
    assert done.stderr == ""


def test_a_baseline_that_was_better_is_a_finding(tmp_path):
    config = (COUNTS / "audit.toml").read_text().replace("compas.csv", str(COUNTS / "compas.csv"))
    (tmp_path / "audit.toml").write_text(config)
    assert main(["run", str(tmp_path / "audit.toml"), "--out", str(tmp_path), "-q"]) == 1
    counts = "race,tp,fp,tn,fn\nAfrican-American,1369,1200,595,532\nCaucasian,505,349,1139,461\n"
    (tmp_path / "worse.csv").write_text(counts)
    config = (
        config.replace(str(COUNTS / "compas.csv"), "worse.csv")
        + '\n[baseline]\npath = "result.json"\nworse_by = 0.02\n'
    )
    (tmp_path / "audit.toml").write_text(config)
    assert main(["run", str(tmp_path / "audit.toml"), "--out", str(tmp_path / "new"), "-q"]) == 1
    rulings = [r for r in codec.read_record(tmp_path / "new" / "result.json").rulings if r.origin == "baseline"]
    assert {r.outcome for r in rulings if r.gate.measure == "fpr_difference"} >= {"fail"}
    assert "baseline" in (tmp_path / "new" / "report.html").read_text()


def test_gates_that_name_no_check_are_told_before_judging(ricci, tmp_path, capsys):
    gates = tmp_path / "gates.toml"
    gates.write_text('[[gate]]\ncheck = "fairness.impact_ration"\nmeasure = "impact_ratio"\nby = "race"\nmin = 0.8\n')
    assert main(["check", str(ricci), "--config", str(gates), "--allow-inconclusive"]) == 2
    assert "did you mean 'fairness.impact_ratio'" in capsys.readouterr().err
    gates.write_text(gates.read_text().replace("ration", "ratio"))
    assert main(["check", str(ricci), "--config", str(gates)]) == 3


def test_an_output_through_a_link_keeps_the_link(ricci, tmp_path):
    (tmp_path / "real.md").write_text("old")
    (tmp_path / "link.md").symlink_to("real.md")
    assert main(["report", str(ricci), "-o", f"md:{tmp_path / 'link.md'}"]) == 0
    assert (tmp_path / "link.md").is_symlink()
    assert "New Haven" in (tmp_path / "real.md").read_text()


def test_quiet_still_tells_what_could_not_be_judged(tmp_path, capsys):
    (tmp_path / "ricci.csv").write_text((COUNTS / "ricci.csv").read_text())
    config = tmp_path / "audit.toml"
    config.write_text((COUNTS / "ricci.toml").read_text().replace('measure = "impact_ratio"', 'measure = "impact"'))
    assert main(["run", str(config), "--out", str(tmp_path / "out"), "-q"]) == 2
    assert "did you mean 'impact_ratio'" in capsys.readouterr().err


def test_what_the_model_used_is_in_the_cost_of_the_audit(tmp_path):
    (tmp_path / "model.py").write_text(
        "import time\n"
        "def build():\n"
        "    def model(x):\n"
        "        end = time.process_time() + (1.0 if len(x) > 256 else 0)\n"
        "        while time.process_time() < end:\n"
        "            pass\n"
        "        return 1 / (1 + 2.7 ** -x[:, 0])\n"
        "    return model\n"
    )
    (tmp_path / "audit.toml").write_text(
        '[model]\nkind = "callable"\nfactory = "model:build"\n[data]\nworld = "credit"\nrows = 500\n'
    )
    assert main(["run", str(tmp_path / "audit.toml"), "--out", str(tmp_path), "-q", "--only", "carbon"]) == 0
    (cost,) = [o for o in codec.read_record(tmp_path / "result.json").run.outcomes if o.check == "carbon.audit"]
    assert next(e.value for e in cost.evidence if e.name == "cpu_seconds") >= 1.0
