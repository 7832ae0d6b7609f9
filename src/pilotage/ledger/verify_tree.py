"""Verify the tree: entries hash to the leaves, leaves to the tiles of every level, and these to every signed head.

Where an entry bundle and its hash tile disagree, the next signed head tells which of them was changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pilotage.errors import IntegrityError
from pilotage.ledger.faults import Faults
from pilotage.ledger.merkle import Frontier
from pilotage.ledger.notes import Checkpoint
from pilotage.ledger.pending import pending_path
from pilotage.ledger.tiles import TILE_WIDTH, pack_entries, partial_widths, tile_path, tile_root, unpack_entries
from pilotage.ledger.verify_kept import GoneLeaf, KeptAudit

__all__ = ["SignedHead", "TreeWalk", "tree_files"]

_HASH_BYTES, _TILE_LEVELS = 32, 8
_sha256 = hashlib.sha256


@dataclass(frozen=True, kw_only=True)
class SignedHead:
    """A row of `heads`: what its checkpoint signs (None when that does not verify), and its other columns."""

    size: int
    signed: Checkpoint | None
    root: str
    frontier: bytes
    batch: str = ""


@dataclass(frozen=True, kw_only=True)
class _Dispute:
    """A leaf whose entry does not hash to its tile's hash, until a head decides: `at` its place in both rows."""

    index: int
    at: int
    ours: list[bytes]
    theirs: list[bytes]


