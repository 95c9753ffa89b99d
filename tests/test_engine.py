"""The engine on real checks and on checks made to break."""

import time
from dataclasses import replace

import numpy as np
import pytest

from audit import codec, engine, registry
from audit.core import Codes, ConfigError, DataError, Dataset, Measure, NotApplicable, Origin, Spec, stream
from audit.subject import assemble


@pytest.fixture
def subject_of():
    def build(spec: Spec, rows: int = 400):
        rng = np.random.default_rng(1)
        y = rng.integers(0, 2, rows)
        sex = Codes(values=rng.integers(0, 2, rows).astype(np.uint8), levels=("f", "m"))
        score = np.clip(0.5 + 0.2 * (y - 0.5) + 0.2 * rng.standard_normal(rows), 0, 1)
        data = Dataset(inputs=None, groups={"sex": sex}, origin=Origin(name="made"), y=y, score=score)
        return assemble(spec, data, None)

    return build


@pytest.fixture
def extra_check():
    """Register checks for one test."""
    registry.entries("checks")
    added = []

    def add(function, id="fairness.extra", **facts):
        added.append(id)
        return registry.check(id, title="Extra", **facts)(function)

    yield add
    for id in added:
        registry._entries["checks"].pop(id)


def spec_of(extra: str = "", only: str = '"fairness"') -> Spec:
    toml = f'[data]\npath = "x.csv"\n[groups]\nattributes = ["sex"]\n[checks]\nonly = [{only}]\n{extra}'
    return codec.spec_from_toml(toml)


GATE = '[[gate]]\ncheck = "fairness.extra"\nmeasure = "x"\nmin = 0.5\n'


def half_and_break(subject, context):
    yield Measure(name="x", value=1.0)
    raise RuntimeError("midway")


def test_a_check_that_raises_leaves_the_others_standing(subject_of, extra_check):
    alone = engine.run(spec_of(), subject_of(spec_of()))
    extra_check(half_and_break)
    report = engine.run(spec_of(), subject_of(spec_of()))
    broken = next(o for o in report.outcomes if o.check == "fairness.extra")
    assert (broken.status, broken.reason, len(broken.evidence)) == ("error", "RuntimeError: midway", 1)
    assert tuple(o for o in report.outcomes if o.check != "fairness.extra") == alone.outcomes
    assert report.verdict.exit_code == 0


@pytest.mark.parametrize(("required", "code"), [("true", 2), ("false", 0)])
def test_an_error_counts_only_where_a_required_gate_needed_it(subject_of, extra_check, required, code):
    extra_check(half_and_break)
    spec = spec_of(f"{GATE}required = {required}\n")
    report = engine.run(spec, subject_of(spec))
    assert report.rulings[0].outcome == "error"
    assert report.verdict.exit_code == code


def test_not_for_me_is_no_error(subject_of, extra_check):
    def unsuited(subject, context):
        raise NotApplicable("only for graphs")
        yield

    extra_check(unsuited)
    extra_check(half_and_break, id="fairness.needy", needs={"gradients", "model"})
    report = engine.run(spec_of(), subject_of(spec_of()))
    reasons = {
        o.check: (o.status, o.reason) for o in report.outcomes if o.check in ("fairness.extra", "fairness.needy")
    }
    assert reasons["fairness.extra"] == ("not_applicable", "only for graphs")
    assert reasons["fairness.needy"][0] == "not_applicable"
    assert "gradients" in reasons["fairness.needy"][1]


def test_the_deadline_leaves_a_valid_partial_record(subject_of, extra_check):
    def slow(subject, context):
        for step in context.track(range(10_000), "sleeping"):
            yield Measure(name="x", value=float(step))
            time.sleep(0.005)

    extra_check(slow, id="fairness.aaa_slow")
    spec = spec_of(
        '[[gate]]\ncheck = "fairness.selection"\nmeasure = "selection_rate"\nmin = 0\n[run]\nmax_seconds = 0.1\n'
    )
    report = engine.run(spec, subject_of(spec))
    states = {o.check: o for o in report.outcomes}
    assert states["fairness.aaa_slow"].status == "stopped"
    assert len(states["fairness.aaa_slow"].evidence) > 1
    assert states["fairness.selection"].reason.startswith("not begun: the deadline")
    assert not report.complete
    assert report.verdict.exit_code == 3
    assert codec.loads(codec.dumps(report)) == report


