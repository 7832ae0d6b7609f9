"""The page of what is in clear is of this schema: every column stands there once, with what it holds."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import cast, get_args

import pytest

from pilotage.gateway.idempotency_store import IdempotencyStore
from pilotage.storage.database import Part
from pilotage.testing.draft_migration import declared

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "in-clear.md"
_ROW = re.compile(r"^\| `(\w+)` \| ([\w ]+) \| ((?:`\w+` ?)+)\|$", flags=re.MULTILINE)
_KIND = re.compile(r"^\| ([a-z ]+) \| [^`|]", flags=re.MULTILINE)


def part_of(page: str, part: str) -> str:
    return page.partition(f"## {part}.db\n")[2].partition("\n## ")[0]


def listed(text: str) -> Iterator[tuple[str, str, str]]:
    """(table, column, what it holds)."""
    for table, kind, columns in _ROW.findall(text):
        for column in re.findall(r"\w+", columns):
            yield table, column, kind


def columns_of_keys(folder: Path) -> set[tuple[str, str]]:
    IdempotencyStore(folder / "keys.db").close()
    with closing(sqlite3.connect(folder / "keys.db")) as made:
        tables = [name for (name,) in made.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {(table, row[1]) for table in tables for row in made.execute(f"PRAGMA table_info({table})")}


@pytest.mark.parametrize("part", ["control", "ledger", "idempotency/keys"])
def test_every_column_is_classified_once(part: str, tmp_path: Path) -> None:
    page = PAGE.read_text(encoding="utf-8")
    kinds = set(_KIND.findall(page.partition("## control.db")[0])) - {"holds"}
    assert len(kinds) == 8
    found = list(listed(part_of(page, part)))
    places = [(table, column) for table, column, _ in found]
    if part in get_args(Part):
        tables = declared(cast("Part", part)).tables.values()
        schema = {(table.name, column.name) for table in tables for column in table.columns}
    else:
        schema = columns_of_keys(tmp_path)
    assert schema - set(places) == set(), f"say in {PAGE.name} what these columns hold, and why that may be in clear"
    assert set(places) - schema == set(), "these columns are not there any more"
    assert len(places) == len(set(places)) and {kind for *_, kind in found} <= kinds


def test_what_is_personal_in_the_index_is_what_an_erasure_clears() -> None:
    page = part_of(PAGE.read_text(encoding="utf-8"), "ledger")
    cleared = {(table, column) for table, column, kind in listed(page) if kind == "until erasure"}
    assert cleared == {
        ("decisions", "subject"),
        ("decisions", "score"),
        ("decisions", "label"),
        ("outcomes", "value"),
        ("outcomes", "number"),
        ("outcomes", "at"),
        ("overrides", "value"),
    }
