"""What a gateway may answer instead of a decision: one class for each thing a caller may do about it.

GatewayError          any of these
├── BadRequest        the request is wrong: mend it                            (400, 404, 405, 409, 413, 422, 431)
│   └── Rejected      a row does not fit the data contract: `faults` says how  (422; on record)
├── NotAllowed        bring another key, or ask for a scope                    (401, 403)
├── Busy              it could not answer now, nor when it was asked again     (408, 429, 502, 503, 504, no connection)
└── Failed            the gateway failed: tell its operator                    (any other)
"""

from __future__ import annotations

from typing import Any

import msgspec

from pilotage.errors import PilotageError

__all__ = ["BadRequest", "Busy", "Failed", "GatewayError", "NotAllowed", "Rejected", "error_of", "unreachable"]


class GatewayError(PilotageError):
    """The root. `code`, `got`, `expected`, `mend`, `faults` are the gateway's; `status` 0 says that none answered.

    `decision` and `receipt` are of the decision on record, empty when there is none; `request_id` is for its operator.
    `retry_after` is how many seconds the gateway asked to wait.
    """

    code = "unexpected_answer"
    request_id = ""
    decision = ""
    receipt = ""
    retry_after = 0.0


class BadRequest(GatewayError):
    """The request is wrong; mend it and try again."""


class Rejected(BadRequest):
    """A row does not fit the data contract; `faults` lists every fault, and the rejection is on record."""


class NotAllowed(GatewayError):
    """The key is unknown, expired or lacks the scope."""


class Busy(GatewayError):
    """No answer now, also not when asked again; the same call may succeed later."""


class Failed(GatewayError):
    """The gateway failed on this request."""


_BUSY = (408, 429, 502, 503, 504)


def error_of(status: int, body: bytes, *, receipt: str = "", retry_after: str = "") -> GatewayError:
    """The error in an answer of 400 or more; one that is not the gateway's own, such as a proxy's, is told as it is."""
    try:
        content = msgspec.json.decode(body)
        told = content["error"] if isinstance(content["error"], dict) else {}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError, TypeError):
        content, told = {}, {}
    error = _class(status, told)(
        str(told.get("message") or f"the gateway answered with status {status}"),
        mend=str(told.get("mend") or "look at what answers at this address"),
        got=told.get("got"),
        expected=told.get("expected"),
        code=str(told["code"]) if told.get("code") else None,
        faults=_faults(told.get("faults")),
    )
    error.status, error.receipt = status, receipt
    error.request_id, error.decision = str(content.get("request_id", "")), str(content.get("id", ""))
    error.retry_after = float(retry_after) if retry_after.isdigit() and len(retry_after) < 7 else 0.0
    return error


def unreachable(url: str, why: Exception) -> Busy:
    """The error of a gateway that gave no answer."""
    error = Busy(
        "the gateway gave no answer",
        got=f"{type(why).__name__}: {why}"[:300],
        mend=f"check that a gateway listens on {url}, then try again",
        code="unreachable",
    )
    error.status = 0
    return error


def _class(status: int, told: dict[str, Any]) -> type[GatewayError]:
    if status in (401, 403):
        return NotAllowed
    if status in _BUSY or told.get("code") == "idempotency_in_progress":
        return Busy
    if told.get("code") == "contract":
        return Rejected
    return BadRequest if 400 <= status < 500 else Failed


def _faults(value: object) -> list[dict[str, object]]:
    return [fault for fault in value if isinstance(fault, dict)] if isinstance(value, list) else []
