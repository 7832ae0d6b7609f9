"""Verify erasures: a destroyed key needs a tombstone event in the tree, and a tombstone its destroyed key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pilotage.ledger.faults import Faults
from pilotage.ledger.record import Event
from pilotage.ledger.rows import about
from pilotage.ledger.tables import erased_keys, scheduled_erasures, subject_keys
from pilotage.ledger.verify_found import Gone
from pilotage.ledger.verify_payloads import Recorded
from pilotage.ledger.verify_rows import Row, Snapshot

__all__ = ["ErasureAudit", "lost", "tell"]

_DONE, _SCHEDULED = "subject.erased", "erasure.scheduled"


def tell(gone: Gone, event: Event) -> None:
    """An event of the tree."""
    if event.kind in (_DONE, _SCHEDULED):
        gone.events[event.id] = event


def lost(gone: Gone, key_id: str, leaf: Recorded) -> None:
    """A leaf whose payload was sealed under a key that is not there."""
    if isinstance(leaf, Event):
        gone.about.setdefault(key_id, set()).add(about(leaf))
    else:
        gone.decisions.setdefault(key_id, set()).add(leaf.id)


@dataclass(kw_only=True)
class ErasureAudit:
    """Compares what is `gone`, of the whole ledger, with the rows.

    With `retired`, segments of those who were erased may have gone since: then fewer leaves are met than it concerned.
    """

    rows: Snapshot
    faults: Faults
    gone: Gone
    retired: bool = False

    def finish(self) -> None:
        """One tombstone for the keys that an erasure destroyed: it tells when, and how many decisions it concerned."""
        tombstones = {id_: event for id_, event in self.gone.events.items() if event.kind == _DONE}
        groups: dict[str, list[Row]] = {}
        for row in self.rows.all(erased_keys):
            groups.setdefault(str(row["event"]), []).append(row)
        for id_, rows in groups.items():
            self._check_erasure(tombstones.pop(id_, None), rows)
        for id_ in tombstones:
            self.faults.add(f"erased_keys event {id_}", "the row of this erasure is missing")
        self._check_scheduled()

    def _check_erasure(self, event: Event | None, rows: Sequence[Row]) -> None:
        """The keys that one erasure destroyed: of the person, and of events that came before their decision."""
        concerned = {id_ for row in rows for id_ in self.gone.decisions.get(row["key_id"], ())}
        for row in rows:
            key_id = row["key_id"]
            if event is None:
                self.faults.add(f"erased_keys event of {key_id}", "no such erasure in the ledger", row["event"])
            elif row["at"] != event.at:
                self.faults.add(f"erased_keys at of {key_id}", "not the time of the erasure", row["at"], event.at)
            elif self.retired and len(concerned) < int(event.facts.get("decisions", 0)):
                continue
            elif not self.gone.decisions.get(key_id) and not self.gone.about.get(key_id, {""}) <= concerned:
                self.faults.add(f"erased_keys row {key_id}", "this key was not of what the erasure concerned")
            elif len(concerned) != event.facts.get("decisions"):
                what = "the erasure concerned another number of decisions"
                self.faults.add(f"erased_keys row {key_id}", what, len(concerned), event.facts.get("decisions"))

    def _check_scheduled(self) -> None:
        waiting = self.rows.all(scheduled_erasures)
        self._check_forgotten({str(row["event"]) for row in waiting})
        for row in waiting:
            event = self.gone.events.get(str(row["event"]))
            facts = event.facts if event is not None and event.kind == _SCHEDULED else {}
            if (row["due"], row["reason"]) != (facts.get("until"), facts.get("reason")):
                place = f"scheduled_erasures row {row['lookup']}"
                self.faults.add(place, "not as its event says", (row["due"], row["reason"], row["event"]), facts)
            if not self.rows.among(subject_keys, subject_keys.c.lookup, [str(row["lookup"])]):
                self.faults.add(f"scheduled_erasures lookup {row['lookup']}", "no subject has this lookup")

    def _check_forgotten(self, waiting: set[str]) -> None:
        """A schedule ends by an erasure or a new schedule: each later event can have ended one."""
        ends = 0
        for event in reversed(self.gone.events.values()):
            if event.kind == _SCHEDULED and event.id not in waiting:
                ends -= 1
                if ends < 0:
                    place = f"scheduled_erasures event {event.id}"
                    self.faults.add(place, "the row of this schedule is missing, and it was not carried out")
                    ends = 0
            ends += 1
