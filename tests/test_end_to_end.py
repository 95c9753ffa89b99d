"""Whole audits of real data, from a configuration to the record and the page."""

import csv
import json

import numpy as np
import pandas as pd
import pytest
from expected_names import GAPS, NAMES

from audit import codec
from audit.cli import main
from audit.core import Curve, Measure


def run(folder, *arguments) -> int:
    return main(["run", str(folder / "audit.toml"), "--out", str(folder / "out"), "-q", *arguments])


def record(folder):
    return codec.read_record(folder / "out" / "result.json")


def found(report) -> dict:
    """Every measure by name and place, from whichever check has it."""
    return {
        (evidence.name, frozenset(evidence.where.items())): evidence
        for outcome in report.outcomes
        for evidence in outcome.evidence
        if isinstance(evidence, Measure)
    }


def key(name, **where):
    return name, frozenset(where.items())


@pytest.fixture(scope="module")
def compas(tmp_path_factory, test_data):
    folder = tmp_path_factory.mktemp("compas")
    path = test_data / "compas" / "compas_two_years_deidentified.csv"
    (folder / "audit.toml").write_text(
        f"""
        [system]
        name = "COMPAS"
        [data]
        path = {json.dumps(str(path))}
        label = "two_year_recid"
        score = "decile_score"
        threshold = 5
        [groups]
        attributes = ["race", "sex", "age_cat"]
        intersect = [["race", "sex"]]
        [[gate]]
        check = "fairness.error_rates"
        measure = "fpr"
        by = "race"
        max = 0.40
        """
    )
    assert run(folder) == 1
    expected = json.loads((test_data / "expected_A.json").read_text())["compas"]
    return found(record(folder)), expected, record(folder)


def test_propublica(compas):
    measures, _, report = compas
    published = {"African-American": (0.4485, 0.2799), "Caucasian": (0.2345, 0.4772)}
    for race, (fpr, fnr) in published.items():
        assert round(measures[key("fpr", race=race)].value, 4) == fpr
        assert round(measures[key("fnr", race=race)].value, 4) == fnr
    explain = {o.check: o for o in report.outcomes}["explain.global_importance"]
    assert explain.status == "not_applicable"
    assert "only recorded predictions" in explain.reason


@pytest.mark.parametrize("attribute", ["race", "sex", "age_cat"])
def test_every_expected_figure_of_compas(compas, attribute):
    measures, expected, _ = compas
    table = expected[attribute]
    compared = 0
    for where, rates in [({}, table["overall"]), *(({attribute: g}, r) for g, r in table["by_group"].items())]:
        for theirs, ours in NAMES.items():
            assert measures[key(ours, **where)].value == pytest.approx(rates[theirs], abs=1e-9)
            compared += 1
        assert measures[key("selection_rate", **where)].n == rates["n"]
    for theirs, ours in GAPS.items():
        assert measures[key(ours, **{attribute: "*"})].value == pytest.approx(table[theirs], abs=1e-9), ours
    assert measures[key("theil_index")].value == pytest.approx(table["theil_index"], abs=1e-9)
    assert compared == 9 * (1 + len(table["by_group"]))


def test_the_other_expected_figures_of_compas(compas):
    measures, expected, report = compas
    race = expected["race"]
    flat = {**expected, **race}
    assert measures[key("auc")].value == pytest.approx(flat["auc_overall"], abs=1e-9)
    for group, auc in flat["auc_by_race"].items():
        assert measures[key("auc", race=group)].value == pytest.approx(auc, abs=1e-9)
    curves = {c.where.get("race"): c for o in report.outcomes for c in o.evidence if isinstance(c, Curve)}
    for group, deciles in flat["calibration_recid_rate_by_decile"].items():
        observed = dict(zip(curves[group].x, curves[group].y, strict=True))
        for decile, rate in deciles.items():
            assert observed[float(decile)] == pytest.approx(rate, abs=1e-9)
    for pair, rates in flat["intersectional_race_sex"].items():
        race_, sex = pair.split("|")
        for theirs, ours in NAMES.items():
            assert measures[key(ours, race=race_, sex=sex)].value == pytest.approx(rates[theirs], abs=1e-9)
    low = {group: 1 - measures[key("selection_rate", race=group)].value for group in ("African-American", "Caucasian")}
    favourable = flat["aif360_statistical_parity_difference_black_minus_white_of_favourable_low"]
    assert low["African-American"] - low["Caucasian"] == pytest.approx(favourable, abs=1e-9)


def test_an_inverted_score_is_said_to_be(tmp_path, test_data):
    path = test_data / "aequitas_predictions" / "adult_rf_binary.csv"
    (tmp_path / "audit.toml").write_text(
        f'[data]\npath = {json.dumps(str(path))}\nlabel = "label_value"\nscore = "score"\n[groups]\nattributes = ["gender"]\n'
    )
    assert run(tmp_path, "-o", f"md:{tmp_path / 'summary.md'}") == 0
    report = record(tmp_path)
    ruling = next(r for r in report.rulings if r.origin == "default")
    auc = report.find(ruling.slices[0].ref)
    assert (ruling.outcome, auc.name) == ("fail", "auc")
    assert auc.interval.high < 0.45
    assert "inverted" in auc.note
    for page in ("out/report.html", "summary.md"):
        assert "inverted" in (tmp_path / page).read_text()


