"""Inside the box: stands in for `tiktoken`, which fetches its tables when it is first used: a token is a byte.

The file is copied beside the pilot under that name; it must not import anything of this package.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

__all__ = ["Encoding", "encoding_for_model", "encoding_name_for_model", "get_encoding", "list_encoding_names"]


class Encoding:
    """Encodes a text as its bytes, whatever is asked of special tokens."""

    name = "bytes"
    max_token_value = n_vocab = 255
    special_tokens_set: frozenset[str] = frozenset()

    def encode(self, text: str, **_: Any) -> list[int]:
        """The bytes of a text."""
        return list(text.encode())

    encode_ordinary = encode

    def encode_batch(self, texts: Iterable[str], **_: Any) -> list[list[int]]:
        """The bytes of each text."""
        return [self.encode(each) for each in texts]

    encode_ordinary_batch = encode_batch

    def decode(self, tokens: Sequence[int], **_: Any) -> str:
        """The text of some bytes; torn letters are replaced."""
        return bytes(tokens).decode(errors="replace")


def get_encoding(_name: str = "") -> Encoding:
    """The one encoding, for every name."""
    return Encoding()


def encoding_for_model(_name: str = "") -> Encoding:
    """The one encoding, for every model."""
    return Encoding()


def encoding_name_for_model(_name: str = "") -> str:
    """Its name, for every model."""
    return Encoding.name


def list_encoding_names() -> list[str]:
    """All names: one."""
    return [Encoding.name]
