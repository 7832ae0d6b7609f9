"""Where whole requests of the usual form end, found without parsing them: shedding one must cost little.

Usual is what clients send all day: POST, HTTP/1.1, one small `content-length`, plain headers, a connection that stays.
Of anything else, and of whatever two readers could frame in two ways, it says nothing: the parser reads it. So what is
skimmed over ends where the parser would say that it ends.
"""

from __future__ import annotations

import re
import sys
from typing import NamedTuple

__all__ = ["NONE", "Usual", "skim"]

_HEAD = re.compile(rb"POST (/[\w./~%:-]*+) HTTP/1\.1((?:\r\n[\w!#$%&'*+.^`|~-]++:[ -~]*+)++)\r\n\r\n")
_FRAMING = re.compile(
    rb"\r\n(?:content-length: *+(\d{1,5})(?=\r)|connection: *+(keep-alive)(?=\r)"
    rb"|content-length|transfer-encoding|connection|proxy-connection|upgrade|expect)",
    re.IGNORECASE,
)


class Usual(NamedTuple):
    """A head of the usual form, the path that it asks, and how many bytes a request with it has."""

    head: bytes
    path: bytes
    size: int


NONE = Usual(b"\0", b"", 0)
"""The head of no request."""


def skim(
    data: bytes, at: int = 0, last: Usual = NONE, *, most: int = sys.maxsize, head_bytes: int = 32_768
) -> tuple[int, int, Usual]:
    """(number, end, head) of the usual requests with the same head that begin at `at` in `data`, at most so many.

    A request that is not usual, not whole, or has a head of more than `head_bytes` is none. `last` is the head that
    came before, on the same connection: mostly it comes again.
    """
    if not data.startswith(last.head, at):
        found = _usual(data, at)
        if found is None or len(found.head) > head_bytes:
            return 0, at, last
        last = found
    head, _, size = last
    number, length = 0, len(data)
    while number < most and at + size <= length and (not number or data.startswith(head, at)):
        at += size
        number += 1
    return number, at, last


def _usual(data: bytes, at: int) -> Usual | None:
    head = _HEAD.match(data, at)
    if head is None:
        return None
    start, end = head.span(2)
    said = _FRAMING.findall(data, start, end + 1)
    lengths = [length for length, _ in said if length]
    if len(lengths) != 1 or not all(length or stays for length, stays in said):
        return None
    return Usual(head[0], head[1], len(head[0]) + int(lengths[0]))
