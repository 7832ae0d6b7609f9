"""Sizes in which rows are answered together: few, so that each of them can be proven to change no answer."""

from __future__ import annotations

from collections.abc import Sequence

from pilotage.kernel.rows import Value

__all__ = ["SIZES", "filled"]

SIZES = (2, 4, 8, 16, 32, 64)


def filled(rows: Sequence[Sequence[Value]]) -> list[Sequence[Value]]:
    """2 to 64 rows, filled up with the last of them to the next of `SIZES`."""
    size = next(size for size in SIZES if size >= len(rows))
    return [*rows, *[rows[-1]] * (size - len(rows))]
