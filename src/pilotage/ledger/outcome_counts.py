"""Count outcomes by score and slice: made once, when outcome and decision are both sealed, and added up.

A cell of the score's profile × outcome, by system, release, arm, mode and the decision's day; and for each declared
slice the same by its cell and the answer. A later outcome takes the place of the earlier one: -1 there, +1 here, so
that a sum over batches has every decision once. What a slice is of is in the decision's payload, decrypted for it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from sqlalchemy import Connection

from pilotage.ledger import said_store
from pilotage.ledger.rows import place_day
from pilotage.ledger.said import category
from pilotage.ledger.slicing import ALL, BACKFILLED, DECLARED, Sliced, cell_key, sliced
from pilotage.profiles.counts import count_values
from pilotage.profiles.model import SCORE, ReferenceProfile
from pilotage.profiles.slices import slice_cell

__all__ = ["Added", "Features", "FeaturesOf", "count_outcomes"]

Rows = list[dict[str, Any]]
Features = Mapping[str, float | str | bool | None]
FeaturesOf = Callable[[Sequence[Any]], Mapping[str, Features]]
"""Gives the features of decisions by id, from their index rows; those that cannot be read are left out."""

_ProfileOf = Callable[[str], ReferenceProfile | None]
_Group = tuple[str, str, str, str, str, str]
_Rows = Sequence[Mapping[str, Any]]
_KINDS = (DECLARED, BACKFILLED)


class _Decided(Protocol):
    """What counting needs of a decision: its row, or what will become its row."""

    @property
    def id(self) -> str: ...
    @property
    def system(self) -> str: ...
    @property
    def release(self) -> str: ...
    @property
    def arm(self) -> str: ...
    @property
    def mode(self) -> str: ...
    @property
    def at(self) -> int: ...
    @property
    def score(self) -> float | None: ...
    @property
    def label(self) -> str | None: ...


@dataclass(frozen=True, kw_only=True)
class Added:
    """What a batch adds: rows of `outcomes` and `events`, decisions, and the features of these by id."""

    told: Rows
    events: Rows
    decided: Iterable[_Decided]
    features: Callable[[str], Features | None]


@dataclass(frozen=True, kw_only=True)
class _Change:
    """One decision moves in the counts of a slice (none for that by score alone) from an outcome to another."""

    decided: _Decided
    name: str
    earlier: str | None
    latest: str | None


def count_outcomes(
    added: Added, connection: Connection, profile_of: _ProfileOf, features_of: FeaturesOf, batch: str
) -> Rows:
    """The rows of `outcome_counts` of a batch that adds this. Reads what was sealed before, writes nothing."""
    any_before = said_store.any_outcome(connection)
    if not added.told and not any_before:
        return []
    here: dict[str, _Decided] = {each.id: each for each in added.decided}
    new = _by_decision(added.told)
    wanted = new.keys() | here.keys() | _backfilled(connection, added.events)
    old = _by_decision(dict(row._mapping) for row in said_store.outcomes_of(connection, wanted)) if any_before else {}
    told = old.keys() | new.keys()
    sealed = {row.id: row for row in said_store.scored(connection, told - here.keys())}
    slices = _Slices(connection=connection, added=added.events)
    changes = [
        change
        for id_ in sorted(told)
        if (found := here.get(id_) or sealed.get(id_)) is not None and found.score is not None
        for change in _changes(found, old.get(id_, ()), new.get(id_, ()), slices, new=id_ in here)
    ]
    return _rows(changes, here, sealed, added, profile_of, features_of, batch)


def _backfilled(connection: Connection, events: Rows) -> set[str]:
    """The decisions whose older outcomes a batch counts."""
    spans = [
        (event["system"], event["facts"].get("from"), event["facts"].get("until"))
        for event in events
        if event["kind"] == BACKFILLED and _is_control(event)
    ]
    return {
        id_
        for system, first, end in spans
        if isinstance(first, int) and isinstance(end, int)
        for id_ in said_store.told_between(connection, system, first, end)
    }


def _is_control(event: Mapping[str, Any]) -> bool:
    return event["kind"] in _KINDS and event["node"] == said_store.OUTBOX


@dataclass(kw_only=True)
class _Slices:
    """The slices of each system, before a batch and after it."""

    connection: Connection
    added: Rows
    _known: dict[str, tuple[Sliced, Sliced]] = field(default_factory=dict)

    def of(self, system: str) -> tuple[Sliced, Sliced]:
        if system not in self._known:
            told = said_store.slice_events(self.connection, system, _KINDS)
            fresh = [each for each in self.added if _is_control(each) and each["system"] == system]
            self._known[system] = sliced(told), sliced([*told, *fresh])
        return self._known[system]


def _changes(decided: _Decided, old: _Rows, told: _Rows, slices: _Slices, *, new: bool) -> Iterable[_Change]:
    """How a decision moves; `new` says that it is sealed in this batch, so that nothing of it was counted before."""
    before, after = slices.of(decided.system)
    for name in ("", *after.since):
        earlier = None if new else _newest(old, decided, before, name)
        latest = _newest([*old, *told], decided, after, name)
        if earlier != latest:
            yield _Change(decided=decided, name=name, earlier=earlier, latest=latest)


def _by_decision(rows: Iterable[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    groups: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[row["decision"]].append(row)
    return groups


def _newest(rows: _Rows, decided: _Decided, slices: Sliced, name: str) -> str | None:
    """What the newest outcome that counts for a decision is counted as."""
    fits = [
        row
        for row in rows
        if row["system"] in ("", decided.system)
        and row["value"] is not None
        and (not name or slices.counts(name, row["leaf"]))
    ]
    return category(fits[-1]["value"], fits[-1]["number"]) if fits else None


def _rows(
    changes: Sequence[_Change],
    here: Mapping[str, _Decided],
    sealed: Mapping[str, Any],
    added: Added,
    profile_of: _ProfileOf,
    features_of: FeaturesOf,
    batch: str,
) -> Rows:
    needed = {change.decided.id for change in changes if change.name not in ("", ALL)}
    read = features_of([sealed[id_] for id_ in sorted(needed - here.keys())])
    counts: dict[_Group, dict[str, list[int]]] = defaultdict(dict)
    for change in changes:
        id_ = change.decided.id
        features = (added.features(id_) if id_ in here else read.get(id_)) if id_ in needed else None
        _count(counts, change, profile_of(change.decided.release), features or {})
    names = ("system", "release", "arm", "mode", "day", "slice")
    return [
        {"batch": batch, **dict(zip(names, group, strict=True)), "counts": made}
        for group, made in sorted(counts.items())
    ]


def _count(
    counts: dict[_Group, dict[str, list[int]]], change: _Change, profile: ReferenceProfile | None, features: Features
) -> None:
    one = change.decided
    column = profile.column(SCORE) if profile is not None else None
    if profile is None or column is None:
        return
    cell = 0
    if change.name not in ("", ALL):
        of = profile.column(change.name)
        if of is None or change.name not in features:
            return
        cell = slice_cell(of, features[change.name])
    cells = count_values(column, [one.score])
    group = counts[one.system, one.release, one.arm, one.mode, place_day(one.at), change.name]
    for outcome, sign in ((change.earlier, -1), (change.latest, 1)):
        if outcome is not None:
            key = cell_key(cell, one.label or "", outcome) if change.name else outcome
            sums = group.setdefault(key, [0] * len(cells))
            group[key] = [total + sign * each for total, each in zip(sums, cells, strict=True)]
