"""Keys and limits as console and API show them, and stops on this node."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from pilotage.access.limits import Limit, list_limits
from pilotage.access.model import ApiKey, Person, require
from pilotage.access.store import keys as stored_keys
from pilotage.errors import InputError
from pilotage.gateway.leases import window_of
from pilotage.gateway.stops import stop_here
from pilotage.gateway.store import pool_states
from pilotage.kernel.clock import now_us
from pilotage.storage.database import reading
from pilotage.systems.store import find_system
from pilotage.wiring.installation import Installation
from pilotage.wiring.workers import await_stop

__all__ = ["KeyNow", "Switched", "keys_now", "limits_now", "switch_here"]


class KeyNow(NamedTuple):
    """A key without its secret, whether it is `good`, `expired` or `revoked` now, and the key that replaced it."""

    key: ApiKey
    state: str
    successor: str

    def as_dict(self) -> dict[str, object]:
        """What an API tells of it; times are Unix microseconds."""
        shown = msgspec.to_builtins(self.key)
        del shown["sha256"]
        return {**shown, "state": self.state, "successor": self.successor}


class Switched(NamedTuple):
    """A stop on this node, or its end: how many of its workers follow already."""

    system: str
    stopped: bool
    followed: int
    workers: int


def keys_now(installation: Installation) -> list[KeyNow]:
    """Every key, those that work first, then the newest."""
    now = now_us()
    with reading(installation.control) as connection:
        found = stored_keys(connection)
    successors = {each.replaces: each.id for each in found if each.replaces}
    rows = [KeyNow(each, _state(each, now), successors.get(each.id, "")) for each in found]
    return sorted(rows, key=lambda row: (row.state != "good", -row.key.created))


def limits_now(installation: Installation) -> list[tuple[Limit, int | None]]:
    """Every limit, and what of it was given out to gateways in its present window; None for rates."""
    now = now_us()
    with reading(installation.control) as connection:
        found, pools = list_limits(connection), pool_states(connection)
    return [(each, None if each.per == "second" else pools.get((each.id, window_of(each, now)), 0)) for each in found]


def switch_here(installation: Installation, person: Person, system: str, reason: str | None) -> Switched:
    """Stop a system on this node for a reason, or with None end that; the workers' records say who.

    Raises Forbidden, NotFound, InputError (no reason), Conflict (it is so already).
    """
    require(person, "system.start" if reason is None else "system.stop")
    with reading(installation.control) as connection:
        find_system(connection, system)
    if reason is not None and not reason.strip():
        raise InputError("a stop needs a reason", mend="say why: callers read it")
    stop_here(installation.home.stops, system, reason, now_us(), by=person.id)
    return Switched(system, reason is not None, *await_stop(installation.home, system, stopped=reason is not None))


def _state(key: ApiKey, now: int) -> str:
    return "revoked" if key.revoked else "expired" if key.expires and key.expires <= now else "good"
