"""Put together what the verification of all batches shows: of each part by itself, then what only the whole shows.

Leaves are collected into parts, the parts checked by a `Checker`: one after the other in this process, or several at
once in others. What they find is taken in the order of the leaves, so that faults and their order are the same.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pilotage.ledger.faults import Faults
from pilotage.ledger.record import Batch
from pilotage.ledger.said import SAID
from pilotage.ledger.said_tables import outcome_counts
from pilotage.ledger.sums import SumKey
from pilotage.ledger.tables import (
    day_keys,
    decisions,
    events,
    heads,
    profile_counts,
    scheduled_erasures,
    segments,
    subject_keys,
)
from pilotage.ledger.verify_erasures import ErasureAudit
from pilotage.ledger.verify_found import BatchLeaves, Findings, Gone, Part, ReadableEvent
from pilotage.ledger.verify_kept import GoneLeaf
from pilotage.ledger.verify_part import PartTools, check_part
from pilotage.ledger.verify_rows import Row, Snapshot
from pilotage.ledger.verify_sums import SumsAudit

__all__ = ["BatchAudit", "Checker", "InProcess"]

_TOGETHER = 2_000
"""Leaves to collect before SQL is asked: an idle ledger has many batches of few leaves."""

_TOGETHER_BYTES = 32 * 1024 * 1024
"""Bytes of payload after which no more is collected."""


class Checker(Protocol):
    """Checks parts, at most `ahead` at once. Used by one thread."""

    @property
    def ahead(self) -> int:
        """How many parts may be under way before the oldest is waited for."""
        ...

    def begin(self, part: Part) -> Callable[[], Findings]:
        """Begin with a part; what is returned waits for it, and raises DatabaseError when the database cannot be
        read."""
        ...


class InProcess:
    """Checks each part when it is asked for, with what this process has open."""

    ahead = 0

    def __init__(self, tools: PartTools) -> None:
        self._tools = tools

    def begin(self, part: Part) -> Callable[[], Findings]:
        """Check it when called."""
        return lambda: check_part(part, self._tools)


@dataclass(kw_only=True)
class BatchAudit:
    """Takes batch after batch, then `finish`. Counts what it has read; keeps events when parts keep them.

    `walk` are the faults that whoever walks the tree has found: each is put before those of the part that it came
    before. `checked` is told the tree index up to which all is checked.
    """

    folder: Path
    rows: Snapshot
    heads: Mapping[int, Row]
    faults: Faults
    walk: Faults
    checker: Checker
    retired: Mapping[str, str] = field(default_factory=dict)
    checked: Callable[[int], None] = lambda end: None
    figures: Counter[str] = field(default_factory=Counter)
    kept: list[ReadableEvent] = field(default_factory=list)
    paths: set[str] = field(default_factory=set)
    gaps: list[str] = field(default_factory=list)
    _waiting: list[BatchLeaves] = field(default_factory=list)
    _weight: int = 0
    _under_way: deque[tuple[Faults, int, Callable[[], Findings]]] = field(default_factory=deque)
    _batch_ids: set[str] = field(default_factory=set)
    _used: set[str] = field(default_factory=set)
    _gone: Gone = field(default_factory=Gone)
    _sums: SumsAudit = field(init=False)

    def __post_init__(self) -> None:
        self._sums = SumsAudit(rows=self.rows, faults=self.faults)

    def take_sums(self, sums: Mapping[SumKey, dict[str, Any]]) -> None:
        """Sums of decisions whose entries are gone."""
        self._sums.take(sums)

    def take(self, first: int, end: int, entries: Sequence[bytes | GoneLeaf | None], batch: Batch) -> None:
        """A batch: its entries from tree index `first` on, None for those missing, without its leaf at `end - 1`."""
        self._waiting.append(BatchLeaves(first=first, end=end, entries=entries, batch=batch))
        self._weight += self._weigh(batch)
        if end - self._waiting[0].first >= _TOGETHER or self._weight >= _TOGETHER_BYTES:
            self._begin()

    def finish_part(self) -> None:
        """The last of the batches taken, of a part of the ledger: nothing is said of what others would show."""
        self._begin()
        while self._under_way:
            self._collect()
        self.faults.absorb(self.walk)

    def finish(self, size: int) -> None:
        """What only the whole ledger shows: rows outside the tree, keys and erasures that nothing speaks of."""
        self.finish_part()
        for table in (decisions, events):
            for index in self.rows.outside(table.c.leaf, size):
                self.faults.add(f"{table.name} row of leaf {index}", "the tree has no such leaf")
            self._count(table.name, self.rows.count(table), self.figures[table.name])
        self._count(heads.name, len(self.heads), self.figures["batches"])
        for table in SAID.values():
            for index in self.rows.outside(table.c.leaf, size):
                self.faults.add(f"{table.name} row of leaf {index}", "the tree has no such leaf")
        for table in (profile_counts, outcome_counts, segments):
            for batch in set(self.rows.values(table.c.batch)) - self._batch_ids:
                self.faults.add(f"{table.name} batch {batch}", "the ledger has no such batch")
        self._sums.finish()
        self._check_keys()
        ErasureAudit(rows=self.rows, faults=self.faults, gone=self._gone, retired=bool(self.retired)).finish()

    def _weigh(self, batch: Batch) -> int:
        """Bytes in the segments of a batch; what is missing weighs nothing."""
        weight = 0
        for segment in batch.segments:
            with suppress(OSError, ValueError):
                weight += (self.folder / segment.path).stat().st_size
        return weight

    def _begin(self) -> None:
        """Have what waits checked, and take what is done."""
        waiting, self._waiting, self._weight = self._waiting, [], 0
        if not waiting:
            return
        heads_of = {one.end: self.heads[one.end] for one in waiting if one.end in self.heads}
        part, before = Part(batches=waiting, heads=heads_of), Faults()
        before.absorb(self.walk)
        self._under_way.append((before, part.end, self.checker.begin(part)))
        while len(self._under_way) > self.checker.ahead:
            self._collect()

    def _collect(self) -> None:
        """Take what the oldest part under way found."""
        before, end, wait = self._under_way.popleft()
        self.faults.absorb(before)
        found = wait()
        for seen in found.keys_seen:
            if seen.key_id not in self._used:
                what = "not the time of the first batch that used this key"
                self.faults.add(f"{seen.table} created of {seen.key_id}", what, seen.created, seen.expected)
        self._used.update([found.keys[at : at + 32] for at in range(0, len(found.keys), 32)])
        self.faults.absorb(found.faults)
        self.figures += found.figures
        self._batch_ids.update(found.batch_ids)
        self.paths.update(found.paths)
        self.gaps += found.gaps
        self.kept += found.kept
        self._gone.absorb(found.gone)
        self._sums.take(found.sums)
        self.checked(end)

    def _check_keys(self) -> None:
        """Keys under which nothing was sealed do not belong here, nor two of one id."""
        if sum(map(self.rows.count, (subject_keys, day_keys))) == len(self._used):
            return  # each of those used was there
        waiting = {str(row["lookup"]) for row in self.rows.all(scheduled_erasures)} if self.retired else set()
        kept = {row["key_id"] for row in self.rows.among(subject_keys, subject_keys.c.lookup, sorted(waiting))}
        known: set[str] = set()
        for table in (subject_keys, day_keys):
            for key_id in self.rows.values(table.c.key_id):
                if key_id in known:
                    self.faults.add(f"{table.name} row {key_id}", "a second key of one id")
                elif key_id not in self._used and key_id not in kept:
                    self.faults.add(f"{table.name} row {key_id}", "no payload was sealed under this key")
                known.add(key_id)

    def _count(self, name: str, got: int, expected: int) -> None:
        if got != expected:
            self.faults.add(f"{name} rows", "the number of rows is not that of the leaves", got, expected)
