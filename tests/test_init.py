"""audit init: what it writes runs as it stands."""

import shutil

import pytest

from audit import codec
from audit.cli import main


def test_init_from_predictions_runs_as_it_stands(tmp_path, test_data, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copy(test_data / "aequitas_predictions" / "compas_for_aequitas.csv", "predictions.csv")
    assert main(["init", "--from", "predictions.csv"]) == 0
    told = capsys.readouterr()
    assert told.out == ""
    assert "label = 'label_value'" in told.err
    spec = codec.read_spec(tmp_path / "audit.toml")
    assert (spec.data.label, spec.data.score) == ("label_value", "score")
    assert spec.data.threshold == 0.5
    assert {"race", "sex"} <= set(spec.groups.attributes)
    assert main(["run", "-q", "--only", "fairness,performance"]) in (0, 1, 3)
    assert (tmp_path / "out" / "result.json").exists()


def test_scores_that_are_no_probabilities_get_a_threshold_to_look_at(tmp_path, test_data, capsys):
    source = test_data / "compas" / "compas_two_years_deidentified.csv"
    path = tmp_path / "new.toml"
    assert main(["init", "--from", str(source), str(path)]) == 0
    spec = codec.read_spec(path)
    assert (spec.data.score, spec.data.threshold) == ("decile_score", 5.5)
    assert "run from 1 to 10" in path.read_text()


def test_init_without_a_file_is_a_template(tmp_path, capsys):
    path = tmp_path / "new.toml"
    assert main(["init", str(path)]) == 0
    assert codec.read_spec(path).data.path == "predictions.csv"
    content = path.read_text()
    assert main(["init", str(path)]) == 2
    assert path.read_text() == content
    assert "not overwritten" in capsys.readouterr().err


def test_hostile_columns_do_not_break_out_of_the_file(tmp_path, capsys):
    source = tmp_path / 'odd "name"\n.csv'
    source.write_text('"label ""x""\n[run]",sex,score\n0,a,0.5\n1,b,0.7\n')
    path = tmp_path / "new.toml"
    assert main(["init", "--from", str(source), str(path)]) == 0
    spec = codec.read_spec(path)
    assert spec.data.path == 'odd "name"\n.csv'
    assert spec.groups.attributes == ("sex",)


@pytest.mark.parametrize("content", ["a,b\n1,2\n"])
def test_nothing_recognised_is_said(tmp_path, capsys, content):
    source = tmp_path / "rows.csv"
    source.write_text(content)
    assert main(["init", "--from", str(source), str(tmp_path / "new.toml")]) == 0
    assert "no column was recognised" in capsys.readouterr().err
