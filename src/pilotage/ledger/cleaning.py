"""What goes once a batch is committed and published: outbox rows, then journal files. Done again after a crash."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict

from sqlalchemy import Engine

from pilotage.ledger import store
from pilotage.ledger.collecting import read_positions
from pilotage.ledger.intake import Position
from pilotage.ledger.journal_reader import JournalFile
from pilotage.ledger.tenure import Tenure
from pilotage.storage import outbox
from pilotage.storage.database import reading, writing

__all__ = ["Cleaner"]

_REMEMBERED = 128
"""Positions of so many files of a worker are kept: what comes late, or was restored, is told from what is new."""


class Cleaner:
    """Drops what the ledger holds now. `step` is called at each write point."""

    def __init__(self, control: Engine, ledger: Engine, tenure: Tenure, step: Callable[[str], None]) -> None:
        self._control, self._ledger, self._tenure, self._step = control, ledger, tenure, step

    def clean(self, files: Iterable[JournalFile], sent: list[str]) -> None:
        """Drop the outbox rows of the ids `sent`; delete the files that are whole and not the newest of their worker.

        Raises Conflict(code="lease_lost") before a file is deleted that another steward might read.
        """
        if sent:
            with writing(self._control) as connection:
                outbox.drop(connection, sent)
            self._step("outbox_dropped")
        removable = {file.name: file for file in files if file.removable}
        if not removable:
            return
        with reading(self._ledger) as connection:
            known = read_positions(connection)
        whole = [
            file for name, file in removable.items() if name in known and known[name].state in ("whole", "deleted")
        ]
        if whole:
            self._tenure.stay(at_once=True)
        for file in whole:
            file.path.unlink(missing_ok=True)
            self._step("journal_deleted")
        self._forget(known, whole)

    def _forget(self, known: Mapping[str, Position], gone: Sequence[JournalFile]) -> None:
        """Mark files as deleted; positions far behind are forgotten."""
        if not gone:
            return
        names = {file.name for file in gone}
        stale = {_before(name, _REMEMBERED) for name in names} & known.keys()
        marked = [{**asdict(known[name]), "state": "deleted"} for name in names]
        with writing(self._ledger) as connection:
            self._tenure.fence(connection)
            store.save_positions(connection, marked)
            store.forget_positions(connection, list(stale))


def _before(name: str, steps: int) -> str:
    stem, _, number = name.rpartition("-")
    return f"{stem}-{int(number) - steps}"
