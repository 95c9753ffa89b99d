"""The zoo: reference models of every family, listed, trained, judged by what they promise, and audited."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audit import registry
from audit.core import MissingExtra, Report, RunSpec, Spec, UsageError, stream, suggest
from audit.engine import Progress, silent
from audit.models.threads import limited
from audit.workflows.calibrate import wanted
from audit.workflows.sizes import rows_of

if TYPE_CHECKING:
    from audit.models.promises import Promise
    from audit.models.reference import FamilyModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A family as the command line names it: "mlp", or "mlp:rule=feedback_alignment,epochs=5" with options of its own."""

    id: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        told = ",".join(f"{name}={json.dumps(value).strip(chr(34))}" for name, value in self.options.items())
        return f"{self.id}:{told}" if told else self.id

    @property
    def folder(self) -> str:
        """A name for its folder: the family, and its options in letters that every file system takes."""
        told = "".join(c if c.isalnum() or c in "._-" else "-" for c in str(self))
        return told.replace("--", "-").strip(".-")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A trained reference model, the CPU-seconds that training took, and what came of its promises."""

    named: Named
    model: FamilyModel
    cpu_seconds: float
    promises: tuple[Promise, ...]

    @property
    def kept(self) -> bool:
        """Whether every promise was kept."""
        return all(promise.kept for promise in self.promises)


def named(text: str) -> Named:
    """The family and the options in "mlp:rule=feedback_alignment,epochs=5"; values are read as JSON, else as text.

    Raises UsageError for an unknown family or option, with the nearest.
    """
    id, _, rest = text.partition(":")
    families = registry.entries("families")
    if id not in families:
        raise UsageError(f"no family {id!r}; families: {', '.join(families)}{suggest(id, families)}")
    allowed = [name for name in families[id].params if name not in ("seed", "device")]
    options: dict[str, Any] = {}
    for part in _parts(rest):
        name, equals, value = part.partition("=")
        if not equals or name not in allowed:
            raise UsageError(
                f"{id} has no option {name!r}; options, as NAME=VALUE: {', '.join(allowed) or 'none'}{suggest(name, allowed)}"
            )
        try:
            options[name] = json.loads(value)
        except ValueError:
            options[name] = value
    return Named(id=id, options=options)


def _parts(text: str) -> Iterator[str]:
    """The text cut at commas outside brackets."""
    depth, start = 0, 0
    for place, letter in enumerate(text):
        depth += (letter in "[{") - (letter in "]}")
        if letter == "," and not depth:
            yield text[start:place]
            start = place + 1
    if text[start:]:
        yield text[start:]


# ---------------------------------------------------------------------------------------------------------- list
def listing(progress: Progress = silent) -> list[tuple[str, str, str, str, int, str]]:
    """A row a family: id, title, sources, world, parameters, offers; each is trained on a few rows to be counted."""
    from audit.models.reference import trained

    rows = []
    families = registry.entries("families")
    for done, (id, entry) in enumerate(families.items()):
        progress(done, len(families), f"counting {id}")
        spec = wanted(Spec(), entry.facts["world"], entry.facts["knobs"], id)
        try:
            model = trained(id, _drawn(spec, rows_of(id, "listing"), 0, "zoo.listing"), spec)
            offers, size = ", ".join(sorted(model.offers)) or "none", model.card.parameters or 0
        except MissingExtra as missing:
            offers, size = str(missing), 0
        knobs = ", ".join(f"{name} = {value:g}" for name, value in entry.facts["knobs"].items())
        world = f"{entry.facts['world']} ({knobs})" if knobs else entry.facts["world"]
        rows.append((id, entry.title, ", ".join(entry.sources), world, size, offers))
    progress(len(families), len(families), "done")
    return rows


def _drawn(spec: Spec, rows: int, seed: int, purpose: str) -> Any:
    from audit.data.worlds.base import planted

    return planted(spec.data).draw(rows, stream(seed, purpose))


# --------------------------------------------------------------------------------------------------------- train
def train(wish: Named, *, rows: int | None = None, seed: int = 0, run: RunSpec | None = None) -> Trained:
    """One family trained on a draw of its world, and its promises judged on unseen rows of the same world.

    rows: by default the family's own.

    Raises UsageError, ModelError.
    """
    from audit.data.worlds.base import planted
    from audit.models.promises import near_the_oracle
    from audit.models.reference import trained

    entry = registry.entries("families")[wish.id]
    spec = wanted(Spec(run=run or RunSpec(seed=seed)), entry.facts["world"], entry.facts["knobs"], wish.id)
    data = _drawn(spec, rows_of(wish.id, "training", rows), seed, "zoo.training")
    warm()
    before = time.process_time()
    model = trained(wish.id, data, spec, seed=seed, options=wish.options)
    spent = time.process_time() - before
    judge = entry.facts["promise"] or near_the_oracle
    with limited(spec.run.threads):
        found = tuple(judge(model, _drawn(spec, rows_of(wish.id, "unseen"), seed, "zoo.unseen"), planted(spec.data)))
    return Trained(named=wish, model=model, cpu_seconds=spent, promises=found)


@functools.cache
def warm() -> None:
    """Let torch load what it loads once, so that no family's training is charged with it."""
    import torch

    weight = torch.zeros(1, requires_grad=True)
    weight.sum().backward()  # type: ignore[no-untyped-call]
    torch.optim.Adam([weight]).step()


