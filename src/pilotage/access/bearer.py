"""Is a token good? A JSON Web Token (RFC 7519) of a trusted issuer, held to RFC 8725 and RFC 9068.

Nothing that a token says of its own keys is used: a key comes from the issuer's set, and only an algorithm that the
issuer's declaration names and that fits the key's type is tried. What a token holds never stands in an error.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any, Literal, NamedTuple

from joserfc import errors
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from pilotage.access.issuer_keys import IssuerKeys
from pilotage.access.issuers import Issuer, identity_id
from pilotage.access.unknown_key import UnknownKey
from pilotage.errors import Unauthenticated

__all__ = ["MOST_BYTES", "Tell", "Verified", "issuer_in", "suspended", "verify"]

MOST_BYTES = 16_384
"""The longest token that is looked at."""

Tell = Callable[[str], None]
"""Hears of each check that a token passed."""

_MOST_HEADER = 2_048
_MOST_SUBJECT = 255
_ALPHABET = re.compile(rb"[A-Za-z0-9_-]+")
_REFUSED = ("jku", "jwk", "x5u", "x5c", "crit", "b64", "zip", "enc")
_ACCESS_TYPES = ("", "jwt", "at+jwt", "application/at+jwt")
_ID_TYPES = ("", "jwt")
_ID_ONLY = ("nonce", "at_hash", "c_hash", "s_hash")
_CURVES = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}
_MEND = "get a new token from the issuer; `pilotage oidc check` says step by step what is wrong with one"


class Verified(NamedTuple):
    """A good token: whose it is, what it claims, and when it ends: by itself, the clocks' difference added,
    or with the keys that it was verified by; Unix microseconds.
    """

    issuer: Issuer
    subject: str
    claims: Mapping[str, Any]
    expires: int

    @property
    def name(self) -> str:
        """How records name its holder, the same for ever: the issuer's URL and its name for them."""
        return f"{self.issuer.issuer}|{self.subject}"


class _Parts(NamedTuple):
    header: dict[str, Any]
    claims: dict[str, Any]
    signed: bytes
    signature: bytes


def issuer_in(token: bytes) -> str:
    """The `iss` that a token claims, unverified: to choose what it is held against. Raises Unauthenticated."""
    issuer = _read(token).claims.get("iss")
    return issuer if isinstance(issuer, str) else ""


def verify(
    token: bytes,
    issuer: Issuer,
    keys: IssuerKeys,
    at: int,
    *,
    kind: Literal["access", "id"] = "access",
    tell: Tell = lambda _: None,
) -> Verified:
    """Hold a token to an issuer at a moment (Unix microseconds).

    Raises Unauthenticated, with the code `token_invalid`, `token_expired` or `person_suspended`; UnknownKey, when the
    issuer's keys as they were last read do not have the one that it names.
    """
    parts = _read(token)
    tell(f"it is a JSON Web Token of {len(token):,} bytes in three parts")
    algorithm = _check_header(parts.header, issuer, kind)
    tell(f"its header is in order: algorithm {algorithm}, type {parts.header.get('typ') or 'none'}")
    key = keys.find(parts.header.get("kid"), lambda each: _suits(each, algorithm)) if keys.usable else None
    if key is None:
        raise UnknownKey(keys)
    tell("the issuer has the key that it names")
    if not _signed(parts, algorithm, key):
        raise _refused("its signature is not the issuer's")
    tell("its signature is the issuer's")
    subject, expires = _check_claims(parts.claims, issuer, at, kind, tell)
    if issuer.suspended and identity_id(issuer.issuer, subject) in issuer.suspended:
        raise suspended()
    return Verified(issuer, subject, parts.claims, min(expires, keys.until))


def suspended() -> Unauthenticated:
    """What the holder of a good token hears who is suspended here."""
    mend = "ask an admin of this installation: pilotage oidc resume"
    return Unauthenticated("the person of this token is suspended here", mend=mend, code="person_suspended")


def _read(token: bytes) -> _Parts:
    if len(token) > MOST_BYTES:
        raise _refused(f"it is longer than {MOST_BYTES:,} bytes")
    pieces = token.split(b".")
    if len(pieces) != 3:
        raise _refused("it is no signed JSON Web Token in three parts")
    if len(pieces[0]) > _MOST_HEADER:
        raise _refused("its header is too long")
    signed = token[: len(pieces[0]) + 1 + len(pieces[1])]
    return _Parts(_object(pieces[0], "header"), _object(pieces[1], "claims"), signed, _decoded(pieces[2], "signature"))


def _decoded(piece: bytes, what: str) -> bytes:
    """Base64url without padding (RFC 7515 section 2), of which there is one form only for the same bytes."""
    try:
        content = base64.urlsafe_b64decode(piece + b"=" * (-len(piece) % 4)) if _ALPHABET.fullmatch(piece) else b""
    except binascii.Error:
        content = b""
    if not content or base64.urlsafe_b64encode(content).rstrip(b"=") != piece:
        raise _refused(f"its {what} is not in base64url")
    return content


