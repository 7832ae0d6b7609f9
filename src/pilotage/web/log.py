"""The published log over HTTP, read-only, as C2SP tlog-tiles; and the door for witnesses' cosignatures.

Hash tiles and the checkpoint need `log.read`; entry bundles, which are the plain parts of decisions, `decision.read`.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from pilotage.access.model import require
from pilotage.errors import InputError, IntegrityError, NotFound
from pilotage.ledger.cosigned import accept_cosignature
from pilotage.ledger.notes import read_checkpoint_body
from pilotage.ledger.tiles import TILE_WIDTH, parse_tile_name, published_tile, read_checkpoint
from pilotage.web.bodies import json_object, read_body
from pilotage.web.session import person_of
from pilotage.wiring.installation import Installation
from pilotage.wiring.keys import verifier_keys

__all__ = ["TABLE", "CosignatureBody", "routes"]

TABLE = (
    ("GET", "/log/checkpoint", "log.read"),
    ("GET", "/log/tile/{path}", "log.read; entries decision.read"),
    ("POST", "/log/cosignatures", "log.cosign"),
)
"""(method, path, permission) of each route, as the documentation lists them."""

_FOR_EVER = "private, max-age=31536000, immutable"
_A_WHILE = "private, max-age=60"


class CosignatureBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a witness sends: its verifier key, and the checkpoint with the log's line and its own."""

    vkey: str
    note: str


def routes(installation: Installation) -> list[BaseRoute]:
    """The log's routes."""
    log = _Log(installation)
    return [
        Route("/log/checkpoint", _endpoint(log.checkpoint), methods=["GET"]),
        Route("/log/tile/{path:path}", _endpoint(log.tile), methods=["GET"]),
        Route("/log/cosignatures", _endpoint(log.cosignature), methods=["POST"]),
    ]


def _endpoint(work: Callable[[Request, bytes], Response]) -> Callable[[Request], object]:
    async def endpoint(request: Request) -> Response:
        content = await request.body() if request.method == "POST" else b""
        return await run_in_threadpool(work, request, content)

    return endpoint


class _Log:
    """The work behind each route, in a thread."""

    def __init__(self, installation: Installation) -> None:
        self._installation, self._folder = installation, installation.home.ledger

    def checkpoint(self, request: Request, _content: bytes) -> Response:
        require(person_of(request, self._installation), "log.read")
        text = self._installation.ledger().checkpoint_with_cosignatures()
        return Response(text, media_type="text/plain; charset=utf-8", headers={"cache-control": "no-store"})

    def tile(self, request: Request, _content: bytes) -> Response:
        person = person_of(request, self._installation)
        require(person, "log.read")
        named = parse_tile_name(f"tile/{request.path_params['path']}")
        if named is None:
            raise NotFound("not the name of a tile", expected="tile/<L>/<N>[.p/<W>]", mend="see c2sp.org/tlog-tiles")
        level, number, width = named
        if level == "entries":
            require(person, "decision.read")
        size = read_checkpoint_body(read_checkpoint(self._folder)).size
        content = published_tile(self._folder, level, number, width, size)
        kept = _FOR_EVER if width == TILE_WIDTH else _A_WHILE
        return Response(content, media_type="application/octet-stream", headers={"cache-control": kept})

    def cosignature(self, request: Request, content: bytes) -> Response:
        require(person_of(request, self._installation), "log.cosign")
        if len(content) > 8_192:
            raise InputError("too long for a cosignature", got=len(content), expected="8,192 bytes", mend="send less")
        sent = read_body(CosignatureBody, json_object(content))
        keys = verifier_keys(self._installation)
        engine, now_s = self._installation.ledger_engine, int(time.time())
        try:
            found = accept_cosignature(self._folder, engine, keys, vkey=sent.vkey, note=sent.note, now_s=now_s)
        except IntegrityError as error:  # of what was sent, not of what is stored
            raise InputError(error.what, got=error.got, expected=error.expected, mend=error.mend) from None
        return JSONResponse({"witness": found.witness, "size": found.size, "at": found.at}, status_code=201)
