"""Figures of real data sets that were computed independently: base rates, rules as decisions, gaps and exact tests."""

import json

import numpy as np
import pandas as pd
import pytest
from expected_names import GAPS, NAMES

from audit import fairness, stats
from audit.fairness.inequality import theil_index


def taiwan(folder):
    frame = pd.read_csv(folder / "default_credit_taiwan" / "credit-card-clients.csv")
    late = (frame.filter(regex=r"^PAY_\d") >= 2).any(axis=1)
    y = frame["default payment"]
    young = np.where(frame.AGE <= 25, "le25", "gt25")
    yield ("sex_1male_2female",), y, None, frame.SEX
    yield ("age_le_25",), y, None, young
    yield ("education",), y, None, frame.EDUCATION
    yield ("rule_any_delay_ge_2_months_in_sequence", "sex"), y, late, frame.SEX


def bank(folder):
    frame = pd.read_csv(folder / "bank_marketing" / "bank-full-nodivorced.csv")
    y = frame.y == "yes"
    yield ("marital",), y, None, frame.marital
    yield ("age_25_60",), y, None, np.where(frame.age.between(25, 60), "25-60", "other")
    yield ("rule_duration_ge_500", "marital"), y, frame.duration >= 500, frame.marital


def student(folder):
    frame = pd.read_csv(folder / "student_performance" / "student_mat_new.csv")
    y = frame["class"] == "High"
    yield ("sex",), y, None, frame.sex
    yield ("rule_G2_ge_10",), y, frame.G2 >= 10, frame.sex


def heart(folder):
    names = "age sex cp trestbps chol fbs restecg thalach exang oldpeak slope ca thal num".split()  # noqa: SIM905
    path = folder / "heart_cleveland" / "processed.cleveland.data"
    frame = pd.read_csv(path, names=names, skiprows=1, na_values="?")
    yield ("sex_0female_1male",), frame.num > 0, None, frame.sex.map({0: "0.0", 1: "1.0"})
    whole = frame.dropna()
    y = (whole.num > 0).to_numpy(dtype=float)
    x = np.column_stack([np.ones(len(whole)), whole[names[:-1]]])
    score = x @ np.linalg.lstsq(x, y, rcond=None)[0]
    yield ("ols_on_complete_rows", "threshold_half"), y, score >= 0.5, whole.sex.astype(int)


def titanic(folder):
    frame = pd.read_csv(folder / "titanic" / "TitanicSurvival.csv")
    y = frame.survived == "yes"
    yield ("sex",), y, None, frame.sex
    yield ("passengerClass",), y, None, frame.passengerClass
    yield ("intersectional",), y, None, frame[["sex", "passengerClass"]]


def adult(folder):
    options = {"header": None, "skipinitialspace": True}
    train = pd.read_csv(folder / "adult" / "adult.data", **options)
    test = pd.read_csv(folder / "adult" / "adult.test", skiprows=1, **options)
    frame = pd.concat([train, test], ignore_index=True)
    y, sex, race = frame[14].str.startswith(">50K"), frame[9], frame[8]
    degree = frame[4] >= 13
    yield ("sex",), y, None, sex
    yield ("race",), y, None, race
    yield ("sex_train_only",), y[: len(train)], None, sex[: len(train)]
    yield ("rule_education_num_ge_13", "sex"), y, degree, sex
    yield ("rule_education_num_ge_13", "race"), y, degree, race


def german(folder):
    frame = pd.read_csv(folder / "german_credit" / "german.data", sep=" ", header=None)
    good = frame[20] == 1
    yield ("sex",), good, None, np.where(frame[8].isin(["A92", "A95"]), "female", "male")
    yield ("age_gt_25",), good, None, np.where(frame[12] > 25, "over25", "upto25")
    yield ("foreign_worker",), good, None, frame[19]


SETS = {
    "default_credit_taiwan": taiwan,
    "bank_marketing": bank,
    "student_performance_mat": student,
    "heart_cleveland": heart,
    "titanic": titanic,
    "adult": adult,
    "german_credit": german,
}


@pytest.mark.parametrize("name", list(SETS))
def test_every_figure(name, test_data):
    expected = json.loads((test_data / "expected_A.json").read_text())[name]
    for path, y, decision, features in SETS[name](test_data):
        block = expected
        for step in path:
            block = block[step]
        if decision is None:
            same_base_rates(block, np.asarray(y, dtype=int), features)
        else:
            same_decisions(block, np.asarray(y, dtype=int), np.asarray(decision, dtype=int), features)


