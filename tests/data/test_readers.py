"""Files and frames to datasets, on written files and on real data with independently computed figures."""

import hashlib
import json

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.feather
import pytest

from audit.core import DataError, Dataset, DataSpec, GroupSpec, ModelSpec, Spec
from audit.data.readers import from_frame, read, tabular
from audit.data.tables import load

FRAME = pd.DataFrame(
    {
        "y": [1, 0, 1, 0],
        "approved": [1, 0, 0, 0],
        "s": [0.9, 0.2, 0.4, 0.1],
        "w": [1.0, 2.0, 0.5, 1.5],
        "sex": ["f", "m", "", "m"],
        "region": ["n", "s", "n", "s"],
        "income": [10.5, 20.0, 30.0, 5.0],
        "job": ["clerk", "nurse", "clerk", "pilot"],
    }
)
SPEC = Spec(
    model=ModelSpec(kind="sklearn"),
    data=DataSpec(label="y", decision="approved", score="s", weight="w", strata=("region",)),
    groups=GroupSpec(attributes=("sex",)),
)


def spec(*, kind="sklearn", groups=("sex",), classes=(), **data):
    return Spec(
        model=ModelSpec(kind=kind, classes=classes), data=DataSpec(**data), groups=GroupSpec(attributes=tuple(groups))
    )


def check(dataset: Dataset) -> None:
    assert len(dataset) == 4
    assert dataset.y.tolist() == [1, 0, 1, 0]
    assert dataset.decision.tolist() == [1, 0, 0, 0]
    assert dataset.score.tolist() == [0.9, 0.2, 0.4, 0.1]
    assert dataset.weights.tolist() == [1.0, 2.0, 0.5, 1.5]
    assert dataset.groups["sex"].levels == ("f", "m")
    assert dataset.groups["sex"].values.tolist() == [0, 1, 2, 1]
    assert dataset.strata["region"].values.tolist() == [0, 1, 0, 1]
    assert dataset.names == ("income", "job")
    assert tabular(dataset).frame()["job"].tolist() == FRAME["job"].tolist()


@pytest.mark.parametrize(
    "make", [lambda f: f, pl.from_pandas, pa.Table.from_pandas, lambda f: pl.from_pandas(f).lazy()]
)
def test_every_frame_gives_the_same_dataset(make):
    check(from_frame(make(FRAME), SPEC))


def test_a_frame_is_left_as_it_was_and_its_index_ignored():
    frame = FRAME.set_index(pd.Index([7, 7, 3, 1], name="id"))
    before = frame.copy(deep=True)
    check(from_frame(frame, SPEC))
    pd.testing.assert_frame_equal(frame, before)


def test_a_dataset_passes_as_it_is():
    dataset = from_frame(FRAME, SPEC)
    assert from_frame(dataset, SPEC) is dataset


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".feather", ".arrow", ".ipc"])
def test_every_file_gives_the_same_dataset(tmp_path, suffix):
    path = tmp_path / "sex=1" / f"data{suffix}"
    path.parent.mkdir()
    if suffix in (".csv", ".tsv"):
        FRAME.to_csv(path, index=False, sep="," if suffix == ".csv" else "\t")
    elif suffix == ".parquet":
        FRAME.iloc[::-1].iloc[::-1].set_index(pd.Index([4, 3, 2, 1])).to_parquet(path)
    elif suffix == ".ipc":
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, pa.Table.from_pandas(FRAME).schema) as writer:
            writer.write_table(pa.Table.from_pandas(FRAME))
    else:
        pyarrow.feather.write_feather(FRAME, str(path), compression="lz4")
    data = SPEC.data.__class__(
        **{**{f: getattr(SPEC.data, f) for f in SPEC.data.__slots__}, "path": f"sex=1/data{suffix}"}
    )
    dataset = read(Spec(model=SPEC.model, data=data, groups=SPEC.groups), tmp_path)
    check(dataset)
    assert dataset.origin.name == f"sex=1/data{suffix}"
    assert dataset.origin.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_hostile_text_survives_a_csv(tmp_path):
    names = ["<script>", "a\nb", 'q"q', "עברית", "😀", "a,b", "NA", "null"]
    pd.DataFrame({"sex": names, "y": [0, 1] * 4}).to_csv(tmp_path / "h.csv", index=False)
    dataset = read(spec(path="h.csv", label="y"), tmp_path)
    assert [dataset.groups["sex"].levels[code] for code in dataset.groups["sex"].values] == names


