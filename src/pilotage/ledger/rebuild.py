"""Make the SQL index anew from entry bundles and payload segments, then put it in place in one transaction.

    scratch     every row made again in a database of its own; each entry and segment held to the tree
    lease       taken from the active steward, which stands by; what was sealed meanwhile is added
    swap        ONE transaction fenced by the lease: old rows out, new rows in, erasures of meanwhile applied

Rebuilt: decisions, events, outcomes, overrides, segments, counts, sums. Not rebuilt, because nothing else holds them:
heads (they are signatures), data keys and the erasure list, open streams. Where retention deleted a payload segment,
only the index still knows where its records came from: those rows are taken over, without anything personal. Counts of
a batch with erased payloads cannot be counted again; they are kept where they still are what the batch leaf commits to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from operator import itemgetter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine

from pilotage.errors import Gone, IntegrityError
from pilotage.kernel.digests import digest
from pilotage.ledger import rebuild_store as scratch_rows
from pilotage.ledger import store, store_keeping, tiles
from pilotage.ledger.counting import count_profiles
from pilotage.ledger.faults import Faults
from pilotage.ledger.features import counted_features, feature_reader
from pilotage.ledger.items import SALT, InterruptedPayload, Item, decision_item, read_private
from pilotage.ledger.keys import DataKey, KeyCabinet
from pilotage.ledger.merkle import Frontier, leaf_hash
from pilotage.ledger.notes import read_checkpoint_body
from pilotage.ledger.outcome_counts import Added, count_outcomes
from pilotage.ledger.record import Batch, Event, Interrupted, Leaf, Payload, Plain, decode_leaf
from pilotage.ledger.retired import RETIRED_ENTRIES, bundles_named_by
from pilotage.ledger.retiring import RETIRED, named_by
from pilotage.ledger.rows import WITHHELD, Place, counts_digest, index_row, origin_of
from pilotage.ledger.said import SAID, said_row
from pilotage.ledger.said_tables import outcome_counts, outcomes, overrides
from pilotage.ledger.sealing import ProfileOf, Steward
from pilotage.ledger.segments import SealedPayload, iterate_segment
from pilotage.ledger.sums import SUMMED, SumKey
from pilotage.ledger.sums_store import add_made_sums, add_sums
from pilotage.ledger.tables import ERASED, REBUILDABLE, decisions, events, profile_counts, segments
from pilotage.ledger.verify_kept import GoneLeaf, KeptAudit
from pilotage.storage.database import open_engine, reading, writing

__all__ = ["RebuildReport", "rebuild_index"]

_RETENTION = b"retention."
_summed = itemgetter(*SUMMED)


@dataclass(frozen=True, kw_only=True)
class RebuildReport:
    """What was made again; of `gone` leaves retention deleted the entry.

    `uncounted` names batches whose profile counts could neither be counted nor kept; `positions` are journal files
    whose consumed positions were lost and were taken from the batch leaves.
    """

    size: int
    decisions: int
    events: int
    erased: int
    gone: int = 0
    uncounted: tuple[str, ...] = ()
    positions: int = 0


def rebuild_index(
    steward: Steward, profile_of: ProfileOf, progress: Callable[[int, int], None] = lambda done, total: None
) -> RebuildReport:
    """Rebuild the index of the steward's ledger. It need not hold the lease: it takes it for the swap.

    Raises NotFound when nothing was published; IntegrityError, and changes nothing, when an entry, a segment or a key
    is not what the tree commits to.
    """
    with _scratch(steward.home.run) as engine:
        making = _Making(steward=steward, scratch=engine, profile_of=profile_of, progress=progress)
        making.extend(read_checkpoint_body(tiles.read_checkpoint(steward.home.ledger)).size)
        steward.acquire(steal=True)
        size = read_checkpoint_body(tiles.read_checkpoint(steward.home.ledger)).size
        making.extend(size)
        making.check_root()
        lost = 0

        def swap(connection: Connection) -> None:
            nonlocal lost
            with reading(engine) as rows:
                for table in REBUILDABLE:
                    scratch_rows.replace_rows(connection, rows, table)
            scratch_rows.apply_erasures(connection)
            lost = scratch_rows.add_lost_positions(connection, making.consumed, steward.home.journal)

        steward.amend(swap)
        store_keeping.scrub(steward.ledger)
        # Journal files whose position was lost are read again here; what is sealed already is skipped.
        steward.seal_all()
        return RebuildReport(
            size=size,
            decisions=making.decisions,
            events=making.events,
            erased=making.erased,
            gone=making.gone,
            uncounted=tuple(making.uncounted),
            positions=lost,
        )


@contextmanager
def _scratch(folder: Path) -> Iterator[Engine]:
    """An empty database (mode 0600) that is gone at the end: it holds pseudonyms and scores."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "rebuild.db"
    names = [path, *(path.with_name(path.name + end) for end in ("-wal", "-shm"))]
    for name in names:
        name.unlink(missing_ok=True)
    path.touch(mode=0o600)
    engine = open_engine(f"sqlite:///{path}")
    try:
        for table in REBUILDABLE:
            table.create(engine)
        yield engine
    finally:
        engine.dispose()
        for name in names:
            name.unlink(missing_ok=True)


