"""The public keys of an issuer: from its declaration, or discovered, read again in time, and kept on this node.

The address of the keys comes from the issuer's own discovery document over TLS (OpenID Connect Discovery 1.0, section
4), never from a token. A key that nobody knows makes the issuer be asked once in a while, however many tokens name one.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import httpx
import msgspec
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey, import_key

from pilotage.access.issuers import Issuer, safe_url
from pilotage.errors import PilotageError, Unauthenticated, Unavailable
from pilotage.kernel.clock import Clock, now_us
from pilotage.storage.objects import write_durably

__all__ = [
    "CannotAsk",
    "Discovered",
    "IssuerKeys",
    "PublicKey",
    "ask",
    "client_of",
    "discover",
    "fetch",
    "readable_keys",
    "send",
]

_log = logging.getLogger(__name__)
_ASK_S = 5.0
_COOL_S = 10
_MOST_BYTES = 262_144
_MOST_KEYS = 100
_RSA_BITS = (2_048, 8_192)
_SECOND = 1_000_000

PublicKey = RSAKey | ECKey | OKPKey
_Form = TypeVar("_Form")


class CannotAsk(Exception):
    """The issuer's documents cannot be read; says why, in words that hold nothing of theirs."""


class Discovered(NamedTuple):
    """What an issuer's discovery document says: where its keys are, and for signing in, where to go."""

    keys: str
    authorize: str
    token: str
    logout: str


class _Kept(msgspec.Struct, frozen=True):
    """The file of an issuer's keys: read at `at` (Unix microseconds) from `issuer`. Nothing in it is secret."""

    issuer: str
    at: int
    keys: list[dict[str, Any]]


class _Key(NamedTuple):
    id: str | None
    key: PublicKey


class IssuerKeys:
    """One issuer's keys, for any number of threads. `folder` is where what was read is kept over a restart.

    `find` never waits; `refresh` asks the issuer, and blocks for up to five seconds. `version` grows when they change.
    """

    def __init__(self, issuer: Issuer, folder: Path, clock: Clock = now_us) -> None:
        self._issuer, self._path, self._clock = issuer, folder / f"{issuer.name}.json", clock
        self._asking = threading.Lock()
        self._keys: tuple[_Key, ...] = ()
        self._read_at, self._tried_at = 0, 0
        self._complaint = ""
        self.version = 0
        if issuer.keys:
            self._take(_Kept(issuer.issuer, 0, msgspec.json.decode(issuer.keys, type=_Set).keys))
        else:
            self._take_kept()

    @property
    def offline(self) -> bool:
        """Whether the keys are those of the declaration."""
        return bool(self._issuer.keys)

    @property
    def until(self) -> int:
        """Until when the keys are good, Unix microseconds; far away for those of the declaration."""
        return 2**62 if self.offline else self._read_at + self._issuer.keep_s * _SECOND

    @property
    def due(self) -> bool:
        """Whether the issuer should be asked: in time, and when nothing is known, but not again and again."""
        now = self._clock()
        old = now >= self._read_at + self._issuer.refresh_s * _SECOND
        return not self.offline and old and self.may_ask

    @property
    def may_ask(self) -> bool:
        """Whether the issuer may be asked now: at most once in ten seconds, or as often as it is asked anyway."""
        cool = min(_COOL_S, self._issuer.refresh_s) * _SECOND
        return not self.offline and not 0 <= self._clock() - self._tried_at < cool

    @property
    def usable(self) -> bool:
        """Whether the keys were read, and not too long ago."""
        return self._clock() < self.until

    def find(self, id: object, suits: Callable[[PublicKey], bool]) -> PublicKey | None:
        """The key of an id that suits; without an id the only one that does."""
        fit = [each.key for each in self._keys if (id is None or each.id == id) and suits(each.key)]
        return fit[0] if fit and (id is not None or len(fit) == 1) else None

    def refresh(self) -> None:
        """Read the keys again, from the issuer or from what another process here has just read.

        What cannot be read changes nothing and is logged once. Whoever comes while another thread asks does not wait.
        """
        if not self._asking.acquire(blocking=False):
            return
        try:
            if self.may_ask:
                self._tried_at = self._clock()
                self._read()
        finally:
            self._asking.release()

    def refusal(self) -> PilotageError:
        """Why a token whose key is unknown is not accepted."""
        if self.usable:
            return Unauthenticated(
                "the token is not accepted: the issuer has no such key",
                mend="get a new token from the issuer",
                code="token_invalid",
            )
        return Unavailable(
            "the keys of the token's issuer cannot be read, or not for too long",
            mend="make the issuer reachable from here; `pilotage oidc check` says what fails",
            code="issuer_unavailable",
        )

    def _read(self) -> None:
        read_at = self._read_at
        self._take_kept()
        if self._read_at > read_at:
            return
        try:
            kept = _Kept(self._issuer.issuer, self._clock(), asyncio.run(ask(self._issuer)))
        except CannotAsk as error:
            self._complain(error)
            return
        self._complaint = ""
        self._take(kept)
        self._keep(kept)

    def _take(self, kept: _Kept) -> None:
        """Go on with other keys. The tuple is swapped whole, since `find` takes no lock."""
        keys = tuple(_Key(str(key["kid"]) if "kid" in key.as_dict() else None, key) for key in readable_keys(kept.keys))
        if [(each.id, each.key.as_dict()) for each in keys] != [(each.id, each.key.as_dict()) for each in self._keys]:
            self.version += 1
        self._keys, self._read_at = keys, kept.at

    def _take_kept(self) -> None:
        try:
            kept = msgspec.json.decode(self._path.read_bytes(), type=_Kept)
        except (OSError, msgspec.DecodeError):
            return
        if kept.issuer == self._issuer.issuer and self._read_at < kept.at <= self._clock() + 60 * _SECOND:
            self._take(kept)

    def _keep(self, kept: _Kept) -> None:
        try:
            write_durably(self._path, msgspec.json.encode(kept))
        except OSError as error:
            _log.warning("the keys of issuer %s cannot be kept: %s", self._issuer.name, error.strerror)

    def _complain(self, error: CannotAsk) -> None:
        complaint = str(error)
        if complaint != self._complaint:
            self._complaint = complaint
            _log.warning("the keys of issuer %s cannot be read: %s", self._issuer.name, complaint)


