"""The archive of a release: a tar file whose first entry, signed, names every other by size and digest.

    archive.dsse.json     in-toto Statement in DSSE: its subjects are all entries below; signed by who exports
    keys.txt              the verifier keys of the exporting installation, one a line
    release/...           manifest and files of the release
    rows/sealed, rows/box the reference rows, encrypted: under the key of the installation, or to a receiver's key
    signature.dsse.json   the release's signature (and source.dsse.json, where the release itself was imported)
    evidence/<id>.dsse.json

The same release with the same evidence gives the same bytes. Rows of people are never in it in clear.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Literal

import msgspec

from pilotage.errors import Conflict, InputError, Refused
from pilotage.evidence.model import Evidence
from pilotage.evidence.statements import evidence_statement
from pilotage.kernel.digests import digest, file_digest, short
from pilotage.kernel.sealedbox import seal
from pilotage.ledger.envelope import sign_statement, statement
from pilotage.ledger.keyring import Keyring
from pilotage.releases.load import LoadedRelease
from pilotage.releases.model import MANIFEST
from pilotage.releases.sealed_rows import ROWS, SEALED_ROWS, open_rows, rows_key
from pilotage.releases.signature import release_subject, signature_path, source_path
from pilotage.releases.tar import BLOCK, end_tar, write_header

__all__ = [
    "ARCHIVE",
    "BOX",
    "INDEX",
    "KEYS",
    "SEALED",
    "SIGNATURE",
    "SOURCE",
    "ArchiveFacts",
    "Exported",
    "rows_context",
    "write_archive",
]

ARCHIVE = "urn:pilotage:release-archive:v1"
INDEX, KEYS, SIGNATURE, SOURCE = "archive.dsse.json", "keys.txt", "signature.dsse.json", "source.dsse.json"
SEALED, BOX = "rows/sealed", "rows/box"


class ArchiveFacts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The predicate of an archive's first entry. `entries` are (name, bytes) in the order of the file."""

    format: Literal["pilotage-archive/1"] = "pilotage-archive/1"
    release: str
    system: str
    entries: list[tuple[str, int]]


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    """An archive that was written. `archive` is the digest of its first entry: it names all that is in it."""

    file: str
    archive: str
    bytes: int
    evidence: int
    rows: Literal["none", "sealed", "box"]


def rows_context(release: str) -> bytes:
    """What binds a box of reference rows to its release."""
    return f"release rows {release}".encode()


def write_archive(
    path: Path, *, loaded: LoadedRelease, evidence: Sequence[Evidence], keyring: Keyring, receiver: bytes = b""
) -> Exported:
    """Write the archive of an opened release, whole or not at all.

    `receiver` is the X25519 public key (32 bytes) of the installation that shall read the reference rows; without one
    they stay encrypted under this installation's key. Raises Refused without a signature, or for rows in clear that
    nobody shall receive; Conflict when there is such a file.
    """
    if loaded.signature is None:
        raise Refused(
            "the release is not signed",
            code="release_unsigned",
            mend=f"run: pilotage release sign {short(loaded.digest)}",
        )
    if path.exists():
        raise Conflict(f"{path} is there already", mend="name another file, or move that one away")
    entries = _entries(loaded, evidence, keyring, receiver)
    subjects = {release_subject(loaded.manifest): loaded.digest}
    subjects |= {name: each[1] for name, each in entries.items()}
    facts = ArchiveFacts(
        release=loaded.digest,
        system=loaded.manifest.system,
        entries=[(name, each[0]) for name, each in entries.items()],
    )
    index = sign_statement(keyring, statement(ARCHIVE, subjects, msgspec.to_builtins(facts)))
    size = _write(path, index, entries)
    rows: Literal["none", "sealed", "box"] = "sealed" if SEALED in entries else "box" if BOX in entries else "none"
    return Exported(file=str(path), archive=digest(index), bytes=size, evidence=len(evidence), rows=rows)


_Entry = tuple[int, str, Path | bytes]
"""Size, digest, and where the bytes are."""


def _entries(
    loaded: LoadedRelease, evidence: Sequence[Evidence], keyring: Keyring, receiver: bytes
) -> dict[str, _Entry]:
    releases, manifest = loaded.folder.parent, loaded.manifest
    found: dict[str, _Entry] = {KEYS: _of("".join(f"{vkey}\n" for vkey in keyring.vkeys).encode())}
    for name in (MANIFEST, *sorted(manifest.files)):
        if name != ROWS:
            found[f"release/{name}"] = _of(loaded.folder / name)
    if ROWS in manifest.files:
        found |= _rows(loaded, keyring, receiver)
    found[SIGNATURE] = _of(signature_path(releases, loaded.digest))
    source = source_path(releases, loaded.digest)
    if source.exists():
        found[SOURCE] = _of(source)
    for each in sorted(evidence, key=lambda one: one.id):
        said = evidence_statement(each, release_subject(manifest))
        found[f"evidence/{each.id}.dsse.json"] = _of(sign_statement(keyring, said))
    return found


def _of(content: Path | bytes) -> _Entry:
    if isinstance(content, bytes):
        return len(content), digest(content), content
    return content.stat().st_size, file_digest(content), content


def _rows(loaded: LoadedRelease, keyring: Keyring, receiver: bytes) -> dict[str, _Entry]:
    sealed, key = loaded.folder / SEALED_ROWS, rows_key(keyring)
    in_clear = (loaded.folder / ROWS).is_file()
    if not receiver:
        if in_clear:
            raise Refused(
                "the reference rows of this release lie here in clear, and never leave so",
                code="rows_in_clear",
                mend="encrypt them (pilotage release seal), or export to a receiver: --to KEY",
            )
        return {SEALED: _of(sealed)}
    if len(receiver) != 32:
        raise InputError(
            "not a receiver's key",
            got=f"{len(receiver)} bytes",
            expected="the 64 hexadecimal digits of an X25519 key",
            mend="ask the receiver for what `pilotage keys show` prints as `steward`",
        )
    entry = loaded.manifest.files[ROWS]
    rows = (loaded.folder / ROWS).read_bytes() if in_clear else open_rows(key, sealed.read_bytes(), entry.digest)
    bound = rows_context(loaded.digest) + receiver + entry.digest.encode()
    once = hashlib.blake2b(bound, key=key, digest_size=32).digest()
    return {BOX: _of(seal(receiver, rows, rows_context(loaded.digest), once))}


def _write(path: Path, index: bytes, entries: dict[str, _Entry]) -> int:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:60]}-")
    try:
        with os.fdopen(handle, "wb") as file:
            for each, entry in {INDEX: _of(index), **entries}.items():
                _add(file, each, entry)
            end_tar(file, file.tell())
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
        os.link(name, path)
    except FileExistsError:
        raise Conflict(f"{path} is there already", mend="name another file, or move that one away") from None
    finally:
        Path(name).unlink(missing_ok=True)
    return size


def _add(file: BinaryIO, name: str, entry: _Entry) -> None:
    size, _, content = entry
    write_header(file, name, size)
    if isinstance(content, bytes):
        file.write(content)
    else:
        with content.open("rb") as source:
            shutil.copyfileobj(source, file, 1 << 20)
    file.write(bytes(-size % BLOCK))
