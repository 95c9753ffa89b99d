"""Exported graphs, boosters, a service and recorded predictions through `audit run`: the record, the page, the exit code."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import lightgbm
import numpy as np
import onnx
import pandas as pd
import pytest
import xgboost
from adapters import logit_graph
from little_service import Service, logistic, ok, serving

from audit import codec
from audit.cli import main
from audit.core import Measure, Report
from audit.models import wire

TABLE = """
[system]
name = "adapters"
[model]
{model}
[data]
path = "rows.csv"
label = "y"
features = ["income", "debt", "job"]
{data}
[groups]
attributes = ["sex"]
[run]
device = "cpu"
[checks]
only = [{only}]
"""
ONLY = '"performance.overall", "fairness.error_rates", "explain.global_importance"'
RNG = np.random.default_rng(1)
N = 240
FRAME = pd.DataFrame(
    {
        "income": RNG.normal(size=N).round(3),
        "debt": RNG.normal(size=N).round(3),
        "job": RNG.choice(["clerk", "nurse", "smith"], N),
        "sex": RNG.choice(["female", "male"], N),
    }
)
FRAME["y"] = (FRAME["income"] - FRAME["debt"] + RNG.normal(size=N) > 0).astype(int)


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    monkeypatch.setattr(wire, "FIRST", 0.01)


def audited(folder: Path, model: str, *, data: str = "", frame=FRAME, only: str = ONLY, code: int = 0) -> Report:
    frame.to_csv(folder / "rows.csv", index=False)
    (folder / "audit.toml").write_text(TABLE.format(model=model, data=data, only=only))
    assert main(["run", str(folder / "audit.toml"), "--out", str(folder / "out"), "-q"]) == code
    page = (folder / "out" / "report.html").read_text()
    assert "adapters" in page
    return codec.read_record(folder / "out" / "result.json")


def value(report: Report, check: str, name: str) -> float:
    (outcome,) = (each for each in report.all_outcomes if each.check == check)
    assert outcome.status == "done", outcome.reason
    return next(e.value for e in outcome.evidence if isinstance(e, Measure) and e.name == name and not e.where)


def auc(score) -> float:
    y = FRAME["y"].to_numpy() == 1
    return float(np.mean((score[y][:, None] > score[~y]) + 0.5 * (score[y][:, None] == score[~y])))


@pytest.mark.parametrize("kind", ["xgboost", "lightgbm"])
def test_boosters(kind, tmp_path):
    x = FRAME[["income", "debt", "job"]].assign(
        job=pd.Categorical(FRAME["job"], categories=["smith", "nurse", "clerk"])
    )
    if kind == "xgboost":
        estimator = xgboost.XGBClassifier(n_estimators=10, n_jobs=1, enable_categorical=True).fit(x, FRAME["y"])
        estimator.save_model(tmp_path / "model.json")
    else:
        estimator = lightgbm.LGBMClassifier(n_estimators=10, n_jobs=1, verbose=-1).fit(x, FRAME["y"])
        estimator.booster_.save_model(tmp_path / "model.txt")
    file = "model.json" if kind == "xgboost" else "model.txt"
    report = audited(tmp_path, f'kind = "{kind}"\nweights = "{file}"')
    expected = auc(estimator.predict_proba(x)[:, 1])
    assert value(report, "performance.overall", "auc") == pytest.approx(expected, abs=1e-9)
    assert report.subject.model.kind == kind
    assert report.subject.model.features == ("income", "debt", "job")


def test_an_onnx_graph(tmp_path):
    numbers = FRAME.assign(**{name: RNG.normal(size=N) for name in "abcd"})
    onnx.save(logit_graph(), tmp_path / "model.onnx")
    names = ["income", "debt", "a", "b", "c", "d", "e"]
    numbers["e"] = RNG.normal(size=N)
    numbers.to_csv(tmp_path / "rows.csv", index=False)
    text = TABLE.format(model='kind = "onnx"\nweights = "model.onnx"\noutput = "logit"', data="", only=ONLY)
    (tmp_path / "audit.toml").write_text(text.replace('"income", "debt", "job"', str(names).replace("'", '"')[1:-1]))
    assert main(["run", str(tmp_path / "audit.toml"), "--out", str(tmp_path / "out"), "-q"]) == 0
    report = codec.read_record(tmp_path / "out" / "result.json")
    z = numbers[names].to_numpy(np.float32) @ np.array([1.2, -0.9, 0.7, 0, 0.1, 0, 0.4], dtype=np.float32)
    assert value(report, "performance.overall", "auc") == pytest.approx(auc(z), abs=1e-9)


HTTP = 'kind = "http"\n[model.http]\nurl = "{url}"\ntoken = "SCORING_TOKEN"\n{more}'


def http(service: Service, more: str = "") -> str:
    return HTTP.format(url=service.url, more=more)


def test_a_service_that_is_slow_and_flaky(tmp_path, monkeypatch):
    monkeypatch.setenv("SCORING_TOKEN", "s3cret-token")

    def reply(number, rows):
        return (503, {}, b"busy") if number % 3 == 1 else ok(logistic(rows))

    with serving(reply=reply, delay=0.02) as service:
        report = audited(tmp_path, http(service), code=0)
        assert {header["Authorization"] for header in service.headers} == {"Bearer s3cret-token"}
    expected = auc(np.array(logistic(FRAME[["income", "debt"]].to_numpy().tolist())))
    assert value(report, "performance.overall", "auc") == pytest.approx(expected, abs=1e-9)
    for path in (tmp_path / "out").iterdir():
        assert b"s3cret" not in path.read_bytes()
    assert report.subject.model.device == "elsewhere"


def test_a_service_that_is_once_wrong_shaped(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SCORING_TOKEN", "s3cret-token")

    def reply(number, rows):
        return ok(logistic(rows)[1:] if number == 0 else logistic(rows))

    (tmp_path / "out").mkdir()
    with serving(reply=reply) as service:
        FRAME.to_csv(tmp_path / "rows.csv", index=False)
        (tmp_path / "audit.toml").write_text(TABLE.format(model=http(service), data="", only=ONLY))
        assert main(["run", str(tmp_path / "audit.toml"), "--out", str(tmp_path / "out"), "-q"]) == 2
        said = capsys.readouterr().err
        assert "answered 59 predictions for 60 rows" in said
        assert "s3cret" not in said
        assert not (tmp_path / "out" / "result.json").exists()


def test_a_service_that_is_wrong_later_breaks_one_check_and_no_other(tmp_path, monkeypatch):
    monkeypatch.setenv("SCORING_TOKEN", "s3cret-token")

    def reply(number, rows):
        return ok(logistic(rows) if number < 4 else [[0.5, 0.5, 0.0]] * len(rows))

    with serving(reply=reply) as service:
        report = audited(tmp_path, http(service))
    status = {outcome.check: outcome for outcome in report.all_outcomes}
    assert status["performance.overall"].status == status["fairness.error_rates"].status == "done"
    assert status["explain.global_importance"].status == "error"
    assert "answers rows with 1 and with 3 numbers" in status["explain.global_importance"].reason


def test_the_rows_that_may_be_sent_bound_what_is_explained(tmp_path, monkeypatch):
    monkeypatch.setenv("SCORING_TOKEN", "s3cret-token")
    with serving() as service:
        report = audited(tmp_path, http(service, "queries = 400"), code=3)
        assert service.rows <= 400
    (outcome,) = (each for each in report.all_outcomes if each.check == "explain.global_importance")
    assert outcome.status == "stopped"
    assert "queries allows 400 rows" in outcome.reason


def test_ctrl_c_ends_a_call_that_hangs(tmp_path):
    with serving(delay=60) as service:
        FRAME.to_csv(tmp_path / "rows.csv", index=False)
        (tmp_path / "audit.toml").write_text(TABLE.format(model=http(service, "timeout = 60"), data="", only=ONLY))
        command = [sys.executable, "-m", "audit", "run", str(tmp_path / "audit.toml"), "--out", str(tmp_path / "out")]
        environment = {**os.environ, "SCORING_TOKEN": "s3cret-token"}
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
            while not service.requests:
                time.sleep(0.02)
                assert process.poll() is None
            process.send_signal(signal.SIGINT)
            started = time.monotonic()
            _, said = process.communicate(timeout=20)
        assert time.monotonic() - started < 5
        assert process.returncode == 2
        assert "stopped by Ctrl-C" in said


def test_recorded_predictions(tmp_path):
    score = 1 / (1 + np.exp(-FRAME["income"]))
    report = audited(tmp_path, 'kind = "predictions"', data='score = "s"', frame=FRAME.assign(s=score))
    assert value(report, "performance.overall", "auc") == pytest.approx(auc(score.to_numpy()), abs=1e-9)
    (outcome,) = (each for each in report.all_outcomes if each.check == "explain.global_importance")
    assert outcome.status == "not_applicable"
    assert "recorded predictions" in outcome.reason


def test_the_configurations_in_the_docs_are_valid():
    text = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
    blocks = [part.partition("```")[0] for part in text.split("```toml\n")[1:]]
    kinds = {codec.spec_from_toml(block).model.kind for block in blocks}
    assert {"predictions", "xgboost", "lightgbm", "onnx", "http"} <= kinds
