"""What is written from the code: a page for every check, the page of the zoo, and the JSON Schemas; `python -m audit.workflows.docs` writes them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from audit import codec, registry
from audit.core import Report, Spec
from audit.registry import Entry
from audit.workflows import zoo_page

ROOT = Path(__file__).resolve().parents[2]


def page(entry: Entry) -> str:
    """The Markdown page of a check: its docstring, what it needs, its parameters, its sources."""
    needs = ", ".join(sorted(entry.needs)) or "nothing"
    lines = [
        f"# {entry.id}",
        "",
        f"{entry.title}" + ("" if entry.title.endswith("?") else "."),
        "",
        entry.doc,
        "",
        f"**Needs**: {needs}",
        "",
    ]
    if entry.params:
        lines += ["| parameter | default |", "| --- | --- |"]
        lines += [f"| `{name}` | `{default!r}` |" for name, default in entry.params.items()]
        lines += ["", "Set them in audit.toml:", "", "```toml", f'[checks."{entry.id}"]']
        lines += [f"{name} = {_toml(default)}" for name, default in entry.params.items()]
        lines += ["```", ""]
    if entry.volatile:
        lines += ["It measures the run itself: two equal runs differ in its figures.", ""]
    if entry.sources:
        lines += [f"**Sources** (keys of references.bib): {', '.join(entry.sources)}", ""]
    return "\n".join(lines)


def _toml(value: object) -> str:
    if value is None:
        return '"..."'
    if isinstance(value, tuple):
        return json.dumps(list(value))
    return json.dumps(value)


def pages() -> Mapping[Path, str]:
    """Every generated file, by its path below the repository's root."""
    checks = registry.entries("checks")
    index = ["# Checks", "", "| check | question |", "| --- | --- |"]
    index += [f"| [{id}]({id}.md) | {entry.doc.splitlines()[0] if entry.doc else ''} |" for id, entry in checks.items()]
    folder = Path("docs") / "checks"
    schemas = {"audit.schema.json": Report, "audit.config.schema.json": Spec}
    return {
        folder / "README.md": "\n".join(index) + "\n",
        **{folder / f"{id}.md": page(entry) for id, entry in checks.items()},
        **zoo_page.pages(),
        **{Path(name): json.dumps(codec.schema(noun), indent=2) + "\n" for name, noun in schemas.items()},
    }


if __name__ == "__main__":
    for path, text in pages().items():
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_text(text, encoding="utf-8")
