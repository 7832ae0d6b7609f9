"""Verify what lies beside the leaves: payload segments, keys, index rows, profile counts, heads; batch by batch.

The batch leaf commits to each segment's bytes; a segment's record says under which key, and from which journal, the
payload of a leaf was sealed. With the payload, every column of the index follows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
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
from pilotage.ledger.rows import Place, counts_digest, index_row, place_day
from pilotage.ledger.segments import SealedPayload, iterate_segment
from pilotage.ledger.tables import (
    ERASED,
    day_keys,
    decisions,
    erased_keys,
    events,
    heads,
    profile_counts,
    scheduled_erasures,
    segments,
    subject_keys,
)
from pilotage.ledger.verify_rows import Row, Snapshot

__all__ = ["BatchAudit", "ReadableEvent", "SealedLeaf"]

Recorded = Plain | Interrupted | Event
_plain = msgspec.json.Decoder(Plain).decode
_payload = msgspec.msgpack.Decoder(Payload).decode
_broken_off = msgspec.msgpack.Decoder(InterruptedPayload).decode
_mapping = msgspec.msgpack.Decoder(dict[str, Any]).decode


@dataclass(frozen=True, kw_only=True)
class ReadableEvent:
    """A verified event, for witnesses. `private` is its payload, None when it was erased or cannot be read."""

    leaf: int
    event: Event
    private: Mapping[str, Any] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class SealedLeaf:
    """A leaf other than a batch's: its tree index and what it says."""

    index: int
    leaf: Recorded


@dataclass(frozen=True, kw_only=True, slots=True)
class _Record:
    """Where a payload lies, and its bytes."""

    path: str
    offset: int
    length: int
    sealed: SealedPayload


@dataclass(kw_only=True)
class _Key:
    """An opened key with its row's facts."""

    row: Row
    key: DataKey
    personal: bool


