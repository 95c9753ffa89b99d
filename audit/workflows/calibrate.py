"""Calibrate: what the checks read on reference models, beside what is known of these models."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from audit import codec, engine, registry, stats
from audit.core import (
    ALL,
    Calibrated,
    Calibration,
    Dataset,
    Interval,
    Measure,
    Model,
    ModelError,
    RecordError,
    Report,
    Spec,
    UsageError,
    stream,
)
from audit.data.tabular import Tabular
from audit.data.worlds.base import World, planted
from audit.engine import Progress, silent
from audit.models.threads import limited
from audit.subject import assemble
from audit.workflows.population import OF_TABLES, TRUTHS, population
from audit.workflows.sizes import LEAST, rows_of

SHIPPED = Path(__file__).resolve().parents[1] / "models" / "calibrations"
FOLDER = "calibration"  # beside a configuration: what was calibrated here comes before what is shipped
MANY = (
    40  # audits whose people together tell the truth where they are no table: its variance is then 1/40 of an audit's
)
SLOW = "explain."  # checks that only some of the audits run
Key = tuple[str, str, tuple[tuple[str, str], ...]]  # check, measure, slice


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is done: models (seeds), audits of each, those of them with explanations, people in training and audit.

    population: people whom the truth is counted over. Of these three None is the family's own. enumerated: of the
    population, those whose Shapley values are enumerated.
    """

    seeds: int = 20
    audits: int = 10
    explained: int = 3
    rows: int | None = None
    training: int | None = None
    population: int | None = None
    enumerated: int = 1536

    def __post_init__(self) -> None:
        for name in ("seeds", "audits", "rows", "training", "population", "enumerated"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name}: 1 or more, got {value}")
        if not 0 <= self.explained <= self.audits:
            raise UsageError(f"explained: from 0 to the number of audits ({self.audits}), got {self.explained}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """One measure as one audit read it, beside the truth."""

    measure: Measure
    truth: float


def calibrate(
    id: str,
    *,
    plan: Plan,
    options: Mapping[str, Any] | None = None,
    spec: Spec | None = None,
    progress: Progress = silent,
) -> Calibration:
    """Train models of a family, audit each on fresh draws of its world, and hold every reading against the truth.

    options: of the family. spec: its [run] (device, threads, confidence). Raises ModelError, UsageError.
    """
    from audit.models.reference import find, trained

    entry = find(id)
    rows, training = rows_of(id, "calibration", plan.rows), rows_of(id, "training", plan.training)
    plan = replace(plan, rows=rows, training=training)
    spec = wanted(spec or Spec(), entry.facts["world"], entry.facts["knobs"], id)
    world = planted(spec.data)
    readings: dict[Key, list[Read]] = defaultdict(list)
    unknown: set[str] = set()
    with limited(spec.run.threads):
        for done in range(plan.seeds):
            progress(done, plan.seeds, f"{id}: model {done + 1} of {plan.seeds}")
            seed = spec.run.seed + done
            data = world.draw(training, stream(seed, "calibrate.training"))
            model = trained(id, data, spec, seed=seed, options=options)
            _read_model(model, world, spec, plan, seed, readings, unknown)
    progress(plan.seeds, plan.seeds, f"{id}: done")
    return Calibration(
        family=id,
        title=entry.title,
        world=entry.facts["world"],
        knobs=dict(entry.facts["knobs"]),
        options=dict(options or {}),
        audit=metadata.version("neural-audit"),
        seeds=plan.seeds,
        audits=plan.audits,
        explained=plan.explained,
        rows=rows,
        level=spec.run.confidence,
        figures=tuple(_figures(readings, spec.run.confidence)),
        unknown=tuple(sorted(unknown)),
    )


def wanted(spec: Spec, world: str, knobs: Mapping[str, float], family: str) -> Spec:
    """The same [run] over a planted world with its protected attributes; in its own world the family's parameters of checks."""
    facts = registry.entries("families")[family].facts
    document = {
        "model": {"kind": "family", "family": family},
        "data": {"world": world, "knobs": dict(knobs)},
        "checks": facts["checks"] if world == facts["world"] else {},
    }
    return replace(codec.spec_from_mapping(document, "calibrate"), run=spec.run)


def _read_model(
    model: Model, world: World, spec: Spec, plan: Plan, seed: int, readings: dict[Key, list[Read]], unknown: set[str]
) -> None:
    """What the audits of one model read, added to `readings`."""
    found: list[tuple[Key, Measure]] = []
    for k in range(plan.audits):
        data = world.draw(plan.rows or LEAST, stream(seed, f"calibrate.audit/{k}"))
        told = tellable(data)
        names = tuple(check for check in TRUTHS if check in told and (k < plan.explained or not check.startswith(SLOW)))
        found += _measures(_audit(model, data, spec, names, seed * plan.audits + k))
    people = population(
        model,
        _parts(world, data, plan, spec.model.family or "", seed),
        threshold=spec.data.threshold,
        enumerated=plan.enumerated,
        rng=stream(seed, "calibrate.truth"),
    )
    truth = {
        (check, name, tuple(sorted(where.items()))): value
        for check in sorted({check for (check, _, _), _ in found})  # those that had something to say of such a model
        for name, where, value in TRUTHS[check](people)
        if np.isfinite(value)
    }
    for key, measure in found:
        by_definition = measure.interval is not None and measure.interval.method == "by definition"
        if key in truth and measure.value is not None and not by_definition:
            readings[key].append(Read(measure=measure, truth=truth[key]))
    if not unknown:
        data = world.draw(10, stream(seed, "calibrate.plan"))
        subject = assemble(spec, data, model)
        applying = {step.entry.id for step in engine.plan(spec) if not engine.missing_needs(step.entry, subject)}
        unknown.update(applying - tellable(data))


def tellable(data: Dataset) -> frozenset[str]:
    """The checks whose truth can be told of such rows."""
    return frozenset(TRUTHS) if isinstance(data.inputs, Tabular) else frozenset(TRUTHS) - OF_TABLES


def _parts(world: World, audited: Dataset, plan: Plan, id: str, seed: int) -> Iterator[Dataset]:
    """The people whom the truth is counted over: of a table at once, of what takes more memory in audits' sizes."""
    if isinstance(audited.inputs, Tabular):
        yield world.draw(rows_of(id, "population", plan.population), stream(seed, "calibrate.population"))
        return
    rows = len(audited)
    for k in range(MANY if plan.population is None else max(1, plan.population // rows)):
        yield world.draw(rows, stream(seed, f"calibrate.population/{k}"))


def _audit(model: Model, data: Dataset, spec: Spec, checks: Sequence[str], seed: int) -> Report:
    asked = replace(spec, checks=replace(spec.checks, only=tuple(checks)), run=replace(spec.run, seed=seed))
    return engine.run(asked, assemble(asked, data, model))


def _measures(report: Report) -> Iterator[tuple[Key, Measure]]:
    for outcome in report.outcomes:
        for piece in outcome.evidence:
            if isinstance(piece, Measure):
                yield (outcome.check, piece.name, tuple(sorted(piece.where.items()))), piece


# ------------------------------------------------------------------------------------------------- summed up
def _figures(readings: Mapping[Key, Sequence[Read]], level: float) -> Iterator[Calibrated]:
    """One figure for each measure and what it is sliced by, in the order in which the checks tell them."""
    together: dict[tuple[str, str, tuple[str, ...], bool], list[Read]] = defaultdict(list)
    for (check, name, where), found in readings.items():
        by = tuple(attribute for attribute, _ in where if attribute != "metric")
        together[check, name, by, any(group == ALL for _, group in where)] += found
    for (check, name, by, gap), found in together.items():
        yield _figure(check, name, by, gap, found, level)


def _figure(check: str, name: str, by: tuple[str, ...], gap: bool, found: Sequence[Read], level: float) -> Calibrated:
    read = np.array([one.measure.value for one in found], dtype=np.float64)
    truth = np.array([one.truth for one in found])
    apart = read - truth
    held = [one.measure.interval.low <= one.truth <= one.measure.interval.high for one in found if one.measure.interval]
    low, high = stats.wilson(sum(held), len(held), level) if held else (0.0, 1.0)
    return Calibrated(
        check=check,
        measure=name,
        by=by,
        gap=gap,
        unit=found[0].measure.unit,
        truth=_short(truth.mean()),
        read=_short(read.mean()),
        bias=_short(apart.mean()),
        error=_short(np.sqrt((apart**2).mean())),
        within=_short(np.quantile(np.abs(apart), 0.95)),
        readings=len(found),
        coverage=_short(np.mean(held)) if held else None,
        coverage_interval=Interval(low=_short(low), high=_short(high), level=level, method="Wilson") if held else None,
        trials=len(held),
        note="" if held else "the check states no interval",
    )


def _short(number: Any) -> float:
    """Six digits: more would be noise in every report that quotes it."""
    return float(f"{float(number):.6g}")


# ------------------------------------------------------------------------------------------- kept and found again
def save(found: Calibration, folder: Path, name: str = "") -> Path:
    """Write a calibration as FAMILY.json into a folder, which is made where it is missing; the path.

    name: of the file, for a family with options of its own: reports quote only what is said of the family as it is.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name or found.family}.json"
    path.write_text(codec.dump(found), encoding="utf-8")
    return path


def known(family: str, base: Path | None = None) -> Calibration | None:
    """The calibration of a family: of the folder `calibration` in `base`, else the shipped one; None where there is none.

    Raises RecordError for a damaged file.
    """
    if not family or not family.replace("_", "").isalnum():
        return None
    folders = [SHIPPED] if base is None else [base / FOLDER, SHIPPED]
    path = next((folder / f"{family}.json" for folder in folders if (folder / f"{family}.json").exists()), None)
    if path is None:
        return None
    found = codec.read_calibration(path)
    if found.family != family or found.options:
        what = f"of the family {found.family!r}" + (f" with options {dict(found.options)}" if found.options else "")
        raise RecordError(f"{path}: expected the calibration of the family {family!r} without options, it is {what}")
    return found


def of_model(model: Model | None, spec: Spec, base: Path | None = None) -> Calibration | None:
    """The calibration that speaks of a model: of the family that [model] family names, else the one it is recognised as.

    Raises ModelError where [model] family names a family that there is not.
    """
    from audit import registry

    asked = spec.model.family
    if asked and asked not in (families := registry.entries("families")):
        raise ModelError(f"model.family: no family {asked!r}; families: {', '.join(families)}")
    return known(asked or (model.card.reference if model else ""), base)
