"""Erase a person: destroy the subject's key, so that no payload can be read again; the tree stays whole.

The order: seal what waits, look for legal holds, look for retention floors, then in one transaction destroy the key,
clear what the index holds of the person and seal the tombstone event; at last prove that nothing can be read.
Copies in journal files that are not deleted yet are named in the report: each goes when its worker begins a new file.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Row, Table

from pilotage.errors import IntegrityError, NotFound, Refused
from pilotage.kernel.clock import now_us, rfc3339
from pilotage.kernel.ids import uuid7
from pilotage.ledger import store
from pilotage.ledger.items import event_item
from pilotage.ledger.journal_reader import journal_files
from pilotage.ledger.keyring import Keyring
from pilotage.ledger.keys import KeyCabinet
from pilotage.ledger.retention import kept_until
from pilotage.ledger.sealing import Steward
from pilotage.ledger.segments import read_payload
from pilotage.ledger.tables import decisions, events, legal_holds, scheduled_erasures, subject_keys
from pilotage.storage import outbox
from pilotage.storage.database import reading, writing

__all__ = ["ErasureReport", "erase", "erase_due", "place_hold", "release_hold"]


@dataclass(frozen=True, kw_only=True)
class ErasureReport:
    """What came of an erasure. `decisions` of the subject; `unreadable` of them, proven by trying to read each; the
    same of the `events` about these decisions (outcomes, overrides, explanations).

    Inside a retention floor nothing is erased: `restricted_until` is its end (Unix microseconds, else 0), when
    `erase_due` will do it. `journals` are files that still hold encrypted copies until their worker moves on.
    """

    decisions: int
    unreadable: int
    event_id: str
    events: int = 0
    events_unreadable: int = 0
    restricted_until: int = 0
    journals: tuple[str, ...] = ()


def erase(subject: str, reason: str, actor: str, *, steward: Steward, regimes: Iterable[str] = ()) -> ErasureReport:
    """Erase a subject. `reason` is a code that goes into the ledger, no free text; `actor` is encrypted there.

    `regimes` are the active ones whose retention floors bind. Raises NotFound for a subject nobody knows,
    Refused(code="legal_hold") under a hold, and what `Steward.seal` raises. The steward needs the lease.
    """
    return _erase(steward.cabinet.subject_lookup(subject), reason, actor, steward, tuple(regimes))


def erase_due(steward: Steward) -> list[ErasureReport]:
    """Do the erasures whose retention floor has passed."""
    with reading(steward.ledger) as connection:
        due = store.due_erasures(connection, steward.clock())
    return [_erase(row.lookup, row.reason, "schedule", steward, ()) for row in due]


def place_hold(
    control: Engine, keyring: Keyring, reason: str, actor: str, *, subject: str = "", system: str = ""
) -> str:
    """Forbid erasure of one subject, of all of one system, or of all; the hold's id. `reason` is encrypted."""
    hold, now = uuid7(), now_us()
    lookup = KeyCabinet(keyring).subject_lookup(subject) if subject else ""
    row = {"id": hold, "lookup": lookup, "system": system, "reason": reason, "placed": now, "released": 0}
    private = {"actor": actor, "reason": reason}
    with writing(control) as connection:
        store.add_rows(connection, legal_holds, [row])
        outbox.emit(connection, "legal_hold.placed", system=system, facts={"hold": hold}, private=private, at=now)
    return hold


def release_hold(control: Engine, hold: str, actor: str) -> None:
    """End a legal hold. Raises NotFound."""
    with writing(control) as connection:
        if not store.release_hold_row(connection, hold, now_us()):
            raise NotFound("no such legal hold is active", got=hold, mend="check its id")
        outbox.emit(connection, "legal_hold.released", facts={"hold": hold}, private={"actor": actor})


