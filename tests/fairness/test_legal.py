"""Four fifths and Local Law 144 against the printed tables, the court's figures, and scipy."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from subjects import context_of, find, subject_of

from audit.core import DataError, Measure, NotApplicable, Table
from audit.fairness import count, four_fifths, from_counts, ll144_scoring, ll144_selection
from audit.fairness.legal import four_fifths_check, ll144

AXES = {"sex": ["sex"], "race_ethnicity": ["race_ethnicity"], "intersectional": ["race_ethnicity", "sex"]}


def run(check, subject, **params):
    return list(check(subject, context_of(), **params))


@pytest.fixture(scope="module")
def ricci(test_data):
    frame = pd.read_csv(test_data / "ricci" / "Ricci.csv")
    frame["passed"] = (frame["Combine"] >= 70).astype(int)
    return frame


# ---------------------------------------------------------------------------------------------- four fifths
def test_ricci_by_position(ricci):
    subject = subject_of(ricci, attributes=("Race",), decision="passed", strata=("Position",), reference={"Race": "W"})
    evidence = run(four_fifths_check, subject)
    printed = {
        ("Captain", "B"): (0.5859, 0.238),
        ("Captain", "H"): (0.5859, 0.238),
        ("Lieutenant", "B"): (0.5432, 0.097),
        ("Lieutenant", "H"): (0.3440, 0.016),
    }
    for (position, race), (ratio, p) in printed.items():
        where = {"Position": position, "Race": race}
        assert round(find(evidence, "impact_ratio", **where).value, 4) == ratio
        assert round(find(evidence, "fisher_p", **where).value, 3) == p
    table = next(e for e in evidence if isinstance(e, Table))
    assert table.columns[3] == "n"
    assert len(table.rows) == 3 + 6
    captain = next(row for row in table.rows if row[0] == "Position: Captain" and row[2] == "B")
    assert captain[3:5] == (8, 3)
    # 4 of 8 against 15 of 25 would still fall short; 5 of 8 against the 16 of 25 reach four fifths
    assert captain[11] == pytest.approx((4 / 8) / (15 / 25))
    assert captain[12] == 2


def test_all_positions_together(ricci):
    counts = count(None, ricci["passed"], sensitive_features=ricci[["Race"]])
    by_group = {impact.group[0]: impact for impact in four_fifths(counts)}
    assert by_group["W"].ratio == 1.0
    assert by_group["W"].low is by_group["W"].fisher_p is by_group["W"].standard_deviations is None
    chi2 = scipy.stats.chi2_contingency([[9, 18], [41, 27]], correction=False).statistic
    assert by_group["B"].standard_deviations == pytest.approx(-np.sqrt(chi2), rel=1e-12)
    assert by_group["B"].fisher_p == pytest.approx(scipy.stats.fisher_exact([[9, 18], [41, 27]]).pvalue, rel=1e-12)


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=2, max_size=6))
@settings(max_examples=60, deadline=None)
def test_every_figure_against_fractions(pairs):
    counts = from_counts(
        [f"g{i}" for i in range(len(pairs))], n=[k + r for k, r in pairs], selected=[k for k, _ in pairs]
    )
    rates = [Fraction(k, k + r) if k + r else None for k, r in pairs]
    known = [rate for rate in rates if rate is not None]
    found = four_fifths(counts)
    for impact, rate, (k, r) in zip(found, rates, pairs, strict=True):
        assert impact.rate == (None if rate is None else float(rate))
        if rate is None or not known or max(known) == 0:
            assert impact.ratio is None
            continue
        assert impact.ratio == pytest.approx(float(rate / max(known)), rel=1e-12)
        short = impact.selections_short
        wanted = Fraction(4, 5) * max(known)
        assert Fraction(k + short, k + r) >= wanted
        assert short == 0 or Fraction(k + short - 1, k + r) < wanted
        if impact.low is not None:
            assert impact.low <= impact.ratio <= impact.high


def test_weights_do_not_count_and_nobody_selected_is_undefined():
    frame = pd.DataFrame({"g": list("aaabbb"), "d": [1, 0, 0, 1, 1, 0], "w": [5.0, 1, 1, 1, 1, 1]})
    evidence = run(four_fifths_check, subject_of(frame, attributes=("g",), decision="d", weights="w", min_n=1))
    assert find(evidence, "impact_ratio", g="a").value == pytest.approx(0.5)
    none = run(four_fifths_check, subject_of(frame.assign(d=0), attributes=("g",), decision="d", min_n=1))
    ratios = [e for e in none if isinstance(e, Measure) and e.name == "impact_ratio"]
    assert all(m.value is None and "nobody" in m.note for m in ratios)


def test_named_reference_and_errors():
    counts = from_counts(["女", "男"], n=[10, 10], selected=[5, 8])
    assert four_fifths(counts, reference="女")[1].ratio == pytest.approx(1.6)
    with pytest.raises(DataError, match=r"reference: allowed are .*got \('x',\)"):
        four_fifths(counts, reference="x")
    with pytest.raises(DataError, match="these count labels only"):
        four_fifths(from_counts(["a"], n=[2], positive=[1]))


def test_ten_thousand_groups():
    rng = np.random.default_rng(0)
    n = rng.integers(0, 4, 10_000)
    counts = from_counts(np.arange(10_000), n=n, selected=rng.binomial(n, 0.5))
    found = four_fifths(counts, reference=counts.groups[int(np.argmax(n))])
    assert len(found) == 10_000
    assert all(0.0 <= each.fisher_p <= 1.0 for each in found if each.fisher_p is not None)


# ---------------------------------------------------------------------------------------------- Local Law 144
def rows_of(test_data, file, axis):
    table = pd.read_csv(test_data / "ll144_rule_examples" / file)
    return table[table["axis"] == axis]


@pytest.mark.parametrize("axis", list(AXES))
def test_selection_example_of_the_rule(test_data, axis):
    table = rows_of(test_data, "example1_selection.csv", axis)
    counts = from_counts(table[AXES[axis]], n=table["n_applicants"], selected=table["n_selected"])
    (result,) = ll144_selection(counts, axes=[AXES[axis]])
    found = {each.group: each for each in result.categories}
    # the ratios of race and ethnicity, and the rates of all but the intersections, are printed with two digits
    ratio, rate = 2 if axis == "race_ethnicity" else 3, 3 if axis == "intersectional" else 2
    for _, row in table.iterrows():
        each = found[tuple(row[AXES[axis]])]
        assert (each.n, each.selected) == (row["n_applicants"], row["n_selected"])
        assert each.rate == pytest.approx(row["published_selection_rate"], abs=0.5 * 10**-rate)
        assert each.impact_ratio == pytest.approx(row["published_impact_ratio"], abs=0.5 * 10**-ratio)
        assert not each.excluded
    if axis == "race_ethnicity":
        small = [each.group[0] for each in result.categories if each.small]
        assert small == ["Native American or Alaska Native"]
        assert sum(each.n for each in result.categories) == 2584


@pytest.mark.parametrize("axis", list(AXES))
def test_scoring_example_of_the_rule(test_data, axis):
    table = rows_of(test_data, "example2_scoring.csv", axis)
    above = np.rint(table["n_applicants"] * table["published_scoring_rate"]).astype(int)
    rows = table.loc[table.index.repeat(table["n_applicants"])]
    place = rows.groupby(level=0).cumcount()
    high = place < above.reindex(rows.index)
    assert int(high.sum()) == 84  # half of 168: the scores below lie on both sides of their median
    score = np.where(high, 70.0, 30.0) + np.arange(len(rows)) / 1000
    (result,) = ll144_scoring(score, sensitive_features=rows[AXES[axis]], axes=[AXES[axis]])
    found = {each.group: each for each in result.categories}
    for _, row in table.iterrows():
        each = found[tuple(row[AXES[axis]])]
        assert each.n == row["n_applicants"]
        # the rule cuts 18 of 28 down to 64.2 %
        assert 0.0 <= round(each.rate, 6) - row["published_scoring_rate"] + 0.0005 <= 0.0015
        assert each.impact_ratio == pytest.approx(row["published_impact_ratio"], abs=0.005)


def test_small_categories_need_a_justification_and_stay_in_the_table():
    counts = from_counts(["a", "b", "tiny"], n=[500, 490, 10], selected=[250, 200, 9])
    (kept,) = ll144_selection(counts)
    assert [each.small for each in kept.categories] == [False, False, True]
    assert kept.categories[0].impact_ratio == pytest.approx(0.5 / 0.9)
    (out,) = ll144_selection(counts, justification="ten people")
    tiny = out.categories[2]
    assert (tiny.n, tiny.selected, tiny.rate, tiny.impact_ratio, tiny.excluded) == (10, 9, 0.9, None, True)
    assert out.categories[0].impact_ratio == 1.0  # the highest rate among those that are left
    (wide,) = ll144_selection(counts, justification="why", max_excluded_share=0.001)
    assert not any(each.excluded for each in wide.categories)


def people(n=400, seed=3):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "Gender": rng.choice(["F", "M", None], n, p=[0.5, 0.45, 0.05]),
            "race_ethnicity": rng.choice(["x", "y", "ž"], n),
            "d": rng.integers(0, 2, n),
            "s": rng.random(n),
        }
    )


def test_check_guesses_the_attributes_and_counts_the_unknown():
    frame = people()
    subject = subject_of(frame, attributes=("Gender", "race_ethnicity"), decision="d", score="s")
    evidence = run(ll144, subject)
    tables = [e for e in evidence if isinstance(e, Table)]
    assert [t.name for t in tables] == ["ll144_selection"] * 3 + ["ll144_scoring"] * 3
    unknown = int(frame["Gender"].isna().sum())
    assert tables[0].rows[-1][:2] == ("unknown", unknown)
    assert tables[1].rows[-1][:2] == ("unknown", 0)
    assert tables[2].rows[-1][:2] == ("unknown", unknown)
    rates = frame.groupby(["Gender", "race_ethnicity"])["d"].mean()
    for (sex, race), rate in rates.items():
        found = find(evidence, "impact_ratio", Gender=sex, race_ethnicity=race)
        assert found.value == pytest.approx(rate / rates.max(), rel=1e-12)
    above = (frame["s"] > frame["s"].median()).groupby(frame["race_ethnicity"]).mean()
    assert find(evidence, "scoring_impact_ratio", race_ethnicity="ž").value == pytest.approx(above["ž"] / above.max())
    words = " ".join(str(e) for e in evidence).lower()
    assert "complian" not in words
    justified = run(ll144, subject, max_excluded_share=0.6, justification="for the test")
    assert "Excluded: for the test" in next(e for e in justified if isinstance(e, Table)).note


def test_check_without_sex_or_race_or_outcome():
    frame = people().rename(columns={"Gender": "team", "race_ethnicity": "floor"})
    subject = subject_of(frame, attributes=("team", "floor"), decision="d")
    with pytest.raises(NotApplicable, match="no attribute is called sex or race"):
        run(ll144, subject)
    named = run(ll144, subject, sex="team", race="floor")
    assert len([e for e in named if isinstance(e, Table)]) == 3
    with pytest.raises(DataError, match="got 'tem'"):
        run(ll144, subject, sex="tem")
    with pytest.raises(NotApplicable, match="neither decisions nor"):
        run(ll144, replace(subject, decision=None), sex="team")
    with pytest.raises(DataError, match="one finite number a person"):
        ll144_scoring([1.0, np.nan], sensitive_features=["a", "b"])
