"""A good request spoilt in every way that callers spoil one. Standard library only: it runs in the box."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from typing import Any

__all__ = ["spoilt"]

_FIELDS = 8
_ODD = "\u202e\u0000\U0001f4a3Ω\ufeff"


def spoilt(example: dict[str, Any], optional: Collection[str] = ()) -> Iterator[tuple[str, bool, dict[str, Any]]]:
    """(what is wrong, whether it must be refused, what to change of the call). `optional` fields may be left out.

    Some may be answered: an extra field, odd letters in a text. All must leave the service standing and get a clear
    answer: below 500.
    """
    body, kind = example["body"], example["kind"]
    if kind == "json":
        yield "no body", True, {"raw": b""}
        yield "no JSON", True, {"raw": b'{"a": '}
        yield "a number instead of an object", True, {"body": 7}
        yield "bytes that are no text", True, {"raw": b"\xff\xfe\x00{"}
        yield "nested 20,000 deep", True, {"raw": b"[" * 20_000 + b"]" * 20_000}
        yield "a body of 8 MiB", False, {"raw": json.dumps({"x": "a" * (8 << 20)}).encode()}
    all_optional = isinstance(body, dict) and set(body) <= set(optional)
    yield "an empty object", not all_optional, {"body": {}}
    for what, must, changed in _fields(body, texts=kind != "json"):
        left_out = what.removeprefix("without ") if what.startswith("without ") else ""
        yield what, must and left_out not in optional, {"body": changed}


def _fields(body: Any, *, texts: bool) -> Iterator[tuple[str, bool, Any]]:
    """Each named value wrong on its own, inside one list or one object deep too."""
    if isinstance(body, list):
        if body and isinstance(body[0], (dict, list)):
            yield from ((what, must, [changed, *body[1:]]) for what, must, changed in _fields(body[0], texts=texts))
        elif body and _number(body[0]):
            yield "a text where a number belongs", True, ["abc", *body[1:]]
            yield "one value too few", True, body[1:]
            yield "1e308 as a value", False, [1e308, *body[1:]]
        return
    if not isinstance(body, dict):
        return
    for name, value in list(body.items())[:_FIELDS]:
        if isinstance(value, (dict, list)):
            inside = _fields(value, texts=texts)
            yield from ((f"{name}: {what}", must, {**body, name: changed}) for what, must, changed in inside)
        yield f"without {name}", True, {key: each for key, each in body.items() if key != name}
        if _number(value) or (texts and _numeric(value)):
            yield f"text as {name}", True, {**body, name: "abc"}
            yield f"1e308 as {name}", False, {**body, name: 1e308}
            if not texts:
                yield f"a list as {name}", True, {**body, name: [value]}
        elif isinstance(value, str):
            yield f"odd letters as {name}", False, {**body, name: _ODD}
            yield f"100,000 letters as {name}", False, {**body, name: "a" * 100_000}
            if not texts:
                yield f"an object as {name}", True, {**body, name: {"a": 1}}
    yield "a field too many", False, {**body, "no_such_field_\u202e": 1}


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _numeric(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True
