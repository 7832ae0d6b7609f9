"""Erase a person in a running installation: floors of the declared systems, and no copy left in the journals."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable
from dataclasses import replace

from pilotage.access.model import Person, require
from pilotage.errors import Conflict, NotFound
from pilotage.ledger.erasure import ErasureReport, Floors, erase
from pilotage.ledger.journal import MAX_AGE_S, JournalWriter
from pilotage.ledger.journal_reader import JournalFile, journal_files
from pilotage.ledger.sealing import Steward
from pilotage.storage.database import reading
from pilotage.systems.store import list_systems
from pilotage.wiring.installation import Installation

__all__ = ["clear_journals", "erase_person", "floors_of", "succeed_journal"]

_WAIT_S = 10.0
_PAUSE_S = 0.1


def floors_of(installation: Installation) -> Floors:
    """The regimes that each declared system names; none for a system that is not declared."""
    with reading(installation.control) as connection:
        declared = {system.id: tuple(system.retention.regimes) for system in list_systems(connection)}

    def regimes(system: str) -> Iterable[str]:
        return declared.get(system, ())

    return regimes


def erase_person(
    installation: Installation, person: Person, subject: str, reason: str, wait_s: float = _WAIT_S
) -> ErasureReport:
    """Erase a subject everywhere; waits up to `wait_s` seconds until no journal file holds a copy.

    The report names what is left then, and until when. Raises Forbidden, and as `ledger.erasure.erase`.
    """
    require(person, "subject.erase")
    steward = installation.steward(holder=f"{installation.settings.node}/erase-{os.getpid()}")
    steward.acquire(steal=True)
    try:
        report = erase(subject, reason, person.id, steward=steward, floors=floors_of(installation))
        return clear_journals(installation, steward, report, wait_s) if report.journals else report
    finally:
        steward.release()


def clear_journals(
    installation: Installation, steward: Steward, report: ErasureReport, wait_s: float = _WAIT_S
) -> ErasureReport:
    """Let the workers that hold encrypted copies begin new files, and delete the old ones once they are sealed."""
    installation.rollout.begin_new_journals()
    deadline, wanted = time.monotonic() + wait_s, set(report.journals)
    while True:
        steward.seal_all()
        left = [file for file in journal_files(installation.home.journal) if file.name in wanted]
        if not left or time.monotonic() > deadline:
            break
        for file in left:
            if file.newest and file.finished and file.node == installation.settings.node:
                succeed_journal(installation, file)
        time.sleep(_PAUSE_S)
    until = max((_end_of(file) for file in left), default=0)
    return replace(report, journals=tuple(file.name for file in left), copies_until=until)


def succeed_journal(installation: Installation, file: JournalFile) -> None:
    """No worker lives that would begin the next file: begin and end it here, so that this one can go."""

    async def begin() -> None:
        writer = JournalWriter(
            file.path.parent, worker=file.worker, steward_key=installation.keyring.steward_public, first_bytes=4_096
        )
        try:
            await writer.open()
        finally:
            await writer.close()

    try:
        asyncio.run(begin())
    except Conflict:
        return  # its worker has just started: it begins a file itself


def _end_of(file: JournalFile) -> int:
    """When its worker begins the next file at the latest (Unix microseconds)."""
    try:
        return file.header.created + int(MAX_AGE_S * 1_000_000)
    except (FileNotFoundError, NotFound):
        return 0
