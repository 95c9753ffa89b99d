"""The habits of every check; a new file is tested by being there."""

import copy
import json
import pickle
import random
import re
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from audit import codec, engine, registry
from audit.core import Measure, stream
from audit.subject import assemble, prepare

ROOT = Path(__file__).resolve().parents[1]
CHECKS = registry.entries("checks")
NOT_FOR_TABLES = {"explain.localisation", "fairness.pronouns"}
EVERY = pytest.mark.parametrize("id", list(CHECKS))
WORLD = '[model]\nkind = "oracle"\n[data]\nworld = "credit"\nrows = 300\n[groups]\nattributes = ["sex"]\n'


def run_all(subject, ids) -> dict:
    """The outcome of each check, one after the other over one scratch pad."""
    spec = codec.spec_from_toml(WORLD)
    scratch = {"meter": __import__("audit.carbon.meter", fromlist=["start"]).start()}
    track = engine.tracker(engine.silent, float("inf"))
    steps = [engine.Step(entry=CHECKS[id], params=CHECKS[id].params) for id in ids]
    return {step.entry.id: engine._run_step(step, subject, spec, track, scratch, "") for step in steps}


def run_one(subject, id: str):
    """The outcome of one check alone."""
    return run_all(subject, [id])[id]


@pytest.fixture(scope="module")
def subject():
    return prepare(codec.spec_from_toml(WORLD), ROOT)


@pytest.fixture(scope="module")
def outcomes(subject):
    """Every check in the order of their names, each over what those before it left in the scratch pad."""
    return run_all(subject, CHECKS)


@pytest.fixture(scope="module")
def backwards(subject):
    return run_all(subject, reversed(CHECKS))


@pytest.fixture(scope="module")
def alone(subject):
    """Each check by itself, once: its outcome, and what of the subject and of the global state it left changed."""
    done = {}

    def run(id: str):
        if id not in done:
            before = [array.copy() for array in arrays(subject)]
            weights = copy.deepcopy(subject.model.module.state_dict())
            state = global_state()
            outcome = run_one(subject, id)
            after = subject.model.module.state_dict()
            changed = {
                "global random state": global_state() != state,
                "rows": not all(np.array_equal(a, b) for a, b in zip(before, arrays(subject), strict=True)),
                "weights": not all((weights[name] == value).all() for name, value in after.items()),
            }
            done[id] = outcome, [name for name, is_so in changed.items() if is_so]
        return done[id]

    return run


def arrays(value, seen=()):
    """Every array within a frozen value."""
    if isinstance(value, np.ndarray):
        yield value
    elif is_dataclass(value):
        for field in fields(value):
            yield from arrays(getattr(value, field.name))
    elif isinstance(value, dict):
        for each in value.values():
            yield from arrays(each)


def global_state():
    import torch

    return pickle.dumps((random.getstate(), np.random.get_state(), torch.get_rng_state().numpy().tobytes()))  # noqa: NPY002


@EVERY
def test_documented_and_sourced(id):
    entry = CHECKS[id]
    assert re.fullmatch(r"[a-z]+\.[a-z][a-z0-9_]*", id)
    assert entry.title
    assert entry.title[0].isupper()
    first, _, rest = entry.doc.partition("\n")
    assert first.endswith((".", "?")), "the docstring begins with one sentence"
    assert len(rest) > 80, "the docstring says how, and what the numbers do not say"
    keys = set(re.findall(r"@\w+\{([^,]+),", (ROOT / "references.bib").read_text()))
    assert set(entry.sources) <= keys
    assert entry.function.__module__.startswith(f"audit.{id.split('.')[0]}")
    json.dumps(dict(entry.params))


@EVERY
def test_runs_on_the_planted_world_and_survives_json(id, subject, outcomes, report_of):
    outcome = outcomes[id]
    if lacking := engine.missing_needs(CHECKS[id], subject):
        assert (outcome.status, outcome.reason) == ("not_applicable", lacking)
        return
    if id in NOT_FOR_TABLES:
        assert (outcome.status, bool(outcome.reason)) == ("not_applicable", True)
        return
    assert outcome.status == "done", outcome.reason
    assert outcome.evidence
    report = report_of(outcome)
    assert codec.loads(codec.dumps(report)) == report
    for evidence in outcome.evidence:
        if isinstance(evidence, Measure):
            assert evidence.grade == "computed" or id.startswith("carbon.")
            assert set(evidence.where) <= {"sex", *engine.SLICERS}, evidence


@EVERY
def test_seeded_and_blind_to_the_order_of_checks(id, alone, outcomes, backwards):
    by_itself, _ = alone(id)
    if CHECKS[id].volatile:
        # what it says of the checks before it is not there where there were none
        assert {e.name for e in by_itself.evidence} <= {e.name for e in backwards[id].evidence}
        return
    assert by_itself == outcomes[id]
    assert by_itself == backwards[id]


@EVERY
def test_leaves_its_input_and_the_global_random_state_alone(id, alone):
    assert alone(id)[1] == []


@pytest.mark.parametrize("id", [id for id in CHECKS if id.split(".")[0] in ("fairness", "performance")])
def test_blind_to_the_order_of_rows(id, subject, outcomes):
    spec = codec.spec_from_toml(WORLD)
    order = stream(1, "order").permutation(len(subject))
    data = subject.data
    shuffled = replace(
        data,
        inputs=data.inputs.take(order),
        twin=data.twin.take(order),
        y=data.y[order],
        groups={name: replace(codes, values=codes.values[order]) for name, codes in data.groups.items()},
    )
    again = run_one(assemble(spec, shuffled, subject.model), id)
    assert len(again.evidence) == len(outcomes[id].evidence)
    for one, other in zip(outcomes[id].evidence, again.evidence, strict=True):
        if isinstance(one, Measure):
            assert (one.name, one.where, one.n) == (other.name, other.where, other.n)
            assert other.value == pytest.approx(one.value, abs=1e-12)
        else:
            assert one.name == other.name


def test_every_check_says_why_it_does_not_apply(subject):
    bare = replace(
        subject,
        model=None,
        y=None,
        decision=None,
        score=None,
        groups={},
        data=replace(subject.data, frequency=subject.y),
    )
    for id, entry in CHECKS.items():
        outcome = run_one(bare, id)
        if entry.needs:
            assert outcome.status == "not_applicable", id
            assert len(outcome.reason) > 20, id
