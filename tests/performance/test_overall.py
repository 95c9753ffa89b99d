import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics
from subjects import context_of, find, subject_of

from audit.core import Curve, Measure, NotApplicable
from audit.performance.overall import overall


def run(subject, **params):
    return list(overall(subject, context_of(), **params))


def curve(evidence, **where) -> Curve:
    return next(e for e in evidence if isinstance(e, Curve) and dict(e.where) == where)


def scored(seed: int, n: int = 800) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    score = rng.beta(2, 3, n)
    y = (rng.random(n) < score).astype(int)
    return pd.DataFrame({"y": y, "s": score, "d": (score >= 0.5).astype(int), "g": rng.choice(["a", "b"], n)})


@pytest.fixture(scope="module")
def expected(test_data):
    return json.loads((test_data / "expected_A.json").read_text())


def test_compas_ranking_and_calibration(test_data, expected):
    frame = pd.read_csv(test_data / "compas" / "compas_two_years_deidentified.csv")
    frame["high"] = (frame["decile_score"] >= 5).astype(int)
    evidence = run(subject_of(frame, attributes=("race",), y="two_year_recid", decision="high", score="decile_score"))
    truth = expected["compas"]["race"]
    assert find(evidence, "auc").value == pytest.approx(truth["auc_overall"], abs=1e-9)
    for race, area in truth["auc_by_race"].items():
        assert find(evidence, "auc", race=race).value == pytest.approx(area, abs=1e-9)
        assert find(evidence, "accuracy", race=race).value == pytest.approx(truth["by_group"][race]["ACC"], abs=1e-9)
    for race, rates in truth["calibration_recid_rate_by_decile"].items():
        points = curve(evidence, race=race)
        assert points.x == tuple(float(decile) for decile in rates)
        assert points.y == pytest.approx(tuple(rates.values()), abs=1e-9)
        assert all(low <= y <= high for low, y, high in zip(points.low, points.y, points.high, strict=True))
    for name in ("brier", "log_loss", "expected_calibration_error"):
        assert find(evidence, name).value is None
        assert "no probabilities" in find(evidence, name).note


def test_an_inverted_score_is_called_out(test_data, expected):
    frame = pd.read_csv(test_data / "aequitas_predictions" / "adult_rf_binary.csv")
    evidence = run(subject_of(frame, attributes=("gender",), y="label_value", decision="score", score="score"))
    area, rates = find(evidence, "auc"), expected["adult_rf_binary"]["gender"]["overall"]
    assert area.value == pytest.approx((rates["TPR"] + rates["TNR"]) / 2, abs=1e-9)  # a score of two values
    assert area.interval.high < 0.5
    assert "is it inverted" in area.note
    assert find(evidence, "accuracy").value == pytest.approx(rates["ACC"], abs=1e-9)
    frame["score"] = 1 - frame["score"]
    sane = run(subject_of(frame, y="label_value", decision="score", score="score"))
    assert "inverted" not in find(sane, "auc").note


def test_figures_equal_scikit_learn():
    frame = scored(1)
    evidence = run(subject_of(frame, attributes=("g",), y="y", decision="d", score="s"))
    for where, part in [({}, frame), ({"g": "a"}, frame[frame["g"] == "a"])]:
        y, s, d = part["y"], part["s"], part["d"]
        assert find(evidence, "accuracy", **where).value == pytest.approx(sklearn.metrics.accuracy_score(y, d))
        assert find(evidence, "auc", **where).value == pytest.approx(sklearn.metrics.roc_auc_score(y, s), abs=1e-12)
        assert find(evidence, "brier", **where).value == pytest.approx(sklearn.metrics.brier_score_loss(y, s))
        assert find(evidence, "log_loss", **where).value == pytest.approx(sklearn.metrics.log_loss(y, s))
        assert find(evidence, "base_rate", **where).n == len(part)


def test_quantile_bins_and_calibration_error_equal_pandas():
    frame = scored(2, 1000)
    evidence = run(subject_of(frame, y="y", score="s"))
    groups = frame.groupby(pd.qcut(frame["s"], 10, labels=False))
    points = curve(evidence)
    assert points.x == pytest.approx(tuple(groups["s"].mean()))
    assert points.y == pytest.approx(tuple(groups["y"].mean()))
    distance = (groups["s"].mean() - groups["y"].mean()).abs()
    assert find(evidence, "expected_calibration_error").value == pytest.approx((distance * groups.size()).sum() / 1000)
    assert find(evidence, "accuracy").note == "undefined: there are no decisions"


