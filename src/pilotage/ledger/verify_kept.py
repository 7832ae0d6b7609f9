"""Verify what retention left of entry bundles: each file is the one whose digest the event of the deletion carries."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pilotage.errors import IntegrityError
from pilotage.kernel.digests import digest
from pilotage.ledger.faults import Faults
from pilotage.ledger.kept import KeptBundle, Stub, kept_path, stub_row, unpack_kept
from pilotage.ledger.sums import SumKey, sums_of_minutes
from pilotage.ledger.tables import decisions, events
from pilotage.ledger.tiles import TILE_WIDTH, tile_path

__all__ = ["GoneLeaf", "KeptAudit"]


@dataclass(frozen=True, kw_only=True, slots=True)
class GoneLeaf:
    """A leaf whose entry retention deleted: its tree index, the table of its row, and the row that must be there."""

    index: int
    table: str
    row: dict[str, Any]


@dataclass(kw_only=True)
class KeptAudit:
    """Reads what is left of the bundles `named` by events, with the digests; `summed` takes sums of what went."""

    folder: Path
    named: Mapping[int, str]
    faults: Faults
    summed: Callable[[dict[SumKey, dict[str, Any]]], None] = field(default=lambda sums: None)

    def entries(self, number: int, width: int) -> list[bytes | GoneLeaf | None] | None:
        """The first `width` leaves of a deleted bundle, None for each when nothing can be read; None for any other."""
        if number not in self.named:
            return None
        bundle = tile_path(self.folder, "entries", number)
        if bundle.exists():
            self.faults.add(bundle, "retention deleted it, says an event, and yet it is there")
        kept = self._read(number)
        if kept is None or len(kept.entries) != TILE_WIDTH:
            return [None] * width
        self.summed(sums_of_minutes(kept.sums))
        first = number * TILE_WIDTH
        return [_leaf(at, entry, kept.segments) for at, entry in enumerate(kept.entries[:width], first)]

    def strays(self) -> list[Path]:
        """Files of which no event speaks. Beside a bundle that is still there they are of a deletion that was begun."""
        named = {kept_path(self.folder, number) for number in self.named}
        found = [path for path in sorted((self.folder / "kept").rglob("*")) if path.is_file()]
        return [
            path
            for path in found
            if path not in named
            and not path.name.startswith(".new-")
            and not (self.folder / "tile" / "entries" / path.relative_to(self.folder / "kept")).is_file()
        ]

    def _read(self, number: int) -> KeptBundle | None:
        path = kept_path(self.folder, number)
        try:
            content = path.read_bytes()
        except OSError as error:
            self.faults.add(path, f"what retention left of the bundle cannot be read: {error.strerror}")
            return None
        if (got := digest(content)) != self.named[number]:
            self.faults.add(path, "not what the event of the deletion says was left", got, self.named[number])
            return None
        try:
            return unpack_kept(content, number, path)
        except IntegrityError as error:
            self.faults.add(path, error.what, error.got, error.expected)
            return None


def _leaf(index: int, entry: bytes | Stub, segments: Sequence[str]) -> bytes | GoneLeaf:
    if isinstance(entry, bytes):
        return entry
    table = events if entry.event else decisions
    return GoneLeaf(index=index, table=table.name, row=stub_row(index, entry, segments))
