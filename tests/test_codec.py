"""The door to pydantic: mistakes told all at once, and records that come back as they went."""

import json
from dataclasses import replace

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit import codec
from audit.core import (
    ConfigError,
    Curve,
    Gate,
    Interval,
    Measure,
    Outcome,
    RecordError,
    Report,
    Spec,
    Table,
)

text = st.text(st.characters(codec="utf-8"), max_size=20)
number = st.floats(allow_nan=False, allow_infinity=False)
cells = st.one_of(text, st.integers(-(2**53), 2**53), number, st.none())


@st.composite
def measures(draw):
    low, value, high = sorted(draw(st.tuples(number, number, number)))
    interval = draw(st.sampled_from([None, Interval(low=low, high=high, level=0.95, method="m")]))
    where = draw(st.dictionaries(text, text, max_size=2))
    return Measure(name=draw(text), value=value, interval=interval, where=where, n=draw(st.none() | st.integers(0)))


@st.composite
def tables(draw):
    width = draw(st.integers(1, 3))
    rows = draw(st.lists(st.tuples(*[cells] * width), max_size=3))
    return Table(name=draw(text), title=draw(text), columns=("c",) * width, rows=tuple(rows))


@st.composite
def curves(draw):
    x = tuple(draw(st.lists(number, max_size=4)))
    return Curve(name=draw(text), x=x, y=tuple(draw(number) for _ in x), low=tuple(draw(number) for _ in x))


@settings(max_examples=40)
@given(st.lists(st.one_of(measures(), tables(), curves()), max_size=4), text)
def test_a_record_comes_back_as_it_went(report_of, evidence, reason):
    report = report_of(Outcome(check="a.b", title="T", status="done", evidence=tuple(evidence), reason=reason))
    written = codec.dumps(report)
    assert codec.loads(written) == report
    assert codec.dumps(codec.loads(written)) == written


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"rows": 1,', '"rows": 1, "extra": 2,', "subject.extra"),
        ('"rows": 1,', '"rows": "many",', "subject.rows"),
        ('"rows": 1,', "", "subject.rows"),
        ('"seconds": 1.0', '"seconds": NaN', "run.seconds"),
        ('"schema": 1', '"schema": 9', "schema"),
        ("{", "[", "JSON"),
    ],
)
def test_a_damaged_record_says_where(report_of, old, new, words):
    with pytest.raises(RecordError, match=r"result\.json") as caught:
        codec.loads(codec.dumps(report_of()).replace(old, new), "result.json")
    assert words in str(caught.value)


def test_the_schemas_accept_what_is_written_and_refuse_what_is_not(report_of):
    document = json.loads(codec.dumps(report_of()))
    jsonschema.validate(document, codec.schema(Report))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**document, "complete": "perhaps"}, codec.schema(Report))
    jsonschema.validate({"data": {"path": "x.csv"}}, codec.schema(Spec))


MINIMAL = '[data]\npath = "x.csv"\n'


def test_a_whole_configuration_is_read():
    spec = codec.spec_from_toml(
        """
        schema = 1
        [system]
        name = "gbm"
        [model]
        kind = "torch"
        factory = "scoring.model:build"
        weights = "model.safetensors"
        [data]
        path = "holdout.parquet"
        label = "repaid"
        positive = "yes"
        features = ["income", "debt"]
        strata = ["product"]
        [groups]
        attributes = ["sex", "race"]
        intersect = [["sex", "race"]]
        reference = { sex = "male" }
        unknown = ["", "Unknown"]
        [run]
        seed = 7
        max_seconds = 600
        [checks]
        only = ["fairness"]
        [checks."explain.global_importance"]
        rows = 256
        [[gate]]
        check = "fairness.impact_ratio"
        measure = "impact_ratio"
        by = ["sex", "race"]
        min = 0.8
        [[gate]]
        check = "fairness.impact_ratio"
        measure = "impact_ratio"
        by = "sex"
        min = 1
        max = 2
        required = false
        [[not_tested]]
        topic = "disability"
        why = "not collected"
        [report]
        suppress_below = 10
        [baseline]
        path = "old.json"
        worse_by = 0.02
        """
    )
    assert spec.groups.intersect == (("sex", "race"),)
    assert spec.checks.params == {"explain.global_importance": {"rows": 256}}
    assert spec.gate[1] == Gate(
        check="fairness.impact_ratio", measure="impact_ratio", by=("sex",), min=1.0, max=2.0, required=False
    )
    assert (spec.data.positive, spec.baseline.worse_by, spec.run.max_seconds) == ("yes", 0.02, 600.0)


