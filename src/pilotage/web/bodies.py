"""Bodies of API requests, read into structs; every fault of a body is named at once."""

from __future__ import annotations

import re
from typing import Any, Literal, TypeVar

import msgspec

from pilotage.access.limits import Limit
from pilotage.errors import InputError
from pilotage.ledger.retention import Floor
from pilotage.wiring.retention import parse_period

__all__ = [
    "Approve",
    "ConfirmFairness",
    "Erase",
    "IssueKey",
    "Move",
    "Named",
    "Override",
    "PlaceHold",
    "Reason",
    "Resume",
    "ReviewFairness",
    "Rotate",
    "SetLimit",
    "SetRetention",
    "StartBacktest",
    "Suspend",
    "Switch",
    "json_object",
    "read_body",
]

_Kind = TypeVar("_Kind", bound=msgspec.Struct)
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
"""As JSON escapes it; PostgreSQL cannot keep it."""


class Approve(msgspec.Struct, frozen=True, kw_only=True):
    """An approval: which release, for which stage, in which role. `system` may be given, to be held against it."""

    release: str
    stage: str
    system: str = ""
    role: str = ""
    statement: str = ""


class ReviewFairness(msgspec.Struct, frozen=True, kw_only=True):
    """What a person concludes from how protected groups fare, and why."""

    acceptable: bool
    statement: str


class ConfirmFairness(msgspec.Struct, frozen=True, kw_only=True):
    """The id of the review that another person made."""

    review: str


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """A promotion: which release, to which stage."""

    release: str
    stage: str


class Override(msgspec.Struct, frozen=True, kw_only=True):
    """A person's other answer to a decision, and why."""

    answer: str
    reason: str


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """Why somebody rolls back."""

    reason: str = ""


class Switch(msgspec.Struct, frozen=True, kw_only=True):
    """Why somebody stops or starts; `here` for the node of console and API alone."""

    reason: str = ""
    here: bool = False


class IssueKey(msgspec.Struct, frozen=True, kw_only=True):
    """A new API key; `expires` is an ISO 8601 time, empty for never, `networks` where it may be used from."""

    name: str
    scopes: list[str]
    expires: str = ""
    networks: list[str] = []


class Rotate(msgspec.Struct, frozen=True, kw_only=True):
    """How long the old key goes on: `24h`."""

    overlap: str = "24h"


class Suspend(msgspec.Struct, frozen=True, kw_only=True):
    """Whom to suspend: the `sub` of their tokens; `here` at the gateways of the console's node alone."""

    subject: str
    reason: str
    here: bool = False


class Resume(msgspec.Struct, frozen=True, kw_only=True):
    """Whom to let in again: the `sub` of their tokens, or the identity's digest."""

    subject: str
    here: bool = False


class Named(msgspec.Struct, frozen=True, kw_only=True):
    """What is meant, by its id."""

    id: str


class SetLimit(msgspec.Struct, frozen=True, kw_only=True):
    """A limit: `scope` is `key:ID`, `system:NAME` or `installation`."""

    scope: str
    per: str
    amount: int
    unit: str = "rows"
    burst: int = 0

    @property
    def limit(self) -> Limit:
        """The limit as it is declared; its values are checked there."""
        return Limit(scope=self.scope, unit=self.unit, per=self.per, amount=self.amount, burst=self.burst)  # type: ignore[arg-type]  # checked when it is set


class StartBacktest(msgspec.Struct, frozen=True, kw_only=True):
    """A backtest: the candidate, of which decisions, within which limits, at which costs.

    `window` is `SINCE..UNTIL`; of it the newest `last`, and of those `sample` if it is given. `costs` are by
    `OLD>NEW`, `outcome_costs` by `ANSWER/OUTCOME`.
    """

    release: str
    window: str = ""
    last: int = 1_000
    sample: int | None = None
    max_flips: float = 0.10
    max_new_faults: float = 0.01
    costs: dict[str, float] = {}
    outcome_costs: dict[str, float] = {}


class Erase(msgspec.Struct, frozen=True, kw_only=True):
    """Whom to erase, by the reference that client systems send; `reason` is a short code."""

    subject: str
    reason: str = "request"


class PlaceHold(msgspec.Struct, frozen=True, kw_only=True):
    """What a legal hold covers: one subject, one system, or everything where both are empty."""

    reason: str
    subject: str = ""
    system: str = ""


class SetRetention(msgspec.Struct, frozen=True, kw_only=True):
    """How long a class of data is kept, of a system or of none.

    `mode`: span (months and days), without_end, declared.
    """

    system: str = ""
    class_: str = msgspec.field(name="class")
    mode: Literal["span", "without_end", "declared"] = "span"
    months: int = 0
    days: int = 0
    reason: str

    @property
    def span(self) -> Floor | None:
        """The period; None as declared, empty without end. Raises InputError for an empty span."""
        if self.mode == "span":
            return parse_period(str(self.months), str(self.days))
        return Floor() if self.mode == "without_end" else None


def json_object(content: bytes) -> dict[str, Any]:
    """The JSON object in a body; no body is an empty one. Raises InputError."""
    try:
        found = msgspec.json.decode(content or b"{}")
        if _NUL.search(content):
            raise ValueError("the character NUL, which no text here has")
    except (ValueError, RecursionError) as error:
        raise InputError(
            "the body is no JSON",
            got=str(error)[:200],
            expected="a JSON object",
            mend="mend the body",
            code="malformed_body",
        ) from error
    if not isinstance(found, dict):
        raise InputError(
            "the body is no JSON object",
            got=type(found).__name__,
            expected="an object",
            mend="send {...}",
            code="malformed_body",
        )
    return found


def read_body(kind: type[_Kind], body: dict[str, Any]) -> _Kind:
    """A body as a struct. Raises InputError with a fault for each field that is missing, unknown or of another type."""
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    faults = [
        _fault(name[:80], "unknown_field", "there is no such field", "one of: " + ", ".join(fields))
        for name in body
        if name not in fields
    ]
    for name, field in fields.items():
        if name in body:
            try:
                msgspec.convert(body[name], field.type)
            except msgspec.ValidationError as error:
                faults.append(_fault(name, "wrong_type", str(error), "text"))
        elif field.required:
            faults.append(_fault(name, "missing", "this field is needed", "text"))
    if faults:
        raise InputError(
            "the body does not fit", expected=", ".join(fields), mend="mend the fields named", faults=faults
        )
    return msgspec.convert(body, kind)


def _fault(path: str, code: str, message: str, expected: str) -> dict[str, object]:
    return {"path": path, "code": code, "message": message, "expected": expected}
