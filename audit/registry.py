"""Where checks, explainers, adapters, families, worlds and renderers are known by name: being there is being registered."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any, Literal, TypeVar

from audit.core import Context, Evidence, Need, Offer, Subject, UsageError

F = TypeVar("F", bound=Callable[..., Any])
Kind = Literal["checks", "explainers", "adapters", "families", "worlds", "renderers"]
ROOMS: Mapping[Kind, tuple[str, ...]] = {
    "checks": ("audit.performance", "audit.fairness", "audit.explain", "audit.robustness", "audit.carbon"),
    "explainers": ("audit.explain",),
    "adapters": ("audit.models.adapters",),
    "families": ("audit.models.families",),
    "worlds": ("audit.data.worlds",),
    "renderers": ("audit.reports",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One registered function: id, title, what it needs, its sources and its keyword parameters.

    facts: what else is known of a family: its world, the world's knobs, what its models offer, what it promises.
    """

    id: str
    title: str
    function: Callable[..., Any]
    needs: frozenset[Need] = frozenset()
    sources: tuple[str, ...] = ()
    volatile: bool = False
    params: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def doc(self) -> str:
        """The function's docstring, cleaned."""
        return inspect.getdoc(self.function) or ""


_entries: dict[Kind, dict[str, Entry]] = {kind: {} for kind in ROOMS}
_seen: set[Kind] = set()


def _register(kind: Kind, id: str, function: F, **facts: Any) -> F:
    known = _entries[kind].get(id)
    if known is not None and known.function.__module__ != function.__module__:
        raise UsageError(
            f"{kind}: {id!r} is registered twice, by {known.function.__module__} and {function.__module__}"
        )
    signature = inspect.signature(function).parameters.values()
    params = {p.name: p.default for p in signature if p.kind is p.KEYWORD_ONLY}
    _entries[kind][id] = Entry(id=id, function=function, params=params, **facts)
    return function


CheckFunction = Callable[..., Iterator[Evidence]]
C = TypeVar("C", bound=CheckFunction)


def check(
    id: str, *, title: str, needs: Iterable[Need] = (), sources: tuple[str, ...] = (), volatile: bool = False
) -> Callable[[C], C]:
    """Register a check: `f(subject, context, *, parameters) -> Iterator[Evidence]`.

    volatile: the check measures this very run (time, energy), so two equal runs differ in its figures.
    """
    return lambda f: _register("checks", id, f, title=title, needs=frozenset(needs), sources=sources, volatile=volatile)


def explainer(
    id: str, *, title: str, needs: frozenset[Need] = frozenset(), sources: tuple[str, ...] = ()
) -> Callable[[F], F]:
    """Register an explainer, an attribution method."""
    return lambda f: _register("explainers", id, f, title=title, needs=needs, sources=sources)


def adapter(id: str, *, title: str, sources: tuple[str, ...] = ()) -> Callable[[F], F]:
    """Register the adapter of a kind of models: `f(model, dataset, spec) -> Model`."""
    return lambda f: _register("adapters", id, f, title=title, sources=sources)


def family(
    id: str,
    *,
    title: str,
    world: str,
    knobs: Mapping[str, float] | None = None,
    offers: Iterable[Offer] = (),
    promise: Callable[..., Any] | None = None,
    checks: Mapping[str, Mapping[str, Any]] | None = None,
    rows: int = 8000,
    sources: tuple[str, ...] = (),
) -> Callable[[F], F]:
    """Register a family of reference models: `f(data, *, seed, device, options) -> Reference` trains one.

    world, knobs: the planted world it is trained and judged on. offers: beside what every torch module offers. promise:
    `f(model, data, world) -> Iterator[Promise]`, what a trained model of the family keeps (see audit.models.promises).
    checks: parameters of checks, by id, that its audits in the world have. rows: drawn to train one, where nobody says otherwise.
    """
    facts: dict[str, Any] = {
        "world": world,
        "knobs": dict(knobs or {}),
        "offers": frozenset(offers),
        "promise": promise,
        "rows": rows,
    }
    facts["checks"] = {id: dict(params) for id, params in (checks or {}).items()}
    return lambda f: _register("families", id, f, title=title, sources=sources, facts=facts)


def world(id: str, *, title: str, sources: tuple[str, ...] = ()) -> Callable[[F], F]:
    """Register a planted world: `f(*, knobs) -> World`."""
    return lambda f: _register("worlds", id, f, title=title, sources=sources)


def renderer(id: str, *, title: str, sources: tuple[str, ...] = ()) -> Callable[[F], F]:
    """Register a renderer: `f(report) -> str`."""
    return lambda f: _register("renderers", id, f, title=title, sources=sources)


def entries(kind: Kind) -> Mapping[str, Entry]:
    """All that is registered of one kind, sorted by id; the first call imports the rooms and the plug-ins."""
    if kind not in _seen:
        for room in ROOMS[kind]:
            package = importlib.import_module(room)
            for module in pkgutil.walk_packages(package.__path__, f"{room}."):
                importlib.import_module(module.name)
        for plugin in entry_points(group="audit.plugins"):
            try:
                plugin.load()
            except Exception as error:
                raise UsageError(f"the plug-in {plugin.name} ({plugin.value}) cannot be loaded: {error}") from error
        _seen.add(kind)
    return dict(sorted(_entries[kind].items()))


def run_check(entry: Entry, subject: Subject, context: Context, params: Mapping[str, Any]) -> Iterator[Evidence]:
    """Start a check with its parameters; the evidence comes as it is found."""
    result: Iterator[Evidence] = entry.function(subject, context, **params)
    return result
