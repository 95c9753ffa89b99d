"""Tables of counts against the arithmetic of their cells."""

import pandas as pd
import pytest

from audit.core import DataError, DataSpec, GroupSpec, ModelSpec, Spec
from audit.data.readers import from_frame, read

COUNTS = Spec(model=ModelSpec(kind="counts"), groups=GroupSpec(attributes=("race",)))
CONFUSION = pd.DataFrame({"race": ["b", "w", "b"], "TP": [5, 1, 1], "fp": [2, 0, 1], "Tn": [7, 3, 0], "FN": [1, 9, 0]})


def people(dataset, **where):
    """People by hand: the sum of frequency where a group, label and decision are as named."""
    total = 0
    for row, count in enumerate(dataset.frequency):
        codes = dataset.groups["race"]
        facts = {"race": codes.levels[codes.values[row]], "decision": dataset.decision[row]}
        facts |= {} if dataset.y is None else {"y": dataset.y[row]}
        total += int(count) * all(facts[name] == value for name, value in where.items())
    return total


def test_confusion_counts_add_up_over_equal_groups():
    dataset = from_frame(CONFUSION, COUNTS)
    assert people(dataset) == 30
    assert people(dataset, race="b", y=1, decision=1) == 6
    assert people(dataset, race="b", y=0, decision=1) == 3
    assert people(dataset, race="w", y=1, decision=0) == 9
    assert people(dataset, race="w", y=0, decision=0) == 3
    assert dataset.inputs is None
    assert "30 people" in dataset.notes[0]


def test_selection_counts_have_no_label():
    dataset = from_frame(pd.DataFrame({"race": ["b", "w"], "N": [10, 4], "Selected": [3, 4]}), COUNTS)
    assert dataset.y is None
    assert people(dataset, race="b", decision=1) == 3
    assert people(dataset, race="b", decision=0) == 7
    assert people(dataset, race="w", decision=0) == 0


def test_strata_and_unknown_groups_are_kept():
    frame = pd.DataFrame({"race": ["b", ""], "dept": ["A", "B"], "n": [10, 4], "selected": [3, 4]})
    dataset = from_frame(frame, Spec(model=COUNTS.model, data=DataSpec(strata=("dept",)), groups=COUNTS.groups))
    assert dataset.strata["dept"].levels == ("A", "B")
    assert (~dataset.groups["race"].known()).sum() == 2


def test_berkeley(test_data):
    cells = pd.read_csv(test_data / "berkeley" / "UCBAdmissions.csv")
    wide = cells.pivot_table(index=["Gender", "Dept"], columns="Admit", values="Freq").reset_index()
    table = pd.DataFrame(
        {"race": wide["Gender"], "n": wide["Admitted"] + wide["Rejected"], "selected": wide["Admitted"]}
    )
    dataset = from_frame(table, COUNTS)
    assert people(dataset) == cells["Freq"].sum() == 4526
    assert people(dataset, race="Female", decision=1) == 557
    assert people(dataset, race="Male", decision=1) == 1198


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tp": [-1, 1]}, "'tp' is negative in row 0"),
        ({"tp": [1, 1.5]}, "'tp' is not a whole number in row 1 .from 0.: 1.5"),
        ({"tp": [1, None]}, "'tp' is missing in 1 of 2"),
        ({"tp": ["a", "b"]}, "must hold numbers"),
        ({"n": [5, 5]}, "either the columns"),
        ({"tp": [0, 0], "fp": [0, 0], "tn": [0, 0], "fn": [0, 0]}, "every count is 0"),
    ],
)
def test_wrong_confusion_counts(change, message):
    frame = pd.DataFrame({"race": ["b", "w"], "tp": [1, 1], "fp": [1, 1], "tn": [1, 1], "fn": [1, 1]} | change)
    with pytest.raises(DataError, match=message):
        from_frame(frame, COUNTS)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"n": [5], "selected": [6]}, "selected is larger than n in row 0 .from 0.: 6 of 5"),
        ({"n": [5]}, "found 'n'"),
        ({"n": [5], "selectd": [6]}, "did you mean 'selectd'"),
        ({"people": [5]}, "found neither"),
        ({"tp": [1], "fp": [1], "tn": [1]}, "found 'tp', 'fp', 'tn'"),
    ],
)
def test_wrong_layouts(columns, message):
    with pytest.raises(DataError, match=message):
        from_frame(pd.DataFrame({"race": ["b"], **columns}), COUNTS)


def test_counts_from_a_file(tmp_path):
    CONFUSION.to_csv(tmp_path / "c.csv", index=False)
    dataset = read(Spec(model=COUNTS.model, data=DataSpec(path="c.csv"), groups=COUNTS.groups), tmp_path)
    assert people(dataset) == 30
