"""The segments of one batch: one for each system and day, until there are so many that the rest share one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from pilotage.ledger.segments import MAGIC, SealedPayload, SegmentBuilder, segment_path

__all__ = ["DENIALS", "Body", "Group", "SegmentSet", "nonces"]

Group = tuple[str, str]
"""System and day of the payloads that lie together; `("", "mixed")` of those beyond so many."""

DENIALS = "~denials"
"""In a group, in the place of a system: private parts of gateways' events, that is whom they turned away."""

_MAX_SEGMENTS = 200
"""The batch leaf names every segment and is at most 65,535 bytes; payloads beyond so many system-days share one."""

_MIXED = ("", "mixed")


@dataclass(frozen=True, kw_only=True)
class Body:
    """The beginning of a segment file, its first `records`."""

    records: int
    content: bytes = field(repr=False)


class SegmentSet:
    """Puts each payload into the segment it belongs to. `bodies` are what they begin with.

    Without a `batch` the segments have no paths, but can begin those of another set.
    """

    def __init__(self, mask_key: bytes, batch: str = "", bodies: Mapping[Group, Body] | None = None) -> None:
        self._mask_key, self._batch = mask_key, batch
        self._group_of: dict[Group, Group] = {}
        self.builders: dict[Group, SegmentBuilder] = {}
        for group, body in (bodies or {}).items():
            self._group_of[group] = group
            self._begin(group, body.content, body.records)

    def add(self, day: Group, payload: SealedPayload) -> tuple[Group, int, int]:
        """Take a payload of a system and day; its group, and offset and length in that segment."""
        group = self._group_of.get(day) or self._assign(day)
        return group, *self.builders[group].add(payload)

    def bodies(self) -> dict[Group, Body]:
        """What the segments hold so far."""
        return {group: Body(records=made.records, content=made.content) for group, made in self.builders.items()}

    def _assign(self, day: Group) -> Group:
        group = day if len(self._group_of) < _MAX_SEGMENTS else _MIXED
        self._group_of[day] = group
        if group not in self.builders:
            self._begin(group, MAGIC, 0)
        return group

    def _begin(self, group: Group, content: bytes, records: int) -> None:
        path = segment_path(*group, self._batch) if self._batch else ""
        self.builders[group] = SegmentBuilder(path, self._mask_key, content, records)


def nonces(number: int) -> list[bytes]:
    """Random nonces of 12 bytes, from one call of the kernel."""
    random = os.urandom(12 * number)
    return [random[start : start + 12] for start in range(0, 12 * number, 12)]
