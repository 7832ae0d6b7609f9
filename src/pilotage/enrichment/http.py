"""A feature source over HTTP: one POST asks for many entities, nothing that comes back is trusted.

    POST <address>   {"keys": [{"id": "c-1"}, ...], "columns": ["score", "updated_at"]}
    200              {"rows": [{"id": "c-1", "score": 7.5, "updated_at": "2026-03-01T10:00:00Z"}, ...]}

An entity that the source does not know is left out of `rows`.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from typing import Any

import httpx
import msgspec

from pilotage.contracts.enriching import Key
from pilotage.contracts.enrichment import Enrichment
from pilotage.contracts.model import ColumnType
from pilotage.enrichment.model import Entry, Told, failed, moment, value_of
from pilotage.errors import Unavailable
from pilotage.runtimes.outward import bounded, client, tls_of
from pilotage.runtimes.secret import Secret

__all__ = ["HttpSource"]

KEYS_A_CALL = 1_000
"""Entities of one call; more are asked for one call after the other."""
BYTES, BYTES_A_KEY = 65_536, 4_096
"""The longest reply that is read: so much, and so much for each key."""


class _Reply(msgspec.Struct, frozen=True):
    rows: list[dict[str, Any]]


_decoder = msgspec.json.Decoder(_Reply)


class HttpSource:
    """One client with its connections. A call ends when its caller gives up: its connection is closed then."""

    def __init__(self, declared: Enrichment, kinds: Mapping[str, ColumnType], url: str, token: Secret) -> None:
        self._declared, self._kinds, self._url, self._token = declared, kinds, url, token
        self._columns = [*declared.columns.values(), *([declared.time] if declared.time else [])]
        # Loading the authorities takes tens of milliseconds: here, where no event loop waits.
        self._tls = tls_of(url)
        self._client: httpx.AsyncClient | None = None
        self._closed = False

    async def start(self) -> None:
        """Nothing: a connection is made with the first call."""

    async def look_up(self, keys: Sequence[Key]) -> dict[Key, Entry]:
        """As the port says."""
        found: dict[Key, Entry] = {}
        for start in range(0, len(keys), KEYS_A_CALL):
            part = keys[start : start + KEYS_A_CALL]
            found |= self._entries(await self._ask(part), part)
        return found

    async def _ask(self, keys: Sequence[Key]) -> bytes:
        if self._closed:
            raise failed("the feature source was closed")
        headers = self._token.bearer()
        if headers is None:
            raise failed("this node's token for the feature source is gone")
        if self._client is None:
            self._client = client("", self._tls, self._declared.timeout)
        names = self._declared.key.values()
        asked = {"keys": [dict(zip(names, key, strict=True)) for key in keys], "columns": self._columns}
        try:
            content = msgspec.json.encode(asked)
            async with self._client.stream("POST", self._url, content=content, headers=headers) as response:
                if response.status_code != httpx.codes.OK:
                    raise failed("the feature source answered with a failure", response.status_code)
                reply = await bounded(response, BYTES + BYTES_A_KEY * len(keys))
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError, OSError) as error:
            # `from None`: an error of the library may quote what the other side sent.
            raise failed("the feature source cannot be reached", type(error).__name__) from None
        if reply is None:
            raise failed("the feature source's reply is too long")
        return reply

    def _entries(self, reply: bytes, keys: Sequence[Key]) -> dict[Key, Entry]:
        try:
            rows = _decoder.decode(reply).rows
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise failed("the feature source's reply is none of the protocol") from None
        asked, found = set(keys), dict[Key, Entry]()
        for row in rows:
            key = _key([row.get(name) for name in self._declared.key.values()])
            if key not in asked:
                # One wrong key puts all others in doubt.
                raise failed("the feature source's reply is to something else")
            if key in found:
                raise failed("the feature source knows an entity twice")
            values = {
                name: value_of(row[theirs], self._kinds[name])
                for name, theirs in self._declared.columns.items()
                if theirs in row
            }
            found[key] = Entry(values, moment(row.get(self._declared.time)) if self._declared.time else None)
        return found

    async def inspect(self) -> list[Told]:
        """As the port says; what its columns are, an HTTP source does not tell."""
        name = self._declared.source
        try:
            async with asyncio.timeout(self._declared.timeout):
                self._entries(await self._ask([]), [])
        except TimeoutError:
            return [Told(False, f"{name} gave no answer in {self._declared.timeout:g} s", "look at the source")]
        except Unavailable as error:
            got = f" ({error.got})" if error.got else ""
            return [Told(False, f"{name}: {error.what}{got}", error.mend)]
        return [Told(True, f"{name} answers; what its columns are is seen with the first entity")]

    async def close(self) -> None:
        """As the port says."""
        self._closed = True
        used, self._client = self._client, None
        if used is not None:
            await used.aclose()


def _key(values: Sequence[object]) -> Key | None:
    if any(isinstance(value, bool) or not isinstance(value, int | str) for value in values):
        return None
    return tuple(map(str, values))
