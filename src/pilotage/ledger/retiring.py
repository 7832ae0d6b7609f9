"""Retention: a payload segment goes once its time is over; leaves, hash tiles and old proofs stay.

In one transaction the index loses what came from the payloads, keys under which nothing is left are destroyed, and an
event names each segment with its digest: verification takes exactly these as gone. The files go after that; a deletion
that was cut off goes on at the next run. A system's segment is of one day of decisions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from sqlalchemy import Connection, Engine

from pilotage.ledger import store, store_keeping
from pilotage.ledger.items import event_item
from pilotage.ledger.retention import Floor, after, kept_until
from pilotage.ledger.sealing import Steward
from pilotage.ledger.tables import subject_keys
from pilotage.storage.database import reading

__all__ = [
    "RETIRED",
    "Policy",
    "Retirement",
    "StoredSegment",
    "finish",
    "named_by",
    "retire",
    "retired_segments",
    "survey",
]

RETIRED = "retention.enforced"
"""The kind of the event. `facts`: {"segments": {path: digest}, "records": how many payloads were in them}."""

_TOGETHER = 200
"""Segments that one event names: it must stay below 65,535 bytes."""

_NO_END = Floor()
_DAY_US = 86_400_000_000


@dataclass(frozen=True, kw_only=True)
class Policy:
    """How long a system's payloads and entries are wanted, zero for without end, and the regimes whose floors win.

    What is kept by class alone, not by system, has only the first span; `of` is its class.
    """

    payloads: Floor = _NO_END
    entries: Floor = _NO_END
    regimes: tuple[str, ...] = ()
    of: str = "payloads"

    def until(self, end: int) -> int:
        """When payloads of decisions before `end` may go (Unix microseconds); 0 for never."""
        if self.payloads == _NO_END:
            return 0
        return max(after(end, self.payloads), kept_until(end, self.regimes, self.of))

    def entries_until(self, at: int) -> int:
        """When the entries of decisions up to `at` may go, never before their payloads; 0 for never."""
        if self.entries == _NO_END or self.payloads == _NO_END:
            return 0
        return max(after(at, self.entries), self.until(at))


@dataclass(frozen=True, kw_only=True)
class StoredSegment:
    """A segment that is still kept. `until` is when it may go (0: never), `held` the legal hold that forbids it.

    Its leaves are in `[first, size)`; `systems` are those of its payloads, of which the oldest can be of `since`.
    """

    path: str
    digest: str
    records: int
    first: int
    size: int
    systems: tuple[str, ...]
    until: int
    held: str = ""
    since: int = 0

    def due(self, now: int) -> bool:
        """Whether it goes now."""
        return bool(self.until) and self.until <= now and not self.held


@dataclass(frozen=True, kw_only=True)
class Retirement:
    """What was deleted: segments, payloads in them, keys under which nothing was left, and the events that say so."""

    segments: int = 0
    records: int = 0
    keys: int = 0
    events: tuple[str, ...] = field(default=())


def survey(ledger: Engine, control: Engine, policies: Mapping[str, Policy]) -> list[StoredSegment]:
    """Every segment that is kept, with when it may go."""
    with reading(ledger) as connection:
        gone = retired_segments(connection)
        rows = [row for row in store_keeping.segments_with_heads(connection) if row.path not in gone]
        found = [_stored(connection, row, policies) for row in rows]
        shared = store_keeping.segments_of_control(connection)
        found = [replace(each, until=0) if each.path in shared else each for each in found]
        held = _held(connection, control, found)
    return [_with_hold(segment, held) for segment in found]


def retire(steward: Steward, due: Sequence[StoredSegment], actor: str, batch: int = _TOGETHER) -> Retirement:
    """Delete these segments, some at a time; what a hold placed meanwhile covers stays. The steward needs the lease."""
    total = Retirement()
    for start in range(0, len(due), batch):
        chunk = due[start : start + batch]
        with reading(steward.ledger) as connection:
            held = _held(connection, steward.control, chunk)
        chunk = [segment for segment in chunk if segment.path not in held]
        if chunk:
            total = _retire_some(steward, chunk, actor, total)
    if total.segments:
        store_keeping.scrub(steward.ledger)
    return total


def finish(folder: Path, ledger: Engine) -> int:
    """Delete the files of segments that an event tells of and that a kill left behind; how many."""
    with reading(ledger) as connection:
        gone = retired_segments(connection)
    return _unlink(folder, gone)


def retired_segments(connection: Connection) -> dict[str, str]:
    """The digests of all segments that retention has deleted, by path."""
    return {
        str(path): str(digest)
        for row in store.find_events(connection, RETIRED, "", 1_000_000)
        for path, digest in dict(row.facts.get("segments", {})).items()
    }


def named_by(rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The same from rows of `events` as verification reads them: an edited row cannot stop it."""
    facts = [row["facts"].get("segments") for row in rows if isinstance(row.get("facts"), dict)]
    return {str(path): str(digest) for named in facts if isinstance(named, dict) for path, digest in named.items()}


