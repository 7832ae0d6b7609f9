"""Verify the rows beside the leaves of some batches: index, heads, segments, profile counts, against the payloads.

The batch leaf commits to each segment's bytes; a segment's record says under which key, and from which journal, the
payload of a leaf was sealed. With the payload, every column of the index follows. A part is checked by itself, in this
process or in another (`verify_workers`): what only the whole ledger shows is put together by `verify_batches`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any

import msgspec

from pilotage.ledger.faults import Faults
from pilotage.ledger.keys import KeyCabinet
from pilotage.ledger.record import Batch, Event, Payload, decode_leaf
from pilotage.ledger.rows import DECISION_COLUMNS, Place, counts_digest, index_row
from pilotage.ledger.said import SAID, said_row
from pilotage.ledger.said_tables import outcome_counts
from pilotage.ledger.sums import SUMMED, Summed, sums_of
from pilotage.ledger.tables import ERASED, decisions, events, heads, profile_counts, segments
from pilotage.ledger.verify_about import AboutAudit
from pilotage.ledger.verify_erasures import lost, tell
from pilotage.ledger.verify_found import BatchLeaves, Findings, Part, ReadableEvent
from pilotage.ledger.verify_kept import GoneLeaf
from pilotage.ledger.verify_payloads import Key, PayloadAudit, Payloads, Recorded, SealedLeaf
from pilotage.ledger.verify_quick import QuickPass
from pilotage.ledger.verify_rows import Row, Snapshot, Values

__all__ = ["PartTools", "check_part"]

_summed = itemgetter(*SUMMED)


@dataclass(frozen=True, kw_only=True)
class PartTools:
    """What checking any part of one ledger needs. `retired` are the segments that retention deleted, with digests;
    `after` is when the part that is not verified ended; `keep_events` keeps all events for witnesses.
    """

    folder: Path
    cabinet: KeyCabinet
    rows: Snapshot
    retired: Mapping[str, str] = field(default_factory=dict)
    after: int = 0
    keep_events: bool = False


def check_part(part: Part, tools: PartTools) -> Findings:
    """Check some batches in a row: in one quick pass, and from the beginning where anything is wrong."""
    found = _PartAudit(part, tools).check_quickly()
    return found if found is not None and not found.faults.count else _PartAudit(part, tools).check_closely()


@dataclass(frozen=True, kw_only=True)
class _Rows:
    """What SQL holds of some batches. Leaves take their rows out; what stays has no leaf. `decisions` are values in the
    order of DECISION_COLUMNS, all others mappings.
    """

    decisions: dict[int, Values]
    index: dict[str, dict[int, Row]]
    keys: dict[str, Key | None]
    segments: dict[str, list[Row]]
    counts: dict[str, list[Row]]
    outcome_counts: dict[str, list[Row]]

    def take(self, table: str, index: int) -> Row | None:
        """The row of a leaf, which is out then."""
        if table != decisions.name:
            return self.index[table].pop(index, None)
        values = self.decisions.pop(index, None)
        return None if values is None else dict(zip(DECISION_COLUMNS, values, strict=True))


class _PartAudit:
    """One check of one part."""

    def __init__(self, part: Part, tools: PartTools) -> None:
        self._part, self._keep_events = part, tools.keep_events
        self.found = Findings()
        self.faults: Faults = self.found.faults
        self.rows = tools.rows.reporting(self.faults)
        self._cabinet = tools.cabinet
        self.payloads = PayloadAudit(
            folder=tools.folder,
            cabinet=tools.cabinet,
            rows=self.rows,
            found=self.found,
            after=tools.after,
            retired=tools.retired,
        )
        self._about = AboutAudit(
            rows=self.rows, cabinet=tools.cabinet, faults=self.faults, retired=tools.retired.keys()
        )
        self._summed: list[Summed] = []

    def check_quickly(self) -> Findings | None:
        """Look closely only at what a quick pass did not prove; None when the part is out of the ordinary."""
        quick = QuickPass(payloads=self.payloads, rows=self.rows, found=self.found, summed=self._summed)
        left = quick.over(self._part.batches)
        return None if left is None else self._check(left.leaves, left.payloads, left.decisions)

    def check_closely(self) -> Findings:
        """Look closely at every leaf, so that all that is wrong is named in the order of the leaves."""
        batches = self._part.batches
        payloads = self.payloads.read_all([one.batch for one in batches])
        rows = self.rows.values_between(DECISION_COLUMNS, decisions.c.leaf, batches[0].first, batches[-1].end)
        at = DECISION_COLUMNS.index("leaf")
        return self._check([*map(self._decode, batches)], payloads, {values[at]: values for values in rows})

    def _check(
        self,
        leaves: Sequence[Sequence[tuple[int, Recorded]]],
        payloads: Sequence[Payloads],
        decided: dict[int, Values],
    ) -> Findings:
        batches = self._part.batches
        rows = self._fetch(batches, decided)
        self._about.meet(leaf for some in leaves for _, leaf in some if isinstance(leaf, Event))
        for one, found, some in zip(batches, payloads, leaves, strict=True):
            self._check_batch(one, some, found, rows)
        for name, left in (
            (decisions.name, list(rows.decisions)),
            *((n, list(kept)) for n, kept in rows.index.items()),
        ):
            for index in left:
                self.faults.add(f"{name} row of leaf {index}", "this leaf has no such row")
        self.found.sums = sums_of(self._summed)
        return self.found

    def _decode(self, one: BatchLeaves) -> list[tuple[int, Recorded]]:
        """The leaves of a batch with their tree indexes."""
        found: list[tuple[int, Recorded]] = []
        for index, entry in enumerate(one.entries, one.first):
            if not isinstance(entry, bytes):
                continue
            try:
                leaf = decode_leaf(entry)
                if isinstance(leaf, Batch):
                    raise ValueError("a batch leaf that is not written as one")
            except (msgspec.MsgspecError, ValueError) as error:
                self.faults.add(f"leaf {index}", f"its entry is no record: {error}")
                continue
            found.append((index, leaf))
        return found

    def _fetch(self, batches: Sequence[BatchLeaves], decided: dict[int, Values]) -> _Rows:
        first, end, ids = batches[0].first, batches[-1].end, [one.batch.id for one in batches]
        by_batch: dict[str, dict[str, list[Row]]] = {}
        for table in (segments, profile_counts, outcome_counts):
            groups = by_batch[table.name] = {}
            for row in self.rows.among(table, table.c.batch, ids):
                groups.setdefault(row["batch"], []).append(row)
        return _Rows(
            decisions=decided,
            index={
                table.name: {row["leaf"]: row for row in self.rows.between(table, table.c.leaf, first, end)}
                for table in (events, *SAID.values())
            },
            keys=self.payloads.keys,
            segments=by_batch[segments.name],
            counts=by_batch[profile_counts.name],
            outcome_counts=by_batch[outcome_counts.name],
        )

    def _check_batch(
        self,
        one: BatchLeaves,
        leaves: Sequence[tuple[int, Recorded]],
        payloads: Payloads,
        rows: _Rows,
    ) -> None:
        batch, figures = one.batch, self.found.figures
        figures["batches"] += 1
        self.found.batch_ids.append(batch.id)
        if batch.first != one.first:
            what = "the batch does not begin where the one before it ends"
            self.faults.add(f"leaf {one.end - 1}", what, batch.first, one.first)
        self._check_head(one.end, batch)
        told = [leaf for _, leaf in leaves if isinstance(leaf, Event)]
        self.found.gaps += [str(event.facts.get("file")) for event in told if event.kind == "journal.gap"]
        unsound = {str(event.facts.get("id")) for event in told if event.kind == "record.unsound"}
        for index, leaf in leaves:
            try:
                sealed = SealedLeaf(index=index, leaf=leaf)
                self._check_leaf(sealed, one.end, payloads, rows, unsound=leaf.id in unsound)
            except (msgspec.MsgspecError, ValueError, TypeError, LookupError) as error:
                self.faults.add(f"leaf {index}", f"what it says cannot be read: {error}")
        for gone in one.entries:
            if type(gone) is GoneLeaf:
                self._check_gone(gone, payloads, rows)
        for record in payloads.records.values():
            self.faults.add(self.payloads.at(record), "no leaf has this payload")
        for path, left in payloads.retired.items():
            if left:
                self.faults.add(f"index rows of {path}", "leaves that say they were in it are missing", left)
        self._check_counts(batch, rows.counts.get(batch.id, []), rows.outcome_counts.get(batch.id, []))
        self._check_segments(batch, rows.segments.get(batch.id, []))

    def _check_head(self, size: int, batch: Batch) -> None:
        head = self._part.heads.get(size)
        if head is None:
            self.faults.add(f"heads row of size {size}", "the head of this batch is missing", expected=batch.id)
            return
        expected = {"batch": batch.id, "at": batch.at, "epoch": batch.epoch, "first": batch.first}
        self._compare(f"of size {size}", heads.name, head, expected)

    def _check_leaf(self, sealed: SealedLeaf, end: int, payloads: Payloads, rows: _Rows, *, unsound: bool) -> None:
        leaf, index = sealed.leaf, sealed.index
        table = events.name if isinstance(leaf, Event) else decisions.name
        self.found.figures[table] += 1
        row = rows.take(table, index)
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
        key_id = record.key_id
        place = Place(
            leaf=index,
            segment=record.path,
            offset=record.offset,
            length=record.length,
            key_id=key_id,
            origin=record.origin,
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
        expected = index_row(leaf, payload, key.pseudonym, place)
        self._sum(table, expected)
        if row is not None:
            self._compare(f"of leaf {index}", table, row, expected)
        self._check_said(index, leaf, content, rows)

    def _check_said(self, index: int, leaf: Recorded, private: Any, rows: _Rows) -> None:
        """The row beside an outcome's or an override's event; cleared when its payload is gone."""
        if not isinstance(leaf, Event) or leaf.kind not in SAID:
            return
        table = SAID[leaf.kind].name
        row = rows.take(table, index)
        if row is None:
            self.faults.add(f"{table} row of leaf {index}", "it is missing", expected=leaf.id)
            return
        lookup = self._cabinet.reviewer_lookup
        self._compare(f"of leaf {index}", table, row, said_row(index, leaf, private, lookup))

    def _check_erased(self, sealed: SealedLeaf, place: Place, table: str, row: Row | None) -> None:
        """A leaf whose key is gone: the index must not hold anything of its payload any more."""
        self.found.figures["erased"] += 1
        lost(self.found.gone, place.key_id, sealed.leaf)
        self._meet(sealed.index, sealed.leaf, None)
        expected = index_row(sealed.leaf, None, "", place)
        self._sum(table, expected)
        if row is not None:
            expected["key_id"] = ERASED
            self._compare(f"of leaf {sealed.index}", table, row, expected)

    def _check_retired(self, sealed: SealedLeaf, table: str, row: Row) -> None:
        """A leaf whose payload went by retention: nothing of it may be left in the index."""
        self.found.figures["retired"] += 1
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
        self._sum(table, expected)
        self._compare(f"of leaf {sealed.index}", table, row, expected)

    def _check_gone(self, leaf: GoneLeaf, payloads: Payloads, rows: _Rows) -> None:
        """A leaf whose entry went by retention: its row is a stub, and its payload went before."""
        self.found.figures["gone"] += 1
        self.found.figures[leaf.table] += 1
        segment = leaf.row["segment"]
        if segment in payloads.retired:
            payloads.retired[segment] -= 1
        elif payloads.complete:
            self.faults.add(f"leaf {leaf.index}", "its entry went by retention, but not its payload", segment)
        row = rows.take(leaf.table, leaf.index)
        if row is None:
            self.faults.add(f"{leaf.table} row of leaf {leaf.index}", "it is missing", expected=leaf.row["id"])
        else:
            self._compare(f"of leaf {leaf.index}", leaf.table, row, leaf.row)

    def _meet(self, index: int, leaf: Recorded, private: Any) -> None:
        if isinstance(leaf, Event):
            tell(self.found.gone, leaf)
            if self._keep_events:
                self.found.kept.append(ReadableEvent(leaf=index, event=leaf, private=private))

    def _sum(self, table: str, expected: Row) -> None:
        if table == decisions.name:
            self._summed.append(_summed(expected))

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
