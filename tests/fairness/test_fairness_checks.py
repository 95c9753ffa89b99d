import json

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from fairlearn import metrics as peer
from subjects import context_of, find, subject_of

from audit.core import DataError, Measure, NotApplicable, Table
from audit.fairness.error_rates import error_rates
from audit.fairness.impact_ratio import impact_ratio
from audit.fairness.selection import selection

RATES = {
    "selection_rate": "selection_rate",
    "base_rate": "base_rate",
    "tpr": "TPR",
    "fpr": "FPR",
    "fnr": "FNR",
    "tnr": "TNR",
    "ppv": "PPV",
    "npv": "NPV",
    "accuracy": "ACC",
}
GAPS = {
    "demographic_parity_difference": "demographic_parity_diff",
    "demographic_parity_ratio": "demographic_parity_ratio",
    "equal_opportunity_difference": "equal_opportunity_diff",
    "tpr_ratio": "TPR_ratio",
    "fpr_difference": "FPR_diff",
    "fpr_ratio": "FPR_ratio",
    "equalized_odds_difference": "equalized_odds_diff",
    "predictive_parity_difference": "predictive_parity_diff",
    "accuracy_difference": "accuracy_diff",
    "fnr_difference": "FNR_diff",
}


def run(check, subject, **params):
    return list(check(subject, context_of(), **params))


def both(subject):
    return run(selection, subject) + run(error_rates, subject)


def close(measure: Measure, expected: float) -> None:
    assert measure.value == pytest.approx(expected, abs=1e-9), measure


@pytest.fixture(scope="module")
def expected(test_data):
    return json.loads((test_data / "expected_A.json").read_text())


@pytest.fixture(scope="module")
def compas(test_data):
    frame = pd.read_csv(test_data / "compas" / "compas_two_years_deidentified.csv")
    frame["high"] = (frame["decile_score"] >= 5).astype(int)
    return subject_of(
        frame,
        attributes=("race", "sex", "age_cat"),
        intersect=(("race", "sex"),),
        y="two_year_recid",
        decision="high",
        score="decile_score",
    )


# ------------------------------------------------------------------------------------------------- real data
def agree_on_groups(evidence, attribute: str, truth: dict) -> None:
    for name, key in RATES.items():
        close(find(evidence, name), truth["overall"][key])
        for group, figures in truth["by_group"].items():
            close(find(evidence, name, **{attribute: group}), figures[key])
    for name, key in GAPS.items():
        close(find(evidence, name, **{attribute: "*"}), truth[key])
    close(find(evidence, "theil_index"), truth["theil_index"])
    confusion = next(e for e in evidence if isinstance(e, Table) and e.name == "confusion")
    counts = {row[:2]: row[2:] for row in confusion.rows}
    for group, figures in truth["by_group"].items():
        assert counts[attribute, group] == tuple(figures[cell] for cell in ("n", "TP", "FP", "TN", "FN"))


@pytest.mark.parametrize("attribute", ["race", "sex", "age_cat"])
def test_compas(compas, expected, attribute):
    agree_on_groups(both(compas), attribute, expected["compas"][attribute])


def test_compas_intersections_and_published_sign(compas, expected):
    evidence = both(compas)
    for pair, figures in expected["compas"]["race"]["intersectional_race_sex"].items():
        race, sex = pair.split("|")
        for name, key in RATES.items():
            close(find(evidence, name, race=race, sex=sex), figures[key])
    # the favourable decision is "not high": the difference of its rates has the other sign
    black, white = (find(evidence, "selection_rate", race=r).value for r in ("African-American", "Caucasian"))
    signed = expected["compas"]["race"]["aif360_statistical_parity_difference_black_minus_white_of_favourable_low"]
    assert (1 - black) - (1 - white) == pytest.approx(signed, abs=1e-9)


@pytest.mark.parametrize(
    ("name", "file", "attributes"),
    [
        ("compas_for_aequitas", "compas_for_aequitas.csv", ("race", "sex", "age_cat")),
        ("adult_rf_binary", "adult_rf_binary.csv", ("gender", "race")),
    ],
)
def test_recorded_predictions(test_data, expected, name, file, attributes):
    frame = pd.read_csv(test_data / "aequitas_predictions" / file)
    subject = subject_of(frame, attributes=attributes, y="label_value", decision="score")
    evidence = both(subject)
    for attribute in attributes:
        agree_on_groups(evidence, attribute, expected[name][attribute])


