"""Verify payload segments against batch leaves, open the data keys, and hold every payload to its leaf's commitment."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Table

from pilotage.errors import IntegrityError
from pilotage.kernel.digests import digest
from pilotage.ledger.items import SALT, InterruptedPayload
from pilotage.ledger.keys import KeyCabinet, KeyRow
from pilotage.ledger.record import Batch, Event, Interrupted, Payload, Plain, Segment
from pilotage.ledger.rows import WITHHELD, about, place_day
from pilotage.ledger.segments import SealedPayload, parse_segment
from pilotage.ledger.tables import day_keys, erased_keys, subject_keys
from pilotage.ledger.verify_found import Findings, KeySeen
from pilotage.ledger.verify_rows import Snapshot, Values

__all__ = ["Key", "PayloadAudit", "Payloads", "Record", "Recorded", "SealedLeaf"]

_KEY_COLUMNS = ("key_id", "lookup", "wrapped", "created")
_MANY, _TIME_DIGITS = 200, 12
"""So many keys of a batch that were made at one time are read as one range."""

Recorded = Plain | Interrupted | Event
_plain = msgspec.json.Decoder(Plain).decode
_payload = msgspec.msgpack.Decoder(Payload).decode
_broken_off = msgspec.msgpack.Decoder(InterruptedPayload).decode
_mapping = msgspec.msgpack.Decoder(dict[str, Any]).decode


class SealedLeaf(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A leaf other than a batch's: its tree index and what it says."""

    index: int
    leaf: Recorded


class Record(SealedPayload, frozen=True, gc=False):
    """A payload and where it lies."""

    path: str
    offset: int
    length: int


@dataclass(frozen=True, kw_only=True)
class Payloads:
    """The payload records of one batch by id; `complete` unless a segment could not be read.

    `retired` are its segments that retention deleted, and how many payloads were in them.
    """

    batch: Batch
    records: dict[str, Record]
    complete: bool
    retired: dict[str, int] = field(default_factory=dict)


class Key(msgspec.Struct, frozen=True, gc=False):
    """An opened data key and for what its row says it is; `personal` when it is a subject's, with its `pseudonym`."""

    key_id: str
    lookup: str
    aead: AESGCM
    personal: bool
    pseudonym: str