def test_every_mistake_is_told_at_once_with_the_nearest_word():
    with pytest.raises(ConfigError) as caught:
        codec.spec_from_toml(
            '[data]\npaht = "x"\nthreshold = "0.5"\n[run]\ndevice = "cdua"\n[[gate]]\nmeasure = "b"\nmni = 0.8\n[modle]\n',
            "audit.toml",
        )
    lines = str(caught.value).splitlines()
    assert all(line.startswith("audit.toml: ") for line in lines)
    told = " | ".join(lines)
    for words in (
        "[data] paht: unknown key",
        "did you mean 'path'?",
        '[data] threshold: should be a number, got "0.5"',
        "did you mean 'cuda'?",
        "[[gate]] number 1 check: is missing",
        "did you mean 'min'?",
        "did you mean 'model'?",
    ):
        assert words in told


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ("x = [", "not valid TOML"),
        ("schema = 2\n" + MINIMAL, "schema: should be 1, got 2"),
        ("data = 3", "data: should be a table"),
        ("", "give one of path"),
        (MINIMAL + 'world = "credit"', "give one of path"),
        (MINIMAL + "threshold = nan", "finite"),
        (MINIMAL + "[run]\nconfidence = 95", "between 0 and 1, got 95"),
        (MINIMAL + "[run]\nseed = -1", "[run] seed"),
        (MINIMAL + "[run]\nmax_seconds = 0", "above 0"),
        (MINIMAL + '[model]\nkind = "tourch"', "did you mean 'torch'"),
        (MINIMAL + '[model]\nkind = "torch"', "[model] factory: kind 'torch' needs it"),
        (MINIMAL + '[model]\nkind = "oracle"', "'oracle' needs [data] world"),
        (MINIMAL + '[model]\nkind = "torch"\nfactory = "model.build"', "package.module:function"),
        (MINIMAL + '[[gate]]\ncheck = "a"\nmeasure = "b"', "at least one of them"),
        (MINIMAL + '[[gate]]\ncheck = "a"\nmeasure = "b"\nmin = 2\nmax = 1', "must not lie above max"),
        (MINIMAL + '[groups]\nattributes = ["sex"]\nintersect = [["sex", "raec"]]', "'raec'"),
        (MINIMAL + '[groups]\nattributes = ["sex"]\nreference = { sxe = "m" }', "did you mean 'sex'"),
        (MINIMAL + '[report]\ntemplates = ["fool"]', "allowed: full"),
        (MINIMAL + "[groups]\nmin_n = -3", "0 or more, got -3"),
        (MINIMAL + "[groups]\nmin_n = 2.5", "min_n"),
        (MINIMAL + '[model]\nfactory = "model:build"', "kind 'predictions' reads none"),
        (MINIMAL + '[model]\nkind = "torch"\nfactory = "m:b"\nsha256 = "00"', "give [model] weights"),
        ('[data]\nworld = "credit"\nlabel = "y"\n[model]\nkind = "oracle"', "[data] label: a planted world brings"),
        (MINIMAL + 'strata = ["sex"]\n[groups]\nattributes = ["sex"]', "'sex' is a protected attribute as well"),
        (MINIMAL + '[groups]\nattributes = ["sex"]\nintersect = [["sex", "sex"]]', "two or more different attributes"),
        (MINIMAL + '[groups]\nattributes = ["sex"]\nintersect = [["sex"]]', "two or more different attributes"),
    ],
)
def test_what_no_configuration_may_say(toml, words):
    with pytest.raises(ConfigError) as caught:
        codec.spec_from_toml(toml)
    assert words in str(caught.value)


def test_a_byte_order_mark_is_no_mistake(tmp_path):
    file = tmp_path / "audit.toml"
    file.write_bytes(b"\xef\xbb\xbf" + MINIMAL.encode())
    assert codec.read_spec(file) == codec.spec_from_toml(MINIMAL)


def test_gates_may_stand_alone_and_keep_the_rest_of_the_record(tmp_path):
    judged = codec.spec_from_toml(MINIMAL + "[groups]\nmin_n = 400\n")
    file = tmp_path / "gates.toml"
    file.write_text('[[gate]]\ncheck = "a.b"\nmeasure = "m"\nmin = 1\n')
    found = codec.read_gates(file, judged)
    assert (found.data.path, found.groups.min_n, found.gate[0].check) == ("x.csv", 400, "a.b")
    file.write_text("[groups]\nmin_n = 7\n")
    assert codec.read_gates(file, judged).groups.min_n == 7


def test_pyproject_holds_it_too(tmp_path):
    file = tmp_path / "pyproject.toml"
    file.write_text('[tool.audit.data]\npath = "x.csv"\n')
    assert codec.read_spec(file) == codec.spec_from_toml(MINIMAL)
    file.write_text("[tool.ruff]\n")
    with pytest.raises(ConfigError, match=r"no \[tool.audit\]"):
        codec.read_spec(file)


def test_evidence_cannot_be_nan():
    with pytest.raises(ValueError, match="finite"):
        Measure(name="x", value=float("nan"))
    with pytest.raises(ValueError, match="needs a note"):
        Measure(name="x", value=None)
    with pytest.raises(ValueError, match="finite"):
        Interval(low=0, high=float("inf"), level=0.95, method="m")
    with pytest.raises(ValueError, match="lies above"):
        Interval(low=1, high=0, level=0.95, method="m")
    with pytest.raises(ValueError, match="differ in length"):
        Curve(name="c", x=(1.0,), y=())
    with pytest.raises(ValueError, match="gap"):
        Curve(name="c", x=(1.0,), y=(None,))
    with pytest.raises(ValueError, match="cells"):
        Table(name="t", title="t", columns=("a",), rows=((1, 2),))


def test_a_reference_that_leads_nowhere(report_of):
    outcome = Outcome(check="a.b", title="T", status="done", evidence=(Measure(name="x", value=1.0),))
    report = report_of(outcome)
    assert report.find("a.b#0") is outcome.evidence[0]
    for ref in ("a.b#1", "a.c#0", "a.b#x", "a.b"):
        with pytest.raises(RecordError, match="no evidence"):
            report.find(ref)
    assert replace(report, run=replace(report.run, outcomes=(replace(outcome, check="z.z"),))).find("z.z#0")
