"""How another address is asked over HTTP: certificates verified, nothing followed, every reply bounded.

A client made here goes to the declared address and nowhere else: no redirect, no proxy, no password file.
"""

from __future__ import annotations

import logging
import ssl

import httpx

from pilotage import __version__

__all__ = ["bounded", "client", "tls_of"]

_IDLE = 16


def tls_of(url: str) -> ssl.SSLContext:
    """Verifies certificates and names by the machine's authorities; one that trusts nobody where there is no TLS."""
    return ssl.create_default_context() if url.startswith("https:") else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def client(url: str, tls: ssl.SSLContext, patience_s: float) -> httpx.AsyncClient:
    """A client for JSON of one address."""
    # They log addresses, headers and the words of the other side, each call, at levels that an operator may choose.
    for library in ("httpx", "httpcore"):
        logging.getLogger(library).setLevel(logging.WARNING)
    return httpx.AsyncClient(
        base_url=url,
        verify=tls,
        timeout=patience_s,
        # The caller's bulkhead bounds calls; a second queue here would only hide how many wait.
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=_IDLE),
        follow_redirects=False,
        trust_env=False,
        headers={
            "user-agent": f"pilotage/{__version__}",
            "content-type": "application/json",
            "accept": "application/json",
            "accept-encoding": "identity",
        },
    )


async def bounded(response: httpx.Response, most: int) -> bytes | None:
    """The body as it came, None beyond `most` bytes: never unpacked, so that a few bytes stay a few."""
    content = bytearray()
    async for part in response.aiter_raw():
        content += part
        if len(content) > most:
            return None
    return bytes(content)
