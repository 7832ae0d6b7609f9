"""Prove the many decisions of which everything is as it was sealed, in one pass, at a fifth of the price of naming
what is not.

Leaves, their index rows and payloads are met in the order of the leaves, some hundred at a time: what is proven is let
go while it is still in the processor's cache. A decision is proven only when its payload decrypts
under the key of whom it is about, is what the leaf commits to, and the index row is the one that `rows.index_row` makes
of both. All others are left to `verify_part`, which looks at them closely; so nothing here decides that something is
wrong. Where a part as a whole is out of the ordinary, the pass gives up, and all of the part is looked at closely.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isfinite

import msgspec
from cryptography.exceptions import InvalidTag

from pilotage.ledger.items import SALT
from pilotage.ledger.keys import KeyCabinet
from pilotage.ledger.record import Batch, Payload, Plain, decode_leaf
from pilotage.ledger.rows import DECISION_COLUMNS, place_day, split_origin
from pilotage.ledger.sums import Summed
from pilotage.ledger.tables import decisions
from pilotage.ledger.verify_found import BatchLeaves, Findings
from pilotage.ledger.verify_payloads import Key, PayloadAudit, Payloads, Record, Recorded
from pilotage.ledger.verify_rows import Snapshot, Values

__all__ = ["LeftOver", "QuickPass", "expected_values", "is_usual"]

_TOGETHER = 1_024
_Slice = tuple[int, int, int]
"""Leaves of the batch of a number: those of indexes [start, end)."""

_AT = DECISION_COLUMNS.index("leaf")
_sha256 = hashlib.sha256
_payload = msgspec.msgpack.Decoder(Payload).decode


@dataclass(frozen=True, kw_only=True)
class LeftOver:
    """What a pass over a part did not prove: of each batch its leaves with their tree indexes and its payloads, and the
    rows of `decisions` by leaf.
    """

    leaves: list[list[tuple[int, Recorded]]]
    payloads: list[Payloads]
    decisions: dict[int, Values]


class _OutOfTheOrdinaryError(Exception):
    """This part needs a close look."""


@dataclass(kw_only=True)
class QuickPass:
    """One pass over some batches. What it proved is in the figures of `found`, and in `summed`; opened keys are with
    `payloads`.
    """

    payloads: PayloadAudit
    rows: Snapshot
    found: Findings
    summed: list[Summed] = field(default_factory=list)

    def __post_init__(self) -> None:
        cabinet: KeyCabinet = self.payloads.cabinet
        self._subject_lookup, self._day_lookup = cabinet.subject_lookup, cabinet.day_lookup
        self._days: dict[tuple[str, str], str] = {}

    def over(self, batches: Sequence[BatchLeaves]) -> LeftOver | None:
        """What is left to be looked at closely; None when that is all of it."""
        left = LeftOver(leaves=[[] for _ in batches], payloads=[], decisions={})
        try:
            left.payloads.extend(self.payloads.read_all([one.batch for one in batches]))
            if self.found.faults.count:
                return None
            window: list[_Slice] = []
            for at, one in enumerate(batches):
                for start in range(one.first, one.end, _TOGETHER):
                    window.append((at, start, min(start + _TOGETHER, one.end)))
                    if window[-1][2] - window[0][1] >= _TOGETHER:
                        self._look_at(window, batches, left)
                        window = []
            self._look_at(window, batches, left)
        except (_OutOfTheOrdinaryError, msgspec.MsgspecError, ValueError, TypeError):
            return None
        return left

    def _look_at(self, window: Sequence[_Slice], batches: Sequence[BatchLeaves], left: LeftOver) -> None:
        """Prove what can be proven of leaves in a row."""
        if not window:
            return
        keys, proven = self.payloads.keys, 0
        read = self.rows.values_between(DECISION_COLUMNS, decisions.c.leaf, window[0][1], window[-1][2])
        rows = {values[_AT]: values for values in read}
        for at, start, end in window:
            first, records, unproven = batches[at].first, left.payloads[at].records, left.leaves[at]
            for index, entry in enumerate(batches[at].entries[start - first : end - first], start):
                if type(entry) is not bytes:
                    continue
                leaf = decode_leaf(entry)
                if isinstance(leaf, Batch):
                    raise _OutOfTheOrdinaryError
                if type(leaf) is Plain and is_usual(entry, leaf) and index in rows:
                    record = records.get(leaf.id)
                    key = None if record is None else keys.get(record.key_id)
                    if key and record and self._holds(index, leaf, record, key, rows[index]):
                        del rows[index], records[leaf.id]
                        proven += 1
                        continue
                unproven.append((index, leaf))
        left.decisions.update(rows)
        self.found.figures["decisions"] += proven
        self.found.figures["readable"] += proven

    def _holds(self, index: int, leaf: Plain, record: Record, key: Key, values: Values) -> bool:
        """Whether all is well with the decision of a tree index, its payload in a record, its row of these values."""
        try:
            secret = key.aead.decrypt(record.nonce, record.ciphertext, leaf.id.encode())
            if _sha256(secret).hexdigest() != leaf.commitment:
                return False
            payload = _payload(memoryview(secret)[SALT:])
        except (InvalidTag, msgspec.MsgspecError, ValueError):
            return False
        if not self._is_owner(leaf, key, payload.subject):
            return False
        if values != expected_values(index, leaf, payload, record, key):
            return False
        times = leaf.times
        took = times.contract + times.guard + times.answer
        self.summed.append((times.received, leaf.system, leaf.release, leaf.arm, leaf.mode, leaf.outcome, 0, took))
        return True

    def _is_owner(self, leaf: Plain, key: Key, subject: str) -> bool:
        if subject:
            return key.lookup == self._subject_lookup(subject)
        day = leaf.system, place_day(leaf.times.received)
        if day not in self._days:
            self._days[day] = self._day_lookup(*day)
        return not key.personal and key.lookup == self._days[day]


def is_usual(entry: bytes, leaf: Plain) -> bool:
    """Whether a leaf's row says what the leaf says, word by word: no findings, and no NUL, which the index writes
    otherwise (in the entry it is escaped).
    """
    return not leaf.findings and (b"\\" not in entry or b"\\u0000" not in entry)


def expected_values(index: int, leaf: Plain, payload: Payload, record: Record, key: Key) -> Values | None:
    """The row of `decisions` of a usual leaf, in the order of DECISION_COLUMNS; None for one that is out of the
    ordinary. It is what `rows.decision_values` makes, without the steps between.
    """
    times, score, label = leaf.times, payload.score, payload.answer.get("label")
    if score is not None and not isfinite(score):
        return None
    if label is not None:
        label = str(label)
        if "\0" in label:
            return None
    node, worker, journal = split_origin(record.origin)
    return (
        leaf.id,
        times.received,
        leaf.request_id,
        leaf.system,
        leaf.release,
        leaf.contract,
        leaf.plan,
        leaf.stage,
        leaf.arm,
        leaf.mode,
        leaf.kind,
        leaf.outcome,
        score,
        label,
        0,
        "",
        times.contract + times.guard + times.answer,
        leaf.trace,
        leaf.parent,
        leaf.turn,
        node,
        worker,
        journal,
        record.offset,
        record.length,
        record.key_id,
        key.pseudonym or None,
        index,
        record.path,
    )
