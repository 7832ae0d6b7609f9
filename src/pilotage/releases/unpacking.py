"""Read an archive as a stream: nothing is believed that its signed first entry does not name, in order, to the byte."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import msgspec

from pilotage.errors import InputError, IntegrityError, Refused
from pilotage.evidence.model import Evidence
from pilotage.evidence.statements import evidence_in
from pilotage.kernel.digests import digest
from pilotage.ledger.envelope import MAX_ENVELOPE, Opened, open_envelope
from pilotage.ledger.notes import parse_vkey
from pilotage.releases.archive import ARCHIVE, BOX, INDEX, KEYS, SEALED, SIGNATURE, SOURCE, ArchiveFacts
from pilotage.releases.model import MANIFEST, Manifest
from pilotage.releases.sealed_rows import ROWS, SEALED_ROWS
from pilotage.releases.signature import release_subject, signature_in
from pilotage.releases.tar import entries_end, next_entry, pieces

__all__ = ["MAX_BYTES", "MAX_ENTRIES", "Unpacked", "unpack"]

MAX_ENTRIES = 4_096
MAX_BYTES = 16 << 30
"""Of all entries together."""

_MAX_KEPT = 256 << 20
"""Of all that is held in memory: everything but the files of the release."""

_NAMES = re.compile(
    r"keys\.txt|signature\.dsse\.json|source\.dsse\.json|rows/(?:sealed|box)"
    r"|release/[A-Za-z0-9][A-Za-z0-9._-]{0,90}|evidence/[0-9a-f-]{36}\.dsse\.json"
)
_MEND = "get the archive again from where it was exported"


@dataclass(frozen=True, kw_only=True)
class Unpacked:
    """An archive that holds: the release's files, without rows, in a draft folder, and all else in memory.

    `vkey` signed the archive, `archive` is the digest of its first entry. `rows` is the entry of encrypted rows, if
    there is one, with its name.
    """

    vkey: str
    archive: str
    manifest: Manifest
    release: str
    rows: tuple[str, bytes] | None
    signature: bytes
    evidence: list[Evidence]


def unpack(stream: BinaryIO, draft: Path, trusted: Collection[str]) -> Unpacked:
    """Unpack an archive that one of the `trusted` verifier keys signed; the release's files go to the folder `draft`.

    Raises Refused (code `archive_untrusted`, naming the key) before anything is unpacked, InputError for a file that
    is no archive, IntegrityError for one that was changed.
    """
    index, opened = _index(stream, trusted)
    facts = _facts(opened)
    subjects = opened.subjects
    kept: dict[str, bytes] = {}
    for name, size in facts.entries:
        info = next_entry(stream)
        if info is None or (info.name, info.size) != (name, size):
            got = "the end" if info is None else f"{info.name[:100]}, {info.size} bytes"
            raise _changed("the archive holds another entry than its index says", got, f"{name}, {size} bytes")
        content = pieces(stream, size)
        got = (
            _to_file(draft / name.removeprefix("release/"), content)
            if _of_release(name)
            else _keep(kept, name, content)
        )
        if got != subjects[name]:
            raise _changed(f"{name} of the archive was changed", got, subjects[name])
    if (more := next_entry(stream)) is not None:
        raise _changed("the archive holds more than its index says", more.name[:100], "the end")
    entries_end(stream)
    return _checked(opened, digest(index), facts, subjects, kept, draft)


def _index(stream: BinaryIO, trusted: Collection[str]) -> tuple[bytes, Opened]:
    info = next_entry(stream)
    if info is None or info.name != INDEX or info.size > MAX_ENVELOPE:
        got = "an empty file" if info is None else f"{info.name[:100]}, {info.size} bytes"
        raise InputError("the file is no archive of a release", got=got, expected=f"{INDEX} first", mend=_MEND)
    content = b"".join(pieces(stream, info.size))
    opened = open_envelope(content, INDEX)
    if opened.vkey not in trusted:
        raise Refused(
            "the archive is from an installation that is not trusted here",
            got=opened.vkey,
            expected="a key of this installation, or one that you trust",
            code="archive_untrusted",
            mend="compare the key with its owner's by another way, then: --trust KEY",
        )
    return content, opened


def _facts(opened: Opened) -> ArchiveFacts:
    try:
        facts = msgspec.convert(opened.predicate, ArchiveFacts)
    except msgspec.ValidationError as error:
        raise InputError("the archive's index cannot be read", got=error, mend="use the same version") from None
    names = [name for name, _ in facts.entries]
    wrong = [name for name in names if not _NAMES.fullmatch(name) or name not in opened.subjects]
    if wrong or len(set(names)) != len(names) or opened.statement.get("predicateType") != ARCHIVE:
        raise InputError("the archive's index is not well formed", got=", ".join(wrong)[:200] or "its type", mend=_MEND)
    sizes = [size for _, size in facts.entries]
    held = sum(size for name, size in facts.entries if not _of_release(name))
    for what, got, most in (
        ("entries", len(names), MAX_ENTRIES),
        ("bytes", sum(sizes), MAX_BYTES),
        ("bytes of signatures, rows and evidence", held, _MAX_KEPT),
    ):
        if got > most or min(sizes, default=0) < 0:
            raise InputError(f"the archive has too many {what}", got=got, expected=f"at most {most}", mend=_MEND)
    return facts


def _of_release(name: str) -> bool:
    return name.startswith("release/")


def _to_file(path: Path, content: Iterator[bytes]) -> str:
    found = hashlib.sha256()
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o400)
    with os.fdopen(handle, "wb") as file:
        for piece in content:
            found.update(piece)
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    return f"sha256:{found.hexdigest()}"


def _keep(kept: dict[str, bytes], name: str, content: Iterator[bytes]) -> str:
    kept[name] = b"".join(content)
    return digest(kept[name])


def _checked(
    opened: Opened, archive: str, facts: ArchiveFacts, subjects: dict[str, str], kept: dict[str, bytes], draft: Path
) -> Unpacked:
    """What the entries say must fit together, too: whoever signed the index may have been wrong."""
    with _complete():
        keys = {line for line in kept[KEYS].decode().splitlines() if parse_vkey(line)}
        content = (draft / MANIFEST).read_bytes()
        manifest = msgspec.json.decode(content, type=Manifest)
        files = {f"release/{name}": entry.digest for name, entry in manifest.files.items() if name != ROWS}
        there = {name: subjects[name] for name, _ in facts.entries if _of_release(name)}
        rows = [(name, kept[name]) for name in (SEALED, BOX) if name in kept]
        is_same = digest(content) == facts.release == subjects.get(release_subject(manifest))
        is_named = manifest.system == facts.system and there == files | {f"release/{MANIFEST}": digest(content)}
        if not is_same or not is_named or len(rows) != (ROWS in manifest.files) or SEALED_ROWS in manifest.files:
            raise ValueError("the entries are not those of the release")
        signature = signature_in(kept[SIGNATURE], SIGNATURE, facts.release, manifest, None)
        if signature.vkey not in keys:
            raise ValueError(f"the release is signed by a key that its installation does not name: {signature.vkey}")
        if SOURCE in kept:
            open_envelope(kept[SOURCE], SOURCE)
        evidence = [
            _evidence(name, content, opened.vkey, facts.release)
            for name, content in kept.items()
            if name.startswith("evidence/")
        ]
    return Unpacked(
        vkey=opened.vkey,
        archive=archive,
        manifest=manifest,
        release=facts.release,
        rows=rows[0] if rows else None,
        signature=kept[SIGNATURE],
        evidence=evidence,
    )


def _evidence(name: str, content: bytes, vkey: str, release: str) -> Evidence:
    found = evidence_in(open_envelope(content, name, [vkey]).statement)
    if found.subject != release or name != f"evidence/{found.id}.dsse.json":
        raise ValueError(f"{name} is about something else")
    return found


@contextmanager
def _complete() -> Iterator[None]:
    try:
        yield
    except (KeyError, ValueError, OSError, msgspec.MsgspecError) as error:
        raise _changed("the archive does not fit together", str(error)[:200], "a release with all its parts") from None


def _changed(what: str, got: str, expected: str) -> IntegrityError:
    return IntegrityError(what, got=got, expected=expected, code="archive_broken", mend=_MEND)
