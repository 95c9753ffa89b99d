"""One audit from its configuration or its Python objects to its record."""

from __future__ import annotations

import hashlib
import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audit import codec, engine
from audit.carbon import meter
from audit.core import AuditError, DataError, Device, Dtype, Report, UsageError
from audit.engine import Progress, silent
from audit.models.threads import limited
from audit.subject import assemble, prepare
from audit.workflows.calibrate import of_model

if TYPE_CHECKING:
    from audit.reports.notebook import NotebookReport

# Names that a column of true labels usually has; used only when no label is named.
LABELS = ("label", "target", "y", "y_true", "outcome")


def examine(
    config: Path,
    *,
    only: Sequence[str] = (),
    seed: int | None = None,
    device: Device | None = None,
    dtype: Dtype | None = None,
    threads: int | None = None,
    max_seconds: float | None = None,
    budget: int | None = None,
    progress: Progress = silent,
    allow_inconclusive: bool = False,
) -> Report:
    """Audit what a configuration file describes; the arguments override its [checks] only and [run]."""
    started, reading = time.monotonic(), meter.start()
    spec = codec.read_spec(config)
    overrides: dict[str, Any] = {
        "seed": seed,
        "device": device,
        "dtype": dtype,
        "threads": threads,
        "max_seconds": max_seconds,
        "budget": budget,
    }
    given = {name: value for name, value in overrides.items() if value is not None}
    spec = codec.validate(replace(spec, run=replace(spec.run, **given)), "command line")
    if only:
        spec = replace(spec, checks=replace(spec.checks, only=tuple(only)))
    with limited(spec.run.threads):
        with _named(config):
            engine.plan(spec)
            progress(0, None, "reading the data and the model")
            subject = prepare(spec, config.resolve().parent)
            calibration = of_model(subject.model, spec, config.resolve().parent)
        return engine.run(
            spec,
            subject,
            progress=progress,
            started=started,
            command=_command(config, only, given),
            hashes={"config": hashlib.sha256(config.read_bytes()).hexdigest()},
            base=config.resolve().parent,
            allow_inconclusive=allow_inconclusive,
            reading=reading,
            calibration=calibration,
        )


@contextmanager
def _named(config: Path) -> Iterator[None]:
    """Messages from here on name the configuration that they speak of."""
    try:
        yield
    except AuditError as error:
        raise type(error)("\n".join(f"{config}: {line}" for line in str(error).splitlines())) from error


def _command(config: Path, only: Sequence[str], given: Mapping[str, Any]) -> str:
    parts = ["audit", "run", config.name, *(["--only", ",".join(only)] if only else [])]
    for name, value in given.items():
        parts += [f"--{name.replace('_', '-')}", str(value)]
    return shlex.join(parts)


