"""Decisions made ready before their batch is: encrypted, counted, summed; all but their place in the tree.

Whoever reads ahead of the steward makes a portion of the decisions it read. It cannot know yet what will be committed
before them, so it says what it took for granted: that none of the ids is a leaf, which keys there are, and which there
are not. The steward takes a portion only if all that `holds`; if not, or if the ledger refuses a key or an id of it,
it does the same work itself. A portion is written nowhere but by the steward, in the transaction of its batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Engine

from pilotage.ledger import store
from pilotage.ledger.counting import CountedGroups, counted_in
from pilotage.ledger.items import Item
from pilotage.ledger.keys import DataKey, KeyCabinet, KeyNeeds, KeyRow
from pilotage.ledger.merkle import leaf_hash
from pilotage.ledger.rows import DECISION_COLUMNS, DecisionDraft, place_day, sealed_values
from pilotage.ledger.segment_set import Body, Group, SegmentSet, nonces
from pilotage.ledger.sums import SUMMED, SumKey, sums_of
from pilotage.ledger.tables import day_keys, subject_keys
from pilotage.storage.database import reading

__all__ = ["Keys", "Portion", "holds", "prepare", "sums_of_values"]

_DRAFT = len(DecisionDraft.__struct_fields__)
_KEY_ID = DECISION_COLUMNS.index("key_id")
_summed = itemgetter(*map(DECISION_COLUMNS.index, SUMMED))


@dataclass(frozen=True, kw_only=True)
class Keys:
    """The keys that a portion was encrypted under: `found` key ids by lookup, and `made` rows, yet to insert."""

    found: dict[str, str] = field(default_factory=dict)
    made: list[KeyRow] = field(default_factory=list)

    @classmethod
    def of(cls, keys: Iterable[DataKey]) -> Keys:
        """What is taken for granted by using these keys."""
        found: dict[str, str] = {}
        made: list[KeyRow] = []
        for key in keys:
            if key.row is None:
                found[key.lookup] = key.key_id
            else:
                made.append(key.row)
        return cls(found=found, made=made)

    def __reduce__(self) -> tuple[Any, ...]:
        """Plain tuples go through a pipe in a third of the time that named ones take."""
        return _keys, (self.found, [*map(tuple, self.made)])


def _keys(found: dict[str, str], made: list[tuple[str, str, bytes, int]]) -> Keys:
    return Keys(found=found, made=[*map(KeyRow._make, made)])


@dataclass(frozen=True, kw_only=True)
class Portion:
    """Decisions in the order they will have as leaves. `values` are their index rows but for `leaf` and `segment`,
    `groups` say which segment of `bodies` each lies in, `hashes` are the leaf hashes of `entries`.
    """

    values: list[tuple[Any, ...]] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    entries: list[bytes] = field(default_factory=list)
    hashes: list[bytes] = field(default_factory=list)
    bodies: dict[Group, Body] = field(default_factory=dict)
    subjects: Keys = field(default_factory=Keys)
    days: Keys = field(default_factory=Keys)
    counted: CountedGroups = field(default_factory=dict)
    sums: dict[SumKey, dict[str, Any]] = field(default_factory=dict)

    @property
    def ids(self) -> list[str]:
        """The ids of the decisions."""
        return [values[0] for values in self.values]

    @property
    def made(self) -> dict[str, KeyRow]:
        """The rows of keys that are yet to insert, by lookup."""
        return {row.lookup: row for row in (*self.subjects.made, *self.days.made)}

    def drafts(self) -> Iterable[DecisionDraft]:
        """What the index will hold of the decisions, wherever they lie."""
        return (DecisionDraft(*values[:_DRAFT]) for values in self.values)

    def key_ids(self) -> dict[str, str]:
        """The id of the key that each decision is encrypted under, by the decision's id."""
        return {values[0]: values[_KEY_ID] for values in self.values}


def prepare(
    items: Sequence[Item], ledger: Engine, cabinet: KeyCabinet, now: int, made: Mapping[str, KeyRow]
) -> Portion:
    """A portion of these decisions, all sound and of different ids, in this order. Reads keys, writes nothing.

    `made` are rows of keys by lookup that an earlier portion wants to insert.
    """
    days = [(item.system, place_day(item.at)) for item in items]
    needs = KeyNeeds(
        subjects=frozenset(item.subject for item in items if item.subject),
        days=frozenset(day for item, day in zip(items, days, strict=True) if not item.subject),
    )
    with reading(ledger) as connection:  # not for longer: SQLite's log grows while anyone reads an older state
        found = cabinet.look_up(connection, needs)
    of_subjects, of_days = cabinet.open_or_make(found, now, made)
    segments = SegmentSet(cabinet.mask_key)
    values: list[tuple[Any, ...]] = []
    groups: list[Group] = []
    for item, day, nonce in zip(items, days, nonces(len(items)), strict=True):
        key, draft = of_subjects[item.subject] if item.subject else of_days[day], item.draft
        assert isinstance(draft, DecisionDraft)  # noqa: S101 - only decisions are prepared
        group, offset, length = segments.add(day, key.seal(item.id, item.origin, item.secret, nonce))
        groups.append(group)
        values.append(sealed_values(draft, item.origin, offset, length, key.key_id, key.pseudonym))
    return Portion(
        values=values,
        groups=groups,
        entries=[item.entry for item in items],
        hashes=[leaf_hash(item.entry) for item in items],
        bodies=segments.bodies(),
        subjects=Keys.of(of_subjects.values()),
        days=Keys.of(of_days.values()),
        counted=counted_in(items),
        sums=sums_of_values(values),
    )


def sums_of_values(values: Iterable[tuple[Any, ...]]) -> dict[SumKey, dict[str, Any]]:
    """The sums of index rows, given in the order of `DECISION_COLUMNS`."""
    return sums_of(map(_summed, values))


def holds(portion: Portion, connection: Connection) -> bool:
    """Whether the ledger is as the portion took for granted, but for keys that it made and that are there by now: the
    index refuses them, and it is quicker to begin anew then than to ask each time.
    """
    if store.any_sealed(connection, portion.ids):
        return False
    both = ((subject_keys, portion.subjects.found), (day_keys, portion.days.found))
    return all(store.key_ids(connection, table, [*found]) == found for table, found in both if found)
