"""Seal: what gateways journalled and the control plane did becomes one signed tree. Only the lease's holder seals.

One batch, in this order; killed anywhere, the next steward resumes to the same tree:

    read       journals from their consumed positions, the outbox                              collecting, ahead
    files      payloads encrypted again under subject or system-day keys, and the entries that
               will wait: written and synced                                                    packing, orphans
    commit     ONE transaction fenced by the lease epoch: index, counts, positions, keys,
               signed head                                                     committing
    publish    tiles, entry bundles, checkpoint; then the entries wait no more                  publishing
    clean      outbox rows; journal files that are whole, published and not the newest of
               their worker                                                                     cleaning
"""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import IntegrityError as NotUnique
from sqlalchemy.exc import SQLAlchemyError

from pilotage.errors import Conflict, PilotageError, Unavailable
from pilotage.kernel.clock import Clock, now_us
from pilotage.ledger import lease as leases
from pilotage.ledger.cleaning import Cleaner
from pilotage.ledger.collecting import NOTHING, Collector, Work
from pilotage.ledger.committing import Committed, Committer, Tree
from pilotage.ledger.items import Item
from pilotage.ledger.journal_reader import journal_files
from pilotage.ledger.keyring import Keyring
from pilotage.ledger.keys import KeyCabinet
from pilotage.ledger.publishing import Publisher
from pilotage.ledger.sealed import SealReport
from pilotage.ledger.tenure import Tenure
from pilotage.profiles.model import ReferenceProfile
from pilotage.storage.database import writing
from pilotage.storage.home import Home
from pilotage.storage.wal import WalBackfill

__all__ = ["ProfileOf", "Steward"]

ProfileOf = Callable[[str], ReferenceProfile | None]
"""The reference profile of a release digest; None when there is none to count against."""