def run(
    model: Any = None,
    data: Any = None,
    *,
    sensitive_features: str | Sequence[str] = (),
    label: str | None = None,
    positive: str | bool | int | float = 1,
    target: str | None = None,
    decision: str | None = None,
    score: str | None = None,
    threshold: float = 0.5,
    features: Sequence[str] | None = None,
    weight: str | None = None,
    intersect: Sequence[Sequence[str]] = (),
    gates: Sequence[Mapping[str, Any]] = (),
    only: Sequence[str] = (),
    params: Mapping[str, Mapping[str, Any]] | None = None,
    name: str = "",
    output: str = "probability",
    seed: int = 0,
    device: Device = "auto",
    dtype: Dtype = "auto",
    threads: int | None = None,
    confidence: float = 0.95,
    max_seconds: float | None = None,
    budget: int | None = None,
    progress: bool | None = None,
) -> NotebookReport:
    """Audit a model on a frame; returns a report that shows itself in a notebook.

    Args:
        model: a torch `nn.Module`, a scikit-learn estimator or pipeline, a callable from a matrix (n, d) to scores,
            or None to judge the predictions recorded in the columns `decision` or `score`.
        data: a pandas, polars or pyarrow frame, a path to a CSV, Parquet or Arrow file, or a `Dataset`.
        sensitive_features: the protected attributes, as column names.
        label: the column of true labels; by default the one column called label, target, y, y_true or outcome.
        positive: the label's (and decision's) positive value.
        target: the column of numbers to predict, for regression; `output` is then "value".
        decision: the column of recorded decisions.
        score: the column of recorded scores.
        threshold: the score from which on the decision is positive.
        features: the model's inputs; by default every column without another role.
        weight: the column of survey weights.
        intersect: combinations of protected attributes to examine beside each alone.
        gates: promises, each with the keys of a [[gate]] table: check, measure, by, min, max, required, why.
        only: prefixes of the checks to run; by default every check that applies.
        params: parameters of single checks, by check id.
        name: the system's name in the report.
        output: what the model returns: "probability", "logit", or for regression "value".
        seed: of every random draw.
        device: "auto", "cpu" or "cuda".
        dtype: the type of number that the model computes in: "auto" for its own, "float32", "bfloat16" or "float16".
        threads: the most threads that torch, BLAS and OpenMP may use; by default what the environment gives them.
        confidence: the level of every interval.
        max_seconds: a deadline; the report of what was done until then is returned.
        budget: the most rows that one check may ask the model for; a check that needs more is cut short and says so.
        progress: show a progress bar on stderr; by default only in a terminal.

    Raises:
        AuditError: with what was allowed and what came.
    """
    from audit.data import readers
    from audit.models import load
    from audit.reports.notebook import NotebookReport
    from audit.workflows.progress import bar

    if data is None:
        raise UsageError("data: give a frame, a path or a Dataset; got None")
    if isinstance(sensitive_features, str):
        sensitive_features = [sensitive_features]
    started, reading = time.monotonic(), meter.start()
    document = {
        "system": {"name": name or _name_of(model)},
        "model": {"kind": "predictions", "output": output},
        "data": {
            "path": str(data) if isinstance(data, str | Path) else "(a frame in memory)",
            "label": label or (None if target else _guess_label(data)),
            "positive": positive,
            "target": target,
            "decision": decision,
            "score": score,
            "threshold": threshold,
            "features": list(features) if features is not None else None,
            "weight": weight,
        },
        "groups": {"attributes": list(sensitive_features), "intersect": [list(subset) for subset in intersect]},
        "run": {
            "seed": seed,
            "device": device,
            "dtype": dtype,
            "threads": threads,
            "confidence": confidence,
            "max_seconds": max_seconds,
            "budget": budget,
        },
        "checks": {"only": list(only), **(params or {})},
        "gate": [dict(gate) for gate in gates],
    }
    spec = codec.spec_from_mapping(document, "audit.run")
    engine.plan(spec)
    with limited(spec.run.threads), bar(sys.stderr.isatty() if progress is None else progress) as show:
        show(0, None, "reading the data and the model")
        wanted = model is not None or features is not None
        if isinstance(data, str | Path):
            dataset = readers.read(spec, Path(), inputs=wanted)
        else:
            dataset = readers.from_frame(data, spec, inputs=wanted)
        wrapped = None if model is None else load.wrap(model, dataset, spec)
        report = engine.run(
            spec,
            assemble(spec, dataset, wrapped),
            progress=show,
            started=started,
            reading=reading,
            calibration=of_model(wrapped, spec),
            command="audit.run(model, data, ...)",
        )
    return NotebookReport.of(report)


def _name_of(model: Any) -> str:
    return "recorded predictions" if model is None else getattr(model, "__name__", type(model).__name__)


def _guess_label(data: Any) -> str | None:
    """The one column whose name says that it is the label; two candidates are one too many."""
    columns = [str(column) for column in getattr(data, "columns", ())]
    if hasattr(data, "column_names"):  # pyarrow, whose .columns are arrays
        columns = list(data.column_names)
    found = [column for column in columns if column.lower() in LABELS]
    if len(found) > 1:
        raise DataError(f"label: {', '.join(found)} could all be the label; say which by label=")
    return found[0] if found else None