def _retire_some(steward: Steward, chunk: Sequence[StoredSegment], actor: str, total: Retirement) -> Retirement:
    records, keys = sum(segment.records for segment in chunk), [0]
    facts = {"segments": {segment.path: segment.digest for segment in chunk}, "records": records}
    item = event_item(RETIRED, steward.clock(), facts, {"actor": actor})

    def clear(connection: Connection) -> None:
        places = [(segment.path, segment.first, segment.size) for segment in chunk]
        keys[0] = store_keeping.clear_segments(connection, places)

    steward.seal_event(item, clear)
    _unlink(steward.home.ledger, (segment.path for segment in chunk))
    return Retirement(
        segments=total.segments + len(chunk),
        records=total.records + records,
        keys=total.keys + keys[0],
        events=(*total.events, item.id),
    )


def _unlink(folder: Path, paths: Iterable[str]) -> int:
    count = 0
    for path in paths:
        file = folder / path
        if path.startswith("segments/") and ".." not in path and file.exists():
            file.unlink(missing_ok=True)
            count += 1
    return count


def _stored(connection: Connection, row: store_keeping.SegmentRow, policies: Mapping[str, Policy]) -> StoredSegment:
    folder, day = row.path.split("/")[1:3]
    if day in ("mixed", "undated"):
        systems, end = store_keeping.systems_in(connection, row.path, row.first, row.size), row.at
        since = row.at
    else:
        systems, end = ["" if folder == "_" else unquote(folder)], _end_of(day)
        since = end - _DAY_US
    ends = [policies[system].until(end) if system in policies else 0 for system in systems]
    return StoredSegment(
        path=row.path,
        digest=row.digest,
        records=row.records,
        first=row.first,
        size=row.size,
        systems=tuple(systems),
        until=max(ends) if ends and all(ends) else 0,
        since=since,
    )


def _end_of(day: str) -> int:
    return int(datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC).timestamp()) * 1_000_000 + _DAY_US


def _held(connection: Connection, control: Engine, segments: Sequence[StoredSegment]) -> dict[str, str]:
    """The hold that forbids to delete each segment that one covers, by path."""
    with reading(control) as other:
        holds = [hold for hold in store_keeping.all_holds(other) if not hold.released]
    found: dict[str, str] = {}
    for hold in holds:
        if hold.lookup:
            key = store.find_keys(connection, subject_keys, [hold.lookup]).get(hold.lookup)
            covered = store_keeping.segments_of_key(connection, key.key_id) if key is not None else set()
            found.update(dict.fromkeys(covered, hold.id))
        else:
            found.update({one.path: hold.id for one in segments if not hold.system or hold.system in one.systems})
    return found


def _with_hold(segment: StoredSegment, held: Mapping[str, str]) -> StoredSegment:
    return replace(segment, held=held[segment.path]) if segment.path in held else segment
