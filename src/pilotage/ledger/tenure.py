"""The lease as one steward holds it: taken, fenced into every transaction, renewed beside long batches, given back."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from pilotage.errors import Conflict, Unavailable
from pilotage.kernel.clock import Clock
from pilotage.ledger import lease as leases

__all__ = ["Tenure"]

_log = logging.getLogger(__name__)
_LEASE = "steward"
_STUCK_NS = 60 * 1_000_000_000


class Tenure:
    """One steward's hold on the lease of a ledger. `lease` is None while it has none, as far as it knows.

    `ticks` is a monotonic clock in nanoseconds, `term_us` the lease's term in microseconds.
    """

    def __init__(
        self,
        ledger: Engine,
        holder: str,
        *,
        clock: Clock,
        term_us: int = leases.TERM_US,
        ticks: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.lease: leases.Lease | None = None
        self.standby = leases.Standby(
            engine=ledger, name=_LEASE, label=holder, clock=clock, term_us=term_us, ticks=ticks
        )
        self.look_s = term_us / 1_000_000 / leases.LOOKS
        self._ledger, self._clock, self._term_us, self._ticks = ledger, clock, term_us, ticks
        self._renewed = self._advanced = ticks()

    def hold(self, lease: leases.Lease) -> None:
        """From now on this lease, just granted, is held."""
        self.lease = lease
        self.fenced()

    def require(self) -> leases.Lease:
        """The lease. Raises Unavailable(code="no_lease") without one."""
        if self.lease is None:
            raise Unavailable("this process is not the active steward", code="no_lease", mend="acquire() first")
        return self.lease

    def fence(self, connection: Connection) -> None:
        """Let only the lease's holder commit the caller's transaction, and renew the lease with it."""
        leases.fence(connection, self.require(), clock=self._clock, term_us=self._term_us)

    def fenced(self) -> None:
        """A transaction with a `fence` was committed: the lease is as good as new."""
        self._renewed = self._ticks()

    def stay(self, *, at_once: bool = False) -> None:
        """Renew the lease while there is nothing to commit, and before files are deleted for good.

        Raises Conflict(code="lease_lost").
        """
        if not at_once and (self._ticks() - self._renewed) // 1_000 < self._term_us // leases.BEATS:
            return
        if not leases.renew(self._ledger, self.require(), clock=self._clock, term_us=self._term_us):
            raise Conflict("the lease went to another steward", code="lease_lost", mend="stand by")
        self.fenced()

    def advance(self) -> None:
        """Work goes on: a write point was reached, or a batch begun."""
        self._advanced = self._ticks()

    def beat(self, stop: threading.Event) -> None:
        """Renew the lease beside a long batch; not for one that has not come to its next write point for a minute."""
        while not stop.wait(self._term_us / 1_000_000 / leases.BEATS):
            lease = self.lease
            if lease is None or self._ticks() - self._advanced > _STUCK_NS:
                continue
            try:
                leases.renew(self._ledger, lease, clock=self._clock, term_us=self._term_us)
            except SQLAlchemyError as error:
                _log.warning("the lease was not renewed: %s", type(error).__name__)

    def release(self) -> None:
        """Give the lease back, if it is held."""
        if self.lease is not None:
            leases.release(self._ledger, self.lease)
            self.lease = None
