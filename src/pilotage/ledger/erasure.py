"""Erase a person: destroy the subject's key, so that no payload can be read again; the tree stays whole.

The order: seal what waits, look for legal holds, look for retention floors, then in one transaction destroy the key,
clear what the index holds of the person and seal the tombstone event; at last prove that nothing can be read.
Copies in journal files that are not deleted yet are named in the report: each goes when its worker begins a new file.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Connection, Engine, Row, Table

from pilotage.errors import InputError, IntegrityError, NotFound, Refused
from pilotage.kernel.clock import now_us, rfc3339
from pilotage.kernel.ids import uuid7
from pilotage.ledger import store, store_keeping
from pilotage.ledger.erasure_list import apply_erasure_list
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

__all__ = ["ErasureReport", "Floors", "Hold", "erase", "erase_due", "list_holds", "place_hold", "release_hold"]

_REASON = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")


@dataclass(frozen=True, kw_only=True)
class ErasureReport:
    """What came of an erasure. `decisions` of the subject; `unreadable` of them, proven by trying to read each; the
    same of the `events` about these decisions (outcomes, overrides, explanations).

    Inside a retention floor nothing is erased: `restricted_until` is its end (Unix microseconds, else 0), when
    `erase_due` will do it. `journals` are files that still hold encrypted copies until their worker moves
    on, at `copies_until` (Unix microseconds) at the latest where that is known.
    """

    decisions: int
    unreadable: int
    event_id: str
    events: int = 0
    events_unreadable: int = 0
    restricted_until: int = 0
    journals: tuple[str, ...] = ()
    copies_until: int = 0


Floors = Callable[[str], Iterable[str]]
"""The regimes whose retention floors bind for a system."""


def _no_floor(_system: str) -> Iterable[str]:
    return ()


def erase(
    subject: str,
    reason: str,
    actor: str,
    *,
    steward: Steward,
    regimes: Iterable[str] = (),
    floors: Floors = _no_floor,
) -> ErasureReport:
    """Erase a subject. `reason` is a code that goes into the ledger, no free text; `actor` is encrypted there.

    `regimes` bind for all systems, `floors` names those of one. Raises InputError for a reason that is no code,
    NotFound for a subject nobody knows, Refused(code="legal_hold") under a hold, and what `Steward.seal` raises. The
    steward needs the lease.
    """
    if not _REASON.fullmatch(reason):
        raise InputError(
            "the reason is no code",
            got=f"{len(reason)} characters",
            expected="1 to 40 lower-case letters, digits, hyphens, underscores",
            mend="use a code such as request or consent_withdrawn: it is kept for ever, so it must name nobody",
        )
    bound = tuple(regimes)
    return _erase(steward.cabinet.subject_lookup(subject), reason, actor, steward, lambda of: (*bound, *floors(of)))


def erase_due(steward: Steward, floors: Floors = _no_floor) -> list[ErasureReport]:
    """Do the erasures whose retention floor has passed. One that a hold forbids waits on; one whose person has newer
    decisions inside a floor is scheduled anew.
    """
    with reading(steward.ledger) as connection:
        due = store_keeping.due_erasures(connection, steward.clock())
    done = []
    for row in due:
        with suppress(Refused):
            done.append(_erase(row.lookup, row.reason, "schedule", steward, floors))
    return done


def place_hold(
    control: Engine, keyring: Keyring, reason: str, actor: str, *, subject: str = "", system: str = ""
) -> str:
    """Forbid erasure and retention's deletions: of one subject, of all of one system, or of all; the hold's id.

    `reason` is encrypted: a court's file number names people.
    """
    hold, now = uuid7(), now_us()
    lookup = KeyCabinet(keyring).subject_lookup(subject) if subject else ""
    kept = _shut_reason(keyring, hold, reason)
    row = {"id": hold, "lookup": lookup, "system": system, "reason": kept, "placed": now, "released": 0}
    private = {"actor": actor, "reason": reason}
    with writing(control) as connection:
        store.add_rows(connection, legal_holds, [row])
        outbox.emit(connection, "legal_hold.placed", system=system, facts={"hold": hold}, private=private, at=now)
    return hold


@dataclass(frozen=True, kw_only=True)
class Hold:
    """A legal hold: on one `subject` (whose name is nowhere), on one `system`, on all where both are empty.

    `placed` and `released` in Unix microseconds, `released` 0 while it holds.
    """

    id: str
    on_subject: bool
    system: str
    reason: str
    placed: int
    released: int


def list_holds(control: Engine, keyring: Keyring) -> list[Hold]:
    """Every legal hold, the newest first."""
    with reading(control) as connection:
        rows = store_keeping.all_holds(connection)
    return [
        Hold(
            id=row.id,
            on_subject=bool(row.lookup),
            system=row.system,
            reason=_open_reason(keyring, row.id, row.reason),
            placed=row.placed,
            released=row.released,
        )
        for row in rows
    ]


def _shut_reason(keyring: Keyring, hold: str, reason: str) -> str:
    nonce = os.urandom(12)
    sealed = nonce + AESGCM(keyring.secret("hold-reason")).encrypt(nonce, reason.encode(), hold.encode())
    return base64.b64encode(sealed).decode()


def _open_reason(keyring: Keyring, hold: str, kept: str) -> str:
    try:
        sealed = base64.b64decode(kept, validate=True)
        return AESGCM(keyring.secret("hold-reason")).decrypt(sealed[:12], sealed[12:], hold.encode()).decode()
    except (ValueError, InvalidTag):
        return "(not readable with this keyring)"


def release_hold(control: Engine, hold: str, actor: str) -> None:
    """End a legal hold. Raises NotFound."""
    with writing(control) as connection:
        if not store_keeping.release_hold_row(connection, hold, now_us()):
            raise NotFound("no such legal hold is active", got=hold, mend="check its id")
        outbox.emit(connection, "legal_hold.released", facts={"hold": hold}, private={"actor": actor})


def _erase(lookup: str, reason: str, actor: str, steward: Steward, floors: Floors) -> ErasureReport:
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
    newest: dict[str, int] = {}
    for row in rows:
        newest[row.system] = max(newest.get(row.system, 0), int(row.at))
    until = max((kept_until(at, floors(system)) for system, at in newest.items()), default=0)
    if until > steward.clock():
        return _schedule(lookup, reason, actor, steward, len(rows), until)
    return _destroy(lookup, str(key.key_id), reason, actor, steward, rows)


def _require_no_hold(control: Engine, lookup: str, rows: Sequence[Row[Any]]) -> None:
    with reading(control) as connection:
        holds = store_keeping.active_holds(connection, lookup, sorted({row.system for row in rows}))
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
        store_keeping.drop_scheduled(connection, lookup)
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
        store_keeping.drop_scheduled(connection, lookup)
        changed = store_keeping.destroy_key(connection, key_id, item.id, now)
        if changed != len(rows):
            raise IntegrityError(
                "the subject's decisions changed while they were erased",
                got=changed,
                expected=len(rows),
                mend="try again",
            )

    steward.seal_event(item, destroy)
    apply_erasure_list(steward.home, steward.ledger)
    store_keeping.scrub(steward.ledger)
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
