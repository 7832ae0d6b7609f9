"""What a file suggests beyond types and ranges: forms, ids, uniqueness, what looks protected. For a person to confirm.

The rules, in full:
- Text of which every value is a date, a moment, an e-mail address or a UUID has that format.
- Text of which all values have one shape (`AB123456`: two capitals, six digits) has a pattern of it; its example is
  made up from the shape, never taken from the file.
- Nothing is guessed of text with fewer than `FEWEST` distinct values.
- Text, and integers whose name says they are an id, are unique where no value of `FEWEST` or more comes twice.
- A column whose name looks like a characteristic that law protects is marked protected.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import duckdb
import msgspec

from pilotage.contracts.engine import open_engine
from pilotage.contracts.formats import is_formatted
from pilotage.contracts.infer import table_of
from pilotage.contracts.judging import formatted
from pilotage.contracts.model import Column, DataContract, Format
from pilotage.contracts.personal import looks_protected

__all__ = ["FEWEST", "Guessed", "guess"]

FEWEST = 20
"""The fewest distinct values from which something is guessed."""
_LONGEST_SHAPE = 64
_ID = re.compile(r"(?i:(.*[_\s.\-])?(id|no|nr|key|code|number))|.*[a-z](Id|ID|Key)", re.ASCII)
_FORMATS: tuple[Format, ...] = ("date", "datetime", "email", "uuid")
_CLASSES = {"9": "[0-9]", "A": "[A-Z]", "a": "[a-z]"}
_LITERAL = frozenset("-_/: #")


class Guessed(msgspec.Struct, frozen=True, kw_only=True):
    """A contract with what was guessed; `notes` say by column what a person should confirm, in whole sentences."""

    contract: DataContract
    notes: dict[str, list[str]]


def guess(path: Path, contract: DataContract) -> Guessed:
    """The contract of the file at `path` with what the file suggests beside it."""
    table, arguments = table_of(path)
    notes: dict[str, list[str]] = {}
    columns = []
    with open_engine() as connection:
        connection.execute(f"CREATE VIEW data AS SELECT * FROM {_inlined(table, arguments)}")  # noqa: S608
        for column in contract.columns:
            changes, told = _looked_at(connection, column)
            columns.append(msgspec.structs.replace(column, **changes))
            if told:
                notes[column.name] = told
    return Guessed(contract=msgspec.structs.replace(contract, columns=tuple(columns)), notes=notes)


def _inlined(table: str, arguments: list[object]) -> str:
    """The table expression with its arguments in it: a view takes no parameters."""
    for argument in arguments:
        texts = argument if isinstance(argument, list) else [argument]
        quoted = ["'" + str(text).replace("'", "''") + "'" for text in texts]
        table = table.replace("?", f"[{', '.join(quoted)}]" if isinstance(argument, list) else quoted[0], 1)
    return table


def _looked_at(connection: duckdb.DuckDBPyConnection, column: Column) -> tuple[dict[str, Any], list[str]]:
    changes: dict[str, Any] = {}
    told = []
    why = looks_protected(column.name)
    if why and not column.protected and column.role != "subject":
        changes["protected"] = True
        told.append(f"CONFIRM protected: {why}; remove the mark if decisions may turn on it.")
    if column.personal and column.description.startswith("Marked personal"):
        told.append("CONFIRM personal: guessed; what is personal needs a subject, and is erased with it.")
    text = column.type == "string" and column.categories is None
    if column.role == "ignored" or not (text or _ID.fullmatch(column.name)) or column.type in ("number", "boolean"):
        return changes, told
    quoted = '"' + column.name.replace('"', '""') + '"'
    filled, distinct = _row(connection, f"count({quoted}), count(DISTINCT {quoted})")
    if distinct < FEWEST:
        return changes, told
    if filled == distinct:
        changes["unique"] = True
        told.append("CONFIRM unique: no value came twice; a file in which one does is broken.")
    if text and column.role == "feature":
        formed = _form(connection, f"{quoted}::VARCHAR")
        changes |= formed
        if formed:
            told.append(f"CONFIRM the form ({', '.join(map(str, formed.values()))}): every value had it.")
    return changes, told


def _form(connection: duckdb.DuckDBPyConnection, text: str) -> dict[str, str]:
    """The format of a column of text, or its pattern with a made-up example, or nothing."""
    every = ", ".join(f"bool_and({formatted(form, text)})" for form in _FORMATS)
    shape = f"replace(regexp_replace(regexp_replace(regexp_replace({text}, '[0-9]', '9', 'g'), '[A-Z]', 'A', 'g'), \
'[a-z]', 'a', 'g'), chr(0), '?')"
    *formed, low, high = _row(connection, f"{every}, min({shape}), max({shape})")
    for form, holds in zip(_FORMATS, formed, strict=True):
        if holds:
            return {"format": form}
    if low != high or not low or len(low) > _LONGEST_SHAPE or not set(low) <= {*_CLASSES, *_LITERAL} or "9" not in low:
        return {}
    parts = re.findall(r"(.)(\1*)", low)
    pattern = "".join(
        _CLASSES.get(one, "[-]" if one == "-" else one) + (f"{{{1 + len(more)}}}" if more else "")
        for one, more in parts
    )
    example = low.replace("9", "1")
    if any(is_formatted(form, example) for form in _FORMATS):
        return {}
    return {"pattern": f"^{pattern}$", "example": example}


def _row(connection: duckdb.DuckDBPyConnection, expressions: str) -> Any:
    found = connection.execute(f"SELECT {expressions} FROM data").fetchone()  # noqa: S608 - quoted names
    if found is None:
        raise AssertionError("an aggregate has one row")
    return found
