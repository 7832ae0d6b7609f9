"""What a token meets whose key is not known yet: apart, so that whoever catches it loads no library of keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pilotage.access.issuer_keys import IssuerKeys

__all__ = ["UnknownKey"]


class UnknownKey(Exception):
    """A token names a key that its issuer's `keys`, as they were last read, do not have."""

    def __init__(self, keys: IssuerKeys) -> None:
        super().__init__("unknown key")
        self.keys = keys
