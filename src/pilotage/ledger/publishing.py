"""Publish what was committed: tiles, entry bundles, checkpoint. Repeatable, and one publisher at a time."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, Row

from pilotage.errors import IntegrityError, NotFound
from pilotage.ledger import store, tiles
from pilotage.ledger.merkle import subtree_root
from pilotage.ledger.notes import parse_checkpoint, read_checkpoint_body
from pilotage.ledger.pending import drop_published, read_pending
from pilotage.ledger.segments import make_folders
from pilotage.storage.database import reading
from pilotage.storage.objects import write_durably
from pilotage.storage.processes import end_process, stopped, this_process

__all__ = ["Publisher"]

_LOOK_S = 0.02


class Publisher:
    """Takes the published tree to the newest head in the database. `step` is called at each write point."""

    def __init__(self, folder: Path, engine: Engine, vkeys: Sequence[str], step: Callable[[str], None]) -> None:
        self._folder, self._engine, self._vkeys, self._step = folder, engine, vkeys, step

    def publish(self, fresh: Sequence[bytes] = (), hashes: Sequence[bytes] = ()) -> int:
        """Publish all entries that wait and the head's checkpoint; the size published.

        `fresh` are the entries of the last head, `hashes` their leaf hashes, if the caller still has them: when only
        they wait, none are read.
        Under a file lock: a steward that lost its lease half-way cannot put an older checkpoint over a newer one.
        Raises IntegrityError when entries wait and are not there.
        """
        make_folders(self._folder)
        with _locked(self._folder / ".publish.lock"):
            text = self._published()
            with reading(self._engine) as connection:
                head = store.last_head(connection)
                if head is None:
                    return 0
                size, checkpoint = int(head.size), str(head.checkpoint)
                waiting = store.heads_after(connection, read_checkpoint_body(text).size if text else 0)
            first = int(waiting[0].first) if waiting else size
            if first + len(fresh) != size:
                fresh, hashes = self._waiting(waiting), ()
            if fresh:
                tiles.publish(self._folder, first, fresh, size, checkpoint, hashes)
                self._step("published")
            elif text != checkpoint:
                write_durably(self._folder / "checkpoint", checkpoint.encode())
            with reading(self._engine) as connection:
                drop_published(self._folder, connection, size)
            self._step("pending_dropped")
            return size

    def _waiting(self, heads: Sequence[Row[Any]]) -> list[bytes]:
        """The entries of the leaves of these heads; none when all was published, and only the checkpoint was lost."""
        try:
            return [entry for head in heads for entry in read_pending(self._folder, head.batch, head.size - head.first)]
        except FileNotFoundError as error:
            if self._has(heads[-1]):
                return []
            raise IntegrityError(
                "entries that wait to be published are not there",
                got=f"no file {error.filename}",
                expected=f"the entries of leaves {heads[0].first} to {heads[-1].size}",
                mend="restore the ledger folder from a copy of the disk: the heads sign these entries",
            ) from None

    def _has(self, head: Row[Any]) -> bool:
        """Whether the published tiles are those of this head."""
        try:
            root = subtree_root(0, head.size, tiles.TileReader(self._folder, head.size).read)
        except IntegrityError:
            return False
        return root.hex() == str(head.root)

    def check(self) -> None:
        """The database must not be behind what was published: signing on would make two histories of one log.

        Raises IntegrityError then, and when the published checkpoint is not this log's.
        """
        text = self._published()
        if not text:
            return
        shown = parse_checkpoint(text, self._vkeys)
        with reading(self._engine) as connection:
            head = store.head_of(connection, shown.size)
            last = store.last_head(connection)
        if head is None or head.root != shown.root.hex():
            raise IntegrityError(
                "the published checkpoint is not a head of this ledger: nothing more is signed",
                got=f"a database at size {last.size if last else 0}",
                expected=f"size {shown.size} with root {shown.root.hex()}",
                code="ledger_behind",
                mend="restore the newest backup of ledger.db: an older one would fork the log",
            )

    def _published(self) -> str:
        try:
            return tiles.read_checkpoint(self._folder)
        except NotFound:
            return ""


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the publisher's lock. A process that was stopped while it held it is killed: its work is done again."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _wait_for_lock(handle)
        os.ftruncate(handle, 0)
        os.pwrite(handle, this_process().encode(), 0)
        yield
    finally:
        os.close(handle)


def _wait_for_lock(handle: int) -> None:
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            time.sleep(_LOOK_S)
        holder = os.pread(handle, 200, 0).decode(errors="replace")
        if stopped(holder):
            end_process(holder)
