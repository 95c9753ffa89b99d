"""A first audit.toml: commented, its columns guessed from a file, never over one that is there."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from audit import codec
from audit.core import OutputError

if TYPE_CHECKING:
    from audit.data.guess import Guess

HEAD = """\
# What is audited, from which data, and what was promised. `audit run` reads it; paths are relative to this file.
# Every key: docs/configuration.md; the schema for editors: `audit schema config`.
schema = 1

[system]
name = {name}
version = ""
purpose = ""                     # what it decides, about whom
owner = ""

[model]
kind = "predictions"             # predictions | counts | torch | sklearn | callable | oracle
# factory = "model:build"        # for torch, sklearn, callable: a function in model.py beside this file
# weights = "model.safetensors"

[data]
path = {path}
"""
GROUPS = """\
# intersect = [["sex", "race"]]  # combinations to examine beside each alone
# reference = { sex = "male" }   # default: the group that does best
min_n = 30                       # a figure on fewer cases is measured, but not judged
unknown = [""]                   # values that mean "not known"

[run]
seed = 0

"""
TAIL = """\
[[not_tested]]
topic = "attributes that the data do not hold"
why = "not collected"
"""
ROLES = (
    ("label", "the column of what really happened"),
    ("positive", "its value that counts as positive"),
    ("decision", "the column of recorded decisions, or a score and a threshold"),
    ("score", "the column of recorded scores"),
    ("weight", "the column of survey weights"),
)


def write(path: Path, source: Path | None) -> str:
    """Write a configuration to `path` and say what it holds; raises OutputError where a file is there, or DataError."""
    from audit.data.guess import guess

    if path.exists():
        raise OutputError(f"{path}: exists and is not overwritten; name another file, such as `audit init new.toml`")
    guesses = guess(source) if source else {}
    text = _text(guesses, source, path)
    codec.spec_from_toml(text, str(path))
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from None
    told = [f"wrote {path}"]
    told += [f"  {role} = {', '.join(map(repr, found.value))}: {found.reason}" for role, found in guesses.items()]
    if source and not guesses:
        told.append("  no column was recognised: fill in [data] and [groups] by hand")
    return "\n".join([*told, f"next: read it, then `audit run {path}`"])


def _text(guesses: Mapping[str, Guess], source: Path | None, target: Path) -> str:
    where = "predictions.csv" if source is None else os.path.relpath(source.resolve(), target.resolve().parent)
    name = "my system" if source is None else source.stem
    lines = [HEAD.format(name=json.dumps(name), path=json.dumps(Path(where).as_posix())).rstrip("\n")]
    for role, meaning in ROLES:
        if role in guesses:
            lines.append(f"{role} = {json.dumps(guesses[role].value[0])}  # {_comment(guesses[role].reason)}")
        else:
            lines.append(f'# {role} = "..."  # {meaning}')
    if "threshold" in guesses:
        lines.append(f"threshold = {float(guesses['threshold'].value[0])}  # {_comment(guesses['threshold'].reason)}")
    lines += [] if "threshold" in guesses else ["# threshold = 0.5"]
    lines.append("")
    attributes = guesses["attributes"].value if "attributes" in guesses else ()
    lines += ["[groups]", f"attributes = {json.dumps(list(attributes))}  # protected attributes", GROUPS]
    lines += [_gate(attribute) for attribute in attributes]
    return "\n".join([*lines, TAIL])


def _comment(text: str) -> str:
    return " ".join(text.split())


def _gate(attribute: str) -> str:
    return f"""\
[[gate]]                         # a promise; choose the limits before you look at the result
check = "fairness.impact_ratio"
measure = "impact_ratio"
by = {json.dumps(attribute)}
min = 0.80
required = true
why = "four-fifths screen, 29 CFR 1607.4(D)"
"""
