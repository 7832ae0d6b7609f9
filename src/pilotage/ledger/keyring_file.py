"""The files that hold secrets: made whole with mode 0600, replaced whole, never half-written."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pilotage.errors import Conflict

__all__ = ["create_file", "locked", "replace_file"]


def create_file(path: Path, content: bytes) -> bool:
    """Write the file whole with mode 0600; when another process was first, its file stays, and False is returned."""
    with _written(path, content) as name:
        try:
            os.link(name, path)
        except FileExistsError:
            return False
    return True


def replace_file(path: Path, content: bytes) -> None:
    """Put this content in the place of the file, whole and durably, with mode 0600."""
    with _written(path, content) as name:
        Path(name).replace(path)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Only one process at a time changes the secrets in `path`. Raises Conflict when another does just now."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict("another command changes the keyring just now", mend="wait for it, then try again") from None
        yield
    finally:
        os.close(handle)


@contextmanager
def _written(path: Path, content: bytes) -> Iterator[str]:
    """A new file beside `path` with this content, synced; the folder is synced after what is done with it."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    name = ""
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".keyring-")
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield name
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise Conflict(f"cannot write the keyring {path}", got=error, mend="make its folder writable") from error
    finally:
        if name:
            Path(name).unlink(missing_ok=True)
