"""What API and console tell of releases alike: which is live or yanked, what differs, the contract, the newest scan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection

from pilotage.contracts.comparing import Change, compare_contracts
from pilotage.contracts.model import DataContract
from pilotage.contracts.purposes import against_purpose
from pilotage.errors import NotFound, PilotageError
from pilotage.evidence.model import Evidence
from pilotage.evidence.store import latest
from pilotage.releases.diff import ReleaseDiff, diff_releases
from pilotage.releases.load import open_release
from pilotage.releases.model import Release
from pilotage.releases.scan.model import Scan
from pilotage.releases.scan.scanning import CHECK
from pilotage.releases.store import list_releases
from pilotage.releases.yanking import yanked
from pilotage.rollout.service import live
from pilotage.storage.database import reading
from pilotage.systems.store import find_system
from pilotage.wiring.installation import Installation
from pilotage.wiring.releases import found

__all__ = [
    "Compared",
    "ContractFacts",
    "basis",
    "compared",
    "contract_facts",
    "is_live",
    "newest_scan",
    "release_document",
    "release_documents",
    "scan_document",
]


@dataclass(frozen=True, kw_only=True)
class Compared:
    """Two releases and what differs in the second."""

    old: Release
    new: Release
    diff: ReleaseDiff


@dataclass(frozen=True, kw_only=True)
class ContractFacts:
    """The contract of a release; what changed in it since that of `old` (None where there is none to compare with).

    `uses` are the purposes that the system declares now, `beyond` the columns that it uses against theirs, with why.
    """

    contract: DataContract
    old: Release | None
    changes: list[Change]
    uses: list[str]
    beyond: dict[str, str]


def release_document(connection: Connection, release: Release, live_digest: str) -> dict[str, Any]:
    """A release as JSON: with its name, whether it is live, and since when and why it is yanked."""
    taken = yanked(connection, release.digest)
    return {
        **msgspec.to_builtins(release),
        "name": release.name,
        "live": release.digest == live_digest,
        "yanked": None if taken is None else {"at": taken.collected, "reason": taken.figures["reason"]},
    }


def release_documents(installation: Installation, system: str, limit: int) -> list[dict[str, Any]]:
    """The newest releases of a system, or of all. Raises NotFound for an unknown system."""
    with reading(installation.control) as connection:
        if system:
            find_system(connection, system)
        releases = list_releases(connection, system)[:limit]
    placed = {name: live(installation.control, name) for name in {each.system for each in releases}}
    digests = {name: each.release if each else "" for name, each in placed.items()}
    with reading(installation.control) as connection:
        return [release_document(connection, each, digests[each.system]) for each in releases]


def is_live(installation: Installation, release: Release) -> bool:
    """Whether it is the one in production."""
    placed = live(installation.control, release.system)
    return placed is not None and placed.release == release.digest


def basis(installation: Installation, release: Release, against: str = "") -> Release | None:
    """What to compare a release with: the one that is named, or that in production; None where no other is live."""
    if against:
        return found(installation, against)
    placed = live(installation.control, release.system)
    if placed is None or placed.release == release.digest:
        return None
    return found(installation, placed.release)


def compared(installation: Installation, ref: str, against: str = "") -> Compared:
    """What differs in a release from another, by default the one in production. Every byte of both is checked.

    Raises NotFound where no other is in production and none is named.
    """
    new = found(installation, ref)
    old = basis(installation, new, against)
    if old is None:
        raise NotFound(
            "there is nothing in production to compare this release with",
            got=new.name,
            expected="another live release of the system, or one that is named",
            mend="name a release with the parameter `against`",
        )
    opened = [open_release(installation.releases, each.digest) for each in (old, new)]
    return Compared(old=old, new=new, diff=diff_releases(*opened))


def contract_facts(installation: Installation, release: Release, against: str = "") -> ContractFacts:
    """The contract of a release beside that of another, by default the one in production."""
    contract = open_release(installation.releases, release.digest).contract
    old = basis(installation, release, against)
    changes = []
    if old is not None:
        changes = compare_contracts(open_release(installation.releases, old.digest).contract, contract)
    with reading(installation.control) as connection:
        uses = find_system(connection, release.system).data_use
    beyond = {
        str(fault["path"]).removeprefix("columns."): str(fault["message"]) for fault in against_purpose(contract, uses)
    }
    return ContractFacts(contract=contract, old=old, changes=changes, uses=list(uses), beyond=beyond)


def newest_scan(installation: Installation, release: Release) -> tuple[Evidence, Scan | None] | None:
    """The newest scan of a release's packages and the evidence of it, None without one.

    The scan itself is None where what was stored of it cannot be read: then the evidence has the counts.
    """
    with reading(installation.control) as connection:
        evidence = latest(connection, release.digest, CHECK)
    if evidence is None:
        return None
    try:
        return evidence, msgspec.json.decode(installation.objects.get(evidence.artefact), type=Scan)
    except (PilotageError, msgspec.MsgspecError):
        return evidence, None


def scan_document(installation: Installation, release: Release) -> dict[str, Any]:
    """The newest scan as JSON, with its evidence. Raises NotFound without one."""
    known = newest_scan(installation, release)
    scan = None if known is None else known[1]
    if known is None or scan is None:
        raise NotFound(
            "the packages of this release were not scanned" if known is None else "what the scan found is not there",
            got=release.name,
            mend=f"pilotage release scan {release.name} --advisories FILE",
        )
    facts = {"evidence": known[0].id, "expires": known[0].expires, "passed": scan.passed, "counts": scan.counts}
    return {**facts, **msgspec.to_builtins(scan)}
