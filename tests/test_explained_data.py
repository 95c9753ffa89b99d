"""Explanations of models of real data, from a configuration to the record and the page, against figures known apart."""

import importlib.util
import json
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from explained_models import ADULT, GERMAN, HEART, WRITERS

from audit import codec
from audit.core import Measure, Table
from audit.explain import game, reason_codes, shapley
from audit.explain.closed_forms import linear_shapley


def load(folder):
    """The module model.py of a folder."""
    spec = importlib.util.spec_from_file_location(f"explained_{folder.name}", folder / "model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read(folder):
    return codec.read_record(folder / "out" / "result.json")


def outcome(report, check):
    return next(one for one in report.all_outcomes if one.check == check)


def tables(report, check, name=None):
    return [e for e in outcome(report, check).evidence if isinstance(e, Table) and name in (None, e.name)]


def measures(report, check):
    found = [e for e in outcome(report, check).evidence if isinstance(e, Measure)]
    return {(one.name, *sorted(one.where.items())): one.value for one in found}


def row_of(table) -> int:
    return int(re.match(r"Row (\d+)", table.title)[1])


class Page(HTMLParser):
    """The pictures of a page, by their text alternatives, and its tokens."""

    def __init__(self, text):
        super().__init__()
        self.alternatives: list[str | None] = []
        self.tokens: list[str] = []
        self.inside = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if tag == "img":
            self.alternatives.append(attributes.get("alt"))
        self.inside = tag == "span" and "tok" in (attributes.get("class") or "").split()

    def handle_data(self, data):
        if self.inside:
            self.tokens.append(data)
            self.inside = False


@pytest.mark.parametrize("name", WRITERS)
def test_every_explanation_is_given_or_says_why_not(explained, name):
    folder = explained(name)
    report = read(folder)
    about = [one for one in report.all_outcomes if one.check.startswith("explain.")]
    assert len(about) >= 15
    assert {one.check: one.status for one in about if one.status not in ("done", "not_applicable")} == {}
    assert all(one.reason for one in about if one.status == "not_applicable")
    page = (folder / "out" / "report.html").read_text("utf-8")
    assert len(page) < 1_500_000
    assert not re.search(r">\s*(nan|inf|None)\s*<", page)
    assert outcome(report, "explain.cases").status == outcome(report, "explain.completeness").status == "done"


# ------------------------------------------------------------------------------------------------- heart disease
@pytest.fixture(scope="module")
def published(test_data):
    return json.loads((test_data / "expected_A.json").read_text())["heart_cleveland"]


def test_the_published_linear_values_come_out_of_the_whole_audit(explained, published):
    folder = explained("heart")
    known, coefficients = published["exact_interventional_shap_of_ols"], published["ols_on_complete_rows"]["coef"]
    frame = pd.read_csv(folder / "rows.csv")
    cases = tables(read(folder), "explain.cases", "case")
    assert len(cases) == 2
    for case in cases:
        row, values = row_of(case), {line[0]: line[2] for line in case.rows}
        assert set(values) == set(HEART)
        for feature, value in values.items():
            expected = coefficients[feature] * (frame[feature][row] - frame[feature].mean())
            assert value == pytest.approx(expected, abs=1e-9), (row, feature)
        base = re.search(r"base ([\d.]+)", case.note)[1]
        assert float(base) == pytest.approx(known["base_value"], abs=5e-5)  # told to four figures
    assert measures(read(folder), "explain.cases")["completeness_error", ("method", "shap")] < 1e-12


@pytest.mark.parametrize("explain", [lambda game: shapley(game, budget=2**13), linear_shapley])
def test_the_published_rows_in_a_notebook(explained, published, explain):
    folder = explained("heart")
    rows = pd.read_csv(folder / "rows.csv")[HEART]
    known = published["exact_interventional_shap_of_ols"]
    found = explain(game(load(folder).build(), rows.iloc[:3], rows))
    np.testing.assert_allclose(found.base, known["base_value"], atol=1e-9)
    for row, expected in enumerate(known["first_3_rows"]):
        for place, feature in enumerate(found.players[row]):
            assert found.values[row, place] == pytest.approx(expected[feature], abs=1e-9), (row, feature)


# ------------------------------------------------------------------------------------------------- German credit
def told_notices(report):
    """Row to its lines (rank, reason, effect) as the record has them."""
    (table,) = tables(report, "explain.reason_codes", "notices")
    lines: dict[int, list] = {}
    for row, _, rank, reason, effect, _ in table.rows:
        lines.setdefault(row, []).append((rank, reason, effect))
    return lines


def contributions(estimator, frame):
    """What each feature adds to the log-odds (n, features): its coefficients times its encoded columns."""
    encoder, logistic = estimator[0], estimator[-1]
    coded = encoder.transform(frame)
    coded = np.asarray(coded.todense() if hasattr(coded, "todense") else coded) * logistic.coef_[0]
    owner = [name.split("__", 1)[1] for name in encoder.get_feature_names_out()]
    features = GERMAN["numbers"] + GERMAN["words"]
    out = np.zeros((len(frame), len(features)))
    for column, name in enumerate(owner):
        feature = name if name in features else name.rsplit("_", 1)[0]
        out[:, features.index(feature)] += coded[:, column]
    return features, out


def test_every_denied_applicant_gets_reasons_from_scored_features_only(explained):
    folder = explained("german")
    frame, estimator = pd.read_csv(folder / "test.csv"), load(folder).build()
    features, parts = contributions(estimator, frame)
    denied = np.flatnonzero(estimator.predict_proba(frame)[:, 1] < 0.5)
    assert len(denied) > 15
    notices = told_notices(read(folder))
    assert sorted(notices) == denied.tolist()
    effects = parts - parts.mean(axis=0)  # of an additive score, against all applicants
    doubt = 1.959964 * parts.std(axis=0, ddof=1) / np.sqrt(len(parts))
    for row, lines in notices.items():
        given = [(reason.partition(":")[0], effect) for rank, reason, effect in lines if rank is not None]
        assert 1 <= len(given) <= 4
        assert [rank for rank, _, _ in lines if rank is not None] == list(range(1, len(given) + 1))
        assert {name for name, _ in given} <= set(features) - {"foreign_worker"}
        against = [k for k in np.argsort(effects[row]) if effects[row, k] < -doubt[k] * 1.05]
        assert [name for name, _ in given] == [features[k] for k in against if features[k] != "foreign_worker"][:4]
        for name, effect in given:
            assert effect == pytest.approx(effects[row, features.index(name)], abs=2e-3), (row, name)


def test_a_notebook_gives_the_same_reasons_as_the_audit(explained):
    folder = explained("german")
    names = GERMAN["numbers"] + GERMAN["words"]
    frame, estimator = pd.read_csv(folder / "test.csv")[names], load(folder).build()
    notices = told_notices(read(folder))
    rows = sorted(notices)
    found = shapley(game(estimator, frame.iloc[rows], frame, link="logit"), budget=96, seed=0)
    given = reason_codes(
        found, inputs=frame.iloc[rows], background=frame, protected=["foreign_worker"], confidence=0.95
    )
    for row, reasons in zip(rows, given.reasons, strict=True):
        told = [(rank, reason, effect) for rank, reason, effect in notices[row] if rank is not None]
        assert [one.text for one in reasons] == [reason for _, reason, _ in told]
        assert [one.effect for one in reasons] == pytest.approx([effect for _, _, effect in told], abs=1e-9)


def test_how_often_a_reason_is_given_is_the_share_of_the_notices(explained):
    report = read(explained("german"))
    notices = told_notices(report)
    for (name, *where), value in measures(report, "explain.reason_codes").items():
        place = dict(where)
        if name == "reason_share":
            hits = [
                any(reason.startswith(f"{place['feature']}:") for _, reason, _ in lines) for lines in notices.values()
            ]
            assert value == pytest.approx(np.mean(hits), abs=1e-12), place
        if name == "protected_reason_share" and place["method"] == "all":
            withheld = [any("foreign_worker is protected" in reason for _, reason, _ in x) for x in notices.values()]
            assert value == pytest.approx(np.mean(withheld), abs=1e-12)


# --------------------------------------------------------------------------------------------------------- Adult
def test_boosting_on_adult_agrees_with_tree_shap(explained):
    shap = pytest.importorskip("shap")
    folder = explained("adult_trees")
    rows, estimator = pd.read_csv(folder / "adult.test.csv")[ADULT], load(folder).build()
    cases = tables(read(folder), "explain.cases", "case")
    assert len(cases) == 6
    behind = shap.maskers.Independent(rows.to_numpy(float), max_samples=len(rows))  # else it draws 100
    peer = shap.TreeExplainer(estimator, behind, feature_perturbation="interventional")
    chosen = [row_of(case) for case in cases]
    expected = peer.shap_values(rows.to_numpy(float)[chosen])
    for case, values in zip(cases, expected, strict=True):
        for feature, _, value, *_ in case.rows:
            assert value == pytest.approx(values[ADULT.index(feature)], abs=1e-6), (case.title, feature)


def test_a_perceptron_on_adult_adds_up(explained):
    report = read(explained("adult_mlp"))
    errors = {key: value for key, value in measures(report, "explain.cases").items() if key[0] == "completeness_error"}
    assert errors["completeness_error", ("method", "shap")] < 1e-9
    assert errors["completeness_error", ("method", "integrated gradients")] < 0.05
    assert outcome(report, "explain.randomisation").status == "done"
    (ranking,) = tables(report, "explain.global_importance", "ranking")
    assert {line[1] for line in ranking.rows} == set(ADULT)


# -------------------------------------------------------------------------------------------------------- digits
def test_pictures_of_digits_are_maps_with_words(explained):
    folder = explained("digits")
    report = read(folder)
    pictures, maps = tables(report, "explain.cases", "picture"), tables(report, "explain.cases", "shap")
    assert len(pictures) == len(maps) == len(tables(report, "explain.cases", "ig")) == 4
    module = load(folder)
    values = module.data().inputs.values
    for picture, heat in zip(pictures, maps, strict=True):
        assert row_of(picture) == row_of(heat)
        np.testing.assert_allclose(np.array(picture.rows), values[row_of(picture), 0], atol=1e-12)
        base, output = (float(x) for x in re.search(r"base (\S+), output (\S+)", heat.note).groups())
        blocks = np.array(heat.rows)[::2, ::2]  # players are squares of two by two pixels
        assert np.array_equal(np.kron(blocks, np.ones((2, 2))), np.array(heat.rows))
        assert blocks.sum() == pytest.approx(output - base, abs=1e-3)
    page = Page((folder / "out" / "report.html").read_text("utf-8"))
    assert len(page.alternatives) >= 12
    assert all(text and len(text) > 20 for text in page.alternatives)


# ----------------------------------------------------------------------------------------------------- Winogender
def test_words_of_winogender_stand_in_the_page(explained):
    folder = explained("winogender")
    report = read(folder)
    cases = tables(report, "explain.cases", "tokens")
    assert len(cases) == 3
    page, sentences = Page((folder / "out" / "report.html").read_text("utf-8")), load(folder).sentences()[0]
    told = " ".join(page.tokens)
    for case in cases:
        words = [line[0] for line in case.rows]
        assert words == re.findall(r"[\w]+(?:'\w+)?|[^\w\s]", sentences[row_of(case)].lower())
        assert " ".join(words) in told
    assert outcome(report, "explain.attention").status == "done"


def test_what_a_changed_pronoun_changes(explained):
    """Sentences that differ in he and she alone: by how much do the answers, and what do their explanations say of it?"""
    folder = explained("winogender")
    module = load(folder)
    inputs, (_, facts, _) = module.data().inputs, module.sentences()
    place = {tuple(fact[:4]): row for row, fact in enumerate(facts)}
    pairs = np.array([(row, place[(*fact[:3], "female")]) for row, fact in enumerate(facts) if fact[3] == "male"])
    assert len(pairs) == 240
    differ = inputs.ids[pairs[:, 0]] != inputs.ids[pairs[:, 1]]
    assert (differ.sum(axis=1) == 1).all()
    net = module.build().eval()
    answers = game(net, inputs, output="logit", classes=("participant", "occupation")).model.predict(inputs)
    moved = answers[pairs[:, 0]] - answers[pairs[:, 1]]
    assert np.median(np.abs(moved)) < 0.02  # it learns occupations; few sentences turn on the pronoun
    most = pairs[np.argsort(-np.abs(moved))[:3]]
    played = game(net, inputs.take(most.ravel()), output="logit", classes=("participant", "occupation"))
    found = shapley(played, budget=512, seed=1)
    np.testing.assert_allclose(
        found.outputs[::2] - found.outputs[1::2], answers[most[:, 0]] - answers[most[:, 1]], atol=1e-6
    )
    for first in range(0, 6, 2):
        names, others = found.players[first], found.players[first + 1]
        (pronoun,) = [k for k, (one, other) in enumerate(zip(names, others, strict=True)) if one != other]
        assert {names[pronoun], others[pronoun]} in (
            {"he", "she"},
            {"him", "her"},
            {"his", "her"},
            {"himself", "herself"},
        )
        change = found.values[first] - found.values[first + 1]
        told = found.outputs[first] - found.outputs[first + 1]
        assert change[: len(names)].sum() == pytest.approx(told, abs=1e-9)  # with pronouns masked both are one sentence
        assert abs(change[pronoun]) > 0.25 * abs(told)
