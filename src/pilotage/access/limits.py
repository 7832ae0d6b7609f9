"""Limits: how much a key, a system or the whole installation may use of a unit, in a second, an hour, a day, a month.

Declared here, on record; they travel in the serving plan. `rollout.service` changes them and publishes at once.
"""

from __future__ import annotations

import re
from typing import Any, Literal

import msgspec
from sqlalchemy import Connection

from pilotage.access import store
from pilotage.access.keys import find_key
from pilotage.access.model import Person, require
from pilotage.errors import InputError, NotFound
from pilotage.storage.outbox import emit
from pilotage.storage.witness import attest, attest_removal

__all__ = ["PERIODS", "Limit", "Period", "list_limits", "remove_limit", "set_limit"]

Period = Literal["second", "hour", "day", "month"]
PERIODS: tuple[Period, ...] = ("second", "hour", "day", "month")
_MOST = 10**15
_UNIT = re.compile(r"[a-z][a-z0-9_]{0,31}")
_SCOPE = re.compile(r"installation|key:[0-9a-f]{16}|system:[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?")


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """At most `amount` whole units in each period, UTC; `per` second is a rate, with up to `burst` units at once.

    `scope` is `key:<id>`, `system:<name>` or `installation`; `unit` is `requests`, `rows`, or any other name that what
    answers counts, such as `tokens`.
    """

    scope: str
    unit: str
    per: Period
    amount: int
    burst: int = 0

    @property
    def id(self) -> str:
        """What names it: `system:credit/rows/day`."""
        return f"{self.scope}/{self.unit}/{self.per}"


def set_limit(connection: Connection, person: Person, limit: Limit, *, at: int) -> Limit:
    """Declare or change a limit in the caller's transaction, with its event `limit.set`; the limit as it is kept.

    Raises Forbidden, InputError, NotFound (no such key).
    """
    require(person, "limit.edit")
    _check(limit)
    if limit.scope.startswith("key:"):
        find_key(connection, limit.scope.removeprefix("key:"))
    kept = msgspec.structs.replace(limit, burst=limit.burst or limit.amount) if limit.per == "second" else limit
    row = _row(kept)
    store.drop_limit(connection, kept.id)
    store.add(connection, store.limits, row)
    facts = msgspec.to_builtins(kept) | {"rows": attest(store.limits, row)}
    system = kept.scope.removeprefix("system:") if kept.scope.startswith("system:") else ""
    emit(connection, "limit.set", system=system, facts=facts, private={"by": person.id}, at=at)
    return kept


def remove_limit(connection: Connection, person: Person, id: str, *, at: int) -> None:
    """End a limit in the caller's transaction, with its event `limit.removed`. Raises Forbidden, NotFound."""
    require(person, "limit.edit")
    found = next((limit for limit in list_limits(connection) if limit.id == id), None)
    if found is None:
        raise NotFound("no such limit", got=id, mend="list them: pilotage limit list")
    store.drop_limit(connection, id)
    facts = {"limit": id, "rows": attest_removal(store.limits, _row(found))}
    emit(connection, "limit.removed", facts=facts, private={"by": person.id}, at=at)


def list_limits(connection: Connection) -> list[Limit]:
    """Every limit, by id."""
    return [Limit(**row) for row in store.limit_rows(connection)]


def _row(limit: Limit) -> dict[str, Any]:
    return {"id": limit.id, **msgspec.to_builtins(limit)}


def _check(limit: Limit) -> None:
    faults: list[dict[str, object]] = []
    if not _SCOPE.fullmatch(limit.scope):
        faults.append({"path": "scope", "message": "key:ID, system:NAME or installation", "got": limit.scope})
    if not _UNIT.fullmatch(limit.unit):
        faults.append({"path": "unit", "message": "rows, requests or another name in a-z, 0-9, _", "got": limit.unit})
    if limit.per not in PERIODS:
        faults.append({"path": "per", "message": "one of " + ", ".join(PERIODS), "got": limit.per})
    if not 0 <= limit.amount <= _MOST or (limit.per == "second" and not 1 <= limit.amount <= 10**9):
        faults.append({"path": "amount", "message": "a whole number of units", "got": limit.amount})
    if limit.burst and (limit.per != "second" or not 1 <= limit.burst <= 10**9):
        faults.append({"path": "burst", "message": "only with --per second, at least 1", "got": limit.burst})
    if faults:
        raise InputError("the limit cannot be set", mend="mend every fault listed", faults=faults)
