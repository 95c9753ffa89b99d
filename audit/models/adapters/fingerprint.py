"""A hash of a fitted estimator that neither writes nor reads a pickle."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np


def fingerprint(estimator: Any) -> str:
    """SHA-256 over the class names, parameters and fitted attributes of an estimator, arrays by their bytes.

    What is neither a number, text, array, container nor an object with attributes counts by the name of its type.
    """
    total = hashlib.sha256()
    _feed(total.update, estimator, frozenset())
    return total.hexdigest()


def _feed(update: Any, value: Any, above: frozenset[int]) -> None:
    update(f"<{type(value).__module__}.{type(value).__qualname__}>".encode())
    if id(value) in above:
        return
    above |= {id(value)}
    if isinstance(value, str | int | float | bool | bytes | np.generic | None):
        update(repr(value).encode())
    elif hasattr(value, "__array__") and not isinstance(value, np.ndarray):
        _feed(update, np.asarray(value), above)  # an index or a column, whose caches are no part of the model
    elif isinstance(value, np.ndarray) and not value.dtype.hasobject:
        update(f"{value.dtype} {value.shape}".encode())
        update(np.ascontiguousarray(value).tobytes())
    elif isinstance(value, Mapping):
        for key in sorted(value, key=repr):
            _feed(update, key, above)
            _feed(update, value[key], above)
    elif isinstance(value, list | tuple | np.ndarray):
        for each in value.ravel().tolist() if isinstance(value, np.ndarray) else value:
            _feed(update, each, above)
    elif not isinstance(value, type):
        _feed(update, _attributes(value), above)


def _attributes(value: Any) -> dict[str, Any]:
    """The attributes of an object; compiled ones (trees, say) give theirs as their state."""
    if hasattr(value, "__dict__"):
        return dict(vars(value))
    try:
        state = value.__getstate__()
    except (AttributeError, TypeError):
        return {}
    return state if isinstance(state, dict) else {}
