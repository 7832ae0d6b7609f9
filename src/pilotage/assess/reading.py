"""Reading what a stranger wrote: bounded, never through a link, never printed raw."""

from __future__ import annotations

import bz2
import codecs
import io
import lzma
import os
import re
import stat
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

__all__ = ["MAX_BYTES", "decoded", "insides", "lines_of", "read_bytes", "shown", "unpacked"]

MAX_BYTES = 64 << 20
_MAX_MEMBERS = 200
_OPEN = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
_LZMA_MEMORY = 256 << 20


def read_bytes(path: Path, limit: int = MAX_BYTES, *, start: int = 0) -> bytes:
    """Up to `limit` bytes of a regular file. Raises OSError for a link, a pipe, a device, or one that is gone."""
    handle = os.open(path, _OPEN)
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError("not a regular file")
        file.seek(start)
        return file.read(limit)


def shown(text: str) -> str:
    """One line that a terminal can be given: control, format and broken characters are written as escapes."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode("ascii") for each in text)


def lines_of(text: str) -> list[str]:
    """Lines as Python's grammar counts them: a form feed or a line separator ends none."""
    lines = re.split(r"\r\n|\r|\n", text)
    return lines[:-1] if lines[-1] == "" else lines


def decoded(content: bytes, *, python: bool) -> str | None:
    """Text by its byte order mark, as UTF-8, by Python's coding line, or, where it is no Python, as Latin-1.

    None for what is none of these: bytes with a NUL, or Python that Python itself refuses.
    """
    for mark, name in (
        (codecs.BOM_UTF8, "utf-8-sig"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if content.startswith(mark):
            return _as(content, name)
    text = _as(content, "utf-8")
    if text is not None or (not python and b"\0" in content):
        return text
    if not python:
        return content.decode("latin-1")
    try:
        name, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
    except (SyntaxError, LookupError):
        return None
    return _as(content, name)


def _as(content: bytes, encoding: str) -> str | None:
    try:
        return content.decode(encoding)
    except (UnicodeError, LookupError):
        return None


def unpacked(content: bytes) -> bytes:
    """The bytes inside gzip, zlib, bzip2 or xz, up to 64 MiB; others as they are. Never raises: a torn end is cut."""
    try:
        if content[:2] == b"\x1f\x8b":
            return zlib.decompressobj(31).decompress(content, MAX_BYTES)
        if content[:1] == b"\x78" and content[1:2] in (b"\x01", b"\x5e", b"\x9c", b"\xda"):
            return zlib.decompressobj(15).decompress(content, MAX_BYTES)
        if content[:3] == b"BZh":
            return bz2.BZ2Decompressor().decompress(content, MAX_BYTES)
        if content[:6] == b"\xfd7zXZ\0" or content[:3] == b"\x5d\0\0":
            return lzma.LZMADecompressor(memlimit=_LZMA_MEMORY).decompress(content, MAX_BYTES)
    except (zlib.error, OSError, EOFError, ValueError, lzma.LZMAError):
        return content
    return content


def insides(content: bytes) -> Iterator[bytes]:
    """What lies inside a file: its unpacked bytes, or the members of a zip (npz, keras, pt, docx), 64 MiB in all."""
    if content[:4] != b"PK\x03\x04":
        yield unpacked(content)
        return
    left = MAX_BYTES
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for member in archive.infolist()[:_MAX_MEMBERS]:
                if left <= 0:
                    return
                with archive.open(member) as file:
                    inside = file.read(left)
                left -= len(inside)
                yield inside
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, RuntimeError):
        return
