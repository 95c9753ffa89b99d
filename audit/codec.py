"""The one door to pydantic: TOML to Spec, Report to JSON and back, and the JSON Schemas of both."""

from __future__ import annotations

import functools
import json
import tomllib
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

import audit.core as core
from audit.core import Calibration, ConfigError, Gate, ModelSpec, RecordError, Report, Spec, suggest

_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)
SCHEMA_DIALECT = "https://json-schema.org/draft/2020-12/schema"
TEMPLATES = ("full",)


@functools.cache
def _adapter(noun: type) -> TypeAdapter[Any]:
    """Pydantic's view of a noun; unknown keys are refused in every noun, which itself knows nothing of pydantic."""
    for member in vars(core).values():
        if isinstance(member, type) and is_dataclass(member):
            member.__pydantic_config__ = _STRICT  # type: ignore[attr-defined]
    return TypeAdapter(noun)


# ------------------------------------------------------------------------------------------------ the record
def dumps(report: Report) -> str:
    """The record as canonical JSON: two-space indent, keys in the order of the nouns, a final newline."""
    return _adapter(Report).dump_json(report, indent=2).decode() + "\n"


def loads(text: str | bytes, origin: str = "record") -> Report:
    """The Report in a JSON text; raises RecordError that names `origin` and the damaged places."""
    try:
        report: Report = _adapter(Report).validate_json(text)
    except ValidationError as error:
        problems = [f"{_dotted(problem['loc'])}: {problem['msg']}" for problem in error.errors()[:5]]
        raise RecordError(f"{origin}: not a record of schema 1: " + "; ".join(problems)) from None
    return report


def read_record(path: Path) -> Report:
    """The Report in a result.json; raises RecordError."""
    try:
        return loads(path.read_bytes(), str(path))
    except OSError as error:
        raise RecordError(f"{path}: cannot be read ({error.strerror}); give the result.json of an audit") from None


def dump(calibration: Calibration) -> str:
    """A calibration as JSON, with a final newline."""
    return _adapter(Calibration).dump_json(calibration, indent=1).decode() + "\n"


def read_calibration(path: Path) -> Calibration:
    """The Calibration in a file that `audit calibrate` wrote; raises RecordError."""
    try:
        found: Calibration = _adapter(Calibration).validate_json(path.read_bytes())
    except OSError as error:
        raise RecordError(f"{path}: cannot be read ({error.strerror})") from None
    except ValidationError as error:
        problems = [f"{_dotted(problem['loc'])}: {problem['msg']}" for problem in error.errors()[:5]]
        raise RecordError(f"{path}: not a calibration of schema 1: " + "; ".join(problems)) from None
    sizes = {name: getattr(found, name) for name in ("seeds", "audits", "rows")}
    numbers = [x for f in found.figures for x in (f.truth, f.read, f.bias, f.error, f.within)]
    if min(sizes.values()) < 1 or not found.figures or not all(abs(x) < 1e12 for x in numbers):
        raise RecordError(
            f"{path}: a calibration has figures below 1e12 and {', '.join(sizes)} of 1 or more, got {sizes}"
        )
    return found


def schema(noun: type) -> dict[str, Any]:
    """The JSON Schema (2020-12) of the record or of the configuration."""
    mode: typing.Literal["validation", "serialization"] = "serialization" if noun is Report else "validation"
    return {"$schema": SCHEMA_DIALECT, **_adapter(noun).json_schema(mode=mode)}


# ----------------------------------------------------------------------------------------- the configuration
def read_spec(path: Path) -> Spec:
    """The Spec in audit.toml, or in [tool.audit] of pyproject.toml; raises ConfigError with every mistake."""
    return spec_from_mapping(_document(path), str(path))


