"""A picture outside a page: it brings its own style, shows itself in a notebook, and can be saved."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup, escape

from audit.core import Table, UsageError
from audit.drawing import format as fmt
from audit.drawing.pictures import draw

_SHADES = "".join(
    f".audit .{kind}{level}{{fill:{colour};fill-opacity:{level / 9:.2f};background:rgba({rgb},{level / 9:.2f})}}"
    for kind, colour, rgb in (("up", "#b2182b", "178,24,43"), ("down", "#2166ac", "33,102,172"))
    for level in range(1, 5)
)
STYLE = (
    ".audit{font:14px system-ui,sans-serif;max-width:34rem;color:#1d1c1a;background:#fff;padding:.5rem}"
    ".audit svg{width:100%;height:auto}.audit svg text{font-size:11px;fill:#1d1c1a}.audit svg .l{text-anchor:end}.audit svg .l.l1{font-size:10px}.audit svg .l.l2{font-size:9px}"
    ".audit svg .t{text-anchor:middle;fill:#5b5750}.audit svg path{fill:none}.audit svg .g{stroke:#d8d2c4;stroke-width:.75}"
    ".audit svg .r{stroke:#5b5750}.audit svg .w{stroke:#1d1c1a;stroke-width:1.5}.audit svg .c{stroke:#2f5d86;stroke-width:1.75}.audit svg .t.e{text-anchor:end}.audit svg .l2{font-size:9px}.audit svg .b{fill:#6f97ba}.audit svg .k{font-weight:600}.audit svg .u{fill:#5b5750;font-style:italic}"
    ".audit svg .up,.audit svg .s3{fill:#b2182b}.audit svg .down,.audit svg .s0,.audit svg .sn{fill:#2166ac}"
    ".audit svg .s1{fill:#6e4d7f}.audit svg .s2{fill:#8a3b62}.audit .tok{padding:2px 4px;line-height:2}"
    '.audit .tok[class*="down"]{text-decoration:underline dotted #2166ac 2px}'
    ".audit svg .h{fill:#fff;stroke:#5b5750;stroke-width:1.5}.audit svg .tie{fill-opacity:.6}.audit svg .t.b{text-anchor:start}"
    ".audit img{width:14rem;image-rendering:pixelated;border:1px solid #d8d2c4}" + _SHADES
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """A picture with its caption; `markup` is SVG or HTML without any script."""

    title: str
    markup: Markup
    note: str = ""

    def _repr_html_(self) -> str:
        note = f"<p>{escape(fmt.one_line(self.note))}</p>" if self.note else ""
        caption = f"<p><b>{escape(fmt.one_line(self.title))}</b></p>"
        return f'<div class="audit"><style>{STYLE}</style>{caption}{self.markup}{note}</div>'

    def save(self, path: str | Path) -> None:
        """Write the picture as a page of its own (HTML, UTF-8); raises UsageError for another suffix."""
        if Path(path).suffix.lower() not in (".html", ".htm"):
            raise UsageError(f"a drawing is saved as a page: a name that ends in .html, got {str(path)!r}")
        title = escape(fmt.one_line(self.title))
        head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        Path(path).write_text(f"{head}<body>{self._repr_html_()}</body></html>", "utf-8")


def drawing(table: Table) -> Drawing:
    """The picture of a table that is made for one."""
    nothing = Markup("<p>nothing to draw: undefined</p>")
    return Drawing(title=table.title, markup=draw(table) or nothing, note=table.note)
