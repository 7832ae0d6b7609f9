"""Verify payload segments against batch leaves, open the data keys, and hold every payload to its leaf's commitment."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
from sqlalchemy import Row as SqlRow

from pilotage.errors import IntegrityError
from pilotage.kernel.digests import digest
from pilotage.ledger.faults import Faults
from pilotage.ledger.items import SALT, InterruptedPayload
from pilotage.ledger.keys import DataKey, KeyCabinet
from pilotage.ledger.record import Batch, Event, Interrupted, Payload, Plain
from pilotage.ledger.rows import WITHHELD, about, place_day
from pilotage.ledger.segments import SealedPayload, iterate_segment
from pilotage.ledger.tables import day_keys, erased_keys, scheduled_erasures, subject_keys
from pilotage.ledger.verify_rows import Row, Snapshot

__all__ = ["Key", "PayloadAudit", "Payloads", "Recorded", "SealedLeaf"]

Recorded = Plain | Interrupted | Event
_plain = msgspec.json.Decoder(Plain).decode
_payload = msgspec.msgpack.Decoder(Payload).decode
_broken_off = msgspec.msgpack.Decoder(InterruptedPayload).decode
_mapping = msgspec.msgpack.Decoder(dict[str, Any]).decode


@dataclass(frozen=True, kw_only=True, slots=True)
class SealedLeaf:
    """A leaf other than a batch's: its tree index and what it says."""

    index: int
    leaf: Recorded


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """Where a payload lies, and its bytes."""

    path: str
    offset: int
    length: int
    sealed: SealedPayload


@dataclass(frozen=True, kw_only=True)
class Payloads:
    """The payload records of one batch by id; `complete` unless a segment could not be read.

    `retired` are its segments that retention deleted, and how many payloads were in them.
    """

    batch: Batch
    records: dict[str, Record]
    complete: bool
    retired: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Key:
    """An opened data key and its row; `personal` when it is a subject's."""

    row: Row
    key: DataKey
    personal: bool


