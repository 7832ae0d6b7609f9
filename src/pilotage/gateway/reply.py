"""What leaves: a status, headers and JSON bytes; errors say what happened, all faults, and the mend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from pilotage.errors import PilotageError

__all__ = ["JSON", "Denied", "Reply", "error_body", "error_reply", "internal_error", "json_reply"]

_encode = msgspec.json.Encoder().encode
JSON = (b"content-type", b"application/json")


class Denied(PilotageError):
    """A request turned away before the contract: counted, never a decision. `headers` go with the reply."""

    code = "denied"

    def __init__(
        self,
        what: str,
        *,
        status: int,
        code: str,
        mend: str,
        got: object = None,
        expected: object = None,
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        super().__init__(what, mend=mend, got=got, expected=expected, code=code)
        self.status = status
        self.headers = headers


class Reply(msgspec.Struct, frozen=True):
    """One HTTP answer, ready to send.

    For the metrics: `outcome`, a decision's or an error code, and `system`, where the address alone does not tell it.
    """

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    outcome: str = ""
    system: str = ""


def json_reply(status: int, content: Any, *headers: tuple[bytes, bytes], outcome: str = "") -> Reply:
    """A reply with a JSON body."""
    body = _encode(content)
    return Reply(status, [JSON, (b"content-length", b"%d" % len(body)), *headers], body, outcome)


def error_body(
    error: PilotageError, request_id: str, *, decision_id: str = "", faults: Sequence[Any] = ()
) -> dict[str, Any]:
    """The body of an error: {error: {code, message, got, expected, mend, faults}, request_id, id}."""
    body = error.as_dict()
    if faults:
        body["faults"] = faults
    content: dict[str, Any] = {"error": body, "request_id": request_id}
    if decision_id:
        content["id"] = decision_id
    return content


def error_reply(
    error: PilotageError,
    request_id: str,
    *headers: tuple[bytes, bytes],
    decision_id: str = "",
    faults: Sequence[Any] = (),
    outcome: str = "",
) -> Reply:
    """The reply that an error is answered with."""
    content = error_body(error, request_id, decision_id=decision_id, faults=faults)
    return json_reply(error.status, content, *headers, outcome=outcome or error.code)


def internal_error() -> PilotageError:
    """A fault of ours: the client hears that there was one, the log has the rest."""
    return PilotageError("the gateway failed on this request", code="internal", mend="tell the operator; see its log")
