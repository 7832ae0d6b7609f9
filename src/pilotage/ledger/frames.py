"""The format of a journal file: a header, then chained frames in groups, then zeros or an end mark.

    header   magic 8 · length u32 · JSON (`Header`) · SHA-256 of all that: the first chain value
    group    mark 8 · own offset u64 · counter u64 · crc u32           before the frames of one synced write
    frame    length u32 · crc u32 · kind u8 · plain length u32 · counter u64 · plain · secret · chain 32
    end      mark 8 · own offset u64 · counter u64 · chain 32 · crc u32             only in a file closed cleanly

Numbers are little-endian. `secret` is AES-256-GCM under the file's key, nonce = counter; its associated data is the
chain value before it, the frame's head and the plain part, so that nobody without the key can change one byte of a
frame or move it. The chain value is SHA-256(chain before ‖ head without crc ‖ plain ‖ secret): anyone can check it.
The crc covers the whole frame. A length of zero ends the frames.

A group is written only after the one before it was synced. So a group mark vouches for all before it: a bad frame
with a group mark behind it was changed or lost, a bad frame without one is a write that a crash tore.

The records of a group are one frame of kind `GROUPED`, encrypted and chained once for all of them: its plain part is
their number, u32, its secret are the records, one behind the other.

    record   kind u8 · plain length u32 · secret length u32 · plain · secret

Files of version 1 have a frame for each record instead: its kind, its plain part in clear, its secret.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable
from enum import IntEnum
from zlib import crc32

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pilotage.errors import IntegrityError, NotFound
from pilotage.kernel.sealedbox import key_id, open_box, seal

__all__ = [
    "END_BYTES",
    "GROUPED",
    "GROUPING_BYTES",
    "GROUP_BYTES",
    "MARK_LENGTH",
    "MAX_FRAME_BYTES",
    "MOST_RECORD_BYTES",
    "NEWEST",
    "NO_CHAIN",
    "RECORD_BYTES",
    "FrameKind",
    "FrameSealer",
    "Header",
    "RawFrame",
    "encode_header",
    "end_mark",
    "file_key",
    "find_mark",
    "frame_length",
    "group_mark",
    "make_header",
    "open_secret",
    "parse_end",
    "parse_frame",
    "parse_group",
    "parse_header",
    "record_head",
    "records_in",
]

NO_CHAIN = bytes(32)
"""The previous chain value of a worker's first file."""

MAX_FRAME_BYTES = 64 * 1024 * 1024
"""No frame is longer; a longer length field is damage."""

MARK_LENGTH = 0xFFFF_FFFF
"""A mark starts where a frame has its length, with this value."""

GROUPED = 6
"""The kind of a frame that holds the records of a whole group."""

NEWEST = 2
"""The version of the files that are written; older ones are read too."""

_MAGIC = b"PILJRNL1"
_GROUP_MAGIC = b"\xff\xff\xff\xffGRP\n"
_END_MAGIC = b"\xff\xff\xff\xffEND\n"
_MARK = b"\xff\xff\xff\xff"
_LENGTH = struct.Struct("<I")
_HEAD = struct.Struct("<IIBIQ")
_RECORD = struct.Struct("<BII")
_COUNT = struct.Struct("<I")
_COVERED = struct.Struct("<IBIQ")
_GROUP = struct.Struct("<8sQQ")
_END = struct.Struct("<8sQQ32s")
_NONCE = struct.Struct(">4xQ")
_sha256 = hashlib.sha256
_CHAIN_BYTES = 32
_TAG_BYTES = 16
_CRC_FROM = 8
_MIN_FRAME_BYTES = _HEAD.size + _TAG_BYTES + _CHAIN_BYTES

RECORD_BYTES = _RECORD.size
GROUP_BYTES = _GROUP.size + _LENGTH.size
END_BYTES = _END.size + _LENGTH.size

MOST_RECORD_BYTES = MAX_FRAME_BYTES - _MIN_FRAME_BYTES - _COUNT.size
"""How long one record may be, its head included."""

GROUPING_BYTES = GROUP_BYTES + _MIN_FRAME_BYTES + _COUNT.size
"""What a group adds to its records."""