def test_ctrl_c_leaves_a_valid_partial_record(subject_of, extra_check):
    def interrupted(subject, context):
        yield Measure(name="x", value=1.0)
        raise KeyboardInterrupt

    extra_check(interrupted, id="fairness.impact_ratio_")
    report = engine.run(spec_of(), subject_of(spec_of()))
    states = {o.check: (o.status, o.reason) for o in report.outcomes}
    assert states["fairness.error_rates"][0] == "done"
    assert states["fairness.impact_ratio_"] == ("stopped", "stopped by Ctrl-C")
    assert states["fairness.selection"] == ("stopped", "not begun: stopped by Ctrl-C")
    assert report.verdict.exit_code == 3
    assert codec.loads(codec.dumps(report)) == report


def test_adding_a_check_changes_no_other_number(subject_of, extra_check):
    def random(subject, context):
        yield Measure(name="x", value=float(context.rng.random()))

    extra_check(random, id="fairness.random")
    before = engine.run(spec_of(), subject_of(spec_of()))
    extra_check(random, id="fairness.another")
    after = engine.run(spec_of(), subject_of(spec_of()))
    assert all(outcome in after.outcomes for outcome in before.outcomes)
    values = [o.evidence[0].value for o in after.outcomes if o.check in ("fairness.random", "fairness.another")]
    assert values[0] != values[1]
    assert values[1] == float(stream(0, "fairness.random").random())


def test_two_runs_differ_only_in_the_block_of_this_run(subject_of):
    spec = spec_of(only='"fairness", "carbon", "performance"')
    reports = [engine.run(spec, subject_of(spec)) for _ in range(2)]
    texts = [codec.dumps(replace(report, run=reports[0].run)) for report in reports]
    assert texts[0] == texts[1]
    assert [o.check for o in reports[0].run.outcomes] == ["carbon.audit"]


def test_a_plan_tells_every_mistake_before_any_work(extra_check):
    extra_check(lambda subject, context, *, rows=3, names=("a",), share=0.5, exact=True: iter(()))
    extra = (
        '[checks."fairness.extra"]\nrows = 1.5\nnames = "a"\nshare = true\nexact = 1\nrwos = 2\n'
        '[checks."fairness.nope"]\nx = 1\n[[gate]]\ncheck = "x.y"\nmeasure = "m"\nmin = 1\nby = "sxe"\n'
    )
    with pytest.raises(ConfigError) as caught:
        engine.plan(spec_of(extra, only='"fair"'))
    told = str(caught.value)
    for words in (
        "'fair'",
        "rows: must",
        "names: must",
        "share: must",
        "exact: must",
        "'rows'?",
        "fairness.nope",
        "x.y",
        "'sex'?",
    ):
        assert words in told
    good = '[checks."fairness.extra"]\nrows = 4\nnames = ["b"]\nshare = 1\nexact = false\n'
    (step,) = [s for s in engine.plan(spec_of(good)) if s.entry.id == "fairness.extra"]
    assert step.params == {"rows": 4, "names": ["b"], "share": 1, "exact": False}


def test_an_empty_subject_is_an_error(subject_of):
    with pytest.raises(DataError, match="no rows"):
        subject_of(spec_of(), rows=0)


def test_judging_again_changes_rulings_and_nothing_else(subject_of):
    spec = spec_of('[[gate]]\ncheck = "fairness.selection"\nmeasure = "selection_rate"\nmin = 0.1\n')
    report = engine.run(spec, subject_of(spec))
    assert report.verdict.exit_code == 0
    harder = replace(spec, gate=(replace(spec.gate[0], min=0.99),))
    judged = engine.rejudge(report, harder)
    assert judged.verdict.exit_code == 1
    assert judged.outcomes == report.outcomes
    assert engine.rejudge(judged, spec).verdict == report.verdict
