"""The last copies of a retired node's journals: its worker will never begin the next file, which would let them go.

All that was read of them is in the ledger. Ended and sealed to their end, they are deleted with an event.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection

from pilotage.errors import IntegrityError
from pilotage.ledger.collecting import read_positions
from pilotage.ledger.items import event_item
from pilotage.ledger.journal_reader import COPIED, node_files
from pilotage.ledger.retention import Floor, after
from pilotage.ledger.sealing import Steward
from pilotage.ledger.store_keeping import all_holds
from pilotage.nodes.copies import CopyFolder
from pilotage.nodes.model import Node
from pilotage.storage.database import reading

__all__ = ["RETIRED_JOURNALS", "StoredCopies", "retire_copies", "survey_copies"]

RETIRED_JOURNALS = "retention.journals"
"""The kind of the event. `facts`: {"node": its name, "files": [names of the files that went]}."""


@dataclass(frozen=True, kw_only=True)
class StoredCopies:
    """What lies here of one node's journals: files, bytes, the oldest file's time; when it may go (0: never).

    `held` is the legal hold that forbids it. Times are Unix microseconds.
    """

    node: str
    files: int
    size: int
    oldest: int
    until: int
    held: str = ""

    def due(self, now: int) -> bool:
        """Whether it goes now."""
        return bool(self.until) and self.until <= now and not self.held


def survey_copies(root: Path, nodes: Iterable[Node], control: Connection, span: Floor) -> list[StoredCopies]:
    """The copies that are here, by node: those of a retired node go `span` after it was retired (empty: never)."""
    hold = next((hold.id for hold in all_holds(control) if not (hold.released or hold.lookup or hold.system)), "")
    found = []
    for node in nodes:
        folder = root / node.name
        files = node_files(folder) if (folder / COPIED).exists() else []
        if files:
            stats = [file.path.stat() for file in files]
            found.append(
                StoredCopies(
                    node=node.name,
                    files=len(files),
                    size=sum(stat.st_size for stat in stats),
                    oldest=min(stat.st_mtime_ns for stat in stats) // 1_000,
                    until=after(node.retired, span) if node.retired and span != Floor() else 0,
                    held=hold,
                )
            )
    return found


def retire_copies(steward: Steward, due: Iterable[StoredCopies], actor: str) -> tuple[int, tuple[str, ...]]:
    """End, seal and delete what is due; (how many files went, the events). What cannot be sealed to its end stays."""
    gone, told = 0, list[str]()
    for each in due:
        copies = CopyFolder(root=steward.home.journal, node=each.node)
        try:
            for copy in copies.held().values():
                copies.end(copy)
        except IntegrityError:
            continue  # damaged here: verification names it, and it stays for an inquiry
        steward.seal_all()
        with reading(steward.ledger) as connection:
            positions = read_positions(connection)
        whole = [
            file
            for file in node_files(copies.folder)
            if (place := positions.get(file.name)) is not None and place.state == "whole"
        ]
        if not whole:
            continue
        item = event_item(
            RETIRED_JOURNALS,
            steward.clock(),
            {"node": each.node, "files": [file.name for file in whole]},
            {"actor": actor},
        )
        steward.seal_event(item)
        for file in whole:
            file.path.unlink(missing_ok=True)
            copies.forget(file.worker, file.n)
        steward.seal_all()  # which notes that they are gone
        gone += len(whole)
        told.append(item.id)
    return gone, tuple(told)
