"""The verdict, decided from what was read: pure functions of rule, evidence, approvals, people and moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from pilotage.access.model import Person
from pilotage.evidence.model import Evidence, State, state
from pilotage.gates.model import Approval, ApprovalState, Candidate, CheckRule, CheckState, GateVerdict, Rule
from pilotage.kernel.clock import day
from pilotage.kernel.digests import short

__all__ = ["DAY", "Held", "approver_fault", "check_state", "judge", "standing"]

DAY = 86_400_000_000
Standing = Literal["held", "expired", "dead"]


class Held(NamedTuple):
    """Evidence as it lies in the database: the fact, the digest of what it says now, the digest when recorded.

    `stale` says which event made it stale; empty when none did.
    """

    fact: Evidence
    digest: str
    recorded: str
    stale: str = ""


def judge(
    rule: Rule,
    candidate: Candidate,
    evidence: Mapping[str, Held],
    approvals: Sequence[Approval],
    people: Mapping[str, Person],
    at: int,
) -> GateVerdict:
    """The verdict on a candidate at a moment. `approvals` are those of this release and stage, newest first."""
    checks = [check_state(check, evidence.get(check.name), at) for check in rule.checks]
    digests = {check.check: check.digest for check in checks if check.digest}
    roles = _roles(rule, candidate, digests, approvals, people, at)
    missing = [_lacks(check, rule) for check in checks if check.state not in ("fresh", "waived")]
    missing += [_lacks_approval(role, candidate, rule.stage) for role in roles if role.state != "held"]
    return GateVerdict(
        system=candidate.system,
        release=candidate.release,
        stage=rule.stage,
        tier=rule.tier,
        policy=rule.digest,
        at=at,
        go=not missing,
        checks=checks,
        approvals=roles,
        missing=missing,
    )


def check_state(check: CheckRule, held: Held | None, at: int) -> CheckState:
    """How a check stands: evidence goes stale by its own expiry and by the age that the policy allows."""
    if held is None:
        return CheckState(check=check.name, title=check.title, state="missing", detail="there is no evidence")
    found: State = state(held.fact, at)
    detail = {"failed": "the evidence says no", "stale": f"it expired on {day(held.fact.expires)}"}.get(found, "")
    if found == "fresh" and check.days and at >= held.fact.collected + check.days * DAY:
        found, detail = "stale", f"it is older than the {check.days} days that this tier allows"
    if found == "fresh" and check.figure:
        found, detail = _reached(check, held.fact)
    if found == "fresh" and held.stale:
        found, detail = "stale", held.stale
    if held.digest != held.recorded:
        found, detail = "invalidated", "the evidence was changed after it was recorded"
    return CheckState(
        check=check.name, title=check.title, state=found, evidence=held.fact.id, digest=held.digest, detail=detail
    )


def _reached(check: CheckRule, fact: Evidence) -> tuple[State, str]:
    """Whether the figure that a check names is as good as the tier demands."""
    value = fact.figures.get(check.figure)
    if not isinstance(value, int | float):
        return "failed", f"the evidence has no figure {check.figure}"
    if value >= check.floor:
        return "fresh", ""
    return "failed", f"{check.figure} is {value:.3f}; this tier demands {check.floor:g}"


def approver_fault(person: Person | None, candidate: Candidate, role: str) -> str:
    """Why this person's yes in this role cannot count; nothing when it can. Four eyes, whoever asks."""
    if person is None or person.left:
        return "the approver has left"
    if candidate.made_by(person.id, person.name):
        return "the approver is an author of the release"
    if person.kind != "human":
        return "a service account cannot approve"
    if "admin" in person.roles:
        return "an admin cannot approve"
    return "" if role in person.roles else f"the approver is no {role}"


def standing(
    approval: Approval, rule: Rule, candidate: Candidate, digests: Mapping[str, str], person: Person | None, at: int
) -> tuple[Standing, str]:
    """Whether an approval counts at a moment, and why not."""
    if approval.withdrawn:
        return "dead", "it was withdrawn"
    if at >= approval.expires:
        return "expired", f"it expired on {day(approval.expires)}"
    if approval.policy != rule.digest:
        return "dead", "the gate's policy or the risk tier changed since"
    if approval.evidence != digests:
        changed = sorted(k for k in approval.evidence.keys() | digests if approval.evidence.get(k) != digests.get(k))
        return "dead", "evidence changed since: " + ", ".join(changed)
    fault = approver_fault(person, candidate, approval.role)
    return ("dead", fault) if fault else ("held", "")


def _roles(
    rule: Rule,
    candidate: Candidate,
    digests: Mapping[str, str],
    approvals: Sequence[Approval],
    people: Mapping[str, Person],
    at: int,
) -> list[ApprovalState]:
    """One state for each role; a person fills one role only, however many they have."""
    used: set[str] = set()
    states = []
    for role in rule.approvals:
        best = ApprovalState(role=role, state="missing", detail="nobody approved in this role")
        for approval in approvals:
            bound = (approval.system, approval.release, approval.stage) == (*_of(candidate), rule.stage)
            if approval.role != role or approval.person in used or not bound:
                continue
            found, why = standing(approval, rule, candidate, digests, people.get(approval.person), at)
            if found == "held" or best.state == "missing":
                best = ApprovalState(role=role, state=found, approval=approval.id, detail=why)
            if found == "held":
                used.add(approval.person)
                break
        states.append(best)
    return states


def _of(candidate: Candidate) -> tuple[str, str]:
    return candidate.system, candidate.release


def _lacks(state: CheckState, rule: Rule) -> str:
    command = next(check.made_by for check in rule.checks if check.name == state.check)
    return f"{state.check} is {state.state} ({state.title}); {state.detail}; run: {command}"


def _lacks_approval(state: ApprovalState, candidate: Candidate, stage: str) -> str:
    what = "missing" if state.state == "missing" else f"{state.state}: {state.detail}"
    article = "an" if state.role[0] in "aeiou" else "a"
    command = f"pilotage approve --release {short(candidate.release)} --to {stage}"
    return f"the approval of {article} {state.role} is {what}; run as such a person: {command}"