def keep(found: Trained, out: Path, *, rows: int | None = None, seed: int = 0) -> Path:
    """Write a trained model into OUT/NAME, with an audit.toml beside it that audits it on unseen rows; that file."""
    from audit.models.reference import save

    folder = out / found.named.folder
    save(found.model, folder)
    path = folder / "audit.toml"
    path.write_text(
        configuration(found.named, rows=rows_of(found.named.id, "audit", rows), seed=seed), encoding="utf-8"
    )
    return path


def configuration(wish: Named, *, rows: int, seed: int) -> str:
    """The audit.toml of a trained family in the same folder."""
    entry = registry.entries("families")[wish.id]
    knobs = ", ".join(f"{name} = {value!r}" for name, value in entry.facts["knobs"].items())
    lines = [
        "schema = 1",
        "[system]",
        f"name = {json.dumps(str(wish))}",
        f"purpose = {json.dumps('Reference model: ' + entry.title)}",
        "[model]",
        'kind = "family"',
        f"family = {json.dumps(wish.id)}",
        'path = "."',
        "[data]",
        f"world = {json.dumps(entry.facts['world'])}",
        f"rows = {rows}",
        *([f"knobs = {{ {knobs} }}"] if knobs else []),
        "[run]",
        f"seed = {seed}",
    ]
    for check, params in entry.facts["checks"].items():
        lines += [f"[checks.{json.dumps(check)}]", *(f"{name} = {json.dumps(value)}" for name, value in params.items())]
    return "\n".join(lines) + "\n"


def examine(path: Path, *, only: Sequence[str] = (), run: RunSpec | None = None, progress: Progress = silent) -> Report:
    """The audit of a trained model in its folder."""
    from audit.workflows.examine import examine as audit

    asked = run or RunSpec()
    return audit(
        path,
        only=only,
        device=asked.device,
        dtype=None if asked.dtype == "auto" else asked.dtype,
        threads=asked.threads,
        progress=progress,
    )


def run(
    wish: Named,
    out: Path,
    *,
    rows: int | None = None,
    training: int | None = None,
    run: RunSpec | None = None,
    progress: Progress = silent,
) -> tuple[Trained, Report, Path]:
    """Train a family, keep it, audit it: what came of each, and its folder."""
    asked = run or RunSpec()
    progress(0, None, f"training {wish}")
    found = train(wish, rows=training, seed=asked.seed, run=asked)
    path = keep(found, out, rows=rows, seed=asked.seed)
    return found, examine(path, run=asked, progress=progress), path.parent
