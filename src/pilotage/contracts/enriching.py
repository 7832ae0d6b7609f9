"""Rows of which a source brings a part: which keys to ask for, and what the values that were drawn make of the row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pilotage.contracts.enrichment import REQUEST, Drawn, Enrichment
from pilotage.contracts.faults import Code, Fault, expectation
from pilotage.contracts.model import Column, DataContract
from pilotage.contracts.rows import plain_value

__all__ = ["Enriching", "Key"]

Key = tuple[str, ...]
"""An entity's key as text, in the order of the declaration: 5 and "5" are one key."""

_words: dict[str, tuple[str, str, str]] = {
    "not_found": ("is not known to its source", "no row of this key", "see whether the source has this entity"),
    "stale": ("is older than it may be", "a value that is too old", "see why the source is not renewed"),
    "source_failed": ("could not be had from its source", "no answer in time", "try again, or look at the source"),
    "wrong_type": ("is of a kind that its source may not bring", "another kind of value", "mend the source"),
}


class Enriching:
    """The declarations of one contract, compiled."""

    def __init__(self, contract: DataContract) -> None:
        self.declared = contract.enrichment
        self.brought = contract.brought
        self._columns = {name: column for name in self.brought if (column := contract.column(name)) is not None}

    def unread(self, row: Mapping[str, Any]) -> dict[str, Fault | None]:
        """The columns that are not looked at before the sources were asked; those that a request may bring are."""
        own = self._own(row)
        return {name: None for name in self.brought if name not in own}

    def keys(self, row: Mapping[str, Any]) -> tuple[Key | None, ...]:
        """The key of each declaration; None where there is nothing to ask: no key, or nothing that is not brought."""
        own = self._own(row)
        return tuple(
            None if own.keys() >= each.columns.keys() else _key([row.get(name) for name in each.key])
            for each in self.declared
        )

    def complete(
        self, row: Mapping[str, Any], path: str, drawn: Mapping[str, Drawn]
    ) -> tuple[dict[str, Any], dict[str, Fault | None], list[Drawn]]:
        """The whole row, the faults of columns that have no value, and every value with its fault, as it is recorded.

        How old a value may be is judged by the age that it was drawn with: again, years later, it ends the same way.
        """
        whole, absent, told = dict(row), dict[str, Fault | None](), list[Drawn]()
        own = self._own(row)
        for name, by in self.brought.items():
            if name in own:
                value = plain_value(row[name]) if isinstance(row[name], float | int | str | None) else None
                told.append(Drawn(column=name, source=REQUEST, value=value))
                continue
            found = drawn.get(name) or Drawn(column=name, source=by.source, status="not_asked")
            code = _code(found, by)
            if code is None:
                whole[name] = found.value
            else:
                absent[name] = _fault(self._columns[name], path, code, by)
            told.append(found)
        return whole, absent, told

    def _own(self, row: Mapping[str, Any]) -> dict[str, Enrichment]:
        return {name: each for name, each in self.brought.items() if each.override == "request" and name in row}


def _key(values: list[Any]) -> Key | None:
    parts = []
    for value in values:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int | str):
            return None
        parts.append(str(value))
    return tuple(parts)


def _code(found: Drawn, by: Enrichment) -> Code | None:
    if found.status in ("not_found", "wrong_type"):
        return "not_found" if found.status == "not_found" else "wrong_type"
    if found.status != "ok":
        return "source_failed"
    most = None if found.source == REQUEST else by.max_age_s
    # A value whose age nobody knows may be of any age.
    return "stale" if most is not None and not (found.age_s is not None and found.age_s <= most) else None


def _fault(column: Column, path: str, code: Code, by: Enrichment) -> Fault:
    message, got, mend = _words[code]
    return Fault(
        path=f"{path}.{column.name}",
        code=code,
        message=f"{column.name} {message}",
        got=f"{got}, of the source {by.source}",
        expected=f"at most {by.max_age} old" if code == "stale" else expectation(column),
        mend=mend,
    )
