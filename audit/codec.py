"""The one door to pydantic: TOML to Spec, Report to JSON and back, and the JSON Schemas of both."""

from __future__ import annotations

import difflib
import functools
import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from audit.core import ConfigError, RecordError, Report, Spec

_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)
SCHEMA_ID = "https://json-schema.org/draft/2020-12/schema"
_SINGULAR = {"gate": "[[gate]]", "not_tested": "[[not_tested]]"}


@functools.cache
def _adapter(noun: type) -> TypeAdapter[Any]:
    _forbid_unknown_keys(noun)
    return TypeAdapter(noun)


def _forbid_unknown_keys(noun: type) -> None:
    """Tell pydantic to refuse unknown keys in every dataclass of core, which itself knows nothing of pydantic."""
    import audit.core as core

    for member in vars(core).values():
        if isinstance(member, type) and is_dataclass(member):
            member.__pydantic_config__ = _STRICT  # type: ignore[attr-defined]


# ------------------------------------------------------------------------------------------------ the record
def dumps(report: Report) -> str:
    """The record as canonical JSON: two-space indent, keys in the order of the nouns, a final newline."""
    return _adapter(Report).dump_json(report, indent=2).decode() + "\n"


def loads(text: str, origin: str = "record") -> Report:
    """The Report in a JSON text; raises RecordError that names `origin` and the damaged path."""
    try:
        report: Report = _adapter(Report).validate_json(text)
    except ValidationError as error:
        lines = [f"{_path(problem['loc'])}: {problem['msg']}" for problem in error.errors()[:8]]
        raise RecordError(f"{origin} is not a record of this version (schema 1): " + "; ".join(lines)) from None
    return report


def schema(noun: type[Report] | type[Spec]) -> dict[str, Any]:
    """The JSON Schema (2020-12) of the record or of the configuration."""
    document = _adapter(noun).json_schema(mode="serialization" if noun is Report else "validation")
    return {"$schema": SCHEMA_ID, **document}
