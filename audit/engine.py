"""The engine: plan the checks, run them one by one, judge what they found, and write the record."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from audit import codec, registry
from audit.carbon import meter
from audit.carbon.meter import Reading
from audit.core import (
    OFFERS,
    AuditError,
    Calibration,
    ConfigError,
    Context,
    Environment,
    Evidence,
    NotApplicable,
    NotTested,
    Outcome,
    Report,
    Ruling,
    Run,
    Spec,
    Status,
    Stopped,
    Subject,
    T,
    Track,
    stream,
    suggest,
)
from audit.judge import compare, judge, verdict
from audit.models.counted import Counted
from audit.registry import Entry
from audit.subject import describe, fingerprint

Progress = Callable[[int, int | None, str], None]
DEADLINE = "the deadline (max_seconds) has passed"
INTERRUPTED = "stopped by Ctrl-C"
SLICERS = (
    "caption",
    "case",
    "feature",
    "method",
    "metric",
    "scale",
    "pair",
    "test",
    "topic",
    "policy",
    "class",
    "explainer",
    "layer",
    "head",
    "player",
    "side",
    "model",
    "dtype",
)  # what checks slice by beside attributes and strata
PACKAGES = ("captum", "numpy", "pandas", "pyarrow", "scikit-learn", "scipy", "torch")
LACKING: Mapping[str, str] = {
    "labels": "the data has no label column",
    "decisions": "there are no decisions: no decision column, and no score to cut at a threshold",
    "scores": "there are no scores",
    "groups": "no protected attribute is named in [groups] attributes",
    "rows": "the data are published counts, not rows of individuals",
    "model": "there is no model that scores changed inputs, only recorded predictions or likelihoods of texts",
    "parameters": "the model's parameters are not open to inspection",
    "strata": "no stratum (a department, a product) is named in [data] strata",
    "classes": "the outcome is yes or no: there are no more than two classes",
    "target": "there is no number to predict: no [data] target",
    "twin": "counterfactual twins are known in planted worlds only",
    "mask": "there are no pictures with a mask of the place where the class is to be seen",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One check of the plan, with the parameters it will run with."""

    entry: Entry
    params: Mapping[str, Any]


def silent(done: int, total: int | None, label: str) -> None:
    """The progress of a library call: nothing is shown."""


# ---------------------------------------------------------------------------------------------------- plan
def plan(spec: Spec) -> tuple[Step, ...]:
    """The checks that a configuration asks for, volatile ones last; raises ConfigError with every mistake."""
    checks = registry.entries("checks")
    mistakes = [
        f"[checks] only: no check begins with {prefix!r}; allowed: {', '.join(_prefixes(checks))}"
        f"{suggest(prefix, [*_prefixes(checks), *checks])}"
        for prefix in spec.checks.only
        if not any(_matches(id, prefix) for id in checks)
    ]
    for id, params in spec.checks.params.items():
        if id not in checks:
            mistakes.append(f"[checks] {id!r}: no such check; allowed: {', '.join(checks)}{suggest(id, checks)}")
        else:
            mistakes += _parameter_mistakes(checks[id], params)
    mistakes += gate_mistakes(spec)
    mistakes += [
        f"[groups] attributes, [data] strata: {name!r} is a word that checks use themselves; rename the column"
        for name in (*spec.groups.attributes, *spec.data.strata)
        if name in SLICERS
    ]
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    chosen = [entry for id, entry in checks.items() if _chosen(spec, id)]
    steps = [Step(entry=entry, params={**entry.params, **spec.checks.params.get(entry.id, {})}) for entry in chosen]
    return tuple(sorted(steps, key=lambda step: step.entry.volatile))


