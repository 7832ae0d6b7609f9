"""One piece of evidence, and the state it is in at a moment."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from pilotage import __version__
from pilotage.kernel.ids import uuid7

__all__ = ["Evidence", "State", "state", "tested"]

State = Literal["fresh", "stale", "missing", "failed", "invalidated", "waived"]


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """A fact about `subject` (a digest). `grade` is the evidence class E0-E4 of the readiness model.

    `collected` and `expires` are Unix microseconds; `expires` 0 means it lives as long as its subject. `producer` is
    a tool with its version, or a person's id. `artefact` is the digest of the raw result, if one is kept.
    """

    id: str
    check: str
    subject: str
    grade: Literal["E0", "E1", "E2", "E3", "E4"]
    method: Literal["TEST", "EXAMINE", "INTERVIEW"]
    producer: str
    collected: int
    expires: int
    passed: bool
    figures: dict[str, Any] = {}
    artefact: str = ""


def tested(
    check: str,
    subject: str,
    at: int,
    *,
    passed: bool,
    figures: dict[str, Any],
    expires: int = 0,
    artefact: str = "",
    grade: Literal["E3", "E4"] = "E3",
) -> Evidence:
    """Evidence of what this version of the platform ran and measured itself; with grade E4, of live traffic."""
    return Evidence(
        id=uuid7(),
        check=check,
        subject=subject,
        grade=grade,
        method="TEST",
        producer=f"pilotage {__version__}",
        collected=at,
        expires=expires,
        passed=passed,
        figures=figures,
        artefact=artefact,
    )


def state(evidence: Evidence | None, at: int) -> State:
    """The state at a moment (Unix microseconds): missing, failed, stale when past its expiry, else fresh."""
    if evidence is None:
        return "missing"
    if not evidence.passed:
        return "failed"
    return "stale" if evidence.expires and at >= evidence.expires else "fresh"
