"""What a node is, and what it and the steward tell each other."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import msgspec

from pilotage.errors import InputError

__all__ = ["FileState", "Identity", "Listing", "Node", "Place", "checked_name"]

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


def checked_name(name: str) -> str:
    """The name, if it is one: it becomes a folder and a certificate's subject. Raises InputError."""
    if not _NAME.fullmatch(name):
        raise InputError(
            "this is no name of a node",
            got=name,
            expected="1 to 63 of a-z, 0-9 and hyphens, neither first nor last a hyphen",
            mend="choose another name",
        )
    return name


@dataclass(frozen=True, kw_only=True)
class Node:
    """A node as the control plane knows it. `certificate` is PEM; `address` https://host:port, empty for an edge node.

    `instance` is the one home that is this node, once it was heard of. Times are Unix microseconds, 0 for never:
    `pulled` the last answer, `caught_up` when all that the node had then was here. `fault` says what is wrong now.
    """

    name: str
    address: str
    certificate: str = field(repr=False)
    instance: str = ""
    invited: int = 0
    retired: int = 0
    pulled: int = 0
    caught_up: int = 0
    lag_bytes: int = 0
    lagging: int = 0
    fault: str = ""

    def lag_s(self, now: int) -> float:
        """Seconds since all that this node had was here."""
        return max(0, now - max(self.caught_up, self.invited)) / 1_000_000


class FileState(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A journal file on its node: `size` is where its good frames end, `finished` that nothing will be added."""

    worker: int
    n: int
    size: int
    finished: bool


class Listing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The journal files of one node, by worker and number."""

    node: str
    instance: str
    files: list[FileState]


class Place(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A place in a journal file: the byte offset behind a frame, and the hex chain value there."""

    offset: int
    chain: str


class Identity(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a node knows of itself, in its home: `reader` is the one client certificate (PEM) that may read."""

    name: str
    address: str
    key: str
    certificate: str
    reader: str
    instance: str = ""
    version: int = 1
