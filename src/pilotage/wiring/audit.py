"""One verification of everything: the ledger, and the control plane's rows against the events that attest them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from sqlalchemy.exc import DatabaseError

from pilotage.evidence.model import tested
from pilotage.evidence.store import record
from pilotage.kernel.clock import now_us
from pilotage.ledger.faults import LedgerFault
from pilotage.ledger.outside import Outside, OutsideAudit
from pilotage.ledger.queries import EventRow
from pilotage.ledger.verify import LedgerReport, verify_ledger
from pilotage.ledger.verify_found import ReadableEvent
from pilotage.ledger.verify_since import verify_since
from pilotage.rollout.service import witness
from pilotage.storage.database import reading, writing
from pilotage.storage.outbox import waiting
from pilotage.storage.witness import Attesting
from pilotage.wiring.installation import Installation

__all__ = ["VERIFIED", "keep_verification", "verify"]

VERIFIED = ("ledger", "ledger.verified")
"""Subject and check of the evidence that the record was verified."""

_ROUNDS = 3
_LIFE_US = 30 * 86_400_000_000


def verify(
    installation: Installation,
    progress: Callable[[int, int], None] = lambda done, total: None,
    outside: Outside | None = None,
    since: int = 0,
    processes: int = 1,
) -> LedgerReport:
    """Verify the installation's whole record, and against evidence from outside; the report names every place.

    `since` is the size of a head that was verified before: only what came after it is read then.
    """
    home, ledger, keyring = installation.home, installation.ledger_engine, installation.keyring
    audit = OutsideAudit(home, ledger, keyring, outside or Outside())

    def control_rows(sealed: Sequence[ReadableEvent]) -> list[LedgerFault]:
        return _control_faults(installation, [each.event for each in sealed])

    def outsiders(_sealed: Sequence[ReadableEvent]) -> Iterable[LedgerFault]:
        return audit.faults()

    if since:
        part = verify_since(home, ledger, keyring, since, progress, processes=processes)
        found = list(audit.faults())
        return replace(
            part,
            ok=part.ok and not found,
            fault_count=part.fault_count + len(found),
            faults=(*part.faults, *found),
            witnessed=tuple(audit.witnessed),
        )
    witnesses = [control_rows, outsiders]
    report = verify_ledger(home, ledger, keyring, witnesses=witnesses, progress=progress, processes=processes)
    return replace(report, witnessed=tuple(audit.witnessed))


def keep_verification(installation: Installation, report: LedgerReport) -> None:
    """Keep what a verification found as evidence about the record, which lives 30 days."""
    at = now_us()
    subject, check = VERIFIED
    made = tested(
        check,
        subject,
        at,
        expires=at + _LIFE_US,
        passed=report.ok,
        figures={"size": report.size, "root": str(report.root), "since": report.since, "faults": report.fault_count},
    )
    with writing(installation.control) as connection:
        record(connection, made)


def _newest_events(installation: Installation) -> list[EventRow]:
    """The index's newest events, oldest first; none when a row of it cannot be read, which verification has named."""
    try:
        return installation.ledger().events(limit=2_000)[::-1]
    except (DatabaseError, ValueError, TypeError, LookupError, AttributeError):
        return []


def _control_faults(installation: Installation, sealed: Sequence[Attesting]) -> list[LedgerFault]:
    """Rows that no event attests. Control plane and ledger move on while they are compared, so a row counts only when
    it is found each time: an edit in SQL stays, a change that was just being sealed does not."""
    found: dict[str, LedgerFault] = {}
    for attempt in range(_ROUNDS):
        with reading(installation.control) as connection:
            unsealed = waiting(connection, limit=1_000_000)
        since = _newest_events(installation)
        events: list[Attesting] = [*sealed, *since, *unsealed]
        now = {
            f"{row.table} {row.key}": LedgerFault(
                place=f"{row.table} {row.key}", what=f"row {row.what}", got=row.got, expected=row.expected
            )
            for row in witness(installation.control, events)
        }
        found = now if attempt == 0 else {place: fault for place, fault in found.items() if place in now}
        if not found:
            break
        time.sleep(0.3)
    return list(found.values())
