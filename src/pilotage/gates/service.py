"""Use cases of gates: check, approve, withdraw, pass. Closed by default; every yes and every refusal is an event."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection, Engine

from pilotage.access import store as access_store
from pilotage.access.model import Person, require
from pilotage.errors import Conflict, Forbidden, NotFound, PilotageError, Refused
from pilotage.evidence.stale import marks_about, stale_reason
from pilotage.evidence.store import content_digest, evidence_table, latest, recorded_digest
from pilotage.gates import store
from pilotage.gates.model import Approval, Candidate, GateVerdict, Passage, Rule
from pilotage.gates.policy import rule_for
from pilotage.gates.verdict import DAY, Held, approver_fault, judge, standing
from pilotage.kernel.clock import now_us
from pilotage.kernel.digests import short
from pilotage.kernel.ids import uuid7
from pilotage.releases.model import Release
from pilotage.releases.store import find_release, releases_table
from pilotage.releases.yanking import yanked
from pilotage.storage.database import reading, writing
from pilotage.storage.outbox import emit
from pilotage.storage.witness import Attesting, ChangedRow, attest, changed_rows
from pilotage.systems.store import find_system, lock_system, systems

__all__ = ["ATTESTED", "approve", "check", "check_in", "pass_gate", "withdraw", "witness"]

ATTESTED = (
    access_store.people,
    access_store.tokens,
    access_store.api_keys,
    access_store.key_bounds,
    access_store.key_certificates,
    access_store.limits,
    access_store.issuers,
    access_store.identities,
    systems,
    evidence_table,
    releases_table,
    store.approvals,
    store.gate_passages,
)
"""The tables up to here whose rows the ledger attests."""

_YANKED = "the release is yanked"


class _Gate(NamedTuple):
    """A gate as it stands in one transaction."""

    rule: Rule
    candidate: Candidate
    approvals: list[Approval]
    people: dict[str, Person]
    verdict: GateVerdict


def check(control: Engine, system: str, release: str, to_stage: str, at: int | None = None) -> GateVerdict:
    """The verdict on a release for a stage now. `release` is a digest, a short digest or `system@version`.

    An empty `system` stands for the release's own. Raises NotFound, and InputError for a stage without a gate.
    """
    with reading(control) as connection:
        return check_in(connection, _release(connection, system, release), to_stage, _moment(at))


def check_in(connection: Connection, release: Release, to_stage: str, at: int) -> GateVerdict:
    """As `check`, in the caller's transaction."""
    return _gate(connection, release, to_stage, at).verdict


def approve(
    control: Engine,
    person: Person,
    *,
    release: str,
    stage: str,
    role: str = "",
    statement: str = "",
    at: int | None = None,
) -> Approval:
    """A person's yes, bound to {release, evidence digests, policy digest, stage} for 30 days.

    The caller authenticates the person for this very act. `role` is needed only where several of theirs fit. Raises
    Refused (four eyes; evidence incomplete), Forbidden (wrong role), Conflict (role held already), NotFound,
    InputError. A refusal is recorded too.
    """
    moment = _moment(at)
    try:
        with writing(control) as connection:
            found = find_release(connection, release)
            lock_system(connection, found.system)
            return _approve(connection, person.id, found, stage, role, statement, moment)
    except (Refused, Forbidden) as error:
        _record_refusal(control, person, release, stage, error, moment)
        raise


def withdraw(control: Engine, person: Person, approval: str, *, reason: str, at: int | None = None) -> None:
    """Take one's own approval back. It dies at once; what was promoted on it stays. Raises NotFound, Forbidden."""
    moment = _moment(at)
    with writing(control) as connection:
        found = store.find_approval(connection, approval)
        if found is None:
            raise NotFound("no such approval", got=approval, mend="see them: pilotage gate check")
        if found.person != person.id:
            raise Forbidden("only the approver can withdraw an approval", got=person.name, mend="ask the approver")
        if found.withdrawn:
            return
        row = store.withdraw_approval(connection, approval, moment)
        facts = {"approval": approval, "stage": found.stage, "rows": attest(store.approvals, row)}
        private = {"by": person.id, "reason": reason}
        emit(
            connection,
            "approval.withdrawn",
            system=found.system,
            release=found.release,
            facts=facts,
            private=private,
            at=moment,
        )


