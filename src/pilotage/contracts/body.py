"""The body of a request, `{"inputs": {...}}` or `{"inputs": [{...}, ...]}`, cut into rows as received.

A typed decoder does it for well-formed bodies. A slower scan, in Python, takes what that decoder cannot: NaN and
Infinity, which are no JSON but must be named as faults of their field, and repeated names. It also words the errors.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from pilotage.contracts.faults import MalformedBody, TooManyRows, shown, shown_name

__all__ = ["Repeated", "cut", "parse"]

EXAMPLE = '{"inputs": {"<field>": <value>, ...}} or {"inputs": [{...}, ...]}'
# A second "inputs" adds at least `"inputs":0,` to the `{"inputs":` and `}` around the rows. A body with less around
# its rows has none, so that the usual body needs no second look.
REPEAT_NEEDS = len('{"inputs":}') + len('"inputs":0,')
# Python refuses to convert longer integers, and a float64 cannot hold them: they become infinite, a fault of their own.
LONGEST_INTEGER = 400

_space = re.compile(r"[ \t\n\r]*")


class _Envelope(msgspec.Struct, forbid_unknown_fields=True):
    inputs: msgspec.Raw


_envelope = msgspec.json.Decoder(_Envelope)
_raws = msgspec.json.Decoder(list[msgspec.Raw])


class Repeated(dict[str, Any]):
    """A JSON object in which names are given more than once; `names` are those."""

    names: list[str]


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    plain = dict(pairs)
    if len(plain) == len(pairs):
        return plain
    seen: set[str] = set()
    repeated = Repeated(plain)
    repeated.names = list(dict.fromkeys(name for name, _ in pairs if name in seen or seen.add(name)))  # type: ignore[func-returns-value]
    return repeated


def _integer(text: str) -> int | float:
    return int(text) if len(text) <= LONGEST_INTEGER else float(text)


_decoder = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer)


def cut(body: bytes, max_rows: int | None = None) -> tuple[list[bytes], bool]:
    """The rows' bytes as received, and whether they came as a list. Raises MalformedBody, TooManyRows."""
    try:
        raw = bytes(_envelope.decode(body).inputs)
        if len(body) - len(raw) < REPEAT_NEEDS:
            if raw[:1] == b"{":
                return [raw], False
            if raw[:1] == b"[" and (rows := _raws.decode(raw)):
                _refuse_many(len(rows), max_rows)
                return _objects([bytes(row) for row in rows])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    return _scan(body, max_rows)


def parse(text: bytes) -> Any:
    """The JSON value in bytes; NaN and Infinity as floats, objects that repeat a name as Repeated.

    Raises MalformedBody.
    """
    try:
        return _decoder.decode(text.decode())
    except (ValueError, RecursionError) as error:
        raise _malformed(error) from error


def _objects(rows: list[bytes]) -> tuple[list[bytes], bool]:
    for index, row in enumerate(rows):
        if row[:1] != b"{":
            raise MalformedBody(
                f"inputs[{index}] is not an object", got=shown(parse(row)), expected=EXAMPLE, mend="send objects"
            )
    return rows, True


def _malformed(error: Exception) -> MalformedBody:
    if isinstance(error, RecursionError):
        return MalformedBody("the body is nested too deeply", expected=EXAMPLE, mend="send flat objects")
    if isinstance(error, UnicodeDecodeError):
        return MalformedBody("the body is not UTF-8", got=str(error.reason), mend="encode the body as UTF-8")
    where = f" at character {error.pos}" if isinstance(error, json.JSONDecodeError) else ""
    what = error.msg if isinstance(error, json.JSONDecodeError) else "not JSON"
    return MalformedBody(f"the body is not JSON: {what}{where}", expected=EXAMPLE, mend="send valid JSON")


def _refuse_many(rows: int, most: int | None) -> None:
    if most is not None and rows > most:
        raise TooManyRows(
            "too many rows in one request", got=f"{rows} or more", expected=f"at most {most}", mend="send fewer"
        )


def _scan(body: bytes, max_rows: int | None) -> tuple[list[bytes], bool]:
    try:
        text = body.decode()
        start, end = _inputs(text)
        if text[start] == "{":
            return [text[start:end].encode()], False
        if text[start] == "[":
            rows = []
            for first, last in _items(text, start):
                rows.append(text[first:last].encode())
                _refuse_many(len(rows), max_rows)
            if not rows:
                raise MalformedBody("`inputs` holds no rows", got="[]", expected=EXAMPLE, mend="send one row or more")
            return _objects(rows)
    except (ValueError, RecursionError) as error:
        raise _malformed(error) from error
    raise MalformedBody(
        "`inputs` is neither an object nor an array",
        got=shown(_decoder.decode(text[start:end])),
        expected=EXAMPLE,
        mend="send one row as an object or several as an array",
    )


def _skip(text: str, at: int) -> int:
    match = _space.match(text, at)
    return match.end() if match else at


def _expect(text: str, at: int, char: str) -> int:
    if text[at : at + 1] != char:
        raise json.JSONDecodeError(f"Expecting {char!r}", text, at)
    return at + 1


def _inputs(text: str) -> tuple[int, int]:
    """Where the value of `inputs` begins and ends in the body's text."""
    found: list[tuple[int, int]] = []
    unknown: list[str] = []
    at = _skip(text, _expect(text, _skip(text, 0), "{"))
    while text[at : at + 1] != "}" or found or unknown:
        _expect(text, at, '"')
        name, at = _decoder.raw_decode(text, at)
        start = _skip(text, _expect(text, _skip(text, at), ":"))
        _, at = _decoder.raw_decode(text, start)
        if name == "inputs":
            found.append((start, at))
        else:
            unknown.append(name)
            if len(unknown) > 5:
                _refuse_unknown(unknown)
        at = _skip(text, at)
        if text[at : at + 1] == "}":
            break
        at = _skip(text, _expect(text, at, ","))
    if (end := _skip(text, at + 1)) != len(text):
        raise json.JSONDecodeError("Extra data", text, end)
    _refuse_unknown(unknown)
    if len(found) != 1:
        got = "none" if not found else f"{len(found)} times"
        raise MalformedBody("the body must have `inputs` once", got=got, expected=EXAMPLE, mend="give it once")
    return found[0]


def _refuse_unknown(names: list[str]) -> None:
    if names:
        got = ", ".join(shown_name(name) for name in names[:5])
        raise MalformedBody("the body has fields beside `inputs`", got=got, expected=EXAMPLE, mend="remove them")


def _items(text: str, start: int) -> Iterator[tuple[int, int]]:
    """Where each element of the array that begins at `start` begins and ends; the array is known to be well formed."""
    at = _skip(text, start + 1)
    while text[at] != "]":
        _, end = _decoder.raw_decode(text, at)
        yield at, end
        at = _skip(text, end)
        if text[at] == ",":
            at = _skip(text, at + 1)
