"""Evidence goes stale by event, too: what happened is itself a fact about the subject, and names the checks it undoes.

Nothing is deleted or changed: newer evidence of a named check is fresh again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection

from pilotage.evidence.model import Evidence
from pilotage.evidence.store import for_subject, record
from pilotage.kernel.ids import uuid7

__all__ = ["CHECK", "make_stale", "marks_about", "stale_reason"]

CHECK = "evidence.stale"


def make_stale(
    connection: Connection, subject: str, *, prefixes: Sequence[str], reason: str, figures: dict[str, Any], at: int
) -> list[str]:
    """Make what is known of a subject stale in the checks that begin so; those checks, sorted. None: nothing is done.

    `reason` is short text without personal data; `figures` say how it was found.
    """
    held = for_subject(connection, subject)
    checks = sorted({each.check for each in held if each.check.startswith(tuple(prefixes)) and each.collected < at})
    if checks:
        mark = Evidence(
            id=uuid7(),
            check=CHECK,
            subject=subject,
            grade="E3",
            method="TEST",
            producer="pilotage",
            collected=at,
            expires=0,
            passed=False,
            figures={**figures, "reason": reason, "checks": checks},
        )
        record(connection, mark)
    return checks


def marks_about(connection: Connection, subject: str) -> list[Evidence]:
    """Every such event about a subject, newest first."""
    return [each for each in for_subject(connection, subject) if each.check == CHECK]


def stale_reason(evidence: Evidence, marks: Iterable[Evidence]) -> str:
    """Why an event made this evidence stale; empty when none did since it was collected."""
    for mark in marks:
        if evidence.collected < mark.collected and evidence.check in mark.figures.get("checks", ()):
            return str(mark.figures.get("reason", "an event made it stale"))
    return ""