def pass_gate(connection: Connection, release: Release, to_stage: str, at: int) -> Passage:
    """Read the gate once more and keep what was read, in the caller's transaction, with its event `gate.passed`.

    Raises Refused, naming everything that is missing, when the gate is closed.
    """
    verdict = check_in(connection, release, to_stage, at)
    if not verdict.go:
        raise Refused(
            f"the gate of {release.name} to {to_stage} is closed",
            code="gate_closed",
            mend=f"run: pilotage gate check --release {short(release.digest)} --to {to_stage}",
            faults=[{"path": f"gate.{to_stage}", "code": "missing", "message": text} for text in verdict.missing],
        )
    passage = Passage(
        id=uuid7(),
        system=release.system,
        release=release.digest,
        stage=to_stage,
        policy=verdict.policy,
        at=at,
        verdict=verdict,
        digest=verdict.digest,
    )
    row = store.add_passage(connection, passage)
    facts: dict[str, object] = {"stage": to_stage, "policy": verdict.policy, "verdict": verdict.digest}
    facts |= {"evidence": verdict.evidence, "approvals": [role.approval for role in verdict.approvals]}
    facts["rows"] = attest(store.gate_passages, row)
    emit(connection, "gate.passed", system=release.system, release=release.digest, facts=facts, at=at)
    return passage


def witness(control: Engine, events: Iterable[Attesting]) -> Iterator[ChangedRow]:
    """Rows of access, systems, evidence, releases, approvals and passages that are not what the events attest.

    `events` are all of the ledger's, then those waiting in the outbox, oldest first.
    """
    with reading(control) as connection:
        yield from changed_rows(connection, ATTESTED, events)


def _approve(
    connection: Connection, person_id: str, release: Release, stage: str, role: str, statement: str, at: int
) -> Approval:
    gate = _gate(connection, release, stage, at)
    person = access_store.find_person(connection, person_id)  # as they are now, not as the caller knew them
    _refuse_approver(person, gate.candidate)
    assert person is not None  # noqa: S101 - refused above
    require(person, "release.approve")
    chosen = _role_to_fill(person, gate, role, at)
    _refuse_incomplete(gate.verdict, release)
    approval = Approval(
        id=uuid7(),
        system=release.system,
        release=release.digest,
        stage=stage,
        person=person.id,
        role=chosen,
        policy=gate.rule.digest,
        evidence=gate.verdict.evidence,
        statement=statement,
        granted=at,
        expires=at + gate.rule.approval_days * DAY,
    )
    row = store.add_approval(connection, approval)
    facts: dict[str, object] = {"approval": approval.id, "stage": stage, "role": chosen, "policy": approval.policy}
    facts |= {"evidence": approval.evidence, "expires": approval.expires, "rows": attest(store.approvals, row)}
    private = {"person": person.id, "name": person.name, "statement": statement}
    emit(
        connection,
        "approval.granted",
        system=release.system,
        release=release.digest,
        facts=facts,
        private=private,
        at=at,
    )
    return approval


def _refuse_approver(person: Person | None, candidate: Candidate) -> None:
    """Four eyes before roles, so that an author hears the true reason, whatever their role."""
    fault = approver_fault(person, candidate, person.roles[0] if person and person.roles else "")
    if fault:
        raise Refused(fault, code="four_eyes", mend="let somebody else approve who holds the role in their own right")


