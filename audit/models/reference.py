"""Reference models: trained by their family, saved without pickle, read again."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch

from audit.core import (
    DataError,
    Dataset,
    Inputs,
    ModelError,
    OutputError,
    Spec,
    stream,
    suggest,
)
from audit.data.graphs import Graphs
from audit.data.tables import listed, sha256
from audit.data.tabular import Tabular
from audit.models.adapters.torch import TorchModel, wrap
from audit.models.arrangement import arranged, strange_levels
from audit.models.family_model import FamilyModel, Reference
from audit.models.kinds import agree, blank, described, rebuilt
from audit.models.options import check_options
from audit.models.seeds import seeded
from audit.models.threads import limited
from audit.registry import Entry, entries

__all__ = ["CARD", "WEIGHTS", "FamilyModel", "Reference", "find", "load", "read", "save", "trained", "wrapped"]

WEIGHTS, CARD = "model.safetensors", "card.json"


# -------------------------------------------------------------------------------------------------- training
def find(id: str) -> Entry:
    """The family of this name; raises ModelError with all of them, and the nearest."""
    families = entries("families")
    if id not in families:
        raise ModelError(f"no family {id!r}; families: {listed(families, len(families))}{suggest(id, families)}")
    return families[id]


def trained(
    id: str, data: Dataset, spec: Spec, *, seed: int = 0, options: Mapping[str, Any] | None = None
) -> FamilyModel:
    """A model of the family trained on the data with these options; raises ModelError, DataError, UsageError."""
    entry, options = find(id), dict(options or {})
    unknown = [name for name in options if name not in entry.params or name in ("seed", "device")]
    if unknown:
        allowed = [name for name in entry.params if name not in ("seed", "device")]
        raise ModelError(
            f"{id}: no option {unknown[0]!r}; options: {listed(allowed) or 'none'}{suggest(unknown[0], allowed)}"
        )
    check_options(id, entry.function, options)
    device = "cuda" if spec.run.device != "cpu" and torch.cuda.is_available() else "cpu"
    with limited(spec.run.threads):
        module = entry.function(data, seed=seed, device=device, **options)
    facts = {
        "world": data.origin.name,
        "data": data.origin.source,
        "rows": str(len(data)),
        "seed": str(seed),
        "options": json.dumps({**{k: v for k, v in entry.params.items() if k not in ("seed", "device")}, **options}),
    }
    return wrapped(module, id, data, spec, facts)


def wrapped(
    module: Reference, id: str, data: Dataset, spec: Spec, facts: Mapping[str, str], own: Inputs | None = None
) -> FamilyModel:
    """A reference module behind the protocol; own: the kind of inputs, without rows, that it was trained on.

    By default that of the data. Where these are a table with the same columns in another order, or other codes for the
    levels of their categories, a hook of the module puts them right. Raises ModelError for inputs of another kind.
    """
    given: Any = blank(data.inputs)
    own, strange = given if own is None else own, []
    agree(id, own, given)
    if isinstance(own, Tabular):
        way, strange = arranged(id, own, given), strange_levels(own, given)
        if not way.same:
            module.register_forward_pre_hook(way.hook)
    plain = wrap(module, data, replace(spec, model=replace(spec.model, output=module.output, classes=())))
    card = replace(
        plain.card,
        family=id,
        reference=id,
        kind="family",
        name=f"{id} (reference model)",
        stochastic=module.stochastic,
        trained=dict(facts),
        notes=(*plain.card.notes, *module.notes, *strange),
    )
    same = {field.name: getattr(plain, field.name) for field in fields(TorchModel)} | {"card": card}
    graphs = data.inputs if isinstance(data.inputs, Graphs) else None
    return FamilyModel(**same, own=own, given=given, graphs=graphs)


# ------------------------------------------------------------------------------------------- saved and loaded
def save(model: FamilyModel, folder: str | Path) -> None:
    """Write model.safetensors and card.json into a folder, which is made where it is missing; raises OutputError."""
    module, folder = model.module, Path(folder)
    assert isinstance(module, Reference)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        safetensors.torch.save_model(module, str(folder / WEIGHTS))
        (folder / CARD).write_text(json.dumps(_said(model, folder), indent=2) + "\n", encoding="utf-8")
    except (OSError, safetensors.SafetensorError) as error:
        raise OutputError(f"{folder}: a model cannot be saved there: {error}; give a folder, new or old") from error


def _said(model: FamilyModel, folder: Path) -> Mapping[str, Any]:
    """What card.json says."""
    module, own = model.module, model.own if isinstance(model.own, Tabular) else None
    assert isinstance(module, Reference)
    return {
        "schema": 1,
        "family": model.family,
        "module": type(module).__name__,
        "config": dict(module.config),
        "columns": [] if own is None else list(own.columns),
        "categories": {} if own is None else {name: list(levels) for name, levels in own.categories.items()},
        "integers": [] if own is None else sorted(own.integers),
        "inputs": dict(described(model.own)),
        "trained": dict(model.card.trained),
        "sha256": sha256(folder / WEIGHTS),
        "packages": {name: metadata.version(name) for name in ("neural-audit", "torch", "numpy")},
    }


def load(spec: Spec, data: Dataset, base: Path) -> FamilyModel:
    """The trained family in the folder model.path, or, in a planted world, model.family trained on a draw of its own.

    Raises ModelError, also where the folder holds another family than model.family says.
    """
    wanted = None if spec.model.family is None else find(spec.model.family).id
    if spec.model.path is not None:
        model = read(base / spec.model.path, data, spec)
        if wanted not in (None, model.family):
            raise ModelError(f"model.family: {spec.model.path} holds the family {model.family!r}, not {wanted!r}")
        return model
    if spec.model.family is None or spec.data.world is None:
        raise ModelError(
            'model.kind = "family" needs model.path, a folder that `audit zoo train` has written, or model.family together with data.world'
        )
    from audit.data.worlds.base import planted

    rows = find(spec.model.family).facts["rows"]
    drawn = planted(spec.data).draw(rows, stream(spec.run.seed, "models.training"))
    return trained(spec.model.family, drawn, spec, seed=spec.run.seed)


def read(folder: str | Path, data: Dataset, spec: Spec) -> FamilyModel:
    """The reference model that `save` wrote into a folder, for data with the columns that it was trained on.

    Raises ModelError for what is missing or was changed, and for other columns.
    """
    folder = Path(folder)
    card = _card(folder)
    entry = find(card["family"])
    kind = getattr(sys.modules[entry.function.__module__], card["module"], None)
    if not (isinstance(kind, type) and issubclass(kind, Reference)):
        raise ModelError(f"{folder / CARD}: the family {entry.id!r} has no module {card['module']!r}")
    if sha256(folder / WEIGHTS) != card["sha256"]:
        raise ModelError(f"{folder / WEIGHTS}: is not the file that card.json speaks of (its SHA-256 differs)")
    try:
        with seeded(0):  # what is drawn here is written over by the saved weights
            module = kind(**card["config"])
        safetensors.torch.load_model(module, str(folder / WEIGHTS))
    except Exception as error:
        raise ModelError(f"{folder}: cannot be loaded: {type(error).__name__}: {error}") from error
    return wrapped(module.eval(), entry.id, data, spec, dict(card["trained"]), _inputs_of(card, folder))


def _inputs_of(card: Mapping[str, Any], folder: Path) -> Inputs | None:
    """The kind of inputs that a saved model was trained on, without rows; None where there were none."""
    if not card["columns"]:
        if not card["inputs"]:
            raise ModelError(f"{folder / CARD}: says neither columns nor inputs, so nothing tells what the model reads")
        try:
            found: Inputs | None = rebuilt(card["inputs"])
        except (KeyError, TypeError, ValueError, DataError) as error:
            raise ModelError(f"{folder / CARD}: inputs cannot be read: {type(error).__name__}: {error}") from None
        return found
    return Tabular(
        values=np.empty((0, len(card["columns"]))),
        columns=tuple(card["columns"]),
        categories={name: tuple(levels) for name, levels in card["categories"].items()},
        integers=frozenset(card["integers"]),
    )


def _card(folder: Path) -> Mapping[str, Any]:
    for name in (CARD, WEIGHTS):
        if not (folder / name).is_file():
            raise ModelError(f"model.path: {folder} holds no {name}; `audit zoo train` writes both")
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{folder / CARD}: is not JSON: {error}") from None
    if not isinstance(card, dict) or any(name not in card for name in SAID) or card["schema"] != 1:
        raise ModelError(f"{folder / CARD}: expected schema 1 with {listed(SAID)}")
    for name, (holds, words) in SAID.items():
        if not holds(card[name]):
            raise ModelError(f"{folder / CARD}: {name} must be {words}, got {json.dumps(card[name])[:80]}")
    return card


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_text, value))


# What card.json must say, and in which shape.
SAID: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "schema": (lambda value: value == 1, "1"),
    "family": (_text, "a text"),
    "module": (_text, "a text"),
    "config": (lambda value: isinstance(value, dict), "an object"),
    "columns": (_texts, "a list of texts"),
    "categories": (
        lambda value: isinstance(value, dict) and all(map(_texts, value.values())),
        "an object of lists of texts",
    ),
    "integers": (_texts, "a list of texts"),
    "inputs": (lambda value: isinstance(value, dict), "an object"),
    "trained": (lambda value: isinstance(value, dict) and all(map(_text, value.values())), "an object of texts"),
    "sha256": (_text, "a text"),
}
