"""The requests of a client and the reading of their answers, without sending any: shared by both clients."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import quote
from uuid import uuid4

import msgspec

from pilotage.client.errors import GatewayError, error_of
from pilotage.client.model import Decision, Description, Told

__all__ = [
    "Answered",
    "Call",
    "decide_call",
    "describe_call",
    "outcome_call",
    "read_decision",
    "read_decisions",
    "read_description",
    "read_told",
    "ready_call",
]

_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request, the same at each attempt."""

    method: str
    path: str
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def repeatable(self) -> bool:
        """Whether sending it twice does no more than sending it once."""
        return self.method == "GET" or "idempotency-key" in self.headers


@dataclass(frozen=True, kw_only=True)
class Answered:
    """One HTTP answer; the names of `headers` are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def error(self) -> GatewayError:
        """What the answer says is wrong."""
        receipt, retry_after = self.headers.get("pilotage-receipt", ""), self.headers.get("retry-after", "")
        return error_of(self.status, self.body, receipt=receipt, retry_after=retry_after)

    @property
    def decides(self) -> bool:
        """Whether it holds decisions: those of many rows are told one by one, whatever the status."""
        return self.status < 400 or b'"decisions":[' in self.body[:200]


def decide_call(
    system: str, inputs: Mapping[str, Any] | Sequence[Mapping[str, Any]], *, once: str | None, trace: str | None
) -> Call:
    """Decide a row or many. `once` is the idempotency key, empty for none, None for a new one."""
    # The standard library's encoder: it writes NaN, which the contract names; msgspec would make it null.
    body = json.dumps({"inputs": inputs}, default=_plain).encode()
    return _post(f"/v1/systems/{quote(system, safe='')}/decide", body, once, trace)


def outcome_call(
    decision: str, value: object, *, at: str | None, source: str | None, system: str | None, once: str | None
) -> Call:
    """Tell what became of a decision."""
    facts = {"value": value, "at": at, "source": source, "system": system}
    body = json.dumps({name: fact for name, fact in facts.items() if fact is not None}, default=_plain).encode()
    return _post(f"/v1/decisions/{quote(decision, safe='')}/outcome", body, once, None)


def describe_call(system: str) -> Call:
    """Read the contract of a system."""
    return Call(method="GET", path=f"/v1/systems/{quote(system, safe='')}/decide")


def ready_call() -> Call:
    """Ask whether the gateway can decide."""
    return Call(method="GET", path="/ready")


def _post(path: str, body: bytes, once: str | None, trace: str | None) -> Call:
    headers = {"content-type": "application/json"}
    if once != "":
        headers["idempotency-key"] = once or str(uuid4())
    if trace:
        headers["traceparent"] = trace
    return Call(method="POST", path=path, body=body, headers=headers)


def _plain(value: Any) -> Any:
    """Numbers of numpy and the like as plain ones."""
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{type(value).__name__} is no JSON value; send numbers, text, true, false or None")


def read_decision(answered: Answered) -> Decision:
    """The decision of one row."""
    content = _read(answered, dict[str, Any])
    facts = {"answered_by": answered.headers.get("pilotage-answered-by", ""), "replayed": _replayed(answered)}
    return _as(content | facts | {"receipt": answered.headers.get("pilotage-receipt", "")}, Decision, answered)


def read_decisions(answered: Answered) -> list[Decision]:
    """The decisions of many rows, in their order."""
    content = _read(answered, dict[str, Any])
    shared = {"request_id": content.get("request_id", ""), "replayed": _replayed(answered)}
    shared["answered_by"] = answered.headers.get("pilotage-answered-by", "")
    rows = _as(content.get("decisions"), list[dict[str, Any]], answered)
    return _as([shared | row for row in rows], list[Decision], answered)


def read_description(answered: Answered) -> Description:
    """The description of a system."""
    content = _read(answered, dict[str, Any])
    example = content.get("example")
    return _as(content | {"example": example.get("inputs") if example else None}, Description, answered)


def read_told(answered: Answered) -> Told:
    """The outcome that is on record now."""
    return _read(answered, Told)


def _replayed(answered: Answered) -> bool:
    return answered.headers.get("idempotency-replayed") == "true"


def _read(answered: Answered, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(answered.body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise answered.error() from error


def _as(content: object, kind: type[_T], answered: Answered) -> _T:
    try:
        return msgspec.convert(content, kind)
    except msgspec.ValidationError as error:
        raise answered.error() from error
