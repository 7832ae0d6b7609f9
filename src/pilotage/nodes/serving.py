"""A node's side: answer what the steward asks of this node's journal. One client, known by its certificate."""

from __future__ import annotations

import asyncio
import os
import re
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import msgspec
import uvicorn

from pilotage.errors import Conflict, InputError, NotFound, PilotageError
from pilotage.ledger.frames import END_BYTES
from pilotage.ledger.journal_reader import FrameScan, JournalFile, node_files
from pilotage.nodes.certificates import server_context
from pilotage.nodes.model import FileState, Identity, Listing, Place

__all__ = ["JournalShelf", "journal_app", "serve_journals"]

CHUNK_BYTES = 8 << 20
_BODY_BYTES = 4_096
_FILE = re.compile(r"/v1/journal/(\d{1,4})-(\d{1,12})(/sealed)?")
_place = msgspec.json.Decoder(Place).decode


class JournalShelf:
    """The journal files of one node, as far as they are good and on the disk. For one thread at a time."""

    def __init__(self, folder: Path, identity: Identity) -> None:
        self._folder, self._identity = folder, identity
        self._ends: dict[str, tuple[Place, bool]] = {}

    def listing(self) -> Listing:
        """Every file with the end of its good frames."""
        files = node_files(self._folder) if self._folder.is_dir() else []
        self._ends = {file.name: end for file in files if (end := self._ends.get(file.name))}
        states = [
            FileState(worker=file.worker, n=file.n, size=self._end(file).offset, finished=file.finished)
            for file in files
        ]
        return Listing(node=self._identity.name, instance=self._identity.instance, files=states)

    def read(self, worker: int, n: int, place: Place) -> bytes:
        """Whole frames from a place on, about `CHUNK_BYTES`; at offset 0 the header first. Raises IntegrityError."""
        file = self._file(worker, n)
        scan = _scan(file, place)
        end = scan.offset if not place.offset else place.offset
        for at, _, frame in scan:
            end = at + frame.length
            if end - place.offset >= CHUNK_BYTES:
                break
        else:
            end = scan.offset + END_BYTES if scan.clean else end
        with file.path.open("rb") as opened:
            os.fdatasync(opened.fileno())
            opened.seek(place.offset)
            return opened.read(end - place.offset)

    def sealed(self, worker: int, n: int, place: Place) -> bool:
        """The ledger holds this file up to a place: delete it, if that is its end and a newer one follows."""
        try:
            file = self._file(worker, n)
        except NotFound:
            return False
        if not file.removable:
            raise Conflict("this file is still in use", got=file.name, mend="acknowledge it when a newer one follows")
        end = self._end(file)
        if (end.offset, end.chain) != (place.offset, place.chain):
            raise Conflict(
                "what was sealed is not what this file holds: it is kept",
                code="not_what_was_sealed",
                got=f"byte {place.offset}, chain {place.chain}",
                expected=f"byte {end.offset}, chain {end.chain}",
                mend="compare the copy on the steward's machine with this file",
            )
        file.path.unlink(missing_ok=True)
        return True

    def _file(self, worker: int, n: int) -> JournalFile:
        files = node_files(self._folder) if self._folder.is_dir() else []
        found = next((file for file in files if (file.worker, file.n) == (worker, n)), None)
        if found is None:
            raise NotFound("there is no such journal file here", got=f"{worker}-{n}", mend="list the files again")
        return found

    def _end(self, file: JournalFile) -> Place:
        """Where the good frames end, reading on from where the last look ended. Nothing beyond damage counts."""
        known, final = self._ends.get(file.name, (Place(offset=0, chain=""), False))
        if final:
            return known
        with suppress(PilotageError, OSError):
            scan = _scan(file, known)
            known = Place(offset=scan.offset, chain=scan.chain.hex())
            for at, _, frame in scan:
                known = Place(offset=at + frame.length, chain=frame.chain.hex())
            final = file.finished
            if scan.clean:
                known = Place(offset=scan.offset + END_BYTES, chain=scan.chain.hex())
        self._ends[file.name] = known, final
        return known


def _scan(file: JournalFile, place: Place) -> FrameScan:
    return FrameScan(file, place.offset, bytes.fromhex(place.chain)) if place.offset else FrameScan(file)


def journal_app(shelf: JournalShelf) -> Callable[..., Awaitable[None]]:
    """The ASGI application over one shelf."""
    lock = asyncio.Lock()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            body = await _body(receive) if scope["method"] == "POST" else b""
            async with lock:
                status, kind, content = await asyncio.to_thread(_answer, shelf, scope, body)
        except PilotageError as error:
            status, kind = error.status, b"application/json"
            content = msgspec.json.encode({"error": {"code": error.code, "what": error.what}})
        headers = [(b"content-type", kind), (b"content-length", str(len(content)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    return app


def _answer(shelf: JournalShelf, scope: Any, body: bytes) -> tuple[int, bytes, bytes]:
    method, path = scope["method"], scope["path"]
    if (method, path) == ("GET", "/v1/journal"):
        return 200, b"application/json", msgspec.json.encode(shelf.listing())
    match = _FILE.fullmatch(path)
    if match is None or method != ("POST" if match[3] else "GET"):
        raise NotFound("there is no such page", got=path, mend="see docs/how-to/several-nodes.md")
    worker, n = int(match[1]), int(match[2])
    if match[3]:
        return 200, b"application/json", msgspec.json.encode({"deleted": shelf.sealed(worker, n, _given(body))})
    query = parse_qs(scope["query_string"].decode("ascii", "replace"))
    asked = msgspec.json.encode({"offset": int(query["from"][0]), "chain": query["chain"][0]}) if query else b"{}"
    return (
        200,
        b"application/octet-stream",
        shelf.read(worker, n, _given(asked) if query else Place(offset=0, chain="")),
    )


def _asked(query: bytes) -> Place:
    """The place of `?from=OFFSET&chain=HEX`; the file's beginning without."""
    if not query:
        return Place(offset=0, chain="")
    given = parse_qs(query.decode("ascii", "replace"))
    try:
        return _given(msgspec.json.encode({"offset": int(given["from"][0]), "chain": given["chain"][0]}))
    except (KeyError, ValueError) as error:
        raise InputError("this is no place in a journal", got=error, mend="send from and chain") from error


def _given(content: bytes) -> Place:
    try:
        place = _place(content)
        if place.offset < 0 or len(bytes.fromhex(place.chain)) != 32:
            raise ValueError("no place in a journal")
    except (msgspec.MsgspecError, ValueError) as error:
        raise InputError("this is no place in a journal", got=error, mend="send offset and chain") from error
    return place


async def _body(receive: Any) -> bytes:
    content = b""
    while True:
        message = await receive()
        content += bytes(message.get("body", b""))
        if len(content) > _BODY_BYTES or message["type"] != "http.request":
            raise InputError("the body is too long", expected=f"at most {_BODY_BYTES} bytes", mend="send a place")
        if not message.get("more_body"):
            return content


def serve_journals(folder: Path, identity: Identity, listener: socket.socket) -> None:
    """Answer over mutual TLS until SIGTERM."""
    shelf = JournalShelf(folder / identity.name, identity)
    config = uvicorn.Config(
        journal_app(shelf),
        lifespan="off",
        ws="none",
        interface="asgi3",
        access_log=False,
        log_config=None,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        limit_concurrency=16,
        timeout_keep_alive=60,
        timeout_graceful_shutdown=3,
    )
    config.load()
    config.ssl = server_context(identity.key, identity.certificate, identity.reader)
    uvicorn.Server(config).run(sockets=[listener])
