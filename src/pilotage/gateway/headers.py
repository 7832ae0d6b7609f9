"""What the gateway reads of a request's headers, in one pass."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

__all__ = ["Headers", "read_headers"]


_COUNT = frozenset(
    (b"authorization", b"content-length", b"x-api-key", b"traceparent", b"idempotency-key", b"x-request-timeout")
)


class Headers(msgspec.Struct, frozen=True, gc=False):
    """`key` is the API key presented, `length` the declared length of the body, `trace` the caller's W3C trace id,
    `timeout` how long the caller wants to wait.

    `once` is the idempotency key, None when there is none.

    Each other is empty when it is not there; a `traceparent` that is not well formed gives no trace. `unusual` says
    that a header asks for more than an answer, so that the short way must not take the request.
    """

    key: bytes = b""
    length: bytes = b""
    trace: str = ""
    unusual: bool = False
    once: bytes | None = None
    timeout: bytes = b""


def read_headers(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """The few headers that count; names are in lower case. `Authorization: Bearer` comes before `X-API-Key`."""
    bearer = key = length = timeout = b""
    trace, unusual, once = "", False, None
    for name, value in headers:
        if name not in _COUNT:
            continue
        if name == b"authorization":
            if value[:7].lower() == b"bearer ":
                bearer = value[7:].strip()
        elif name == b"content-length":
            length = value
        elif name == b"x-api-key":
            key = value.strip()
        elif name == b"traceparent":
            trace = _trace(value)
        elif name == b"idempotency-key":
            once, unusual = value.strip(), True
        elif name == b"x-request-timeout":
            timeout, unusual = value, True
    return Headers(bearer or key, length, trace, unusual, once, timeout)


def _trace(value: bytes) -> str:
    trace = value[3:35]
    return trace.decode() if len(value) == 55 and not trace.strip(b"0123456789abcdef") else ""
