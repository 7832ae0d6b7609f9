"""The columns of exported decisions, and how their values are written in each format."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from pilotage.kernel.clock import rfc3339
from pilotage.ledger.queries import DecisionRow, RecordedDecision

__all__ = ["COLUMNS", "PAYLOAD_COLUMNS", "TEXT_FORMATS", "payload_values", "plain_cell", "row_values", "written"]

COLUMNS: Mapping[str, str] = {
    "leaf": "BIGINT",
    "id": "VARCHAR",
    "received": "VARCHAR",
    "at": "BIGINT",
    "request_id": "VARCHAR",
    "trace": "VARCHAR",
    "parent": "VARCHAR",
    "turn": "BIGINT",
    "system": "VARCHAR",
    "release": "VARCHAR",
    "contract": "VARCHAR",
    "plan": "VARCHAR",
    "stage": "VARCHAR",
    "arm": "VARCHAR",
    "mode": "VARCHAR",
    "kind": "VARCHAR",
    "outcome": "VARCHAR",
    "subject": "VARCHAR",
    "score": "DOUBLE",
    "label": "VARCHAR",
    "faults": "BIGINT",
    "fault_text": "VARCHAR",
    "answer_us": "BIGINT",
}
"""Name and SQL type. `received` is RFC 3339, `at` the same in Unix microseconds, `subject` a pseudonym."""

_PARTS = ("repairs", "features", "answer", "payload_faults", "reasons", "messages", "tool_calls")
PAYLOAD_COLUMNS: Mapping[str, str] = dict.fromkeys(
    ("person", "principal", "conversation", "request", *_PARTS, "unreadable"), "VARCHAR"
)
"""What `--payload` adds. `person` is the reference as the client sent it; lists and objects are JSON text;
`unreadable` says why a payload could not be read."""

_PIECE_BYTES = 1 << 16
_STARTS_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What makes a spreadsheet take a cell for a formula, also in full width."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def row_values(row: DecisionRow) -> dict[str, Any]:
    """The values of COLUMNS."""
    return {name: rfc3339(row.at) if name == "received" else getattr(row, name) for name in COLUMNS}


def payload_values(found: RecordedDecision) -> dict[str, Any]:
    """The values of PAYLOAD_COLUMNS; lists and objects as they are, None for what cannot be read."""
    payload = found.payload
    values: dict[str, Any] = dict.fromkeys(PAYLOAD_COLUMNS)
    values["unreadable"] = found.unreadable
    if payload is None:
        return values
    return values | {
        "person": payload.subject,
        "principal": payload.principal,
        "conversation": payload.conversation,
        "request": payload.request.decode("utf-8", errors="replace"),
        "repairs": payload.repairs,
        "features": dict(zip(payload.names, payload.features, strict=False)),
        "answer": payload.answer,
        "payload_faults": payload.faults,
        "reasons": payload.reasons,
        "messages": payload.messages,
        "tool_calls": payload.tool_calls,
    }


def written(values: Iterable[Sequence[Any]]) -> Iterator[list[Any]]:
    """Values with lists and objects as JSON text, for formats that have none."""
    for row in values:
        yield [_json(value) if isinstance(value, dict | list) else value for value in row]


def plain_cell(value: Any) -> Any:
    """A cell that no spreadsheet runs: text that begins like a formula gets an apostrophe; numbers stay numbers."""
    if isinstance(value, str) and value.startswith(_STARTS_FORMULA) and not _NUMBER.fullmatch(value):
        return f"'{value}"
    return value


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_odd)


def _odd(value: object) -> str:
    """What msgpack holds and JSON does not: bytes, mostly."""
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)


def _as_jsonl(names: Sequence[str], pages: Iterable[list[Sequence[Any]]]) -> Iterator[bytes]:
    for page in pages:
        yield "".join(_json(dict(zip(names, row, strict=True))) + "\n" for row in page).encode()


def _as_json(names: Sequence[str], pages: Iterable[list[Sequence[Any]]]) -> Iterator[bytes]:
    opening = "["
    for page in pages:
        for start in range(0, len(page), 500):
            lines = [_json(dict(zip(names, row, strict=True))) for row in page[start : start + 500]]
            yield (opening + ",\n".join(lines)).encode()
            opening = ",\n"
    yield b"[]\n" if opening == "[" else b"]\n"


def _as_csv(names: Sequence[str], pages: Iterable[list[Sequence[Any]]]) -> Iterator[bytes]:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")
    writer.writerow(names)
    for page in pages:
        for row in written(page):
            writer.writerow([plain_cell(value) for value in row])
            if buffer.tell() > _PIECE_BYTES:
                yield _drained(buffer)
    yield _drained(buffer)


def _drained(buffer: io.StringIO) -> bytes:
    content = buffer.getvalue().encode()
    buffer.seek(0)
    buffer.truncate()
    return content


TEXT_FORMATS: Mapping[str, Callable[[Sequence[str], Iterable[list[Sequence[Any]]]], Iterator[bytes]]] = {
    "jsonl": _as_jsonl,
    "json": _as_json,
    "csv": _as_csv,
}
"""Each makes the bytes of a file, piece by piece, from column names and pages of rows."""
