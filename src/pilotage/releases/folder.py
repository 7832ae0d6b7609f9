"""The folder of a release: written beside its place, synced, made read-only, then renamed into it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import msgspec

from pilotage.kernel.canonical import canonical_json
from pilotage.kernel.digests import digest
from pilotage.releases.model import MANIFEST, FileEntry, Manifest, folder_name
from pilotage.releases.sealed_rows import ROWS, SEALED_ROWS, seal_rows

__all__ = ["describe_files", "manifest_bytes", "seal_folder", "write_folder"]


def manifest_bytes(manifest: Manifest) -> bytes:
    """The canonical bytes whose digest names the release."""
    return canonical_json(msgspec.to_builtins(manifest))


def describe_files(files: Mapping[str, bytes]) -> dict[str, FileEntry]:
    """The manifest's entries for files by name."""
    return {name: FileEntry(digest=digest(content), bytes=len(content)) for name, content in sorted(files.items())}


def write_folder(
    releases: Path, manifest: Manifest, files: Mapping[str, bytes], rows_key: bytes | None = None
) -> tuple[str, Path]:
    """Write a release durably and return its digest and folder; the same release again changes nothing.

    With `rows_key` the reference rows among the files are written encrypted.
    """
    content = manifest_bytes(manifest)
    name = digest(content)
    place = releases / folder_name(name)
    if place.exists():
        return name, place
    releases.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=releases, prefix=".new-"))
    try:
        for file, body in {**files, MANIFEST: content}.items():
            if file == ROWS and rows_key is not None:
                _write(draft / SEALED_ROWS, seal_rows(rows_key, body))
            else:
                _write(draft / file, body)
        _sync(draft)
        draft.chmod(0o500)
        draft.rename(place)
    except OSError:
        draft.chmod(0o700)
        shutil.rmtree(draft, ignore_errors=True)
        if not place.exists():
            raise
    _sync(releases)
    return name, place


def seal_folder(folder: Path, rows_key: bytes) -> bool:
    """Encrypt the reference rows of a release that was built before they were; whether there was anything to do.

    The digest stays: it is of the rows. Ended in between, both files are there, and the next call goes on.
    """
    plain = folder / ROWS
    if not plain.is_file():
        return False
    folder.chmod(0o700)
    try:
        (folder / SEALED_ROWS).unlink(missing_ok=True)
        _write(folder / SEALED_ROWS, seal_rows(rows_key, plain.read_bytes()))
        _sync(folder)
        plain.unlink()
        _sync(folder)
    finally:
        folder.chmod(0o500)
    return True


def _write(path: Path, content: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