def _role_to_fill(person: Person, gate: _Gate, role: str, at: int) -> str:
    """The role this approval is given in: demanded, held by the person, and not yet filled by anybody."""
    for approval in gate.approvals:
        how, _ = standing(approval, gate.rule, gate.candidate, gate.verdict.evidence, person, at)
        if approval.person == person.id and how == "held":
            raise Refused(
                "this person approved this gate already",
                code="four_eyes",
                got=f"{person.name}, as {approval.role}",
                mend="each demanded role needs another person",
            )
    demanded = [name for name in gate.rule.approvals if not role or name == role]
    mine = [name for name in demanded if name in person.roles]
    if not mine:
        raise Forbidden(
            f"{person.name} holds no role that this gate demands" + (f" as {role}" if role else ""),
            got="roles: " + ", ".join(person.roles),
            expected=", ".join(gate.rule.approvals),
            mend="ask a person in one of these roles",
        )
    filled = {state.role for state in gate.verdict.approvals if state.state == "held"}
    still = [name for name in mine if name not in filled]
    if not still:
        raise Conflict("another person approved in this role already", got=mine[0], mend="nothing is left to do")
    return still[0]


def _refuse_incomplete(verdict: GateVerdict, release: Release) -> None:
    """Nobody can say yes to evidence that is not there."""
    if verdict.missing and verdict.missing[0].startswith(_YANKED):
        raise Refused(
            f"{release.name} is yanked: nobody can approve it",
            code="release_yanked",
            mend="build another release, or undo the yank: pilotage release yank --undo",
        )
    lacking = [state for state in verdict.checks if state.state not in ("fresh", "waived")]
    if lacking:
        raise Refused(
            f"the evidence of {release.name} for {verdict.stage} is incomplete: nothing to approve yet",
            code="evidence_incomplete",
            mend=f"run: pilotage gate check --release {short(release.digest)} --to {verdict.stage}",
            faults=[{"path": s.check, "code": s.state, "message": f"{s.check} is {s.state}"} for s in lacking],
        )


def _record_refusal(control: Engine, person: Person, release: str, stage: str, error: PilotageError, at: int) -> None:
    with writing(control) as connection:
        found = find_release(connection, release)
        emit(
            connection,
            "approval.refused",
            system=found.system,
            release=found.digest,
            facts={"stage": stage, "code": error.code},
            private={"person": person.id, "name": person.name, "why": error.what},
            at=at,
        )


def _gate(connection: Connection, release: Release, to_stage: str, at: int) -> _Gate:
    """Everything a verdict is made of, read in one transaction."""
    system = find_system(connection, release.system)
    rule = rule_for(to_stage, system.risk_tier)
    authors = frozenset(name for name in (release.author, system.author) if name.strip())
    candidate = Candidate(system=release.system, release=release.digest, authors=authors)
    evidence: dict[str, Held] = {}
    marks = marks_about(connection, release.digest)
    for demanded in rule.checks:
        fact = latest(connection, release.digest, demanded.name)
        if fact is not None:
            recorded = recorded_digest(connection, fact.id)
            evidence[demanded.name] = Held(fact, content_digest(fact), recorded, stale_reason(fact, marks))
    given = store.approvals_of(connection, release.digest, to_stage)
    people = {person.id: person for person in access_store.all_people(connection)}
    verdict = _unless_yanked(connection, release, judge(rule, candidate, evidence, given, people, at))
    return _Gate(rule, candidate, given, people, verdict)


def _unless_yanked(connection: Connection, release: Release, verdict: GateVerdict) -> GateVerdict:
    """No gate opens for a release that was taken back."""
    found = yanked(connection, release.digest)
    if found is None:
        return verdict
    text = f"{_YANKED}: {found.figures.get('reason', '')}"
    return msgspec.structs.replace(verdict, go=False, missing=[text, *verdict.missing])


def _release(connection: Connection, system: str, release: str) -> Release:
    found = find_release(connection, release)
    if system and found.system != system:
        mend = "name a release of this system"
        raise NotFound(f"{found.name} is no release of {system}", got=release, mend=mend)
    return found


def _moment(at: int | None) -> int:
    return now_us() if at is None else at
