"""Is a release what it was? Every file, the manifest, the signature and whose key it is, its row and the events."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Literal, Protocol

import msgspec
from sqlalchemy import Connection

from pilotage.errors import IntegrityError, PilotageError
from pilotage.kernel.digests import digest
from pilotage.ledger.envelope import open_envelope
from pilotage.releases.load import LoadedRelease, open_release
from pilotage.releases.model import Release
from pilotage.releases.signature import SIGNED, source_path
from pilotage.releases.store import releases_table
from pilotage.storage.witness import Attesting, changed_rows

__all__ = ["Event", "Fault", "SignatureState", "Verified", "signature_state", "verify_release"]

SignatureState = Literal["signed", "missing", "broken", "untrusted"]


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is not as it was: a file, or a part such as `signature` or `registry`."""

    path: str
    what: str
    got: str = ""
    expected: str = ""


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """What was found of a release. `key` signed it; `imported` says from where it came, if it was not built here.

    `event` is whether an event, sealed or about to be, attests its row. It holds when there is no fault.
    """

    release: str
    name: str
    files: int
    bytes: int
    signature: SignatureState
    key: str = ""
    imported: dict[str, str] = {}
    event: bool = False
    rows: Literal["none", "clear", "opened", "closed"] = "none"
    faults: list[Fault] = []

    @property
    def holds(self) -> bool:
        """Whether everything is as it was."""
        return not self.faults


class Event(Attesting, Protocol):
    """What is read of an event, as the ledger and the outbox hold it."""

    @property
    def kind(self) -> str: ...
    @property
    def release(self) -> str: ...


def verify_release(
    connection: Connection,
    releases: Path,
    release: Release,
    *,
    trusted: Collection[str],
    events: Iterable[Event],
    rows_key: bytes,
) -> Verified:
    """Look at every byte of a release and at what is on record about it; each fault is named, none is raised.

    `trusted` are the verifier keys of this installation, or those that the caller believes. `events` are the ledger's
    about this release and then those waiting, the oldest first. `rows_key` opens its reference rows.
    """
    known = [event for event in events if event.release == release.digest]
    faults = [
        Fault(path="registry", what=f"its row was {row.what}", got=row.got, expected=row.expected)
        for row in changed_rows(connection, [releases_table], known)
        if row.key == release.digest
    ]
    event = any(each.kind == "release.registered" for each in known)
    try:
        loaded = open_release(releases, release.digest)
    except PilotageError as error:
        return Verified(
            release=release.digest,
            name=release.name,
            files=0,
            bytes=0,
            signature="broken" if error.code == "signature_broken" else "missing",
            event=event,
            faults=[*_faults(error), *faults],
        )
    signature = signature_state(loaded, trusted)
    rows, of_rows = _rows(loaded, rows_key)
    faults += [*of_rows, *_signature_faults(releases, loaded, trusted, signature, known)]
    return Verified(
        release=release.digest,
        name=release.name,
        files=len(loaded.manifest.files) + 1,
        bytes=sum(entry.bytes for entry in loaded.manifest.files.values()),
        signature=signature,
        key=loaded.signature.vkey if loaded.signature else "",
        imported=loaded.signature.imported if loaded.signature else {},
        event=event,
        rows=rows,
        faults=faults,
    )


def signature_state(loaded: LoadedRelease, trusted: Collection[str]) -> SignatureState:
    """How an opened release is signed; an opened one is never `broken`."""
    if loaded.signature is None:
        return "missing"
    return "signed" if loaded.signature.vkey in trusted else "untrusted"


def _faults(error: PilotageError) -> list[Fault]:
    named = [
        Fault(
            path=str(each["path"]),
            what=str(each["message"]).partition(", expected")[0] if "got" not in each else "was changed",
            got=str(each.get("got", "")),
            expected=str(each.get("expected", "")),
        )
        for each in error.faults
    ]
    path = "signature" if error.code == "signature_broken" else "manifest.json"
    return named or [Fault(path=path, what=error.what, got=str(error.got or ""), expected=str(error.expected or ""))]


def _rows(loaded: LoadedRelease, key: bytes) -> tuple[Literal["none", "clear", "opened", "closed"], list[Fault]]:
    """Reference rows are looked at by opening them: their digest is of what they hold."""
    try:
        if not loaded.background(key):
            return "none", []
    except IntegrityError as error:
        return "closed", [Fault(path="background.json.sealed", what=error.what, expected=str(error.expected or ""))]
    return ("clear" if (loaded.folder / "background.json").is_file() else "opened"), []


def _signature_faults(
    releases: Path, loaded: LoadedRelease, trusted: Collection[str], state: SignatureState, known: Iterable[Event]
) -> list[Fault]:
    told = [event.facts for event in known if event.kind == SIGNED]
    if loaded.signature is None:
        lost = [Fault(path="signature", what="is gone", expected=str(told[-1].get("signature")))] if told else []
        return lost or [Fault(path="signature", what="is missing; pilotage release sign adds it")]
    faults = []
    if state == "untrusted":
        what = "is of a key that is not trusted here"
        faults.append(Fault(path="signature", what=what, got=loaded.signature.vkey, expected=", ".join(trusted)))
    expected = str(told[-1].get("signature")) if told else "an event that tells of it"
    if loaded.signature.digest != expected:
        what = "is not the one on record"
        faults.append(Fault(path="signature", what=what, got=loaded.signature.digest, expected=expected))
    return faults + _source_faults(source_path(releases, loaded.digest), loaded.signature.imported)


def _source_faults(path: Path, imported: dict[str, str]) -> list[Fault]:
    if not imported.get("signature"):
        return []
    try:
        content = path.read_bytes()
        open_envelope(content, path.name)
        got = digest(content)
    except (OSError, IntegrityError) as error:
        got = str(error).split("\n")[0]
    expected = imported["signature"]
    return [] if got == expected else [Fault(path=path.name, what="was changed", got=got, expected=expected)]
