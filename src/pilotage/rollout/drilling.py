"""What a drill changes and takes back: a key whose decisions do not count, a model away from it, a rollback."""

from __future__ import annotations

from sqlalchemy import Connection

from pilotage.access.model import Person, Secret
from pilotage.errors import Conflict, Refused
from pilotage.gates.store import find_passage
from pilotage.gateway.plan import Drill, decode_plan
from pilotage.gateway.store import StoredPlan, newest_plan
from pilotage.releases.load import open_release
from pilotage.releases.yanking import yanked
from pilotage.rollout import store
from pilotage.rollout.model import Published, RolledBack
from pilotage.rollout.plans import refresh_plan_file
from pilotage.rollout.service import Rollout

__all__ = ["KEY_US", "bring_back", "drill_key", "keep_away"]

KEY_US = 3_600_000_000
"""A key of a drill ends by itself after an hour, whatever becomes of the drill."""


def drill_key(rollout: Rollout, person: Person, system: str) -> Secret:
    """A key that may ask a system in a drill only. Raises Forbidden, NotFound."""
    expires = rollout.clock() + KEY_US
    return rollout.issue_key(person, name=f"drill of {system}", scopes=[f"drill:{system}"], expires=expires)


def keep_away(rollout: Rollout, person: Person, system: str, until: int) -> tuple[StoredPlan, int]:
    """Keep a system's model away from whoever asks it in a drill, until a moment (Unix microseconds; 0: no longer).

    The plan, and the moment after its commit. Whoever does not drill is answered as ever. Raises Forbidden, NotFound,
    Conflict (a drill of it is under way).
    """
    with rollout.changing(person, "system.rollback", system) as (connection, at):
        under_way = _under_way(connection, at)
        if until and any(each.system == system for each in under_way):
            raise Conflict(f"a drill of {system} is under way", got=system, mend="let it end, then begin another")
        others = [each for each in under_way if each.system != system]
        drills = [*others, Drill(system=system, until=until)] if until else others
        stored = rollout.plan(connection, at, drills=drills)
    committed = rollout.clock()
    refresh_plan_file(rollout.control, rollout.home)
    return stored, committed


def bring_back(rollout: Rollout, person: Person, left: RolledBack, reason: str) -> Published:
    """Undo a rollback that was a drill: the release it left is live again, on the gate that it stood on then.

    Only while nothing happened since. Raises Forbidden, Conflict (something did), Refused (the release is yanked, or
    its passage is gone), IntegrityError (its bytes changed).
    """
    system = left.system
    loaded = open_release(rollout.home.releases, left.from_release)
    with rollout.changing(person, "system.rollback", system) as (connection, at):
        acts = store.history(connection, system)
        if acts[-1].action != "rollback" or acts[-1].plan != left.plan_version:
            raise Conflict(
                f"{system} changed since the drill rolled it back",
                got=f"{acts[-1].action} of {acts[-1].release}",
                mend="nothing is brought back; promote what should be live",
            )
        passage = find_passage(connection, left.from_release, left.stage)
        if passage is None or yanked(connection, left.from_release) is not None:
            mend = "promote a release that passes the gate"
            raise Refused("the release before the drill may not be live any more", got=left.from_release, mend=mend)
        facts = {"system": system, "stage": left.stage, "release": left.from_release}
        digests = {"contract": loaded.manifest.contract, "policy": loaded.manifest.policy, "passage": passage.id}
        # The chain is as it was: the release that the drill rolled back to is the one before.
        answering = rollout.answering(connection, loaded, left.to_release, refuse=False)
        done = rollout.act(connection, "promote", person, **facts, **digests, reason=reason, at=at, answering=answering)
    return rollout.published(*done, answering)


def _under_way(connection: Connection, at: int) -> list[Drill]:
    newest = newest_plan(connection)
    return [] if newest is None else [each for each in decode_plan(newest.body).drills if each.until > at]
