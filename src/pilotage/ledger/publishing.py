"""Publish what was committed: tiles, entry bundles, checkpoint. Repeatable, and one publisher at a time."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine

from pilotage.errors import IntegrityError, NotFound
from pilotage.ledger import store, tiles
from pilotage.ledger.notes import parse_checkpoint
from pilotage.ledger.segments import make_folders
from pilotage.storage.database import reading, writing
from pilotage.storage.objects import write_durably
from pilotage.storage.processes import end_process, stopped, this_process

__all__ = ["Publisher"]

_LOOK_S = 0.02


class Publisher:
    """Takes the published tree to the newest head in the database. `step` is called at each write point."""

    def __init__(self, folder: Path, engine: Engine, vkeys: Sequence[str], step: Callable[[str], None]) -> None:
        self._folder, self._engine, self._vkeys, self._step = folder, engine, vkeys, step

    def publish(self, fresh: Sequence[bytes] = (), hashes: Sequence[bytes] = ()) -> int:
        """Publish all pending entries and the head's checkpoint; the size published.

        `fresh` are the entries of the last head, `hashes` their leaf hashes, if the caller still has them: when only
        they wait, none are read.
        Under a file lock: a steward that lost its lease half-way cannot put an older checkpoint over a newer one.
        """
        make_folders(self._folder)
        with _locked(self._folder / ".publish.lock"):
            with reading(self._engine) as connection:
                head = store.last_head(connection)
                first = store.first_waiting(connection)
                if head is None:
                    return 0
                size, checkpoint = int(head.size), str(head.checkpoint)
                if first is not None and first + len(fresh) != size:
                    fresh, hashes = [bytes(row.entry) for row in store.waiting_entries(connection)], ()
            if first is not None:
                tiles.publish(self._folder, first, fresh, size, checkpoint, hashes)
                self._step("published")
                with writing(self._engine) as connection:
                    store.drop_entries(connection, size)
                self._step("pending_dropped")
            elif self._published() != checkpoint:
                write_durably(self._folder / "checkpoint", checkpoint.encode())
            return size

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
