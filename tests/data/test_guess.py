"""Guessed roles on real files and on small ones."""

import pandas as pd
import pytest

from audit.core import DataError
from audit.data.guess import guess


def values(path):
    return {role: found.value for role, found in guess(path).items()}


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        (
            "aequitas_predictions/compas_for_aequitas.csv",
            {"label": ("label_value",), "score": ("score",), "attributes": ("race", "sex", "age_cat")},
        ),
        (
            "student_performance/student_mat_new.csv",
            {"label": ("class",), "positive": ("High",), "attributes": ("sex",)},
        ),
        (
            "compas/compas_two_years_deidentified.csv",
            {"score": ("decile_score",), "attributes": ("sex", "age_cat", "race")},
        ),
        ("acs_pums/ACS_sample.test.parquet", {"attributes": ("SEX", "RAC1P")}),
    ],
)
def test_real_files(test_data, file, expected):
    found = values(test_data / file)
    assert {role: found.get(role) for role in expected} == expected


def test_every_role_and_its_reason(tmp_path):
    frame = pd.DataFrame(
        {
            "Y-True": ["denied", "approved"],
            "y_pred": [0, 1],
            "prob": [0.1, 0.75],
            "Sample Weight": [1.0, 2.0],
            "Age Group": ["old", "young"],
            "nationality": ["x", "y"],
            "note": ["a", "b"],
        }
    )
    frame.to_csv(tmp_path / "p.csv", index=False)
    found = guess(tmp_path / "p.csv")
    assert values(tmp_path / "p.csv") == {
        "label": ("Y-True",),
        "positive": ("approved",),
        "decision": ("y_pred",),
        "score": ("prob",),
        "weight": ("Sample Weight",),
        "attributes": ("Age Group", "nationality"),
    }
    assert all(each.reason for each in found.values())
    assert "0.1 to 0.75" in found["score"].reason


def test_names_alone_are_not_enough(tmp_path):
    frame = pd.DataFrame(
        {"label": range(40), "score": ["a"] * 40, "race": [f"r{i}" for i in range(40)], "sex": ["f"] * 40}
    )
    frame.to_csv(tmp_path / "p.csv", index=False)
    assert values(tmp_path / "p.csv") == {}


def test_an_unreadable_file_is_an_error(tmp_path):
    with pytest.raises(DataError, match="was not found"):
        guess(tmp_path / "p.csv")