def same_base_rates(block, y, features):
    """Positives by group, ratio to the highest rate, largest difference, and Fisher's test of two groups."""
    counts = fairness.count(None, y, sensitive_features=features)
    found = {"|".join(group): cells for group, cells in zip(counts.groups, counts.cells(), strict=True)}
    impact = {"|".join(each.group): each for each in fairness.four_fifths(counts)}
    assert counts.n == block["n"]
    assert found.keys() == block["by_group"].keys()
    for group, figures in block["by_group"].items():
        tn, fp, fn, tp = found[group]
        assert (tn + fp + fn + tp, fp + tp) == (figures["n"], figures["positives"])
        assert impact[group].ratio == pytest.approx(figures["impact_ratio"], abs=1e-12)
    gap = fairness.disparity(counts, "demographic_parity_difference").value
    assert gap == pytest.approx(block["rate_diff"], abs=1e-12)
    lowest = fairness.disparity(counts, "demographic_parity_ratio").value
    assert lowest == pytest.approx(block["min_impact_ratio"], abs=1e-12)
    if "fisher_two_sided_p" in block:
        (k1, n1), (k2, n2) = ((cells[1] + cells[3], cells.sum()) for cells in found.values())
        p = float(stats.two_proportions_p(k1, n1, k2, n2, method="fisher"))
        assert p == pytest.approx(block["fisher_two_sided_p"], rel=1e-6, abs=1e-300)


def same_decisions(block, y, decision, features):
    """Confusion counts and rates, overall and by group, every named gap, and the Theil index."""
    counts = fairness.count(y, decision, sensitive_features=features)
    found = fairness.group_metrics(y, decision, sensitive_features=features, metrics=tuple(NAMES.values()))
    rows = {"|".join(group): row for group, row in zip(found.groups, found.by_group, strict=True)}
    cells = {"|".join(group): row for group, row in zip(counts.groups, counts.cells(), strict=True)}
    for group, figures in block["by_group"].items():
        assert tuple(cells[group]) == tuple(figures[name] for name in ("TN", "FP", "FN", "TP"))
        for value, name in zip(rows[group], NAMES, strict=True):
            assert value == pytest.approx(figures[name], abs=1e-12)
    for value, name in zip(found.overall, NAMES, strict=True):
        assert value == pytest.approx(block["overall"][name], abs=1e-12)
    for theirs, ours in GAPS.items():
        assert fairness.disparity(counts, ours).value == pytest.approx(block[theirs], abs=1e-12)
    theil = float(theil_index(counts.total().cells())[0])
    assert theil == pytest.approx(block["theil_index"], abs=1e-12)


def test_weighted_rates_of_adult(test_data):
    expected = json.loads((test_data / "expected_A.json").read_text())["adult"]["weighted_by_fnlwgt_rate_by_sex"]
    options = {"header": None, "skipinitialspace": True}
    train = pd.read_csv(test_data / "adult" / "adult.data", **options)
    test = pd.read_csv(test_data / "adult" / "adult.test", skiprows=1, **options)
    frame = pd.concat([train, test], ignore_index=True)
    found = fairness.group_metrics(
        None,
        frame[14].str.startswith(">50K").astype(int),
        sensitive_features=frame[9],
        metrics=("selection_rate",),
        weights=frame[2],
    )
    for group, rate in zip(found.groups, found.by_group[:, 0], strict=True):
        assert rate == pytest.approx(expected[group[0]], abs=1e-9)


def test_gender_shades(test_data):
    expected = json.loads((test_data / "expected_A.json").read_text())["gender_shades"]["by_vendor"]
    table = pd.read_csv(test_data / "gender_shades" / "gender_shades_ppb_error_rates.csv")
    for vendor, rows in table.groupby("vendor"):
        # The sizes of the groups are not published: of a thousand people each, the published rates are whole numbers.
        counts = fairness.from_counts(
            rows[["skin", "gender"]], n=np.full(len(rows), 1000), selected=(1000 - rows.error_rate_pct * 10).round()
        )
        figures = expected[vendor]
        gap = fairness.disparity(counts, "demographic_parity_difference")
        assert 100 * gap.value == pytest.approx(figures["error_gap_pp"], abs=1e-9)
        assert "|".join(gap.gaps[0].lowest) == figures["worst_group"]
        ratio = fairness.disparity(counts, "demographic_parity_ratio").value
        assert ratio == pytest.approx(figures["accuracy_ratio_min_max"], abs=1e-9)
