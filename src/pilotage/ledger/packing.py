"""Turn a batch's items into encrypted payloads, index rows, key rows and profile counts."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace
from sqlalchemy import Connection

from pilotage.errors import PilotageError
from pilotage.ledger.about import Followed, follow
from pilotage.ledger.features import counted_features
from pilotage.ledger.items import Counted, Item, event_item, read_private
from pilotage.ledger.keys import DataKey, KeyCabinet, KeyNeeds
from pilotage.ledger.outcome_counts import Added, FeaturesOf, count_outcomes
from pilotage.ledger.record import Segment
from pilotage.ledger.rows import WITHHELD, DecisionDraft, Place, decision_values, place_day, placed_row
from pilotage.ledger.said import OUTCOME, OVERRIDE, SAID, said_row
from pilotage.ledger.segments import SegmentBuilder, segment_path
from pilotage.profiles.counts import Counts, add, count_floats, count_rows
from pilotage.profiles.model import ReferenceProfile

__all__ = ["Packed", "count_profiles", "pack"]

_MAX_SEGMENTS = 200
"""The batch leaf names every segment and is at most 65,535 bytes; payloads beyond so many system-days share one."""

_OF_CONTROL = frozenset({"outbox", "steward"})
"""Where control events come from. Their private parts (who approved, stopped, erased) lie apart from the payloads of
their system, which retention deletes by segment."""

Rows = list[dict[str, Any]]
_Group = tuple[str, str, str, str]


@dataclass(frozen=True, kw_only=True)
class Packed:
    """All that one batch adds, but its own leaf. `segments` is filled as the `builders` write their files.

    `decisions` are rows in the order of `rows.DECISION_COLUMNS`.
    """

    batch: str
    entries: list[bytes]
    decisions: list[tuple[Any, ...]]
    events: Rows
    subject_keys: Rows
    day_keys: Rows
    counts: Rows
    outcomes: Rows
    overrides: Rows
    outcome_counts: Rows
    builders: list[SegmentBuilder]
    segments: list[Segment] = field(default_factory=list)


def pack(
    items: Sequence[Item],
    connection: Connection,
    cabinet: KeyCabinet,
    profile_of: Callable[[str], ReferenceProfile | None],
    features_of: FeaturesOf,
    *,
    batch: str,
    first: int,
    now: int,
) -> Packed:
    """Pack the items of a batch, whose first leaf will be at tree index `first`. Reads keys, writes nothing."""
    counts, uncounted = count_profiles(items, profile_of, batch)
    items = [*items, *(event_item("profile.uncounted", now, facts) for facts in uncounted)]
    days = [(item.system, place_day(item.at)) for item in items]
    followed = follow(items, connection, cabinet)
    known = _follow(items, days, followed)
    needs = KeyNeeds(
        subjects=frozenset(item.subject for item in items if item.subject),
        days=frozenset(day for item, day in zip(items, days, strict=True) if not item.subject and item.id not in known),
    )
    of_subjects, of_days = cabinet.gather(connection, needs, now)
    builders: dict[tuple[str, str], SegmentBuilder] = {}
    decisions: list[tuple[Any, ...]] = []
    events: Rows = []
    nonces = _nonces(len(items))
    for leaf, (item, day, nonce) in enumerate(zip(items, days, nonces, strict=True), first):
        key = known.get(item.id) or (of_subjects[item.subject] if item.subject else of_days[day])
        place_of = ("", day[1]) if item.origin in _OF_CONTROL and item.id not in followed else day
        builder = builders.get(place_of) or _builder(builders, place_of, batch, cabinet.mask_key)
        offset, length = builder.add(key.seal(item.id, item.origin, item.secret, nonce))
        place = Place(
            leaf=leaf, segment=builder.path, offset=offset, length=length, key_id=key.key_id, origin=item.origin
        )
        if isinstance(item.draft, DecisionDraft):
            decisions.append(decision_values(item.draft, key.pseudonym, place))
        else:
            events.append(placed_row(item.draft, key.pseudonym, place))
    said = _said(items, cabinet, first)
    by_id = {item.id: item for item in items if isinstance(item.draft, DecisionDraft)}
    added = Added(
        told=said[OUTCOME],
        events=events,
        decided=(item.draft for item in items if isinstance(item.draft, DecisionDraft)),
        features=lambda id_: counted_features(by_id[id_].counted),
    )
    return Packed(
        batch=batch,
        entries=[item.entry for item in items],
        decisions=decisions,
        events=events,
        subject_keys=_new_rows(of_subjects.values()),
        day_keys=_new_rows(of_days.values()),
        counts=counts,
        outcomes=said[OUTCOME],
        overrides=said[OVERRIDE],
        outcome_counts=count_outcomes(added, connection, profile_of, features_of, batch),
        builders=list(dict.fromkeys(builders.values())),
    )


def _follow(items: list[Item], days: list[tuple[str, str]], followed: Mapping[str, Followed]) -> dict[str, DataKey]:
    """Send each event about a decision under that decision's subject or day; the keys of those sealed before, by id."""
    known: dict[str, DataKey] = {}
    for n, item in enumerate(items) if followed else ():
        goes = followed.get(item.id)
        if goes is None:
            continue
        if goes.key is not None:
            known[item.id] = goes.key
            items[n] = replace(item, secret=b"") if goes.key.key_id == WITHHELD else item
        else:
            items[n], days[n] = replace(item, subject=goes.subject), goes.day if goes.day[1] else days[n]
    return known


