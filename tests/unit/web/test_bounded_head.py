"""The head of a request to the console is bounded, as the gateway's is; what fits is answered, streams too."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from pilotage.web.bounded_head import BoundedHead


async def answer(request: Request) -> Response:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"piece "
            await asyncio.sleep(0)

    return StreamingResponse(pieces(), headers={"x-length": str(len(await request.body()))})


APP = Starlette(routes=[Route("/", answer, methods=["GET", "POST"])])


def spoken(*pieces: bytes) -> bytes:
    """All that the server says to these bytes on one connection, until it or half a second ends it."""

    async def talk() -> bytes:
        config = uvicorn.Config(APP, http=BoundedHead, lifespan="off", ws="none", log_config=None)
        config.load()
        state = uvicorn.Server(config).server_state
        server = await asyncio.get_running_loop().create_server(
            lambda: BoundedHead(config=config, server_state=state, app_state={}), "127.0.0.1", 0
        )
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        said = b""
        try:
            async with asyncio.timeout(0.6):
                for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0.005)
                while data := await reader.read(65_536):
                    said += data
                said += b"<end>"
        except ConnectionError:
            said += b"<reset>"
        except TimeoutError:
            said += b"<open>"
        finally:
            writer.close()
            server.close()
        return said

    return asyncio.run(talk())


FITS = b"GET / HTTP/1.1\r\nhost: x\r\nx-long: " + b"a" * 30_000 + b"\r\n\r\n"


def test_what_fits_is_answered_again_and_again_on_one_connection() -> None:
    body = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 200000\r\n\r\n" + b"b" * 200_000
    said = spoken(FITS, body, FITS)
    assert said.count(b"HTTP/1.1 200 OK") == 3 and b"x-length: 200000" in said and said.endswith(b"<open>")
    assert said.count(b"piece ") == 9


@pytest.mark.parametrize(
    "pieces",
    [
        [b"GET / HTTP/1.1\r\nhost: x\r\nx-long: " + b"a" * 40_000 + b"\r\n\r\n"],
        [b"GET / HTTP/1.1\r\nhost: x\r\n" + b"x-many: 1\r\n" * 4_000 + b"\r\n"],
        [b"GET / HTTP/1.1\r\n", *[b"x-never: ends\r\n" * 500] * 6],
        [b"GET /", *[b"a" * 9_000] * 5],
    ],
    ids=["long", "many", "never ends", "address"],
)
def test_a_head_over_the_bound_is_answered_431_and_the_connection_closed(pieces: list[bytes]) -> None:
    said = spoken(*pieces)
    assert said.startswith(b"HTTP/1.1 431 ") and b"headers_too_large" in said and b"200 OK" not in said
    assert said.endswith((b"<end>", b"<reset>"))


def test_what_is_no_http_is_told_so() -> None:
    assert spoken(b"\x16\x03\x01 what\r\n\r\n").startswith(b"HTTP/1.1 400 ")
