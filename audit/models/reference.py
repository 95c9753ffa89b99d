"""What a reference model is: a module that knows how it was built, trained by its family, saved without pickle."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import nn

from audit.core import Dataset, Floats, Inputs, MissingOffer, ModelError, Offer, Output, Spec, stream, suggest
from audit.data.tables import listed, sha256
from audit.data.tabular import Tabular
from audit.models.adapters.torch import TorchModel, wrap
from audit.models.seeds import seeded
from audit.models.threads import limited
from audit.registry import Entry, entries

WEIGHTS, CARD = "model.safetensors", "card.json"


class Reference(nn.Module):
    """The base of reference modules; `config` are the JSON-able arguments that build it again.

    output: what forward gives. differentiable: whether gradients mean anything. stochastic: whether it answers the same
    rows differently. offers: what it can do beside what every torch module can, by methods of tensors (see `FamilyModel`).
    """

    output: Output = "logit"
    differentiable: bool = True
    stochastic: bool = False
    offers: frozenset[Offer] = frozenset()
    notes: tuple[str, ...] = ()
    config: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyModel(TorchModel):
    """A trained reference model behind the protocol; what its module offers passes through as arrays."""

    columns: Tabular | None = None

    @property
    def offers(self) -> frozenset[Offer]:
        """What a torch module offers, and what the family adds or takes away."""
        module = self._module
        found = TorchModel.offers.fget(self)  # type: ignore[attr-defined]
        return frozenset((found if module.differentiable else found - {"gradients"}) | module.offers)

    @property
    def _module(self) -> Reference:
        assert isinstance(self.module, Reference)
        return self.module

    def _asked(self, offer: Offer) -> Any:
        if offer not in self._module.offers:
            raise MissingOffer(
                f"{self.family} does not offer {offer!r}; it offers {listed(sorted(self.offers)) or 'nothing'}"
            )
        return self._module

    def draws(self, inputs: Any, count: int, *, seed: int) -> Floats:
        """Scores (count, n) or (count, n, k) by `count` draws of the model itself: module.draws(x, count, seed) gives raw ones."""
        module = self._asked("uncertainty")
        with torch.no_grad():
            raw = module.draws(self.tensor(inputs), count, seed)
        return np.stack([self._scored(one) for one in raw])

    def _scored(self, raw: torch.Tensor) -> Floats:
        from audit.models.base import scored

        return scored(raw.double().cpu().numpy(), len(raw), self.reading)

    def reconstruct(self, inputs: Any) -> tuple[Floats, Floats]:
        """What the model reads of each row (n, w) and what it gives back: module.reconstruct(x)."""
        module = self._asked("reconstruction")
        with torch.no_grad():
            read, restored = module.reconstruct(self.tensor(inputs))
        return read.double().cpu().numpy(), restored.double().cpu().numpy()

    def routes(self, inputs: Any) -> Floats:
        """The weight (n, experts) with which each expert answers each row: module.routes(x)."""
        module = self._asked("experts")
        with torch.no_grad():
            found: Floats = module.routes(self.tensor(inputs)).double().cpu().numpy()
        return found

    def sample(self, count: int, *, seed: int) -> Inputs:
        """Rows (count) drawn from the model: module.sample(count, seed) gives raw columns (count, d)."""
        module = self._asked("sample")
        with torch.no_grad():
            values = module.sample(count, seed).double().cpu().numpy()
        if self.columns is None:
            raise ModelError(f"{self.family}: only tables can be drawn")
        return self.columns.with_values(values)

    def log_likelihood(self, inputs: Any) -> Floats:
        """Log-likelihood of each row (n,) under the model: module.log_likelihood(x)."""
        module = self._asked("likelihood")
        with torch.no_grad():
            found: Floats = module.log_likelihood(self.tensor(inputs)).double().cpu().numpy()
        return found

    def rules(self) -> Any:
        """The rules (`audit.data.rules.Rules`) whose decisions are the model's own."""
        return self._asked("rules").rules()


# -------------------------------------------------------------------------------------------------- training
def find(id: str) -> Entry:
    """The family of this name; raises ModelError with the nearest."""
    families = entries("families")
    if id not in families:
        raise ModelError(f"no family {id!r}; families: {listed(families)}{suggest(id, families)}")
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


def wrapped(module: Reference, id: str, data: Dataset, spec: Spec, facts: Mapping[str, str]) -> FamilyModel:
    """A reference module behind the protocol."""
    plain = wrap(module, data, replace(spec, model=replace(spec.model, output=module.output, classes=())))
    card = replace(
        plain.card,
        family=id,
        reference=id,
        kind="family",
        name=f"{id} (reference model)",
        stochastic=module.stochastic,
        trained=dict(facts),
        notes=(*plain.card.notes, *module.notes),
    )
    same = {field.name: getattr(plain, field.name) for field in fields(TorchModel)} | {"card": card}
    return FamilyModel(**same, columns=data.inputs if isinstance(data.inputs, Tabular) else None)


# ------------------------------------------------------------------------------------------- saved and loaded
def save(model: FamilyModel, folder: Path) -> None:
    """Write model.safetensors and card.json into a folder, which is made where it is missing."""
    module = model.module
    assert isinstance(module, Reference)
    folder.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_model(module, str(folder / WEIGHTS))
    card = {
        "schema": 1,
        "family": model.family,
        "module": type(module).__name__,
        "config": dict(module.config),
        "trained": dict(model.card.trained),
        "sha256": sha256(folder / WEIGHTS),
        "packages": {name: metadata.version(name) for name in ("neural-audit", "torch", "numpy")},
    }
    (folder / CARD).write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")


def load(spec: Spec, data: Dataset, base: Path) -> FamilyModel:
    """The trained family in the folder model.path, or, in a planted world, model.family trained on a draw of its own.

    Raises ModelError.
    """
    if spec.model.path is not None:
        return read(base / spec.model.path, data, spec)
    if spec.model.family is None or spec.data.world is None:
        raise ModelError(
            'model.kind = "family" needs model.path, a folder that `audit zoo train` has written, or model.family together with data.world'
        )
    from audit.data.worlds.base import planted

    drawn = planted(spec.data).draw(max(spec.data.rows, 8000), stream(spec.run.seed, "models.training"))
    return trained(spec.model.family, drawn, spec, seed=spec.run.seed)


def read(folder: Path, data: Dataset, spec: Spec) -> FamilyModel:
    """The reference model that `save` wrote into a folder; raises ModelError for what is missing or was changed."""
    card = _card(folder)
    entry = find(str(card["family"]))
    kind = getattr(sys.modules[entry.function.__module__], str(card["module"]), None)
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
    return wrapped(module.eval(), entry.id, data, spec, dict(card["trained"]))


def _card(folder: Path) -> Mapping[str, Any]:
    for name in (CARD, WEIGHTS):
        if not (folder / name).is_file():
            raise ModelError(f"model.path: {folder} holds no {name}; `audit zoo train` writes both")
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{folder / CARD}: is not JSON: {error}") from None
    needed = ("schema", "family", "module", "config", "trained", "sha256")
    if not isinstance(card, dict) or any(name not in card for name in needed) or card["schema"] != 1:
        raise ModelError(f"{folder / CARD}: expected schema 1 with {listed(needed)}")
    return card
