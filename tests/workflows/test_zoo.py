"""The zoo's commands, on a family that trains in a moment."""

import json
import sys

import pytest

from audit import cli, codec, registry
from audit.core import RunSpec, Table, UsageError
from audit.workflows import commands, zoo
from audit.workflows.compare import compare

QUICK = ["--training", "1500", "--rows", "400"]


def test_a_name_carries_options():
    wish = zoo.named("mlp:hidden=[8,4],epochs=3")
    assert wish.id == "mlp"
    assert wish.options == {"hidden": [8, 4], "epochs": 3}
    assert str(wish) == "mlp:hidden=[8, 4],epochs=3"
    graph = zoo.named('counterfactual:graph={"debt": {"income": -0.5}, "zip": {"sex": 1.6}},epochs=2')
    assert graph.options == {"graph": {"debt": {"income": -0.5}, "zip": {"sex": 1.6}}, "epochs": 2}
    assert "/" not in zoo.named("mlp").folder
    assert zoo.Named(id="mlp", options={"x": "../../etc"}).folder.startswith("mlp-x-..")
    assert "/" not in zoo.Named(id="mlp", options={"x": "../../etc"}).folder


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mlq", "no family 'mlq'.*did you mean 'mlp'"),
        ("mlp:epoch=3", "no option 'epoch'.*did you mean 'epochs'"),
        ("mlp:epochs", "no option 'epochs'; options, as NAME=VALUE"),
        ("mlp:seed=3", "no option 'seed'"),
    ],
)
def test_what_is_not_there_is_named(text, message):
    with pytest.raises(UsageError, match=message):
        zoo.named(text)


def test_families_are_named_or_all_are_meant():
    assert {wish.id for wish in commands.wishes([], everything=True)} == set(registry.entries("families"))
    with pytest.raises(UsageError, match="not both"):
        commands.wishes(["mlp"], everything=True)
    with pytest.raises(UsageError, match="one or more families"):
        commands.wishes([])


def test_train_keeps_a_model_that_audit_run_can_audit(tmp_path, capsys):
    asked = ["zoo", "train", "mlp", "--out", str(tmp_path), "--training", "4000", "--threads", "1", "-q"]
    assert cli.main([*asked, "--rows", "700"]) == 0
    printed = capsys.readouterr().out
    assert "AUC" in printed
    assert "every promise was kept" in printed
    assert "rows = 700" in (tmp_path / "mlp" / "audit.toml").read_text()
    folder = tmp_path / "mlp"
    assert {each.name for each in folder.iterdir()} == {"model.safetensors", "card.json", "audit.toml"}
    card = json.loads((folder / "card.json").read_text())
    assert card["trained"]["rows"] == "4000"
    only = ["--only", "performance,fairness.selection"]
    assert cli.main(["run", str(folder / "audit.toml"), *only, "--out", str(tmp_path / "out"), "-q"]) == 0
    record = codec.read_record(tmp_path / "out" / "result.json")
    assert record.subject.model.family == "mlp"
    assert record.subject.model.trained["rows"] == "4000"


def test_no_more_threads_than_were_given(tmp_path, monkeypatch):
    import torch

    from audit.models.adapters.torch import TorchModel

    before, seen = torch.get_num_threads(), []
    real = TorchModel.predict

    def watched(self, inputs):
        seen.append(torch.get_num_threads())
        return real(self, inputs)

    monkeypatch.setattr(TorchModel, "predict", watched)
    torch.set_num_threads(2)
    try:
        for asked in (["zoo", "run", "neuron"], ["zoo", "compare", "neuron", "mcculloch_pitts"]):
            assert cli.main([*asked, *QUICK, "--threads", "1", "--out", str(tmp_path), "-q"]) in (0, 1)
            assert set(seen) == {1}
            seen.clear()
        sizes = ["--seeds", "1", "--audits", "1", "--explained", "0", "--rows", "200", "--training", "300"]
        assert cli.main(["calibrate", "neuron", *sizes, "--threads", "1", "--out", str(tmp_path), "-q"]) == 0
        assert set(seen) == {1}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_broken_promise_is_told_by_the_exit_code(tmp_path, capsys):
    assert cli.main(["zoo", "train", "mlp:epochs=1,rate=1e-7", "--out", str(tmp_path), *QUICK, "-q"]) == 1
    assert "NO" in capsys.readouterr().out


