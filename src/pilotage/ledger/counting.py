"""Count the profiles of a batch: what is counted of its decisions, by release and where it answered, then the cells."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pilotage.errors import PilotageError
from pilotage.ledger.items import Counted, Item
from pilotage.ledger.rows import DecisionDraft
from pilotage.profiles.counts import Counts, add, count_floats, count_rows
from pilotage.profiles.model import ReferenceProfile

__all__ = ["CountedGroup", "CountedGroups", "count_groups", "count_profiles", "counted_in", "counted_of"]

Rows = list[dict[str, Any]]
_Group = tuple[str, str, str, str]
Features = list[float | str | bool | None]


@dataclass(kw_only=True)
class _Alike:
    """Rows of features in the same order: those of floats alone are packed, the others not; each with id and score."""

    packed: list[bytes] = field(default_factory=list)
    packed_ids: list[str] = field(default_factory=list)
    packed_scores: list[float | None] = field(default_factory=list)
    mixed: list[Features] = field(default_factory=list)
    mixed_ids: list[str] = field(default_factory=list)
    mixed_scores: list[float | None] = field(default_factory=list)

    def add(self, other: _Alike) -> None:
        for name in ("packed", "packed_ids", "packed_scores", "mixed", "mixed_ids", "mixed_scores"):
            getattr(self, name).extend(getattr(other, name))


@dataclass(kw_only=True)
class CountedGroup:
    """What is counted together: the times and features of decisions of one system, release, arm and mode."""

    from_at: int
    to_at: int
    rows: int = 0
    by_names: dict[tuple[str, ...], _Alike] = field(default_factory=dict)

    def add(self, other: CountedGroup) -> None:
        """Count another group's decisions with this one's."""
        self.from_at, self.to_at = min(self.from_at, other.from_at), max(self.to_at, other.to_at)
        self.rows += other.rows
        for names, theirs in other.by_names.items():
            self.by_names.setdefault(names, _Alike()).add(theirs)


CountedGroups = dict[_Group, CountedGroup]
"""By system, release, arm and mode."""


def counted_in(items: Iterable[Item]) -> CountedGroups:
    """What is to be counted of these items."""
    groups: CountedGroups = {}
    for item in items:
        draft, counted, at = item.draft, item.counted, item.at
        if counted is None or not isinstance(draft, DecisionDraft):
            continue
        key = (draft.system, draft.release, draft.arm, draft.mode)
        group = groups.get(key)
        if group is None:
            group = groups[key] = CountedGroup(from_at=at, to_at=at)
        group.rows += 1
        if at < group.from_at:
            group.from_at = at
        elif at > group.to_at:
            group.to_at = at
        alike = group.by_names.get(counted.names)
        if alike is None:
            alike = group.by_names[counted.names] = _Alike()
        if isinstance(counted.values, bytes):
            alike.packed.append(counted.values)
            alike.packed_ids.append(item.id)
            alike.packed_scores.append(counted.score)
        else:
            alike.mixed.append(counted.values)
            alike.mixed_ids.append(item.id)
            alike.mixed_scores.append(counted.score)
    return groups


def counted_of(groups: CountedGroups) -> Callable[[str], Counted | None]:
    """What is counted of a decision, by its id. Nothing is done before the first one is asked for."""
    found: dict[str, Counted] = {}

    def of(id_: str) -> Counted | None:
        if not found:
            found.update(_each(groups))
        return found.get(id_)

    return of


def _each(groups: CountedGroups) -> Iterator[tuple[str, Counted]]:
    for group in groups.values():
        for names, alike in group.by_names.items():
            for id_, packed, score in zip(alike.packed_ids, alike.packed, alike.packed_scores, strict=True):
                yield id_, Counted(names, packed, score)
            for id_, mixed, score in zip(alike.mixed_ids, alike.mixed, alike.mixed_scores, strict=True):
                yield id_, Counted(names, mixed, score)


def count_profiles(
    items: Iterable[Item], profile_of: Callable[[str], ReferenceProfile | None], batch: str
) -> tuple[Rows, list[dict[str, str]]]:
    """(rows of profile counts, what could not be counted): by system, release, arm and mode."""
    return count_groups(counted_in(items), profile_of, batch)


def count_groups(
    groups: Mapping[_Group, CountedGroup], profile_of: Callable[[str], ReferenceProfile | None], batch: str
) -> tuple[Rows, list[dict[str, str]]]:
    """As `count_profiles`, of what `counted_in` found."""
    rows: Rows = []
    failed: list[dict[str, str]] = []
    for (system, release, arm, mode), group in groups.items():
        try:
            counts = _count_group(group, profile_of(release))
        except (PilotageError, ValueError, TypeError, KeyError, OSError) as error:
            failed.append({"system": system, "release": release, "error": type(error).__name__})
            continue
        if counts:
            rows.append(
                {
                    "batch": batch,
                    "system": system,
                    "release": release,
                    "arm": arm,
                    "mode": mode,
                    "from_at": group.from_at,
                    "to_at": group.to_at,
                    "rows": group.rows,
                    "counts": counts,
                }
            )
    return rows, failed


def _count_group(group: CountedGroup, profile: ReferenceProfile | None) -> Counts:
    total: Counts = {}
    if profile is None:
        return total
    for names, alike in group.by_names.items():
        if alike.mixed:
            total = add(total, count_rows(profile, names, alike.mixed, alike.mixed_scores))
        if alike.packed:
            total = add(total, count_floats(profile, names, alike.packed, alike.packed_scores))
    return total
