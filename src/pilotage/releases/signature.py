"""The signature of a release: an in-toto Statement about every file of it, in a DSSE envelope beside its folder.

It is no part of the digest: the same inputs give the same release, whoever signs. It is written once. Its subjects are
the release's digest, every file of the manifest, and the file of encrypted rows as it lies here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Connection

from pilotage.errors import IntegrityError
from pilotage.kernel.digests import digest, file_digest
from pilotage.ledger.envelope import Opened, open_envelope, sign_statement, statement
from pilotage.ledger.keyring import Keyring
from pilotage.releases.model import Manifest, Release, folder_name
from pilotage.releases.sealed_rows import SEALED_ROWS
from pilotage.storage.objects import write_durably
from pilotage.storage.outbox import emit

__all__ = [
    "BUILD",
    "SIGNED",
    "SignatureFile",
    "note_signature",
    "read_signature",
    "release_subject",
    "sign_folder",
    "signature_in",
    "signature_path",
    "source_path",
]

BUILD = "urn:pilotage:release-build:v1"
"""The predicate type: what the release was built from and with."""

SIGNED = "release.signed"
"""The kind of the event. `facts`: {"signature": digest of the envelope, "key": verifier key}."""

_MEND = "restore the file from a backup; if nothing was restored wrongly, somebody changed it"


class SignatureFile(msgspec.Struct, frozen=True, kw_only=True):
    """A signature as it lies here: the digest of its bytes, the key that made it, and what it says.

    `imported` names the key of the installation that the release came from, with the digest of its archive; empty for
    a release that was built here.
    """

    digest: str
    vkey: str
    predicate: dict[str, Any]
    subjects: dict[str, str]

    @property
    def imported(self) -> dict[str, str]:
        """{"key": verifier key, "archive": digest} of a release from another installation."""
        return dict(self.predicate.get("imported", {}))


def signature_path(releases: Path, name: str) -> Path:
    """Where the signature of a release lies."""
    return releases / f"{folder_name(name)}.dsse.json"


def source_path(releases: Path, name: str) -> Path:
    """Where the signature lies that an imported release came with."""
    return releases / f"{folder_name(name)}.source.dsse.json"


def release_subject(manifest: Manifest) -> str:
    """The name of the subject that is the release itself."""
    return f"release {manifest.system}"


def sign_folder(
    releases: Path, name: str, manifest: Manifest, keyring: Keyring, imported: dict[str, str] | None = None
) -> tuple[SignatureFile, bool]:
    """Sign a release whose bytes were checked; the signature, and whether it is new. One that is there stays.

    Raises Unavailable when the keyring cannot sign, IntegrityError when the one that is there is broken.
    """
    path = signature_path(releases, name)
    if path.exists():
        return _required(read_signature(releases, name, manifest), path), False
    said = statement(BUILD, _subjects(releases, name, manifest), _predicate(manifest, imported))
    write_durably(path, sign_statement(keyring, said), mode=0o400)
    return _required(read_signature(releases, name, manifest), path), True


def note_signature(connection: Connection, release: Release, made: SignatureFile) -> None:
    """The event `release.signed`, in the caller's transaction."""
    facts = {"signature": made.digest, "key": made.vkey}
    emit(connection, SIGNED, system=release.system, release=release.digest, facts=facts)


def read_signature(releases: Path, name: str, manifest: Manifest) -> SignatureFile | None:
    """The signature of a release; None when there is none, as of releases that were built before they were signed.

    Raises IntegrityError when a byte of it changed, or when it is about another release or other files. Whether its
    key is to be believed is not looked at.
    """
    path = signature_path(releases, name)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    return signature_in(content, path.name, name, manifest, releases / folder_name(name) / SEALED_ROWS)


def signature_in(content: bytes, file: str, name: str, manifest: Manifest, sealed: Path | None) -> SignatureFile:
    """The signature in bytes, of the release `name`. `sealed` is the file of encrypted rows, where it is to be looked
    at."""
    opened = open_envelope(content, file)
    expected = {release_subject(manifest): name} | {each: entry.digest for each, entry in manifest.files.items()}
    got = dict(opened.subjects)
    told = got.pop(SEALED_ROWS, "")
    wrong = sorted(each for each in {*expected, *got} if expected.get(each) != got.get(each))
    if wrong or opened.statement.get("predicateType") != BUILD:
        raise IntegrityError(
            f"the signature {file} is of another release",
            got=f"other digests of {', '.join(wrong)}" if wrong else str(opened.statement.get("predicateType"))[:80],
            expected=f"the signature of {name}",
            code="signature_broken",
            mend=_MEND,
        )
    if told and sealed is not None and sealed.is_file() and file_digest(sealed) != told:
        raise _changed_rows(file_digest(sealed), told)
    return _signature(content, opened)


def _signature(content: bytes, opened: Opened) -> SignatureFile:
    return SignatureFile(digest=digest(content), vkey=opened.vkey, predicate=opened.predicate, subjects=opened.subjects)


def _subjects(releases: Path, name: str, manifest: Manifest) -> dict[str, str]:
    sealed = releases / folder_name(name) / SEALED_ROWS
    files = {each: entry.digest for each, entry in sorted(manifest.files.items())}
    rows = {SEALED_ROWS: file_digest(sealed)} if sealed.is_file() else {}
    return {release_subject(manifest): name, **files, **rows}


def _predicate(manifest: Manifest, imported: dict[str, str] | None) -> dict[str, Any]:
    return {
        "system": manifest.system,
        "runtime": manifest.runtime,
        "contract": manifest.contract,
        "policy": manifest.policy,
        "origin": {"artefact": manifest.origin.artefact, "data": manifest.origin.data},
        "environment": manifest.origin.environment,
        "builder": manifest.origin.builder,
        **({"imported": imported} if imported else {}),
    }


def _required(made: SignatureFile | None, path: Path) -> SignatureFile:
    if made is None:
        raise IntegrityError(f"the signature {path} is gone", mend=_MEND)
    return made


def _changed_rows(got: str, expected: str) -> IntegrityError:
    return IntegrityError(
        f"files of the release were changed: {SEALED_ROWS}",
        mend="restore the release's folder from a backup, or build the release again",
        faults=[
            {
                "path": SEALED_ROWS,
                "code": "integrity",
                "message": f"{got}, expected {expected}",
                "got": got,
                "expected": expected,
            }
        ],
    )