def test_ricci_by_position_is_a_stratum(test_data, expected):
    frame = pd.read_csv(test_data / "ricci" / "Ricci.csv")
    frame["passed"] = (frame["Combine"] >= 70).astype(int)
    subject = subject_of(frame, attributes=("Race",), decision="passed", strata=("Position",), reference={"Race": "W"})
    evidence = run(selection, subject) + run(impact_ratio, subject)
    truth = expected["ricci"]
    for race, figures in truth["all"]["by_group"].items():
        close(find(evidence, "selection_rate", Race=race), figures["rate"])
        close(find(evidence, "impact_ratio", Race=race), figures["impact_ratio"])
    close(find(evidence, "impact_ratio", Race="*"), truth["all"]["min_impact_ratio"])
    for position, table in truth["by_position"].items():
        for race, figures in table["by_group"].items():
            close(find(evidence, "selection_rate", Position=position, Race=race), figures["rate"])


def test_berkeley_counts_turn_round_within_departments(test_data, expected):
    frame = pd.read_csv(test_data / "berkeley" / "UCBAdmissions.csv")
    frame["admitted"] = (frame["Admit"] == "Admitted").astype(int)
    subject = subject_of(frame, attributes=("Gender",), decision="admitted", frequency="Freq", strata=("Dept",))
    evidence = run(selection, subject)
    truth = expected["berkeley"]
    for gender in ("Male", "Female"):
        measure = find(evidence, "selection_rate", Gender=gender)
        close(measure, truth["overall"][gender]["rate"])
        assert measure.n == truth["overall"][gender]["n"]
    turned = []
    for dept, rates in truth["by_department"].items():
        men, women = (find(evidence, "selection_rate", Dept=dept, Gender=g).value for g in ("Male", "Female"))
        assert (men, women) == pytest.approx((rates["male"], rates["female"]), abs=1e-9)
        turned += [dept] if women > men else []
    assert turned == truth["departments_where_women_rate_higher"]
    assert not [e for e in run(selection, subject, strata=False) if isinstance(e, Measure) and "Dept" in e.where]


@pytest.mark.parametrize("attribute", ["sex", "age_gt_25", "foreign_worker"])
def test_german_credit(test_data, expected, attribute):
    frame = pd.read_csv(test_data / "german_credit" / "german.data", sep=" ", header=None)
    columns = {
        "sex": np.where(frame[8].isin(["A92", "A95"]), "female", "male"),
        "age_gt_25": np.where(frame[12] > 25, "over25", "upto25"),
        "foreign_worker": frame[19],
    }
    rows = pd.DataFrame({attribute: columns[attribute], "good": (frame[20] == 1).astype(int)})
    evidence = run(impact_ratio, subject_of(rows, attributes=(attribute,), decision="good"))
    truth = expected["german_credit"][attribute]
    for group, figures in truth["by_group"].items():
        close(find(evidence, "impact_ratio", **{attribute: group}), figures["impact_ratio"])
    close(find(evidence, "impact_ratio", **{attribute: "*"}), truth["min_impact_ratio"])


def test_adult_base_rates_weighted_and_not(test_data, expected):
    parts = [
        pd.read_csv(test_data / "adult" / name, header=None, skiprows=skip, skipinitialspace=True).dropna()
        for name, skip in (("adult.data", 0), ("adult.test", 1))
    ]
    frame = pd.concat(parts).rename(columns={2: "fnlwgt", 9: "sex", 14: "income"})
    frame["rich"] = frame["income"].str.startswith(">50K").astype(int)
    truth = expected["adult"]
    plain = run(impact_ratio, subject_of(frame, attributes=("sex",), decision="rich"))
    close(find(plain, "impact_ratio", sex="*"), truth["sex"]["min_impact_ratio"])
    weighted = run(selection, subject_of(frame, attributes=("sex",), decision="rich", weights="fnlwgt"))
    for sex, rate in truth["weighted_by_fnlwgt_rate_by_sex"].items():
        measure = find(weighted, "selection_rate", sex=sex)
        close(measure, rate)
        assert "effective n" in measure.note
    effective = frame.loc[frame["sex"] == "Male", "fnlwgt"].astype(float)
    n = effective.sum() ** 2 / (effective**2).sum()
    rate = truth["weighted_by_fnlwgt_rate_by_sex"]["Male"]
    z = scipy.stats.norm.ppf(0.975)
    low = find(weighted, "selection_rate", sex="Male").interval.low
    assert (rate - low) ** 2 == pytest.approx(z * z * low * (1 - low) / n, rel=1e-6)


