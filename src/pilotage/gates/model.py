"""Rules, approvals, and the verdict of a gate at one moment. Times are Unix microseconds."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from pilotage.evidence.model import State
from pilotage.kernel.canonical import canonical_json
from pilotage.kernel.digests import digest

__all__ = ["Approval", "ApprovalState", "Candidate", "CheckRule", "CheckState", "GateVerdict", "Passage", "Rule"]


class CheckRule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One check that a stage demands; its evidence may be `days` old, 0 for as old as its release.

    `made_by` is the command that makes the evidence. Where a `figure` of the evidence is named, it must reach the
    `floor`.
    """

    name: str
    title: str
    made_by: str
    days: int
    figure: str = ""
    floor: float = 0.0


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """What the gate to a stage demands at a risk tier: checks, and one approval for each role named."""

    stage: str
    tier: str
    checks: tuple[CheckRule, ...]
    approvals: tuple[str, ...]
    approval_days: int

    @property
    def digest(self) -> str:
        """The digest of the rule's canonical JSON: the policy digest that approvals and decisions carry."""
        return digest(canonical_json(msgspec.to_builtins(self)))


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """The release that asks to pass. `authors` are the ids and names of who made it: they may not approve."""

    system: str
    release: str
    authors: frozenset[str]

    def made_by(self, *known_as: str) -> bool:
        """Whether one of these ids or names is an author's, whatever the case and the spaces around it."""
        names = {name.strip().casefold() for name in self.authors}
        return any(name.strip().casefold() in names for name in known_as)


class Approval(msgspec.Struct, frozen=True, kw_only=True):
    """A person's yes to one release at one stage. It binds the policy's digest and the digest of each evidence."""

    id: str
    system: str
    release: str
    stage: str
    person: str
    role: str
    policy: str
    evidence: dict[str, str]
    statement: str
    granted: int
    expires: int
    withdrawn: int = 0


class CheckState(msgspec.Struct, frozen=True, kw_only=True):
    """How one check stood: its state, the evidence read (id and digest, empty when missing), and why."""

    check: str
    title: str
    state: State
    evidence: str = ""
    digest: str = ""
    detail: str = ""


class ApprovalState(msgspec.Struct, frozen=True, kw_only=True):
    """How one demanded approval stood; `approval` is its id, `detail` why an approval of this role does not count."""

    role: str
    state: Literal["held", "missing", "expired", "dead"]
    approval: str = ""
    detail: str = ""


class GateVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """Go or no-go, all that was read for it, and in `missing` everything that lacks, with the next command."""

    system: str
    release: str
    stage: str
    tier: str
    policy: str
    at: int
    go: bool
    checks: list[CheckState]
    approvals: list[ApprovalState]
    missing: list[str]

    @property
    def evidence(self) -> dict[str, str]:
        """The digest of the evidence of each check that has some; what an approval binds."""
        return {check.check: check.digest for check in self.checks if check.digest}

    @property
    def digest(self) -> str:
        """The digest of the verdict's canonical JSON."""
        return digest(canonical_json(self.as_dict()))

    def as_dict(self) -> dict[str, Any]:
        """The verdict as JSON values."""
        made: dict[str, Any] = msgspec.to_builtins(self)
        return made


class Passage(msgspec.Struct, frozen=True, kw_only=True):
    """A gate that was passed: the verdict as it was read, kept with its digest."""

    id: str
    system: str
    release: str
    stage: str
    policy: str
    at: int
    verdict: GateVerdict
    digest: str
