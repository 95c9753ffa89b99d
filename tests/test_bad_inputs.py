"""Bad inputs, each as a user meets it: exit code 2, one message, no traceback, nothing half-written.

What explanations meet is odd rather than bad: there the audit ends, with right figures or an error that says why.
"""

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from samples import sample_report

from audit import codec
from audit.cli import main
from audit.core import Measure, Table

ROWS = "id,label,score,approved,sex,age\n" + "\n".join(
    f"{i},{i % 2},{(i % 10) / 10},{int(i % 3 == 0)},{'fm'[i % 2]},{20 + i}" for i in range(60)
)
CONFIG = """
[data]
path = "rows.csv"
label = "label"
score = "score"
features = ["age"]
[groups]
attributes = ["sex"]
"""
MODEL = """
[model]
kind = "callable"
factory = "model:build"
[data]
path = "rows.csv"
label = "label"
features = ["age"]
[groups]
attributes = ["sex"]
"""
COUNTS = '[model]\nkind = "counts"\n[data]\npath = "rows.csv"\n[groups]\nattributes = ["sex"]\n'


@dataclass(frozen=True)
class Bad:
    name: str
    words: tuple[str, ...]  # the file, the key or column, what was allowed, what came, a suggestion
    config: str = CONFIG
    rows: str | None = ROWS
    model: str = ""
    arguments: tuple[str, ...] = ("run", "audit.toml", "--out", "out")
    files: dict[str, str] = field(default_factory=dict)


def lines(model: str) -> str:
    return "import numpy as np\n" + model


