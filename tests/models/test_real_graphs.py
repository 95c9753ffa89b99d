"""Graph networks on real data, from training to the page: German credit by gender, and Cora's seven subjects."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, roc_auc_score

from audit.core import Measure, Spec, Table
from audit.models.reference import read
from benchmarks.real_graphs import audited, cora, german, part

FAMILIES = ("gcn", "gat", "gin")
MEASURED = '["performance.overall", "fairness.selection", "fairness.graph"'


@pytest.fixture(scope="module")
def done(test_data, tmp_path_factory):
    """Where each family's audit of German credit lies, and its report: of the first with single cases."""
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUDIT_TEST_DATA", str(test_data))
        for family in FAMILIES:
            where = tmp_path_factory.mktemp(family)
            only = MEASURED + (', "explain.cases"]' if family == "gcn" else "]")
            report, _ = audited("german", family, where, training=500, seed=0, only=only, held=300, epochs=40)
            found[family] = where, report
    return found


def evidence(report, check):
    outcome = next(one for one in report.all_outcomes if one.check == check)
    assert outcome.status == "done", outcome.reason
    return outcome.evidence


def test_the_graphs_are_those_of_the_files(test_data):
    data = german(test_data)
    frame = pd.read_csv(test_data / "graph_german" / "german.csv")
    assert len(data) == 1000
    assert "Gender" not in data.names
    assert (data.groups["gender"].values == 0).sum() == (frame["Gender"] == data.groups["gender"].levels[0]).sum()
    assert data.y.sum() == (frame["GoodCustomer"] == 1).sum() == 700
    assert len(np.unique(np.sort(data.inputs.edges, axis=1), axis=0)) <= 24_970
    papers = cora(test_data)
    assert papers.inputs.features.shape == (2708, 1433)
    assert papers.inputs.features.sum() == 49_216
    assert not papers.groups
    assert np.bincount(papers.y).sum() == 2708
    assert len(papers.classes) == 7


@pytest.mark.parametrize("family", FAMILIES)
def test_the_audit_tells_what_sklearn_and_numpy_tell(family, done, test_data):
    where, report = done[family]
    rows, whole = np.load(where / "rows.npy"), german(test_data)
    data = part(whole, rows)
    score = read(where / "model", data, Spec()).predict(data.inputs)
    found = {e.name: e for e in evidence(report, "performance.overall") if isinstance(e, Measure) and not e.where}
    assert found["auc"].value == pytest.approx(roc_auc_score(data.y, score), abs=1e-9)
    assert found["auc"].value > 0.6
    sex = data.groups["gender"].values
    gap = next(e for e in evidence(report, "fairness.selection") if e.name == "demographic_parity_difference")
    assert gap.value == pytest.approx(abs((score[sex == 0] >= 0.5).mean() - (score[sex == 1] >= 0.5).mean()))
    row = np.full(1000, -1)
    row[rows] = np.arange(300)
    ties = row[whole.inputs.edges]
    ties = ties[(ties >= 0).all(axis=1)]
    same = next(e for e in evidence(report, "fairness.graph") if e.name == "edge_homophily")
    assert same.value == pytest.approx((sex[ties[:, 0]] == sex[ties[:, 1]]).mean())


@pytest.mark.parametrize(("family", "least"), [("gcn", 0.8), ("gat", 0.7), ("gin", 0.55)])
def test_papers_of_seven_subjects_are_told_apart_and_audited(family, least, test_data, tmp_path, monkeypatch):
    """A third of the papers is of the largest subject. What the audit says of the others is what sklearn says."""
    monkeypatch.setenv("AUDIT_TEST_DATA", str(test_data))
    only = '["performance.overall"]'
    report, _ = audited("cora", family, tmp_path, training=1000, seed=0, only=only, epochs=15, rate=0.05)
    data = part(cora(test_data), np.load(tmp_path / "rows.npy"))
    told = read(tmp_path / "model", data, Spec()).predict(data.inputs).argmax(axis=1)
    found = {e.name: e for e in evidence(report, "performance.overall") if isinstance(e, Measure) and not e.where}
    assert found["accuracy"].value == pytest.approx(accuracy_score(data.y, told))
    assert found["accuracy"].value > least
    assert found["accuracy"].n == 1708


def test_people_are_shown_among_those_who_are_like_them(done):
    where, report = done["gcn"]
    tables = [e for e in evidence(report, "explain.cases") if isinstance(e, Table) and e.view == "neighbourhood"]
    assert len(tables) == 2
    errors = [e for e in evidence(report, "explain.cases") if e.name == "completeness_error"]
    assert {e.where["players"] for e in errors} >= {"feature", "node"}
    assert max(e.value for e in errors) < 1e-5
    assert any(row[3] == "gender = Female" for row in tables[0].rows)
    assert (where / "out" / "report.html").read_text().count('<svg class="neighbourhood"') == 2