def test_published_table_of_a_law(test_data):
    table = pd.read_csv(test_data / "ll144_rule_examples" / "example1_selection.csv")
    table = table[table["axis"] == "sex"]
    long = pd.concat(
        [
            pd.DataFrame({"sex": table["sex"], "d": 1, "people": table["n_selected"]}),
            pd.DataFrame({"sex": table["sex"], "d": 0, "people": table["n_applicants"] - table["n_selected"]}),
        ]
    )
    evidence = run(impact_ratio, subject_of(long, attributes=("sex",), decision="d", frequency="people"))
    for sex, printed in zip(table["sex"], table["published_impact_ratio"], strict=True):
        assert find(evidence, "impact_ratio", sex=sex).value == pytest.approx(printed, abs=5.1e-4)


# ---------------------------------------------------------------------------------------------- conventions
def people(**columns):
    return pd.DataFrame(columns)


def test_intervals_contain_their_values_everywhere(compas):
    for measure in both(compas) + run(impact_ratio, compas):
        if isinstance(measure, Measure) and measure.interval is not None:
            assert measure.interval.low - 1e-12 <= measure.value <= measure.interval.high + 1e-12, measure


def test_a_group_without_positives_is_left_out_and_named():
    frame = people(
        g=["a"] * 4 + ["b"] * 4 + ["c"] * 4, y=[1, 1, 0, 0] * 2 + [0] * 4, d=[1, 0, 1, 0, 1, 1, 0, 0, 1, 0, 0, 0]
    )
    evidence = run(error_rates, subject_of(frame, attributes=("g",), y="y", decision="d"))
    measure = find(evidence, "tpr", g="c")
    assert measure.value is None
    assert measure.note == "undefined: there is no positive label"
    gap = find(evidence, "equal_opportunity_difference", g="*")
    assert gap.value == 0.5
    assert gap.n == 4
    assert "left out: in c there is no positive label" in gap.note
    assert find(evidence, "equalized_odds_difference", g="*").value == pytest.approx(0.5)
    # the peer takes 0/0 for 0 and finds a larger gap
    assert peer.equal_opportunity_difference(frame["y"], frame["d"], sensitive_features=frame["g"]) == 1.0


def test_one_group_or_none_with_the_rate_has_no_gap():
    one = subject_of(people(g=["a"] * 3, y=[1, 0, 1], d=[1, 0, 0]), attributes=("g",), y="y", decision="d")
    for measure in both(one) + run(impact_ratio, one):
        if isinstance(measure, Measure) and "*" in measure.where.values():
            assert measure.value is None
            assert "fewer than two groups" in measure.note
    zero = subject_of(people(g=list("aabb"), y=[0] * 4, d=[0] * 4), attributes=("g",), y="y", decision="d")
    for check in (selection, impact_ratio):
        for name in ("demographic_parity_ratio", "impact_ratio"):
            for measure in run(check, zero):
                if isinstance(measure, Measure) and measure.name == name:
                    assert measure.value is None
                    assert " is 0" in measure.note
    odds = find(run(error_rates, zero), "equalized_odds_difference", g="*")
    assert odds.value is None
    assert "tpr" in odds.note


def test_nobody_at_all():
    empty = subject_of(people(g=[], y=[], d=[]).astype({"g": str}), attributes=("g",), y="y", decision="d")
    measures = [e for e in both(empty) + run(impact_ratio, empty) if isinstance(e, Measure)]
    assert measures
    assert all(m.value is None and m.note for m in measures)


