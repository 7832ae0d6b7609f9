"""Take a release back: it stays where it is and what it is, but no gate lets it through any more.

A yank is evidence about the release, as what makes evidence stale is: added, never changed, attested by its event. What
serves a yanked release goes on, since an answer that breaks off may harm more; a rollback to it stays possible.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from pilotage.access.model import Person, require
from pilotage.errors import Conflict, InputError
from pilotage.evidence.model import Evidence
from pilotage.evidence.store import latest, record
from pilotage.kernel.clock import now_us
from pilotage.kernel.digests import short
from pilotage.kernel.ids import uuid7
from pilotage.releases.model import Release
from pilotage.storage.outbox import emit

__all__ = ["YANKED", "undo_yank", "yank", "yanked"]

YANKED = "release.yanked"
"""The check of the evidence, and the kind of the event; `release.restored` when it is undone."""

_MOST = 500


def yanked(connection: Connection, digest: str) -> Evidence | None:
    """The evidence that a release is yanked, with `figures["reason"]`; None when it is not."""
    found = latest(connection, digest, YANKED)
    return None if found is None or found.passed else found


def yank(connection: Connection, person: Person, release: Release, reason: str, at: int | None = None) -> Evidence:
    """Yank a release. Raises Forbidden, InputError without a reason, Conflict when it is yanked already."""
    require(person, "release.yank")
    if yanked(connection, release.digest) is not None:
        raise Conflict(f"{release.name} is yanked already", mend="nothing is left to do")
    return _say(connection, person, release, _checked(reason), passed=False, at=at)


def undo_yank(connection: Connection, person: Person, release: Release, reason: str, at: int | None = None) -> Evidence:
    """Take a yank back: for who may approve releases. Raises Forbidden, InputError, Conflict when it is not yanked."""
    require(person, "release.approve")
    if yanked(connection, release.digest) is None:
        raise Conflict(f"{release.name} is not yanked", mend=f"see it: pilotage release show {short(release.digest)}")
    return _say(connection, person, release, _checked(reason), passed=True, at=at)


def _checked(reason: str) -> str:
    text = " ".join(reason.split())
    if not text or len(text) > _MOST or not text.isprintable():
        raise InputError(
            "a yank needs a reason",
            got=f"{len(text)} characters",
            expected=f"1 to {_MOST} printable characters, without personal data",
            mend="say what is wrong with the release",
        )
    return text


def _say(
    connection: Connection, person: Person, release: Release, reason: str, *, passed: bool, at: int | None
) -> Evidence:
    moment = now_us() if at is None else at
    figures: dict[str, Any] = {"reason": reason}
    made = Evidence(
        id=uuid7(),
        check=YANKED,
        subject=release.digest,
        grade="E1",
        method="EXAMINE",
        producer=person.id,
        collected=moment,
        expires=0,
        passed=passed,
        figures=figures,
    )
    record(connection, made)
    kind = "release.restored" if passed else YANKED
    facts = {"evidence": made.id}
    private = {"by": person.id, "reason": reason}
    emit(connection, kind, system=release.system, release=release.digest, facts=facts, private=private, at=moment)
    return made
