"""References: a small reader of BibTeX, and each source as one line of print."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from pathlib import Path

_HERE = Path(__file__).resolve().parent
_ROOT = _HERE if (_HERE / "templates").exists() else _HERE.parents[1]
TEMPLATES = _ROOT / "templates"
_ENTRY = re.compile(r"@(\w+)\s*\{\s*([^,\s]+)\s*,")
_FIELD = re.compile(r"\s*,?\s*([\w-]+)\s*=\s*")
_ACCENTS = {
    '\\"a': "ä",
    '\\"o': "ö",
    '\\"u': "ü",
    "\\'e": "é",
    "\\'a": "á",
    "\\'o": "ó",
    "\\`e": "è",
    "\\&": "&",
    "~": " ",
    "--": "–",
}


def bibliography(text: str) -> Mapping[str, Mapping[str, str]]:
    """The fields of every entry of a BibTeX text under its key, braces and common accents resolved."""
    entries: dict[str, Mapping[str, str]] = {}
    for found in _ENTRY.finditer(text):
        fields, place = {}, found.end()
        while field := _FIELD.match(text, place):
            content, place = _content(text, field.end())
            fields[field.group(1).lower()] = _plain(content)
        entries[found.group(2)] = fields
    return entries


def _content(text: str, start: int) -> tuple[str, int]:
    """A field's content, in braces (nested) or quotes or bare, and the place behind it."""
    if text[start : start + 1] == '"':
        end = text.find('"', start + 1)
        return (text[start + 1 : end], end + 1) if end > 0 else (text[start + 1 :], len(text))
    if text[start : start + 1] != "{":
        end = min(
            (p for p in (text.find(",", start), text.find("}", start), text.find("\n", start)) if p >= 0),
            default=len(text),
        )
        return text[start:end], end
    depth = 0
    for place in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return text[start + 1 : place], place + 1
    return text[start + 1 :], len(text)


def _plain(content: str) -> str:
    text = content.replace("{", "").replace("}", "")
    for written, meant in _ACCENTS.items():
        text = text.replace(written, meant)
    return " ".join(text.split())


def cite(key: str, entries: Mapping[str, Mapping[str, str]]) -> str:
    """Author (year). Title. Where it appeared; the key itself where the bibliography lacks it."""
    fields = entries.get(key)
    if fields is None:
        return key
    place = next(
        (
            fields[name]
            for name in ("journal", "booktitle", "publisher", "institution", "howpublished")
            if name in fields
        ),
        "",
    )
    year = f" ({fields['year']})" if "year" in fields else ""
    link = f"doi:{fields['doi']}" if "doi" in fields else fields.get("url", "")
    parts = [
        f"{_authors(fields.get('author', fields.get('organization', '')))}{year}".strip(),
        fields.get("title", ""),
        place,
        link,
    ]
    return ". ".join(part.rstrip(".") for part in parts if part) + "."


def _authors(field: str) -> str:
    """Family names: "Hardt, Moritz and Price, Eric" is "Hardt and Price"; more than three are "Hardt et al."."""
    names = [name.partition(",")[0].strip() if "," in name else name.strip() for name in re.split(r"\s+and\s+", field)]
    if len(names) > 3:
        return f"{names[0]} et al."
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]


@functools.cache
def shipped() -> Mapping[str, Mapping[str, str]]:
    """The bibliography that comes with the package; empty where it is missing."""
    path = _ROOT / "references.bib"
    return bibliography(path.read_text("utf-8")) if path.exists() else {}