def test_reference_is_named_or_the_best_that_is_large_enough():
    frame = people(g=["tiny"] * 2 + ["big"] * 50 + ["low"] * 50, d=[1, 1] + [1] * 30 + [0] * 20 + [1] * 10 + [0] * 40)
    best = run(impact_ratio, subject_of(frame, attributes=("g",), decision="d"))
    assert find(best, "impact_ratio", g="big").note == "this is the reference group"
    assert find(best, "impact_ratio", g="big").interval.method == "by definition"
    assert find(best, "impact_ratio", g="tiny").value == pytest.approx(1 / 0.6)
    assert find(best, "impact_ratio", g="low").note == "reference: big"
    named = run(impact_ratio, subject_of(frame, attributes=("g",), decision="d", reference={"g": "low"}))
    assert find(named, "impact_ratio", g="big").value == pytest.approx(3.0)
    assert find(named, "impact_ratio", g="*").value == 1.0
    with pytest.raises(DataError, match=r"reference group of 'g'.*did you mean 'low'"):
        run(impact_ratio, subject_of(frame, attributes=("g",), decision="d", reference={"g": "lov"}))
    lowest = run(error_rates, subject_of(frame.assign(y=0), attributes=("g",), y="y", decision="d"))
    assert find(lowest, "fpr_difference", g="big").note == "reference: low"


def test_unknown_groups_are_left_out_and_counted():
    frame = people(g=["a", "a", "b", None, None], d=[1, 0, 1, 1, 0])
    evidence = run(selection, subject_of(frame, attributes=("g",), decision="d"))
    assert find(evidence, "selection_rate").n == 5
    assert find(evidence, "demographic_parity_difference", g="*").n == 3
    sizes = next(e for e in evidence if isinstance(e, Table))
    assert sizes.rows[-1] == ("g", None, 2, 1, "unknown, left out")


def test_a_weighted_theil_index_equals_its_definition():
    rng = np.random.default_rng(12)
    frame = people(g=["a", "b"] * 100, y=rng.integers(0, 2, 200), d=rng.integers(0, 2, 200), w=rng.gamma(2.0, size=200))
    benefit = frame["d"] - frame["y"] + 1
    share = benefit / np.average(benefit, weights=frame["w"])
    expected = np.average(share * np.log(share.where(share > 0, 1.0)), weights=frame["w"])
    measure = find(
        run(error_rates, subject_of(frame, attributes=("g",), y="y", decision="d", weights="w")), "theil_index"
    )
    assert measure.value == pytest.approx(expected, rel=1e-12)
    assert "effective n" in measure.note


def test_hostile_names_pass_through_unchanged():
    names = ["<b>x</b>", "*", "a × b", "null", " "]
    frame = people(g=np.repeat(names, 4), d=[1, 0, 1, 0] * 5)
    evidence = run(selection, subject_of(frame, attributes=("g",), decision="d"))
    groups = {e.where["g"] for e in evidence if isinstance(e, Measure) and e.name == "selection_rate" and e.where}
    assert groups == set(names)


def test_more_than_two_classes_do_not_apply():
    subject = subject_of(people(g=["a", "b"], d=[1, 0]), attributes=("g",), decision="d", classes=("x", "y", "z"))
    for check in (selection, impact_ratio, error_rates):
        with pytest.raises(NotApplicable, match="3 classes"):
            run(check, subject)


def test_many_attributes_are_counted_slice_by_slice_with_the_same_result():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({f"a{i}": rng.integers(0, 12, 500) for i in range(5)} | {"d": rng.integers(0, 2, 500)})
    wide = run(selection, subject_of(frame, attributes=tuple(f"a{i}" for i in range(5)), decision="d"))
    narrow = run(selection, subject_of(frame, attributes=("a3",), decision="d"))
    for measure in narrow:
        if isinstance(measure, Measure) and measure.where:
            assert find(wide, measure.name, **measure.where) == measure


def test_equal_seeds_give_equal_evidence_and_shuffled_rows_the_same(compas):
    assert both(compas) == both(compas)
    frame = people(g=list("aabbab"), y=[1, 0, 1, 0, 1, 1], d=[1, 0, 0, 0, 1, 0])
    first = both(subject_of(frame, attributes=("g",), y="y", decision="d"))
    assert first == both(subject_of(frame.sample(frac=1, random_state=3), attributes=("g",), y="y", decision="d"))