CASES = [
    Bad("no configuration", ("nothing.toml", "cannot be read", "audit init"), arguments=("run", "nothing.toml")),
    Bad("not TOML", ("audit.toml", "not valid TOML", "line"), config="[data\npath"),
    Bad(
        "unknown key",
        ("audit.toml", "[data] lable", "allowed:", "did you mean 'label'"),
        config=CONFIG.replace("label =", "lable ="),
    ),
    Bad("unknown table", ("audit.toml", "gruops", "did you mean 'groups'"), config=CONFIG.replace("groups", "gruops")),
    Bad(
        "wrong type",
        ("[data] threshold", "number", '"half"'),
        config=CONFIG.replace('score = "score"', 'score = "score"\nthreshold = "half"'),
    ),
    Bad(
        "check prefix",
        ("[checks] only", "'fariness'", "allowed:", "did you mean 'fairness'"),
        arguments=("run", "audit.toml", "--only", "fariness"),
    ),
    Bad(
        "check parameter",
        ("robustness.noise", "scalee", "allowed:", "did you mean 'scale'"),
        config=CONFIG + '[checks."robustness.noise"]\nscalee = 0.1\n',
    ),
    Bad(
        "parameter type",
        ("robustness.noise", "rows", "must be like its default", "'all'"),
        config=CONFIG + '[checks."robustness.noise"]\nrows = "all"\n',
    ),
    Bad(
        "gate without check",
        ("[[gate]] number 1", "fairness.impact_ration", "did you mean 'fairness.impact_ratio'"),
        config=CONFIG + '[[gate]]\ncheck = "fairness.impact_ration"\nmeasure = "impact_ratio"\nmin = 0.8\n',
    ),
    Bad(
        "gate by no attribute",
        ("[[gate]] number 1 by", "'sexx'", "allowed:", "did you mean 'sex'"),
        config=CONFIG + '[[gate]]\ncheck = "fairness.impact_ratio"\nmeasure = "impact_ratio"\nmin = 0.8\nby = "sexx"\n',
    ),
    Bad("no data file", ("rows.csv", "not found"), rows=None),
    Bad("empty file", ("rows.csv",), rows=""),
    Bad("header only", ("rows.csv", "no rows"), rows="label,score,sex,age\n"),
    Bad("ragged file", ("rows.csv", "cannot be read"), rows=ROWS + "\n1,2\n"),
    Bad(
        "wrong suffix",
        ("rows.xlsx", ".xlsx", ".csv", ".parquet"),
        config=CONFIG.replace("rows.csv", "rows.xlsx"),
        files={"rows.xlsx": "PK"},
    ),
    Bad(
        "missing label column",
        ("'labl'", "did you mean 'label'", "columns:"),
        config=CONFIG.replace('"label"', '"labl"'),
    ),
    Bad(
        "missing group column",
        ("groups.attributes", "'sax'", "did you mean 'sex'"),
        config=CONFIG.replace('["sex"]', '["sax"]'),
    ),
    Bad(
        "missing feature column",
        ("data.features", "'aeg'", "did you mean 'age'"),
        config=CONFIG.replace('"age"', '"aeg"'),
    ),
    Bad("missing label value", ("label", "missing in 1 of 60 rows", "row 3"), rows=ROWS.replace("\n3,1,", "\n3,,")),
    Bad("missing score", ("score", "missing in 1", "row 3"), rows=ROWS.replace("\n3,1,0.3,", "\n3,1,,")),
    Bad("score is text", ("score", "must hold numbers", "high"), rows=ROWS.replace("\n3,1,0.3,", "\n3,1,high,")),
    Bad(
        "positive not found",
        ("label", "positive", "'yes'", "'0', '1'"),
        config=CONFIG.replace('label = "label"', 'label = "label"\npositive = "yes"'),
    ),
    Bad(
        "three decisions",
        ("approved", "two values", "'0', '1', '2'"),
        config=CONFIG.replace('score = "score"', 'decision = "approved"'),
        rows=ROWS.replace("\n3,1,0.3,1", "\n3,1,0.3,2"),
    ),
    Bad("regression label", ("'id'", "60 distinct", "regression"), config=CONFIG.replace('"label"', '"id"')),
    Bad(
        "numeric attribute",
        ("'id'", "60 distinct", "bin it"),
        config=CONFIG.replace('["sex"]', '["id"]'),
    ),
    Bad("reserved group name", ("'sex'", "'*'", "all groups"), rows=ROWS.replace(",f,", ",*,")),
    Bad("duplicate columns", ("unique", "'sex'"), rows=ROWS.replace("approved", "sex", 1)),
    Bad(
        "reference group",
        ("reference", "'femal'", "sex has f, m"),
        config=CONFIG + 'reference = { sex = "femal" }\n',
    ),
    Bad(
        "negative weight",
        ("data.weight", "'w'", "negative", "-1"),
        config=CONFIG.replace('score = "score"', 'score = "score"\nweight = "w"'),
        rows=ROWS.replace("approved", "w").replace("\n3,1,0.3,1", "\n3,1,0.3,-1"),
    ),
    Bad("counts: no columns", ("rows.csv", "tp, fp, tn, fn", "n, selected"), config=COUNTS, rows="sex,tq\nf,1\n"),
    Bad("counts: negative", ("'tp'", "negative", "-1"), config=COUNTS, rows="sex,tp,fp,tn,fn\nf,-1,2,3,4\n"),
    Bad(
        "counts: too many selected",
        ("selected", "larger than n", "9 of 5"),
        config=COUNTS,
        rows="sex,n,selected\nf,5,9\n",
    ),
    Bad(
        "unknown world",
        ("world", "'kredit'", "did you mean 'credit'"),
        config='[data]\nworld = "kredit"\n[model]\nkind = "oracle"',
    ),
    Bad(
        "unknown knob",
        ("knob", "'flop'", "did you mean 'flip'"),
        config='[data]\nworld = "credit"\nknobs = { flop = 0.1 }\n[model]\nkind = "oracle"',
    ),
    Bad("factory file", ("factory", "'model'", "cannot be imported"), config=MODEL),
    Bad(
        "factory function",
        ("factory", "'build'", "did you mean 'biuld'"),
        config=MODEL,
        model="def biuld():\n    pass\n",
    ),
    Bad(
        "factory raises",
        ("factory", "ZeroDivisionError", "division by zero"),
        config=MODEL,
        model="def build():\n    return 1 / 0\n",
    ),
    Bad(
        "model raises",
        ("KeyError", "oops"),
        config=MODEL,
        model="def build():\n    def f(x):\n        raise KeyError('oops')\n    return f\n",
    ),
    Bad(
        "model returns NaN",
        ("60", "finite"),
        config=MODEL,
        model=lines("def build():\n    return lambda x: x[:, 0] * np.nan\n"),
    ),
    Bad(
        "model returns too few",
        ("60", "59"),
        config=MODEL,
        model=lines("def build():\n    return lambda x: np.full(len(x) - 1, 0.5)\n"),
    ),
    Bad(
        "model returns logits",
        ("not probabilities", 'output = "logit"'),
        config=MODEL,
        model=lines("def build():\n    return lambda x: x[:, 0]\n"),
    ),
    Bad(
        "pickled weights",
        ("model.pkl", "trust = true"),
        config=MODEL.replace('"callable"', '"sklearn"').replace('factory = "model:build"', 'weights = "model.pkl"'),
        files={"model.pkl": "cos\nsystem\n(S'touch owned'\ntR."},
    ),
    Bad(
        "another model file",
        ("sha256", "0000", "another file"),
        config=MODEL.replace('"callable"', '"torch"').replace(
            "[data]", 'weights = "w.safetensors"\nsha256 = "0000"\n[data]'
        ),
        model="import torch\ndef build():\n    return torch.nn.Linear(1, 1)\n",
        files={"w.safetensors": "nothing"},
    ),
    Bad(
        "model exits",
        ("audit.toml", "SystemExit"),
        config=MODEL,
        model="import sys\ndef build():\n    return lambda x: sys.exit(0)\n",
    ),
    Bad(
        "factory exits",
        ("audit.toml", "factory", "SystemExit"),
        config=MODEL,
        model="import sys\ndef build():\n    sys.exit(0)\n",
    ),
    Bad(
        "model returns ragged lists",
        ("the model raised", "inhomogeneous"),
        config=MODEL,
        model="def build():\n    return lambda x: [[0.1], [0.2, 0.3]] * 30\n",
    ),
    Bad(
        "reserved attribute",
        ("'scale'", "rename the column"),
        config=CONFIG.replace('["sex"]', '["scale"]'),
        rows=ROWS.replace("sex", "scale"),
    ),
    Bad(
        "extreme weights",
        ("data.weight", "'w'", "1e+100"),
        config=CONFIG.replace('score = "score"', 'score = "score"\nweight = "w"'),
        rows=ROWS.replace("approved", "w").replace("\n3,1,0.3,1", "\n3,1,0.3,1e300"),
    ),
    Bad("negative seed", ("command line", "[run] seed", "-1"), arguments=("run", "audit.toml", "--seed", "-1")),
    Bad("no deadline", ("max_seconds", "above 0"), arguments=("run", "audit.toml", "--max-seconds", "nan")),
    Bad("only nothing", ("--only", "one or more"), arguments=("run", "audit.toml", "--only", "")),
    Bad(
        "output over the data", ("rows.csv", "what is read"), arguments=("run", "audit.toml", "-q", "-o", "md:rows.csv")
    ),
    Bad("output over the configuration", ("what is read",), arguments=("run", "audit.toml", "-o", "md:audit.toml")),
    Bad(
        "output to a device",
        ("/dev/null", "no regular file"),
        arguments=("report", "record.json", "-o", "md:/dev/null"),
        files={"record.json": codec.dumps(sample_report())},
    ),
    Bad(
        "corrupt record",
        ("record.json", "not a record"),
        arguments=("check", "record.json"),
        files={"record.json": "{]"},
    ),
    Bad(
        "empty record",
        ("record.json", "spec", "Field required"),
        arguments=("report", "record.json", "-o", "md:x.md"),
        files={"record.json": "{}"},
    ),
    Bad("no record", ("nowhere.json", "cannot be read"), arguments=("check", "nowhere.json")),
    Bad(
        "unknown format", ("'htlm'", "allowed:", "did you mean 'html'"), arguments=("run", "audit.toml", "-o", "htlm:x")
    ),
    Bad("format without path", ("FORMAT:PATH", "'html'"), arguments=("run", "audit.toml", "-o", "html")),
    Bad("nothing to write", ("-o html:report.html",), arguments=("report", "record.json")),
    Bad("unknown command", ("'rn'", "did you mean 'run'"), arguments=("rn",)),
    Bad("unknown option", ("--sed", "did you mean '--seed'"), arguments=("run", "audit.toml", "--sed", "3")),
    Bad("unknown device", ("'gpu'", "cuda"), arguments=("run", "audit.toml", "--device", "gpu")),
    Bad(
        "unknown check",
        ("'fairness.selecton'", "did you mean 'fairness.selection'"),
        arguments=("explain", "fairness.selecton"),
    ),
    Bad("out is a file", ("rows.csv",), arguments=("run", "audit.toml", "--out", "rows.csv")),
    Bad("init never overwrites", ("audit.toml", "exists"), arguments=("init", "audit.toml")),
    Bad("init from nothing", ("nothing.csv", "not found"), arguments=("init", "new.toml", "--from", "nothing.csv")),
]