def _object(piece: bytes, what: str) -> dict[str, Any]:
    try:
        found = json.loads(_decoded(piece, what).decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise _refused(f"its {what} is no JSON object whose names are unique") from None
    if not isinstance(found, dict):
        raise _refused(f"its {what} is no JSON object whose names are unique")
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """RFC 7515 section 4, RFC 7519 section 4: two members of one name would be read in two ways."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name twice")
    return found


def _no_constant(name: str) -> float:
    raise ValueError(name)


def _check_header(header: Mapping[str, Any], issuer: Issuer, kind: str) -> str:
    for name in _REFUSED:
        if name in header:
            raise _refused(f"its header has {name}, which is not taken")
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in issuer.algorithms:
        raise _refused("its algorithm is not allowed", expected=", ".join(issuer.algorithms))
    if not isinstance(header.get("kid", ""), str):
        raise _refused("its key's id is no text")
    type_ = header.get("typ", "")
    if not isinstance(type_, str) or type_.lower() not in (_ACCESS_TYPES if kind == "access" else _ID_TYPES):
        raise _refused("it is of another type", expected="at+jwt or JWT" if kind == "access" else "JWT")
    return algorithm


def _suits(key: RSAKey | ECKey | OKPKey, algorithm: str) -> bool:
    """Whether a key may be used with an algorithm: never a choice of the token alone (RFC 8725 section 3.1)."""
    if key.get("use", "sig") != "sig" or key.get("alg", algorithm) not in (algorithm, *_same(algorithm)):
        return False
    if isinstance(key, RSAKey):
        return algorithm[:2] in ("RS", "PS")
    if isinstance(key, ECKey):
        return _CURVES.get(algorithm) == key.get("crv")
    return algorithm in ("EdDSA", "Ed25519") and key.get("crv") == "Ed25519"


def _same(algorithm: str) -> tuple[str, ...]:
    return ("EdDSA", "Ed25519") if algorithm in ("EdDSA", "Ed25519") else ()


def _signed(parts: _Parts, algorithm: str, key: Any) -> bool:
    # Not `get_alg`, which warns of EdDSA: RFC 9864 would have it named Ed25519.
    method = JWSRegistry.algorithms[algorithm]
    try:
        method.check_key(key)
        return bool(method.verify(parts.signed, parts.signature, key))
    except (errors.JoseError, ValueError):
        return False


def _check_claims(claims: dict[str, Any], issuer: Issuer, at: int, kind: str, tell: Tell) -> tuple[str, int]:
    skew = issuer.skew_s * 1_000_000
    if claims.get("iss") != issuer.issuer:
        raise _refused("it is of another issuer", expected=issuer.issuer)
    tell(f"it is of the issuer {issuer.issuer}")
    _check_audience(claims, issuer, kind)
    tell("it is for one of the audiences here")
    expires, begins, issued = (_moment(claims, name) for name in ("exp", "nbf", "iat"))
    if expires is None:
        raise _refused("it does not say when it ends")
    if at >= expires + skew:
        raise Unauthenticated("the token has expired", mend=_MEND, code="token_expired")
    if begins is not None and at + skew < begins:
        raise _refused("it is not good yet")
    if issued is not None and at + skew < issued:
        raise _refused("it was issued in the future")
    if expires - (at if issued is None else issued) > issuer.life_s * 1_000_000 + skew:
        raise _refused("it lives too long", expected=f"at most {issuer.life_s:,} s")
    if issuer.not_before and (issued is None or issued < issuer.not_before):
        raise _refused("tokens that were issued when it was are revoked")
    tell("it is in force, and its life is not too long")
    if kind == "access":
        _check_use(claims)
        tell("it is an access token that a bearer may use")
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= _MOST_SUBJECT or not subject.isprintable():
        raise _refused("it does not say whose it is", expected=f"sub, a text of at most {_MOST_SUBJECT} characters")
    return subject, expires + skew


def _check_audience(claims: Mapping[str, Any], issuer: Issuer, kind: str) -> None:
    named = claims.get("aud")
    audiences = [named] if isinstance(named, str) else named if isinstance(named, list) else []
    wanted = issuer.audiences if kind == "access" else (issuer.client,)
    if not any(isinstance(each, str) and each in wanted for each in audiences):
        raise _refused("it is for another audience", expected=", ".join(wanted))
    if kind == "id" and claims.get("azp", issuer.client) != issuer.client:
        raise _refused("it was issued to another client", expected=issuer.client)


def _check_use(claims: Mapping[str, Any]) -> None:
    """An ID or refresh token is no key to anything, and a token bound to a key is not for whoever bears it."""
    if any(name in claims for name in _ID_ONLY) or claims.get("typ") in ("ID", "Refresh", "Offline"):
        raise _refused("it is no access token")
    if "cnf" in claims:
        raise _refused("it is bound to a key of its holder, which is not looked at here")


def _moment(claims: Mapping[str, Any], name: str) -> int | None:
    """A NumericDate in microseconds; None where there is none. Raises Unauthenticated."""
    value = claims.get(name)
    if value is None and name not in claims:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value) or abs(value) > 1e11:
        raise _refused(f"its {name} is no time in seconds")
    return round(value * 1_000_000)


def _refused(why: str, *, expected: object = None) -> Unauthenticated:
    return Unauthenticated(f"the token is not accepted: {why}", expected=expected, mend=_MEND, code="token_invalid")