class FrameKind(IntEnum):
    """What a record is. A stream is `opened`, its `chunk`s, `closed`. Decision, closed and event make leaves."""

    decision = 1
    opened = 2
    chunk = 3
    closed = 4
    event = 5


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What a journal file says of itself. `created` is Unix microseconds; `previous` the hex chain value that ended
    this worker's file before it; `steward` the id of the key that `sealed` (hex) is sealed to: the file's own key.
    """

    version: int = NEWEST
    node: str
    worker: int
    n: int
    created: int
    previous: str
    steward: str
    sealed: str


class RawFrame(msgspec.Struct, frozen=True, gc=False):
    """A frame that is whole; its secret is still encrypted. `crc` is right, `chain` is as written, not yet checked."""

    kind: int
    counter: int
    plain: bytes
    sealed: bytes
    chain: bytes
    length: int

    @property
    def records(self) -> int:
        """How many records it holds."""
        return int(_COUNT.unpack(self.plain)[0]) if self.kind == GROUPED and len(self.plain) == _COUNT.size else 1

    def chain_after(self, chain: bytes) -> bytes:
        """The chain value that this frame must carry when it follows `chain`."""
        return _chained(chain, self._covered(), self.plain, self.sealed)

    def _covered(self) -> bytes:
        return _COVERED.pack(self.length, self.kind, len(self.plain), self.counter)


class FrameSealer:
    """Makes the frames of one file, in order. Not for several threads."""

    __slots__ = ("_aead", "chain", "counter")

    def __init__(self, key: bytes, chain: bytes) -> None:
        """`key` is the file's 32-byte key, `chain` the value its header ends with."""
        self._aead = AESGCM(key)
        self.chain = chain
        self.counter = 0

    def group(self, count: int, records: Iterable[bytes]) -> bytes:
        """The next frame, with all records of a group: `count` of them, each a `record_head`, its plain and secret."""
        return self.frame(GROUPED, _COUNT.pack(count), b"".join(records))

    def frame(self, kind: int, plain: bytes, secret: bytes) -> bytes:
        """The bytes of the next frame, which must not be longer than a frame may be: `MOST_RECORD_BYTES` in a group."""
        counter = self.counter
        length = _MIN_FRAME_BYTES + len(plain) + len(secret)
        assert length <= MAX_FRAME_BYTES  # noqa: S101 - the journal's groups are smaller
        covered = _COVERED.pack(length, kind, len(plain), counter)
        before = b"".join((self.chain, covered, plain))
        sealed = self._aead.encrypt(_NONCE.pack(counter), secret, before)
        chained = _sha256(before)
        chained.update(sealed)
        self.chain = chain = chained.digest()
        self.counter = counter + 1
        head = covered[4:] + plain
        crc = crc32(chain, crc32(sealed, crc32(head, length)))
        return b"".join((covered[:4], _LENGTH.pack(crc), head, sealed, chain))


record_head = _RECORD.pack
"""What stands before a record in a group: its kind, the length of its plain part, of its secret."""


def records_in(frame: RawFrame, secret: bytes) -> list[tuple[int, bytes, bytes]]:
    """(kind, plain part, secret) of each record of a frame. Raises IntegrityError when it holds others than it says."""
    if frame.kind != GROUPED:
        return [(frame.kind, frame.plain, secret)]
    found, at = [], 0
    while at + _RECORD.size <= len(secret):
        kind, plain_length, secret_length = _RECORD.unpack_from(secret, at)
        start = at + _RECORD.size
        middle = start + plain_length
        at = middle + secret_length
        found.append((kind, secret[start:middle], secret[middle:at]))
    if at != len(secret) or len(found) != frame.records:
        raise IntegrityError(
            "a group does not hold the records that it says",
            got=f"{len(found)} records in {at} bytes",
            expected=f"{frame.records} in {len(secret)}",
            mend="keep the file: the gateway that wrote it has a fault",
        )
    return found


def make_header(
    key: bytes, steward_key: bytes, *, node: str, worker: int, n: int, created: int, previous: bytes
) -> Header:
    """The header of a new file, its key sealed to the steward's raw X25519 public key."""
    box = seal(steward_key, key, _context(node, worker, n, previous.hex()))
    return Header(
        node=node,
        worker=worker,
        n=n,
        created=created,
        previous=previous.hex(),
        steward=key_id(steward_key),
        sealed=box.hex(),
    )


def encode_header(header: Header) -> bytes:
    """The header's bytes; the last 32 are the chain value that the first frame follows."""
    text = msgspec.json.encode(header)
    start = _MAGIC + _LENGTH.pack(len(text)) + text
    return start + hashlib.sha256(start).digest()


def parse_header(content: bytes) -> tuple[Header, int, bytes]:
    """The header at the start of a file: (header, its length in bytes, the first chain value).

    Raises ValueError saying what is wrong; the caller knows the file's name.
    """
    if content[: len(_MAGIC)] != _MAGIC:
        raise ValueError("it does not start as a journal file")
    start = len(_MAGIC) + _LENGTH.size
    if len(content) < start:
        raise ValueError("its header is cut off")
    end = start + _LENGTH.unpack_from(content, len(_MAGIC))[0]
    chain = content[end : end + _CHAIN_BYTES]
    if hashlib.sha256(content[:end]).digest() != chain:
        raise ValueError("its header was changed or cut off")
    header = _header_decoder.decode(content[start:end])
    if header.version > NEWEST:
        raise ValueError(f"it is of version {header.version}; this Pilotage reads up to {NEWEST}: upgrade it first")
    return header, end + _CHAIN_BYTES, chain


