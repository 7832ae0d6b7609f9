"""Bring a release from another installation: nothing of it is visible before all of it was checked.

The folder is unpacked beside its place, checked, and renamed into it; registry row, events and evidence are one
transaction after that. Killed anywhere, the import is simply run again: what was left half-made is removed first.

What is imported and counts (docs/decisions/0013): evidence that was measured, with where it came from; a yank. What
people attested elsewhere, and approvals, do not travel: four eyes look here again.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec
from sqlalchemy import Connection, Engine

from pilotage.errors import Conflict, InputError, IntegrityError, NotFound, Refused
from pilotage.evidence.model import Evidence
from pilotage.evidence.store import content_digest, find, record
from pilotage.kernel.clock import now_us
from pilotage.kernel.digests import digest
from pilotage.kernel.sealedbox import open_box
from pilotage.ledger.keyring import Keyring
from pilotage.ledger.notes import parse_vkey
from pilotage.releases.archive import BOX, rows_context
from pilotage.releases.load import LoadedRelease, open_folder, open_release
from pilotage.releases.model import folder_name
from pilotage.releases.sealed_rows import ROWS, SEALED_ROWS, open_rows, rows_key, seal_rows
from pilotage.releases.signature import SignatureFile, note_signature, sign_folder, source_path
from pilotage.releases.store import is_registered, register
from pilotage.releases.unpacking import Unpacked, unpack
from pilotage.releases.yanking import YANKED
from pilotage.storage.database import writing
from pilotage.storage.objects import write_durably
from pilotage.storage.outbox import emit
from pilotage.systems.model import AISystem
from pilotage.systems.store import TIERS, declare_system, find_system

__all__ = ["IMPORTED", "Imported", "import_release"]

IMPORTED = "release.imported"
"""The kind of the event. `facts`: {"key": whose archive, "archive": its digest, "evidence": how much was taken}."""

_DRAFT = ".import-"
_AHEAD = 300_000_000
"""Microseconds that another installation's clock may be ahead."""


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """What an import did. `evidence` was taken; `attested` is how much people had said elsewhere, which was not."""

    release: str
    name: str
    new: bool
    key: str
    archive: str
    evidence: int
    attested: int
    declared: bool


def import_release(
    stream: BinaryIO,
    *,
    releases: Path,
    control: Engine,
    keyring: Keyring,
    by: str,
    trust: Collection[str] = (),
    tell: Callable[[str, float], None] = lambda _step, _share: None,
) -> Imported:
    """Import the archive in a stream. `by` is the person who does; they count as its author and may not approve it.

    `trust` are verifier keys to believe besides this installation's own. Raises Refused (`archive_untrusted`; a
    declaration of a higher risk tier than this installation's; rows for another receiver), InputError,
    IntegrityError, Conflict when another import is under way.
    """
    for vkey in trust:
        parse_vkey(vkey)
    with _draft(releases) as draft:
        tell("unpacking and checking", 0.1)
        found = unpack(stream, draft, [*keyring.vkeys, *trust])
        tell("checking the release", 0.6)
        _add_rows(draft, found, keyring)
        loaded = open_folder(draft, found.release)
        system = _system(loaded)
        with writing(control) as connection:
            _keep_tier(connection, system)
        tell("registering", 0.8)
        _place(releases, draft, found.release)
        signature = _sign(releases, found, loaded, keyring)
        with writing(control) as connection:
            made = _register(connection, found, system, signature, by)
    tell("done", 1.0)
    return made


