"""Seal: what gateways journalled and the control plane did becomes one signed tree. Only the lease's holder seals.

One batch, in this order; killed anywhere, the next steward resumes to the same tree:

    read       journals from their consumed positions, the outbox
    segments   payloads encrypted again under subject or system-day keys, written and synced
    commit     ONE transaction fenced by the lease epoch: index, pending entries, counts, positions, keys, signed head
    publish    tiles, entry bundles, checkpoint; then the pending entries go
    clean      outbox rows; journal files that are whole, published and not the newest of their worker
"""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from operator import itemgetter
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from pilotage.errors import Conflict, IntegrityError, PilotageError, Unavailable
from pilotage.kernel.clock import Clock, now_us
from pilotage.kernel.ids import uuid7
from pilotage.ledger import lease as leases
from pilotage.ledger import store
from pilotage.ledger.collecting import NOTHING, Collector, Work, read_positions
from pilotage.ledger.intake import Gap, Position, Taken
from pilotage.ledger.items import Item
from pilotage.ledger.journal_reader import JournalFile, journal_files
from pilotage.ledger.keyring import Keyring
from pilotage.ledger.keys import KeyCabinet
from pilotage.ledger.merkle import Frontier, leaf_hash
from pilotage.ledger.notes import Signer
from pilotage.ledger.packing import Packed, pack
from pilotage.ledger.publishing import Publisher
from pilotage.ledger.record import Batch
from pilotage.ledger.rows import DECISION_COLUMNS, counts_digest
from pilotage.ledger.said_tables import outcome_counts, outcomes, overrides
from pilotage.ledger.segments import intent_path, intents, make_folders
from pilotage.ledger.signing import Signing, verify_checkpoint
from pilotage.ledger.sums import SUMMED
from pilotage.ledger.sums_store import add_sums
from pilotage.ledger.tables import (
    day_keys,
    decisions,
    events,
    heads,
    held_frames,
    pending_entries,
    profile_counts,
    segments,
    subject_keys,
)
from pilotage.profiles.model import ReferenceProfile
from pilotage.storage import outbox
from pilotage.storage.database import reading, writing
from pilotage.storage.home import Home
from pilotage.storage.objects import write_durably

__all__ = ["ProfileOf", "SealReport", "Steward"]

ProfileOf = Callable[[str], ReferenceProfile | None]
"""The reference profile of a release digest; None when there is none to count against."""

_summed = itemgetter(*map(DECISION_COLUMNS.index, SUMMED))
_log = logging.getLogger(__name__)
_LEASE = "steward"
_SOON_S, _LATER_S = 0.05, 0.5
_STUCK_NS = 60 * 1_000_000_000
_REMEMBERED = 128
_LEAST, _FIRST, _MOST, _BATCH_S = 1_024, 4_096, 16_384, 1.0


@dataclass(frozen=True, kw_only=True)
class SealReport:
    """One batch. `decisions` and `events` are new leaves, `interrupted` of the decisions broke off; `size` is the
    tree's; `more` says that more waits; `duplicates` were seen before and skipped.
    """

    size: int
    decisions: int = 0
    events: int = 0
    interrupted: int = 0
    duplicates: int = 0
    more: bool = False
    gaps: tuple[Gap, ...] = ()
    batch: str = ""


