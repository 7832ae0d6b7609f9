"""A gate that was passed, for tests."""

from __future__ import annotations

from pilotage.gates.model import ApprovalState, GateVerdict, Passage

__all__ = ["passage"]


def passage(release: str) -> Passage:
    """A passage to stage internal on two approvals."""
    roles = [ApprovalState(role=role, state="held", approval=role) for role in ("model_validator", "risk_officer")]
    verdict = GateVerdict(
        system="s",
        release=release,
        stage="internal",
        tier="high",
        policy="p",
        at=1,
        go=True,
        checks=[],
        approvals=roles,
        missing=[],
    )
    return Passage(
        id="p", system="s", release=release, stage="internal", policy="p", at=1, verdict=verdict, digest=verdict.digest
    )