def gate_mistakes(spec: Spec) -> Iterator[str]:
    """Gates that name no check or no attribute, each with the nearest word."""
    checks = registry.entries("checks")
    slicers = {*spec.groups.attributes, *spec.data.strata, *SLICERS}
    for number, gate in enumerate(spec.gate, 1):
        if gate.check not in checks:
            yield (
                f"[[gate]] number {number} check: no check {gate.check!r}; allowed: {', '.join(checks)}"
                f"{suggest(gate.check, checks)}"
            )
        for name in gate.by:
            if spec.groups.attributes and name not in slicers:
                yield (
                    f"[[gate]] number {number} by: {name!r} is no attribute; allowed: {', '.join(sorted(slicers))}"
                    f"{suggest(name, slicers)}"
                )


def _matches(id: str, prefix: str) -> bool:
    return id == prefix or id.startswith(f"{prefix}.")


def _chosen(spec: Spec, id: str) -> bool:
    return not spec.checks.only or any(_matches(id, prefix) for prefix in spec.checks.only)


def _prefixes(checks: Iterable[str]) -> list[str]:
    return sorted({id.split(".")[0] for id in checks})


def _parameter_mistakes(entry: Entry, params: Mapping[str, Any]) -> Iterator[str]:
    for name, value in params.items():
        if name not in entry.params:
            allowed = ", ".join(entry.params) or "none"
            yield f"[checks.{entry.id!r}] {name}: unknown parameter; allowed: {allowed}{suggest(name, entry.params)}"
            continue
        default = entry.params[name]
        if isinstance(value, bool) != isinstance(default, bool) or not isinstance(value, _kinds(default)):
            yield f"[checks.{entry.id!r}] {name}: must be like its default {default!r}, got {value!r}"


def _kinds(default: Any) -> tuple[type, ...]:
    """The types that a parameter may have, told by its default."""
    if isinstance(default, float) or default is None:
        return (int, float)
    return (list, tuple) if isinstance(default, tuple) else (type(default),)


def missing_needs(entry: Entry, subject: Subject) -> str:
    """Why a check does not suit the subject, or an empty text."""
    model, data = subject.model, subject.data
    offered = frozenset() if model is None else model.offers  # once: a module is traced to tell what it offers
    there = {
        "labels": subject.y is not None,
        "decisions": subject.decision is not None,
        "scores": subject.score is not None,
        "groups": bool(subject.groups),
        "rows": data.frequency is None,
        "model": model is not None and model.card.answers_new_inputs,
        "parameters": model is not None and model.card.parameters_open,
        "strata": bool(data.strata),
        "classes": len(data.classes) > 2,
        "target": data.target is not None,
        "twin": data.twin is not None,
        "mask": getattr(data.inputs, "mask", None) is not None,
        **{offer: offer in offered for offer in OFFERS},
    }
    lacking = [need for need in sorted(entry.needs) if not there[need]]
    return "; ".join(LACKING.get(need, f"the model does not offer {need!r}") for need in lacking)


