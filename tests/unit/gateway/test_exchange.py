"""The gateway's HTTP connections: answers leave whole, in order, and idle connections end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvicorn

from pilotage.gateway.protocol import BoundedHttp

App = Callable[[Any, Any, Any], Awaitable[None]]


class Quick(BoundedHttp):
    """As it ships, but a body that does not come is given up soon."""

    request_s = 0.3


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the method, the path and the body."""
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    if scope["path"] == "/slow":
        await asyncio.sleep(0.1)
    content = b"%s %s %s" % (scope["method"].encode(), scope["path"].encode(), body)
    headers = [(b"content-length", b"%d" % len(content)), (b"x-query", scope["query_string"])]
    if scope["path"] == "/bye":
        headers.append((b"connection", b"close"))
    if scope["path"] == "/split":
        headers.append((b"x-bad", b"a\r\nset-cookie: b"))
    if scope["path"] == "/fault":
        raise RuntimeError("on purpose")
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": content})


async def listening(kind: type[Quick], app: App = echo, idle_s: int = 75) -> asyncio.Server:
    """A server of such connections on a free port."""
    config = uvicorn.Config(app, http=kind, lifespan="off", ws="none", timeout_keep_alive=idle_s, log_config=None)
    config.load()
    state = uvicorn.Server(config).server_state
    return await asyncio.get_running_loop().create_server(
        lambda: kind(config=config, server_state=state, app_state={}), "127.0.0.1", 0
    )


def spoken(*pieces: bytes, app: App = echo, idle_s: int = 75, pause: float = 0.0) -> bytes:
    """All that a server says to these bytes on one connection, until it or half a second ends it."""

    async def talk() -> bytes:
        server = await listening(Quick, app, idle_s)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        said = b""
        try:
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(pause)
            async with asyncio.timeout(0.6 if idle_s > 5 else 5):
                while data := await reader.read(65_536):
                    said += data
                said += b"<end>"
        except TimeoutError:
            said += b"<open>"
        finally:
            writer.close()
            server.close()
        return said

    return asyncio.run(talk())


def request(path: str, body: bytes = b"", *headers: str, method: str = "POST") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "host: here", f"content-length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def test_an_answer_is_whole_and_the_connection_stays() -> None:
    said = spoken(request("/a?b=c", b"hello"))
    assert said == b"HTTP/1.1 200 OK\r\ncontent-length: 13\r\nx-query: b=c\r\n\r\nPOST /a hello<open>"


def test_requests_sent_at_once_are_answered_in_their_order() -> None:
    said = spoken(request("/slow", b"1") + request("/b", b"2") + request("/bye", b"3"))
    assert [said.index(part) for part in (b"POST /slow 1", b"POST /b 2", b"POST /bye 3")] == sorted(
        said.index(part) for part in (b"POST /slow 1", b"POST /b 2", b"POST /bye 3")
    )
    assert said.endswith(b"<end>")


def test_a_body_that_comes_in_pieces_and_chunks_is_whole() -> None:
    pieces = (
        b"POST /a HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n",
        b"3\r\nabc\r\n",
        b"2\r\nde\r\n0\r\n\r\n",
    )
    assert b"POST /a abcde" in spoken(*pieces, pause=0.02)
    assert b"POST /a " + b"x" * 300_000 in spoken(request("/a", b"x" * 300_000))


def test_a_request_whose_body_is_on_its_way_is_answered_when_the_server_stops() -> None:
    """Many clients send head and body apart: a stop in between must not cost them their answer."""
    connections: list[BoundedHttp] = []

    class Known(Quick):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            connections.append(self)

    async def talk() -> bytes:
        server = await listening(Known)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        head, _, body = request("/a", b"hello").partition(b"\r\n\r\n")
        writer.write(head + b"\r\n\r\n")
        while not connections or not connections[0]._waiting:
            await asyncio.sleep(0.005)
        connections[0].shutdown()
        writer.write(body)
        said = await asyncio.wait_for(reader.read(), 5)
        writer.close()
        server.close()
        return said

    said = asyncio.run(talk())
    assert said.endswith(b"POST /a hello")
    assert b"connection: close" in said


def test_a_head_asked_for_has_no_body() -> None:
    assert spoken(request("/a", method="HEAD")).endswith(b"\r\n\r\n<open>")


@pytest.mark.parametrize("headers", [("connection: close",), ()])
def test_who_asks_to_close_is_closed(headers: tuple[str, ...]) -> None:
    said = spoken(request("/a", b"", *headers))
    assert (b"connection: close\r\n" in said) is bool(headers)
    assert said.endswith(b"<end>" if headers else b"<open>")


def test_the_old_protocol_is_closed_after_its_answer() -> None:
    assert spoken(b"GET /a HTTP/1.0\r\n\r\n").endswith(b"GET /a <end>")


def test_a_client_that_waits_to_be_told_is_told_to_go_on() -> None:
    said = spoken(request("/a", b"", "expect: 100-continue"))
    assert said.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")


def test_a_fault_of_the_application_is_told_and_ends_the_connection() -> None:
    said = spoken(request("/fault"))
    assert said.startswith(b"HTTP/1.1 500 ") and b'"code":"internal"' in said and said.endswith(b"<end>")


def test_a_header_cannot_smuggle_in_another() -> None:
    said = spoken(request("/split"))
    assert b"set-cookie" not in said and said.startswith(b"HTTP/1.1 500 ")


def test_a_connection_that_rests_is_closed() -> None:
    assert spoken(request("/a"), idle_s=1).endswith(b"POST /a <end>")
    assert spoken(idle_s=1) == b"<end>"
