"""What the journal asks of a disk. A port, because durability is tested on a disk that forgets what was not synced."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

__all__ = ["Disk", "OsDisk"]


class Disk(Protocol):
    """The few file operations of the journal; every one may raise OSError.

    Called from several threads, one file by one thread at a time. What `sync` and `sync_folder` returned from is
    kept when the power is cut; nothing else is promised.
    """

    def create(self, path: Path) -> int:
        """A descriptor of a new or emptied file, mode 0600, for reading and writing."""
        ...

    def reopen(self, path: Path) -> int:
        """A descriptor of a file that is there, for reading and writing."""
        ...

    def write(self, descriptor: int, content: bytes, offset: int) -> None:
        """Write all of the content at an offset."""
        ...

    def sync(self, descriptor: int) -> None:
        """Return when the file's content and size are on the disk."""
        ...

    def truncate(self, path: Path, size: int) -> None:
        """Cut a file to a size and sync it."""
        ...

    def rename(self, old: Path, new: Path) -> None:
        """Give a file another name in the same folder."""
        ...

    def remove(self, path: Path) -> None:
        """Remove a file, if it is there."""
        ...

    def sync_folder(self, path: Path) -> None:
        """Return when the names in the folder are on the disk."""
        ...

    def close(self, descriptor: int) -> None:
        """Give the descriptor back; syncs nothing."""
        ...


class OsDisk:
    """The operating system's disk."""

    def create(self, path: Path) -> int:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)

    def reopen(self, path: Path) -> int:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def write(self, descriptor: int, content: bytes, offset: int) -> None:
        written = os.pwrite(descriptor, content, offset)
        while written < len(content):
            more = os.pwrite(descriptor, memoryview(content)[written:], offset + written)
            if more == 0:
                raise OSError(f"wrote {written} of {len(content)} bytes")
            written += more

    def sync(self, descriptor: int) -> None:
        os.fdatasync(descriptor)

    def truncate(self, path: Path, size: int) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.ftruncate(descriptor, size)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def rename(self, old: Path, new: Path) -> None:
        old.rename(new)

    def remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def sync_folder(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def close(self, descriptor: int) -> None:
        os.close(descriptor)