# ----------------------------------------------------------------------------------------------------- run
def tracker(progress: Progress, deadline: float) -> Track:
    """The loop that shows progress and raises Stopped once time.monotonic() has passed the deadline."""

    def track(items: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
        size = len(items) if total is None and isinstance(items, Sized) else total
        for done, item in enumerate(items):
            if time.monotonic() > deadline:
                raise Stopped(DEADLINE)
            progress(done, size, label)
            yield item
        progress(size or 0, size, label)

    return track


def run(
    spec: Spec,
    subject: Subject,
    *,
    progress: Progress = silent,
    started: float | None = None,
    command: str = "",
    hashes: Mapping[str, str] | None = None,
    base: Path | None = None,
    allow_inconclusive: bool = False,
    reading: Reading | None = None,
    calibration: Calibration | None = None,
) -> Report:
    """Run every planned check and judge the evidence; Ctrl-C and the deadline leave a valid, partial record.

    `started` is the time.monotonic() from which the deadline counts, `reading` what the meters showed then, `calibration`
    what is known of the checks on models of this family. Raises
    ConfigError before any work.
    """
    clock = time.monotonic() if started is None else started
    begun = datetime.now(UTC).isoformat(timespec="seconds")
    steps = plan(spec)
    old = _baseline(spec, base)
    deadline = clock + spec.run.max_seconds if spec.run.max_seconds else float("inf")
    track = tracker(progress, deadline)
    scratch: dict[Any, Any] = {"meter": reading or meter.start()}
    outcomes: list[Outcome] = []
    seconds: dict[str, float] = {}
    halted = ""
    try:
        for number, step in enumerate(steps):
            before = time.monotonic()
            if before > deadline:
                halted = halted or DEADLINE
            if not halted and not missing_needs(step.entry, subject):
                progress(number, len(steps), step.entry.title)
            outcomes.append(_run_step(step, subject, spec, track, scratch, halted, deadline))
            seconds[step.entry.id] = round(time.monotonic() - before, 3)
            if outcomes[-1].status == "stopped" and outcomes[-1].reason in (DEADLINE, INTERRUPTED):
                halted = outcomes[-1].reason
    except KeyboardInterrupt:  # between two checks
        outcomes += [_outcome(step, "stopped", INTERRUPTED) for step in steps[len(outcomes) :]]
    progress(len(steps), len(steps), "done")
    return _record(
        spec=spec,
        subject=subject,
        steps=steps,
        outcomes=outcomes,
        old=old,
        environment=environment(spec, subject, command, hashes or {}),
        run=Run(started=begun, seconds=round(time.monotonic() - clock, 3), check_seconds=seconds),
        calibration=calibration,
        allow_inconclusive=allow_inconclusive,
    )


def _run_step(
    step: Step,
    subject: Subject,
    spec: Spec,
    track: Track,
    scratch: dict[Any, Any],
    halted: str = "",
    deadline: float = float("inf"),
) -> Outcome:
    """Run one check; whatever happens to it, what it had yielded is kept and the others go on."""
    if reason := missing_needs(step.entry, subject):
        return _outcome(step, "not_applicable", reason)
    # What this run cost is always told, also of a run that was cut short.
    if halted and not step.entry.volatile:
        return _outcome(step, "stopped", f"not begun: {halted.removeprefix('not begun: ')}")
    counted = None if subject.model is None else Counted(model=subject.model, limit=spec.run.budget)
    subject = replace(subject, model=counted)
    context = Context(
        rng=stream(spec.run.seed, step.entry.id),
        stream=lambda name: stream(spec.run.seed, name),
        track=track,
        scratch=scratch,
        confidence=spec.run.confidence,
        budget=spec.run.budget,
    )
    found: list[Evidence] = []
    before = meter.start()
    try:
        for evidence in registry.run_check(step.entry, subject, context, step.params):
            found.append(evidence)
            if time.monotonic() > deadline and not step.entry.volatile:
                raise Stopped(DEADLINE)
    except NotApplicable as unsuited:
        return _outcome(step, "not_applicable", str(unsuited), found)
    except KeyboardInterrupt:
        return _outcome(step, "stopped", INTERRUPTED, found)
    except Stopped as stop:
        return _outcome(step, "stopped", str(stop), found)
    except AuditError as error:
        return _outcome(step, "error", str(error), found)
    except (Exception, SystemExit) as error:  # a broken check never hides the others
        return _outcome(step, "error", f"{type(error).__name__}: {error}", found)
    finally:
        scratch.setdefault("ledger", {})[step.entry.id] = (meter.read(before), counted.evaluations if counted else 0)
    return _outcome(step, "done", "", found)


def _outcome(step: Step, status: Status, reason: str, found: Iterable[Evidence] = ()) -> Outcome:
    return Outcome(
        check=step.entry.id,
        title=step.entry.title,
        status=status,
        evidence=tuple(found),
        reason=reason,
        params={name: list(value) if isinstance(value, tuple) else value for name, value in step.params.items()},
        sources=step.entry.sources,
    )


# --------------------------------------------------------------------------------------------------- record
def _baseline(spec: Spec, base: Path | None) -> Report | None:
    return None if spec.baseline is None else codec.read_record((base or Path()) / spec.baseline.path)


def _record(
    *,
    spec: Spec,
    subject: Subject,
    steps: Sequence[Step],
    outcomes: Sequence[Outcome],
    old: Report | None,
    environment: Environment,
    run: Run,
    calibration: Calibration | None,
    allow_inconclusive: bool,
) -> Report:
    volatile = {step.entry.id for step in steps if step.entry.volatile}
    steady = tuple(o for o in outcomes if o.check not in volatile)
    moving = tuple(o for o in outcomes if o.check in volatile)
    rulings = rule(spec, outcomes, old)
    complete = all(o.status != "stopped" for o in outcomes)
    model = subject.model
    return Report(
        spec=spec,
        subject=describe(subject),
        environment=environment,
        outcomes=steady,
        rulings=tuple(r for r in rulings if r.gate.check not in volatile),
        not_tested=(*spec.not_tested, *_left_out(spec)),
        limitations=(*subject.data.notes, *(model.card.notes if model else ())),
        verdict=verdict(rulings, outcomes, complete=complete, allow_inconclusive=allow_inconclusive),
        complete=complete,
        run=replace(run, outcomes=moving, rulings=tuple(r for r in rulings if r.gate.check in volatile)),
        calibration=calibration,
    )


def rule(spec: Spec, outcomes: Sequence[Outcome], old: Report | None) -> tuple[Ruling, ...]:
    """The rulings of the gates, and those against the baseline where there is one."""
    rulings = judge(spec.gate, outcomes, spec.groups.min_n)
    if old is None or spec.baseline is None:
        return rulings
    return (*rulings, *compare(spec.gate, outcomes, old, spec.baseline.worse_by))


def _left_out(spec: Spec) -> Iterator[NotTested]:
    for id, entry in registry.entries("checks").items():
        if not _chosen(spec, id):
            yield NotTested(topic=f"{entry.title} ({id})", why="not asked for: [checks] only names other checks")


def environment(spec: Spec, subject: Subject, command: str, hashes: Mapping[str, str]) -> Environment:
    """What is needed to repeat a run on this machine."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "absent"
    model = subject.model
    return Environment(
        audit=metadata.version("neural-audit"),
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}",
        packages=found,
        seed=spec.run.seed,
        device=model.card.device if model else "cpu",
        hashes={**hashes, "data": fingerprint(subject.data), **({"model": model.card.digest} if model else {})},
        command=command or Path(sys.argv[0]).name,
    )


def rejudge(
    report: Report, spec: Spec, *, base: Path | None = None, new_gates: bool = True, allow_inconclusive: bool = False
) -> Report:
    """The same record under the gates of another Spec; nothing is measured again.

    new_gates False: the record's own gates, so its rulings against a baseline, which may be gone, are kept.
    """
    outcomes = report.all_outcomes
    judged = replace(
        report.spec,
        gate=spec.gate,
        baseline=spec.baseline,
        groups=replace(report.spec.groups, min_n=spec.groups.min_n),
    )
    if new_gates:
        rulings = rule(judged, outcomes, _baseline(spec, base))
    else:
        kept = tuple(ruling for ruling in report.all_rulings if ruling.origin == "baseline")
        rulings = (*judge(spec.gate, outcomes, spec.groups.min_n), *kept)
    volatile = {outcome.check for outcome in report.run.outcomes}
    return replace(
        report,
        spec=judged,
        rulings=tuple(r for r in rulings if r.gate.check not in volatile),
        run=replace(report.run, rulings=tuple(r for r in rulings if r.gate.check in volatile)),
        verdict=verdict(rulings, outcomes, complete=report.complete, allow_inconclusive=allow_inconclusive),
    )