def _said(items: Sequence[Item], cabinet: KeyCabinet, first: int) -> dict[str, Rows]:
    """What the index holds of outcomes and overrides, by kind."""
    rows: dict[str, Rows] = {kind: [] for kind in SAID}
    for leaf, item in enumerate(items, first):
        if item.leaf is not None and item.leaf.kind in rows:
            private = read_private(item.secret)
            rows[item.leaf.kind].append(said_row(leaf, item.leaf, private, cabinet.reviewer_lookup))
    return rows


def _nonces(number: int) -> list[bytes]:
    """Random nonces of 12 bytes, from one call of the kernel."""
    random = os.urandom(12 * number)
    return [random[start : start + 12] for start in range(0, 12 * number, 12)]


def _builder(
    builders: dict[tuple[str, str], SegmentBuilder], day: tuple[str, str], batch: str, mask_key: bytes
) -> SegmentBuilder:
    group = day if len(builders) < _MAX_SEGMENTS else ("", "mixed")
    if group not in builders:
        builders[group] = SegmentBuilder(segment_path(*group, batch), mask_key)
    builders[day] = builders[group]
    return builders[day]


def _new_rows(keys: Iterable[DataKey]) -> Rows:
    return list({key.key_id: key.row for key in keys if key.row is not None}.values())


def count_profiles(
    items: Sequence[Item], profile_of: Callable[[str], ReferenceProfile | None], batch: str
) -> tuple[Rows, list[dict[str, str]]]:
    """(rows of profile counts, what could not be counted): by system, release, arm and mode."""
    groups: dict[_Group, list[Item]] = {}
    for item in items:
        draft = item.draft
        if item.counted is not None and isinstance(draft, DecisionDraft):
            groups.setdefault((draft.system, draft.release, draft.arm, draft.mode), []).append(item)
    rows: Rows = []
    failed: list[dict[str, str]] = []
    for group, members in groups.items():
        system, release, arm, mode = group
        try:
            counts = _count_group(members, profile_of(release))
        except (PilotageError, ValueError, TypeError, KeyError, OSError) as error:
            failed.append({"system": system, "release": release, "error": type(error).__name__})
            continue
        if counts:
            span = [item.at for item in members]
            rows.append(
                {
                    "batch": batch,
                    "system": system,
                    "release": release,
                    "arm": arm,
                    "mode": mode,
                    "from_at": min(span),
                    "to_at": max(span),
                    "rows": len(members),
                    "counts": counts,
                }
            )
    return rows, failed


def _count_group(members: Sequence[Item], profile: ReferenceProfile | None) -> Counts:
    if profile is None:
        return {}
    by_names: dict[tuple[str, ...], tuple[list[Counted], list[Counted]]] = {}
    for counted in (item.counted for item in members if item.counted is not None):
        by_names.setdefault(counted.names, ([], []))[isinstance(counted.values, bytes)].append(counted)
    total: Counts = {}
    for names, (mixed, floats) in by_names.items():
        lists = [each.values for each in mixed if not isinstance(each.values, bytes)]
        total = add(total, count_rows(profile, names, lists, [each.score for each in mixed]) if mixed else {})
        packed = [each.values for each in floats if isinstance(each.values, bytes)]
        total = add(total, count_floats(profile, names, packed, [each.score for each in floats]) if floats else {})
    return total
