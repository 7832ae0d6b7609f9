"""Exports: every format gives the same rows, payloads only on request, nothing is half written, each is on record."""

from __future__ import annotations

import csv
import io
import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pytest

from pilotage.errors import Unavailable
from pilotage.ledger.columns import plain_cell
from pilotage.ledger.erasure import erase
from pilotage.ledger.export import begin_export
from pilotage.ledger.queries import DecisionFilter
from pilotage.ledger.row_file import FORMATS
from pilotage.storage.database import reading
from pilotage.storage.outbox import waiting
from tests.ledger_world import START, World, decision, frame_id, make_world, rejected

AWKWARD = 'quote " comma , line\nbreak 中 \x00'


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    made = make_world(tmp_path_factory.mktemp("export"))
    made.write([decision(f"person-{n % 3}", score=n / 10, at=START + n, trace="t" if n < 2 else "") for n in range(9)])
    made.write([decision("gone", at=START + 20), rejected("person-1"), decision(arm=AWKWARD)])
    steward = made.steward()
    steward.seal_all()
    erase("gone", "asked", "tests", steward=steward)
    return made


def exported(world: World, format_: str, *, payload: bool = False, **wanted: Any) -> bytes:
    made = begin_export(world.queries, world.control, "p1", DecisionFilter(**wanted), format_=format_, payload=payload)
    return b"".join(made.file.pieces())


def rows_of(content: bytes, format_: str, folder: Path) -> list[dict[str, Any]]:
    match format_:
        case "json":
            return list(json.loads(content))
        case "jsonl":
            return [json.loads(line) for line in content.splitlines()]
        case "csv":
            return list(csv.DictReader(io.StringIO(content.decode(), newline="")))
    path = folder / "made.parquet"
    path.write_bytes(content)
    with duckdb.connect() as connection:
        found = connection.execute(f"SELECT * FROM read_parquet('{path}')")
        names = [column[0] for column in found.description or ()]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


@pytest.mark.parametrize("format_", FORMATS)
def test_every_format_has_the_rows_of_the_list_in_its_order(world: World, format_: str, tmp_path: Path) -> None:
    listed = world.queries.decisions()
    found = rows_of(exported(world, format_), format_, tmp_path)
    assert [row["id"] for row in found] == [row.id for row in listed]
    empty = "" if format_ == "csv" else None
    for row, one in zip(found, listed, strict=True):
        score = float(row["score"]) if row["score"] not in ("", None) else None
        assert score == one.score
        assert row["label"] == (one.label if one.label is not None else empty)
        assert row["arm"] == one.arm and str(row["at"]) == str(one.at) and row["received"].endswith("Z")
    assert any("line\nbreak" in row["arm"] for row in found)


@pytest.mark.parametrize("format_", FORMATS)
def test_payloads_come_on_request_and_say_why_when_they_cannot(world: World, format_: str, tmp_path: Path) -> None:
    found = rows_of(exported(world, format_, payload=True), format_, tmp_path)
    by_person = [row for row in found if row["person"] == "person-1"]
    assert len(by_person) == 4
    answered = next(row for row in by_person if row["outcome"] == "answered")
    features = answered["features"]
    assert (features if isinstance(features, dict) else json.loads(features))["age"] == 41.0
    assert answered["request"] == '{"age": 41}'
    (gone,) = [row for row in found if row["unreadable"]]
    assert gone["unreadable"] == "erased" and not gone["person"] and not gone["request"]
    assert b"person-1" not in exported(world, "jsonl") and b"gone" not in exported(world, "jsonl", payload=True)


def test_filters_choose_what_is_exported(world: World) -> None:
    assert len(exported(world, "jsonl", trace="t").splitlines()) == 2
    assert len(exported(world, "jsonl", subject="person-1", outcome="answered").splitlines()) == 3
    assert exported(world, "json", subject="nobody") == b"[]\n"
    assert len(exported(world, "csv", label="nosuch").splitlines()) == 1


@pytest.mark.parametrize("format_", FORMATS)
def test_nothing_to_export_is_a_whole_file_too(world: World, format_: str, tmp_path: Path) -> None:
    assert rows_of(exported(world, format_, label="nosuch"), format_, tmp_path) == []


def test_an_export_is_on_record_before_its_first_row_and_names_nobody_in_clear(world: World) -> None:
    begin_export(
        world.queries,
        world.control,
        "p-4711",
        DecisionFilter(subject="person-1", outcome="answered", since=START),
        format_="csv",
        payload=True,
    )
    with reading(world.control) as connection:
        event = waiting(connection)[-1]
    assert event.kind == "decisions.exported"
    assert event.facts == {
        "format": "csv",
        "payload": True,
        "decisions": 3,
        "filter": {"outcome": "answered", "since": START},
        "filtered_by": ["outcome", "since", "subject"],
    }
    assert event.private["by"] == "p-4711" and event.private["filter"]["subject"] == "person-1"


def test_rows_sealed_after_the_export_began_are_not_in_it(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    world.write([decision() for _ in range(3)])
    steward = world.steward()
    steward.seal_all()
    made = begin_export(world.queries, world.control, "p1", DecisionFilter(), format_="jsonl", payload=False)
    late = decision()
    world.write([late])
    steward.seal_all()
    content = b"".join(made.file.pieces())
    assert len(content.splitlines()) == made.rows == 3 and frame_id(late).encode() not in content


def test_a_file_is_there_whole_or_not_at_all(world: World, tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_text("before")
    made = begin_export(world.queries, world.control, "p1", DecisionFilter(), format_="csv", payload=False)

    def stop(_rows: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made.file.write(path, stop)
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]
    made.file.write(path)
    assert len(list(csv.reader(io.StringIO(path.read_text(), newline="")))) == made.rows + 1
    assert path.stat().st_mode & 0o777 == 0o600


@contextmanager
def little_room() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("format_", ["parquet", "json"])
def test_a_full_disk_is_said_and_leaves_nothing(world: World, tmp_path: Path, format_: str) -> None:
    made = begin_export(world.queries, world.control, "p1", DecisionFilter(), format_=format_, payload=False)
    with little_room(), pytest.raises((Unavailable, OSError)):
        made.file.write(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d"])
def test_no_cell_of_a_csv_is_a_formula(tmp_path: Path, start: str) -> None:
    world = make_world(tmp_path)
    evil = f"{start}cmd|' /C calc'!A0"
    frame = decision(f"{start}HYPERLINK(1)", score=-0.25, arm=evil)
    world.write([frame])
    world.steward().seal_all()
    [row] = rows_of(exported(world, "csv", payload=True), "csv", tmp_path)
    assert row["arm"] == f"'{evil}" and row["person"] == f"'{start}HYPERLINK(1)"
    assert (row["score"], row["turn"]) == ("-0.25", "0")
    [kept] = rows_of(exported(world, "jsonl"), "jsonl", tmp_path)
    assert kept["arm"] == evil, "only a spreadsheet runs formulas"


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (-1.5, -1.5),
        ("-1.5", "-1.5"),
        ("+3e-7", "+3e-7"),
        ("-.5", "-.5"),
        ("-1+1", "'-1+1"),
        ("-", "'-"),
        ("a=1", "a=1"),
        (None, None),
        ("", ""),
        ("-1\n=2", "'-1\n=2"),
    ],
)
def test_numbers_stay_numbers_and_text_stays_text(value: object, written: object) -> None:
    assert plain_cell(value) == written
