"""Disks for tests: one that forgets what was not synced, one that fails.

`kill -9` proves nothing about syncing, because the page cache outlives the process. A `DiskTwin` knows, for each file,
which bytes a completed sync covers, and for each folder, which names: `power_cut` builds the folder as it may be found
after losing the rest.
"""

from __future__ import annotations

import errno
import os
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Literal

from pilotage.ledger.disk import Disk, OsDisk

__all__ = ["DiskTwin", "FailingDisk", "Operation"]

Operation = Literal["create", "write", "sync", "truncate", "rename", "remove", "sync_folder", "close"]

_SECTOR_BYTES = 512
_Change = tuple[int, bytes] | int
_NameChange = tuple[Path | None, Path | None, "_File | None"]


@dataclass
class _File:
    """`durable` is what a sync covered; `unsynced` are later changes: (offset, bytes), or a size to cut to."""

    durable: bytearray = field(default_factory=bytearray)
    unsynced: list[_Change] = field(default_factory=list)

    def sync(self) -> None:
        for change in self.unsynced:
            _apply(self.durable, change)
        self.unsynced.clear()


class DiskTwin:
    """A `Disk` on a real folder that keeps account of what is durable. For any threads.

    With `syncs=False` its syncs return without making anything durable: the control that a durability test needs.
    `before` is called with the name of each operation before it takes effect, so that a test may cut the power there.
    It never syncs the real disk.
    """

    def __init__(
        self, root: Path, *, syncs: bool = True, before: Callable[[Operation], None] = lambda operation: None
    ) -> None:
        self._root = root
        self._disk = OsDisk()
        self._syncs = syncs
        self._before = before
        self._lock = threading.RLock()
        self._open: dict[int, _File] = {}
        files = [path for path in root.rglob("*") if path.is_file()]
        self._names = {path: _File(bytearray(path.read_bytes())) for path in files}
        self._durable_names = dict(self._names)
        self._name_changes: list[_NameChange] = []

    def power_cut(self, into: Path, chance: random.Random) -> None:
        """Build in `into` the folder as a power cut now may leave it.

        What was synced is there. Of the rest, any part may be: each changed sector, each new, changed or removed
        name, by chance, or all of it, or nothing.
        """
        with self._lock:
            kept = chance.choice((0.0, 0.5, 1.0, chance.random()))
            names = dict(self._durable_names)
            for change in self._name_changes:
                if chance.random() < kept:
                    _rename(names, change)
            contents = {path: _survivors(file, kept, chance) for path, file in names.items()}
        into.mkdir(parents=True, exist_ok=True)
        for path, content in contents.items():
            target = into / path.relative_to(self._root)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)

    def create(self, path: Path) -> int:
        self._before("create")
        with self._lock:
            descriptor = self._disk.create(path)
            file = self._names.get(path)
            if file is None:
                self._change_name((None, path, _File()))
                file = self._names[path]
            else:
                file.unsynced.append(0)
            self._open[descriptor] = file
            return descriptor

    def reopen(self, path: Path) -> int:
        with self._lock:
            descriptor = self._disk.reopen(path)
            self._open[descriptor] = self._names[path]
            return descriptor

    def write(self, descriptor: int, content: bytes, offset: int) -> None:
        self._before("write")
        with self._lock:
            self._disk.write(descriptor, content, offset)
            self._open[descriptor].unsynced.append((offset, bytes(content)))

    def sync(self, descriptor: int) -> None:
        self._before("sync")
        with self._lock:
            if self._syncs:
                self._open[descriptor].sync()

    def truncate(self, path: Path, size: int) -> None:
        self._before("truncate")
        with self._lock:
            os.truncate(path, size)
            self._names[path].unsynced.append(size)
            if self._syncs:
                self._names[path].sync()

    def rename(self, old: Path, new: Path) -> None:
        self._before("rename")
        with self._lock:
            self._disk.rename(old, new)
            self._change_name((old, new, self._names[old]))

    def remove(self, path: Path) -> None:
        self._before("remove")
        with self._lock:
            self._disk.remove(path)
            if path in self._names:
                self._change_name((path, None, None))

    def sync_folder(self, path: Path) -> None:
        self._before("sync_folder")
        with self._lock:
            if self._syncs:
                covered = [change for change in self._name_changes if _folder(change) == path]
                for change in covered:
                    _rename(self._durable_names, change)
                self._name_changes = [change for change in self._name_changes if change not in covered]

    def close(self, descriptor: int) -> None:
        self._before("close")
        with self._lock:
            del self._open[descriptor]
            self._disk.close(descriptor)

    def _change_name(self, change: _NameChange) -> None:
        _rename(self._names, change)
        self._name_changes.append(change)


class FailingDisk:
    """A `Disk` over another one whose `failing` operations raise an OSError; tests set `failing` when they like."""

    def __init__(self, disk: Disk | None = None, error: int = errno.EIO) -> None:
        self._disk = disk or OsDisk()
        self._error = error
        self.failing: frozenset[Operation] = frozenset()

    def create(self, path: Path) -> int:
        self._pass("create")
        return self._disk.create(path)

    def reopen(self, path: Path) -> int:
        self._pass("create")
        return self._disk.reopen(path)

    def write(self, descriptor: int, content: bytes, offset: int) -> None:
        self._pass("write")
        self._disk.write(descriptor, content, offset)

    def sync(self, descriptor: int) -> None:
        self._pass("sync")
        self._disk.sync(descriptor)

    def truncate(self, path: Path, size: int) -> None:
        self._pass("truncate")
        self._disk.truncate(path, size)

    def rename(self, old: Path, new: Path) -> None:
        self._pass("rename")
        self._disk.rename(old, new)

    def remove(self, path: Path) -> None:
        self._pass("remove")
        self._disk.remove(path)

    def sync_folder(self, path: Path) -> None:
        self._pass("sync_folder")
        self._disk.sync_folder(path)

    def close(self, descriptor: int) -> None:
        self._disk.close(descriptor)

    def _pass(self, operation: Operation) -> None:
        if operation in self.failing:
            raise OSError(self._error, os.strerror(self._error))


def _apply(content: bytearray, change: _Change) -> None:
    if isinstance(change, int):
        del content[change:]
        content.extend(bytes(change - len(content)))
        return
    offset, new = change
    content.extend(bytes(max(0, offset - len(content))))
    content[offset : offset + len(new)] = new


def _survivors(file: _File, kept: float, chance: random.Random) -> bytes:
    content = bytearray(file.durable)
    for change in file.unsynced:
        pieces = [change] if isinstance(change, int) else _sectors(*change)
        for piece in pieces:
            if chance.random() < kept:
                _apply(content, piece)
    return bytes(content)


def _sectors(offset: int, content: bytes) -> list[_Change]:
    cuts = [0, *range(-offset % _SECTOR_BYTES or _SECTOR_BYTES, len(content), _SECTOR_BYTES), len(content)]
    return [(offset + start, content[start:end]) for start, end in pairwise(cuts)]


def _rename(names: dict[Path, _File], change: _NameChange) -> None:
    old, new, file = change
    if old is not None:
        names.pop(old, None)
    if new is not None and file is not None:
        names[new] = file


def _folder(change: _NameChange) -> Path:
    path = change[1] or change[0]
    if path is None:
        raise ValueError("a change of no name")
    return path.parent