@dataclass(kw_only=True)
class PayloadAudit:
    """Reads and opens what lies encrypted under the ledger folder, of one part.

    Of a part of the ledger, `after` is when the part before it ended: older keys were first used there.
    """

    folder: Path
    cabinet: KeyCabinet
    rows: Snapshot
    found: Findings
    after: int = 0
    retired: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.faults = self.found.faults
        self.keys: dict[str, Key | None] = {}

    def read_all(self, batches: Sequence[Batch]) -> list[Payloads]:
        """The records of some batches, in order, with their keys opened in `keys`: None where one does not unwrap.
        Destroyed ones are left out.
        """
        found = [self._read(batch) for batch in batches]
        self._open_keys(found)
        return found

    def _read(self, batch: Batch) -> Payloads:
        """The records in the segments of a batch, whose every byte the batch leaf commits to."""
        records: dict[str, Record] = {}
        complete, retired = True, dict[str, int]()
        for segment in batch.segments:
            content = self._content(segment, retired)
            if content is None:
                complete = complete and segment.path in retired
                continue
            path = self.folder / segment.path
            try:
                found = self._records(segment.path, content)
            except IntegrityError as error:
                self.faults.add(path, error.what, error.got)
                complete = False
                continue
            if len(found) != segment.records:
                self.faults.add(path, "the number of records differs", len(found), segment.records)
            for record in found:
                if record.id in records:
                    self.faults.add(f"{path} at byte {record.offset}", "a second payload of one leaf", record.id)
                records[record.id] = record
        return Payloads(batch=batch, records=records, complete=complete, retired=retired)

    def _content(self, segment: Segment, retired: dict[str, int]) -> bytes | None:
        """The bytes of a segment that should be there; None, too, for one that `retired` is told of."""
        self.found.figures["segments"] += 1
        self.found.paths.append(segment.path)
        path = self.folder / segment.path
        if self.retired.get(segment.path) == segment.digest:
            retired[segment.path] = segment.records
            return None
        try:
            content = path.read_bytes()
        except OSError as error:
            self.faults.add(path, str(error.strerror), "")
            return None
        if (got := digest(content)) != segment.digest:
            self.faults.add(path, "its bytes are not those that the batch leaf commits to", got, segment.digest)
        return content

    def _records(self, name: str, content: bytes) -> list[Record]:
        return [
            Record(id_, origin, key_id, nonce, text, name, at, length)  # by place: a third of the price of by name
            for at, length, id_, origin, key_id, nonce, text in parse_segment(
                self.folder / name, content, self.cabinet.mask_key
            )
        ]

    def _open_keys(self, batches: Sequence[Payloads]) -> None:
        first_used = {
            record.key_id: payloads.batch.at for payloads in reversed(batches) for record in payloads.records.values()
        }
        fresh = [time for payloads in batches for time in _made_together(payloads.records.values())]
        for table in (subject_keys, day_keys):
            personal = table is subject_keys
            for key_id, lookup, wrapped, created in self._key_rows(table, first_used.keys() - self.keys.keys(), fresh):
                row = KeyRow(key_id, lookup, wrapped, created)
                opened = self.keys[key_id] = self._unwrap(row, personal=personal)
                expected = first_used[key_id]
                if created == expected or (opened is not None and row.bound):
                    continue
                before = self.after and isinstance(created, int) and created <= self.after
                if self._made_otherwise(created, expected) and not before:
                    self.found.keys_seen.append(KeySeen(table.name, key_id, created, expected))
        self.found.keys = "".join(self.keys)
        gone = sorted(first_used.keys() - self.keys.keys())
        known = {key_id for (key_id,) in self.rows.values_among(("key_id",), erased_keys.c.key_id, gone)}
        for key_id in gone:
            if key_id not in known and key_id != WITHHELD:
                place = f"subject_keys or day_keys row {key_id}"
                self.faults.add(place, "the key is missing, and no erasure destroyed it")

    def _key_rows(self, table: Table, ids: Set[str], fresh: Sequence[str]) -> list[Values]:
        """The rows of some keys. Those made at a `fresh` time lie together: they are read at once."""
        found: list[Values] = []
        for time in fresh:
            rows = self.rows.values_between(_KEY_COLUMNS, table.c.key_id, time, time + "g")
            found += [row for row in rows if row[0] in ids]
        others = sorted(ids - {row[0] for row in found})
        found += self.rows.values_among(_KEY_COLUMNS, table.c.key_id, others)
        return sorted(found, key=itemgetter(0))

    def _made_otherwise(self, created: object, first_used: int) -> bool:
        """Whether a key, whose wrapping does not vouch for it, was made at another time; its first payloads may have
        gone by retention."""
        if self.retired and isinstance(created, int):
            return created > first_used
        return created != first_used

    def open(self, sealed: SealedLeaf, record: Record, key: Key, *, unsound: bool) -> bytes | None:
        """salt ‖ payload, held to the leaf's commitment unless the ledger itself says that the two differ."""
        try:
            secret = key.aead.decrypt(record.nonce, record.ciphertext, record.id.encode())
        except InvalidTag:
            self.faults.add(self.at(record), f"the payload of leaf {sealed.index} does not decrypt under its key")
            return None
        self.found.figures["readable"] += 1
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
        if key.lookup != expected:
            self.faults.add(f"{table} lookup of {key.key_id}", "not that of what the key is for")

    def at(self, record: Record) -> str:
        """The place of a record."""
        return f"{self.folder / record.path} at byte {record.offset}"

    def _unwrap(self, row: KeyRow, *, personal: bool) -> Key | None:
        try:
            aead, pseudonym = self.cabinet.unwrap(row, named=personal)
        except (IntegrityError, TypeError, ValueError, AttributeError):
            table = subject_keys if personal else day_keys
            what = "the key does not unwrap under this keyring, or its row was changed"
            self.faults.add(f"{table.name} wrapped of {row.key_id}", what)
            return None
        return Key(row.key_id, row.lookup, aead, personal, pseudonym)


def _made_together(records: Iterable[Record]) -> list[str]:
    """The time, as key ids begin with it, at which most keys of a batch were made, where these are many."""
    times = Counter([record.key_id[:_TIME_DIGITS] for record in records])
    return [time for time, count in times.most_common(1) if count >= _MANY]
