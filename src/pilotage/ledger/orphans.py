"""Files of batches that were never committed: announced before they are written, removed when nothing came.

A steward names the segments and the entries it is about to write in a file of its lease epoch. Whoever seals later
finds there what a killed predecessor left, and removes what the database does not know.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
from sqlalchemy import Engine

from pilotage.ledger import store
from pilotage.ledger.pending import PENDING, pending_path
from pilotage.ledger.segments import intent_path, intents, make_folders
from pilotage.storage.database import reading
from pilotage.storage.objects import new_name, write_durably

__all__ = ["announce", "drop_uncommitted"]


def announce(folder: Path, ledger: Engine, epoch: int, paths: Sequence[str]) -> None:
    """Name the files under the ledger folder that the steward of this epoch writes next, once orphans are gone."""
    make_folders(intent_path(folder, epoch).parent)
    _drop_orphans(folder, ledger, epoch)
    write_durably(intent_path(folder, epoch), msgspec.json.encode(list(paths)))


def drop_uncommitted(folder: Path, ledger: Engine, paths: Sequence[str]) -> None:
    """Remove those of these files that no committed batch names."""
    with reading(ledger) as connection:
        known = store.known_segments(connection, list(paths))
        batches = [path.rpartition("/")[2] for path in paths if path.startswith(f"{PENDING}/")]
        known |= {pending_path(head.batch) for head in store.heads_of(connection, batches)}
    for path in paths:
        if path not in known and path.startswith(("segments/", f"{PENDING}/")) and ".." not in path:
            (folder / path).unlink(missing_ok=True)
            new_name(folder / path).unlink(missing_ok=True)


def _drop_orphans(folder: Path, ledger: Engine, epoch: int) -> None:
    """Only of this epoch and older ones, none of which can commit any more: never a newer steward's."""
    for written_in, paths in intents(folder).items():
        if written_in <= epoch:
            drop_uncommitted(folder, ledger, paths)
        if written_in < epoch:
            intent_path(folder, written_in).unlink(missing_ok=True)
