"""What proves, carries and takes back releases of one installation: the use cases behind CLI, API and console."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pilotage.access.model import Person, require
from pilotage.evidence.model import Evidence
from pilotage.evidence.statements import evidence_statement
from pilotage.evidence.store import for_subject
from pilotage.kernel.digests import digest
from pilotage.kernel.sealedbox import key_id
from pilotage.ledger.envelope import sign_statement
from pilotage.releases.archive import Exported, write_archive
from pilotage.releases.load import open_release
from pilotage.releases.model import Release, folder_name
from pilotage.releases.model_signing import sign_model
from pilotage.releases.sealed_rows import rows_key
from pilotage.releases.signature import SIGNED, SignatureFile, note_signature, release_subject, sign_folder
from pilotage.releases.store import find_release
from pilotage.releases.verifying import Event, Verified, verify_release
from pilotage.releases.yanking import undo_yank, yank, yanked
from pilotage.replay.rebuilding import Progress, Rebuilt, prove_environment
from pilotage.storage.database import reading, writing
from pilotage.storage.outbox import emit, waiting
from pilotage.wiring.installation import Installation

__all__ = [
    "evidence_lines",
    "export",
    "folder_of",
    "found",
    "rebuild",
    "set_yank",
    "sign",
    "sign_for_hubs",
    "taken_back",
    "verify",
]

_MANY = 1_000_000


def found(installation: Installation, ref: str) -> Release:
    """The release that a reference names. Raises NotFound."""
    with reading(installation.control) as connection:
        return find_release(connection, ref)


def taken_back(installation: Installation, release: Release) -> str | None:
    """Why a release is yanked; None when it is not."""
    with reading(installation.control) as connection:
        evidence = yanked(connection, release.digest)
    return None if evidence is None else str(evidence.figures["reason"])


def verify(installation: Installation, ref: str, keys: Sequence[str] = ()) -> Verified:
    """Look at every byte of a release and at all that is on record about it.

    `keys` are the verifier keys to believe; none stands for all that this installation has or had.
    """
    release, keyring = found(installation, ref), installation.keyring
    with reading(installation.control) as connection:
        unsealed = [event for event in waiting(connection, _MANY) if event.release == release.digest]
    ledger = installation.ledger()
    sealed = [row for kind in ("release.registered", SIGNED) for row in ledger.events(kind, release.system, _MANY)]
    events: list[Event] = [*sorted(sealed, key=lambda row: row.leaf), *unsealed]
    # A row that was sealed while we looked is in both, and then says the same twice.
    with reading(installation.control) as connection:
        return verify_release(
            connection,
            installation.releases,
            release,
            trusted=keys or keyring.vkeys,
            events=events,
            rows_key=rows_key(keyring),
        )


def rebuild(
    installation: Installation, person: Person, ref: str, data: Path | None = None, progress: Progress | None = None
) -> Rebuilt:
    """Rebuild the environment of a release and ask it its evaluation set again, as evidence about it."""
    require(person, "release.build")
    loaded = open_release(installation.releases, found(installation, ref).digest)
    return prove_environment(
        installation.control, installation.objects, installation.environments, loaded, data, progress=progress
    )


def sign(installation: Installation, person: Person, ref: str) -> tuple[SignatureFile, bool]:
    """Sign a release that was built before releases were signed; the signature, and whether it is new."""
    require(person, "release.build")
    release = found(installation, ref)
    loaded = open_release(installation.releases, release.digest)
    made, new = sign_folder(installation.releases, release.digest, loaded.manifest, installation.keyring)
    if new:
        with writing(installation.control) as connection:
            note_signature(connection, release, made)
    return made, new


def folder_of(installation: Installation, ref: str) -> Path:
    """Where a release lies, once every byte of it was checked."""
    release = found(installation, ref)
    open_release(installation.releases, release.digest)
    return installation.releases / folder_name(release.digest)


def sign_for_hubs(installation: Installation, person: Person, ref: str, key: Path) -> tuple[Path, bytes]:
    """(folder, sigstore bundle) of a release, signed by a private key in a PEM file, on record."""
    require(person, "release.export")
    release, folder = found(installation, ref), folder_of(installation, ref)
    bundle = sign_model(folder, key)
    with writing(installation.control) as connection:
        emit(
            connection,
            "release.model_signed",
            system=release.system,
            release=release.digest,
            facts={"bundle": digest(bundle)},
            private={"by": person.id},
        )
    return folder, bundle


def evidence_lines(installation: Installation, ref: str) -> list[bytes]:
    """All evidence about a release, the oldest first, each as an in-toto Statement in a DSSE envelope."""
    release, keyring = found(installation, ref), installation.keyring
    loaded = open_release(installation.releases, release.digest)
    subject = release_subject(loaded.manifest)
    return [
        sign_statement(keyring, evidence_statement(each, subject)) for each in _evidence(installation, release)[::-1]
    ]


def export(installation: Installation, person: Person, ref: str, path: Path, receiver: bytes = b"") -> Exported:
    """Write a release's archive, on record. Who lets a receiver read reference rows must be one who may read payloads.

    Raises Forbidden, and what `write_archive` does.
    """
    require(person, "release.export")
    if receiver:
        require(person, "decision.read_payload")
    release = found(installation, ref)
    loaded = open_release(installation.releases, release.digest)
    evidence = _evidence(installation, release)
    made = write_archive(path, loaded=loaded, evidence=evidence, keyring=installation.keyring, receiver=receiver)
    facts = {"archive": made.archive, "rows": made.rows, "receiver": key_id(receiver) if receiver else ""}
    with writing(installation.control) as connection:
        emit(
            connection,
            "release.exported",
            system=release.system,
            release=release.digest,
            facts=facts,
            private={"by": person.id},
        )
    return made


def set_yank(installation: Installation, person: Person, ref: str, reason: str, *, undo: bool = False) -> Evidence:
    """Yank a release, or undo it."""
    with writing(installation.control) as connection:
        release = find_release(connection, ref)
        return (undo_yank if undo else yank)(connection, person, release, reason)


def _evidence(installation: Installation, release: Release) -> list[Evidence]:
    with reading(installation.control) as connection:
        return for_subject(connection, release.digest)
