"""What the verification of some batches finds, to be put together with what is found of all others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pilotage.ledger.faults import Faults
from pilotage.ledger.record import Batch, Event
from pilotage.ledger.sums import SumKey
from pilotage.ledger.verify_kept import GoneLeaf
from pilotage.ledger.verify_rows import Row

__all__ = ["BatchLeaves", "Findings", "Gone", "KeySeen", "Part", "ReadableEvent"]


@dataclass(frozen=True, kw_only=True)
class BatchLeaves:
    """A batch: its entries from tree index `first` on, its own leaf at `end - 1`. None is an entry that is missing, a
    GoneLeaf one that retention deleted.
    """

    first: int
    end: int
    entries: Sequence[bytes | GoneLeaf | None]
    batch: Batch


@dataclass(frozen=True, kw_only=True)
class Part:
    """Some batches in a row, to be checked at once, and the rows of `heads` by their sizes."""

    batches: Sequence[BatchLeaves]
    heads: Mapping[int, Row]

    @property
    def end(self) -> int:
        """The tree index after the last leaf."""
        return self.batches[-1].end


@dataclass(frozen=True, kw_only=True)
class ReadableEvent:
    """A verified event, for witnesses. `private` is its payload, None when it was erased or cannot be read."""

    leaf: int
    event: Event
    private: Mapping[str, Any] | None


class KeySeen(NamedTuple):
    """A key whose `created` is not the time of the part's first batch that used it: unless it was used before."""

    table: str
    key_id: str
    created: object
    expected: int


@dataclass(kw_only=True)
class Gone:
    """What tells of erasures: their events by id, and what was sealed under keys that are not there.

    `decisions` are ids of decisions by key; `about` are the ids that events under a key are about.
    """

    events: dict[str, Event] = field(default_factory=dict)
    decisions: dict[str, set[str]] = field(default_factory=dict)
    about: dict[str, set[str]] = field(default_factory=dict)

    def absorb(self, later: Gone) -> None:
        """Take what a later part tells."""
        self.events |= later.events
        for ours, theirs in ((self.decisions, later.decisions), (self.about, later.about)):
            for key_id, ids in theirs.items():
                ours.setdefault(key_id, set()).update(ids)


@dataclass(kw_only=True)
class Findings:
    """What the check of one part found. `figures` count what was read; `keys` are the ids of data keys that were
    there, 32 digits each; `gaps` are journal files of which events say that something is missing.
    """

    faults: Faults = field(default_factory=Faults)
    figures: Counter[str] = field(default_factory=Counter)
    batch_ids: list[str] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)
    keys: str = ""
    keys_seen: list[KeySeen] = field(default_factory=list)
    gone: Gone = field(default_factory=Gone)
    sums: dict[SumKey, dict[str, Any]] = field(default_factory=dict)
    kept: list[ReadableEvent] = field(default_factory=list)