# These go through a process of their own, the others through the same main.
IN_A_PROCESS = {"model exits", "unknown command", "missing label column"}


def said(bad: Bad, folder: Path, capfd, monkeypatch) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of the command."""
    if bad.name in IN_A_PROCESS:
        command = [sys.executable, "-B", "-m", "audit", *bad.arguments]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
        return done.returncode, done.stdout, done.stderr
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    capfd.readouterr()
    code = main(bad.arguments)
    return code, *capfd.readouterr()


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("bad", CASES, ids=lambda bad: bad.name)
def test_exit_code_2_and_one_message(tmp_path: Path, capfd, monkeypatch, bad: Bad):
    (tmp_path / "audit.toml").write_text(bad.config)
    if bad.rows is not None:
        (tmp_path / "rows.csv").write_text(bad.rows)
    if bad.model:
        (tmp_path / "model.py").write_text(bad.model)
    for name, content in bad.files.items():
        (tmp_path / name).write_text(content)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    code, out, error = said(bad, tmp_path, capfd, monkeypatch)
    assert code == 2, error
    assert out == ""
    assert "Traceback" not in error
    assert "error: internal" not in error
    assert error.count("audit: error: ") == 1, error
    for word in bad.words:
        assert word in error, error
    # Nothing half-written, nothing lost.
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before
    assert not list(tmp_path.rglob("*.part"))
    assert not list(tmp_path.rglob("out/*"))


def test_the_cases_of_a_process_are_there():
    assert {bad.name for bad in CASES} >= IN_A_PROCESS


# --------------------------------------------------------------------------------------------- odd things to explain
TABLE = """
[model]
kind = "{kind}"
factory = "model:build"
{output}
[data]
path = "rows.csv"
label = "label"
features = {features}
[groups]
attributes = ["sex"]
[checks]
only = ["explain"]
"""
MADE = """
[model]
kind = "torch"
factory = "model:build"
output = "logit"
[data]
factory = "model:data"
[groups]
attributes = ["hand"]
[checks]
only = ["explain"]
"""
SCORED = "label,sex,age,debt,again\n" + "\n".join(
    f"{(7 * i + i // 3) % 2},{'fm'[i % 2]},{20 + i % 40},{13 * i % 17},{20 + i % 40}" for i in range(60)
)
MODULE = """
import numpy as np
import torch
from torch import nn