class _Set(msgspec.Struct, frozen=True):
    keys: list[dict[str, Any]]


class _Document(msgspec.Struct, frozen=True):
    issuer: str
    jwks_uri: str
    authorization_endpoint: str = ""
    token_endpoint: str = ""
    end_session_endpoint: str = ""


def readable_keys(keys: Iterable[dict[str, Any]]) -> list[PublicKey]:
    """Those of a JWK set that may verify a token: public, asymmetric, for signatures, and long enough."""
    found: list[PublicKey] = []
    for each in list(keys)[:_MOST_KEYS]:
        if "d" in each or each.get("use", "sig") != "sig" or not isinstance(each.get("kid", ""), str):
            continue
        if each.get("kty") not in ("RSA", "EC", "OKP"):
            continue
        if each.get("kty") == "RSA" and len(str(each.get("n"))) * 6 < _RSA_BITS[0]:
            # The library would only warn.
            continue
        try:
            key = import_key(each)
        except (JoseError, ValueError, TypeError):
            continue
        if isinstance(key, RSAKey) and not _RSA_BITS[0] <= key.raw_value.key_size <= _RSA_BITS[1]:
            continue
        if isinstance(key, RSAKey | ECKey | OKPKey):
            found.append(key)
    return found


def client_of(issuer: Issuer) -> httpx.AsyncClient:
    """What asks an issuer: the machine's authorities are believed, no redirect is followed, nothing is unpacked."""
    for library in ("httpx", "httpcore"):
        logging.getLogger(library).setLevel(logging.WARNING)
    secure = issuer.issuer.startswith("https:")
    context = ssl.create_default_context() if secure else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return httpx.AsyncClient(verify=context, headers={"accept-encoding": "identity"})


async def ask(issuer: Issuer) -> list[dict[str, Any]]:
    """Every key of the issuer, within five seconds. Raises CannotAsk."""
    try:
        async with asyncio.timeout(_ASK_S), client_of(issuer) as client:
            found = await discover(client, issuer)
            keys = _decoded(await fetch(client, found.keys), _Set, "JWK set").keys
    except TimeoutError:
        raise CannotAsk("it does not answer in time") from None
    except (OSError, httpx.HTTPError) as error:
        raise CannotAsk(f"it cannot be reached: {type(error).__name__}") from error
    if not readable_keys(keys):
        raise CannotAsk("it has no key that can verify a token")
    return keys


async def discover(client: httpx.AsyncClient, issuer: Issuer) -> Discovered:
    """Read the discovery document. Raises CannotAsk (it is none, or another issuer's), httpx.HTTPError."""
    address = issuer.issuer.rstrip("/") + "/.well-known/openid-configuration"
    document = _decoded(await fetch(client, address), _Document, "discovery document")
    if document.issuer != issuer.issuer:
        raise CannotAsk("its discovery document is of another issuer")
    if not safe_url(document.jwks_uri):
        raise CannotAsk("its keys are at an address that is not https")
    return Discovered(
        document.jwks_uri, document.authorization_endpoint, document.token_endpoint, document.end_session_endpoint
    )


async def fetch(client: httpx.AsyncClient, address: str) -> bytes:
    """The bounded body behind an address; no redirect is followed. Raises CannotAsk, httpx.HTTPError."""
    return await send(client, "GET", address)


async def send(client: httpx.AsyncClient, method: str, address: str, **asked: Any) -> bytes:
    """The bounded body of an answer of 200; no redirect is followed. Raises CannotAsk, httpx.HTTPError."""
    content = bytearray()
    async with client.stream(method, address, headers={"accept": "application/json"}, **asked) as response:
        if response.status_code != 200:
            raise CannotAsk(f"it answers {response.status_code}")
        async for part in response.aiter_raw():
            content += part
            if len(content) > _MOST_BYTES:
                raise CannotAsk("its answer is too long")
    return bytes(content)


def _decoded(content: bytes, kind: type[_Form], what: str) -> _Form:
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise CannotAsk(f"its {what} cannot be read") from None