def file_key(header: Header, private: X25519PrivateKey) -> bytes:
    """The file's key. Raises NotFound when it was sealed to another steward key, IntegrityError when it was changed."""
    own = key_id(private.public_key().public_bytes_raw())
    if header.steward != own:
        raise NotFound(
            "this keyring lacks the key that the journal is sealed to",
            code="steward_key_unknown",
            got=own,
            expected=header.steward,
            mend="restore the keyring that was in use when the journal was written",
        )
    context = _context(header.node, header.worker, header.n, header.previous)
    return open_box(private, bytes.fromhex(header.sealed), context)


def parse_frame(data: bytes, at: int) -> RawFrame | None:
    """The frame at a place, or None when there is no whole, unchanged frame."""
    if len(data) - at < _MIN_FRAME_BYTES:
        return None
    length, crc, kind, plain_length, counter = _HEAD.unpack_from(data, at)
    if not _MIN_FRAME_BYTES + plain_length <= length <= min(MAX_FRAME_BYTES, len(data) - at):
        return None
    body = data[at + _CRC_FROM : at + length]
    if crc32(body, length) != crc:
        return None
    start = _HEAD.size - _CRC_FROM
    middle = start + plain_length
    return RawFrame(kind, counter, body[start:middle], body[middle:-_CHAIN_BYTES], body[-_CHAIN_BYTES:], length)


def open_secret(aead: AESGCM, frame: RawFrame, chain: bytes) -> bytes:
    """The secret of a frame that follows `chain`. Raises IntegrityError when anything of it was changed."""
    try:
        return aead.decrypt(_NONCE.pack(frame.counter), frame.sealed, chain + frame._covered() + frame.plain)
    except InvalidTag:
        raise IntegrityError("a frame was changed", mend="restore the file from a copy") from None


def frame_length(data: bytes, at: int) -> int:
    """The length field at a place; 0 ends the frames; 0 also when the data ends there."""
    return int(_LENGTH.unpack_from(data, at)[0]) if len(data) - at >= _LENGTH.size else 0


def group_mark(offset: int, counter: int) -> bytes:
    """The mark before the frames of one synced write at `offset`; `counter` is its first frame's."""
    body = _GROUP.pack(_GROUP_MAGIC, offset, counter)
    return body + _LENGTH.pack(crc32(body))


def end_mark(offset: int, counter: int, chain: bytes) -> bytes:
    """The mark that ends a file closed cleanly: `counter` frames, ending with `chain`."""
    body = _END.pack(_END_MAGIC, offset, counter, chain)
    return body + _LENGTH.pack(crc32(body))


def parse_group(data: bytes, at: int, offset: int) -> int | None:
    """The counter in the group mark at a place of `data`, which is `offset` of the file; None when there is none."""
    if not _marked(data, at, _GROUP, _GROUP_MAGIC):
        return None
    _, own, counter = _GROUP.unpack_from(data, at)
    return int(counter) if own == offset else None


def parse_end(data: bytes, at: int, offset: int) -> bytes | None:
    """The last chain value in the end mark at a place; None when there is none."""
    if not _marked(data, at, _END, _END_MAGIC):
        return None
    _, own, _, chain = _END.unpack_from(data, at)
    return bytes(chain) if own == offset else None


def find_mark(data: bytes, offset: int) -> int | None:
    """The file offset of the first group or end mark in `data`, which starts at `offset` of the file."""
    at = data.find(_MARK)
    while at >= 0:
        if parse_group(data, at, offset + at) is not None or parse_end(data, at, offset + at) is not None:
            return offset + at
        at = data.find(_MARK, at + 1)
    return None


def _marked(data: bytes, at: int, layout: struct.Struct, magic: bytes) -> bool:
    end = at + layout.size
    if data[at : at + len(magic)] != magic or len(data) < end + _LENGTH.size:
        return False
    return bool(_LENGTH.unpack_from(data, end)[0] == crc32(data[at:end]))


def _chained(chain: bytes, covered: bytes, plain: bytes, sealed: bytes) -> bytes:
    return hashlib.sha256(b"".join((chain, covered, plain, sealed))).digest()


def _context(node: str, worker: int, n: int, previous: str) -> bytes:
    return f"journal {node}/{worker}-{n} {previous}".encode()


_header_decoder = msgspec.json.Decoder(Header)