def test_an_out_folder_that_cannot_be_written_is_told_before_the_work(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    for asked in (
        ["zoo", "train", "mlp"],
        ["zoo", "run", "mlp"],
        ["zoo", "compare", "mlp", "neuron"],
        ["calibrate", "mlp"],
    ):
        assert cli.main([*asked, "--out", str(tmp_path / "file"), "-q"]) == 2
        assert "--out:" in capsys.readouterr().err
    assert cli.main(["zoo", "compare", "mlp", "neuron", "--rows", "5", "--out", str(tmp_path / "c"), "-q"]) == 2
    assert "--rows of 100 or more, got 5" in capsys.readouterr().err


def test_compare_puts_models_side_by_side(tmp_path, capsys):
    asked = ["zoo", "compare", "mlp", "mlp:epochs=1", "--out", str(tmp_path), *QUICK, "-q"]
    assert cli.main(asked) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["mlp", "mlp:epochs=1"]
    record = codec.read_record(tmp_path / "result.json")
    (outcome,) = record.outcomes
    table = next(piece for piece in outcome.evidence if piece.kind == "table")
    assert [row[0] for row in table.rows] == ["mlp", "mlp:epochs=1"]
    assert None not in table.rows[0]
    own = codec.read_record(tmp_path / "mlp" / "result.json")
    auc = next(m for o in own.outcomes for m in o.evidence if o.check == "performance.overall" and m.name == "auc")
    assert dict(zip(table.columns, table.rows[0], strict=True))["AUC"] == auc.value
    assert "Models side by side" in (tmp_path / "report.html").read_text()
    for names in (["mlp"], ["mlp", "mlp"]):
        assert cli.main(["zoo", "compare", *names, "-q"]) == 2
    told = capsys.readouterr().err
    assert "two models or more" in told
    assert "names a model twice" in told


def test_the_list_tells_paper_world_parameters_and_offers(capsys):
    assert cli.main(["zoo", "list", "-q"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["family", "what", "it", "is", "sources", "world", "offers", "parameters"]
    mlp = next(line for line in lines if line.startswith("mlp "))
    assert "rumelhart1986" in mlp
    assert "credit" in mlp
    assert "gradients" in mlp
    assert "4,737" in mlp


def test_a_missing_extra_leaves_the_other_families_alone(monkeypatch, tmp_path, capsys):
    families = {id: registry.entries("families")[id] for id in ("bert", "gcn", "neuron")}
    monkeypatch.setattr(
        registry, "entries", lambda kind, known=registry.entries: families if kind == "families" else known(kind)
    )
    for package in ("transformers", "torch_geometric", "torch_geometric.nn"):
        monkeypatch.setitem(sys.modules, package, None)
    rows = {row[0]: row for row in zoo.listing()}
    assert "pip install 'neural-audit[transformers]'" in rows["bert"][-1]
    assert "pip install 'neural-audit[geometric]'" in rows["gcn"][-1]
    assert rows["neuron"][4] > 0
    done = commands.zoo_train(
        commands.wishes([], everything=True),
        tmp_path,
        rows=300,
        audited=100,
        run=RunSpec(device="cpu", threads=1),
        quiet=True,
    )
    said = capsys.readouterr()
    assert done in (0, 1)
    assert "neuron" in said.out
    assert "bert was left out" in said.err
    assert "gcn was left out" in said.err


def test_a_comparison_tells_how_to_repeat_it_and_what_it_left_out(tmp_path):
    wishes = [zoo.named("skip_gram:epochs=1"), zoo.named('skip_gram:epochs=1,debias="hard"')]
    report, sides = compare(wishes, rows=150, training=300, run=RunSpec(device="cpu", threads=1))
    assert report.environment.command.endswith("--rows 150 --training 300")
    assert report.not_tested
    table = next(piece for piece in report.outcomes[0].evidence if isinstance(piece, Table))
    assert "association effect" in table.columns
    assert len(sides) == 2
