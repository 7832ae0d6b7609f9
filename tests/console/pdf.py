"""What a PDF of chromium says: its pages, and the text that a reader would copy out of it."""

from __future__ import annotations

import re
import unicodedata
import zlib

__all__ = ["page_count", "text_of"]

_OBJECT = re.compile(rb"(\d+) 0 obj\s")
_END = re.compile(rb"endobj|stream\r?\n")
_RANGE = re.compile(rb"<([0-9A-Fa-f]+)>\s*<([0-9A-Fa-f]+)>\s*<([0-9A-Fa-f]+)>")
_CHAR = re.compile(rb"<([0-9A-Fa-f]+)>\s*<([0-9A-Fa-f]+)>")


def page_count(pdf: bytes) -> int:
    """How many pages it has."""
    return len(re.findall(rb"/Type\s*/Page\b(?!s)", pdf))


def text_of(pdf: bytes) -> str:
    """Its text in the order of drawing, without any white space: words are placed by coordinates, not by spaces."""
    objects, said = _objects(pdf), []
    for body in objects.values():
        if not re.search(rb"/Type\s*/Page\b(?!s)", body):
            continue
        resources = _resolved(objects, re.search(rb"/Resources (\d+) 0 R", body), body)
        fonts = {name: _glyphs(objects, int(number)) for name, number in re.findall(rb"/(F\d+) (\d+) 0 R", resources)}
        contents = re.search(rb"/Contents (\d+) 0 R", body)
        assert contents is not None
        said.append(_drawn(objects[int(contents[1])], fonts))
    return re.sub(r"\s+", "", unicodedata.normalize("NFKC", "".join(said)))


def _objects(pdf: bytes) -> dict[int, bytes]:
    """Each object by its number, its stream unpacked behind its dictionary. A stream is as long as it says: its bytes
    may look like anything."""
    found, at = {}, 0
    while (start := _OBJECT.search(pdf, at)) is not None:
        end = _END.search(pdf, start.end())
        assert end is not None
        body, at = pdf[start.end() : end.start()], end.end()
        if end[0] != b"endobj":
            length = re.search(rb"/Length (\d+)", body)
            assert length is not None
            at += int(length[1])
            content = pdf[end.end() : at]
            body += zlib.decompress(content) if b"/FlateDecode" in body else content
        found[int(start[1])] = body
    return found


def _resolved(objects: dict[int, bytes], found: re.Match[bytes] | None, other: bytes) -> bytes:
    return objects[int(found[1])] if found else other


def _glyphs(objects: dict[int, bytes], font: int) -> dict[int, str]:
    """The characters of a font's glyphs, from its ToUnicode map."""
    found = re.search(rb"/ToUnicode (\d+) 0 R", objects[font])
    if found is None:
        return {}
    cmap, glyphs = objects[int(found[1])], {}
    for block in re.findall(rb"beginbfrange(.*?)endbfrange", cmap, re.DOTALL):
        for low, high, first in _RANGE.findall(block):
            for at in range(int(low, 16), int(high, 16) + 1):
                glyphs[at] = chr(int(first, 16) + at - int(low, 16))
    for block in re.findall(rb"beginbfchar(.*?)endbfchar", cmap, re.DOTALL):
        for glyph, text in _CHAR.findall(block):
            glyphs[int(glyph, 16)] = bytes.fromhex(text.decode()).decode("utf-16-be")
    return glyphs


def _drawn(content: bytes, fonts: dict[bytes, dict[int, str]]) -> str:
    now: dict[int, str] = {}
    said = []
    for font, drawn in re.findall(rb"/(F\d+) [\d.]+ Tf|(<[0-9A-Fa-f]+>)", content):
        if font:
            now = fonts.get(font, {})
        else:
            glyphs = bytes.fromhex(drawn[1:-1].decode())
            said += [now.get(int.from_bytes(glyphs[at : at + 2], "big"), "") for at in range(0, len(glyphs), 2)]
    return "".join(said)
