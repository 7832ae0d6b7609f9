"""What only a system's owner can write in its papers, and what its packages must keep to."""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = ["PackageRules", "PaperWords", "Severity", "paper_faults"]

Severity = Literal["low", "medium", "high", "critical"]
_MOST_TEXT = 5_000
_MOST_DAYS = 365


class PaperWords(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The parts of model card, system card and data sheet that nobody can measure; left out, they are "not stated"."""

    intended_use: str = ""
    out_of_scope: str = ""
    limitations: str = ""
    ethical_considerations: str = ""
    human_oversight: str = ""
    data_collection: str = ""
    contact: str = ""


class PackageRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the packages of a release's environment must keep to; judged by `pilotage release scan`.

    `allowed` and `denied` are SPDX identifiers; with `allowed`, any other is denied. A vulnerability from severity
    `fail_from` on fails the scan, and one of no known severity. A database older than `days` proves nothing.
    `accepted` are advisories or packages that somebody looked at, each with the reason.
    """

    allowed: list[str] = []
    denied: list[str] = []
    fail_from: Severity = "high"
    days: int = 7
    accepted: dict[str, str] = {}


def paper_faults(words: PaperWords, rules: PackageRules) -> list[tuple[str, str, object, str]]:
    """Faults of both sections: (path, what, got, mend)."""
    faults: list[tuple[str, str, object, str]] = [
        (f"paper.{name}", "is too long", f"{len(text)} characters", f"at most {_MOST_TEXT} characters")
        for name, text in msgspec.structs.asdict(words).items()
        if len(text) > _MOST_TEXT
    ]
    if not 1 <= rules.days <= _MOST_DAYS:
        faults.append(("packages.days", "is out of range", rules.days, f"1 to {_MOST_DAYS} days"))
    both = sorted(set(rules.allowed) & set(rules.denied))
    if both:
        faults.append(("packages.denied", "is allowed too", ", ".join(both), "name each in one list"))
    faults += [
        (f"packages.accepted.{name}", "gives no reason", "", "say who looked at it, and why it may stay")
        for name, why in rules.accepted.items()
        if not why.strip()
    ]
    return faults