def _document(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        hint = "" if path.exists() else "; `audit init` writes one"
        raise ConfigError(f"{path}: cannot be read ({error.strerror}){hint}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: must be UTF-8 text, byte {error.start} is not") from None
    return _parsed(text, str(path))


def spec_from_toml(text: str, origin: str = "audit.toml") -> Spec:
    """The Spec in a TOML text; raises ConfigError that lists every mistake with the nearest allowed word."""
    return spec_from_mapping(_parsed(text, origin), origin)


def _parsed(text: str, origin: str) -> dict[str, Any]:
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{origin}: not valid TOML: {error}") from None
    if Path(origin).name == "pyproject.toml":
        document = document.get("tool", {}).get("audit", {})
        if not document:
            raise ConfigError(f"{origin}: has no [tool.audit] table; allowed: the tables of audit.toml beneath it")
    return document


def spec_from_mapping(document: Mapping[str, Any], origin: str) -> Spec:
    """The Spec in nested mappings shaped like audit.toml; raises ConfigError with every mistake."""
    try:
        text = json.dumps(_reshape(document), default=str)
        spec: Spec = _adapter(Spec).validate_json(text, strict=True)
    except ValidationError as error:
        mistakes = list(dict.fromkeys(_mistake(problem) for problem in error.errors()))
    else:
        return validate(spec, origin)
    raise ConfigError("\n".join(f"{origin}: {mistake}" for mistake in mistakes))


def read_gates(path: Path, judged: Spec) -> Spec:
    """The Spec of a record under the gates, baseline and min_n of another audit.toml, which need not say anything else.

    Raises ConfigError.
    """
    document = _document(path)
    asked = spec_from_mapping({"data": {"path": "-"}, **document}, str(path))
    min_n = asked.groups.min_n if "min_n" in document.get("groups", {}) else judged.groups.min_n
    return replace(judged, gate=asked.gate, baseline=asked.baseline, groups=replace(judged.groups, min_n=min_n))


def validate(spec: Spec, origin: str) -> Spec:
    """The Spec itself; raises ConfigError where its values contradict each other or are out of range."""
    if mistakes := _contradictions(spec):
        raise ConfigError("\n".join(f"{origin}: {mistake}" for mistake in mistakes))
    return spec


def _reshape(document: Mapping[str, Any]) -> dict[str, Any]:
    """audit.toml is kinder to the hand than the nouns: `by = "sex"`, and check parameters directly under [checks]."""
    shaped = dict(document)
    if isinstance(checks := shaped.get("checks"), Mapping):
        parameters = {key: value for key, value in checks.items() if key != "only"}
        shaped["checks"] = {"only": _listed(checks.get("only", [])), "params": parameters}
    if isinstance(gates := shaped.get("gate"), Sequence) and not isinstance(gates, str):
        shaped["gate"] = [
            {**gate, "by": _listed(gate["by"])} if isinstance(gate, Mapping) and "by" in gate else gate
            for gate in gates
        ]
    return shaped


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _dotted(location: Sequence[int | str]) -> str:
    return ".".join(str(part) for part in location) or "document"


def _section(location: Sequence[int | str]) -> str:
    """`[data] threshold`, `[[gate]] number 2 min`: a place as the author of a TOML file sees it."""
    head, *rest = location
    if head in ("gate", "not_tested") and rest and isinstance(rest[0], int):
        return " ".join([f"[[{head}]] number {rest[0] + 1}", *map(str, rest[1:])])
    if head == "checks" and rest[:1] == ["params"]:
        return f"[checks.{_dotted(rest[1:2])!r}] " + _dotted(rest[2:])
    return f"[{head}] {_dotted(rest)}" if rest else str(head)


def _mistake(problem: Any) -> str:
    location = [
        part
        for part in problem["loc"]
        if not (isinstance(part, str) and part.startswith(("tuple[", "float", "bool", "int", "str")))
    ]
    place = _section(location)
    if problem["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        allowed = _keys_at(location[:-1])
        return f"{place}: unknown key; allowed: {', '.join(allowed)}{suggest(str(location[-1]), allowed)}"
    if problem["type"] == "missing":
        return f"{place}: is missing; it must be given"
    came = json.dumps(problem["input"], default=str)
    hint = suggest(
        str(problem["input"]),
        str(problem.get("ctx", {}).get("expected", "")).replace("'", "").replace(" or ", ", ").split(", "),
    )
    return f"{place}: {problem['msg'].removeprefix('Input ').replace('an object', 'a table').replace('valid array', 'list').replace('valid ', '')}, got {came[:120]}{hint}"


def _keys_at(location: Sequence[int | str]) -> list[str]:
    """The keys that the noun at a place of the document allows."""
    noun: Any = Spec
    for part in location:
        if isinstance(part, int):
            continue
        noun = _dataclass_in(typing.get_type_hints(noun).get(part)) if is_dataclass(noun) else None
    return [entry.name for entry in fields(noun)] if noun is not None and is_dataclass(noun) else []


def _dataclass_in(hint: Any) -> Any:
    if isinstance(hint, types.GenericAlias | types.UnionType) or typing.get_origin(hint):
        return next((found for found in map(_dataclass_in, typing.get_args(hint)) if found is not None), None)
    return hint if is_dataclass(hint) else None


def _contradictions(spec: Spec) -> list[str]:
    """What no type can say: values out of range, and keys that need or exclude each other."""
    run, data, model, groups = spec.run, spec.data, spec.model, spec.groups
    rules = [
        (0 < run.confidence < 1, f"[run] confidence: must lie strictly between 0 and 1, got {run.confidence}"),
        (run.seed >= 0, f"[run] seed: must be 0 or more, got {run.seed}"),
        (run.max_seconds is None or run.max_seconds > 0, f"[run] max_seconds: must be above 0, got {run.max_seconds}"),
        (run.budget is None or run.budget > 0, f"[run] budget: must be above 0, got {run.budget}"),
        (groups.min_n >= 0, f"[groups] min_n: must be 0 or more, got {groups.min_n}"),
        (data.rows > 0, f"[data] rows: must be above 0, got {data.rows}"),
        (model.batch_size > 0, f"[model] batch_size: must be above 0, got {model.batch_size}"),
        (
            spec.report.suppress_below >= 0,
            f"[report] suppress_below: must be 0 or more, got {spec.report.suppress_below}",
        ),
        (
            sum(map(bool, (data.path, data.factory, data.world))) == 1,
            "[data]: give one of path (a file), factory (a function that returns a frame), world (a planted world)",
        ),
        (
            model.kind not in ("torch", "sklearn", "callable") or bool(model.factory or model.weights),
            f'[model] factory: kind {model.kind!r} needs it, as "package.module:function"',
        ),
        (model.kind != "oracle" or bool(data.world), "[model] kind: 'oracle' needs [data] world"),
        (run.threads is None or run.threads > 0, f"[run] threads: must be 1 or more, got {run.threads}"),
        *_needs_of(model, bool(data.world)),
        *(
            (
                name is None or name.count(":") == 1,
                f'[{table}] factory: must read "package.module:function", got {name!r}',
            )
            for table, name in (("model", model.factory), ("data", data.factory))
        ),
    ]
    mistakes = [message for holds, message in rules if not holds]
    mistakes += _unread(spec)
    mistakes += [
        f"[report] templates: allowed: {', '.join(TEMPLATES)}, got {template!r}"
        for template in spec.report.templates
        if template not in TEMPLATES
    ]
    named = [(f"intersect: entry {number}", name) for number, names in enumerate(groups.intersect, 1) for name in names]
    mistakes += [
        f"[groups] {place} names {name!r}; allowed: {', '.join(groups.attributes)}{suggest(name, groups.attributes)}"
        for place, name in [*named, *(("reference:", name) for name in groups.reference)]
        if groups.attributes and name not in groups.attributes
    ]
    for number, gate in enumerate(spec.gate, 1):
        mistakes += [f"[[gate]] number {number} {text}" for text in _gate_mistakes(gate)]
    return mistakes


def _needs_of(model: ModelSpec, in_a_world: bool) -> Iterator[tuple[bool, str]]:
    """What each kind of model must be told."""
    kind, http = model.kind, model.http
    if kind in ("xgboost", "lightgbm", "onnx"):
        yield bool(model.weights or model.factory), f"[model] weights: kind {kind!r} needs it, the file of the model"
    if kind == "transformers":
        yield bool(model.path), "[model] path: kind 'transformers' needs it, a local folder made by save_pretrained"
    if kind == "geometric":
        yield bool(model.factory), "[model] factory: kind 'geometric' needs it, as \"package.module:function\""
    if kind == "family":
        given = bool(model.path) or (bool(model.family) and in_a_world)
        yield given, "[model] path: kind 'family' needs it, or family together with [data] world"
    if kind == "http":
        yield http is not None, "[model.http] url: kind 'http' needs it; nothing is sent anywhere else"
    if http is not None:
        yield kind == "http", f"[model.http]: kind {kind!r} reads none; allowed with kind http"
        yield (
            http.url.startswith(("http://", "https://")),
            f"[model.http] url: must begin with http:// or https://, got {http.url!r}",
        )
        yield (
            "?" not in http.url,
            "[model.http] url: a query is kept in the record and may hold a key; name an environment variable in token",
        )
        yield http.timeout > 0, f"[model.http] timeout: must be above 0, got {http.timeout}"
        yield http.retries >= 0, f"[model.http] retries: must be 0 or more, got {http.retries}"
        yield http.concurrency > 0, f"[model.http] concurrency: must be above 0, got {http.concurrency}"
        yield http.queries is None or http.queries > 0, f"[model.http] queries: must be above 0, got {http.queries}"


def _unread(spec: Spec) -> Iterator[str]:
    """Keys that were given and that nothing would read: silence about them would mislead."""
    model, data, groups = spec.model, spec.data, spec.groups
    if model.kind in ("predictions", "counts", "oracle", "family", "http"):
        for name in ("factory", "weights", "sha256"):
            if getattr(model, name):
                yield f"[model] {name}: kind {model.kind!r} reads none; allowed with kind torch, sklearn, xgboost, lightgbm, onnx, callable"
    elif model.kind == "transformers" and model.sha256:
        yield "[model] sha256: kind 'transformers' reads a folder, not a file of weights"
    elif model.sha256 and not model.weights:
        yield "[model] sha256: is that of a file of weights; give [model] weights, or leave it out"
    if data.world:
        for name in ("label", "decision", "score", "weight", "features", "strata"):
            if getattr(data, name):
                yield f"[data] {name}: a planted world brings its own columns; leave it out"
    for name in sorted(set(data.strata) & set(groups.attributes)):
        yield f"[data] strata: {name!r} is a protected attribute as well; name it in one place"
    for number, names in enumerate(groups.intersect, 1):
        if len(set(names)) < 2 or len(set(names)) < len(names):
            yield f"[groups] intersect: entry {number} must name two or more different attributes, got {list(names)}"


def _gate_mistakes(gate: Gate) -> list[str]:
    if gate.min is None and gate.max is None:
        return ["min, max: at least one of them must be given"]
    if gate.min is not None and gate.max is not None and gate.min > gate.max:
        return [f"min: must not lie above max, got min {gate.min} and max {gate.max}"]
    return []
