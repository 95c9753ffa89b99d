"""Several classes by group against scikit-learn, fairlearn, scipy and simulation."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from fairlearn.metrics import demographic_parity_difference
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, precision_score, recall_score
from subjects import context_of, find, subject_of

from audit import codec, engine
from audit.core import DataError, Measure
from audit.fairness.multiclass import class_distance, confusion_by_group, macro, multiclass, one_vs_rest
from audit.fairness.rates import shares

CLASSES = ("low", "mid", "high")


def people(seed: int, n: int, shift: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    g, y = rng.choice(["a", "b"], n), rng.integers(0, 3, n)
    raw = rng.normal(size=(n, 3)) + np.eye(3)[y]
    raw[:, 2] += shift * (g == "b")
    score = np.exp(raw) / np.exp(raw).sum(axis=1, keepdims=True)
    frame = pd.DataFrame({"g": g, "y": y, "w": rng.gamma(2.0, size=n), "p": score.argmax(axis=1)})
    return frame.assign(s0=score[:, 0], s1=score[:, 1], s2=score[:, 2])


def subject(frame, **more):
    made = subject_of(frame, attributes=("g",), y="y", classes=CLASSES, **more)
    return replace(made, score=frame[["s0", "s1", "s2"]].to_numpy())


@given(st.integers(0, 2**32 - 1), st.integers(30, 200))
@settings(max_examples=20, deadline=None)
def test_tables_equal_scikit_learn(seed, n):
    frame = people(seed, n)
    found = confusion_by_group(frame.y, frame.p, sensitive_features=frame.g, classes=3)
    for table, name in zip(found, sorted(set(frame.g)), strict=True):
        part = frame[frame.g == name]
        np.testing.assert_array_equal(table, confusion_matrix(part.y, part.p, labels=[0, 1, 2]))
        present = sorted(set(part.y))
        assert macro(table, "tpr") == pytest.approx(
            recall_score(part.y, part.p, average="macro", labels=present), abs=1e-12
        )
        given_out = sorted(set(part.p))
        theirs = precision_score(part.y, part.p, average="macro", labels=given_out)
        assert macro(table, "ppv") == pytest.approx(theirs, abs=1e-12)
        for c in range(3):
            cells = one_vs_rest(table)[c]
            np.testing.assert_array_equal(
                cells, confusion_matrix(part.y == c, part.p == c, labels=[False, True]).ravel()
            )
    shares_of = [np.bincount(frame.p[frame.g == name], minlength=3) / (frame.g == name).sum() for name in "ab"]
    assert class_distance(found, 0)[1] == pytest.approx(np.abs(shares_of[0] - shares_of[1]).sum() / 2, abs=1e-12)


def test_two_classes_are_the_plain_rates():
    rng = np.random.default_rng(1)
    y, p, g = rng.integers(0, 2, (3, 300))
    table = confusion_by_group(y, p, sensitive_features=g)
    np.testing.assert_array_equal(one_vs_rest(table)[:, 1], table.reshape(2, 4))
    rate = shares(one_vs_rest(table)[:, 1], ("selection_rate",))[:, 0]
    assert abs(rate[0] - rate[1]) == pytest.approx(class_distance(table, 0)[1], abs=1e-12)


def test_the_check():
    frame = people(2, 900, shift=0.8)
    evidence = list(multiclass(subject(frame, reference={"g": "a"}), context_of(), replicates=200))
    b = frame[frame.g == "b"]
    tpr = find(evidence, "tpr", g="b", **{"class": "high"})
    assert (tpr.value, tpr.n) == (pytest.approx(recall_score(b.y == 2, b.p == 2), abs=1e-12), (b.y == 2).sum())
    gap = find(evidence, "demographic_parity_difference", g="*", **{"class": "high"})
    theirs = demographic_parity_difference(frame.y == 2, frame.p == 2, sensitive_features=frame.g)
    assert gap.value == pytest.approx(theirs, abs=1e-12)
    assert gap.interval.low > 0
    assert find(evidence, "class_distance", g="b").interval.low > 0
    assert find(evidence, "class_distance", g="*").value == find(evidence, "class_distance", g="b").value
    assert find(evidence, "accuracy", g="b").value == pytest.approx((b.y == b.p).mean(), abs=1e-12)
    parts = [recall_score(part.y, part.p, average="macro") for _, part in frame.groupby("g")]
    assert find(evidence, "tpr_macro_difference", g="*").value == pytest.approx(abs(parts[0] - parts[1]), abs=1e-12)
    for measure in evidence:
        if isinstance(measure, Measure) and measure.interval is not None:
            assert measure.interval.low <= measure.value <= measure.interval.high, measure


def test_coverage():
    held = {"tpr_macro_difference": 0, "class_distance": 0}
    for seed in range(120):
        evidence = list(multiclass(subject(people(seed, 400)), context_of(seed), replicates=80))
        for name in held:
            interval = find(evidence, name, g="*").interval
            held[name] += interval.low <= 0.0 <= interval.high
    assert all(count / 120 >= 0.92 for count in held.values()), held


def test_weights_and_edges():
    frame = people(3, 120).assign(g=lambda f: pd.Categorical(f.g, categories=["a", "b", "nïe"]))
    heavy = confusion_by_group(frame.y, frame.p, sensitive_features=frame.g, weights=frame.w)
    twice = confusion_by_group(frame.y, frame.p, sensitive_features=frame.g, weights=2 * frame.w)
    np.testing.assert_allclose(heavy, twice, atol=1e-9)
    evidence = list(multiclass(subject(frame, weights="w"), context_of(), replicates=20))
    a = frame[frame.g == "a"]
    accuracy = find(evidence, "accuracy", g="a")
    assert accuracy.value == pytest.approx(np.average(a.y == a.p, weights=a.w), abs=1e-12)
    assert "effective n" in accuracy.note
    assert find(evidence, "accuracy", g="nïe").value is None
    one = list(multiclass(subject(frame.assign(y=0)), context_of(), replicates=20))
    assert find(one, "tpr", g="a", **{"class": "high"}).value is None
    assert find(one, "equal_opportunity_difference", g="*", **{"class": "high"}).value is None
    alone = list(multiclass(subject(frame.assign(g="a")), context_of(), replicates=20))
    assert find(alone, "class_distance", g="*").value is None
    with pytest.raises(DataError, match="classes from 0 to 1, got 2"):
        confusion_by_group([0, 2], [0, 1], sensitive_features=["a", "b"], classes=2)
    with pytest.raises(DataError, match="y_pred: allowed are classes"):
        confusion_by_group([0, 1], [0, 0.5], sensitive_features=["a", "b"])


def test_in_the_engine_it_applies_to_three_classes_and_the_others_say_why_not():
    spec = codec.spec_from_toml('[data]\npath = "x.csv"\n[groups]\nattributes = ["g"]\n[checks]\nonly = ["fairness"]')
    outcomes = {each.check: each for each in engine.run(spec, subject(people(4, 200))).outcomes}
    assert outcomes["fairness.multiclass"].status == "done", outcomes["fairness.multiclass"].reason
    assert {id: each.reason for id, each in outcomes.items() if each.status == "error"} == {}
    binary = subject_of(people(4, 60).assign(y=1, s=0.5), attributes=("g",), y="y", score="s")
    outcomes = {each.check: each for each in engine.run(spec, binary).outcomes}
    assert "no more than two classes" in outcomes["fairness.multiclass"].reason
