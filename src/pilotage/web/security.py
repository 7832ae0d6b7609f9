"""What guards every page and API call: closed headers, size limits, same-origin writes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from urllib.parse import parse_qsl, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["POLICY", "Guard"]

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

_HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}

_MOST_BYTES = 1_048_576


class Guard:
    """ASGI middleware: security headers on every response, bodies up to 1 MiB, no cross-site write with a cookie."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        send = _with_headers(send, scope["path"])
        if not _from_here(scope["method"], scope["path"], headers):
            mend = "send it from the console's own pages, or with Authorization: Bearer"
            await _refuse(send, 403, "cross_site", "this write did not come from this site", mend)
        elif "\x00" in scope["path"]:
            await _refuse(send, 404, "not_found", "there is no such address", "leave the character NUL out of it")
        elif named := _with_nul(scope):
            what = "a parameter has the character NUL"
            await _refuse(send, 422, "invalid_input", what, "leave it out: no name or text here has it", named)
        elif _too_big(headers):
            what = f"the body is over {_MOST_BYTES:,} bytes, or does not say its length"
            await _refuse(send, 413, "body_too_large", what, "send less, with a Content-Length")
        else:
            await self.app(scope, receive, send)


def _from_here(method: str, path: str, headers: Headers) -> bool:
    """A bearer token is never sent by a browser on its own; a cookie is, so its writes must come from this site.

    So must a sign-in, or somebody could be signed in to another's account unawares.
    """
    if method in {"GET", "HEAD"} or "authorization" in headers:
        return True
    if path.startswith(("/api/", "/log/")) and "cookie" not in headers:
        return True
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in {"same-origin", "none"}
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc == headers.get("host")


def _with_nul(scope: Scope) -> list[str]:
    """The parameters that hold the character NUL, which PostgreSQL cannot compare with anything."""
    sent = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    return [name for name, value in sent if "\x00" in name + value]


def _too_big(headers: Headers) -> bool:
    if "transfer-encoding" in headers:
        return True
    length = headers.get("content-length", "0")
    return not (length.isascii() and length.isdecimal() and len(length) < 16) or int(length) > _MOST_BYTES


def _with_headers(send: Send, path: str) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers[name] = value
            if not path.startswith("/log/"):
                headers["cache-control"] = "no-cache" if path.startswith("/static/") else "no-store"
        await send(message)

    return send_with_headers


async def _refuse(send: Send, status: int, code: str, message: str, mend: str, unreadable: Sequence[str] = ()) -> None:
    error: dict[str, object] = {"code": code, "message": message, "mend": mend}
    if unreadable:
        error["faults"] = [{"path": each[:80], "code": "unreadable", "message": message} for each in unreadable]
    body = json.dumps({"error": error}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