_log = logging.getLogger(__name__)
_SOON_S, _LATER_S = 0.05, 0.5
_LEAST, _FIRST, _MOST, _BATCH_S = 1_024, 4_096, 16_384, 1.0
_BACKFILL_LEAVES = 8_192


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
        self._profile_of, self._prepare, self._step = profile_of, prepare, step
        self._tenure = Tenure(ledger, holder, clock=clock, term_us=term_us, ticks=ticks)
        self._cleaner = Cleaner(control, ledger, self._tenure, self._reached)
        self._lock = threading.RLock()
        self._use(keyring)
        self._retry, self._unpublished = True, False
        self._pace = _FIRST
        self._wal, self._since_backfill = WalBackfill(ledger), 0

    def _use(self, keyring: Keyring) -> None:
        self.keyring, self.cabinet, self._tree = keyring, KeyCabinet(keyring), Tree(keyring)
        self._collector = Collector(
            journal=self.home.journal, keyring=keyring, clock=self.clock, control=self.control, ledger=self.ledger
        )
        self._publisher = Publisher(self.home.ledger, self.ledger, keyring.vkeys, self._reached)
        self._committer = Committer(
            home=self.home,
            ledger=self.ledger,
            cabinet=self.cabinet,
            tree=self._tree,
            tenure=self._tenure,
            profile_of=lambda release: self._profile_of(release),
            clock=self.clock,
            step=self._reached,
        )

    def _reached(self, name: str) -> None:
        """A write point."""
        self._tenure.advance()
        self._step(name)

    def _renew_keyring(self) -> None:
        """Follow a rotation: only between two batches."""
        keyring = self._keyring_now()
        if keyring is not self.keyring:
            self._collector.close()
            self._use(keyring)

    # The lease.

    def acquire(self, *, steal: bool = False) -> bool:
        """Become the active steward; False while another is. Finishes what a killed predecessor had begun.

        `steal` takes the lease from a living holder, which is fenced off and stands by. Raises IntegrityError when
        ledger.db is older than what was published.
        """
        with self._lock:
            self._renew_keyring()
            lease = self._tenure.standby.acquire(steal=steal)
            if lease is None:
                return False
            self._unblock()
            self._publisher.check()
            self._publisher.publish()
            self._prepare()
            self._tree.forget_signing()
            self._tenure.hold(lease)
            self._retry = True
            return True

    def _unblock(self) -> None:
        """A predecessor that was stopped in the middle of a control change holds the lock of that database."""
        try:
            with writing(self.control, patience_s=leases.PATIENCE_S):
                pass
        except Unavailable:
            self._tenure.standby.evict()

    @property
    def active(self) -> bool:
        """Whether this is the one that seals, as far as it knows."""
        return self._tenure.lease is not None

    def release(self) -> None:
        """Give the lease back."""
        with self._lock:
            self._collector.close()
            self._wal.wait()
            self._tenure.release()

    # Sealing.

    def seal(self, limit: int | None = None) -> SealReport:
        """Seal one batch of about `limit` frames and as many control events; without a limit, what takes a second.

        Raises Unavailable without the lease, Conflict(code="lease_lost") when it went to another, IntegrityError
        when the last head does not hold: then nothing is signed.
        """
        with self._lock, _collector_paused():
            self._tenure.advance()
            self._tenure.require()
            self._renew_keyring()
            if self._unpublished:
                self._publish(Committed(size=0))
            began, files = time.monotonic(), journal_files(self.home.journal)
            work = self._collector.collect(files, limit or self._pace, retry=self._retry)
            try:
                report = self._seal(work)
            except NotUnique:
                if not work.taken.portion.values:
                    raise
                work = self._collector.collect(files, limit or self._pace, retry=True)
                report = self._seal(work)
            self._retry = False
            self._backfill(report)
            self._cleaner.clean(files, work.outbox)
            if report.more and limit is None:
                self._set_pace(time.monotonic() - began)
            return report

    def _backfill(self, report: SealReport) -> None:
        self._since_backfill += report.decisions + report.events
        if self._since_backfill >= _BACKFILL_LEAVES:
            self._since_backfill = 0
            self._wal.begin()

    def _set_pace(self, seconds: float) -> None:
        """Larger batches write less for each decision, but a batch must end well within the lease's term.

        On a busy machine what a batch costs whatever its size is long too: small batches would never grow again.
        """
        if seconds < _BATCH_S:
            self._pace = min(2 * self._pace, _MOST)
        elif seconds > 2 * _BATCH_S:
            self._pace = max(self._pace // 2, _LEAST)

    def seal_all(self) -> SealReport:
        """Seal until nothing waits; the last report, its counts summed over all batches."""
        total = self.seal()
        while total.more:
            total = self.seal().after(total)
        return total

    def seal_event(self, item: Item, also: Callable[[Connection], None] = lambda connection: None) -> SealReport:
        """Seal one event at once, with a change of the ledger's tables in the same transaction."""
        with self._lock:
            self._tenure.require()
            self._renew_keyring()
            try:
                return self._seal(Work(items=[item], taken=NOTHING), also)
            finally:
                self._tree.forget_signing()  # the event may tell of a new signing key

    def amend(self, change: Callable[[Connection], None]) -> None:
        """Change the ledger's tables in one transaction that only the lease's holder can commit. Adds no leaf."""
        with self._lock, writing(self.ledger) as connection:
            self._tenure.fence(connection)
            change(connection)

    def _seal(self, work: Work, also: Callable[[Connection], None] = lambda connection: None) -> SealReport:
        done = self._committer.commit(work, also)
        if done.batch:
            self._publish(done)
        kinds = Counter(item.kind for item in work.items)
        return SealReport(
            size=done.size,
            decisions=len(work.taken.portion.values) + kinds["decision"] + kinds["interrupted"],
            events=kinds["event"],
            interrupted=kinds["interrupted"],
            duplicates=work.duplicates,
            more=work.more,
            gaps=tuple(work.taken.gaps),
            batch=done.batch,
        )

    def _publish(self, done: Committed) -> None:
        self._unpublished = True
        self._publisher.publish(done.entries, done.hashes)
        self._unpublished = False

    # Running.

    def run(self, stop: threading.Event) -> None:
        """Seal until told to stop, then all that waits: at once while more waits, else after a pause that grows to
        half a second.

        Troubles are logged, kept in `trouble` for readiness checks, and tried again.
        """
        pause = _SOON_S
        threading.Thread(target=self._tenure.beat, args=(stop,), daemon=True, name="lease").start()
        while not stop.is_set():
            try:
                if not self.active and not self.acquire():
                    stop.wait(self._tenure.look_s)
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

    def _finish(self) -> None:
        """Seal what waits and give the lease back; what cannot be sealed now waits for the next start."""
        try:
            if self.active or self.acquire():
                self.seal_all()
                self.release()
        except (PilotageError, SQLAlchemyError, OSError) as error:
            self._stumble(error)

    def _stumble(self, error: Exception) -> None:
        if str(error) != self.trouble:
            _log.error("sealing stopped for now: %s", error)
        self.trouble = str(error)
        if isinstance(error, Conflict):
            self._tenure.lease = None


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