@dataclass(kw_only=True)
class _Making:
    """Rows made so far, of the first `size` leaves."""

    steward: Steward
    scratch: Engine
    profile_of: ProfileOf
    progress: Callable[[int, int], None]
    size: int = 0
    decisions: int = 0
    events: int = 0
    erased: int = 0
    gone: int = 0
    uncounted: list[str] = field(default_factory=list)
    consumed: dict[str, tuple[int, str]] = field(default_factory=dict)
    _frontier: Frontier = field(default_factory=Frontier)
    _retired: dict[str, str] = field(default_factory=dict)
    _gone: dict[int, str] = field(default_factory=dict)

    def extend(self, size: int) -> None:
        """Take the leaves up to `size`, which must end a batch."""
        self._learn_retired(size)
        entries: list[bytes | GoneLeaf] = []
        leaves: list[Leaf | GoneLeaf] = []
        for entry in self._entries(size):
            leaf = _decoded(entry, self.size + len(entries)) if isinstance(entry, bytes) else entry
            entries.append(entry)
            leaves.append(leaf)
            if isinstance(leaf, Batch):
                self._take(entries, leaves, leaf)
                self.progress(self.size, size)
                entries, leaves = [], []
        if entries:
            raise _changed("the tree does not end with a batch leaf", self.size, size)

    def _entries(self, size: int) -> Iterator[bytes | GoneLeaf]:
        """The entries from here on; of a bundle that retention deleted, what it left as its event says."""
        folder, faults = self.steward.home.ledger, Faults()
        kept = KeptAudit(folder=folder, named=self._gone, faults=faults, summed=self._sum)
        at = self.size
        while at < size:
            number, offset = divmod(at, tiles.TILE_WIDTH)
            end = min(size, at - offset + tiles.TILE_WIDTH)
            left = kept.entries(number, end - at + offset)
            for fault in faults.found:
                raise _changed(f"{fault.place}: {fault.what}", fault.got, fault.expected)
            try:
                yield from tiles.read_entries(folder, at, end) if left is None else filter(None, left[offset:])
            except Gone as error:
                raise _changed(
                    f"bundle {number} is gone, and no event tells of it", error.what, "its entries"
                ) from error
            at = end

    def _learn_retired(self, size: int) -> None:
        """What retention deleted, as leaves from here on tell: of these batches or of older ones."""
        for entry in tiles.read_leaves(self.steward.home.ledger, self.size, size):
            if not isinstance(entry, bytes) or _RETENTION not in entry:
                continue
            leaf = _decoded(entry, self.size)
            if isinstance(leaf, Event) and leaf.kind == RETIRED:
                self._retired |= named_by([{"facts": leaf.facts}])
            elif isinstance(leaf, Event) and leaf.kind == RETIRED_ENTRIES:
                self._gone |= bundles_named_by([{"facts": leaf.facts}])

    def _sum(self, sums: dict[SumKey, dict[str, Any]]) -> None:
        """Sums of decisions whose entries are gone."""
        with writing(self.scratch) as connection:
            add_made_sums(connection, sums)

    def check_root(self) -> None:
        """The entries must be those that the last head signs."""
        with reading(self.steward.ledger) as connection:
            head = store.last_head(connection)
        root = self._frontier.root().hex()
        if head is None or (head.size, head.root) != (self.size, root):
            raise _changed("the entries are not those that the last head signs", root, head and head.root)

    def _take(self, entries: Sequence[bytes | GoneLeaf], leaves: Sequence[Leaf | GoneLeaf], batch: Batch) -> None:
        first = self.size
        tree = tiles.TileReader(self.steward.home.ledger, first + len(entries))
        self._frontier = self._frontier.append(
            [leaf_hash(entry) if isinstance(entry, bytes) else tree.read(0, entry.index) for entry in entries]
        )
        self.size += len(entries)
        self.consumed |= batch.consumed
        records = self._records(batch)
        kept = self._kept(batch, first)
        keys = self._keys({sealed.key_id for _, sealed in records.values()})
        rows: dict[str, list[dict[str, Any]]] = {t.name: [] for t in (decisions, events, outcomes, overrides)}
        items: list[Item] = []
        stubs: list[GoneLeaf] = []
        for index, (entry, leaf) in enumerate(zip(entries[:-1], leaves[:-1], strict=True), first):
            if isinstance(leaf, GoneLeaf) or not isinstance(entry, bytes):
                stubs += [leaf] if isinstance(leaf, GoneLeaf) else []
                continue
            if index in kept:
                self._take_over(rows, index, leaf, kept[index])
                continue
            if isinstance(leaf, Batch) or leaf.id not in records:
                raise _changed(f"leaf {index} has no payload, and no row that retention left", leaf.id, batch.id)
            place, sealed = records[leaf.id]
            place = msgspec.structs.replace(place, leaf=index)
            key = keys.get(sealed.key_id)
            secret = key.open(sealed) if key is not None else None
            row = index_row(leaf, _payload(leaf, secret), key.pseudonym if key else "", place)
            if key is None:
                row["key_id"] = ERASED
                self.erased += 1
            elif isinstance(leaf, Plain) and secret is not None:
                items.append(decision_item(entry, secret, sealed.origin))
            rows[events.name if isinstance(leaf, Event) else decisions.name].append(row)
            if isinstance(leaf, Event) and leaf.kind in SAID:
                private = read_private(secret) if secret is not None else None
                lookup = self.steward.cabinet.reviewer_lookup
                rows[SAID[leaf.kind].name].append(said_row(index, leaf, private, lookup))
        self._write(batch, rows, *self._counts(batch, items, rows), stubs)

    def _take_over(
        self, rows: Mapping[str, list[dict[str, Any]]], index: int, leaf: Leaf, kept: dict[str, Any]
    ) -> None:
        """A row whose payload retention deleted: held to its leaf, and without anything personal."""
        if isinstance(leaf, Batch) or leaf.id != kept["id"]:
            raise _changed(f"leaf {index} is not the record that the index says", getattr(leaf, "id", ""), kept["id"])
        place = Place(
            leaf=index,
            origin=origin_of(kept["node"], kept["worker"], kept["journal"]),
            key_id=ERASED,
            segment=kept["segment"],
            offset=kept["offset"],
            length=kept["length"],
        )
        rows[events.name if isinstance(leaf, Event) else decisions.name].append(index_row(leaf, None, "", place))
        if isinstance(leaf, Event) and leaf.kind in SAID:
            rows[SAID[leaf.kind].name].append(said_row(index, leaf, None, self.steward.cabinet.reviewer_lookup))
        self.erased += 1

    def _kept(self, batch: Batch, first: int) -> dict[int, dict[str, Any]]:
        """The index rows, by leaf, of a batch's segments that retention deleted."""
        gone = [segment.path for segment in batch.segments if self._retired.get(segment.path) == segment.digest]
        if not gone:
            return {}
        with reading(self.steward.ledger) as connection:
            return scratch_rows.rows_of_segments(connection, gone, first, self.size)

    def _write(
        self,
        batch: Batch,
        rows: Mapping[str, list[dict[str, Any]]],
        counts: list[dict[str, Any]],
        told: list[dict[str, Any]],
        stubs: Sequence[GoneLeaf],
    ) -> None:
        gone = {of.name: [stub.row for stub in stubs if stub.table == of.name] for of in (decisions, events)}
        self.decisions += len(rows[decisions.name]) + len(gone[decisions.name])
        self.events += len(rows[events.name]) + len(gone[events.name])
        self.gone += len(stubs)
        made = [{"path": s.path, "batch": batch.id, "digest": s.digest, "records": s.records} for s in batch.segments]
        with writing(self.scratch) as connection:
            store.add_rows(connection, decisions, rows[decisions.name])
            store.add_rows(connection, events, rows[events.name])
            for of in (decisions, events):
                store.add_rows(connection, of, gone[of.name])
            store.add_rows(connection, segments, made)
            store.add_rows(connection, profile_counts, counts)
            store.add_rows(connection, outcomes, rows[outcomes.name])
            store.add_rows(connection, overrides, rows[overrides.name])
            store.add_rows(connection, outcome_counts, told)
            add_sums(connection, map(_summed, rows[decisions.name]))

    def _records(self, batch: Batch) -> dict[str, tuple[Place, SealedPayload]]:
        """Where each payload of a batch lies, of segments that are what the batch leaf commits to."""
        found: dict[str, tuple[Place, SealedPayload]] = {}
        for segment in batch.segments:
            if self._retired.get(segment.path) == segment.digest:
                continue
            path = self.steward.home.ledger / segment.path
            try:
                got = digest(path.read_bytes())
            except OSError as error:
                raise _changed(f"payload segment {path} cannot be read", error.strerror, segment.digest) from error
            if got != segment.digest:
                raise _changed(f"payload segment {path} was changed", got, segment.digest)
            for offset, length, sealed in iterate_segment(path, self.steward.cabinet.mask_key):
                place = Place(
                    leaf=0,
                    segment=segment.path,
                    offset=offset,
                    length=length,
                    key_id=sealed.key_id,
                    origin=sealed.origin,
                )
                found[sealed.id] = place, sealed
        return found

    def _keys(self, ids: set[str]) -> dict[str, DataKey]:
        """The keys of some payloads, without those that were destroyed. Raises IntegrityError when one is lost."""
        cabinet: KeyCabinet = self.steward.cabinet
        with reading(self.steward.ledger) as connection:
            keys = cabinet.find_all(connection, ids)
            gone = ids - keys.keys() - {WITHHELD}
            lost = gone - scratch_rows.erased_among(connection, gone)
        if lost:
            raise IntegrityError(
                f"{len(lost)} data keys are missing, and no erasure destroyed them",
                got=", ".join(sorted(lost)[:3]),
                mend="restore the keys' tables from a backup first: without them payloads cannot be read",
            )
        return keys

    def _counts(
        self, batch: Batch, items: Sequence[Item], rows: Mapping[str, list[dict[str, Any]]]
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """The counts of profiles and of outcomes that the batch leaf commits to: counted again, else those kept."""
        counted, _ = count_profiles(items, self.profile_of, batch.id)
        decided: list[Any] = [SimpleNamespace(**row) for row in rows[decisions.name]]
        counted_here = {item.id: item.counted for item in items}
        added = Added(
            told=rows[outcomes.name],
            events=rows[events.name],
            decided=decided,
            features=lambda id_: counted_features(counted_here.get(id_)),
        )
        steward = self.steward
        features_of = feature_reader(steward.home.ledger, steward.ledger, steward.cabinet)
        with reading(self.scratch) as connection:
            told = count_outcomes(added, connection, self.profile_of, features_of, batch.id)
        with reading(self.steward.ledger) as connection:
            kept = scratch_rows.counts_of(connection, batch.id)
            kept_told = scratch_rows.counts_of(connection, batch.id, outcome_counts)
        for both in product((counted, kept), (told, kept_told)):
            if counts_digest(*both) == batch.counts:
                return both
        self.uncounted.append(batch.id)
        return [], []


def _payload(leaf: Leaf, secret: bytes | None) -> Payload | None:
    if secret is None or not isinstance(leaf, Plain | Interrupted):
        return None
    kind = InterruptedPayload if isinstance(leaf, Interrupted) else Payload
    try:
        return msgspec.msgpack.decode(secret[SALT:], type=kind)
    except msgspec.DecodeError:
        return None  # sealed as it was, and said to be unsound


def _decoded(entry: bytes, index: int) -> Leaf:
    try:
        return decode_leaf(entry)
    except (msgspec.MsgspecError, ValueError) as error:
        raise _changed(f"leaf {index} is no record", error, "a leaf as sealed") from error


def _changed(what: str, got: object, expected: object) -> IntegrityError:
    return IntegrityError(
        what,
        got=got,
        expected=expected,
        mend="restore what `pilotage audit verify` names from a backup; the index was not touched",
    )
