"""One active steward: a lease row in ledger.db whose epoch fences every transaction of sealing.

A holder that lost the lease without noticing cannot commit: its epoch is no longer in the row.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, Engine

from pilotage.errors import Conflict
from pilotage.kernel.clock import Clock, now_us
from pilotage.ledger import store
from pilotage.storage.database import writing

__all__ = ["TERM_US", "Lease", "acquire", "fence", "release", "renew"]

TERM_US = 10_000_000
"""How long a lease holds without being renewed, in microseconds."""


@dataclass(frozen=True, kw_only=True)
class Lease:
    """A lease that was granted. `epoch` grows with every grant, never otherwise."""

    name: str
    holder: str
    epoch: int


def acquire(
    engine: Engine, name: str, holder: str, *, clock: Clock = now_us, term_us: int = TERM_US, steal: bool = False
) -> Lease | None:
    """The lease, or None while another holder has it.

    `steal` takes it also then: safe, because the other's epoch is fenced off, and it stands by from then on.
    """
    with writing(engine) as connection:
        row = store.lease_row(connection, name)
        now = clock()
        if row is not None and row.holder != holder and row.expires > now and not steal:
            return None
        epoch = store.grant_lease(connection, name, holder, expires=now + term_us, previous=row)
        return None if epoch is None else Lease(name=name, holder=holder, epoch=epoch)


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
        store.renew_lease(connection, lease.name, lease.holder, lease.epoch, expires=0)