@dataclass(kw_only=True)
class PayloadAudit:
    """Reads and opens what lies encrypted under the ledger folder. `paths` are the segments that batches name.

    Of a part of the ledger, `after` is when the part before it ended: older keys were first used there.
    """

    folder: Path
    cabinet: KeyCabinet
    rows: Snapshot
    faults: Faults
    after: int = 0
    retired: Mapping[str, str] = field(default_factory=dict)
    readable: int = 0
    segments: int = 0
    paths: set[str] = field(default_factory=set)
    _used: set[str] = field(default_factory=set)

    def weigh(self, batch: Batch) -> int:
        """Bytes in the segments of a batch; what is missing weighs nothing."""
        weight = 0
        for segment in batch.segments:
            with suppress(OSError, ValueError):
                weight += (self.folder / segment.path).stat().st_size
        return weight

    def read(self, batch: Batch) -> Payloads:
        """The records in the segments of a batch, whose every byte the batch leaf commits to."""
        records: dict[str, Record] = {}
        complete, retired = True, dict[str, int]()
        for segment in batch.segments:
            self.segments += 1
            self.paths.add(segment.path)
            path = self.folder / segment.path
            if self.retired.get(segment.path) == segment.digest:
                retired[segment.path] = segment.records
                continue
            try:
                if (got := digest(path.read_bytes())) != segment.digest:
                    self.faults.add(path, "its bytes are not those that the batch leaf commits to", got, segment.digest)
                found = iterate_segment(path, self.cabinet.mask_key)
            except (IntegrityError, OSError) as error:
                what = error.what if isinstance(error, IntegrityError) else str(error.strerror)
                self.faults.add(path, what, getattr(error, "got", ""))
                complete = False
                continue
            if len(found) != segment.records:
                self.faults.add(path, "the number of records differs", len(found), segment.records)
            for offset, length, sealed in found:
                if sealed.id in records:
                    self.faults.add(f"{path} at byte {offset}", "a second payload of one leaf", sealed.id)
                records[sealed.id] = Record(path=segment.path, offset=offset, length=length, sealed=sealed)
        return Payloads(batch=batch, records=records, complete=complete, retired=retired)

    def open_keys(self, batches: Sequence[Payloads]) -> dict[str, Key | None]:
        """The keys of some batches, in order, by id; None where one does not unwrap. Destroyed ones are left out."""
        first_used = {
            record.sealed.key_id: payloads.batch.at
            for payloads in reversed(batches)
            for record in payloads.records.values()
        }
        ids = sorted(first_used)
        keys: dict[str, Key | None] = {}
        for table in (subject_keys, day_keys):
            for row in self.rows.among(table, table.c.key_id, ids):
                key_id = row["key_id"]
                if key_id in keys:
                    self.faults.add(f"{table.name} row {key_id}", "a second key of one id")
                keys[key_id] = self._unwrap(table.name, row, personal=table is subject_keys)
                created, expected = row["created"], first_used[key_id]
                before = self.after and isinstance(created, int) and created <= self.after
                if key_id not in self._used and self._made_otherwise(created, expected) and not before:
                    what = "not the time of the first batch that used this key"
                    self.faults.add(f"{table.name} created of {key_id}", what, created, expected)
        self._used |= keys.keys()
        gone = [key_id for key_id in ids if key_id not in keys]
        known = {row["key_id"] for row in self.rows.among(erased_keys, erased_keys.c.key_id, gone)}
        for key_id in gone:
            if key_id not in known and key_id != WITHHELD:
                place = f"subject_keys or day_keys row {key_id}"
                self.faults.add(place, "the key is missing, and no erasure destroyed it")
        return keys

    def _made_otherwise(self, created: object, first_used: int) -> bool:
        """Whether a key was made at another time; its first payloads may have gone by retention."""
        if self.retired and isinstance(created, int):
            return created > first_used
        return created != first_used

    def open(self, sealed: SealedLeaf, record: Record, key: Key, *, unsound: bool) -> bytes | None:
        """salt ‖ payload, held to the leaf's commitment unless the ledger itself says that the two differ."""
        try:
            secret = key.key.open(record.sealed)
        except IntegrityError:
            self.faults.add(self.at(record), f"the payload of leaf {sealed.index} does not decrypt under its key")
            return None
        self.readable += 1
        if hashlib.sha256(secret).hexdigest() != sealed.leaf.commitment and not unsound:
            self.faults.add(self.at(record), f"the payload is not the one that leaf {sealed.index} commits to")
        return secret

    def decode(self, sealed: SealedLeaf, record: Record, secret: bytes, *, unsound: bool) -> Payload | dict[str, Any]:
        """The payload of a decision, the mapping of an event; empty when it cannot be read."""
        leaf, content = sealed.leaf, memoryview(secret)[SALT:]
        try:
            if isinstance(leaf, Event):
                return _mapping(content)
            if isinstance(leaf, Interrupted):
                payload = _broken_off(content)
                opened = hashlib.sha256(payload.opened).hexdigest()
                if opened != _plain(leaf.opened).commitment or len(payload.chunks) != leaf.chunks:
                    self.faults.add(f"leaf {sealed.index}", "the stream's payload is not that of its opened part")
                return payload
            return _payload(content)
        except (msgspec.MsgspecError, ValueError) as error:
            if not unsound:
                self.faults.add(self.at(record), f"the payload of leaf {sealed.index} cannot be read: {error}")
            return {}

    def check_owner(self, leaf: Recorded, key: Key, payload: Payload | None) -> None:
        """A payload with a subject is under that subject's key, all others under their system's key of the day."""
        subject = payload.subject if payload is not None else ""
        if subject or (key.personal and not isinstance(leaf, Event)):
            table, expected = subject_keys.name, self.cabinet.subject_lookup(subject)
        elif key.personal or (isinstance(leaf, Event) and about(leaf)):
            return  # what is about a decision is for AboutAudit
        else:
            plain = _plain(leaf.opened) if isinstance(leaf, Interrupted) else leaf
            at = plain.times.received if isinstance(plain, Plain) else plain.at
            table, expected = day_keys.name, self.cabinet.day_lookup(plain.system, place_day(at))
        if key.row["lookup"] != expected:
            self.faults.add(f"{table} lookup of {key.row['key_id']}", "not that of what the key is for")

    def finish(self) -> None:
        """Keys under which nothing was sealed do not belong here."""
        waiting = {str(row["lookup"]) for row in self.rows.all(scheduled_erasures)} if self.retired else set()
        kept = {row["key_id"] for row in self.rows.among(subject_keys, subject_keys.c.lookup, sorted(waiting))}
        for table in (subject_keys, day_keys):
            for key_id in self.rows.values(table.c.key_id):
                if key_id not in self._used and key_id not in kept:
                    self.faults.add(f"{table.name} row {key_id}", "no payload was sealed under this key")

    def at(self, record: Record) -> str:
        """The place of a record."""
        return f"{self.folder / record.path} at byte {record.offset}"

    def _unwrap(self, table: str, row: Row, *, personal: bool) -> Key | None:
        try:
            # The cabinet reads a row's columns as attributes.
            key = self.cabinet.open_row(cast("SqlRow[tuple[object, ...]]", SimpleNamespace(**row)))
        except (IntegrityError, TypeError, ValueError):
            self.faults.add(f"{table} wrapped of {row['key_id']}", "the key does not unwrap under this keyring")
            return None
        return Key(row=row, key=key, personal=personal)
