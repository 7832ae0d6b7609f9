"""Commit one batch: its files are written first, then ONE transaction, fenced by the lease epoch, has all the rest.

`Tree` is the signed tree as the database has it: nothing is added to a head that does not hold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import IntegrityError as NotUnique

from pilotage.errors import Conflict, IntegrityError, PilotageError
from pilotage.kernel.clock import Clock
from pilotage.kernel.ids import uuid7
from pilotage.ledger import store
from pilotage.ledger.collecting import Work
from pilotage.ledger.features import feature_reader
from pilotage.ledger.intake import Taken
from pilotage.ledger.keyring import Keyring
from pilotage.ledger.keys import KeyCabinet, KeyRow
from pilotage.ledger.merkle import Frontier, leaf_hash
from pilotage.ledger.orphans import announce, drop_uncommitted
from pilotage.ledger.packing import Packed, pack
from pilotage.ledger.pending import pending_path
from pilotage.ledger.record import Batch, Segment
from pilotage.ledger.rows import DECISION_COLUMNS, counts_digest
from pilotage.ledger.said_tables import outcome_counts, outcomes, overrides
from pilotage.ledger.segments import segment_files
from pilotage.ledger.signing import Signing, verify_checkpoint
from pilotage.ledger.sums_store import add_made_sums
from pilotage.ledger.tables import (
    day_keys,
    decisions,
    events,
    heads,
    held_frames,
    profile_counts,
    segments,
    subject_keys,
)
from pilotage.ledger.tenure import Tenure
from pilotage.ledger.tiles import pack_entries
from pilotage.profiles.model import ReferenceProfile
from pilotage.storage.database import reading, writing
from pilotage.storage.home import Home
from pilotage.storage.objects import write_all_durably

__all__ = ["Committed", "Committer", "Tree"]


@dataclass(frozen=True, kw_only=True)
class Committed:
    """What became of a batch: the tree's `size` now, and the entries and leaf hashes that were added, the batch's own
    last; `batch` is its id, empty when there was nothing for a leaf.
    """

    size: int
    batch: str = ""
    entries: Sequence[bytes] = ()
    hashes: Sequence[bytes] = ()


class Tree:
    """The tree's right edge, and which key signs what comes next."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self._signing: Signing | None = None

    def forget_signing(self) -> None:
        """Which key signs changes with the lease and with an event of this steward."""
        self._signing = None

    def signing(self, connection: Connection) -> Signing:
        """Which key signs, as the ledger says."""
        if self._signing is None:
            self._signing = Signing.read(connection, self._keyring)
        return self._signing

    def frontier(self, connection: Connection) -> Frontier:
        """The tree's right edge at the last head. Raises IntegrityError when the head does not hold.

        Which key signs is read here too: a rotation that the next batch seals is signed with the key before it.
        """
        signing, head = self.signing(connection), store.last_head(connection)
        if head is None:
            return Frontier()
        frontier = Frontier.from_bytes(bytes(head.frontier))
        root = frontier.root()
        signed = verify_checkpoint(head.checkpoint, signing.periods)
        if (frontier.size, root.hex(), signed.size, signed.root) != (head.size, head.root, head.size, root):
            raise IntegrityError(
                f"the ledger's last head, of size {head.size}, was changed: nothing more is signed",
                got=f"size {frontier.size}, root {root.hex()}",
                expected=f"size {signed.size}, root {signed.root.hex()}",
                code="head_changed",
                mend="run: pilotage audit verify; restore ledger.db from a backup",
            )
        return frontier

    def head(self, connection: Connection, before: Frontier, after: Frontier, batch: Batch) -> dict[str, Any]:
        """The row of the head that a batch leads to, signed."""
        root = after.root()
        signer = self.signing(connection).signer
        return {
            "size": after.size,
            "at": batch.at,
            "epoch": batch.epoch,
            "batch": batch.id,
            "first": before.size,
            "root": root.hex(),
            "frontier": after.to_bytes(),
            "checkpoint": signer.sign_checkpoint(self._keyring.origin, after.size, root),
        }


