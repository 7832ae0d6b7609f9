"""What a static signal reports: a criterion, how far it holds, why, and the places."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pilotage.assess.model import Finding, Grade

__all__ = ["Seen"]


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One reading. `grade` is E2 (parsed and checked), or E0 where it only repeats what somebody declared."""

    criterion: str
    level: float
    summary: str
    findings: list[Finding] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    grade: Grade = "E2"

    @classmethod
    def of(cls, criterion: str, findings: list[Finding], bad: str, good: str) -> Seen:
        """Level 0 with the findings, or level 1 without any."""
        return cls(
            criterion=criterion, level=0 if findings else 1, summary=bad if findings else good, findings=findings
        )