@contextmanager
def _draft(releases: Path) -> Iterator[Path]:
    """An empty folder beside the releases, for one import at a time; what killed ones left is removed."""
    releases.mkdir(parents=True, exist_ok=True)
    with (releases / ".import.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict("another import is under way", mend="wait for it, then try again") from None
        for left in releases.glob(f"{_DRAFT}*"):
            _remove(left)
        draft = Path(tempfile.mkdtemp(dir=releases, prefix=_DRAFT))
        try:
            yield draft
        finally:
            _remove(draft)


def _remove(folder: Path) -> None:
    if folder.is_dir():
        folder.chmod(0o700)
        shutil.rmtree(folder)


def _add_rows(draft: Path, found: Unpacked, keyring: Keyring) -> None:
    """Open the reference rows with the key that they were sealed to, and encrypt them under this installation's."""
    if found.rows is None:
        return
    name, content = found.rows
    entry, key = found.manifest.files[ROWS], rows_key(keyring)
    rows = _opened_box(content, found.release, keyring) if name == BOX else _opened_rows(content, entry.digest, key)
    if digest(rows) != entry.digest:
        raise IntegrityError(
            "the archive's reference rows are others", got=digest(rows), expected=entry.digest, mend="export it again"
        )
    path = draft / SEALED_ROWS
    path.write_bytes(seal_rows(key, rows))
    path.chmod(0o400)
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _opened_rows(content: bytes, name: str, key: bytes) -> bytes:
    try:
        return open_rows(key, content, name)
    except IntegrityError:
        raise _not_for_us("they are encrypted under the key of the installation that built it") from None


def _opened_box(box: bytes, release: str, keyring: Keyring) -> bytes:
    for private in keyring.stewards:
        try:
            return open_box(private, box, rows_context(release))
        except IntegrityError:
            continue
    raise _not_for_us("they are sealed to another receiver")


def _not_for_us(why: str) -> Refused:
    return Refused(
        "the reference rows in the archive cannot be read here",
        got=why,
        code="rows_for_others",
        mend="have it exported with --to KEY, where KEY is what `pilotage keys show` prints here as `steward`",
    )


def _system(loaded: LoadedRelease) -> AISystem:
    """The declaration in the release. Raises InputError when the manifest says other than the files."""
    system, manifest = loaded.system(), loaded.manifest
    told = (manifest.system, manifest.contract, manifest.policy, manifest.runtime)
    said = (system.id, loaded.contract.digest(), digest(loaded.file("serving.json")), loaded.serving.runtime)
    if told != said:
        raise InputError("the manifest says other than the files", got=told, expected=said, mend="export it again")
    return system


def _keep_tier(connection: Connection, system: AISystem) -> None:
    """The declaration that is here stays. One of a lower tier would judge the release by a weaker gate."""
    try:
        here = find_system(connection, system.id)
    except NotFound:
        return
    if TIERS.index(here.risk_tier) < TIERS.index(system.risk_tier):
        raise Refused(
            f"the release declares {system.id} at a higher risk tier than this installation does",
            got=system.risk_tier,
            expected=f"{here.risk_tier} or lower",
            code="tier_higher",
            mend=f"declare the system here at {system.risk_tier} first: pilotage system declare",
        )


def _place(releases: Path, draft: Path, name: str) -> None:
    place = releases / folder_name(name)
    if place.exists():
        open_release(releases, name)
        return
    _sync(draft)
    draft.chmod(0o500)
    draft.rename(place)
    _sync(releases)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sign(releases: Path, found: Unpacked, loaded: LoadedRelease, keyring: Keyring) -> SignatureFile:
    """This installation's signature, which says from where the release came; beside it the one that it came with."""
    source = source_path(releases, found.release)
    imported = {"key": found.vkey, "archive": found.archive, "signature": digest(found.signature)}
    if not source.exists():
        write_durably(source, found.signature, mode=0o400)
    elif digest(source.read_bytes()) != imported["signature"]:
        imported["signature"] = digest(source.read_bytes())
    made, _ = sign_folder(releases, found.release, loaded.manifest, keyring, imported)
    return made


def _register(connection: Connection, found: Unpacked, system: AISystem, signature: SignatureFile, by: str) -> Imported:
    new = not is_registered(connection, found.release)
    declared = _declare(connection, system, by)
    release = register(connection, found.release, found.manifest, author=by)
    if new:
        note_signature(connection, release, signature)
    taken = [each for each in found.evidence if each.method == "TEST" or each.check == YANKED]
    count = sum(_take(connection, each, found.vkey) for each in taken)
    facts = {"key": found.vkey, "archive": found.archive, "evidence": count}
    emit(connection, IMPORTED, system=release.system, release=release.digest, facts=facts, private={"by": by})
    return Imported(
        release=release.digest,
        name=release.name,
        new=new,
        key=found.vkey,
        archive=found.archive,
        evidence=count,
        attested=len(found.evidence) - len(taken),
        declared=declared,
    )


def _declare(connection: Connection, system: AISystem, by: str) -> bool:
    try:
        find_system(connection, system.id)
    except NotFound:
        declare_system(connection, system, by=by)
        return True
    _keep_tier(connection, system)
    return False


def _take(connection: Connection, each: Evidence, vkey: str) -> bool:
    """Record evidence with its origin; what is here already stays. Its raw result stays where it was made."""
    now = now_us()
    if each.collected > now + _AHEAD:
        raise InputError(
            f"the archive's evidence for {each.check} is from the future",
            got=each.collected,
            expected=f"at most {now}",
            mend="set the clocks of both machines",
        )
    if find(connection, each.id) is not None:
        return False
    origin = {"key": vkey, "digest": content_digest(each), "producer": each.producer}
    producer = f"{parse_vkey(vkey)[0][0]}: {each.producer}"[:128]
    named = msgspec.structs.replace(each, producer=producer, artefact="", figures={**each.figures, "imported": origin})
    record(connection, named, at=now)
    return True
