"""How requests are turned away, in words: what makes no decision, and what the client may do about it."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from pilotage.errors import NotFound, PilotageError, Unavailable
from pilotage.gateway.addresses import ADDRESSES, Address, is_open_inference
from pilotage.gateway.open_inference import infer_error
from pilotage.gateway.reply import Denied, Reply, error_reply
from pilotage.kernel.ids import uuid7

__all__ = [
    "must_take",
    "no_idempotency",
    "no_such_address",
    "no_such_system",
    "not_ready",
    "overloaded",
    "refusal_reply",
]


def refusal_reply(scope: MutableMapping[str, Any], error: PilotageError, *headers: tuple[bytes, bytes]) -> Reply:
    """An error in the form of the protocol that was spoken, with the headers that its kind asks for."""
    if error.status == 401:
        bearer = b'Bearer error="invalid_token"' if error.code.startswith("token_") else b"Bearer"
        headers = (*headers, (b"www-authenticate", bearer))
    return (infer_error if is_open_inference(scope["path"]) else error_reply)(error, uuid7(), *headers)


def not_ready(*, failed: bool, draining: bool) -> Unavailable:
    """Why a worker answers nothing now."""
    if failed:
        return Unavailable(
            "decisions cannot be recorded, so none is made",
            code="journal_failed",
            mend="free or replace the disk; retry",
        )
    if draining:
        return Unavailable("this worker is stopping", code="draining", mend="try again")
    return Unavailable("no serving plan yet", code="no_plan", mend="try again in a moment; promote a release")


def overloaded() -> Denied:
    """As many requests are worked on as may be."""
    return Denied(
        "too many requests are being worked on",
        status=503,
        code="overloaded",
        mend="try again in a second",
        headers=[(b"retry-after", b"1")],
    )


def no_such_address(path: str) -> NotFound:
    """Nothing is asked at this path."""
    expected = ", ".join(address.template for address in ADDRESSES if address.name in ("decide", "v2_infer"))
    return NotFound("no such address", got=path[:200], expected=expected, mend="mend the address")


def no_such_system(system: str) -> NotFound:
    """No route of the plan leads to this system."""
    return NotFound("no such system is live", got=system[:200], mend="check the name", code="unknown_system")


def no_idempotency() -> Denied:
    """This gateway was started without a place to keep answers."""
    return Denied(
        "this gateway keeps no answers for idempotency keys",
        status=503,
        code="idempotency_unavailable",
        mend="send the request without the header Idempotency-Key",
    )


def must_take(method: str, address: Address) -> None:
    """Raises Denied 405 when an address takes no such method; HEAD is GET without the body."""
    if method in address.methods or (method == "HEAD" and "GET" in address.methods):
        return
    raise Denied(
        "this address takes no such method",
        status=405,
        code="method_not_allowed",
        got=method[:20],
        expected=address.allow.decode(),
        mend=f"send {' or '.join(address.methods)}",
        headers=[(b"allow", address.allow)],
    )
