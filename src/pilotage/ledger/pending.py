"""Entries of committed batches until they are published: one file a batch, `pending/<batch>` under the ledger folder.

It is written and synced with the batch's payload segments, before the commit, and goes once the tree that has its
entries is published. A file is as an entry bundle of any length. Whether its batch was committed is told by `heads`,
whether it was published by the checkpoint: the file itself decides nothing, and the root that its head signs tells
whether it was changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row

from pilotage.errors import IntegrityError
from pilotage.ledger import store
from pilotage.ledger.tiles import unpack_entries

__all__ = ["PENDING", "drop_published", "first_waiting", "pending_names", "pending_path", "read_pending"]

PENDING = "pending"
"""The folder, under the ledger folder."""


def pending_path(batch: str) -> str:
    """The path of a batch's file under the ledger folder."""
    return f"{PENDING}/{batch}"


def pending_names(folder: Path) -> list[str]:
    """The batches that have a file: about to be committed, committed, or published just now."""
    try:
        return sorted(path.name for path in (folder / PENDING).iterdir() if not path.name.startswith("."))
    except FileNotFoundError:
        return []


def read_pending(folder: Path, batch: str, leaves: int) -> list[bytes]:
    """The entries of a batch of so many leaves. Raises FileNotFoundError; IntegrityError when there are others."""
    path = folder / pending_path(batch)
    entries = unpack_entries(path.read_bytes(), path)
    if len(entries) != leaves:
        raise IntegrityError(
            f"{path} does not hold the entries that wait to be published",
            got=f"{len(entries)} entries",
            expected=f"{leaves} entries",
            mend="restore it from a copy of the disk; nothing is published until then",
        )
    return entries


def first_waiting(folder: Path, connection: Connection) -> int | None:
    """The first leaf whose entry is perhaps not yet published, or still lies here too; None when there is none."""
    return min((int(head.first) for head in _of_heads(folder, connection)), default=None)


def drop_published(folder: Path, connection: Connection, size: int) -> None:
    """Remove the files of all that a published tree of `size` leaves has."""
    for head in _of_heads(folder, connection):
        if head.size <= size:
            (folder / pending_path(head.batch)).unlink(missing_ok=True)


def _of_heads(folder: Path, connection: Connection) -> Sequence[Row[Any]]:
    names = pending_names(folder)
    return store.heads_of(connection, names) if names else ()
