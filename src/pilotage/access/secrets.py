"""Bearer secrets: `<kind>_<id>_<43 characters>`, 256 random bits, of which only the SHA-256 is kept."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from typing import NamedTuple

__all__ = ["NewSecret", "id_in", "matches", "new_secret", "sha256_hex"]

_SHAPE = re.compile(r"(p[ktls])_([0-9a-f]{16})_[A-Za-z0-9_-]{43}")


class NewSecret(NamedTuple):
    """The id inside it, the text to show once, and what is kept."""

    id: str
    text: str
    sha256: str


def new_secret(kind: str) -> NewSecret:
    """A secret of a kind: `pk` API key, `pt` token, `pl` sign-in link, `ps` console session."""
    id = secrets.token_hex(8)
    text = f"{kind}_{id}_{secrets.token_urlsafe(32)}"
    return NewSecret(id, text, sha256_hex(text))


def id_in(text: str, kind: str) -> str:
    """The id inside a secret's text, or nothing when it has not the shape of that kind."""
    shape = _SHAPE.fullmatch(text)
    return shape[2] if shape and shape[1] == kind else ""


def sha256_hex(text: str) -> str:
    """Hex SHA-256 of a secret: enough, since 256 random bits cannot be guessed and need no slow hash."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def matches(text: str, sha256: str) -> bool:
    """Whether a text is the secret with this SHA-256, in constant time."""
    return hmac.compare_digest(sha256_hex(text), sha256)
