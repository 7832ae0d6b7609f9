"""One active steward: a lease row in ledger.db whose epoch fences every transaction of sealing.

A holder that lost the lease without noticing cannot commit: its epoch is no longer in the row.

No clock is compared with another one. The holder changes the row every `BEAT` of a term; who stands by looks at it
and takes over when, by its own monotonic clock, the row did not change for a whole term. `expires` is for people to
read, and its change is the beat; 0 says that the lease was given back.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from sqlalchemy import Connection, Engine

from pilotage.errors import Conflict, Unavailable
from pilotage.kernel.clock import Clock, now_us
from pilotage.ledger import store
from pilotage.storage.database import reading, writing
from pilotage.storage.processes import end_process, lives, this_process

__all__ = ["BEATS", "LOOKS", "PATIENCE_S", "TERM_US", "Lease", "Standby", "fence", "release", "renew"]

TERM_US = 6_000_000
"""How long a holder may be silent before another takes over, in microseconds."""

BEATS = 4
"""How often in a term the holder renews."""

LOOKS = 12
"""How often in a term a standby looks: from the holder's last beat to a takeover pass a term and two looks at most."""

PATIENCE_S = 0.5
"""How long a takeover waits for a lock that the silent holder may have taken with it."""


@dataclass(frozen=True, kw_only=True)
class Lease:
    """A lease that was granted. `epoch` grows with every grant, never otherwise."""

    name: str
    holder: str
    epoch: int


@dataclass(kw_only=True)
class Standby:
    """One candidate for a lease. `label` is for people; the holder's name also says which process it is.

    `ticks` is a monotonic clock in nanoseconds.
    """

    engine: Engine
    name: str
    label: str
    clock: Clock = now_us
    term_us: int = TERM_US
    ticks: Callable[[], int] = time.monotonic_ns
    _seen: tuple[int, int] | None = field(default=None, init=False)
    _since: int = field(default=0, init=False)
    _silenced: str = field(default="", init=False)

    @property
    def holder(self) -> str:
        """`label@process`."""
        return f"{self.label}@{this_process()}"

    def acquire(self, *, steal: bool = False) -> Lease | None:
        """The lease, or None while another holder has it.

        `steal` takes it from a living holder: safe, because the other's epoch is fenced off, and it stands by then.
        A holder that was silent for a term, and stopped in the middle of a transaction, still holds the locks of the
        database: when it is a process of this machine it is killed.
        """
        holder = self.holder
        with reading(self.engine) as connection:
            row = store.peek_lease(connection, self.name)
        silent = self._silent(row.epoch, row.expires) if row is not None else False
        if row is not None and not (steal or silent or self._free(row.holder, row.expires, holder)):
            return None
        self._silenced = row.holder if row is not None and silent and row.holder != holder else ""
        lease = self._grant(holder, row.epoch if row is not None else None)
        if lease is None and row is not None and self.evict():
            lease = self._grant(holder, row.epoch)
        return lease

    def evict(self) -> bool:
        """Kill the silent holder from whom the lease was taken, where it blocks the one who goes on; whether it was."""
        return end_process(self._silenced.rpartition("@")[2])

    def _free(self, holder: str, expires: int, mine: str) -> bool:
        """Given back, mine already, or of a process of this machine that is no more."""
        return expires == 0 or holder == mine or lives(holder.rpartition("@")[2]) is False

    def _silent(self, epoch: int, expires: int) -> bool:
        """Whether the row stands still for a term, as far as this candidate saw."""
        now = self.ticks()
        if self._seen != (epoch, expires):
            self._seen, self._since = (epoch, expires), now
        return now - self._since >= self.term_us * 1_000

    def _grant(self, holder: str, epoch: int | None) -> Lease | None:
        """The lease under the next epoch, unless another was quicker or the database is locked."""
        try:
            with writing(self.engine, patience_s=PATIENCE_S) as connection:
                expires = self.clock() + self.term_us
                granted = store.grant_lease(connection, self.name, holder, expires=expires, previous=epoch)
        except Unavailable:
            return None
        return None if granted is None else Lease(name=self.name, holder=holder, epoch=granted)


def fence(connection: Connection, lease: Lease, *, clock: Clock = now_us, term_us: int = TERM_US) -> None:
    """Renew the lease within the caller's transaction. Raises Conflict(code="lease_lost") when another has it."""
    if not store.renew_lease(connection, lease.name, lease.holder, lease.epoch, expires=clock() + term_us):
        raise Conflict(
            f"the lease '{lease.name}' went to another holder",
            got=f"epoch {lease.epoch} of {lease.holder}",
            code="lease_lost",
            mend="stand by and acquire it again",
        )


def renew(engine: Engine, lease: Lease, *, clock: Clock = now_us, term_us: int = TERM_US) -> bool:
    """Hold the lease for another term; False when another has it."""
    with writing(engine) as connection:
        return store.renew_lease(connection, lease.name, lease.holder, lease.epoch, expires=clock() + term_us)


def release(engine: Engine, lease: Lease) -> None:
    """Give the lease back at once, so that a standby need not wait for the term's end."""
    with writing(engine) as connection:
        store.free_lease(connection, lease.name, lease.holder, lease.epoch)
