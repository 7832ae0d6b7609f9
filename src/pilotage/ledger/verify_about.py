"""Verify that what is said about a decision lies under that decision's key: else it would outlive an erasure."""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass, field

from pilotage.ledger.about import waiting_subject
from pilotage.ledger.faults import Faults
from pilotage.ledger.keys import KeyCabinet
from pilotage.ledger.record import Event
from pilotage.ledger.rows import WITHHELD, about
from pilotage.ledger.tables import ERASED, decisions
from pilotage.ledger.verify_payloads import Key, SealedLeaf
from pilotage.ledger.verify_rows import Row, Snapshot

__all__ = ["AboutAudit"]


@dataclass(kw_only=True)
class AboutAudit:
    """First `meet` the events of some batches, then `check` each event among them that is about a decision."""

    rows: Snapshot
    cabinet: KeyCabinet
    faults: Faults
    retired: Container[str] = frozenset()
    _decisions: dict[str, Row] = field(default_factory=dict)

    def meet(self, told: Iterable[Event]) -> None:
        """Read the index rows of the decisions that these events are about."""
        ids = {id_ for event in told if (id_ := about(event))}
        self._decisions = {row["id"]: row for row in self.rows.among(decisions, decisions.c.id, sorted(ids))}

    def check(self, sealed: SealedLeaf, end: int, key_id: str, key: Key | None) -> None:
        """An event of a batch that ends before leaf `end`, sealed under `key_id`; `key` is None when it is gone."""
        if not isinstance(sealed.leaf, Event) or not (id_ := about(sealed.leaf)):
            if key_id == WITHHELD:
                self._add(sealed, "its payload was not kept, but it is about no erased decision", key_id)
            return
        row = self._decisions.get(id_)
        if row is not None and row["segment"] in self.retired:
            return  # the decision's payload went by retention: its key is not known any more
        erased = row is not None and row["key_id"] == ERASED
        if key is None:
            if not erased:
                self._add(sealed, "its payload is gone, but the decision it is about is not erased", id_)
        elif row is None or row["leaf"] >= end:
            expected = self.cabinet.subject_lookup(waiting_subject(id_))
            if erased or not key.personal or key.lookup != expected:
                self._add(sealed, "its key is not that of events before their decision", key_id)
        elif erased or row["key_id"] != key_id:
            self._add(sealed, "it is not under the key of the decision that it is about", key_id, row["key_id"])

    def _add(self, sealed: SealedLeaf, what: str, got: object, expected: object = "") -> None:
        self.faults.add(f"leaf {sealed.index}", what, got, expected)
