"""Content-addressed objects: bytes under their SHA-256, written once, never changed."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pilotage.errors import IntegrityError, NotFound
from pilotage.kernel.digests import digest

__all__ = ["Objects", "write_durably"]


def write_durably(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Write a file so that it is there whole or not at all, also after a power cut (temp file, sync, rename, sync)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@dataclass(frozen=True, kw_only=True)
class Objects:
    """A folder of objects, `sha256/ab/abcdef...`."""

    root: Path

    def path(self, name: str) -> Path:
        """Where the object of a digest lies."""
        value = name.removeprefix("sha256:")
        return self.root / "sha256" / value[:2] / value

    def put(self, content: bytes) -> str:
        """Store bytes durably and return their digest; storing the same bytes again changes nothing."""
        name = digest(content)
        if not self.path(name).exists():
            write_durably(self.path(name), content, mode=0o400)
        return name

    def get(self, name: str) -> bytes:
        """The bytes of a digest. Raises NotFound, or IntegrityError when the file does not match its name."""
        try:
            content = self.path(name).read_bytes()
        except FileNotFoundError:
            raise NotFound("no such object", got=name, mend="restore it from a backup of the objects folder") from None
        if digest(content) != name:
            raise IntegrityError(
                f"object {self.path(name)} was changed", got=digest(content), expected=name, mend="restore it"
            )
        return content
