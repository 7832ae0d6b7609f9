"""The reference profile: for each column the cells that rows are counted in, and the reference's own counts.

Cells of a numeric column: below the reference, its bins in order, above the reference, null, fault.
Cells of a categorical column: its categories, other (known but rare), unseen, null.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Literal

import msgspec

from pilotage.errors import InputError
from pilotage.kernel.canonical import canonical_json
from pilotage.kernel.digests import digest

__all__ = ["SCORE", "ColumnProfile", "Kind", "ReferenceProfile", "decode_profile"]

SCORE = "__score__"
"""The pseudo-column of the release's score."""

Kind = Literal["numeric", "categorical"]


class ColumnProfile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One column's cells and how many reference rows fell in each.

    Numeric: `low` and `high` are the reference's extremes, `cuts` the inner borders (a value equal to a cut belongs to
    the bin above it): `len(cuts) + 1` bins. Categorical: `categories` have a cell each, `rare` share the cell other.
    """

    name: str
    kind: Kind
    counts: tuple[int, ...]
    low: float = 0.0
    high: float = 0.0
    cuts: tuple[float, ...] = ()
    categories: tuple[float | bool | str, ...] = ()
    rare: tuple[float | bool | str, ...] = ()

    @property
    def cells(self) -> int:
        """How many cells a count of this column has."""
        return len(self.cuts) + 5 if self.kind == "numeric" else len(self.categories) + 3

    @property
    def values(self) -> slice:
        """The cells that hold values: all but null and fault."""
        return slice(0, self.cells - (2 if self.kind == "numeric" else 1))

    @property
    def null(self) -> int:
        """The index of the null cell."""
        return self.cells - (2 if self.kind == "numeric" else 1)

    @property
    def unseen(self) -> int | None:
        """The index of the cell of categories that the reference never had; None for numbers."""
        return None if self.kind == "numeric" else self.cells - 2

    @property
    def labels(self) -> tuple[str, ...]:
        """A word for each cell, in order."""
        if self.kind == "categorical":
            return (*(_text(value) for value in self.categories), "other", "unseen", "null")
        borders = [self.low, *self.cuts, self.high]
        bins = (f"{_text(left)} to {_text(right)}" for left, right in pairwise(borders))
        return (f"below {_text(self.low)}", *bins, f"above {_text(self.high)}", "null", "fault")


class ReferenceProfile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What reference data looked like: `rows` of it, in `columns`; the score is the column `__score__`, if counted."""

    columns: tuple[ColumnProfile, ...]
    rows: int

    @property
    def counts(self) -> dict[str, list[int]]:
        """The reference's own counts, shaped as those of any window."""
        return {column.name: list(column.counts) for column in self.columns}

    def column(self, name: str) -> ColumnProfile | None:
        """The profile of one column, or None."""
        return next((column for column in self.columns if column.name == name), None)

    def encode(self) -> bytes:
        """The profile as canonical JSON: the file in a release."""
        return canonical_json(msgspec.to_builtins(self))

    def digest(self) -> str:
        """The digest of the encoded profile."""
        return digest(self.encode())


def decode_profile(content: bytes) -> ReferenceProfile:
    """The profile in JSON bytes. Raises InputError."""
    try:
        profile = msgspec.json.decode(content, type=ReferenceProfile)
    except msgspec.DecodeError as error:
        raise InputError(
            "not a reference profile", got=str(error), expected="profile.json of a release", mend="build it anew"
        ) from error
    wrong = list(_misfits(profile.columns))
    if wrong:
        raise InputError("a reference profile whose counts do not fit its cells", got=wrong, mend="build it anew")
    return profile


def _misfits(columns: Iterable[ColumnProfile]) -> Iterable[str]:
    for column in columns:
        if len(column.counts) != column.cells or list(column.cuts) != sorted(column.cuts):
            yield column.name


def _text(value: float | bool | str) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
