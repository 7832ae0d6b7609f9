"""A finding of the leakage suite, and all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import msgspec

__all__ = ["SEVERITIES", "Finding", "Leakage", "Progress", "Severity"]

Severity = Literal["high", "medium", "ask"]
SEVERITIES: tuple[Severity, ...] = ("high", "medium", "ask")
"""high: figures measured on this data mean nothing; medium: likely a leak, look; ask: who knows the data must say."""

Progress = Callable[[str, float], None]
"""Told of each step as it begins, with the share that is done, 0 to 1."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One leak, or what looks like one. `strength` is in the unit that `measure` names, with its 95 % interval.

    `said` and `mend` are sentences for whoever made the data; `figures` is what they rest on.
    """

    kind: str
    columns: tuple[str, ...]
    severity: Severity
    measure: str
    strength: float
    low: float
    high: float
    said: str
    mend: str
    figures: dict[str, float | int | str] = {}


class Leakage(msgspec.Struct, frozen=True, kw_only=True):
    """What was looked at and found, the worst first. `skipped` says which looks were not taken, and why.

    `looked_at` says by how many rows each look was taken where some stand for all; the others were taken by every row.
    """

    rows: int
    columns: int
    looked_at: dict[str, int]
    findings: tuple[Finding, ...]
    skipped: dict[str, str] = {}

    def counts(self) -> dict[str, int]:
        """How many findings there are of each severity."""
        return {name: sum(each.severity == name for each in self.findings) for name in SEVERITIES}

    def as_dict(self) -> dict[str, Any]:
        """All of it as JSON values, with the counts."""
        return {**msgspec.to_builtins(self), "counts": self.counts()}
