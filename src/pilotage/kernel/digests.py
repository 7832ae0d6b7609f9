"""Content digests: `sha256:` and 64 hexadecimal digits, everywhere."""

from __future__ import annotations

import hashlib
from pathlib import Path

__all__ = ["digest", "file_digest", "short"]


def digest(content: bytes) -> str:
    """The digest of bytes, as `sha256:<hex>`."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def file_digest(path: Path) -> str:
    """The digest of a file's bytes, as `sha256:<hex>`, read in pieces."""
    with path.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


def short(value: str) -> str:
    """The first 12 hexadecimal digits of a digest, for people to read."""
    return value.removeprefix("sha256:")[:12]
