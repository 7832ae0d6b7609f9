"""Messages over pipes: four bytes of length, big-endian, then the bytes. Used on both sides of a box."""

from __future__ import annotations

import os
import sys
from typing import BinaryIO

from pilotage.errors import InputError

__all__ = ["MAX_MESSAGE", "pack", "read_message", "take_pipes", "write_message"]

MAX_MESSAGE = 64 * 1024 * 1024


def pack(message: bytes) -> bytes:
    """The message with its length before it. Raises InputError above `MAX_MESSAGE` bytes."""
    if len(message) > MAX_MESSAGE:
        raise InputError("message too long", got=len(message), expected=f"<= {MAX_MESSAGE}", mend="send it in parts")
    return len(message).to_bytes(4, "big") + message


def write_message(stream: BinaryIO, message: bytes) -> None:
    """Write one message and flush."""
    stream.write(pack(message))
    stream.flush()


def read_message(stream: BinaryIO) -> bytes | None:
    """The next message; None at the end of the stream. Raises InputError for a torn or oversized one."""
    header = stream.read(4)
    if not header:
        return None
    length = int.from_bytes(header, "big")
    body = stream.read(length) if len(header) == 4 and length <= MAX_MESSAGE else b""
    if len(header) < 4 or len(body) < length:
        raise InputError("a torn or oversized message", got=len(body), expected=length, mend="restart the box")
    return body


def take_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Inside a box: the message streams in and out. What prints from then on goes to standard error."""
    reader, writer = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    sys.stdout.flush()
    os.dup2(2, 1)
    with open(os.devnull, "rb") as null:  # noqa: PTH123 - a device, not a path of ours
        os.dup2(null.fileno(), 0)
    return reader, writer
