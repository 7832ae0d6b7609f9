"""Which outcomes count by slice: those told after the slice was declared, and those that a backfill counted since.

What a system's slices are is told by events, so that the ledger alone says what was counted when, and the counts can be
made again from it. A slice that was declared once counts for good. Pure functions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

__all__ = ["ALL", "BACKFILLED", "DECLARED", "Sliced", "cell_key", "read_key", "sliced"]

DECLARED = "slices.declared"
"""The kind of event that says by what a system's outcomes are counted: facts {slices: [columns]}."""

BACKFILLED = "slices.backfilled"
"""The kind of event in whose batch older outcomes are counted: facts {slices, from, until}, leaves of outcomes."""

ALL = "*"
"""The slice that every decision is in: it counts answers beside outcomes, whatever is declared."""

_read = msgspec.json.Decoder(tuple[int, str, str])


@dataclass(frozen=True, kw_only=True)
class Sliced:
    """Of one system: from which leaf on outcomes count by each slice, and before which leaf a backfill counted them."""

    since: Mapping[str, int]
    until: Mapping[str, int]

    def counts(self, name: str, leaf: int) -> bool:
        """Whether the outcome of a leaf counts by this slice."""
        return name in self.since and (leaf >= self.since[name] or leaf < self.until.get(name, 0))

    @property
    def waiting(self) -> dict[str, tuple[int, int]]:
        """The slices of which outcomes of leaves [first, end) may not be counted yet."""
        spans = {name: (self.until.get(name, 0), since) for name, since in self.since.items()}
        return {name: span for name, span in spans.items() if span[0] < span[1]}


def sliced(told: Iterable[Mapping[str, Any]]) -> Sliced:
    """What the events of one system of the kinds above say, each {leaf, kind, facts}, in the order of their leaves.

    A backfill counts only where it goes on from the one before it.
    """
    since: dict[str, int] = {}
    until: dict[str, int] = {}
    for event in told:
        names, facts = _names(event["facts"]), event["facts"]
        if event["kind"] == DECLARED:
            for name in (ALL, *names):
                since.setdefault(name, event["leaf"])
            continue
        first, end = facts.get("from"), facts.get("until")
        if isinstance(first, int) and isinstance(end, int):
            for name in names:
                if first <= until.get(name, 0) and name in since:
                    until[name] = max(until.get(name, 0), min(end, since[name]))
    return Sliced(since=since, until=until)


def cell_key(cell: int, label: str, outcome: str) -> str:
    """The name, in the counts by a slice, of a cell of it, an answer and an outcome."""
    return msgspec.json.encode((cell, label, outcome)).decode()


def read_key(key: str) -> tuple[int, str, str]:
    """(cell of the slice, answer, outcome) of what `cell_key` made."""
    return _read.decode(key)


def _names(facts: Mapping[str, Any]) -> Sequence[str]:
    names = facts.get("slices", ())
    return [name for name in names if isinstance(name, str)] if isinstance(names, list | tuple) else []
