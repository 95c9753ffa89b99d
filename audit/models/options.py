"""Options of families: whether a value is of the kind that the family's function declares."""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

from audit.core import UsageError, suggest
from audit.data.tables import listed


def whole(name: str, value: Any, least: int = 1) -> None:
    """Raises UsageError unless the value is a whole number from `least` on."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise UsageError(f"{name}: a whole number from {least} on, got {value!r}")


def share(name: str, value: Any) -> float:
    """The value as a number; raises UsageError unless it lies in [0, 1)."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise UsageError(f"{name}: a number in [0, 1), got {value!r}")
    return float(value)


def check_options(id: str, function: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Raises UsageError for a value of another kind than the function declares, naming what is allowed and what came.

    Declared kinds, not defaults: a default of None tells nothing. Numbers must be finite.
    """
    hints = typing.get_type_hints(function)
    for name, value in options.items():
        if not _fits(hints[name], value):
            words = _choices(hints[name])
            hint = suggest(value, words) if isinstance(value, str) else ""
            raise UsageError(f"{id}: option {name}: must be {_words(hints[name])}, got {value!r}{hint}")


def _fits(hint: Any, value: Any) -> bool:
    kind, parts = typing.get_origin(hint), typing.get_args(hint)
    if kind in (typing.Union, types.UnionType):
        return any(_fits(each, value) for each in parts)
    if kind is typing.Literal:
        return isinstance(value, str) and value in parts
    if kind is Sequence:
        return isinstance(value, list | tuple) and all(_fits(parts[0], each) and _wide(each) for each in value)
    if kind is Mapping:
        return isinstance(value, Mapping) and all(_fits(parts[0], k) and _fits(parts[1], v) for k, v in value.items())
    if hint is float:
        return not isinstance(value, bool) and isinstance(value, Real) and math.isfinite(float(value))
    if hint is int:
        return not isinstance(value, bool) and isinstance(value, Integral)
    return isinstance(value, hint)


def _wide(value: Any) -> bool:
    """Lists of whole numbers are widths of layers."""
    return not isinstance(value, Integral) or int(value) >= 1


def _choices(hint: Any) -> list[str]:
    parts = typing.get_args(hint)
    if typing.get_origin(hint) is typing.Literal:
        return list(parts)
    return [word for part in parts for word in _choices(part)]


def _words(hint: Any) -> str:
    kind, parts = typing.get_origin(hint), typing.get_args(hint)
    if kind in (typing.Union, types.UnionType):
        return " or ".join(_words(each) for each in parts)
    if kind is typing.Literal:
        return f"one of {listed(parts)}"
    if kind is Sequence:
        return "a list of " + ("whole numbers from 1 on" if parts[0] is int else "texts")
    if kind is Mapping:
        return "a table by name"
    named = {float: "a finite number", int: "a whole number", bool: "true or false", str: "a text"}
    return named.get(hint, "none")