from audit.core import Codes, Dataset, Origin
from audit.data.images import Images
from audit.data.texts import tokenised


def made(*layers):
    net = nn.Sequential(*layers)
    for weights in net.parameters():
        weights.data = torch.linspace(-1, 1, weights.numel()).reshape(weights.shape)
    return net


def dataset(inputs):
    half = np.arange(len(inputs)) % 2
    groups = {"hand": Codes(values=half, levels=("a", "b"))}
    return Dataset(inputs=inputs, groups=groups, origin=Origin(name="made"), y=half)
"""


def explained(folder: Path, config: str, model: str):
    (folder / "audit.toml").write_text(config)
    (folder / "rows.csv").write_text(SCORED)
    (folder / "model.py").write_text(model)
    assert main(["run", str(folder / "audit.toml"), "--out", str(folder / "out"), "-q"]) == 0
    return codec.read_record(folder / "out" / "result.json")


def of_table(function: str, *features: str, more: str = "") -> tuple[str, str]:
    config = TABLE.format(kind="callable", output="", features=json.dumps(features))
    return config + more, f"import numpy as np\n\ndef build():\n    return lambda x: {function}\n"


def outcomes(report):
    return {one.check: one for one in report.all_outcomes}


def told(report, check, kind):
    return [one for one in outcomes(report)[check].evidence if isinstance(one, kind)]


def measured(report, check):
    return {(one.name, *one.where.values()): one for one in told(report, check, Measure)}


def cases(report):
    """Of each case its attributions by player, and base and output as the note tells them."""
    found = []
    for table in told(report, "explain.cases", Table):
        at = table.columns.index("shap")
        ends = table.note.removeprefix("base ").split(" (")[0].split(", output ")
        found.append(({row[0]: row[at] for row in table.rows}, *map(float, ends)))
    return found


def none_fails(report):
    bad = {check: one.reason for check, one in outcomes(report).items() if one.status not in ("done", "not_applicable")}
    assert bad == {}


def test_nan_for_masked_rows_is_an_error_that_says_so(tmp_path):
    config, model = of_table("np.where(x[:, 0] + x[:, 1] == x[:, 2] + x[:, 1], 0.3, np.nan)", "age", "debt", "again")
    report = explained(tmp_path, config, model)  # only rows whose two ages agree get an answer
    for check in ("explain.cases", "explain.global_importance", "explain.reason_codes"):
        assert outcomes(report)[check].status == "error"
        for word in ("not finite", "masked", "filled in from"):
            assert word in outcomes(report)[check].reason
    assert "not finite" in (tmp_path / "out" / "report.html").read_text("utf-8")


def test_a_constant_model_has_no_reasons(tmp_path):
    report = explained(tmp_path, *of_table("np.full(len(x), 0.4)", "age", "debt"))
    none_fails(report)
    assert all(value == 0 for values, _, _ in cases(report) for value in values.values())
    assert measured(report, "explain.reason_codes")["no_reason_share", "all"].value == 1
    undefined = [one for check in outcomes(report) for one in told(report, check, Measure) if one.value is None]
    assert undefined
    assert all(one.note for one in undefined)


def test_one_player_has_the_whole_difference(tmp_path):
    report = explained(tmp_path, *of_table("1 / (1 + np.exp((40 - x[:, 0]) / 5))", "age"))
    none_fails(report)
    assert cases(report)
    for values, base, output in cases(report):
        assert values["age"] == pytest.approx(output - base, abs=2e-4)  # the note tells four figures
    assert measured(report, "explain.cases")["completeness_error", "shap"].value < 1e-12


def test_duplicated_columns_share_alike(tmp_path):
    score = "1 / (1 + np.exp(3 - x[:, 0] / 20 - x[:, 2] / 20 + x[:, 1] / 9))"
    report = explained(tmp_path, *of_table(score, "age", "debt", "again"))
    none_fails(report)
    assert cases(report)
    for values, _, _ in cases(report):
        assert values["age"] == pytest.approx(values["again"], abs=1e-12)
    assert any(abs(values["age"]) > 0.01 for values, _, _ in cases(report))


def test_a_background_of_one_row_has_no_error_of_its_choice(tmp_path):
    wanted = (
        "cases",
        "global_importance",
        "group_reasons",
        "interactions",
        "completeness",
        "faithfulness",
        "agreement",
    )
    more = "".join(f'[checks."explain.{check}"]\nbackground = 1\n' for check in (*wanted, "reason_codes", "recourse"))
    report = explained(
        tmp_path, *of_table("1 / (1 + np.exp((40 - x[:, 0]) / 5 + x[:, 1] / 9))", "age", "debt", more=more)
    )
    none_fails(report)
    rows = [[float(cell) for cell in line.split(",")[2:4]] for line in SCORED.splitlines()[1:]]
    bases = {round(1 / (1 + 2.718281828459045 ** ((40 - age) / 5 + debt / 9)), 4) for age, debt in rows}
    for values, base, output in cases(report):
        assert round(base, 4) in bases  # the answer to that one row
        assert sum(values.values()) == pytest.approx(output - base, abs=2e-4)


def test_a_text_of_one_token_has_the_whole_difference(tmp_path):
    model = (
        MODULE
        + """
