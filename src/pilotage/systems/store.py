"""Declared systems at rest: the newest declaration of each, and every earlier one."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Column, Connection, String, Table, insert, select, update

from pilotage.errors import NotFound, Refused
from pilotage.kernel.canonical import canonical_json
from pilotage.kernel.clock import now_us
from pilotage.kernel.digests import digest
from pilotage.ledger.slicing import DECLARED
from pilotage.storage.database import BIG, DOCUMENT, control
from pilotage.storage.outbox import emit
from pilotage.storage.witness import attest
from pilotage.systems.model import AISystem

__all__ = [
    "TIERS",
    "declare_system",
    "declared_at",
    "find_system",
    "list_systems",
    "lock_system",
    "system_digest",
    "systems",
]

TIERS = ("low", "medium", "high")

systems = Table(
    "systems",
    control,
    Column("id", String(64), primary_key=True),
    Column("digest", String(80), nullable=False),
    Column("body", DOCUMENT, nullable=False),
    Column("declared", BIG, nullable=False),
)


def system_digest(system: AISystem) -> str:
    """The digest of a declaration's canonical JSON."""
    return digest(canonical_json(msgspec.to_builtins(system)))


def declare_system(connection: Connection, system: AISystem, *, by: str, at: int | None = None) -> str:
    """Make this the system's declaration, with its event `system.declared`; return its digest.

    `by` is the id or name of who declares. The same declaration again changes nothing. Raises Refused when the risk
    tier would fall, since one person could so weaken the gate that others guard.
    """
    found = _row(connection, system.id)
    value = system_digest(system)
    if found is not None:
        if found["digest"] == value:
            return value
        _keep_tier(found["body"]["risk_tier"], system)
    moment = now_us() if at is None else at
    row = {"id": system.id, "digest": value, "body": msgspec.to_builtins(system), "declared": moment}
    if found is None:
        connection.execute(insert(systems).values(row))
    else:
        connection.execute(update(systems).where(systems.c.id == system.id).values(row))
    facts = {"declaration": value, "risk_tier": system.risk_tier, "rows": attest(systems, row)}
    before = None if found is None else found["body"].get("pilot", {}).get("slices", [])
    if system.pilot.slices != before:
        # Outcomes are counted by these from here on; the steward knows it from the ledger alone.
        emit(connection, DECLARED, system=system.id, facts={"slices": system.pilot.slices}, at=moment)
    emit(connection, "system.declared", system=system.id, facts=facts, private={"by": by}, at=moment)
    return value


def find_system(connection: Connection, id: str) -> AISystem:
    """The declaration of a system. Raises NotFound."""
    row = _row(connection, id)
    if row is None:
        known = [name for (name,) in connection.execute(select(systems.c.id).order_by(systems.c.id).limit(20))]
        mend = f"known systems: {', '.join(known)}" if known else "build a release first: pilotage release build"
        raise NotFound("no such system", got=id, mend=mend)
    return msgspec.convert(row["body"], AISystem)


def declared_at(connection: Connection, id: str) -> int:
    """When a system's present declaration was made, Unix microseconds; 0 for one that is not known."""
    row = _row(connection, id)
    return 0 if row is None else int(row["declared"])


def list_systems(connection: Connection) -> list[AISystem]:
    """Every declared system, by id."""
    rows = connection.execute(select(systems.c.body).order_by(systems.c.id))
    return [msgspec.convert(body, AISystem) for (body,) in rows]


def lock_system(connection: Connection, id: str) -> None:
    """Hold the system's row until the transaction ends, so that changes to one system go one by one."""
    connection.execute(select(systems.c.id).where(systems.c.id == id).with_for_update())


def _keep_tier(tier: str, system: AISystem) -> None:
    if TIERS.index(system.risk_tier) < TIERS.index(tier):
        raise Refused(
            f"the risk tier of {system.id} cannot be lowered by a new declaration",
            got=system.risk_tier,
            expected=f"{tier} or higher",
            code="tier_lowered",
            mend="keep the tier; where another purpose carries a lower risk, declare it as a system of its own",
        )


def _row(connection: Connection, id: str) -> Any:
    return connection.execute(select(systems).where(systems.c.id == id)).mappings().first()
