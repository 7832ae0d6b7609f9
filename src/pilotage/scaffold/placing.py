"""Write the files of a new system into a folder: all of them or none, and never over what somebody wrote."""

from __future__ import annotations

import os
import stat
from pathlib import Path, PurePosixPath

import msgspec

from pilotage import __version__
from pilotage.errors import Conflict, InputError
from pilotage.kernel.digests import digest, file_digest
from pilotage.scaffold.model import Files
from pilotage.storage.objects import write_durably

__all__ = ["MANIFEST", "Placed", "place"]

MANIFEST = "scaffold.json"
"""What was written, by path and digest: it tells files that nobody has touched since from those that somebody has."""

_MOST_MANIFEST = 8 << 20
_TOLD = 20


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The files that a scaffold wrote, with their digests."""

    version: str
    files: dict[str, str]


class Placed(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the files, by path: written, there already with the same bytes, or written over."""

    written: list[str]
    same: list[str]
    replaced: list[str]


def place(folder: Path, files: Files, *, force: bool = False) -> Placed:
    """Write the files below a folder, which is made. What is there with the same bytes is left as it is.

    Raises Conflict that names every file that is there with other bytes, before anything is written; with `force`
    only those that are not as an earlier scaffold wrote them. Raises InputError where a path leads through a link.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError("this is no folder", got=folder, expected="a folder, or a name that is free", mend="name one")
    before = _manifest(folder)
    same, differ, touched = [], [], []
    links = [MANIFEST] if _leads_out(folder, MANIFEST) else []
    for path, content in files.items():
        if _leads_out(folder, path):
            links.append(path)
            continue
        target = folder / path
        if not os.path.lexists(target):
            continue
        found = file_digest(target) if target.is_file() else ""
        if found == digest(content):
            same.append(path)
        else:
            differ.append(path)
            touched += [] if found and before.get(path) == found else [path]
    if links:
        raise InputError(
            "a link lies where a file would be written",
            got=_some(links),
            expected="folders and files",
            mend="remove the links, or name another folder",
        )
    refused = touched if force else differ
    if refused:
        safe = force or len(touched) == len(differ)
        mend = "name an empty folder, or move these files away" + ("" if safe else "; --force replaces untouched ones")
        raise Conflict(
            f"{len(refused)} files are there already and differ; nothing was written"
            if len(refused) > 1
            else "a file is there already and differs; nothing was written",
            got=_some(refused),
            expected="files that somebody has changed since are never replaced" if force else None,
            code="scaffold_there",
            mend=mend,
        )
    for path, content in files.items():
        if path not in same:
            write_durably(folder / path, content, mode=0o644)
    written = {path: digest(content) for path, content in files.items()}
    manifest = msgspec.json.encode(Manifest(version=__version__, files=dict(sorted((before | written).items()))))
    write_durably(folder / MANIFEST, msgspec.json.format(manifest, indent=1) + b"\n", mode=0o644)
    fresh = [path for path in files if path not in same and path not in differ]
    return Placed(written=fresh, same=same, replaced=differ)


def _leads_out(folder: Path, path: str) -> bool:
    """Whether anything on the way to a path, or at its end, is a link."""
    inside = PurePosixPath(path)
    if inside.is_absolute() or ".." in inside.parts:
        return True
    steps = [folder.joinpath(*inside.parts[: at + 1]) for at in range(len(inside.parts))]
    return any(os.path.lexists(each) and stat.S_ISLNK(each.lstat().st_mode) for each in steps)


def _manifest(folder: Path) -> dict[str, str]:
    path = folder / MANIFEST
    if path.is_symlink() or not path.is_file() or path.stat().st_size > _MOST_MANIFEST:
        return {}
    try:
        return msgspec.json.decode(path.read_bytes(), type=Manifest).files
    except msgspec.MsgspecError:
        return {}


def _some(paths: list[str]) -> str:
    return ", ".join(paths[:_TOLD]) + (f" and {len(paths) - _TOLD} more" if len(paths) > _TOLD else "")
