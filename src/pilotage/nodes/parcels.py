"""Journals that travel by hand: an edge node exports a tar file, the steward's side imports it and makes a receipt.

manifest.json     node, instance and files with sizes and SHA-256, signed by the node (manifest.sig, Ed25519)
<worker>-<n>.log  whole frames from the file's beginning to where its good frames ended
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidSignature

from pilotage.errors import Conflict, InputError, IntegrityError
from pilotage.ledger.frames import parse_header
from pilotage.ledger.intake import Position
from pilotage.nodes.certificates import key_from_pem, public_key
from pilotage.nodes.copies import Copy, CopyFolder, walk
from pilotage.nodes.model import FileState, Identity, Node, Place
from pilotage.nodes.serving import JournalShelf

__all__ = ["Imported", "Receipt", "acknowledge", "export_journal", "import_journal", "manifest_node", "receipt_text"]

_MANIFEST_BYTES, _FILE_BYTES = 4 << 20, 1 << 30


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    worker: int
    n: int
    size: int
    finished: bool
    sha256: str

    @property
    def name(self) -> str:
        return f"{self.worker}-{self.n}.log"


class _Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    version: int = 1
    node: str
    instance: str
    at: int
    files: list[_Part]


class Receipt(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is on the steward's disk of a node's journal: the end of each file, by `worker-n`."""

    node: str
    instance: str
    at: int
    files: dict[str, Place]