def _erase(lookup: str, reason: str, actor: str, steward: Steward, regimes: Sequence[str]) -> ErasureReport:
    steward.seal_all()
    with reading(steward.ledger) as connection:
        key = store.find_keys(connection, subject_keys, [lookup]).get(lookup)
        rows = store.decisions_of_key(connection, key.key_id) if key is not None else []
    if key is None:
        raise NotFound(
            "nothing of this subject is on record, or it was erased before",
            mend="check the reference: it is the value of the contract's subject field",
        )
    _require_no_hold(steward.control, lookup, rows)
    until = kept_until(max((int(row.at) for row in rows), default=0), regimes)
    if until > steward.clock():
        return _schedule(lookup, reason, actor, steward, len(rows), until)
    return _destroy(lookup, str(key.key_id), reason, actor, steward, rows)


def _require_no_hold(control: Engine, lookup: str, rows: Sequence[Row[Any]]) -> None:
    with reading(control) as connection:
        holds = store.active_holds(connection, lookup, sorted({row.system for row in rows}))
    if holds:
        raise Refused(
            "a legal hold forbids this erasure",
            got=", ".join(f"{hold.id} (since {rfc3339(hold.placed)})" for hold in holds),
            code="legal_hold",
            mend="release the hold first: that is for the one who placed it",
        )


def _schedule(lookup: str, reason: str, actor: str, steward: Steward, count: int, until: int) -> ErasureReport:
    facts = {"decisions": count, "reason": reason, "until": until}
    item = event_item("erasure.scheduled", steward.clock(), facts, {"actor": actor})
    row = {"lookup": lookup, "due": until, "reason": reason, "event": item.id}

    def remember(connection: Connection) -> None:
        store.drop_scheduled(connection, lookup)
        store.add_rows(connection, scheduled_erasures, [row])

    steward.seal_event(item, remember)
    return ErasureReport(decisions=count, unreadable=0, event_id=item.id, restricted_until=until)


def _destroy(
    lookup: str, key_id: str, reason: str, actor: str, steward: Steward, rows: Sequence[Row[Any]]
) -> ErasureReport:
    now = steward.clock()
    with reading(steward.ledger) as connection:
        said = store.events_about_key(connection, key_id)
    item = event_item("subject.erased", now, {"decisions": len(rows), "reason": reason}, {"actor": actor})

    def destroy(connection: Connection) -> None:
        store.drop_scheduled(connection, lookup)
        changed = store.destroy_key(connection, key_id, item.id, now)
        if changed != len(rows):
            raise IntegrityError(
                "the subject's decisions changed while they were erased",
                got=changed,
                expected=len(rows),
                mend="try again",
            )

    steward.seal_event(item, destroy)
    store.scrub(steward.ledger)
    return ErasureReport(
        decisions=len(rows),
        unreadable=sum(_is_unreadable(steward, row, decisions) for row in rows),
        event_id=item.id,
        events=len(said),
        events_unreadable=sum(_is_unreadable(steward, row, events) for row in said),
        journals=_journals_with(steward.home.journal, [*rows, *said]),
    )


def _is_unreadable(steward: Steward, row: Row[Any], table: Table) -> bool:
    """Try as a reader would: take the payload from its segment, ask for its key, decrypt."""
    cabinet = steward.cabinet
    sealed = read_payload(steward.home.ledger, row.segment, row.offset, row.length, cabinet.mask_key)
    with reading(steward.ledger) as connection:
        now = store.find_row(connection, table, row.id)
        if now is None or (table is decisions and (now.subject, now.score, now.label) != (None, None, None)):
            return False
        for key_id in {sealed.key_id, row.key_id, now.key_id}:
            try:
                cabinet.find(connection, key_id).open(sealed)
            except (NotFound, IntegrityError):
                continue
            return False
    return True


def _journals_with(root: Path, rows: Sequence[Row[Any]]) -> tuple[str, ...]:
    names = {f"{row.node}/{row.worker}-{row.journal}" for row in rows}
    return tuple(file.name for file in journal_files(root) if file.name in names)