class TreeWalk:
    """Walks the tree of `size` leaves once. `pending` are entries that wait to be published, or did just now.

    `published` is the size of the published tree: up to it the files must be there, but for bundles that `kept` knows.
    """

    def __init__(
        self,
        folder: Path,
        *,
        size: int,
        published: int,
        pending: Mapping[int, bytes],
        heads: Sequence[SignedHead],
        faults: Faults,
        kept: KeptAudit,
    ) -> None:
        self._folder, self._kept = folder, kept
        self._size = size
        self._published = min(published, size)
        self._pending = pending
        self._heads = {head.size: head for head in heads}
        self._faults = faults
        self._stops = sorted({head.size for head in heads} | {size, self._published})
        self._by_entries = self._by_tiles = Frontier()
        self._disputes: list[_Dispute] = []
        self._tile_roots: list[bytes] = []
        self._believed: set[int] = set()
        self._seen: set[Path] = set()
        self._intact: set[Path] = set()
        self.roots: dict[int, bytes] = {0: Frontier().root()}

    def bundles(self) -> Iterator[tuple[int, list[bytes | GoneLeaf | None]]]:
        """(first index, entries) of every bundle in order, checked against the leaves; None where one is missing."""
        for number in range(-(-self._size // TILE_WIDTH)):
            first = number * TILE_WIDTH
            width = min(TILE_WIDTH, self._size - first)
            entries = self._bundle(number, width)
            self._check_tile(number, entries)
            yield first, entries
        self._check_upper_levels()

    def stray_files(self) -> Iterator[Path]:
        """Files of the published tree that no tree of this size has (call it after `bundles`)."""
        for path in tree_files(self._folder):
            if path not in self._seen:
                yield path

    def _bundle(self, number: int, width: int) -> list[bytes | GoneLeaf | None]:
        if (left := self._kept.entries(number, width)) is not None:
            return left
        first = number * TILE_WIDTH
        entries: list[bytes | GoneLeaf | None] = self._read_bundle(number, max(0, min(width, self._published - first)))
        published = len(entries)
        for at in range(width):
            waiting = self._pending.get(first + at)
            if at >= published:
                entries.append(waiting)
                if waiting is None:
                    self._faults.add(f"pending entry of leaf {first + at}", "the entry is missing")
            elif waiting is not None and entries[at] is not None and waiting != entries[at]:
                self._faults.add(f"pending entry of leaf {first + at}", "it is not the published entry")
        return entries

    def _read_bundle(self, number: int, width: int) -> list[bytes | GoneLeaf | None]:
        """The entries of the published file: as many as it should have, None for those that cannot be read."""
        if not width:
            return []
        path, content = self._read("entries", number, width)
        found: list[bytes | GoneLeaf | None] = []
        try:
            found += unpack_entries(content, path)
        except IntegrityError as error:
            self._faults.add(path, "its entries cannot be told apart", error.got, error.expected)
            return [None] * width
        if content and len(found) < width:
            self._faults.add(path, "entries are missing", f"{len(found)} entries", f"{width} entries")
        if len(found) == width:
            self._intact.add(path)
        return (found + [None] * width)[:width]

    def _read(self, level: int | str, number: int, width: int) -> tuple[Path, bytes]:
        """The file of this width, or the full one that may replace it at any time; no bytes if there is none."""
        exact = tile_path(self._folder, level, number, width)
        for path in (exact, *([tile_path(self._folder, level, number)] if width < TILE_WIDTH else [])):
            try:
                return path, path.read_bytes()
            except FileNotFoundError:
                continue
            except OSError as error:
                self._faults.add(path, f"it cannot be read: {error.strerror}")
                return path, b""
        self._faults.add(exact, "the file is missing")
        return exact, b""

    def _check_tile(self, number: int, entries: list[bytes | GoneLeaf | None]) -> None:
        first = number * TILE_WIDTH
        hashes = self._read_hashes(number, min(len(entries), max(0, self._published - first)))
        ours = [
            _sha256(b"\x00" + entry).digest()
            if type(entry) is bytes
            else (hashes[at] if at < len(hashes) else bytes(_HASH_BYTES))
            for at, entry in enumerate(entries)
        ]
        theirs = hashes + ours[len(hashes) :]
        if any(type(entry) is GoneLeaf for entry in entries):
            self._believed.add(number)
        for at, (our, their) in enumerate(zip(ours, theirs, strict=True)) if ours != theirs else ():
            if our != their:
                self._disputes.append(_Dispute(index=first + at, at=at, ours=ours, theirs=theirs))
        if len(ours) == TILE_WIDTH and ours == theirs and not self._stops_within(first):
            self._tile_roots.append(tile_root(ours))
            self._grow_by_tile(first)
        else:
            self._grow(first, ours, theirs)
            if len(ours) == TILE_WIDTH:
                self._tile_roots.append(tile_root(ours))
        self._check_copies("entries", number, entries)
        self._check_copies(0, number, hashes)
        self._intact.clear()

    def _read_hashes(self, number: int, width: int) -> list[bytes]:
        if not width:
            return []
        path, content = self._read(0, number, width)
        if len(content) == width * _HASH_BYTES:
            self._intact.add(path)
        return [content[at : at + _HASH_BYTES] for at in range(0, len(content) - 31, _HASH_BYTES)][:width]

    def _stops_within(self, first: int) -> bool:
        """Whether a head lies inside of a full tile, before its end."""
        while self._stops and self._stops[0] <= first:
            self._stops.pop(0)
        return bool(self._stops) and self._stops[0] < first + TILE_WIDTH

    def _grow_by_tile(self, first: int) -> None:
        """Append a full tile on which entries and hashes agree, by the root that was made last."""
        root, same = self._tile_roots[-1], self._by_entries is self._by_tiles
        self._by_entries = self._by_entries.append_subtree(root, _TILE_LEVELS)
        self._by_tiles = self._by_entries if same else self._by_tiles.append_subtree(root, _TILE_LEVELS)
        if self._stops and self._stops[0] == first + TILE_WIDTH:
            self._check_head(first + TILE_WIDTH)

    def _grow(self, first: int, ours: list[bytes], theirs: list[bytes]) -> None:
        """Append a tile's leaves, stopping at every head on the way."""
        at, end = first, first + len(ours)
        while at < end:
            while self._stops and self._stops[0] <= at:
                self._stops.pop(0)
            stop = min(end, self._stops[0]) if self._stops else end
            our, their = ours[at - first : stop - first], theirs[at - first : stop - first]
            same = self._by_entries is self._by_tiles and our == their
            self._by_entries = self._by_entries.append(our)
            self._by_tiles = self._by_entries if same else self._by_tiles.append(their)
            at = stop
            if self._stops and at == self._stops[0]:
                self._check_head(at)

    def _check_head(self, size: int) -> None:
        head = self._heads.get(size)
        by_entries, by_tiles = self._by_entries.root(), self._by_tiles.root()
        signed = head.signed.root if head and head.signed and head.signed.size == size else None
        if signed is not None or size == self._size:
            self._settle(size, by_tiles == signed and by_entries != signed, by_entries == signed)
        self.roots[size] = self._by_entries.root()
        if head is None:
            return
        if signed is not None and self.roots[size] != signed:
            what = "the entries do not hash to the root that this head signs"
            self._faults.add(f"heads checkpoint of size {size}", what, self.roots[size].hex(), signed.hex())
            self._doubt()
            if size > self._published:
                self._faults.add(self._folder / pending_path(head.batch), what)
        elif signed is not None:
            self._believed = {number for number in self._believed if (number + 1) * TILE_WIDTH > size}
        if head.root != self.roots[size].hex():
            self._faults.add(f"heads root of size {size}", "not the tree's root", head.root, self.roots[size].hex())
        if head.frontier != self._by_entries.to_bytes():
            self._faults.add(f"heads frontier of size {size}", "not the tree's right edge")

    def _doubt(self) -> None:
        """Name the hash tiles that could only be believed, for retention deleted their entries, and should not have
        been: those whose root the tile above does not have.
        """
        for number in sorted(self._believed):
            path = tile_path(self._folder, 0, number)
            above, at = divmod(number, TILE_WIDTH)
            width = min(TILE_WIDTH, (self._published >> _TILE_LEVELS) - above * TILE_WIDTH)
            hashes = self._read_hashes(number, TILE_WIDTH)
            root = self._read(1, above, width)[1][at * _HASH_BYTES :][:_HASH_BYTES]
            if len(hashes) != TILE_WIDTH or tile_root(hashes) != root:
                self._faults.add(path, "its hashes, of entries that retention deleted, are not those of the tree")
        self._believed.clear()

    def _settle(self, size: int, entries_changed: bool, tiles_changed: bool) -> None:
        """A head of `size` has decided which side of each dispute before it is the true one; both may be wrong."""
        for dispute in [dispute for dispute in self._disputes if dispute.index < size]:
            self._disputes.remove(dispute)
            number, at = divmod(dispute.index, TILE_WIDTH)
            width = min(TILE_WIDTH, self._published - number * TILE_WIDTH)
            if not tiles_changed:
                place = tile_path(self._folder, "entries", number, width)
                self._faults.add(f"{place} leaf {dispute.index}", "the entry does not hash to its leaf in the tree")
            if not entries_changed:
                place = tile_path(self._folder, 0, number, width)
                self._faults.add(f"{place} leaf {dispute.index}", "the hash is not that of the leaf's entry")
            if entries_changed:
                dispute.ours[at] = dispute.theirs[at]
                if number < len(self._tile_roots):
                    self._tile_roots[number] = tile_root(dispute.ours)
            else:
                dispute.theirs[at] = dispute.ours[at]
        if entries_changed:
            self._by_entries = self._by_tiles
        else:
            self._by_tiles = self._by_entries

    def _check_copies(self, level: int | str, number: int, values: Sequence[bytes | GoneLeaf | None]) -> None:
        """Every file of one tile, of whatever width, must be a beginning of it, unless values are unknown."""
        full = tile_path(self._folder, level, number)
        widths = partial_widths(full)
        if full in self._intact or full.is_file():
            widths.append(TILE_WIDTH)
        for width in widths:
            if width > len(values):
                continue
            path = full if width == TILE_WIDTH else tile_path(self._folder, level, number, width)
            self._seen.add(path)
            if path in self._intact:
                continue  # it was read, and is just what the values were taken from
            known = [value for value in values[:width] if isinstance(value, bytes)]
            expected = pack_entries(known) if level == "entries" else b"".join(known)
            try:
                if len(known) == width and path.read_bytes() != expected:
                    self._faults.add(path, "its bytes are not those of the tree")
            except FileNotFoundError:
                continue  # a partial file goes when its tile is full

    def _check_upper_levels(self) -> None:
        level, below = 1, self._tile_roots
        while below:
            published = self._published >> (8 * level)
            for number in range(-(-len(below) // TILE_WIDTH)):
                values = below[number * TILE_WIDTH : (number + 1) * TILE_WIDTH]
                width = min(len(values), published - number * TILE_WIDTH)
                if width > 0:
                    self._read(level, number, width)
                self._check_copies(level, number, values)
            whole = len(below) // TILE_WIDTH
            below = [tile_root(below[n * TILE_WIDTH : (n + 1) * TILE_WIDTH]) for n in range(whole)]
            level += 1


def tree_files(folder: Path) -> Iterator[Path]:
    """Every file under `tile/`, save those that a writer has not finished."""
    root = folder / "tile"
    if root.is_dir():
        for path in sorted(root.rglob("*")):
            if path.is_file() and not path.name.startswith(".new-"):
                yield path
