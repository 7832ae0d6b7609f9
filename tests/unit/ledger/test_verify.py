"""Verification of a real ledger: whole as it was sealed, and any byte or row changed is found and named.

The ledger under test is made by the real writer and the real steward: decisions of several nodes and systems, streams
that ended, broke off and are still open, control events, an erasure done and one scheduled, a steward killed between
commit and publication, and frames that nobody has sealed yet.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import BigInteger, Boolean, Column, Engine, Float, Integer, LargeBinary, Table, Text, select

from pilotage.kernel.ids import uuid7
from pilotage.ledger.erasure import erase
from pilotage.ledger.frames import FrameKind
from pilotage.ledger.journal import JournalWriter
from pilotage.ledger.journal_reader import journal_files
from pilotage.ledger.keyring import Keyring
from pilotage.ledger.record import Finding, Payload, Plain, Times, commitment
from pilotage.ledger.sealing import Steward
from pilotage.ledger.tables import consumed, held_frames, lease
from pilotage.ledger.verify import LedgerReport, verify_ledger
from pilotage.profiles.build import build_profile
from pilotage.storage import database, outbox
from pilotage.storage.home import Home

NAMES = ["age", "limit"]
PROFILE = build_profile(
    {"age": "numeric", "limit": "numeric"},
    [[float(n), float(n * 7 % 100)] for n in range(200)],
    [n / 200 for n in range(200)],
)
DAY_US = 86_400_000_000
START_US = 1_790_000_000_000_000


class Killed(BaseException):
    """The steward's process ends here."""


def plain_of(id_: str, at: int, secret: bytes, **changes: Any) -> bytes:
    known: dict[str, Any] = {
        "id": id_,
        "request_id": uuid7(),
        "system": "credit-default",
        "release": "sha256:" + "1" * 64,
        "environment": "sha256:" + "2" * 64,
        "contract": "sha256:" + "3" * 64,
        "policy": "",
        "plan": "sha256:" + "4" * 64,
        "stage": "internal",
        "outcome": "answered",
        "times": Times(received=at, contract=11, guard=0, answer=42),
        "commitment": commitment(secret[:32], secret[32:]),
    }
    return msgspec.json.encode(Plain(**{**known, **changes}))


def secret_of(n: int, subject: str) -> bytes:
    payload = Payload(
        subject=subject,
        request=b'{"age": %d, "limit": 1.5}' % n,
        names=NAMES,
        features=[float(n % 97), 1.5],
        answer={"score": n / 1000, "label": "no" if n % 3 else "yes"},
        score=n / 1000,
    )
    return os.urandom(32) + msgspec.msgpack.encode(payload)