def build():
    return made(nn.Embedding(6, 2), nn.Flatten(), nn.Linear(2, 1))


def data():
    return dataset(tokenised([["yes", "no", "maybe"][i % 3] for i in range(30)]))
"""
    )
    report = explained(tmp_path, MADE, model)
    none_fails(report)
    assert cases(report)
    for values, base, output in cases(report):
        assert list(values.values()) == [pytest.approx(output - base, abs=2e-4)]


@pytest.mark.parametrize("side", [1, 3])
def test_a_picture_of_few_pixels(tmp_path, side):
    model = (
        MODULE
        + f"""
def build():
    return made(nn.Flatten(), nn.Linear({side * side}, 1))


def data():
    return dataset(Images(values=np.random.default_rng(0).random((30, 1, {side}, {side}))))
"""
    )
    report = explained(tmp_path, MADE, model)
    none_fails(report)
    maps = [table for table in told(report, "explain.cases", Table) if table.name == "shap"]
    assert maps
    for table in maps:
        assert len(table.rows) == len(table.rows[0]) == side
        base, output = map(float, table.note.removeprefix("base ").split(" (")[0].split(", output "))
        assert sum(cell for row in table.rows for cell in row) == pytest.approx(output - base, abs=2e-4)


def test_a_picture_smaller_than_a_superpixel_is_one():
    from audit.explain import Images, game, shapley

    values = np.random.default_rng(0).random((3, 1, 3, 3))
    found = shapley(game(lambda x: 1 / (1 + np.exp(-x.mean(axis=(1, 2, 3)))), Images(values=values), size=8))
    assert [len(names) for names in found.players] == [1, 1, 1]
    np.testing.assert_allclose(found.values[:, 0], found.outputs - found.base, atol=1e-12)


def test_a_gradient_that_is_none_is_told(tmp_path):
    model = (
        MODULE
        + """
class Cut(nn.Module):
    def __init__(self):
        super().__init__()
        self.weights = nn.Parameter(torch.tensor([0.05, -0.1]))

    def forward(self, x):
        return (x.detach().float() @ self.weights.detach()) % 3 - 1


def build():
    return Cut()
"""
    )
    config = TABLE.format(kind="torch", output='output = "logit"', features='["age", "debt"]')
    report = explained(tmp_path, config, model)
    none_fails(report)
    found = measured(report, "explain.cases")["shap_ig_rank_correlation",]
    assert found.value is None
    assert "gradient" in found.note
    assert ("completeness_error", "integrated gradients") not in measured(report, "explain.cases")
