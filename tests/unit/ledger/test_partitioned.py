"""The growing folder of Parquet files: partitioned, added to without doubles, and read by what people use."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import duckdb
import pytest

from pilotage.errors import Conflict, InputError
from pilotage.ledger.erasure import erase
from pilotage.ledger.partitioned import STATE, ExportedParts, export_parts
from pilotage.storage.database import reading
from pilotage.storage.outbox import waiting
from pilotage.storage.scratch import PREFIX
from tests.ledger_world import START, World, decision, event, make_world

DAY = 86_400_000_000


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = make_world(tmp_path)
    frames = [decision("ann", at=START + n * DAY, system=("credit", "a b/c")[n % 2]) for n in range(4)]
    made.write([*frames, event()])
    made.steward().seal_all()
    return made


def export(world: World, folder: Path, *, payload: bool = False) -> ExportedParts:
    return export_parts(world.queries, world.control, "p1", folder, origin="test", payload=payload)


def ask(folder: Path, query: str) -> list[Any]:
    with duckdb.connect() as connection:
        source = f"read_parquet('{folder}/**/*.parquet', hive_partitioning = true)"
        return connection.execute(query.format(source)).fetchall()


def test_partitions_by_system_and_day_and_whole(world: World, tmp_path: Path) -> None:
    done = export(world, tmp_path / "out")
    assert (done.decisions, done.events) == (4, 1)
    names = sorted(
        path.parent.relative_to(tmp_path / "out" / "decisions")
        for path in (tmp_path / "out" / "decisions").rglob("*.parquet")
    )
    assert len(names) == 4 and str(names[-1]).startswith("system=credit/day=2026-05-3")
    assert ask(tmp_path / "out" / "decisions", "SELECT system, count(*) FROM {} GROUP BY 1 ORDER BY 1") == [
        ("a b/c", 2),
        ("credit", 2),
    ]
    rows = {row.id for row in world.queries.decisions()}
    assert {id_ for (id_,) in ask(tmp_path / "out" / "decisions", "SELECT id FROM {}")} == rows
    assert ask(tmp_path / "out" / "events", "SELECT kind FROM {}") == [("request.denied",)]
    if importlib.util.find_spec("pyarrow"):
        import pyarrow.dataset as ds

        assert ds.dataset(tmp_path / "out" / "decisions", partitioning="hive").to_table().num_rows == 4


def test_each_run_adds_only_what_is_new(world: World, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    first = export(world, folder)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.parquet")}
    world.write([decision("bob", at=START)])
    world.steward().seal_all()
    second = export(world, folder)
    assert (second.first, second.decisions) == (first.end, 1)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert ask(folder / "decisions", "SELECT count(*), count(DISTINCT id) FROM {}") == [(5, 5)]
    assert export(world, folder).decisions == 0


def test_a_killed_run_is_done_again_without_doubles(world: World, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    export(world, folder)
    state = (folder / STATE).read_bytes()
    world.write([decision("bob", at=START)])
    world.steward().seal_all()
    export(world, folder)
    (folder / STATE).write_bytes(state)  # killed before it was written
    (folder / f"{PREFIX}x").mkdir()
    world.write([decision("cid", at=START)])
    world.steward().seal_all()
    assert export(world, folder).decisions == 2
    assert ask(folder / "decisions", "SELECT count(*), count(DISTINCT id) FROM {}") == [(6, 6)]
    assert not list(folder.glob(f"{PREFIX}*"))


def test_what_is_exported_is_for_its_owner_only(world: World, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir(mode=0o755)
    export(world, folder, payload=True)
    modes = {path.stat().st_mode & 0o777 for path in folder.rglob("*") if path.is_file()}
    assert modes == {0o600}
    assert {path.stat().st_mode & 0o777 for path in folder.rglob("*") if path.is_dir()} == {0o700}


def test_payloads_on_request_and_the_run_on_record(world: World, tmp_path: Path) -> None:
    erase("ann", "asked", "tests", steward=world.steward())
    world.write([decision("bob")])
    world.steward().seal_all()
    export(world, tmp_path / "out", payload=True)
    found = ask(tmp_path / "out" / "decisions", "SELECT person, unreadable FROM {} ORDER BY 1 NULLS LAST, 2")
    assert found == [("bob", ""), *[(None, "erased")] * 4]
    with reading(world.control) as connection:
        told = waiting(connection)[-1]
    assert (told.kind, told.facts["payload"], told.private) == ("ledger.exported", True, {"by": "p1"})


def test_a_folder_of_something_else_is_left_alone(world: World, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "mine.txt").write_text("x")
    with pytest.raises(InputError):
        export(world, folder)
    assert [path.name for path in folder.iterdir()] == ["mine.txt"]
    shutil.rmtree(folder)
    export(world, folder)
    with pytest.raises(Conflict):
        export(world, folder, payload=True)