@pytest.mark.parametrize("heavy", [False, True])
def test_frequencies_are_people_and_weights_are_not(heavy):
    frame = scored(3, 300).assign(f=np.arange(300) % 4)
    spread = frame.loc[frame.index.repeat(frame["f"])]
    weights = {"weights": "w"} if heavy else {}
    frame["w"] = spread_weight = 2.0
    counted = run(subject_of(frame, attributes=("g",), y="y", decision="d", score="s", frequency="f", **weights))
    direct = run(subject_of(spread.assign(w=spread_weight), attributes=("g",), y="y", decision="d", score="s"))
    assert len(counted) == len(direct)
    for mine, theirs in zip(counted, direct, strict=True):  # equal weights change nothing but the note
        assert mine.n == theirs.n
        if isinstance(mine, Measure):
            assert mine.value == pytest.approx(theirs.value, rel=1e-9)
            if mine.interval:
                assert mine.interval.low == pytest.approx(theirs.interval.low, rel=1e-9, abs=1e-12)
        else:
            assert mine.y == pytest.approx(theirs.y)
            assert mine.low == pytest.approx(theirs.low)


def test_weighted_figures_equal_scikit_learn():
    frame = scored(4).assign(w=np.random.default_rng(4).gamma(2.0, size=800))
    evidence = run(subject_of(frame, y="y", decision="d", score="s", weights="w"))
    y, s, w = frame["y"], frame["s"], frame["w"]
    assert find(evidence, "auc").value == pytest.approx(sklearn.metrics.roc_auc_score(y, s, sample_weight=w))
    assert find(evidence, "brier").value == pytest.approx(sklearn.metrics.brier_score_loss(y, s, sample_weight=w))
    accuracy = sklearn.metrics.accuracy_score(y, frame["d"], sample_weight=w)
    assert find(evidence, "accuracy").value == pytest.approx(accuracy)
    assert f"effective n {w.sum() ** 2 / (w**2).sum():.1f}" in find(evidence, "accuracy").note


def test_what_is_undefined_says_why():
    one_class = pd.DataFrame({"y": [1, 1, 1], "d": [1, 0, 1], "s": [0.2, 0.0, 1.0]})
    evidence = run(subject_of(one_class, y="y", decision="d", score="s"))
    assert find(evidence, "auc").note == "undefined: there is no negative label to rank against"
    assert find(evidence, "log_loss").value is None
    assert "infinite" in find(evidence, "log_loss").note
    assert find(evidence, "brier").value == pytest.approx((0.64 + 1.0) / 3)
    unscored = run(subject_of(one_class, y="y", decision="d"))
    assert find(unscored, "auc").note == "undefined: there are no scores"
    assert not [e for e in unscored if isinstance(e, Curve)]


def test_an_empty_group_has_no_figures_and_no_curve():
    frame = scored(5, 50)
    frame["g"] = pd.Categorical(frame["g"], categories=["a", "b", "never"])
    evidence = run(subject_of(frame, attributes=("g",), y="y", decision="d", score="s"))
    empty = [e for e in evidence if e.where == {"g": "never"}]
    assert {e.name for e in empty} == {
        "base_rate",
        "accuracy",
        "auc",
        "brier",
        "log_loss",
        "expected_calibration_error",
    }
    assert all(isinstance(e, Measure) and e.value is None and e.note for e in empty)
    assert all(not e.where for e in run(subject_of(frame, attributes=("g",), y="y", score="s"), by_group=False))


def test_more_than_two_classes_have_accuracy_and_log_loss():
    rng = np.random.default_rng(6)
    score = rng.dirichlet([1.0, 1.0, 1.0], 200)
    frame = pd.DataFrame({"y": rng.integers(0, 3, 200), "g": rng.choice(["a", "b"], 200)})
    subject = subject_of(frame, attributes=("g",), y="y", classes=("x", "y", "z"))
    evidence = run(replace(subject, score=score))
    assert {e.name for e in evidence} == {"accuracy", "log_loss"}
    inside = (frame["g"] == "a").to_numpy()
    for where, rows in [({}, np.full(200, True)), ({"g": "a"}, inside)]:
        y, chances = frame["y"][rows], score[rows]
        accuracy = sklearn.metrics.accuracy_score(y, chances.argmax(axis=1))
        assert find(evidence, "accuracy", **where).value == pytest.approx(accuracy)
        assert find(evidence, "log_loss", **where).value == pytest.approx(sklearn.metrics.log_loss(y, chances))
    assert find(run(subject), "log_loss").note == "undefined: there are no scores"


def test_two_columns_of_scores_are_read_as_the_second():
    frame = scored(8, 100)
    subject = subject_of(frame, attributes=("g",), y="y", decision="d", score="s")
    both = replace(subject, score=np.column_stack([1 - frame["s"], frame["s"]]))
    for one, other in zip(run(subject), run(both), strict=True):
        assert one == other


def test_without_labels_it_does_not_apply():
    with pytest.raises(NotApplicable, match="no labels"):
        run(subject_of(scored(7, 9), decision="d"))
