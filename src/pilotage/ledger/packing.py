"""Turn a batch's items into encrypted payloads, index rows, key rows and profile counts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from msgspec.structs import replace
from sqlalchemy import Connection

from pilotage.ledger.about import Followed, follow
from pilotage.ledger.counting import CountedGroups, count_groups, counted_in, counted_of
from pilotage.ledger.features import counted_features
from pilotage.ledger.items import Item, event_item, read_private
from pilotage.ledger.keys import DataKey, KeyCabinet, KeyNeeds, KeyRow
from pilotage.ledger.merkle import leaf_hash
from pilotage.ledger.outcome_counts import Added, FeaturesOf, count_outcomes
from pilotage.ledger.portions import Portion, sums_of_values
from pilotage.ledger.rows import WITHHELD, DecisionDraft, Place, decision_values, place_day, placed_row
from pilotage.ledger.said import OUTCOME, OVERRIDE, SAID, said_row
from pilotage.ledger.segment_set import DENIALS, Group, SegmentSet, nonces
from pilotage.ledger.segments import SegmentBuilder
from pilotage.ledger.sums import SumKey, add_sum
from pilotage.profiles.model import ReferenceProfile

__all__ = ["Packed", "pack"]

_OF_CONTROL = frozenset({"outbox", "steward"})
"""Where control events come from. Their private parts (who approved, stopped, erased) lie apart from the payloads of
their system, which retention deletes by segment."""

Rows = list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Packed:
    """All that one batch adds, but its own leaf. The `builders` hold its segments.

    `hashes` are the leaf hashes of `entries`, `decisions` rows in the order of `rows.DECISION_COLUMNS`, `sums` theirs.
    """

    batch: str
    entries: list[bytes]
    hashes: list[bytes]
    decisions: list[tuple[Any, ...]]
    sums: dict[SumKey, dict[str, Any]]
    events: Rows
    subject_keys: list[KeyRow]
    day_keys: list[KeyRow]
    counts: Rows
    outcomes: Rows
    overrides: Rows
    outcome_counts: Rows
    builders: list[SegmentBuilder]


def pack(
    items: Sequence[Item],
    portion: Portion,
    connection: Connection,
    cabinet: KeyCabinet,
    profile_of: Callable[[str], ReferenceProfile | None],
    features_of: FeaturesOf,
    *,
    batch: str,
    first: int,
    now: int,
) -> Packed:
    """Pack a batch whose first leaf will be at tree index `first`: what was made ready, then the items.

    Reads keys, writes nothing.
    """
    groups = _together(counted_in(items), portion.counted)
    counts, uncounted = count_groups(groups, profile_of, batch)
    items = [*items, *(event_item("profile.uncounted", now, facts) for facts in uncounted)]
    days = [(item.system, place_day(item.at)) for item in items]
    followed = follow(items, portion, connection, cabinet)
    known = _follow(items, days, followed)
    needs = KeyNeeds(
        subjects=frozenset(item.subject for item in items if item.subject),
        days=frozenset(day for item, day in zip(items, days, strict=True) if not item.subject and item.id not in known),
    )
    of_subjects, of_days = cabinet.gather(connection, needs, now, portion.made)
    segments, after = SegmentSet(cabinet.mask_key, batch, portion.bodies), first + len(portion.values)
    keys = [
        known.get(item.id) or (of_subjects[item.subject] if item.subject else of_days[day])
        for item, day in zip(items, days, strict=True)
    ]
    places = [_place(item, day, about_decision=item.id in followed) for item, day in zip(items, days, strict=True)]
    own, events = _sealed(items, places, keys, segments, after)
    said, counted = _said(items, cabinet, after), counted_of(groups)
    added = Added(
        told=said[OUTCOME],
        events=events,
        decided=chain(portion.drafts(), (item.draft for item in items if isinstance(item.draft, DecisionDraft))),
        features=lambda id_: counted_features(counted(id_)),
    )
    entries = [item.entry for item in items]
    return Packed(
        batch=batch,
        entries=[*portion.entries, *entries],
        hashes=[*portion.hashes, *map(leaf_hash, entries)],
        decisions=[*_placed(portion, segments, first), *own],
        sums=_summed(portion.sums, sums_of_values(own)),
        events=events,
        subject_keys=_new_rows(of_subjects.values(), portion.subjects.made),
        day_keys=_new_rows(of_days.values(), portion.days.made),
        counts=counts,
        outcomes=said[OUTCOME],
        overrides=said[OVERRIDE],
        outcome_counts=count_outcomes(added, connection, profile_of, features_of, batch),
        builders=list(segments.builders.values()),
    )


def _place(item: Item, day: Group, *, about_decision: bool) -> Group:
    """Where a payload lies, so that what retention treats alike lies together."""
    if about_decision or item.kind != "event":
        return day
    if item.origin in _OF_CONTROL:
        return "", day[1]
    return day if item.system else (DENIALS, day[1])


def _sealed(
    items: Sequence[Item], places: Sequence[Group], keys: Sequence[DataKey], segments: SegmentSet, first: int
) -> tuple[list[tuple[Any, ...]], Rows]:
    """The index rows of decisions and of events, once each payload is encrypted and in the segment of its place."""
    decided: list[tuple[Any, ...]] = []
    events: Rows = []
    for leaf, (item, place_of, key, nonce) in enumerate(
        zip(items, places, keys, nonces(len(items)), strict=True), first
    ):
        group, offset, length = segments.add(place_of, key.seal(item.id, item.origin, item.secret, nonce))
        path = segments.builders[group].path
        place = Place(leaf=leaf, segment=path, offset=offset, length=length, key_id=key.key_id, origin=item.origin)
        if isinstance(item.draft, DecisionDraft):
            decided.append(decision_values(item.draft, key.pseudonym, place))
        else:
            events.append(placed_row(item.draft, key.pseudonym, place))
    return decided, events


def _placed(portion: Portion, segments: SegmentSet, first: int) -> Iterator[tuple[Any, ...]]:
    """The index rows of what was made ready, now that its place is known."""
    paths = {group: builder.path for group, builder in segments.builders.items()}
    ready = enumerate(zip(portion.values, portion.groups, strict=True), first)
    return ((*values, leaf, paths[group]) for leaf, (values, group) in ready)


def _together(groups: CountedGroups, more: CountedGroups) -> CountedGroups:
    for key, group in more.items():
        if key in groups:
            groups[key].add(group)
        else:
            groups[key] = group
    return groups


def _summed(ready: dict[SumKey, dict[str, Any]], own: dict[SumKey, dict[str, Any]]) -> dict[SumKey, dict[str, Any]]:
    for key, one in own.items():
        if key in ready:
            add_sum(ready[key], one)
        else:
            ready[key] = one
    return ready


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


def _new_rows(keys: Iterable[DataKey], made: Sequence[KeyRow]) -> list[KeyRow]:
    own = {key.key_id: key.row for key in keys if key.row is not None}
    return [*made, *own.values()]
