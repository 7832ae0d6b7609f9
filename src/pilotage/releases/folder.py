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

__all__ = ["describe_files", "manifest_bytes", "write_folder"]


def manifest_bytes(manifest: Manifest) -> bytes:
    """The canonical bytes whose digest names the release."""
    return canonical_json(msgspec.to_builtins(manifest))


def describe_files(files: Mapping[str, bytes]) -> dict[str, FileEntry]:
    """The manifest's entries for files by name."""
    return {name: FileEntry(digest=digest(content), bytes=len(content)) for name, content in sorted(files.items())}


def write_folder(releases: Path, manifest: Manifest, files: Mapping[str, bytes]) -> tuple[str, Path]:
    """Write a release durably and return its digest and folder; the same release again changes nothing."""
    content = manifest_bytes(manifest)
    name = digest(content)
    place = releases / folder_name(name)
    if place.exists():
        return name, place
    releases.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=releases, prefix=".new-"))
    try:
        for file, body in {**files, MANIFEST: content}.items():
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
