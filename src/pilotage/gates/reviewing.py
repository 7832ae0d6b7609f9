"""A review of how protected groups fare, by two people: what one says is acceptable counts once another stands for it.

Both are evidence about the release, with the figures that were looked at: newer figures need a newer review. One person
is enough to say that it is not acceptable. Who may not approve the release may not review it either.
"""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Connection, Engine

from pilotage.access import store as access_store
from pilotage.access.model import Person, require
from pilotage.errors import Conflict, InputError, NotFound, Refused
from pilotage.evidence.model import Evidence
from pilotage.evidence.store import content_digest, find, latest, record, recorded_digest
from pilotage.gates.model import Candidate
from pilotage.gates.verdict import DAY, approver_fault
from pilotage.kernel.ids import uuid7
from pilotage.releases.model import Release
from pilotage.releases.store import find_release
from pilotage.storage.database import writing
from pilotage.storage.outbox import emit
from pilotage.systems.store import find_system, lock_system

__all__ = ["LIFE_DAYS", "OPEN_DAYS", "PROPOSED", "REVIEWED", "Measured", "confirm", "review", "reviews_of"]

PROPOSED, REVIEWED = "fairness.proposed", "fairness.reviewed"
LIFE_DAYS = 180
"""How long a review counts, by the readiness model."""

OPEN_DAYS = 30
"""How long what one person said may wait for another; a default of ours, as for approvals."""

_MOST = 2_000


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to review of a release: by protected column the groups, disparities, limits and where from.

    `lacks` says of which protected column nothing could be measured, and why. `live` is whether all of it is from live
    decisions; `since` and `until` are UTC days.
    """

    columns: list[dict[str, Any]]
    lacks: dict[str, str]
    live: bool
    since: str
    until: str

    @property
    def broken(self) -> list[str]:
        """The declared limits that do not hold."""
        return [
            f"{block['column']}: {each['name']}"
            for block in self.columns
            for each in block["limits"]
            if not each["holds"]
        ]


def review(
    control: Engine, person: Person, release: str, measured: Measured, *, acceptable: bool, statement: str, at: int
) -> Evidence:
    """Say of a release's figures that they are acceptable, or that they are not; the evidence of it.

    Raises Forbidden, NotFound, Refused (four eyes; a column is not measured; a declared limit does not hold),
    InputError (nothing is said).
    """
    words = " ".join(statement.split())
    if not words or len(words) > _MOST:
        expected = f"1 to {_MOST} characters"
        raise InputError("a review says what was looked at and why it is so", expected=expected, mend="say it")
    with writing(control) as connection:
        found = _reviewable(connection, person, release)
        if acceptable:
            _refuse_unsettled(measured)
        figures = msgspec.to_builtins(measured) | {"by": person.id, "acceptable": acceptable, "statement": words}
        check, days = (PROPOSED, OPEN_DAYS) if acceptable else (REVIEWED, LIFE_DAYS)
        made = Evidence(
            id=uuid7(),
            check=check,
            subject=found.digest,
            grade="E0",
            method="INTERVIEW",
            producer=person.id,
            collected=at,
            expires=at + days * DAY,
            passed=acceptable,
            figures=figures,
        )
        _keep(connection, found, person, made, "fairness.proposed" if acceptable else "fairness.rejected", at)
    return made


def confirm(control: Engine, person: Person, evidence: str, *, at: int, system: str = "") -> Evidence:
    """Stand for what another person said of a release (of `system`, if given); only then it is reviewed.

    Raises Forbidden, NotFound, Refused (four eyes), Conflict (not the newest, changed, or over).
    """
    with writing(control) as connection:
        said = find(connection, evidence)
        if said is None or said.check != PROPOSED:
            raise NotFound("no such review waits", got=evidence[:80], mend="see them: pilotage fairness show")
        found = _reviewable(connection, person, said.subject)
        if system and found.system != system:
            raise NotFound(f"no such review of {system} waits", got=evidence[:80], mend="name its own system")
        if said.producer == person.id:
            raise Refused(
                "nobody confirms their own review",
                code="four_eyes",
                got=person.name,
                mend="let another person look at the figures and confirm it",
            )
        newest, done = latest(connection, found.digest, PROPOSED), latest(connection, found.digest, REVIEWED)
        over = done is not None and done.collected >= said.collected
        whole = content_digest(said) == recorded_digest(connection, said.id)
        if newest is None or newest.id != said.id or over or not whole or at >= said.expires:
            raise Conflict("this review cannot be confirmed any more", got=evidence, mend="review the figures of now")
        made = msgspec.structs.replace(
            said,
            id=uuid7(),
            check=REVIEWED,
            grade="E4"
            if said.figures["live"] and said.figures["columns"]
            else "E3"
            if said.figures["columns"]
            else "E1",
            method="EXAMINE",
            collected=at,
            expires=at + LIFE_DAYS * DAY,
            figures=said.figures | {"confirms": said.id, "digest": content_digest(said), "confirmed_by": person.id},
        )
        _keep(connection, found, person, made, "fairness.reviewed", at)
    return made


def reviews_of(connection: Connection, release: str) -> list[Evidence]:
    """The newest of what one person said of a release, and of what counts; those there are."""
    found = (latest(connection, release, check) for check in (PROPOSED, REVIEWED))
    return [each for each in found if each is not None]


def _reviewable(connection: Connection, person: Person, ref: str) -> Release:
    """The release, which this person may review: who could approve it."""
    found = find_release(connection, ref)
    lock_system(connection, found.system)
    now = access_store.find_person(connection, person.id)
    authors = frozenset(name for name in (found.author, find_system(connection, found.system).author) if name.strip())
    candidate = Candidate(system=found.system, release=found.digest, authors=authors)
    fault = approver_fault(now, candidate, now.roles[0] if now and now.roles else "")
    if fault:
        raise Refused(
            fault.replace("approver", "reviewer").replace("approve", "review"),
            code="four_eyes",
            mend="let somebody else review it who may approve releases",
        )
    assert now is not None  # noqa: S101 - refused above
    require(now, "release.approve")
    return found


def _refuse_unsettled(measured: Measured) -> None:
    faults: list[dict[str, object]] = [
        {"path": name, "code": "missing", "message": f"{name}: {why}"} for name, why in measured.lacks.items()
    ]
    faults += [{"path": each, "code": "limit_broken", "message": f"{each} is broken"} for each in measured.broken]
    if faults:
        raise Refused(
            "what was measured of protected groups cannot be accepted",
            code="fairness_unsettled",
            mend="measure what lacks, or build a release that holds its limits; or say that it is not acceptable",
            faults=faults,
        )


def _keep(connection: Connection, release: Release, person: Person, made: Evidence, kind: str, at: int) -> None:
    record(connection, made, at)
    facts = {"evidence": made.id, "digest": content_digest(made), "acceptable": made.passed}
    private = {"by": person.id, "name": person.name, "statement": made.figures["statement"]}
    emit(connection, kind, system=release.system, release=release.digest, facts=facts, private=private, at=at)