ADULT = [
    "age",
    "workclass",
    "fnlwgt",
    "education",
    "education_num",
    "marital_status",
    "occupation",
    "relationship",
    "race",
    "sex",
    "capital_gain",
    "capital_loss",
    "hours_per_week",
    "native_country",
    "income",
]
ADULT_MODEL = """
import numpy as np
import pandas as pd
import torch
from torch import nn

FEATURES = {features!r}


class Scorer(nn.Module):
    def __init__(self, mean, scale):
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)
        self.net = nn.Sequential(nn.Linear(len(FEATURES), 32), nn.ReLU(), nn.Linear(32, 1))

    def forward(self, x):
        return self.net((x - self.mean) / self.scale)


def build():
    frame = pd.read_csv({train!r})
    x = torch.tensor(frame[FEATURES].to_numpy(dtype=np.float32))
    y = torch.tensor((frame["income"] == ">50K").to_numpy(dtype=np.float32))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Scorer(x.mean(0), x.std(0))
        optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
        for _ in range(3):
            for batch in torch.randperm(len(x)).split(512):
                optimiser.zero_grad()
                nn.functional.binary_cross_entropy_with_logits(model(x[batch])[:, 0], y[batch]).backward()
                optimiser.step()
    return model
"""


def adult(source, target):
    with source.open() as lines:
        rows = [[cell.strip().rstrip(".") for cell in row] for row in csv.reader(lines) if len(row) == len(ADULT)]
    pd.DataFrame(rows, columns=ADULT).to_csv(target, index=False)


def test_adult_with_a_torch_network_by_sex_and_race(tmp_path, test_data):
    train, test = tmp_path / "train.csv", tmp_path / "test.csv"
    adult(test_data / "adult" / "adult.data", train)
    adult(test_data / "adult" / "adult.test", test)
    features = ["age", "education_num", "capital_gain", "capital_loss", "hours_per_week"]
    (tmp_path / "model.py").write_text(ADULT_MODEL.format(train=str(train), features=features))
    (tmp_path / "audit.toml").write_text(
        f"""
        [model]
        kind = "torch"
        factory = "model:build"
        output = "logit"
        [data]
        path = "test.csv"
        label = "income"
        positive = ">50K"
        features = {json.dumps(features)}
        [groups]
        attributes = ["sex", "race"]
        intersect = [["sex", "race"]]
        [[gate]]
        check = "fairness.impact_ratio"
        measure = "impact_ratio"
        by = "sex"
        min = 0.8
        """
    )
    assert run(tmp_path) == 1
    report = record(tmp_path)
    assert report.subject.rows == 16281
    assert {o.check: o.status for o in report.all_outcomes if o.status not in ("done", "not_applicable")} == {}
    assert all(o.reason for o in report.all_outcomes if o.status == "not_applicable")
    measures = found(report)
    assert measures[key("auc")].value > 0.8
    frame = pd.read_csv(test)
    for (sex, race), rows in frame.groupby(["sex", "race"]):
        base = measures[key("base_rate", sex=sex, race=race)]
        assert base.value == pytest.approx((rows.income == ">50K").mean(), abs=1e-12)
        assert measures[key("selection_rate", sex=sex, race=race)].n == len(rows)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Amer-Indian-Eskimo" in page
    assert len(page) < 1_400_000


GERMAN_MODEL = """
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

NUMBERS = ["c2", "c5", "c8", "c11", "c13", "c16", "c18"]
WORDS = ["c1", "c3", "c4", "c6", "c7", "c10", "c12", "c14", "c15", "c17", "c19", "c20"]


def build():
    frame = pd.read_csv({train!r})
    columns = make_column_transformer((StandardScaler(), NUMBERS), (OneHotEncoder(handle_unknown="ignore"), WORDS))
    return make_pipeline(columns, LogisticRegression(max_iter=1000)).fit(frame[NUMBERS + WORDS], frame["good"] == 1)
"""


def test_german_credit_with_a_pipeline_of_text_and_numbers(tmp_path, test_data):
    names = [f"c{i}" for i in range(1, 22)]
    frame = pd.read_csv(test_data / "german_credit" / "german.data", sep=" ", names=names)
    frame["good"] = (frame.pop("c21") == 1).astype(int)
    frame["age"] = np.where(frame["c13"] > 25, "over 25", "25 or less")
    frame.iloc[:600].to_csv(tmp_path / "train.csv", index=False)
    frame.iloc[600:].to_csv(tmp_path / "test.csv", index=False)
    (tmp_path / "model.py").write_text(GERMAN_MODEL.format(train=str(tmp_path / "train.csv")))
    (tmp_path / "audit.toml").write_text(
        """
        [model]
        kind = "sklearn"
        factory = "model:build"
        [data]
        path = "test.csv"
        label = "good"
        features = ["c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8", "c10", "c11", "c12", "c13", "c14", "c15", "c16", "c17", "c18", "c19", "c20"]
        [groups]
        attributes = ["age"]
        [checks]
        only = ["performance", "fairness", "carbon", "explain.global_importance", "explain.cases"]
        [checks."explain.global_importance"]
        rows = 16
        background = 8
        budget = 128
        [checks."explain.cases"]
        rows = 3
        """
    )
    assert run(tmp_path) == 0
    report = record(tmp_path)
    states = {o.check: o.status for o in report.all_outcomes}
    assert states["explain.global_importance"] == states["explain.cases"] == "done"
    assert states["carbon.inference"] == "not_applicable"
    measures = found(report)
    assert measures[key("auc")].value > 0.7
    for group, rows in frame.iloc[600:].groupby("age"):
        assert measures[key("base_rate", age=group)].value == pytest.approx(rows.good.mean(), abs=1e-12)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "A14" in page, "cases show categories by their text"
