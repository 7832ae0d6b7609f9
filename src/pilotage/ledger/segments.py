"""Payload segments: one immutable file for each system and day of a sealed batch, encrypted record by record.

    file    magic "PLTSEG1\\n", then records
    record  uint32 length of the rest · uint8 length + id · uint8 length + origin · masked key id 16 · nonce 12 · secret

The secret is AES-256-GCM of `salt ‖ payload` with the id as associated data. The key id is masked with the master's
secret, so that the index can be rebuilt, but a file alone does not tell which records are of one person.
The batch leaf commits to each file's digest.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import msgspec

from pilotage.errors import IntegrityError
from pilotage.kernel.digests import digest
from pilotage.ledger.record import Segment

__all__ = [
    "MAGIC",
    "SealedPayload",
    "SegmentBuilder",
    "SegmentRecord",
    "intent_path",
    "intents",
    "iterate_segment",
    "make_folders",
    "mask",
    "parse_segment",
    "read_payload",
    "segment_files",
    "segment_path",
]

MAGIC = b"PLTSEG1\n"
_LENGTH = struct.Struct(">I")
_HEAD_BYTES = 1 + 1 + 16 + 12
"""Of a record behind its length, but for the texts and the secret: two lengths, the masked key id, the nonce."""

SegmentRecord = tuple[int, int, str, str, str, bytes, bytes]
"""Offset and length in the file, then the id, origin, key id, nonce and ciphertext of a `SealedPayload`."""


class SealedPayload(msgspec.Struct, frozen=True, gc=False):
    """One encrypted payload as it lies in a segment. `origin` is the journal file it came from, or `outbox`."""

    id: str
    origin: str
    key_id: str
    nonce: bytes
    ciphertext: bytes


def segment_path(system: str, day: str, batch: str) -> str:
    """The path of a segment under the ledger folder: `segments/<system>/<day>/<batch>.seg`; `_` for no system."""
    folder = quote(system, safe="").replace(".", "%2E")[:200] or "_"
    return f"segments/{folder}/{day}/{batch}.seg"


class SegmentBuilder:
    """Collects the payloads of one segment in memory, for `segment_files`.

    `begun` is what another builder held, `records` how many payloads are in it.
    """

    def __init__(self, path: str, mask_key: bytes, begun: bytes = MAGIC, records: int = 0) -> None:
        self.path, self.records = path, records
        self._mask_key = mask_key
        self._pieces = [begun]
        self._size = len(begun)

    @property
    def content(self) -> bytes:
        """The file's bytes so far."""
        return b"".join(self._pieces)

    def add(self, payload: SealedPayload) -> tuple[int, int]:
        """Take a payload; its (offset, length) in the file."""
        id_, origin, nonce, ciphertext = payload.id.encode(), payload.origin.encode(), payload.nonce, payload.ciphertext
        masked = mask(payload.key_id, nonce, self._mask_key)
        rest = _HEAD_BYTES + len(id_) + len(origin) + len(ciphertext)
        head = b"%b%c%b%c%b%b%b" % (_LENGTH.pack(rest), len(id_), id_, len(origin), origin, masked, nonce)
        offset, length = self._size, _LENGTH.size + rest
        self._pieces += (head, ciphertext)
        self._size += length
        self.records += 1
        return offset, length


def segment_files(builders: Iterable[SegmentBuilder]) -> tuple[list[Segment], dict[str, bytes]]:
    """What a batch's leaf says of its segments; their bytes by path under the ledger folder."""
    made = {builder.path: builder for builder in builders}
    files = {path: builder.content for path, builder in made.items()}
    told = [Segment(path=path, digest=digest(content), records=made[path].records) for path, content in files.items()]
    return told, files


def mask(key_id: str, nonce: bytes, mask_key: bytes) -> bytes:
    """16 bytes: a key id (32 hexadecimal digits) under a key stream of the nonce; masking twice gives the id again."""
    stream = int.from_bytes(hashlib.blake2b(nonce, digest_size=16, key=mask_key).digest())
    return (int(key_id, 16) ^ stream).to_bytes(16)


def intent_path(folder: Path, epoch: int) -> Path:
    """Where the steward of a lease epoch names the segments it is about to write (a JSON list of paths)."""
    return folder / "segments" / ".writing" / str(epoch)


def intents(folder: Path) -> dict[int, list[str]]:
    """The segments that were about to be written, by lease epoch: committed since, orphans, or being written now."""
    found: dict[int, list[str]] = {}
    for path in (folder / "segments" / ".writing").glob("*"):
        with suppress(FileNotFoundError, ValueError):
            found[int(path.name)] = msgspec.json.decode(path.read_bytes(), type=list[str])
    return found


