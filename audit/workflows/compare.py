"""Compare: several reference models trained and audited on the same people, side by side in one record."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from audit import codec, engine, registry
from audit.carbon import footprint, meter
from audit.core import (
    Card,
    Cell,
    DataError,
    Evidence,
    Measure,
    ModelError,
    NotTested,
    Outcome,
    Report,
    Run,
    RunSpec,
    Spec,
    Subject,
    Table,
    UsageError,
    stream,
)
from audit.data.worlds.base import planted
from audit.engine import Progress, silent
from audit.judge import verdict
from audit.models.threads import limited
from audit.subject import assemble, describe
from audit.workflows.calibrate import wanted
from audit.workflows.sizes import rows_of
from audit.workflows.zoo import Named, warm

ID, TITLE = "compare.models", "Models side by side"
FIGURES: Mapping[str, tuple[str, str, Mapping[str, str]]] = {
    "AUC": ("performance.overall", "auc", {}),
    "accuracy": ("performance.overall", "accuracy", {}),
    "selection gap": ("fairness.selection", "demographic_parity_difference", {"*": "*"}),
    "TPR gap": ("fairness.error_rates", "equal_opportunity_difference", {"*": "*"}),
    "equalised odds gap": ("fairness.error_rates", "equalized_odds_difference", {"*": "*"}),
    "calibration error": ("fairness.calibration", "ece_debiased", {}),
    "explanation beats chance": ("explain.faithfulness", "deletion_beats_random", {"explainer": "shapley"}),
}
# Of models of texts and of pictures with texts; a column for each that one of the models has.
MORE: Mapping[str, tuple[str, str, Mapping[str, str]]] = {
    "association effect": ("fairness.association", "effect_size", {"test": "own words"}),
    "pronoun bias": ("fairness.pronouns", "mean_bias", {}),
    "pixels' overlap": ("performance.segmentation", "iou", {}),
}
CHECKS = (
    "performance.overall",
    "fairness.selection",
    "fairness.error_rates",
    "fairness.calibration",
    "explain.faithfulness",
    *(check for check, _, _ in MORE.values()),
)
ENERGY = "energy per 1,000 predictions"
LEAST = 100  # people
SECONDS = 0.2  # of CPU at least for the energy of a prediction to be read


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One model of a comparison: its name, its own record, and what its predictions cost."""

    named: Named
    report: Report
    energy: Measure
    training_seconds: float


def compare(
    wishes: Sequence[Named],
    *,
    world: str | None = None,
    rows: int | None = None,
    training: int | None = None,
    run: RunSpec | None = None,
    progress: Progress = silent,
) -> tuple[Report, tuple[Side, ...]]:
    """Train every model on the same people, audit each on the same others: one record, and each model's own.

    world: where they are drawn, by default the world of the first. rows, training: by default its own. Raises UsageError, ModelError.
    """
    if len(wishes) < 2:
        raise UsageError("zoo compare: name two models or more, such as mlp and adversarial")
    if len({str(wish) for wish in wishes}) < len(wishes):
        raise UsageError(f"zoo compare: {', '.join(map(str, wishes))} names a model twice")
    rows, training = (rows_of(wishes[0].id, *asked) for asked in (("audit", rows), ("training", training)))
    if rows < LEAST:
        raise UsageError(f"zoo compare: --rows of {LEAST} or more, got {rows}: fewer people tell no models apart")
    clock, begun = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
    spec = _spec(wishes, world, rows, run or RunSpec())
    place = planted(spec.data)
    learn = place.draw(training, stream(spec.run.seed, "compare.training"))
    seen = place.draw(rows, stream(spec.run.seed, "compare.audit"))
    sides = []
    with limited(spec.run.threads):
        for number, wish in enumerate(wishes):
            progress(number, len(wishes), f"training and auditing {wish}")
            sides.append(_side(wish, spec, learn, seen))
    progress(len(wishes), len(wishes), "done")
    subject = assemble(spec, seen, None)
    outcome = Outcome(
        check=ID,
        title=TITLE,
        status="done",
        evidence=tuple(_evidence(sides)),
        params={"rows": rows, "training": training},
    )
    seconds = round(time.monotonic() - clock, 3)
    command = " ".join(["audit zoo compare", *map(str, wishes), f"--rows {rows} --training {training}"])
    return _record(spec, subject, outcome, Run(started=begun, seconds=seconds), wishes, command), tuple(sides)


def _spec(wishes: Sequence[Named], world: str | None, rows: int, run: RunSpec) -> Spec:
    facts = registry.entries("families")[wishes[0].id].facts
    knobs = facts["knobs"] if world in (None, facts["world"]) else {}
    spec = wanted(Spec(run=run), world or facts["world"], knobs, wishes[0].id)
    name = " and ".join([", ".join(map(str, wishes[:-1])), str(wishes[-1])])
    return replace(spec, system=replace(spec.system, name=f"Comparison of {name}"), data=replace(spec.data, rows=rows))


