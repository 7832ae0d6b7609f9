"""Retention of entries: a bundle of 256 entries goes once all that can go in it is over; its hash tile stays.

    kept      what stays of each bundle is written beside it: batch leaves, control events, stubs, sums
    event     in one transaction the index rows become stubs, and an event names each bundle with the digest of the rest
    files     the bundles go; cut off before that, it goes on at the next run

Entries go after their payloads only: the commitment to a payload is in its entry. A hold on a person keeps the payload,
and with it the entry.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Table

from pilotage.errors import IntegrityError, NotFound
from pilotage.kernel.digests import digest
from pilotage.ledger import entries_store, store_keeping, tiles
from pilotage.ledger.items import event_item
from pilotage.ledger.kept import KeptBundle, Stub, kept_path, pack_kept, stub_row
from pilotage.ledger.merkle import leaf_hash
from pilotage.ledger.notes import read_checkpoint_body
from pilotage.ledger.pending import first_waiting
from pilotage.ledger.record import Event, Interrupted, Plain, decode_leaf
from pilotage.ledger.retired import RETIRED_ENTRIES, bundles_named_by, deletions
from pilotage.ledger.retiring import Policy, retired_segments
from pilotage.ledger.rows import decision_draft, event_draft
from pilotage.ledger.sealing import Steward
from pilotage.ledger.segments import make_folders
from pilotage.ledger.sums import SUMMED, Summed, minutes_of
from pilotage.ledger.tables import decisions, events
from pilotage.ledger.tiles import TILE_WIDTH
from pilotage.storage.database import reading
from pilotage.storage.objects import write_durably

__all__ = [
    "EntryRetirement",
    "StoredBundle",
    "finish_entries",
    "retire_entries",
    "stubs_of",
    "survey_entries",
]

_TOGETHER = 64
"""Bundles that one event names."""

_PAYLOADS = "payloads"
_summed = attrgetter(*SUMMED)


@dataclass(frozen=True, kw_only=True)
class StoredBundle:
    """A full bundle that still has entries which can go, of these `systems`, `entries` of them.

    `until` is when it may go (Unix microseconds, 0: never), `held` what forbids it: a legal hold's id, or `payloads`
    while one of its payloads is still there. `oldest` is the time of its oldest entry.
    """

    number: int
    systems: tuple[str, ...]
    entries: int
    until: int
    held: str = ""
    oldest: int = 0

    def due(self, now: int) -> bool:
        """Whether it goes now."""
        return bool(self.until) and self.until <= now and not self.held


@dataclass(frozen=True, kw_only=True)
class EntryRetirement:
    """What was deleted: bundles, entries in them, and the events that say so."""

    bundles: int = 0
    entries: int = 0
    events: tuple[str, ...] = field(default=())


def survey_entries(folder: Path, ledger: Engine, control: Engine, policies: Mapping[str, Policy]) -> list[StoredBundle]:
    """Every full published bundle that has entries which can go, with when it may."""
    with reading(ledger) as connection:
        spans = entries_store.spans(connection, _whole(folder, connection))
        found = [_stored(number, parts, policies) for number, parts in spans.items()]
        gone = retired_segments(connection)
        payloads = entries_store.segments_of(connection, [bundle.number for bundle in found if bundle.until])
    found = [replace(each, held=_PAYLOADS if payloads.get(each.number, set()) - gone.keys() else "") for each in found]
    return _with_holds(control, found)


def retire_entries(
    steward: Steward, due: Sequence[StoredBundle], actor: str, rules: Mapping[str, str], batch: int = _TOGETHER
) -> EntryRetirement:
    """Delete these bundles, some at a time; what a hold placed meanwhile covers stays. The steward needs the lease.

    `rules` says in words how long each system's entries were kept. Raises IntegrityError, and deletes nothing more,
    for an entry that is not the one in the tree.
    """
    total = EntryRetirement()
    for start in range(0, len(due), batch):
        chunk = [bundle for bundle in _with_holds(steward.control, due[start : start + batch]) if not bundle.held]
        if chunk:
            total = _retire_some(steward, chunk, actor, rules, total)
    if total.bundles:
        store_keeping.scrub(steward.ledger)
    return total


def finish_entries(folder: Path, ledger: Engine) -> int:
    """Delete the bundles that an event tells of and that a kill left behind; how many."""
    with reading(ledger) as connection:
        named = bundles_named_by({"facts": row.facts} for row in deletions(connection))
    return _unlink(folder, named)


def _whole(folder: Path, connection: Connection) -> int:
    """How many bundles are full, published and not waited for."""
    try:
        size = read_checkpoint_body(tiles.read_checkpoint(folder)).size
    except NotFound:
        return 0
    waiting = first_waiting(folder, connection)
    return (size if waiting is None else min(size, waiting)) // TILE_WIDTH


def _stored(number: int, parts: Sequence[entries_store.Span], policies: Mapping[str, Policy]) -> StoredBundle:
    ends = [policies[part.system].entries_until(part.newest) if part.system in policies else 0 for part in parts]
    return StoredBundle(
        number=number,
        systems=tuple(sorted({part.system for part in parts})),
        entries=sum(part.entries for part in parts),
        until=max(ends) if all(ends) else 0,
        oldest=min(part.oldest for part in parts),
    )


def _with_holds(control: Engine, bundles: Sequence[StoredBundle]) -> list[StoredBundle]:
    """Holds on a system or on all; one on a person has kept the payload, and so the entry."""
    with reading(control) as connection:
        holds = [hold for hold in store_keeping.all_holds(connection) if not hold.released and not hold.lookup]
    return [
        next((replace(each, held=hold.id) for hold in holds if not hold.system or hold.system in each.systems), each)
        for each in bundles
    ]


def _retire_some(
    steward: Steward, chunk: Sequence[StoredBundle], actor: str, rules: Mapping[str, str], total: EntryRetirement
) -> EntryRetirement:
    folder = steward.home.ledger
    named: dict[str, str] = {}
    stubs: list[tuple[Table, dict[str, Any]]] = []
    for bundle in chunk:
        kept = _rest_of(folder, steward.ledger, bundle.number)
        content, place = pack_kept(kept), kept_path(folder, bundle.number)
        make_folders(place.parent)
        write_durably(place, content)
        named[str(bundle.number)] = digest(content)
        stubs += stubs_of(kept)
    systems = sorted({system for bundle in chunk for system in bundle.systems})
    facts = {"bundles": named, "entries": len(stubs), "rules": {of: rules[of] for of in systems if of in rules}}
    item = event_item(RETIRED_ENTRIES, steward.clock(), facts, {"actor": actor})
    steward.seal_event(item, lambda connection: entries_store.put_stubs(connection, stubs))
    _unlink(folder, (bundle.number for bundle in chunk))
    return EntryRetirement(
        bundles=total.bundles + len(chunk),
        entries=total.entries + len(stubs),
        events=(*total.events, item.id),
    )


def stubs_of(kept: KeptBundle) -> list[tuple[Table, dict[str, Any]]]:
    """The index rows, and their tables, of what is gone of a bundle."""
    return [
        (events if one.event else decisions, stub_row(leaf, one, kept.segments))
        for leaf, one in enumerate(kept.entries, kept.number * TILE_WIDTH)
        if isinstance(one, Stub)
    ]


def _rest_of(folder: Path, ledger: Engine, number: int) -> KeptBundle:
    """What is to stay of a bundle, whose every entry must be the one in the tree."""
    first = number * TILE_WIDTH
    tile = tiles.TileReader(folder, first + TILE_WIDTH).tile(0, number)
    with reading(ledger) as connection:
        placed = entries_store.placed(connection, first, first + TILE_WIDTH)
    segments = sorted(set(placed.values()))
    entries: list[bytes | Stub] = []
    summed: list[Summed] = []
    for index, entry in enumerate(tiles.read_leaves(folder, first, first + TILE_WIDTH), first):
        if isinstance(entry, Stub) or leaf_hash(entry) != tile[index - first]:
            raise IntegrityError(
                f"the entry of leaf {index} is not the one in the tree: nothing of its bundle is deleted",
                got="a stub" if isinstance(entry, Stub) else leaf_hash(entry).hex(),
                expected=tile[index - first].hex(),
                mend="run: pilotage audit verify; restore the bundle from a backup",
            )
        leaf = decode_leaf(entry)
        if index not in placed:
            entries.append(entry)
        elif isinstance(leaf, Event):
            entries.append(Stub(leaf.id, leaf.at, event_draft(leaf).system, segments.index(placed[index]), True))
        elif isinstance(leaf, Plain | Interrupted):
            draft = decision_draft(leaf, None)
            entries.append(Stub(leaf.id, draft.at, draft.system, segments.index(placed[index])))
            summed.append(_summed(draft))
    return KeptBundle(number=number, segments=segments, entries=entries, sums=minutes_of(summed))


def _unlink(folder: Path, numbers: Iterable[int]) -> int:
    count = 0
    for number in numbers:
        path = tiles.tile_path(folder, "entries", number)
        if path.exists() and kept_path(folder, number).exists():
            path.unlink(missing_ok=True)
            count += 1
    return count
