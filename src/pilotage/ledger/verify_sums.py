"""Verify the sums of decisions: made again from the leaves, in little memory, and compared with every row.

A row that equals what was seen of it so far is whole, since it holds all of its decisions: it is counted and let go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import and_

from pilotage.ledger.faults import Faults
from pilotage.ledger.sums import SPANS, SumKey, add_sum
from pilotage.ledger.tables import decision_sums
from pilotage.ledger.verify_rows import Snapshot

__all__ = ["SumsAudit"]

_TOGETHER = 4_000
_NAMES = ("span", "at", "system", "release", "arm", "mode", "outcome")


@dataclass(kw_only=True)
class SumsAudit:
    """`take` the sums of all batches, then `finish`."""

    rows: Snapshot
    faults: Faults
    _open: dict[SumKey, dict[str, Any]] = field(default_factory=dict)
    _whole: int = 0

    def take(self, sums: Mapping[SumKey, dict[str, Any]]) -> None:
        """What the decisions of some batches add up to."""
        for key, one in sums.items():
            if key in self._open:
                add_sum(self._open[key], one)
            else:
                self._open[key] = one
        if len(self._open) >= _TOGETHER:
            self._settle()

    def finish(self) -> None:
        """Name every row that is not the sum of its decisions, and those that should not be there."""
        self._settle()
        for key, expected in self._open.items():
            got = self._found.get(key)
            what = "it is missing" if got is None else "not the sum of its decisions"
            self.faults.add(f"decision_sums row {_name(key)}", what, got or "", expected)
        known = self._whole + sum(key in self._found for key in self._open)
        if (number := self.rows.count(decision_sums)) != known:
            self.faults.add("decision_sums rows", "there are rows without a decision", number, known)

    def _settle(self) -> None:
        """Let go of the sums that are whole."""
        self._found: dict[SumKey, Mapping[str, Any]] = {}
        for span in SPANS:
            starts = sorted({key[1] for key in self._open if key[0] == span})
            if not starts:
                continue
            c = decision_sums.c
            for row in self.rows.where(decision_sums, and_(c.span == span, c.at >= starts[0], c.at <= starts[-1])):
                key: SumKey = tuple(row[name] for name in _NAMES)
                found = {name: row[name] for name in ("n", "faults", "times", "seconds")}
                if key in self._open and _same(self._open[key], found):
                    del self._open[key]
                    self._whole += 1
                else:
                    self._found[key] = found


def _name(key: SumKey) -> str:
    span, at, *group = key
    return f"{span} s from {at} {' '.join(group)}"


def _same(expected: Mapping[str, Any], got: Mapping[str, Any]) -> bool:
    """Equal, and no boolean where a number belongs."""
    numbers = [got["n"], got["faults"], *_values(got["times"]), *_values(got["seconds"])]
    return expected == got and all(type(number) is int for number in numbers)


def _values(counts: Any) -> list[Any]:
    return list(counts.values()) if isinstance(counts, dict) else [None]
