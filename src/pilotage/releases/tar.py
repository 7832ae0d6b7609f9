"""Tar files as archives have them: plain files only, one header each, written and read as streams.

Of the format only what archives need is read: a link, a device, a folder, a long name or any other kind of entry is
refused before anything of it is used, so that no entry can lead anywhere, and no header can claim memory.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from typing import BinaryIO

from pilotage.errors import InputError

__all__ = ["BLOCK", "end_tar", "entries_end", "next_entry", "pieces", "write_header"]

BLOCK = tarfile.BLOCKSIZE
_PIECE = 1 << 20
_MEND = "export the archive again, and carry the file unchanged"


def write_header(stream: BinaryIO, name: str, size: int) -> None:
    """The header of a file: no time, no owner, mode 0400; the same for the same name and size."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o400
    stream.write(info.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict"))


def end_tar(stream: BinaryIO, written: int) -> None:
    """Two empty blocks, filled up to a record, after `written` bytes."""
    total = written + 2 * BLOCK
    stream.write(bytes(2 * BLOCK + -total % tarfile.RECORDSIZE))


def next_entry(stream: BinaryIO) -> tarfile.TarInfo | None:
    """The header of the next file; None at the end. Raises InputError for an entry of any other kind."""
    block = stream.read(BLOCK)
    if len(block) == BLOCK and not any(block):
        return None
    try:
        info = tarfile.TarInfo.frombuf(block, "ascii", "strict")
    except (tarfile.HeaderError, ValueError) as error:
        raise InputError("the file is no archive", got=f"{error} at an entry", mend=_MEND) from None
    if info.type != tarfile.REGTYPE or info.linkname or info.size < 0:
        raise InputError(
            "the archive has an entry that is no plain file",
            got=f"{info.name[:100]!r} of type {info.type!r}",
            expected="files alone: no links, no folders",
            mend=_MEND,
        )
    return info


def pieces(stream: BinaryIO, size: int) -> Iterator[bytes]:
    """The `size` bytes of an entry, in pieces of at most 1 MiB. Raises InputError when the file ends before."""
    left = size
    while left:
        piece = stream.read(min(left, _PIECE))
        if not piece:
            raise InputError("the archive ends too early", got=f"{left} bytes are missing", mend=_MEND)
        left -= len(piece)
        yield piece
    if any(stream.read(-size % BLOCK)):
        raise InputError("the archive has bytes between its entries", mend=_MEND)


def entries_end(stream: BinaryIO) -> None:
    """Raise InputError when anything but a record of zeros follows the last entry."""
    rest = stream.read(tarfile.RECORDSIZE + 1)
    if len(rest) > tarfile.RECORDSIZE or any(rest):
        raise InputError("the archive has bytes after its end", mend=_MEND)
