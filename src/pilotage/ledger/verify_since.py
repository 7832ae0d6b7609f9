"""Verify only what came after a head that was verified before: its entries, tiles, heads, payloads and index rows.

The tree ties the new to the old: the hash tiles must have the root of the earlier head, and lead from it to every later
one. The entries, payloads and rows before it are not read again, nor journals, nor rows of the control plane: those
need the whole (`verify_ledger`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from sqlalchemy import Engine
from sqlalchemy.exc import DatabaseError

from pilotage.errors import IntegrityError, NotFound, PilotageError
from pilotage.ledger import store, tiles
from pilotage.ledger.faults import Faults
from pilotage.ledger.keyring import Keyring
from pilotage.ledger.keys import CabinetSecrets, KeyCabinet
from pilotage.ledger.merkle import Frontier, leaf_hash, subtree_root
from pilotage.ledger.pending import pending_path
from pilotage.ledger.record import BATCH_LEAF, decode_batch
from pilotage.ledger.retired import RETIRED_ENTRIES, bundles_named_by
from pilotage.ledger.retiring import RETIRED, named_by
from pilotage.ledger.signing import key_periods, verify_checkpoint
from pilotage.ledger.tables import events, heads
from pilotage.ledger.verify import LedgerReport, Progress
from pilotage.ledger.verify_batches import BatchAudit
from pilotage.ledger.verify_kept import GoneLeaf, KeptAudit
from pilotage.ledger.verify_part import PartTools
from pilotage.ledger.verify_pending import waiting_entries
from pilotage.ledger.verify_rows import Row
from pilotage.ledger.verify_workers import View, one_view
from pilotage.storage.database import reading
from pilotage.storage.home import Home

__all__ = ["head_before", "verify_since"]


def head_before(ledger: Engine, *, size: int, at: int | None = None) -> int:
    """The size of the last head of at most `size` entries, sealed until `at` (Unix microseconds); 0 for none."""
    with reading(ledger) as connection:
        found = [
            int(head.size)
            for head in store.all_heads(connection)
            if head.size <= size and (at is None or head.at <= at)
        ]
    return max(found, default=0)


def verify_since(
    home: Home,
    ledger: Engine,
    keyring: Keyring,
    since: int,
    progress: Progress = lambda done, total: None,
    *,
    processes: int = 1,
) -> LedgerReport:
    """Verify what was sealed after the head of `since` entries. Never raises for what is wrong: it reports.

    Counts are of that part; `size`, `published` and `root` are the tree's. `processes` as for `verify_ledger`.
    """
    storage, faults, walk = Faults(), Faults(), Faults()
    part: _Part | None = None
    try:
        with one_view(
            ledger, faults, home.ledger, lambda: CabinetSecrets.of(keyring), processes=processes, since=since
        ) as view:
            stored = view.check_storage()
            try:
                part = _Part(home.ledger, ledger, keyring, view, faults, walk, since)
                part.run(progress)
            finally:
                storage.absorb(stored())
                faults.absorb(walk)
    except DatabaseError as error:
        faults.add("ledger.db", "the database cannot be read", error.orig)
    except PilotageError as error:
        faults.add(home.ledger, error.what, error.got, error.expected)
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        faults.add("ledger.db", f"what it says cannot be read: {error}")
    storage.absorb(faults)
    faults = storage
    known: dict[str, int] = {}
    if part is not None:
        known = {
            "size": part.size,
            "published": part.published,
            **part.batches.figures,
        }
    return LedgerReport(
        ok=faults.count == 0,
        origin=keyring.origin,
        root=part.frontier.root().hex() if part else "",
        since=since,
        fault_count=faults.count,
        faults=tuple(faults.found),
        witnessed=(),
        **known,
    )


class _Part:
    """One verification of a part."""

    def __init__(
        self, folder: Path, ledger: Engine, keyring: Keyring, view: View, faults: Faults, walk: Faults, since: int
    ) -> None:
        rows, self._faults = view.rows, walk
        self._folder, self._rows, self._since = folder, rows, since
        self._heads = {int(row["size"]): row for row in rows.between(heads, heads.c.size, since, 2**62)}
        self.size = max(self._heads, default=since)
        with reading(ledger) as connection:
            self._keys = key_periods(connection, keyring)
        self._waiting = waiting_entries(folder, self._heads.values(), self._faults)
        self.published = self._published()
        self._reader = tiles.TileReader(folder, self.published)
        self.frontier = self._edge(since)
        self._unlike: list[int] = []
        base = self._heads.get(since)
        after = int(base["at"]) if base else 0
        retired = named_by(rows.among(events, events.c.kind, [RETIRED]))
        tools = PartTools(folder=folder, cabinet=KeyCabinet(keyring), rows=rows, retired=retired, after=after)
        named = bundles_named_by(rows.among(events, events.c.kind, [RETIRED_ENTRIES]))
        self._kept = KeptAudit(folder=folder, named=named, faults=self._faults)
        self.batches = BatchAudit(
            folder=folder,
            rows=rows,
            heads=self._heads,
            faults=faults,
            walk=self._faults,
            checker=view.checker(tools),
            retired=retired,
        )

    def run(self, progress: Progress) -> None:
        try:
            self._walk(progress)
        finally:
            self.batches.finish_part()  # also of what was begun before the walk had to end

    def _walk(self, progress: Progress) -> None:
        self._check_head(self._since, self._heads.get(self._since))
        first, entries = self._since, list[bytes | GoneLeaf | None]()
        for index, entry in enumerate(self._entries(progress), self._since):
            if not isinstance(entry, bytes) or not entry.startswith(BATCH_LEAF):
                entries.append(entry)
                continue
            try:
                batch = decode_batch(entry)
            except (msgspec.MsgspecError, ValueError) as error:
                self._faults.add(f"leaf {index}", f"its entry is no record: {error}")
                entries.append(None)
                continue
            self.batches.take(first, index + 1, entries, batch)
            first, entries = index + 1, []
        if first != self.size:
            self._faults.add(f"leaf {self.size - 1}", "the tree does not end with a batch leaf")
        self._check_tiles()

    def _published(self) -> int:
        path, known = self._folder / "checkpoint", min(self._waiting, default=self.size)
        try:
            text = tiles.read_checkpoint(self._folder)
            size = verify_checkpoint(text, self._keys).size
        except NotFound:
            self._faults.add(path, "the file is missing")
            return known
        except IntegrityError as error:
            self._faults.add(path, error.what, error.got, error.expected)
            return known
        if size in self._heads and self._heads[size]["checkpoint"] != text:
            self._faults.add(path, "not the checkpoint of the head of this size", text, self._heads[size]["checkpoint"])
        elif size not in self._heads and size <= self.size:
            self._faults.add(f"heads row of size {size}", "the head that the checkpoint signs is missing")
        return min(size, self.size)

    def _edge(self, size: int) -> Frontier:
        """The right edge of the tree's first `size` leaves, from the hash tiles."""
        edge, at = [], 0
        for level in reversed(range(size.bit_length())):
            if size >> level & 1:
                edge.append(self._reader.read(level, at >> level))
                at += 1 << level
        return Frontier(size=size, edge=tuple(edge))

    def _entries(self, progress: Progress) -> Iterator[bytes | GoneLeaf | None]:
        """From `since` on, held to the tree: those that were published, then those that wait to be; None for what
        cannot be read.
        """
        beyond = max(self._since, self.published)
        at = self._since
        while at < beyond:
            number, offset = divmod(at, tiles.TILE_WIDTH)
            end = min(beyond, at - offset + tiles.TILE_WIDTH)
            left = self._kept.entries(number, end - at + offset)
            some = list(tiles.read_entries(self._folder, at, end)) if left is None else left[offset:]
            self._grow(at, some, self._reader.tile(0, number)[offset:])
            yield from some
            at = end
            progress(at - self._since, self.size - self._since)
        for index in range(beyond, self.size):
            entry = self._waiting.get(index)
            if entry is None:
                self._faults.add(f"pending entry of leaf {index}", "the entry is missing")
                return
            self._grow(index, [entry], [])
            yield entry

    def _grow(self, at: int, entries: Sequence[bytes | GoneLeaf | None], hashes: Sequence[bytes]) -> None:
        """Append the leaves from tree index `at` on, stopping at every head; `hashes` are those that were published."""
        own = [leaf_hash(entry) if isinstance(entry, bytes) else hashes[place] for place, entry in enumerate(entries)]
        for index, (our, their) in enumerate(zip(own, hashes, strict=False), at):
            if our != their:
                self._unlike.append(index)
        end = at + len(own)
        stops = [size for size in range(at + 1, end + 1) if size in self._heads]
        for stop in [*stops, *([] if end in stops else [end])]:
            self.frontier = self.frontier.append(own[: stop - at])
            own, at = own[stop - at :], stop
            if stop in self._heads:
                self._check_head(stop, self._heads[stop])

    def _settle(self, entries_are_true: bool) -> None:
        """Leaves where bundle and tile disagree: the head has told which of them was changed."""
        for index in self._unlike:
            number, level = index // tiles.TILE_WIDTH, 0 if entries_are_true else "entries"
            width = min(tiles.TILE_WIDTH, self.published - number * tiles.TILE_WIDTH)
            place = tiles.tile_path(self._folder, level, number, width)
            self._faults.add(f"{place} leaf {index}", "entry and leaf hash are not of each other")
        self._unlike = []

    def _check_head(self, size: int, row: Row | None) -> None:
        """The tree so far has the root that this head signs, and its columns say the same."""
        if row is None:
            if size:
                self._faults.add(f"heads row of size {size}", "the head to begin with is missing")
            return
        root = self.frontier.root()
        try:
            signed = verify_checkpoint(row["checkpoint"], self._keys)
        except (IntegrityError, TypeError, AttributeError):
            self._faults.add(f"heads checkpoint of size {size}", "not a checkpoint that this log signed")
            return
        self._settle((signed.size, signed.root) == (size, root))
        if (signed.size, signed.root) != (size, root):
            what = "the tree does not have the root that this head signs"
            self._faults.add(f"heads checkpoint of size {size}", what, root.hex(), signed.root.hex())
            if size > self.published:
                self._faults.add(self._folder / pending_path(str(row["batch"])), what)
        if row["root"] != root.hex():
            self._faults.add(f"heads root of size {size}", "not the tree's root", row["root"], root.hex())
        if row["frontier"] != self.frontier.to_bytes():
            self._faults.add(f"heads frontier of size {size}", "not the tree's right edge")

    def _check_tiles(self) -> None:
        """The upper tiles lead to the root that the published checkpoint signs."""
        row = self._heads.get(self.published)
        if row is None or not self.published:
            return
        root = subtree_root(0, self.published, self._reader.read).hex()
        if root != row["root"]:
            self._faults.add(self._folder / "tile", "the tiles have another root", root, row["root"])
