"""Read a C2SP log over HTTP, and send it cosignatures. Synchronous; follows no redirect, reads bounded answers."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from pilotage.errors import InputError, NotFound, Unavailable
from pilotage.ledger.tiles import TILE_WIDTH, tile_path
from pilotage.ledger.witness import LogTiles

__all__ = ["LogClient", "direct_opener"]

_TIMEOUT_S = 15
_MOST_BYTES = 65_536


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the token to wherever it leads."""

    def redirect_request(self, *_: object, **__: object) -> None:
        return None


def direct_opener() -> urllib.request.OpenerDirector:
    """What opens addresses and follows no redirect."""
    return urllib.request.build_opener(_NoRedirect)


class LogClient:
    """A log at `url`, the prefix before `/checkpoint`. `token` is sent as a bearer token, when there is one.

    Raises InputError for an address that is none, or that the log refuses; NotFound; Unavailable, when it should be
    tried again.
    """

    def __init__(self, url: str, token: str = "") -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise InputError("not the address of a log", got=url, expected="http(s)://host:port/log", mend="mend it")
        self.url = url.rstrip("/")
        self._token = token
        self._opener = direct_opener()

    def checkpoint(self) -> str:
        """The text of the published checkpoint."""
        try:
            return self._ask("checkpoint").decode()
        except UnicodeDecodeError:
            raise Unavailable("the log's checkpoint is no text", got=self.url, mend="is this address a log?") from None

    def tiles(self, size: int) -> LogTiles:
        """The hash tiles of the tree of `size` entries."""
        return LogTiles(size, self._tile)

    def send(self, vkey: str, note: str) -> None:
        """Give the log a witness's cosigned checkpoint."""
        self._ask("cosignatures", json.dumps({"vkey": vkey, "note": note}).encode())

    def _tile(self, level: int, number: int, width: int) -> bytes:
        name = tile_path(Path(), level, number, width).as_posix()
        try:
            return self._ask(name)
        except NotFound:
            if width == TILE_WIDTH:
                raise
        # A log may drop a partial tile when its full one is there, which begins alike.
        return self._ask(tile_path(Path(), level, number).as_posix())[: 32 * width]

    def _ask(self, path: str, body: bytes | None = None) -> bytes:
        request = urllib.request.Request(f"{self.url}/{path}", data=body)  # noqa: S310 - the scheme was checked
        if self._token:
            request.add_unredirected_header("Authorization", f"Bearer {self._token}")
        if body is not None:
            request.add_header("Content-Type", "application/json")
        try:
            with self._opener.open(request, timeout=_TIMEOUT_S) as response:
                content: bytes = response.read(_MOST_BYTES + 1)
        except urllib.error.HTTPError as error:
            with error:
                raise _refusal(error, f"{self.url}/{path}") from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise Unavailable(
                "the log cannot be reached", got=f"{reason}", expected=self.url, mend="try again"
            ) from None
        if len(content) > _MOST_BYTES:
            raise Unavailable("the log's answer is too long", got=f"over {_MOST_BYTES} bytes", mend="is it a log?")
        return content


def _refusal(error: urllib.error.HTTPError, url: str) -> InputError | NotFound | Unavailable:
    try:
        told = json.loads(error.read(_MOST_BYTES))["error"]["message"]
    except (ValueError, LookupError, TypeError, OSError):
        told = error.reason
    got = f"{error.code} {told}"
    if error.code == 404:
        return NotFound("the log has no such thing", got=f"{got}, {url}", mend="check the address")
    if error.code in (401, 403):
        mend = "pass --token or PILOTAGE_TOKEN; an admin issues one: pilotage people add NAME --role witness"
        return InputError("the log does not let us in", got=got, mend=mend)
    if 400 <= error.code < 500 and error.code not in (408, 429):
        return InputError("the log refuses this", got=got, mend="see what it says")
    return Unavailable("the log cannot answer now", got=got, mend="try again")