class Steward:
    """The one that seals. Its methods may be called from several threads; one batch is made at a time.

    `holder` names this process in the lease. `step` is called with the name of each write point, before the next
    step: tests end the process there.
    """

    def __init__(
        self,
        *,
        home: Home,
        control: Engine,
        ledger: Engine,
        keyring: Keyring,
        holder: str,
        profile_of: ProfileOf = lambda release: None,
        clock: Clock = now_us,
        term_us: int = leases.TERM_US,
        ticks: Callable[[], int] = time.monotonic_ns,
        step: Callable[[str], None] = lambda name: None,
        keyring_now: Callable[[], Keyring] | None = None,
        prepare: Callable[[], None] = lambda: None,
    ) -> None:
        """`keyring_now` gives the keyring as it is now: a rotation changes it while the steward runs.

        `prepare` is called when the lease was acquired, before anything is sealed.
        """
        self.home, self.control, self.ledger = home, control, ledger
        self.holder, self.clock = holder, clock
        self.trouble = ""
        self._keyring_now = keyring_now or (lambda: keyring)
        self._profile_of, self._prepare = profile_of, prepare
        self._standby = leases.Standby(
            engine=ledger, name=_LEASE, label=holder, clock=clock, term_us=term_us, ticks=ticks
        )
        self._term_us, self._ticks = term_us, ticks
        self._step = self._progress(step)
        self._lock = threading.RLock()
        self._signing: Signing | None = None
        self._collector = self._make_collector(keyring)
        self._use(keyring)
        self._lease: leases.Lease | None = None
        self._retry = True
        self._renewed = self._advanced = ticks()
        self._unpublished = False
        self._pace = _FIRST

    def _make_collector(self, keyring: Keyring) -> Collector:
        where = {"control": self.control, "ledger": self.ledger}
        return Collector(journal=self.home.journal, keyring=keyring, clock=self.clock, **where)

    def _use(self, keyring: Keyring) -> None:
        self.keyring, self.cabinet, self._signing = keyring, KeyCabinet(keyring), None
        self._collector.close()
        self._collector = self._make_collector(keyring)
        self._publisher = Publisher(self.home.ledger, self.ledger, keyring.vkeys, self._step)

    def _renew_keyring(self) -> None:
        """Follow a rotation: only between two batches."""
        keyring = self._keyring_now()
        if keyring is not self.keyring:
            self._use(keyring)

    # The lease.

    def acquire(self, *, steal: bool = False) -> bool:
        """Become the active steward; False while another is. Finishes what a killed predecessor had begun.

        `steal` takes the lease from a living holder, which is fenced off and stands by. Raises IntegrityError when
        ledger.db is older than what was published.
        """
        with self._lock:
            self._renew_keyring()
            lease = self._standby.acquire(steal=steal)
            if lease is None:
                return False
            self._unblock()
            self._publisher.check()
            self._publisher.publish()
            self._prepare()
            self._signing = None
            self._lease, self._retry, self._renewed = lease, True, self._ticks()
            return True

    def _unblock(self) -> None:
        """A predecessor that was stopped in the middle of a control change holds the lock of that database."""
        try:
            with writing(self.control, patience_s=leases.PATIENCE_S):
                pass
        except Unavailable:
            self._standby.evict()

    @property
    def active(self) -> bool:
        """Whether this is the one that seals, as far as it knows."""
        return self._lease is not None

    def release(self) -> None:
        """Give the lease back."""
        with self._lock:
            self._collector.close()
            if self._lease is not None:
                leases.release(self.ledger, self._lease)
                self._lease = None

    # Sealing.

    def seal(self, limit: int | None = None) -> SealReport:
        """Seal one batch of about `limit` frames and as many control events; without a limit, what takes a second.

        Raises Unavailable without the lease, Conflict(code="lease_lost") when it went to another, IntegrityError
        when the last head does not hold: then nothing is signed.
        """
        with self._lock, _collector_paused():
            self._advanced = self._ticks()
            self._require_lease()
            self._renew_keyring()
            if self._unpublished:
                self._publish()
            began, files = time.monotonic(), journal_files(self.home.journal)
            work = self._collector.collect(files, limit or self._pace, retry=self._retry)
            report = self._commit(work)
            self._clean(files, work)
            if report.more and limit is None:
                self._set_pace(time.monotonic() - began)
            return report

    def _set_pace(self, seconds: float) -> None:
        """Larger batches write less for each decision, but a batch must end well within the lease's term."""
        if seconds < _BATCH_S / 2:
            self._pace = min(2 * self._pace, _MOST)
        elif seconds > 2 * _BATCH_S:
            self._pace = max(self._pace // 2, _LEAST)

    def seal_all(self) -> SealReport:
        """Seal until nothing waits; the last report, its counts summed over all batches."""
        total = self.seal()
        while total.more:
            report = self.seal()
            total = SealReport(
                size=report.size,
                decisions=total.decisions + report.decisions,
                events=total.events + report.events,
                interrupted=total.interrupted + report.interrupted,
                duplicates=total.duplicates + report.duplicates,
                more=report.more,
                gaps=total.gaps + report.gaps,
                batch=report.batch or total.batch,
            )
        return total

    def seal_event(self, item: Item, also: Callable[[Connection], None] = lambda connection: None) -> SealReport:
        """Seal one event at once, with a change of the ledger's tables in the same transaction."""
        with self._lock:
            self._require_lease()
            self._renew_keyring()
            try:
                return self._commit(Work(items=[item], taken=NOTHING), also)
            finally:
                self._signing = None  # the event may tell of a new signing key

    def amend(self, change: Callable[[Connection], None]) -> None:
        """Change the ledger's tables in one transaction that only the lease's holder can commit. Adds no leaf."""
        with self._lock:
            lease = self._require_lease()
            with writing(self.ledger) as connection:
                leases.fence(connection, lease, clock=self.clock, term_us=self._term_us)
                change(connection)

    def run(self, stop: threading.Event) -> None:
        """Seal until told to stop, then all that waits: at once while more waits, else after a pause that grows to
        half a second.

        Troubles are logged, kept in `trouble` for readiness checks, and tried again.
        """
        pause = _SOON_S
        threading.Thread(target=self._beat, args=(stop,), daemon=True, name="lease").start()
        while not stop.is_set():
            try:
                if self._lease is None and not self.acquire():
                    stop.wait(self._term_us / 1_000_000 / leases.LOOKS)
                    continue
                report = self.seal()
                self.trouble = ""
                if report.more:
                    continue
                pause = _SOON_S if report.batch else min(2 * pause, _LATER_S)
            except (PilotageError, SQLAlchemyError, OSError) as error:
                pause = min(2 * pause, 10 * _LATER_S)
                self._stumble(error)
            stop.wait(pause)
        self._finish()

    def _beat(self, stop: threading.Event) -> None:
        """Renew the lease beside a long batch; not for one that has not come to its next write point for a minute."""
        while not stop.wait(self._term_us / 1_000_000 / leases.BEATS):
            lease = self._lease
            if lease is None or self._ticks() - self._advanced > _STUCK_NS:
                continue
            try:
                leases.renew(self.ledger, lease, clock=self.clock, term_us=self._term_us)
            except SQLAlchemyError as error:
                _log.warning("the lease was not renewed: %s", type(error).__name__)

    def _progress(self, step: Callable[[str], None]) -> Callable[[str], None]:
        def advanced(name: str) -> None:
            self._advanced = self._ticks()
            step(name)

        return advanced

    def _finish(self) -> None:
        """Seal what waits and give the lease back; what cannot be sealed now waits for the next start."""
        try:
            if self._lease is not None or self.acquire():
                self.seal_all()
                self.release()
        except (PilotageError, SQLAlchemyError, OSError) as error:
            self._stumble(error)

    def _stumble(self, error: Exception) -> None:
        if str(error) != self.trouble:
            _log.error("sealing stopped for now: %s", error)
        self.trouble = str(error)
        if isinstance(error, Conflict):
            self._lease = None

    def _require_lease(self) -> leases.Lease:
        lease = self._lease
        if lease is None:
            raise Unavailable("this process is not the active steward", code="no_lease", mend="acquire() first")
        return lease

    # Committing.

    def _commit(self, work: Work, also: Callable[[Connection], None] = lambda connection: None) -> SealReport:
        lease = self._require_lease()
        with reading(self.ledger) as connection:
            frontier = self._frontier(connection)
            signer = self._signing_by(connection).signer
        if work.empty:
            self._stay(lease)
            return SealReport(size=frontier.size, more=work.more, duplicates=work.duplicates)
        now, batch_id = self.clock(), uuid7()
        packed = self._pack(work.items, batch_id, frontier.size, now)
        batch, hashes = self._batch(lease, batch_id, now, frontier.size, packed, work.taken)
        after = frontier.append(hashes)
        entries = [*packed.entries, batch]
        try:
            with writing(self.ledger) as connection:
                store.prepare_bulk(connection)
                leases.fence(connection, lease, clock=self.clock, term_us=self._term_us)
                if self._frontier(connection) != frontier:
                    raise Conflict("the ledger grew meanwhile", code="lease_lost", mend="stand by, acquire the lease")
                self._write(connection, packed, work.taken)
                if batch:
                    waiting = list(enumerate(entries, frontier.size))
                    store.add_values(connection, pending_entries, ("leaf", "entry"), waiting)
                    store.add_rows(connection, heads, [self._head(signer, lease, batch_id, now, frontier, after)])
                also(connection)
                self._step("written")
        except PilotageError:
            self._drop_uncommitted([builder.path for builder in packed.builders])
            raise
        self._renewed = self._ticks()
        self._step("committed")
        if batch:
            self._publish(entries)
        kinds = Counter(item.kind for item in work.items)
        return SealReport(
            size=after.size,
            decisions=kinds["decision"] + kinds["interrupted"],
            events=kinds["event"],
            interrupted=kinds["interrupted"],
            duplicates=work.duplicates,
            more=work.more,
            gaps=tuple(work.taken.gaps),
            batch=batch_id if batch else "",
        )

    def _publish(self, fresh: Sequence[bytes] = ()) -> None:
        self._unpublished = True
        self._publisher.publish(fresh)
        self._unpublished = False

    def _stay(self, lease: leases.Lease, *, at_once: bool = False) -> None:
        """Renew the lease while there is nothing to commit, and before files are deleted for good."""
        if not at_once and (self._ticks() - self._renewed) // 1_000 < self._term_us // leases.BEATS:
            return
        if not leases.renew(self.ledger, lease, clock=self.clock, term_us=self._term_us):
            raise Conflict("the lease went to another steward", code="lease_lost", mend="stand by")
        self._renewed = self._ticks()

    def _signing_by(self, connection: Connection) -> Signing:
        """Which key signs: it changes only with the keyring, the lease or an event of this steward."""
        if self._signing is None:
            self._signing = Signing.read(connection, self.keyring)
        return self._signing

    def _frontier(self, connection: Connection) -> Frontier:
        """The tree's right edge at the last head. Raises IntegrityError when the head does not hold."""
        head = store.last_head(connection)
        if head is None:
            return Frontier()
        frontier = Frontier.from_bytes(bytes(head.frontier))
        root = frontier.root()
        signed = verify_checkpoint(head.checkpoint, self._signing_by(connection).periods)
        if (frontier.size, root.hex(), signed.size, signed.root) != (head.size, head.root, head.size, root):
            raise IntegrityError(
                f"the ledger's last head, of size {head.size}, was changed: nothing more is signed",
                got=f"size {frontier.size}, root {root.hex()}",
                expected=f"size {signed.size}, root {signed.root.hex()}",
                code="head_changed",
                mend="run: pilotage audit verify; restore ledger.db from a backup",
            )
        return frontier

    def _pack(self, items: list[Item], batch_id: str, first: int, now: int) -> Packed:
        """Encrypt and write the payloads; what SQL will hold of the items."""
        with reading(self.ledger) as connection:
            packed = pack(items, connection, self.cabinet, self._profile_of, batch=batch_id, first=first, now=now)
        if packed.builders:
            epoch = self._require_lease().epoch
            make_folders(intent_path(self.home.ledger, epoch).parent)
            self._drop_orphans(epoch)
            paths = [builder.path for builder in packed.builders]
            write_durably(intent_path(self.home.ledger, epoch), msgspec.json.encode(paths))
            self._step("intent")
            for builder in packed.builders:
                packed.segments.append(builder.write(self.home.ledger))
                self._step("segment")
        return packed

    def _batch(
        self, lease: leases.Lease, batch_id: str, now: int, first: int, packed: Packed, taken: Taken
    ) -> tuple[bytes, list[bytes]]:
        """(the batch's own entry, all leaf hashes); nothing when it has no other leaf."""
        if not packed.entries:
            return b"", []
        entry = msgspec.json.encode(
            Batch(
                id=batch_id,
                at=now,
                epoch=lease.epoch,
                first=first,
                segments=packed.segments,
                counts=counts_digest(packed.counts, packed.outcome_counts),
                consumed={place.name: (place.offset, place.chain) for place in taken.positions},
            )
        )
        return entry, [leaf_hash(leaf) for leaf in packed.entries] + [leaf_hash(entry)]

    def _write(self, connection: Connection, packed: Packed, taken: Taken) -> None:
        store.add_rows(connection, subject_keys, packed.subject_keys)
        store.add_rows(connection, day_keys, packed.day_keys)
        store.add_values(connection, decisions, DECISION_COLUMNS, packed.decisions)
        add_sums(connection, map(_summed, packed.decisions))
        store.add_rows(connection, events, packed.events)
        store.add_rows(connection, profile_counts, packed.counts)
        store.add_rows(connection, outcomes, packed.outcomes)
        store.add_rows(connection, overrides, packed.overrides)
        store.add_rows(connection, outcome_counts, packed.outcome_counts)
        store.add_rows(
            connection,
            segments,
            [
                {"path": made.path, "batch": packed.batch, "digest": made.digest, "records": made.records}
                for made in packed.segments
            ],
        )
        store.save_positions(connection, [asdict(place) for place in taken.positions])
        store.drop_held(connection, taken.released)
        kept = [asdict(frame) for frame in taken.held if frame.id not in taken.released]
        store.add_rows(connection, held_frames, kept)

    def _head(
        self, signer: Signer, lease: leases.Lease, batch_id: str, now: int, before: Frontier, after: Frontier
    ) -> dict[str, Any]:
        root = after.root()
        return {
            "size": after.size,
            "at": now,
            "epoch": lease.epoch,
            "batch": batch_id,
            "first": before.size,
            "root": root.hex(),
            "frontier": after.to_bytes(),
            "checkpoint": signer.sign_checkpoint(self.keyring.origin, after.size, root),
        }

    # Cleaning up.

    def _clean(self, files: Sequence[JournalFile], work: Work) -> None:
        """Drop what the ledger holds now: outbox rows, then journal files. Done again when a crash came between."""
        self._retry = False
        if work.outbox:
            with writing(self.control) as connection:
                outbox.drop(connection, work.outbox)
            self._step("outbox_dropped")
        removable = {file.name: file for file in files if file.removable}
        if not removable:
            return
        with reading(self.ledger) as connection:
            known = read_positions(connection)
        whole = [
            file for name, file in removable.items() if name in known and known[name].state in ("whole", "deleted")
        ]
        if whole:
            self._stay(self._require_lease(), at_once=True)
        for file in whole:
            file.path.unlink(missing_ok=True)
            self._step("journal_deleted")
        self._forget(known, whole)

    def _forget(self, known: dict[str, Position], gone: list[JournalFile]) -> None:
        """Mark files as deleted; positions far behind are forgotten."""
        if not gone:
            return
        names = {file.name for file in gone}
        stale = {_before(name, _REMEMBERED) for name in names} & known.keys()
        marked = [{**asdict(known[name]), "state": "deleted"} for name in names]
        with writing(self.ledger) as connection:
            leases.fence(connection, self._require_lease(), clock=self.clock, term_us=self._term_us)
            store.save_positions(connection, marked)
            store.forget_positions(connection, list(stale))

    def _drop_orphans(self, epoch: int) -> None:
        """Remove segment files that were written for a batch that was never committed.

        Only of this epoch and older ones, none of which can commit any more: never a newer steward's.
        """
        for written_in, paths in intents(self.home.ledger).items():
            if written_in <= epoch:
                self._drop_uncommitted(paths)
            if written_in < epoch:
                intent_path(self.home.ledger, written_in).unlink(missing_ok=True)

    def _drop_uncommitted(self, paths: list[str]) -> None:
        with reading(self.ledger) as connection:
            known = store.known_segments(connection, paths)
        for path in paths:
            if path not in known and path.startswith("segments/") and ".." not in path:
                (self.home.ledger / path).unlink(missing_ok=True)


@contextmanager
def _collector_paused() -> Iterator[None]:
    """A batch makes some 100,000 objects without cycles; walking them again and again took a sixth of its time."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _before(name: str, steps: int) -> str:
    stem, _, number = name.rpartition("-")
    return f"{stem}-{int(number) - steps}"