class _SignedReceipt(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    receipt: str
    signature: bytes


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What an import did: bytes that were new, and the receipt."""

    new_bytes: int
    receipt: Receipt


def export_journal(
    folder: Path, identity: Identity, to: Path, at: int, progress: Callable[[int, int], None] = lambda done, all_: None
) -> int:
    """Write the whole journal of an edge node, as far as it is on the disk; how many files."""
    shelf = JournalShelf(folder / identity.name, identity)
    files = [file for file in shelf.listing().files if file.size]
    parts = [_part(folder / identity.name, file) for file in files]
    manifest = msgspec.json.encode(_Manifest(node=identity.name, instance=identity.instance, at=at, files=parts))
    signature = key_from_pem(identity.key).sign(manifest)
    fresh = to.with_name(f".{to.name}.new")
    with tarfile.open(fresh, "w") as tar:
        _add(tar, "manifest.json", manifest)
        _add(tar, "manifest.sig", signature)
        for count, part in enumerate(parts, 1):
            _add(tar, part.name, _beginning(folder / identity.name / part.name, part.size))
            progress(count, len(parts))
    fresh.chmod(0o600)
    fresh.replace(to)
    return len(parts)


def import_journal(
    source: Path,
    node: Node,
    copies: CopyFolder,
    known: Mapping[str, Position],
    at: int,
    progress: Callable[[int, int], None] = lambda done, all_: None,
) -> Imported:
    """Add what is new in an exported file to the copies here. Again, or after an interruption, it does the rest.

    Raises IntegrityError naming the part that was changed, or that differs from what is here; files before it stay.
    """
    held, places, new = copies.held(), {}, 0
    with _opened(source) as tar:
        manifest = _manifest(tar, node, source)
        for count, part in enumerate(manifest.files, 1):
            content = _member(tar, part.name, part.size, source)
            if hashlib.sha256(content).hexdigest() != part.sha256:
                raise _changed(source, f"{part.name} was changed")
            place, added = _take(part, content, copies, held, known.get(f"{node.name}/{part.worker}-{part.n}"), source)
            places[f"{part.worker}-{part.n}"], new = place, new + added
            progress(count, len(manifest.files))
    return Imported(new_bytes=new, receipt=Receipt(node=node.name, instance=manifest.instance, at=at, files=places))


def manifest_node(source: Path) -> str:
    """The node that an exported file says it is of: not yet proven."""
    with _opened(source) as tar:
        try:
            return msgspec.json.decode(_member(tar, "manifest.json", None, source), type=_Manifest).node
        except msgspec.MsgspecError as error:
            raise _changed(source, "its manifest cannot be read") from error


def receipt_text(receipt: Receipt, reader_key: str) -> bytes:
    """The receipt, signed with the steward's key: what `acknowledge` takes."""
    text = msgspec.json.encode(receipt)
    signature = key_from_pem(reader_key).sign(b"pilotage receipt\n" + text)
    return msgspec.json.encode(_SignedReceipt(receipt=text.decode(), signature=signature))


def acknowledge(folder: Path, identity: Identity, content: bytes) -> tuple[list[str], list[str]]:
    """Delete the files that a receipt covers; (deleted, kept: they grew or are in use). Raises IntegrityError."""
    try:
        signed = msgspec.json.decode(content, type=_SignedReceipt)
        text = signed.receipt.encode()
        public_key(identity.reader).verify(signed.signature, b"pilotage receipt\n" + text)
        receipt = msgspec.json.decode(text, type=Receipt)
    except (msgspec.MsgspecError, UnicodeError, InvalidSignature) as error:
        raise IntegrityError(
            "this is no receipt of this node's steward: nothing was deleted",
            code="receipt_broken",
            mend="fetch the receipt again that pilotage journal import wrote",
        ) from error
    if (receipt.node, receipt.instance) != (identity.name, identity.instance):
        raise InputError(
            "this receipt is for another node", got=receipt.node, expected=identity.name, mend="use this node's own"
        )
    shelf, deleted, kept = JournalShelf(folder / identity.name, identity), [], []
    shelf.listing()
    for name, place in receipt.files.items():
        worker, n = map(int, name.split("-"))
        try:
            deleted += [name] if shelf.sealed(worker, n, place) else []
        except Conflict:
            kept.append(name)
    return deleted, kept


def _take(
    part: _Part,
    content: bytes,
    copies: CopyFolder,
    held: dict[tuple[int, int], Copy],
    position: Position | None,
    source: Path,
) -> tuple[Place, int]:
    """(where the file ends, bytes that were new)."""
    key = part.worker, part.n
    if key not in held and position is not None and position.state in ("deleted", "whole"):
        return _compare_sealed(part, content, position, source), 0
    copy = held.setdefault(key, Copy(worker=part.worker, n=part.n))
    fresh = copies.compare(copy, 0, content) if copy.offset else content
    if fresh and copy.ended:
        raise _changed(source, f"{part.name} goes on behind its end")
    if fresh:
        copies.append(copy, fresh)
    if part.finished and len(content) == copy.offset:
        copies.end(copy)
    # Of a copy that ended, only the size is known: the chain is that of what was compared just now.
    return Place(offset=len(content), chain=_chain(content, source)), len(fresh)


def _compare_sealed(part: _Part, content: bytes, position: Position, source: Path) -> Place:
    """A file that is in the ledger already: it must end as it did there, or be a beginning of it."""
    chain, header = _chain(content, source), parse_header(content)[0]
    identity = hashlib.sha256(header.sealed.encode()).hexdigest()
    if identity != position.identity or (len(content) >= position.offset and chain != position.chain):
        raise _changed(source, f"{part.name} is not the file of this name that the ledger holds")
    return Place(offset=len(content), chain=chain)


def _chain(content: bytes, source: Path) -> str:
    try:
        _, start, chain = parse_header(content)
    except (ValueError, msgspec.MsgspecError) as error:
        raise _changed(source, str(error)) from error
    return walk(content, start, 0, chain)[1].hex()


def _manifest(tar: tarfile.TarFile, node: Node, source: Path) -> _Manifest:
    text = _member(tar, "manifest.json", None, source)
    signature = _member(tar, "manifest.sig", 64, source)
    try:
        public_key(node.certificate).verify(signature, text)
        manifest = msgspec.json.decode(text, type=_Manifest)
    except (InvalidSignature, msgspec.MsgspecError) as error:
        raise _changed(source, "its manifest is not signed by this node") from error
    if manifest.node != node.name or (node.instance and manifest.instance != node.instance):
        raise _changed(source, f"it is of another home than node {node.name}")
    return manifest


def _member(tar: tarfile.TarFile, name: str, size: int | None, source: Path) -> bytes:
    """The next member, which must be a plain file of this name and size."""
    try:
        member = tar.next()
        opened = tar.extractfile(member) if member is not None and member.isreg() else None
        limit = _MANIFEST_BYTES if size is None else _FILE_BYTES
        if member is None or opened is None or member.name != name or member.size > limit:
            raise _changed(source, f"{name} is missing, or too long")
        content = opened.read()
    except (tarfile.TarError, OSError) as error:
        raise _changed(source, f"{name} cannot be read: {error}") from error
    if len(content) != (member.size if size is None else size):
        raise _changed(source, f"{name} is cut off")
    return content


def _opened(source: Path) -> tarfile.TarFile:
    try:
        return tarfile.open(source, "r:")
    except (tarfile.TarError, OSError) as error:
        raise InputError(f"{source} cannot be read", got=error, mend="export the journal again") from error


def _part(folder: Path, file: FileState) -> _Part:
    content = _beginning(folder / f"{file.worker}-{file.n}.log", file.size)
    return _Part(
        worker=file.worker,
        n=file.n,
        size=file.size,
        finished=file.finished,
        sha256=hashlib.sha256(content).hexdigest(),
    )


def _beginning(path: Path, size: int) -> bytes:
    with path.open("rb") as file:
        return file.read(size)


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), 0o600
    tar.addfile(info, io.BytesIO(content))


def _changed(source: Path, what: str) -> IntegrityError:
    return IntegrityError(
        f"{source.name}: {what}",
        code="parcel_changed",
        mend="copy the file again from the node; if it is the same there, keep the node's disk for an inquiry",
    )