def _side(wish: Named, spec: Spec, learn: object, seen: object) -> Side:
    from audit.models.reference import trained

    warm()
    before = time.process_time()
    try:
        model = trained(wish.id, learn, spec, seed=spec.run.seed, options=wish.options)  # type: ignore[arg-type]
    except DataError as error:
        raise ModelError(f"{wish}: cannot be trained on the world {spec.data.world!r}: {error}") from error
    spent = time.process_time() - before
    asked = replace(spec, checks=replace(spec.checks, only=CHECKS))
    subject = assemble(asked, seen, model)  # type: ignore[arg-type]
    return Side(
        named=wish,
        report=engine.run(asked, subject, command=f"audit zoo compare {wish}"),
        energy=_energy(subject, str(wish)),
        training_seconds=spent,
    )


def _energy(subject: Subject, name: str) -> Measure:
    """What a thousand predictions take, from the meters over as many as can be read."""
    assert subject.model is not None
    reading, answered, begun = meter.start(), 0, time.process_time()
    while time.process_time() - begun < SECONDS or not answered:
        subject.model.predict(subject.data.inputs)
        answered += len(subject)
    used = footprint.energy(meter.read(reading))
    each = (used * (1000 / answered)).measure(
        "energy_per_1000_predictions", level=0.95, note=f"{answered:,} predictions were read"
    )
    return replace(each, where={"model": name})


def _evidence(sides: Sequence[Side]) -> Iterator[Evidence]:
    """Each figure of each model as a measure, then all of them as one table."""
    lines: list[tuple[Cell, ...]] = []
    more = {title: facts for title, facts in MORE.items() if any(_found(side.report, *facts) for side in sides)}
    for side in sides:
        cells: list[Cell] = [str(side.named)]
        for title, (check, name, where) in (*FIGURES.items(), *more.items()):
            found = _found(side.report, check, name, where)
            cells.append(None if found is None else found.value)
            if found is not None:
                yield replace(found, name=title.replace(" ", "_"), where={"model": str(side.named)})
        card = side.report.subject.model
        cells += [side.energy.value, card.parameters if card else None, round(side.training_seconds, 2)]
        yield side.energy
        lines.append(tuple(cells))
    yield Table(
        name="models",
        title="The models side by side, on the same unseen rows",
        columns=("model", *FIGURES, *more, "kWh per 1,000 predictions", "parameters", "CPU s of training"),
        rows=tuple(lines),
        note="the intervals stand in the figures of each model; models whose intervals overlap may differ by chance alone",
    )


def _found(report: Report, check: str, name: str, where: Mapping[str, str]) -> Measure | None:
    """The measure of that name: of everyone, of all groups at once ("*"), or of a named slice."""
    for outcome in report.outcomes:
        for piece in outcome.evidence if outcome.check == check else ():
            if isinstance(piece, Measure) and piece.name == name:
                over_groups = where == {"*": "*"} and set(piece.where.values()) == {"*"}
                if over_groups or dict(piece.where) == dict(where):
                    return piece
    return None


def _record(spec: Spec, subject: Subject, outcome: Outcome, run: Run, wishes: Sequence[Named], command: str) -> Report:
    return Report(
        spec=spec,
        subject=replace(describe(subject), model=_together(wishes)),
        environment=engine.environment(spec, subject, command, {}),
        outcomes=(outcome,),
        rulings=(),
        not_tested=(
            NotTested(
                topic="everything else",
                why="a comparison shows a few figures; each model's own record holds its checks",
            ),
        ),
        limitations=(
            "Each model was trained once, from one seed: another seed gives other figures.",
            *subject.data.notes,
        ),
        verdict=verdict((), (outcome,), complete=True),
        complete=True,
        run=run,
    )


def _together(wishes: Sequence[Named]) -> Card:
    """What the page of a comparison says of its models."""
    return Card(family="comparison", kind="family", name=", ".join(map(str, wishes)))


def save(report: Report, sides: Sequence[Side], out: Path) -> list[Path]:
    """Write the record and page of the comparison, and each model's own beneath it; the paths of the former."""
    from audit.reports.render import render, write

    for side in sides:
        write(codec.dumps(side.report), out / side.named.folder / "result.json")
        write(render(side.report, "html"), out / side.named.folder / "report.html")
    paths = [out / "result.json", out / "report.html"]
    write(codec.dumps(report), paths[0])
    write(render(report, "html"), paths[1])
    return paths
