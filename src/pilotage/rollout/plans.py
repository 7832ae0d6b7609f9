"""Compile the serving plan from what is live and which keys are good, and publish it."""

from __future__ import annotations

import fcntl
from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, Engine

from pilotage.access.issuers import list_issuers
from pilotage.access.keys import active_keys
from pilotage.access.limits import list_limits
from pilotage.access.model import ApiKey
from pilotage.evidence.store import latest
from pilotage.gateway.plan import Answering, Drill, Key, Route, ServingPlan, Together, decode_plan
from pilotage.gateway.plan_file import write_plan_file
from pilotage.gateway.store import StoredPlan, add_plan, newest_plan, newest_version, serving_plans
from pilotage.releases.model import folder_name
from pilotage.releases.together import CHECK as TOGETHER
from pilotage.releases.together import proven_again
from pilotage.rollout.model import Live, live_after
from pilotage.rollout.store import deployed_systems, find_answering, history
from pilotage.storage.database import reading
from pilotage.storage.home import Home
from pilotage.storage.outbox import emit
from pilotage.storage.witness import attest

__all__ = ["add_compiled_plan", "compile_plan", "read_steward_key", "refresh_plan_file"]


def compile_plan(
    connection: Connection,
    *,
    steward_key: str,
    at: int,
    new_journals: bool = False,
    drills: Sequence[Drill] | None = None,
) -> ServingPlan:
    """The plan that the database says now, one version after the newest. `steward_key` is X25519 public, hex.

    With `new_journals`, workers begin new journal files when they adopt it. `drills` are those under way; None: those
    of the plan before that are not over.
    """
    newest = newest_plan(connection)
    before = decode_plan(newest.body) if newest is not None else None
    since = at if new_journals else before.journals_since if before is not None else 0
    if drills is None:
        drills = before.drills if before is not None else ()
    lives = [live_after(history(connection, system)) for system in deployed_systems(connection)]
    return ServingPlan(
        version=newest_version(connection) + 1,
        created=at,
        steward_key=steward_key,
        routes=[_route(live, _answering(connection, live)) for live in lives if live is not None],
        keys=[_key(key) for key in active_keys(connection, at)],
        journals_since=since,
        limits=list_limits(connection),
        issuers=list_issuers(connection),
        drills=[each for each in drills if each.until > at],
    )


def add_compiled_plan(
    connection: Connection,
    *,
    steward_key: str,
    at: int,
    new_journals: bool = False,
    drills: Sequence[Drill] | None = None,
) -> StoredPlan:
    """Compile and store a plan in the caller's transaction, with its event `plan.published`."""
    plan = compile_plan(connection, steward_key=steward_key, at=at, new_journals=new_journals, drills=drills)
    stored = add_plan(connection, plan)
    row = {"version": stored.version, "digest": stored.digest, "body": stored.body.decode(), "created": at}
    facts = {"version": stored.version, "plan": stored.digest, "rows": attest(serving_plans, row)}
    emit(connection, "plan.published", facts=facts, at=at)
    return stored


def read_steward_key(stored: StoredPlan) -> str:
    """The steward's key in a stored plan; the raw X25519 public key in hex."""
    return decode_plan(stored.body).steward_key


def refresh_plan_file(control: Engine, home: Home) -> None:
    """Write the newest plan to the node's plan file; called after each commit, and at start in case that was missed.

    The lock keeps a slower process from putting an older plan over a newer one.
    """
    home.create()
    with (home.root / "plan.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with reading(control) as connection:
            stored = newest_plan(connection)
        if stored is not None:
            write_plan_file(home.plan_file, stored)


def _key(key: ApiKey) -> Key:
    return Key(
        id=key.id,
        sha256=key.sha256,
        scopes=list(key.scopes),
        expires=key.expires,
        networks=list(key.networks),
        certificates=list(key.certificates),
    )


def _answering(connection: Connection, live: Live) -> Answering:
    """How it answers as it went live, but for what was proven of its rows since."""
    answering = find_answering(connection, live.answering)
    again = proven_again(latest(connection, live.release, TOGETHER))
    if again is None:
        return answering
    rows, environment = again
    together = Together(rows=rows, environment=environment) if rows > 1 else Together()
    return msgspec.structs.replace(answering, together=together)


def _route(live: Live, answering: Answering) -> Route:
    return Route(
        **{name: getattr(answering, name) for name in Answering.__struct_fields__},
        system=live.system,
        release=live.release,
        folder=folder_name(live.release),
        stage=live.stage,
        contract=live.deployment.contract,
        policy=live.deployment.policy,
        stopped=live.stopped,
    )