class Committer:
    """Makes leaves of what was collected. `step` is called at each write point."""

    def __init__(
        self,
        *,
        home: Home,
        ledger: Engine,
        cabinet: KeyCabinet,
        tree: Tree,
        tenure: Tenure,
        profile_of: Callable[[str], ReferenceProfile | None],
        clock: Clock,
        step: Callable[[str], None],
    ) -> None:
        self._folder, self._ledger = home.ledger, ledger
        self._cabinet, self._tree, self._tenure = cabinet, tree, tenure
        self._profile_of, self._clock, self._step = profile_of, clock, step

    def commit(self, work: Work, also: Callable[[Connection], None]) -> Committed:
        """Commit all of it, and what `also` changes in the same transaction.

        Raises Conflict(code="lease_lost") when another steward seals, IntegrityError when the last head does not
        hold; then nothing was committed and no segment stays.
        """
        with reading(self._ledger) as connection:
            frontier = self._tree.frontier(connection)
        if work.empty:
            self._tenure.stay()
            return Committed(size=frontier.size)
        now, batch_id = self._clock(), uuid7()
        packed = self._pack(work, batch_id, frontier.size, now)
        segments, files = segment_files(packed.builders)
        batch = self._batch(packed, segments, work.taken, frontier.size, now) if packed.entries else None
        entries = [*packed.entries, msgspec.json.encode(batch)] if batch else []
        hashes = [*packed.hashes, *map(leaf_hash, entries[len(packed.hashes) :])]
        after = frontier.append(hashes)
        if batch:
            files[pending_path(batch_id)] = pack_entries(entries)
            self._write_files(files)
        try:
            with writing(self._ledger) as connection:
                store.prepare_bulk(connection)
                self._tenure.fence(connection)
                if self._tree.frontier(connection) != frontier:
                    raise Conflict("the ledger grew meanwhile", code="lease_lost", mend="stand by, acquire the lease")
                _write(connection, packed, segments, work.taken)
                if batch:
                    store.add_rows(connection, heads, [self._tree.head(connection, frontier, after, batch)])
                also(connection)
                self._step("written")
        except (PilotageError, NotUnique):
            drop_uncommitted(self._folder, self._ledger, [*files])
            raise
        self._tenure.fenced()
        self._step("committed")
        return Committed(size=after.size, batch=batch_id if batch else "", entries=entries, hashes=hashes)

    def _pack(self, work: Work, batch_id: str, first: int, now: int) -> Packed:
        """Encrypt the payloads; what SQL will hold of the leaves."""
        with reading(self._ledger) as connection:
            read = feature_reader(self._folder, self._ledger, self._cabinet)
            return pack(
                work.items,
                work.taken.portion,
                connection,
                self._cabinet,
                self._profile_of,
                read,
                batch=batch_id,
                first=first,
                now=now,
            )

    def _write_files(self, files: Mapping[str, bytes]) -> None:
        """Write segments and entries, all synced, with every folder on their way."""
        announce(self._folder, self._ledger, self._tenure.require().epoch, [*files])
        self._step("intent")
        write_all_durably({self._folder / path: content for path, content in files.items()})
        self._step("files")

    def _batch(self, packed: Packed, segments: list[Segment], taken: Taken, first: int, now: int) -> Batch:
        """The batch's own leaf."""
        return Batch(
            id=packed.batch,
            at=now,
            epoch=self._tenure.require().epoch,
            first=first,
            segments=segments,
            counts=counts_digest(packed.counts, packed.outcome_counts),
            consumed={place.name: (place.offset, place.chain) for place in taken.positions},
        )


def _write(connection: Connection, packed: Packed, sealed: Sequence[Segment], taken: Taken) -> None:
    for table, keys in ((subject_keys, packed.subject_keys), (day_keys, packed.day_keys)):
        store.add_values(connection, table, KeyRow._fields, keys)
    store.add_values(connection, decisions, DECISION_COLUMNS, packed.decisions)
    add_made_sums(connection, packed.sums)
    store.add_rows(connection, events, packed.events)
    store.add_rows(connection, profile_counts, packed.counts)
    store.add_rows(connection, outcomes, packed.outcomes)
    store.add_rows(connection, overrides, packed.overrides)
    store.add_rows(connection, outcome_counts, packed.outcome_counts)
    made = [
        {"path": made.path, "batch": packed.batch, "digest": made.digest, "records": made.records} for made in sealed
    ]
    store.add_rows(connection, segments, made)
    store.save_positions(connection, [asdict(place) for place in taken.positions])
    store.drop_held(connection, taken.released)
    kept = [asdict(frame) for frame in taken.held if frame.id not in taken.released]
    store.add_rows(connection, held_frames, kept)
