"""Keys and limits as console and API show them, and stops on this node."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from pilotage.access.issuers import Issuer, identity_id, list_issuers
from pilotage.access.limits import Limit, list_limits
from pilotage.access.model import ApiKey, Person, require
from pilotage.access.store import identities_at
from pilotage.access.store import keys as stored_keys
from pilotage.errors import InputError, NotFound
from pilotage.gateway.leases import window_of
from pilotage.gateway.plan import decode_plan
from pilotage.gateway.plan_file import read_plan_file
from pilotage.gateway.stops import PERSON, people_stopped, read_stops, stop_here
from pilotage.gateway.store import pool_states
from pilotage.kernel.clock import now_us
from pilotage.storage.database import reading
from pilotage.storage.home import Home
from pilotage.systems.store import find_system
from pilotage.wiring.installation import Installation
from pilotage.wiring.workers import await_stop

__all__ = [
    "KeyNow",
    "Known",
    "Switched",
    "issuers_now",
    "keys_now",
    "limits_now",
    "switch_here",
    "switch_person_here",
]


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


class Known(NamedTuple):
    """Somebody at an issuer: by name where they are a person here, by `subject` where that is known, else by identity.

    `where` says on which nodes their tokens are refused: `everywhere`, `here`, or empty.
    """

    issuer: str
    identity: str
    subject: str
    name: str
    roles: tuple[str, ...]
    where: str


def issuers_now(installation: Installation) -> list[tuple[Issuer, list[Known]]]:
    """Every trusted issuer, with who is known by it and who is suspended, those first."""
    stops = read_stops(installation.home.stops)
    here = people_stopped(stops)
    found = []
    with reading(installation.control) as connection:
        for issuer in list_issuers(connection):
            rows = {row["id"]: row for row in identities_at(connection, issuer.issuer)}
            at_node = {name.rpartition(" ")[2] for name in stops if name.startswith(f"{PERSON}{issuer.name} ")}
            strangers = sorted({*issuer.suspended, *at_node} - rows.keys())
            known = [
                Known(issuer.name, id, row["subject"], row["name"], tuple(row["roles"]), _where(issuer, id, here))
                for id, row in rows.items()
            ]
            known += [Known(issuer.name, id, "", "", (), _where(issuer, id, here)) for id in strangers]
            found.append((issuer, sorted(known, key=lambda each: (not each.where, each.name))))
    return found


def switch_person_here(home: Home, issuer: str, subject: str, reason: str | None, *, by: str = "") -> Switched:
    """Refuse one person's tokens at this node's gateways for a reason, or with None end that; without the database.

    The issuer is looked up in the node's plan file. Raises NotFound, InputError, Conflict (it is so already).
    """
    stored = read_plan_file(home.plan_file)
    issuers = decode_plan(stored.body).issuers if stored is not None else []
    url = next((each.issuer for each in issuers if each.name == issuer), "")
    if not url:
        known = ", ".join(each.name for each in issuers) or "none"
        raise NotFound("this node's plan trusts no such issuer", got=issuer, expected=known, mend="name one of them")
    if not 0 < len(subject) <= 255 or not subject.isprintable():
        raise InputError("no subject of a token", got=subject[:80], expected="the sub of their tokens", mend="mend it")
    if reason is not None and not reason.strip():
        raise InputError("a suspension needs a reason", mend="say why; it is kept encrypted in the record")
    identity = subject if subject.startswith("sha256:") else identity_id(url, subject)
    name = f"{PERSON}{issuer} {identity}"
    stop_here(home.stops, name, reason, now_us(), by=by)
    return Switched(subject, reason is not None, *await_stop(home, name, stopped=reason is not None))


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


def _where(issuer: Issuer, id: str, here: frozenset[str]) -> str:
    return "everywhere" if id in issuer.suspended else "here" if id in here else ""


def _state(key: ApiKey, now: int) -> str:
    return "revoked" if key.revoked else "expired" if key.expires and key.expires <= now else "good"
