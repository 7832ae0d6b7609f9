"""A fault of a row, in words a caller can act on, and the body that is not even rows."""

from __future__ import annotations

import json
from typing import Any, Literal

import msgspec

from pilotage.contracts.model import Column
from pilotage.errors import InputError

__all__ = ["Code", "Fault", "MalformedBody", "Repair", "TooManyRows", "expectation", "shown", "shown_name"]

Code = Literal[
    "missing",
    "unknown_field",
    "duplicate_field",
    "wrong_type",
    "not_finite",
    "below_minimum",
    "above_maximum",
    "unseen_category",
    "null",
    "too_long",
    "wrong_format",
    "rule",
    "more_faults",
    "not_found",
    "stale",
    "source_failed",
]

_FORMATS = {
    "date": "a date such as 2026-03-31",
    "datetime": "a moment such as 2026-03-31T12:00:00Z",
    "email": "an e-mail address",
    "uuid": "a UUID",
}
SHOWN = 60
LISTED = 12


class MalformedBody(InputError):
    """The body is not JSON, or not `{"inputs": ...}`."""

    code, status = "malformed_body", 400


class TooManyRows(InputError):
    """The body holds more rows than one request may."""

    code, status = "too_many_rows", 413


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One fault. `path` is such as `inputs.AGE` or `inputs[3].AGE`; `got` is cut to 60 characters.

    `path` of an unknown field repeats the caller's own text: a plain record takes `recorded_path`, which never does.
    """

    path: str
    code: Code
    message: str
    got: str
    expected: str
    mend: str

    @property
    def recorded_path(self) -> str:
        """The path without any text of the caller's: the name of an unknown field becomes `*`."""
        if self.code == "unknown_field":
            return self.path[: self.path.index(".") + 1] + "*"
        return self.path


class Repair(msgspec.Struct, frozen=True, kw_only=True):
    """A fault that was repaired: what was sent (cut to 60 characters), and the value that was used for it."""

    path: str
    code: Code
    got: str
    used: float | str | bool | None


def shown(value: Any) -> str:
    """A value as a fault shows it: JSON, one line, at most 60 characters; containers by their kind only."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return f"an array of {len(value)}"
    if isinstance(value, str):
        text = json.dumps(value[:SHOWN])
        return text if len(value) <= SHOWN and len(text) <= SHOWN + 2 else text[:SHOWN].rstrip('"') + '…"'
    if isinstance(value, int) and abs(value) >= 10**SHOWN:
        return "a very large integer"
    return json.dumps(value)


def shown_name(name: str) -> str:
    """A caller's field name inside a path: printable, at most 60 characters."""
    safe = "".join(char if char.isprintable() else "?" for char in name[:SHOWN])
    return safe if len(name) <= SHOWN else safe + "…"


def expectation(column: Column) -> str:
    """What a column takes, in words, such as `an integer from 18 to 100, or null`."""
    if column.role == "subject":
        return "an integer or text of 1 to 256 characters"
    if column.categories is not None:
        listed = ", ".join(_value(value) for value in column.categories[:LISTED])
        rest = len(column.categories) - LISTED
        words = f"one of {listed}" + (f" and {rest} more" if rest > 0 else "")
    else:
        kinds = {"number": "a number", "integer": "an integer", "string": "text", "boolean": "true or false"}
        words = kinds[column.type] + _range(column)
        words += f" that is {_FORMATS[column.format]}" if column.format else ""
        words += f" in which {column.pattern} is found, such as {column.example}" if column.pattern else ""
        words += f", at most {column.max_length} characters" if column.max_length else ""
    return words + (", or null" if column.nullable else "")


def _range(column: Column) -> str:
    if column.minimum is not None and column.maximum is not None:
        return f" from {_value(column.minimum)} to {_value(column.maximum)}"
    if column.minimum is not None:
        return f" of at least {_value(column.minimum)}"
    return "" if column.maximum is None else f" of at most {_value(column.maximum)}"


def _value(value: float | str) -> str:
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return repr(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
