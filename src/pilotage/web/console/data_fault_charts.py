"""Geometry of what becomes of spoilt rows, by way of spoiling, as plain numbers for an SVG. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["SpoiltBar", "spoilt_bars"]

ORDER = ("silent", "fails", "absorbed", "unasked", "caught")
"""The worst first: what is silent starts where the eye starts."""


@dataclass(frozen=True, kw_only=True)
class SpoiltBar:
    """One way to spoil rows: its parts (verdict, cases, x, width), on a scale where the most cases are `width` wide."""

    kind: str
    cases: int
    silent: int
    parts: list[tuple[str, int, float, float]]
    y: float


def spoilt_bars(cases: Sequence[dict[str, Any]], width: float = 330.0, row: float = 22.0) -> list[SpoiltBar]:
    """One bar for each kind of case, the kinds with the most silent cases first."""
    kinds: dict[str, dict[str, int]] = {}
    for each in cases:
        counts = kinds.setdefault(each["kind"], dict.fromkeys(ORDER, 0))
        counts[each["verdict"]] += 1
    most = max((sum(counts.values()) for counts in kinds.values()), default=1)
    ordered = sorted(
        kinds.items(), key=lambda item: (-item[1]["silent"] - item[1]["fails"], -item[1]["absorbed"], item[0])
    )
    bars = []
    for at, (kind, counts) in enumerate(ordered):
        x, parts = 0.0, []
        for verdict in ORDER:
            if counts[verdict]:
                size = width * counts[verdict] / most
                parts.append((verdict, counts[verdict], x, size))
                x += size
        whole = sum(counts.values())
        bars.append(
            SpoiltBar(
                kind=kind, cases=whole, silent=counts["silent"] + counts["fails"], parts=parts, y=row * (at + 0.5)
            )
        )
    return bars
