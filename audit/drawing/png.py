"""The smallest picture file: rows of colours as a PNG in a data URI."""

from __future__ import annotations

import base64
import re
import struct
import zlib
from collections.abc import Sequence

Colour = tuple[int, int, int]


def png(pixels: Sequence[Sequence[Colour]]) -> bytes:
    """Rows of (red, green, blue) from 0 to 255 as a PNG file; every row has the same length, 1 or more."""
    height, width = len(pixels), len(pixels[0])
    raw = b"".join(b"\0" + bytes(part for colour in row for part in colour) for row in pixels)
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = (_chunk(b"IHDR", head), _chunk(b"IDAT", zlib.compress(raw, 9)), _chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def data_uri(pixels: Sequence[Sequence[Colour]]) -> str:
    """The same as the address of an image inside a page."""
    return "data:image/png;base64," + base64.b64encode(png(pixels)).decode("ascii")


def colour(text: object) -> Colour | None:
    """What #rrggbb says; None for anything else."""
    if not isinstance(text, str) or not re.fullmatch("#[0-9a-f]{6}", text):
        return None
    red, green, blue = bytes.fromhex(text[1:])
    return red, green, blue


def grey(share: float) -> Colour:
    """From black (0) to white (1)."""
    level = round(255 * min(max(share, 0.0), 1.0))
    return level, level, level


def diverging(share: float) -> Colour:
    """From blue (-1) over near white (0) to red (1)."""
    low, middle, high = (33, 102, 172), (247, 247, 247), (178, 24, 43)
    end, depth = (high, share) if share >= 0 else (low, -share)
    depth = min(depth, 1.0)
    red, green, blue = (round(m + (e - m) * depth) for m, e in zip(middle, end, strict=True))
    return red, green, blue
