"""Make a drill on the installation that serves: change it, watch it by requests, change it back, keep what was seen."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec

from pilotage.access.model import Person, require
from pilotage.drills.judging import Change, Drilled, judge_fallback, judge_rollback
from pilotage.drills.probing import Prober
from pilotage.errors import NotFound, Refused
from pilotage.evidence.model import tested
from pilotage.evidence.store import record
from pilotage.rollout.drilling import bring_back, drill_key, keep_away
from pilotage.rollout.model import Live, live_after
from pilotage.rollout.service import Rollout
from pilotage.rollout.store import find_answering, history
from pilotage.storage.database import reading, writing
from pilotage.storage.outbox import emit

__all__ = ["LIFE_DAYS", "Ground", "drill_fallback", "drill_rollback"]

LIFE_DAYS = 180
"""How long a drill counts, by the readiness model; a gate may ask for a newer one."""

_DAY_US = 86_400_000_000
_STEADY_S = 1.0
_MARGIN_US = 60_000_000
_REASON = "drill: a rollback is rehearsed"


class Ground(msgspec.Struct, frozen=True, kw_only=True):
    """What a drill is made on. `prober` makes requests by a key; `follow` waits until all workers have a plan version,
    at most so many seconds, and says (how many have, how many there are, when the last one had it)."""

    rollout: Rollout
    prober: Callable[[str, Sequence[Mapping[str, Any]]], Prober]
    follow: Callable[[int, float], tuple[int, int, int]]
    rows: Sequence[Mapping[str, Any]]


def drill_rollback(ground: Ground, person: Person, system: str, *, hold_s: float, limit_s: float) -> Drilled:
    """Roll a system back for a while and bring it back, while requests go on; recorded as evidence of its release.

    Everybody is answered by the release before meanwhile: it is the rollback itself. Raises Forbidden, NotFound, and
    Refused where there is nothing to roll back to, or requests fail before anything is changed.
    """
    rollout = ground.rollout
    now = _answering(rollout, person, system)
    with _asking(ground, person, system) as prober:
        done = rollout.rollback(person, system, _REASON)
        try:
            there = _followed(ground, done.plan_version, done.committed, limit_s)
            time.sleep(hold_s)
        finally:
            again = bring_back(rollout, person, done, _REASON)
        back = _followed(ground, again.plan_version, again.committed, limit_s)
        time.sleep(_STEADY_S)
    found = judge_rollback(
        prober.probes, there, back, system=system, left=now.release, to=done.to_release, limit_s=limit_s
    )
    _keep(rollout, person, now, found)
    return found


def drill_fallback(ground: Ground, person: Person, system: str, *, hold_s: float, limit_s: float) -> Drilled:
    """Keep the model of a system away from the drill's own requests for a while; recorded as evidence of its release.

    Nobody else notices. Raises Forbidden, NotFound, Conflict (a drill of it is under way), and Refused where the
    release has no fallback, or requests fail before anything is changed.
    """
    rollout = ground.rollout
    now = _answering(rollout, person, system)
    with reading(rollout.control) as connection:
        chain = find_answering(connection, now.answering).fallback
    if not chain:
        raise Refused(
            f"the live release of {system} has no fallback to rehearse",
            got=now.release,
            code="no_fallback",
            mend="declare serving.fallback in pilotage.yaml, build a release with it and promote it",
        )
    with _asking(ground, person, system) as prober:
        until = rollout.clock() + round((hold_s + 2 * limit_s) * 1e6) + _MARGIN_US
        stored, committed = keep_away(rollout, person, system, until)
        try:
            gone = _followed(ground, stored.version, committed, limit_s)
            time.sleep(hold_s)
        finally:
            stored, committed = keep_away(rollout, person, system, 0)
        back = _followed(ground, stored.version, committed, limit_s)
        time.sleep(_STEADY_S)
    found = judge_fallback(prober.probes, gone, back, system=system, release=now.release, limit_s=limit_s)
    _keep(rollout, person, now, found)
    return found


def _answering(rollout: Rollout, person: Person, system: str) -> Live:
    require(person, "system.rollback")
    with reading(rollout.control) as connection:
        now = live_after(history(connection, system))
    if now is None:
        raise NotFound(f"{system} has no live release", mend="promote one, then drill")
    if now.stopped:
        mend = f"start it: pilotage start --system {system}"
        raise Refused(f"{system} is stopped: there is nothing to rehearse", got=now.stopped, mend=mend)
    return now


@contextmanager
def _asking(ground: Ground, person: Person, system: str) -> Iterator[Prober]:
    """Requests by a key of their own, from a second before the drill on; the key ends with them.

    Raises Refused when one of the first is not answered: nothing was changed then.
    """
    rollout = ground.rollout
    key = drill_key(rollout, person, system)
    try:
        ground.follow(rollout.newest(), 10.0)
        with ground.prober(key.text, ground.rows) as prober:
            time.sleep(_STEADY_S)
            failed = next((each for each in prober.probes if each.failed), None)
            if failed is not None or not prober.probes:
                raise Refused(
                    f"{system} does not answer the drill's requests, so nothing was changed",
                    got=failed and (failed.error or failed.status),
                    expected="an answer to each",
                    mend=f"see why: pilotage gateway check --system {system}; or give rows that fit with --rows",
                    code="drill_unanswered",
                )
            yield prober
    finally:
        rollout.revoke_key(person, key.id)


def _followed(ground: Ground, version: int, committed: int, limit_s: float) -> Change:
    followed, workers, adopted = ground.follow(version, limit_s)
    return Change(committed=committed, adopted=max(adopted, committed), followed=followed, workers=workers)


def _keep(rollout: Rollout, person: Person, now: Live, found: Drilled) -> None:
    at = rollout.clock()
    figures = {**found.figures, "traffic": "drill", "by": person.id, "stage": now.stage, "missing": found.faults}
    fact = tested(found.check, now.release, at, passed=found.passed, figures=figures, expires=at + LIFE_DAYS * _DAY_US)
    facts = {name: value for name, value in figures.items() if name not in ("by", "missing")}
    facts |= {"check": found.check, "passed": found.passed, "evidence": fact.id}
    private = {"by": person.id, "name": person.name, "faults": found.faults}
    with writing(rollout.control) as connection:
        record(connection, fact)
        emit(connection, "drill.ended", system=now.system, release=now.release, facts=facts, private=private, at=at)