def test_semicolons_and_a_byte_order_mark(tmp_path):
    (tmp_path / "e.csv").write_bytes("\ufeffy;sex\n1;a\n0;b\n".encode())
    assert read(spec(path="e.csv", label="y"), tmp_path).groups["sex"].levels == ("a", "b")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "Empty CSV"),
        ("a.csv", b"y,sex\n", "no rows .columns: y, sex"),
        ("a.csv", b"y,sex\n1,a\n0\n", "Expected 2 columns, got 1"),
        ("a.csv", b"y,y,sex\n1,1,a\n", "must be unique; twice or more: 'y'"),
        ("a.csv", b"y,sex\n1,\xff\n0,a\n", "not UTF-8"),
        ("a.csv", b"y,sex\n" + b"1,a\n" * 9999 + b"1,\xff\n", "not UTF-8"),
        ("a.parquet", b"PAR1nonsense", "cannot be read as parquet"),
        ("a.feather", b"nonsense", "cannot be read as feather"),
        ("a.xlsx", b"PK", "suffix '.xlsx' is not one of .arrow, .csv"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read(spec(path=name, label="y"), tmp_path)


def test_a_missing_file_suggests_a_neighbour(tmp_path):
    (tmp_path / "holdout.csv").write_text("y\n1\n")
    with pytest.raises(DataError, match=r"'hold_out.csv' was not found.*did you mean 'holdout.csv'"):
        read(spec(path="hold_out.csv"), tmp_path)
    with pytest.raises(DataError, match=r"neither data.path nor data.world"):
        read(Spec(), tmp_path)


@pytest.mark.parametrize(
    ("data", "groups", "message"),
    [
        ({"label": "Y"}, (), "data.label: there is no column 'Y'.*did you mean 'y'"),
        ({"score": "scores"}, (), "data.score: there is no column 'scores'"),
        ({"weight": "wt"}, (), "data.weight: there is no column"),
        ({"decision": "aproved"}, (), "did you mean 'approved'"),
        ({"strata": ("regoin",)}, (), "data.strata.*did you mean 'region'"),
        ({"features": ("incom",)}, (), "data.features.*did you mean 'income'"),
        ({}, ("gender",), "groups.attributes: there is no column 'gender'"),
        ({"label": "y", "features": ("y", "income")}, (), "'y' is the label, decision or score"),
        ({"score": "job"}, (), "data.score: column 'job' must hold numbers"),
    ],
)
def test_columns_that_are_not_there_or_not_fit(data, groups, message):
    with pytest.raises(DataError, match=message):
        from_frame(FRAME, spec(groups=groups, **data))


def test_what_is_no_frame_is_refused():
    with pytest.raises(DataError, match="expected a pandas, polars or pyarrow table, got ndarray"):
        from_frame(np.zeros((2, 2)), SPEC)
    with pytest.raises(DataError, match="twice or more: 'a'"):
        from_frame(pd.DataFrame([[1, 2]], columns=["a", "a"]), SPEC)
    with pytest.raises(DataError, match="no rows"):
        from_frame(pd.DataFrame({"a": []}), SPEC)


def test_protected_attributes_are_features_only_by_name():
    assert "sex" not in from_frame(FRAME, spec(label="y")).names
    assert from_frame(FRAME, spec(label="y", features=("sex", "income"))).names == ("sex", "income")


def test_a_score_decides_by_the_threshold_and_a_recorded_decision_wins():
    by_score = from_frame(FRAME, spec(score="s", threshold=0.4))
    assert by_score.decision.tolist() == [1, 0, 1, 0]
    assert "0.4 or more" in by_score.notes[0]
    both = from_frame(FRAME, spec(decision="approved", score="s", threshold=0.4))
    assert both.decision.tolist() == [1, 0, 0, 0]
    assert "would decide 1 of 4 rows otherwise" in both.notes[0]


def test_predictions_leave_out_what_no_model_reads_with_a_note():
    frame = FRAME.assign(when=pd.to_datetime(["2020-01-01"] * 4))
    dataset = from_frame(frame, spec(kind="predictions", label="y"))
    assert "when" not in dataset.names
    assert any("'when'" in note for note in dataset.notes)
    with pytest.raises(DataError, match="'when' holds timestamp"):
        from_frame(frame, spec(label="y"))
    assert from_frame(frame, spec(label="y"), inputs=False).inputs is None


def test_an_intersected_attribute_is_read_too():
    wanted = Spec(groups=GroupSpec(attributes=("sex",), intersect=(("sex", "region"),)))
    assert list(from_frame(FRAME, wanted).groups) == ["sex", "region"]


def test_one_class_and_several_classes_are_noted():
    assert "Every row has the label '1'" in from_frame(FRAME.assign(y=1), spec(label="y")).notes[0]
    several = from_frame(FRAME.assign(y=["a", "b", "c", "a"]), spec(label="y", positive="b"))
    assert several.classes == ("a", "b", "c")
    assert "3 classes" in several.notes[0]


def test_whole_column_names_may_be_numbers():
    assert from_frame(pd.DataFrame({0: [1, 0], 1: ["a", "b"]}), spec(label="0", groups=("1",))).y.tolist() == [1, 0]


def test_compas_is_read_as_published(test_data):
    wanted = Spec(
        data=DataSpec(
            path="compas/compas_two_years_deidentified.csv", label="two_year_recid", score="decile_score", threshold=5
        ),
        groups=GroupSpec(attributes=("race", "sex", "age_cat")),
    )
    dataset = read(wanted, test_data)
    expected = json.loads((test_data / "expected_A.json").read_text())["compas"]
    assert len(dataset) == expected["rows"]
    for attribute in ("race", "sex", "age_cat"):
        codes = dataset.groups[attribute]
        table = expected[attribute]
        by_group = table["by_group"]
        for code, level in enumerate(codes.levels):
            inside = codes.values == code
            assert inside.sum() == by_group[level]["n"]
            assert (dataset.y[inside] & dataset.decision[inside]).sum() == by_group[level]["TP"]
        assert dataset.decision.mean() == pytest.approx(table["overall"]["selection_rate"], abs=1e-12)
    assert dataset.inputs is None


def test_a_parquet_file_of_whole_floats(test_data):
    path = "acs_pums/ACS_sample.test.parquet"
    dataset = read(spec(path=path, label="PINCP", groups=("SEX", "RAC1P")), test_data)
    plain = pd.read_parquet(test_data / path)
    assert dataset.groups["SEX"].levels == ("1", "2")
    assert (dataset.groups["SEX"].values == 0).sum() == (plain["SEX"] == 1).sum()
    np.testing.assert_array_equal(dataset.y, (plain["PINCP"] == 1).to_numpy())
    np.testing.assert_array_equal(tabular(dataset).values, plain[list(dataset.names)].to_numpy(dtype=float))


def test_adult_as_a_frame(test_data):
    names = [
        "age",
        "work",
        "fnlwgt",
        "edu",
        "edunum",
        "marital",
        "job",
        "relation",
        "race",
        "sex",
        "gain",
        "loss",
        "hours",
        "country",
        "income",
    ]
    frame = pd.read_csv(test_data / "adult" / "adult.data", names=names, skipinitialspace=True)
    wanted = Spec(
        model=ModelSpec(kind="sklearn"),
        data=DataSpec(label="income", positive=">50K", weight="fnlwgt"),
        groups=GroupSpec(attributes=("sex", "race"), unknown=("?",)),
    )
    dataset = from_frame(frame, wanted)
    assert dataset.y.mean() == pytest.approx((frame["income"] == ">50K").mean())
    for attribute in ("sex", "race"):
        counts = frame[attribute].value_counts()
        codes = dataset.groups[attribute]
        assert {level: int((codes.values == code).sum()) for code, level in enumerate(codes.levels)} == counts.to_dict()
    pd.testing.assert_frame_equal(tabular(dataset).frame()[["age", "hours"]], frame[["age", "hours"]])
    assert tabular(dataset).frame()["job"].tolist() == frame["job"].tolist()


def test_load_names_the_columns_in_order(tmp_path):
    FRAME.to_csv(tmp_path / "a.csv", index=False)
    assert load(tmp_path / "a.csv").columns == list(FRAME.columns)