async def write_decision(journal: JournalWriter, n: int) -> None:
    subject = f"customer-{n % 25}" if n % 4 else ""
    secret = secret_of(n, subject)
    changes: dict[str, Any] = {
        "system": "credit-default" if n % 5 else "churn",
        "arm": "challenger" if n % 7 == 0 else "champion",
    }
    if n % 11 == 0:
        finding = Finding(check="contract", version="1", path="/age", verdict="above_maximum", action="reject")
        changes |= {"outcome": "rejected", "findings": [finding]}
    await journal.record(FrameKind.decision, plain_of(uuid7(), START_US + n * DAY_US // 300, secret, **changes), secret)


async def write_stream(journal: JournalWriter, n: int, *, ends: bool) -> None:
    id_, secret = uuid7(), secret_of(n, f"customer-{n % 25}")
    at = START_US + n
    await journal.record(FrameKind.opened, plain_of(id_, at, secret, outcome="opened"), secret)
    for part in range(3):
        await journal.record(
            FrameKind.chunk, msgspec.json.encode({"id": id_, "n": part}), os.urandom(32) + b"word %d " % part
        )
    if ends:
        secret = secret_of(n, f"customer-{n % 25}")
        await journal.record(FrameKind.closed, plain_of(id_, at, secret), secret)


def emit(control: Engine, kind: str, count: int) -> None:
    with database.writing(control) as connection:
        for n in range(count):
            facts = {"stage": "internal", "n": n, "share": n / 3, "good": n % 2 == 0, "list": [1, "a", None]}
            outbox.emit(
                connection, kind, system="credit-default", facts=facts, private={"actor": "operator"}, at=START_US + n
            )


async def fill(home: Home, steward: Steward, control: Engine, decisions: int) -> None:
    """Journals of three workers, sealed in several batches while two of them live."""
    key = steward.keyring.steward_public
    writers = [
        JournalWriter(
            home.journal / node,
            worker=worker,
            steward_key=key,
            first_bytes=48_000,
            segment_bytes=96_000,
            max_age_s=3600,
        )
        for node, worker in (("alpha", 0), ("alpha", 1), ("beta", 0))
    ]
    for writer in writers:
        await writer.open()
    for n in range(decisions):
        await write_decision(writers[n % 3], n)
    emit(control, "approval.granted", 12)
    await write_stream(writers[0], 3, ends=True)
    await write_stream(writers[2], 4, ends=False)
    await writers[2].close()
    while (await asyncio.to_thread(steward.seal, 100)).more:
        pass
    await asyncio.to_thread(steward.seal)
    await asyncio.to_thread(erase, "customer-3", "request", "the person", steward=steward)
    await asyncio.to_thread(erase, "customer-9", "request", "the person", steward=steward, regimes=["reg_b"])
    await write_stream(writers[0], 5, ends=False)
    emit(control, "gate.passed", 3)
    await asyncio.to_thread(steward.seal)
    emit(control, "release.promoted", 2)
    await write_decision(writers[1], 8)
    with suppress(Killed):
        await asyncio.to_thread(killed_seal, steward)
    for n in range(4):
        await write_decision(writers[0], n)
    for writer in writers[:2]:
        await writer.close()


def killed_seal(steward: Steward) -> None:
    steward._step = die
    steward.seal()


def die(step: str) -> None:
    if step == "committed":
        raise Killed


class World:
    """An installation at rest. Engines are kept for their compiled statements, their connections are not."""

    def __init__(self, home: Home, keyring: Keyring) -> None:
        self.home, self.keyring = home, keyring
        self.control = database.open_engine(database.url_of(home, "control"))
        self.ledger = database.open_engine(database.url_of(home, "ledger"))

    def verify(self, **options: Any) -> LedgerReport:
        try:
            return verify_ledger(self.home, self.ledger, options.pop("keyring", self.keyring), **options)
        finally:
            self.ledger.dispose()

    def sql(self, statement: Any) -> list[Any]:
        try:
            with database.writing(self.ledger) as connection:
                result = (
                    connection.exec_driver_sql(statement)
                    if isinstance(statement, str)
                    else connection.execute(statement)
                )
                return list(result.all()) if result.returns_rows else []
        finally:
            self.ledger.dispose()

    def steward(self, **options: Any) -> Steward:
        return Steward(
            home=self.home,
            control=self.control,
            ledger=self.ledger,
            keyring=self.keyring,
            holder="test",
            profile_of=lambda release: PROFILE,
            **options,
        )


def found(root: Path) -> World:
    """A new, empty installation."""
    world = World(Home(root=root).create(), Keyring.create("example.org/ledger"))
    database.control.create_all(world.control)
    database.ledger.create_all(world.ledger)
    return world


def build(root: Path, decisions: int = 330) -> World:
    world = found(root)
    steward = world.steward()
    assert steward.acquire()
    asyncio.run(fill(world.home, steward, world.control, decisions))
    world.control.dispose()
    world.ledger.dispose()
    return world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build(tmp_path_factory.mktemp("world"))


def test_a_ledger_as_it_was_sealed_is_whole(world: World) -> None:
    seen: list[tuple[int, int]] = []
    report = world.verify(progress=lambda done, total: seen.append((done, total)))
    assert report.faults == ()
    assert report.ok
    assert seen[-1] == (report.size, report.size)
    assert seen == sorted(seen)
    assert report.published < report.size > 300
    assert report.decisions == 330 + 1 + 1 + 1
    assert report.batches > 4
    assert report.erased > 10
    assert report.readable + report.erased + report.batches == report.size
    assert report.frames > 30


# Changing it.

OPERATIONAL = {
    # Bookkeeping that the leaves do not speak of: changing it changes no record.
    *((lease, name) for name in ("name", "holder", "epoch", "expires")),
    (consumed, "identity"),  # of files that are gone; of files still there it is checked
    (consumed, "state"),
    (held_frames, "position"),  # only the order counts
}


@dataclass(kw_only=True)
class Change:
    """A change to be found: `place` must occur in the place of a fault."""

    name: str
    place: str
    apply: Callable[[], object]


class Mutator:
    """Draws random changes of an installation at rest. Each draw is for the unchanged state."""

    def __init__(self, world: World, seed: int) -> None:
        self.world, self.pick = world, random.Random(seed)
        root = world.home.root
        self.tables = [table for table in database.ledger.sorted_tables if table is not lease]
        self.rows = {table.name: world.sql(select(table)) for table in self.tables}
        self.tables = [table for table in self.tables if self.rows[table.name]]
        files = [path for path in (root / "ledger").rglob("*") if path.is_file() and not path.name.startswith(".")]
        self.files = sorted(files)
        offsets = {row.name: row.offset for row in self.rows["consumed"]}
        self.journals = {
            file.path: offsets[file.name] for file in journal_files(world.home.journal) if offsets.get(file.name)
        }

    def draw(self) -> Change:
        kind = self.pick.choice(
            ["flip", "flip", "flip", "journal", "shape", "edit", "edit", "edit", "delete", "duplicate"]
        )
        return getattr(self, kind)()

    def flip(self) -> Change:
        path = self.pick.choice(self.files)
        return self._flip(path, self.pick.randrange(path.stat().st_size))

    def journal(self) -> Change:
        path = self.pick.choice(sorted(self.journals))
        return self._flip(path, self.pick.randrange(self.journals[path]))

    def _flip(self, path: Path, at: int) -> Change:
        content = bytearray(path.read_bytes())
        content[at] ^= 1 << self.pick.randrange(8)
        return Change(name=f"flip a bit of {path} at {at}", place=str(path), apply=lambda: path.write_bytes(content))

    def shape(self) -> Change:
        path, other = self.pick.choice(self.files), self.pick.choice(self.files)
        content = path.read_bytes()
        way = self.pick.choice(["cut", "grow", "replace", "add"])
        if way == "cut":
            changed = content[: self.pick.randrange(len(content))]
        elif way == "grow":
            changed = content + self.pick.randbytes(self.pick.choice([1, 32, 100]))
        elif way == "replace" and other.read_bytes() != content:
            changed = other.read_bytes()
        else:
            stray = path.with_name("777")
            return Change(name=f"add {stray}", place=str(stray), apply=lambda: stray.write_bytes(content))
        return Change(name=f"{way} {path}", place=str(path), apply=lambda: path.write_bytes(changed))

    def edit(self) -> Change:
        table = self.pick.choice(self.tables)
        columns = [column for column in table.columns if (table, column.name) not in OPERATIONAL]
        return self.edit_of(table, self.pick.choice(columns))

    def edit_of(self, table: Table, column: Column[Any]) -> Change:
        row = self._row(table)
        changed = self._other(column, row[column.name])
        statement = table.update().where(*self._is(table, row)).values({column.name: changed})
        what = f"{str(row[column.name])[:60]!r} -> {str(changed)[:60]!r}"
        name = f"{table.name}.{column.name}: {what} in {list(row.values())[:2]}"
        return Change(name=name, place=table.name, apply=lambda: self.world.sql(statement))

    def delete(self) -> Change:
        table = self.pick.choice(self.tables)
        row = self._row(table)
        statement = table.delete().where(*self._is(table, row))
        return Change(
            name=f"delete {table.name} {list(row.values())[:2]}",
            place=table.name,
            apply=lambda: self.world.sql(statement),
        )

    def duplicate(self) -> Change:
        table = self.pick.choice([table for table in self.tables if table is not consumed])
        row = dict(self.pick.choice(self.rows[table.name])._mapping)
        unique = {column.name for column in table.columns if column.primary_key or column.unique}
        for name in unique:
            value = self._other(table.c[name], row[name])
            row[name] = value + 1_000_000 if isinstance(value, int) else value
        statement = table.insert().values(row)
        return Change(
            name=f"duplicate {table.name} {list(row.values())[:2]}",
            place=table.name,
            apply=lambda: self.world.sql(statement),
        )

    def _row(self, table: Table) -> Any:
        rows = self.rows[table.name]
        if table is consumed:  # the row of a file that is gone says nothing that a batch leaf does not say
            present = {file.name for file in journal_files(self.world.home.journal)}
            rows = [row for row in rows if row.name in present]
        return self.pick.choice(rows)._mapping

    @staticmethod
    def _is(table: Table, row: Any) -> list[Any]:
        return [column == row[column.name] for column in table.primary_key.columns]

    def _other(self, column: Column[Any], value: Any) -> Any:
        kind = column.type
        if value is None:
            return 0.5 if isinstance(kind, Float) else "somebody"
        if column.nullable and self.pick.random() < 0.3:
            return None
        if isinstance(kind, Boolean):
            return not value
        if isinstance(kind, Float):
            return value + self.pick.choice([-1.0, 1e-9, 0.5])
        if isinstance(kind, Integer | BigInteger):
            return value + (9_973 if column.primary_key else self.pick.choice([-1, 1, 997]))
        if isinstance(kind, LargeBinary):
            at = self.pick.randrange(len(value))
            return value[:at] + bytes([value[at] ^ 4]) + value[at + 1 :]
        if isinstance(kind, Text):
            return self._other_text(value)
        return {**value, "changed": True} if self.pick.random() < 0.5 or not value else dict(list(value.items())[1:])

    def _other_text(self, value: str) -> str:
        at = self.pick.randrange(len(value)) if value else 0
        letter = self.pick.choice([letter for letter in "ab1" if letter != value[at : at + 1]])
        return self.pick.choice([value + "x", value[:at] + letter + value[at + 1 :]])


@dataclass
class Restorer:
    """Puts an installation back, quickly: only what a change may have touched."""

    world: World
    copy: Path

    @classmethod
    def of(cls, world: World, folder: Path) -> Restorer:
        with world.ledger.connect() as connection:
            connection.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # type: ignore[attr-defined]
        world.ledger.dispose()
        shutil.copytree(world.home.root, folder / "copy")
        return cls(world, folder / "copy")

    def restore(self) -> None:
        root = self.world.home.root
        for path in root.glob("ledger.db-*"):
            path.unlink()
        for path in root.rglob("*"):
            saved = self.copy / path.relative_to(root)
            if path.is_file() and not saved.exists():
                path.unlink()
        for saved in self.copy.rglob("*"):
            path = root / saved.relative_to(self.copy)
            if saved.is_file() and (not path.exists() or path.stat().st_mtime_ns != saved.stat().st_mtime_ns):
                shutil.copy2(saved, path)


@pytest.fixture
def restorer(world: World, tmp_path: Path) -> Iterator[Restorer]:
    made = Restorer.of(world, tmp_path)
    yield made
    made.restore()


def missed(world: World, restorer: Restorer, change: Change) -> str:
    """What is wrong with the report on a change; empty when the change was found and its place named."""
    change.apply()
    report = world.verify()
    restorer.restore()
    if report.ok:
        return f"not found: {change.name}"
    if not any(change.place in fault.place for fault in report.faults):
        return f"not named: {change.name}: {[fault.place for fault in report.faults][:5]}"
    return ""


def check_random_changes(world: World, restorer: Restorer, seed: int, count: int) -> None:
    mutator = Mutator(world, seed)
    wrong = [text for _ in range(count) if (text := missed(world, restorer, mutator.draw()))]
    assert wrong == []
    assert world.verify().ok


@pytest.mark.parametrize("seed", range(5))
def test_random_changes_are_found_and_named(world: World, restorer: Restorer, seed: int) -> None:
    check_random_changes(world, restorer, seed, 30)


def test_an_edit_of_any_column_is_found_and_named(world: World, restorer: Restorer) -> None:
    mutator = Mutator(world, 99)
    columns = [
        (table, column)
        for table in mutator.tables
        for column in table.columns
        if (table, column.name) not in OPERATIONAL
    ]
    assert len(columns) > 80
    wrong = [text for table, column in columns if (text := missed(world, restorer, mutator.edit_of(table, column)))]
    assert wrong == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1000, 1020))
def test_two_thousand_random_changes(world: World, restorer: Restorer, seed: int) -> None:
    check_random_changes(world, restorer, seed, 100)
