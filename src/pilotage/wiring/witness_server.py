"""A witness as an HTTP service: `POST /add-checkpoint`, for logs that bring their checkpoints themselves."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import uvicorn

from pilotage.errors import InputError
from pilotage.ledger.witness_service import MOST_BYTES, Reply, WitnessService

__all__ = ["listen", "serve_witness", "witness_app"]

_BODY_S = 10.0
_TOO_LONG = Reply(400, f"a submission has at most {MOST_BYTES} bytes\n")


def listen(address: str) -> socket.socket:
    """A listening socket at HOST:PORT; port 0 picks a free one. Raises InputError."""
    host, colon, port = address.rpartition(":")
    try:
        if not colon or not host:
            raise ValueError("HOST:PORT")
        return socket.create_server((host.strip("[]"), int(port)), family=_family(host))
    except (OSError, ValueError, OverflowError) as error:
        raise InputError(
            "cannot listen there", got=f"{address}: {error}", expected="HOST:PORT", mend="mend it"
        ) from error


def witness_app(service: WitnessService) -> Callable[..., Awaitable[None]]:
    """The ASGI application over one service."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        reply = await _reply(service, scope, receive)
        content = reply.body.encode()
        headers = [
            (b"content-type", reply.kind.encode()),
            (b"content-length", str(len(content)).encode()),
            (b"cache-control", b"no-store"),
        ]
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    return app


def serve_witness(
    service: WitnessService, listener: socket.socket, certificate: Path | None = None, key: Path | None = None
) -> None:
    """Answer until SIGTERM or SIGINT; over TLS with a certificate and its key, both PEM files."""
    config = uvicorn.Config(
        witness_app(service),
        lifespan="off",
        ws="none",
        interface="asgi3",
        access_log=False,
        log_config=None,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        limit_concurrency=64,
        timeout_keep_alive=60,
        timeout_graceful_shutdown=3,
        ssl_certfile=certificate,
        ssl_keyfile=key,
    )
    try:
        config.load()
    except OSError as error:
        mend = "name PEM files: --tls-certificate and --tls-key"
        raise InputError("the TLS files cannot be used", got=error, mend=mend) from error
    uvicorn.Server(config).run(sockets=[listener])


async def _reply(service: WitnessService, scope: Any, receive: Any) -> Reply:
    if scope["path"] != "/add-checkpoint":
        return Reply(404, "there is only /add-checkpoint\n")
    if scope["method"] != "POST":
        return Reply(405, "send it with POST\n")
    try:
        content = await asyncio.wait_for(_body(receive), _BODY_S)
    except TimeoutError:
        return Reply(408, "the submission did not come\n")
    return _TOO_LONG if content is None else await asyncio.to_thread(service.add_checkpoint, content)


async def _body(receive: Any) -> bytes | None:
    """The whole body; None when it is too long or broken off."""
    content = b""
    while True:
        message = await receive()
        content += bytes(message.get("body", b""))
        if len(content) > MOST_BYTES or message["type"] != "http.request":
            return None
        if not message.get("more_body"):
            return content


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
