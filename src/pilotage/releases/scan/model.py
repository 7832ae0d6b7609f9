"""What a scan of a release's packages found. Times are Unix microseconds."""

from __future__ import annotations

from typing import Literal

import msgspec

from pilotage.releases.scan.licences import Ruling

__all__ = ["Database", "Finding", "PackageVerdict", "Scan", "Severity", "State"]

Severity = Literal["low", "medium", "high", "critical", "unknown"]
State = Literal["clean", "vulnerable", "unknown"]


class Database(msgspec.Struct, frozen=True, kw_only=True):
    """A set of advisories. `as_of` is when the newest of them was changed; 0: nobody can tell.

    `whole`: it is an export of all that is known of an ecosystem, so that a package it does not name has no advisory.
    """

    source: str
    digest: str
    form: Literal["osv", "pip-audit", "none"]
    records: int
    packages: int
    as_of: int
    whole: bool


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One advisory that a package's version is in the range of; `accepted` is the declared reason to live with it."""

    id: str
    aliases: tuple[str, ...] = ()
    severity: Severity = "unknown"
    summary: str = ""
    fixed_in: tuple[str, ...] = ()
    accepted: str = ""


class PackageVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """A package of the lock: its licence and what the policy says of it, and whether it is known to be vulnerable."""

    name: str
    version: str
    licence: str
    licence_source: str
    ruling: Ruling
    state: State
    why: str = ""
    findings: tuple[Finding, ...] = ()
    accepted: str = ""


class Scan(msgspec.Struct, frozen=True, kw_only=True):
    """The whole result. `missing` says why it did not pass; `review` what a person should look at and fails nothing."""

    release: str
    lock: str
    at: int
    database: Database
    packages: tuple[PackageVerdict, ...]
    missing: tuple[str, ...]
    review: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether every package is known to be clean, or accepted, and every licence within the policy."""
        return not self.missing

    @property
    def counts(self) -> dict[str, int]:
        """Packages by state, and licences by ruling."""
        told = {f"packages_{name}": 0 for name in ("clean", "vulnerable", "unknown")}
        told |= {f"licences_{name}": 0 for name in ("allowed", "review", "denied", "unknown")}
        for each in self.packages:
            told[f"packages_{each.state}"] += 1
            told[f"licences_{each.ruling}"] += 1
        return told