def read_payload(folder: Path, path: str, offset: int, length: int, mask_key: bytes) -> SealedPayload:
    """One payload of a segment under the ledger folder. Raises IntegrityError when it is not there or not whole."""
    file = folder / path
    try:
        with file.open("rb") as opened:
            opened.seek(offset)
            record = opened.read(length)
    except OSError as error:
        raise _broken(file, offset, f"unreadable: {error.strerror}") from error
    return _parse(file, offset, record, mask_key)


def iterate_segment(file: Path, mask_key: bytes) -> list[tuple[int, int, SealedPayload]]:
    """Every (offset, length, payload) of a segment file. Raises IntegrityError naming the file and offset."""
    return [
        (offset, length, SealedPayload(id=id_, origin=origin, key_id=key_id, nonce=nonce, ciphertext=ciphertext))
        for offset, length, id_, origin, key_id, nonce, ciphertext in parse_segment(file, file.read_bytes(), mask_key)
    ]


def parse_segment(file: Path, content: bytes, mask_key: bytes) -> Iterator[SegmentRecord]:
    """Every record in the bytes of a segment file. Raises IntegrityError naming the file and offset."""
    if not content.startswith(MAGIC):
        raise _broken(file, 0, "no segment header")
    keyed, number = hashlib.blake2b(digest_size=16, key=mask_key), int.from_bytes
    offset, size = len(MAGIC), len(content)
    written, origin = b"", ""
    while offset < size:
        if offset + _LENGTH.size > size:
            raise _broken(file, offset, "a cut record")
        start = offset + _LENGTH.size
        end = start + _LENGTH.unpack_from(content, offset)[0]
        # As `_fields`, which says the same of one record, without a call and a copy for each of thousands.
        try:
            middle = start + 1 + content[start]
            place = middle + 1 + content[middle]
            if end > size or place + 44 > end:
                raise ValueError("a cut record")
            nonce = content[place + 16 : place + 28]
            stream = keyed.copy()
            stream.update(nonce)
            masked = number(content[place : place + 16], "big") ^ number(stream.digest(), "big")
            key_id, id_ = masked.to_bytes(16, "big").hex(), content[start + 1 : middle].decode()
            if (raw := content[middle + 1 : place]) != written:
                written, origin = raw, raw.decode()  # one object for those that are alike
        except (IndexError, ValueError) as error:
            raise _broken(file, offset, "a broken record") from error
        yield offset, end - offset, id_, origin, key_id, nonce, content[place + 28 : end]
        offset = end


def make_folders(folder: Path) -> None:
    """Make a folder and those above it, each synced into its parent: a power cut cannot lose the entry."""
    if folder.is_dir():
        return
    make_folders(folder.parent)
    folder.mkdir(exist_ok=True, mode=0o700)
    parent = os.open(folder.parent, os.O_RDONLY)
    try:
        os.fsync(parent)
    finally:
        os.close(parent)


def _parse(file: Path, offset: int, record: bytes, mask_key: bytes) -> SealedPayload:
    id_, origin, key_id, nonce, ciphertext = _fields(file, offset, record, mask_key)
    return SealedPayload(id=id_, origin=origin, key_id=key_id, nonce=nonce, ciphertext=ciphertext)


def _fields(file: Path, offset: int, record: bytes, mask_key: bytes) -> tuple[str, str, str, bytes, bytes]:
    """(id, origin, key id, nonce, ciphertext)."""
    try:
        if _LENGTH.unpack_from(record)[0] != len(record) - _LENGTH.size:
            raise ValueError("length")
        start = _LENGTH.size + 1
        end = start + record[start - 1]
        id_ = record[start:end].decode()
        start = end + 1
        end = start + record[end]
        if len(record) < end + 44:  # key id 16, nonce 12, and the least a ciphertext has: its tag of 16
            raise ValueError("ciphertext")
        nonce = record[end + 16 : end + 28]
        key_id = _mask(record[end : end + 16], nonce, mask_key)
        return id_, record[start:end].decode(), key_id, nonce, record[end + 28 :]
    except (struct.error, IndexError, ValueError) as error:
        raise _broken(file, offset, "a broken record") from error


def _mask(key_id: bytes, nonce: bytes, mask_key: bytes) -> str:
    stream = hashlib.blake2b(nonce, digest_size=16, key=mask_key).digest()
    return f"{int.from_bytes(key_id, 'big') ^ int.from_bytes(stream, 'big'):032x}"


def _broken(file: Path, offset: int, got: str) -> IntegrityError:
    return IntegrityError(
        f"payload segment {file} at offset {offset} cannot be read",
        got=got,
        expected="a record as sealed",
        mend="restore the file from a backup; `pilotage audit verify` names every other place",
    )