@dataclass(kw_only=True)
class BatchAudit:
    """Takes batch after batch, then `finish`. Counts what it has read."""

    folder: Path
    cabinet: KeyCabinet
    rows: Snapshot
    faults: Faults
    keep_events: bool = False
    decisions: int = 0
    events: int = 0
    batches: int = 0
    readable: int = 0
    erased: int = 0
    segments: int = 0
    kept: list[ReadableEvent] = field(default_factory=list)
    paths: set[str] = field(default_factory=set)
    _batch_ids: set[str] = field(default_factory=set)
    _used_keys: set[str] = field(default_factory=set)
    _erased_keys: dict[str, int] = field(default_factory=dict)
    _erasures: dict[str, Event] = field(default_factory=dict)

    def take(self, first: int, end: int, leaves: Sequence[SealedLeaf], batch: Batch) -> None:
        """Check a batch: its leaves from tree index `first` on, the batch leaf at `end - 1`."""
        self.batches += 1
        if batch.first != first:
            self.faults.add(
                f"leaf {end - 1}", "the batch does not begin where the one before it ends", batch.first, first
            )
        self._check_head(end, batch)
        records, complete = self._read_segments(batch)
        keys = self._open_keys(records, batch)
        unsound = {
            str(sealed.leaf.facts.get("id"))
            for sealed in leaves
            if isinstance(sealed.leaf, Event) and sealed.leaf.kind == "record.unsound"
        }
        found = {
            **{
                row["leaf"]: (decisions.name, row) for row in self.rows.between(decisions, decisions.c.leaf, first, end)
            },
            **{row["leaf"]: (events.name, row) for row in self.rows.between(events, events.c.leaf, first, end)},
        }
        for sealed in leaves:
            record = records.pop(sealed.leaf.id, None)
            name, row = found.pop(sealed.index, ("", None))
            self._check_leaf(sealed, record, keys, name, row, complete, sealed.leaf.id in unsound)
        for record in records.values():
            self.faults.add(self._at(record), "no leaf has this payload")
        for index, (name, _) in found.items():
            self.faults.add(f"{name} row of leaf {index}", "this leaf has no such row")
        self._check_counts(batch)

    def finish(self, size: int) -> None:
        """What only the whole ledger shows: rows outside the tree, keys and erasures that nothing speaks of."""
        for table, number in ((decisions, self.decisions), (events, self.events)):
            for index in self.rows.outside(table.c.leaf, size):
                self.faults.add(f"{table.name} row of leaf {index}", "the tree has no such leaf")
            self._count(table.name, self.rows.count(table), number)
        self._count(heads.name, self.rows.count(heads), self.batches)
        for table in (subject_keys, day_keys):
            for key_id in self.rows.values(table.c.key_id):
                if key_id not in self._used_keys:
                    self.faults.add(f"{table.name} row {key_id}", "no payload was sealed under this key")
        self._check_rows_of_batches()
        self._check_erasures()

    def _count(self, name: str, got: int, expected: int) -> None:
        if got != expected:
            self.faults.add(f"{name} rows", "the number of rows is not that of the leaves", got, expected)

    def _check_head(self, size: int, batch: Batch) -> None:
        found = self.rows.between(heads, heads.c.size, size, size + 1)
        if not found:
            self.faults.add(f"heads row of size {size}", "the head of this batch is missing", expected=batch.id)
            return
        expected = {"batch": batch.id, "at": batch.at, "epoch": batch.epoch, "first": batch.first}
        self._compare(f"of size {size}", heads.name, found[0], expected)

    # Segments and keys.

    def _read_segments(self, batch: Batch) -> tuple[dict[str, _Record], bool]:
        """(the payload records of a batch by id, whether all could be read)."""
        records: dict[str, _Record] = {}
        complete = True
        for segment in batch.segments:
            self.segments += 1
            self.paths.add(segment.path)
            path = self.folder / segment.path
            try:
                content = path.read_bytes()
                if digest(content) != segment.digest:
                    what = "its bytes are not those that the batch leaf commits to"
                    self.faults.add(path, what, digest(content), segment.digest)
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
                records[sealed.id] = _Record(path=segment.path, offset=offset, length=length, sealed=sealed)
        return records, complete

    def _open_keys(self, records: Mapping[str, _Record], batch: Batch) -> dict[str, _Key | None]:
        """The keys of a batch by id; None where the row is there but does not unwrap. Destroyed ones are left out."""
        ids = sorted({record.sealed.key_id for record in records.values()})
        keys: dict[str, _Key | None] = {}
        for table in (subject_keys, day_keys):
            for row in self.rows.among(table, table.c.key_id, ids):
                key_id, place = row["key_id"], f"{table.name} row {row['key_id']}"
                if key_id in keys:
                    self.faults.add(place, "a second key of one id")
                try:
                    key = self.cabinet.open_row(cast("SqlRow[tuple[object, ...]]", SimpleNamespace(**row)))
                    keys[key_id] = _Key(row=row, key=key, personal=table is subject_keys)
                except (IntegrityError, TypeError, ValueError):
                    self.faults.add(f"{table.name} wrapped of {key_id}", "the key does not unwrap under this keyring")
                    keys[key_id] = None
                if key_id not in self._used_keys and row["created"] != batch.at:
                    what = "not the time of the first batch that used this key"
                    self.faults.add(f"{table.name} created of {key_id}", what, row["created"], batch.at)
        self._used_keys |= keys.keys()
        gone = [key_id for key_id in ids if key_id not in keys]
        known = {row["key_id"] for row in self.rows.among(erased_keys, erased_keys.c.key_id, gone)}
        for key_id in gone:
            if key_id not in known:
                place = f"subject_keys or day_keys row {key_id}"
                self.faults.add(place, "the key is missing, and no erasure destroyed it")
        return keys

    # Leaves.

    def _check_leaf(
        self,
        sealed: SealedLeaf,
        record: _Record | None,
        keys: Mapping[str, _Key | None],
        name: str,
        row: Row | None,
        complete: bool,
        unsound: bool,
    ) -> None:
        leaf, index = sealed.leaf, sealed.index
        table = events.name if isinstance(leaf, Event) else decisions.name
        self.events += table == events.name
        self.decisions += table == decisions.name
        if row is None or name != table:
            self.faults.add(f"{table} row of leaf {index}", "it is missing", expected=leaf.id)
            row = None
        if record is None:
            if complete:
                self.faults.add(f"leaf {index}", "no segment of its batch has its payload", expected=leaf.id)
            return
        key = keys.get(record.sealed.key_id)
        gone = record.sealed.key_id not in keys
        secret = self._open(sealed, record, key, unsound) if key else None
        payload = self._read_payload(sealed, record, secret, unsound) if secret is not None else None
        if gone:
            self.erased += 1
            counted = self._erased_keys.get(record.sealed.key_id, 0)
            self._erased_keys[record.sealed.key_id] = counted + (table == decisions.name)
        if isinstance(leaf, Event):
            self._remember(leaf)
            if secret is None:
                self._keep(sealed, leaf, None)
        if row is None or (secret is None and not gone):
            return
        pseudonym = key.key.pseudonym if key and key.personal else ""
        place = Place(
            leaf=index,
            segment=record.path,
            offset=record.offset,
            length=record.length,
            key_id=ERASED if gone and table == decisions.name else record.sealed.key_id,
            origin=record.sealed.origin,
        )
        if key:
            self._check_key_owner(leaf, key, payload)
        self._compare(f"of leaf {index}", table, row, index_row(leaf, payload, pseudonym, place))

    def _open(self, sealed: SealedLeaf, record: _Record, key: _Key, unsound: bool) -> bytes | None:
        """salt ‖ payload, held to the leaf's commitment."""
        try:
            secret = key.key.open(record.sealed)
        except IntegrityError:
            self.faults.add(self._at(record), f"the payload of leaf {sealed.index} does not decrypt under its key")
            return None
        self.readable += 1
        if hashlib.sha256(secret).hexdigest() != sealed.leaf.commitment and not unsound:
            self.faults.add(self._at(record), f"the payload is not the one that leaf {sealed.index} commits to")
        return secret

    def _read_payload(self, sealed: SealedLeaf, record: _Record, secret: bytes, unsound: bool) -> Payload | None:
        """The payload of a decision; None for an event. What a stream's leaf says beside it is checked too."""
        leaf, content = sealed.leaf, memoryview(secret)[SALT:]
        try:
            if isinstance(leaf, Event):
                self._keep(sealed, leaf, _mapping(content))
                return None
            if isinstance(leaf, Interrupted):
                payload = _broken_off(content)
                opened = hashlib.sha256(payload.opened).hexdigest()
                if opened != _plain(leaf.opened).commitment or len(payload.chunks) != leaf.chunks:
                    self.faults.add(f"leaf {sealed.index}", "the stream's payload is not that of its opened part")
                return payload
            return _payload(content)
        except msgspec.DecodeError as error:
            if not unsound:
                self.faults.add(self._at(record), f"the payload of leaf {sealed.index} cannot be read: {error}")
            return None

    def _at(self, record: _Record) -> str:
        return f"{self.folder / record.path} at byte {record.offset}"

    def _keep(self, sealed: SealedLeaf, event: Event, private: Mapping[str, Any] | None) -> None:
        if self.keep_events:
            self.kept.append(ReadableEvent(leaf=sealed.index, event=event, private=private))

    def _check_key_owner(self, leaf: Recorded, key: _Key, payload: Payload | None) -> None:
        """A payload with a subject is under that subject's key, all others under their system's key of the day."""
        subject = payload.subject if payload is not None else ""
        if subject or (key.personal and not isinstance(leaf, Event)):
            table, expected = subject_keys.name, self.cabinet.subject_lookup(subject)
        elif key.personal:
            return
        else:
            plain = _plain(leaf.opened) if isinstance(leaf, Interrupted) else leaf
            at = plain.times.received if isinstance(plain, Plain) else plain.at
            table, expected = day_keys.name, self.cabinet.day_lookup(plain.system, place_day(at))
        if key.row["lookup"] != expected:
            self.faults.add(f"{table} lookup of {key.row['key_id']}", "not that of what the key is for")

    # Rows beside the index.

    def _check_counts(self, batch: Batch) -> None:
        rows = self.rows.among(profile_counts, profile_counts.c.batch, [batch.id])
        try:
            got = counts_digest(rows)
        except (ValueError, TypeError) as error:
            got = str(error)
        if got != batch.counts:
            what = "the profile counts are not those that the batch leaf commits to"
            self.faults.add(f"profile_counts rows of batch {batch.id}", what, got, batch.counts)
        known = {row["path"]: row for row in self.rows.among(segments, segments.c.batch, [batch.id])}
        for segment in batch.segments:
            row = known.pop(segment.path, None)
            if row is None:
                self.faults.add(f"segments row {segment.path}", "it is missing", expected=f"batch {batch.id}")
                continue
            expected = {"digest": segment.digest, "records": segment.records}
            self._compare(f"of {segment.path}", segments.name, row, expected)
        for path in known:
            self.faults.add(f"segments row {path}", "the batch leaf names no such segment")
        self._batch_ids.add(batch.id)

    def _check_rows_of_batches(self) -> None:
        for table in (profile_counts, segments):
            for batch in set(self.rows.values(table.c.batch)) - self._batch_ids:
                self.faults.add(f"{table.name} batch {batch}", "the ledger has no such batch")

    def _remember(self, event: Event) -> None:
        if event.kind in ("subject.erased", "erasure.scheduled"):
            self._erasures[event.id] = event

    def _check_erasures(self) -> None:
        """One tombstone event for each destroyed key: it tells when, and how many decisions it concerned."""
        tombstones = {id_: event for id_, event in self._erasures.items() if event.kind == "subject.erased"}
        for row in self.rows.all(erased_keys):
            key_id, place = row["key_id"], f"of {row['key_id']}"
            event = tombstones.pop(str(row["event"]), None)
            if event is None:
                self.faults.add(f"erased_keys event {place}", "no such erasure in the ledger", row["event"])
            elif row["at"] != event.at:
                self.faults.add(f"erased_keys at {place}", "not the time of the erasure", row["at"], event.at)
            elif self._erased_keys.get(key_id, 0) != event.facts.get("decisions"):
                got, expected = self._erased_keys.get(key_id, 0), event.facts.get("decisions")
                self.faults.add(f"erased_keys row {key_id}", "the erasure concerned other decisions", got, expected)
        for id_ in tombstones:
            self.faults.add(f"erased_keys event {id_}", "the row of this erasure is missing")
        self._check_scheduled()

    def _check_scheduled(self) -> None:
        for row in self.rows.all(scheduled_erasures):
            event = self._erasures.get(str(row["event"]))
            facts = event.facts if event is not None and event.kind == "erasure.scheduled" else {}
            if (row["due"], row["reason"]) != (facts.get("until"), facts.get("reason")):
                place = f"scheduled_erasures row {row['lookup']}"
                self.faults.add(place, "not as its event says", (row["due"], row["reason"], row["event"]), facts)
            if not self.rows.among(subject_keys, subject_keys.c.lookup, [str(row["lookup"])]):
                self.faults.add(f"scheduled_erasures lookup {row['lookup']}", "no subject has this lookup")

    def _compare(self, of: str, table: str, row: Row, expected: Mapping[str, Any]) -> None:
        if row == expected and table == decisions.name:
            return  # almost always, and no column of it is a boolean
        for column, value in expected.items():
            got = row.get(column)
            if not _same(got, value):
                self.faults.add(f"{table} {column} {of}", "not what the leaf and its payload say", got, value)


def _same(got: Any, expected: Any) -> bool:
    """Equal as JSON values: a boolean is no number, a number no text."""
    if isinstance(expected, bool) or isinstance(got, bool):
        return got is expected
    if isinstance(expected, dict):
        return isinstance(got, dict) and got.keys() == expected.keys() and all(_same(got[k], expected[k]) for k in got)
    if isinstance(expected, list):
        return isinstance(got, list) and len(got) == len(expected) and all(map(_same, got, expected))
    return bool(got == expected)
