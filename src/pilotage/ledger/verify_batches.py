"""Verify the rows beside the leaves: index, heads, segments, profile counts; some batches at a time.

The batch leaf commits to each segment's bytes; a segment's record says under which key, and from which journal, the
payload of a leaf was sealed. With the payload, every column of the index follows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from pilotage.ledger.faults import Faults
from pilotage.ledger.record import Batch, Event, Payload
from pilotage.ledger.rows import Place, counts_digest, index_row
from pilotage.ledger.said import SAID, said_row
from pilotage.ledger.said_tables import outcome_counts
from pilotage.ledger.sums import SumKey
from pilotage.ledger.tables import ERASED, decisions, events, heads, profile_counts, segments
from pilotage.ledger.verify_about import AboutAudit
from pilotage.ledger.verify_erasures import ErasureAudit
from pilotage.ledger.verify_kept import GoneLeaf
from pilotage.ledger.verify_payloads import Key, PayloadAudit, Payloads, Recorded, SealedLeaf
from pilotage.ledger.verify_rows import Row, Snapshot
from pilotage.ledger.verify_sums import SumsAudit

__all__ = ["BatchAudit", "ReadableEvent"]

_TOGETHER = 2_000
"""Leaves to collect before SQL is asked: an idle ledger has many batches of few leaves."""

_TOGETHER_BYTES = 32 * 1024 * 1024
"""Bytes of payload after which no more is collected."""


@dataclass(frozen=True, kw_only=True)
class ReadableEvent:
    """A verified event, for witnesses. `private` is its payload, None when it was erased or cannot be read."""

    leaf: int
    event: Event
    private: Mapping[str, Any] | None


@dataclass(frozen=True, kw_only=True)
class _Waiting:
    """A batch to check: its leaves from tree index `first` on, the batch leaf at `end - 1`."""

    first: int
    end: int
    leaves: Sequence[SealedLeaf]
    batch: Batch
    gone: Sequence[GoneLeaf] = ()


@dataclass(frozen=True, kw_only=True)
class _Rows:
    """What SQL holds of some batches. Leaves take their rows out; what stays has no leaf."""

    index: dict[str, dict[int, Row]]
    keys: dict[str, Key | None]
    segments: dict[str, list[Row]]
    counts: dict[str, list[Row]]
    outcome_counts: dict[str, list[Row]]


@dataclass(kw_only=True)
class BatchAudit:
    """Takes batch after batch, then `finish`. Counts what it has read; keeps events when asked to."""

    rows: Snapshot
    heads: Mapping[int, Row]
    payloads: PayloadAudit
    faults: Faults
    keep_events: bool = False
    decisions: int = 0
    events: int = 0
    batches: int = 0
    erased: int = 0
    retired: int = 0
    gone: int = 0
    kept: list[ReadableEvent] = field(default_factory=list)
    _waiting: list[_Waiting] = field(default_factory=list)
    _weight: int = 0
    _batch_ids: set[str] = field(default_factory=set)
    _erasures: ErasureAudit = field(init=False)
    _about: AboutAudit = field(init=False)
    _sums: SumsAudit = field(init=False)

    def __post_init__(self) -> None:
        self._erasures = ErasureAudit(rows=self.rows, faults=self.faults, retired=bool(self.payloads.retired))
        self._sums = SumsAudit(rows=self.rows, faults=self.faults)
        self._about = AboutAudit(
            rows=self.rows, cabinet=self.payloads.cabinet, faults=self.faults, retired=self.payloads.retired.keys()
        )

    def figures(self) -> dict[str, int]:
        """How much of what was read, as reports have it."""
        return {
            "decisions": self.decisions,
            "events": self.events,
            "batches": self.batches,
            "segments": self.payloads.segments,
            "readable": self.payloads.readable,
            "erased": self.erased,
            "retired": self.retired,
            "gone": self.gone,
        }

    def take_sums(self, sums: dict[SumKey, dict[str, Any]]) -> None:
        """Sums of decisions whose entries are gone."""
        self._sums.take_made(sums)

    def take(
        self, first: int, end: int, leaves: Sequence[SealedLeaf], batch: Batch, gone: Sequence[GoneLeaf] = ()
    ) -> None:
        """A batch: its leaves from tree index `first` on, the batch leaf at `end - 1`; of `gone` the entry went."""
        self._waiting.append(_Waiting(first=first, end=end, leaves=leaves, batch=batch, gone=gone))
        self._weight += self.payloads.weigh(batch)
        if end - self._waiting[0].first >= _TOGETHER or self._weight >= _TOGETHER_BYTES:
            self._check_waiting()

    def finish_part(self) -> None:
        """The last of the batches taken, of a part of the ledger: nothing is said of what others would show."""
        self._check_waiting()

    def finish(self, size: int) -> None:
        """What only the whole ledger shows: rows outside the tree, keys and erasures that nothing speaks of."""
        self._check_waiting()
        for table, number in ((decisions, self.decisions), (events, self.events)):
            for index in self.rows.outside(table.c.leaf, size):
                self.faults.add(f"{table.name} row of leaf {index}", "the tree has no such leaf")
            self._count(table.name, self.rows.count(table), number)
        self._count(heads.name, len(self.heads), self.batches)
        for table in SAID.values():
            for index in self.rows.outside(table.c.leaf, size):
                self.faults.add(f"{table.name} row of leaf {index}", "the tree has no such leaf")
        for table in (profile_counts, outcome_counts, segments):
            for batch in set(self.rows.values(table.c.batch)) - self._batch_ids:
                self.faults.add(f"{table.name} batch {batch}", "the ledger has no such batch")
        self._sums.finish()
        self.payloads.finish()
        self._erasures.finish()

    def _count(self, name: str, got: int, expected: int) -> None:
        if got != expected:
            self.faults.add(f"{name} rows", "the number of rows is not that of the leaves", got, expected)

    def _check_waiting(self) -> None:
        waiting, self._waiting, self._weight = self._waiting, [], 0
        if not waiting:
            return
        payloads = [self.payloads.read(one.batch) for one in waiting]
        rows = self._fetch(waiting, payloads)
        self._about.meet(sealed for one in waiting for sealed in one.leaves)
        for one, found in zip(waiting, payloads, strict=True):
            self._check_batch(one, found, rows)
        for name, left in rows.index.items():
            for index in left:
                self.faults.add(f"{name} row of leaf {index}", "this leaf has no such row")

    def _fetch(self, waiting: Sequence[_Waiting], payloads: Sequence[Payloads]) -> _Rows:
        first, end, ids = waiting[0].first, waiting[-1].end, [one.batch.id for one in waiting]
        by_batch: dict[str, dict[str, list[Row]]] = {}
        for table in (segments, profile_counts, outcome_counts):
            groups = by_batch[table.name] = {}
            for row in self.rows.among(table, table.c.batch, ids):
                groups.setdefault(row["batch"], []).append(row)
        return _Rows(
            index={
                table.name: {row["leaf"]: row for row in self.rows.between(table, table.c.leaf, first, end)}
                for table in (decisions, events, *SAID.values())
            },
            keys=self.payloads.open_keys(payloads),
            segments=by_batch[segments.name],
            counts=by_batch[profile_counts.name],
            outcome_counts=by_batch[outcome_counts.name],
        )

    def _check_batch(self, one: _Waiting, payloads: Payloads, rows: _Rows) -> None:
        batch = one.batch
        self.batches += 1
        self._batch_ids.add(batch.id)
        if batch.first != one.first:
            what = "the batch does not begin where the one before it ends"
            self.faults.add(f"leaf {one.end - 1}", what, batch.first, one.first)
        self._check_head(one.end, batch)
        told = [sealed.leaf for sealed in one.leaves if isinstance(sealed.leaf, Event)]
        unsound = {str(event.facts.get("id")) for event in told if event.kind == "record.unsound"}
        for sealed in one.leaves:
            try:
                self._check_leaf(sealed, one.end, payloads, rows, unsound=sealed.leaf.id in unsound)
            except (msgspec.MsgspecError, ValueError, TypeError, LookupError) as error:
                self.faults.add(f"leaf {sealed.index}", f"what it says cannot be read: {error}")
        for leaf in one.gone:
            self._check_gone(leaf, payloads, rows)
        for record in payloads.records.values():
            self.faults.add(self.payloads.at(record), "no leaf has this payload")
        for path, left in payloads.retired.items():
            if left:
                self.faults.add(f"index rows of {path}", "leaves that say they were in it are missing", left)
        self._check_counts(batch, rows.counts.get(batch.id, []), rows.outcome_counts.get(batch.id, []))
        self._check_segments(batch, rows.segments.get(batch.id, []))

    def _check_head(self, size: int, batch: Batch) -> None:
        head = self.heads.get(size)
        if head is None:
            self.faults.add(f"heads row of size {size}", "the head of this batch is missing", expected=batch.id)
            return
        expected = {"batch": batch.id, "at": batch.at, "epoch": batch.epoch, "first": batch.first}
        self._compare(f"of size {size}", heads.name, head, expected)

    def _check_leaf(self, sealed: SealedLeaf, end: int, payloads: Payloads, rows: _Rows, *, unsound: bool) -> None:
        leaf, index = sealed.leaf, sealed.index
        table = events.name if isinstance(leaf, Event) else decisions.name
        self.events += table == events.name
        self.decisions += table == decisions.name
        row = rows.index[table].pop(index, None)
        if row is None:
            self.faults.add(f"{table} row of leaf {index}", "it is missing", expected=leaf.id)
        record = payloads.records.pop(leaf.id, None)
        if record is None:
            if row is not None and payloads.retired.get(row["segment"]):
                payloads.retired[row["segment"]] -= 1
                self._check_retired(sealed, table, row)
                self._check_said(index, leaf, None, rows)
            elif payloads.complete:
                self.faults.add(f"leaf {index}", "no segment of its batch has its payload", expected=leaf.id)
            return
        key_id = record.sealed.key_id
        place = Place(
            leaf=index,
            segment=record.path,
            offset=record.offset,
            length=record.length,
            key_id=key_id,
            origin=record.sealed.origin,
        )
        if key_id not in rows.keys:
            self._about.check(sealed, end, key_id, None)
            self._check_erased(sealed, place, table, row)
            self._check_said(index, leaf, None, rows)
            return
        key = rows.keys[key_id]
        secret = self.payloads.open(sealed, record, key, unsound=unsound) if key else None
        if key is None or secret is None:
            return
        content = self.payloads.decode(sealed, record, secret, unsound=unsound)
        payload = content if isinstance(content, Payload) else None
        self._meet(index, leaf, content)
        self._about.check(sealed, end, key_id, key)
        self.payloads.check_owner(leaf, key, payload)
        expected = index_row(leaf, payload, key.key.pseudonym if key.personal else "", place)
        self._sums.take(table, expected)
        if row is not None:
            self._compare(f"of leaf {index}", table, row, expected)
        self._check_said(index, leaf, content, rows)

    def _check_said(self, index: int, leaf: Recorded, private: Any, rows: _Rows) -> None:
        """The row beside an outcome's or an override's event; cleared when its payload is gone."""
        if not isinstance(leaf, Event) or leaf.kind not in SAID:
            return
        table = SAID[leaf.kind].name
        row = rows.index[table].pop(index, None)
        if row is None:
            self.faults.add(f"{table} row of leaf {index}", "it is missing", expected=leaf.id)
            return
        lookup = self.payloads.cabinet.reviewer_lookup
        self._compare(f"of leaf {index}", table, row, said_row(index, leaf, private, lookup))

    def _check_erased(self, sealed: SealedLeaf, place: Place, table: str, row: Row | None) -> None:
        """A leaf whose key is gone: the index must not hold anything of its payload any more."""
        self.erased += 1
        self._erasures.gone(place.key_id, sealed.leaf)
        self._meet(sealed.index, sealed.leaf, None)
        expected = index_row(sealed.leaf, None, "", place)
        self._sums.take(table, expected)
        if row is not None:
            expected["key_id"] = ERASED
            self._compare(f"of leaf {sealed.index}", table, row, expected)

    def _check_retired(self, sealed: SealedLeaf, table: str, row: Row) -> None:
        """A leaf whose payload went by retention: nothing of it may be left in the index."""
        self.retired += 1
        self._meet(sealed.index, sealed.leaf, None)
        origin = f"{row['node']}/{row['worker']}-{row['journal']}" if row["worker"] >= 0 else row["node"]
        place = Place(
            leaf=sealed.index,
            segment=row["segment"],
            offset=row["offset"],
            length=row["length"],
            key_id=ERASED,
            origin=origin,
        )
        expected = index_row(sealed.leaf, None, "", place)
        for unknown in ("node", "worker", "journal"):
            expected.pop(unknown)  # only the segment's record told from which journal the payload came
        self._sums.take(table, expected)
        self._compare(f"of leaf {sealed.index}", table, row, expected)

    def _check_gone(self, leaf: GoneLeaf, payloads: Payloads, rows: _Rows) -> None:
        """A leaf whose entry went by retention: its row is a stub, and its payload went before."""
        self.gone += 1
        self.events += leaf.table == events.name
        self.decisions += leaf.table == decisions.name
        segment = leaf.row["segment"]
        if segment in payloads.retired:
            payloads.retired[segment] -= 1
        elif payloads.complete:
            self.faults.add(f"leaf {leaf.index}", "its entry went by retention, but not its payload", segment)
        row = rows.index[leaf.table].pop(leaf.index, None)
        if row is None:
            self.faults.add(f"{leaf.table} row of leaf {leaf.index}", "it is missing", expected=leaf.row["id"])
        else:
            self._compare(f"of leaf {leaf.index}", leaf.table, row, leaf.row)

    def _meet(self, index: int, leaf: Recorded, private: Any) -> None:
        if isinstance(leaf, Event):
            self._erasures.meet(leaf)
            if self.keep_events:
                self.kept.append(ReadableEvent(leaf=index, event=leaf, private=private))

    def _check_counts(self, batch: Batch, rows: list[Row], outcomes: list[Row]) -> None:
        try:
            got = counts_digest(rows, outcomes)
        except (ValueError, TypeError) as error:
            got = str(error)
        if got != batch.counts:
            what = "the counts are not those that the batch leaf commits to"
            place = "profile_counts or outcome_counts" if outcomes else "profile_counts"
            self.faults.add(f"{place} rows of batch {batch.id}", what, got, batch.counts)

    def _check_segments(self, batch: Batch, rows: list[Row]) -> None:
        known = {row["path"]: row for row in rows}
        for segment in batch.segments:
            row = known.pop(segment.path, None)
            if row is None:
                self.faults.add(f"segments row {segment.path}", "it is missing", expected=f"batch {batch.id}")
                continue
            expected = {"digest": segment.digest, "records": segment.records}
            self._compare(f"of {segment.path}", segments.name, row, expected)
        for path in known:
            self.faults.add(f"segments row {path}", "the batch leaf names no such segment")

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
