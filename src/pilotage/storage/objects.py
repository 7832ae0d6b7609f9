"""Content-addressed objects: bytes under their SHA-256, written once, never changed."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pilotage.errors import IntegrityError, NotFound
from pilotage.kernel.digests import digest, file_digest

__all__ = ["Objects", "new_name", "write_all_durably", "write_durably"]

_T = TypeVar("_T")
_PIECE = 1 << 20
_SYNCS = 8
"""Syncs under way at once: those of one moment share a write of the file system's own journal."""


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
    _sync_folder(path.parent)


def write_all_durably(files: Mapping[Path, bytes]) -> None:
    """Like `write_durably` for many files that one process alone writes: their syncs wait for each other's, not one
    after the other, and there is one for each folder instead of each file. No file has its name before it is synced.

    A process that is killed here leaves files under their `new_name`, for whoever writes or gives up that file.
    """
    folders: set[Path] = set()
    for folder in {path.parent for path in files}:
        folders |= _make_folders(folder)
    _together(_write_new, files.items())
    for path in files:
        new_name(path).replace(path)
    _together(_sync_folder, folders)


def new_name(path: Path) -> Path:
    """The name of a file that `write_all_durably` has not synced yet."""
    return path.with_name(f".new-{path.name}")


def _together(do: Callable[[_T], None], what: Iterable[_T]) -> None:
    todo = list(what)
    if len(todo) < _SYNCS:
        deque(map(do, todo), maxlen=0)
        return
    with ThreadPoolExecutor(_SYNCS, "sync") as pool:
        deque(pool.map(do, todo), maxlen=0)


def _write_new(file: tuple[Path, bytes]) -> None:
    path, content = file
    with new_name(path).open("wb") as opened:
        opened.write(content)
        opened.flush()
        os.fchmod(opened.fileno(), 0o600)
        os.fsync(opened.fileno())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _make_folders(folder: Path) -> set[Path]:
    """Make a folder; returns it and every parent that got a new entry by it."""
    touched = {folder}
    while not folder.exists():
        folder = folder.parent
        touched.add(folder)
    for path in sorted(touched):
        path.mkdir(exist_ok=True, mode=0o700)
    return touched


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

    def put_file(self, source: Path) -> str:
        """Store a file's bytes durably, in pieces, and return their digest."""
        folder = self.root / "sha256"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, draft = tempfile.mkstemp(dir=folder, prefix=".new-")
        try:
            # A copy first: what is named is what was copied, whatever happens to the source meanwhile.
            with os.fdopen(handle, "wb") as file, source.open("rb") as content:
                shutil.copyfileobj(content, file, _PIECE)
                file.flush()
                os.fchmod(file.fileno(), 0o400)
                os.fsync(file.fileno())
            name = file_digest(Path(draft))
            if not self.path(name).exists():
                touched = _make_folders(self.path(name).parent)
                Path(draft).replace(self.path(name))
                _together(_sync_folder, touched)
            return name
        finally:
            Path(draft).unlink(missing_ok=True)

    def copy_to(self, name: str, target: Path, mode: int = 0o600) -> None:
        """Write the object of a digest to a new file. Raises NotFound, or IntegrityError when it was changed."""
        if not self.path(name).is_file():
            self.get(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(self.path(name), target)
        target.chmod(mode)
        if file_digest(target) != name:
            self.get(name)

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
