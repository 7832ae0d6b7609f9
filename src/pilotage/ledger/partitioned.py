"""Export the ledger to a folder of Parquet files that grows: `decisions/system=.../day=.../leaf-FIRST-END_N.parquet`.

Each run adds what was sealed since the last one. A small state file says how far the folder reaches; it is written
last, so that a run that was killed is done again, without doubles.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from pilotage.errors import Conflict, InputError
from pilotage.kernel.chunks import weighed
from pilotage.kernel.clock import rfc3339
from pilotage.ledger.columns import COLUMNS, PAYLOAD_COLUMNS, payload_values, row_values
from pilotage.ledger.parquet import parquet_table
from pilotage.ledger.queries import DecisionFilter, EventRow, Ledger
from pilotage.ledger.rows import place_day
from pilotage.storage import outbox
from pilotage.storage.database import writing
from pilotage.storage.objects import write_durably
from pilotage.storage.scratch import scratch_folder

__all__ = ["EVENT_COLUMNS", "STATE", "ExportedParts", "export_parts"]

STATE = "pilotage-export.json"
"""The file that says how far a folder reaches: {origin, payload, next}."""

EVENT_COLUMNS: Mapping[str, str] = {
    "leaf": "BIGINT",
    "id": "VARCHAR",
    "received": "VARCHAR",
    "at": "BIGINT",
    "kind": "VARCHAR",
    "system": "VARCHAR",
    "release": "VARCHAR",
    "about": "VARCHAR",
    "facts": "VARCHAR",
}

_DAY = {"day": "VARCHAR"}
_NAME = re.compile(r"leaf-(\d+)-(\d+)_\d+\.parquet")
_STEP = 64
Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class ExportedParts:
    """What one run added: leaves [first, end), and of them so many decisions and events."""

    first: int
    end: int
    decisions: int
    events: int


def export_parts(
    ledger: Ledger,
    control: Engine,
    by: str,
    folder: Path,
    *,
    origin: str,
    payload: bool = False,
    progress: Progress = lambda done, total: None,
) -> ExportedParts:
    """Add to a folder what was sealed since its last export; the folder is made when it is not there.

    The run is itself on record, as event `ledger.exported`, before it begins. Raises InputError for a folder that holds
    something else, Conflict for one of another ledger or with other columns.
    """
    first = _begin(folder, origin, payload=payload)
    end = ledger.next_leaf()
    everything = DecisionFilter()
    number = ledger.count(everything, before=end) - (ledger.count(everything, before=first) if first else 0)
    facts = {"first": first, "end": end, "decisions": number, "payload": payload}
    with writing(control) as connection:
        outbox.emit(connection, "ledger.exported", facts=facts, private={"by": by})
    with scratch_folder(folder) as fresh:
        pages = _decisions(ledger, first, end, payload=payload, progress=lambda done: progress(done, number))
        columns = {**COLUMNS, **(PAYLOAD_COLUMNS if payload else {}), **_DAY}
        decisions = _write(fresh / "decisions", columns, pages, first, end)
        events = _write(fresh / "events", {**EVENT_COLUMNS, **_DAY}, _events(ledger, first, end), first, end)
        places = {folder}
        for path in sorted(fresh.rglob("*.parquet")):
            target = folder / path.relative_to(fresh)
            for parent in reversed([each for each in target.parents if folder in each.parents]):
                parent.mkdir(exist_ok=True, mode=0o700)
            path.chmod(0o600)
            path.replace(target)
            places.update(each for each in target.parents if folder in each.parents)
            _sync(target)
        for place in places:
            _sync(place)
    _remember(folder, origin, payload=payload, reached=end)
    return ExportedParts(first=first, end=end, decisions=decisions, events=events)


def _begin(folder: Path, origin: str, *, payload: bool) -> int:
    """The first leaf that the folder has not; what a killed run left behind is removed."""
    state = folder / STATE
    if not state.exists():
        if folder.exists() and any(folder.iterdir()):
            raise InputError("the folder holds something else", got=folder, mend="name a new or an empty folder")
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _remember(folder, origin, payload=payload, reached=0)
        return 0
    known = json.loads(state.read_bytes())
    if (known.get("origin"), known.get("payload")) != (origin, payload):
        raise Conflict(
            "the folder is of another ledger, or was begun with other columns",
            got=f"origin {known.get('origin')}, payload {known.get('payload')}",
            expected=f"origin {origin}, payload {payload}",
            mend="export to another folder",
        )
    first = int(known["next"])
    for path in folder.rglob("*.parquet"):
        match = _NAME.fullmatch(path.name)
        if match is not None and int(match[1]) >= first:
            path.unlink()
    return first


def _sync(place: Path) -> None:
    """Put a file or folder on the disk: the state file must not say more than a power cut leaves."""
    descriptor = os.open(place, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remember(folder: Path, origin: str, *, payload: bool, reached: int) -> None:
    state = {"origin": origin, "payload": payload, "next": reached}
    write_durably(folder / STATE, json.dumps(state).encode())


def _write(folder: Path, columns: Mapping[str, str], pages: Iterator[list[Sequence[Any]]], first: int, end: int) -> int:
    folder.mkdir()
    with parquet_table(columns, folder.parent) as table:
        for page in pages:
            table.add(page)
        if table.rows:
            table.write(
                folder, f"PARTITION_BY (system, day), FILENAME_PATTERN 'leaf-{first}-{end}_{{i}}', OVERWRITE_OR_IGNORE"
            )
        return table.rows


def _decisions(
    ledger: Ledger, first: int, end: int, *, payload: bool, progress: Callable[[int], None]
) -> Iterator[list[Sequence[Any]]]:
    done = 0
    for page in ledger.each(DecisionFilter(), before=end):
        fresh = [row for row in page if row.leaf >= first]
        for some in weighed(fresh, lambda row: row.length, most=_STEP) if payload else filter(None, [fresh]):
            if payload:
                found = ledger.recorded(some)
                yield [
                    (*row_values(each.row).values(), *payload_values(each).values(), place_day(each.row.at))
                    for each in found
                ]
            else:
                yield [(*row_values(row).values(), place_day(row.at)) for row in some]
            done += len(some)
            progress(done)
        if len(fresh) < len(page):
            return


def _events(ledger: Ledger, first: int, end: int) -> Iterator[list[Sequence[Any]]]:
    for page in ledger.each_event(first, end):
        yield [_event_values(row) for row in page]


def _event_values(row: EventRow) -> Sequence[Any]:
    facts = json.dumps(row.facts, ensure_ascii=False)
    return (
        row.leaf,
        row.id,
        rfc3339(row.at),
        row.at,
        row.kind,
        row.system or None,
        row.release,
        row.about,
        facts,
        place_day(row.at),
    )
