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
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec.structs import replace
from sqlalchemy import BigInteger, Boolean, Column, Engine, Float, Integer, LargeBinary, Table, Text, select
from sqlalchemy.exc import IntegrityError as NotUnique

from pilotage.kernel.ids import uuid7
from pilotage.ledger.erasure import erase
from pilotage.ledger.faults import LedgerFault
from pilotage.ledger.frames import FrameKind
from pilotage.ledger.journal import JournalWriter
from pilotage.ledger.journal_reader import journal_files, read_frames
from pilotage.ledger.keyring import Keyring
from pilotage.ledger.keys import DataKey
from pilotage.ledger.merkle import EMPTY_ROOT, Frontier, leaf_hash
from pilotage.ledger.notes import Signer, read_checkpoint_body
from pilotage.ledger.record import Finding, Payload, Plain, Times, commitment
from pilotage.ledger.sealing import Steward
from pilotage.ledger.tables import consumed, decisions, erased_keys, heads, held_frames, lease, subject_keys
from pilotage.ledger.tiles import publish, read_checkpoint, read_entries
from pilotage.ledger.verify import LedgerReport, verify_ledger
from pilotage.ledger.verify_found import ReadableEvent
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

    def __init__(self, home: Home, keyring: Keyring, url: str = "") -> None:
        self.home, self.keyring = home, keyring
        self.control = database.open_engine(database.url_of(home, "control", url))
        self.ledger = database.open_engine(database.url_of(home, "ledger", url))

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


def found(root: Path, url: str = "") -> World:
    """A new, empty installation; on PostgreSQL with a URL."""
    world = World(Home(root=root).create(), Keyring.create("example.org/ledger"), url)
    database.control.create_all(world.control)
    database.ledger.create_all(world.ledger)
    return world


def build(root: Path, decisions: int = 330, url: str = "") -> World:
    world = found(root, url)
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
        files = [path for path in (root / "ledger").rglob("*") if path.is_file()]
        # Hidden ones are the steward's notes on work in progress, and no record.
        self.files = sorted(p for p in files if not any(part.startswith(".") for part in p.relative_to(root).parts))
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
    try:
        change.apply()
    except NotUnique:
        return ""  # the database itself refuses
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


@pytest.mark.parametrize("seed", [0, *(pytest.param(more, marks=pytest.mark.slow) for more in range(1, 5))])
def test_random_changes_are_found_and_named(world: World, restorer: Restorer, seed: int) -> None:
    check_random_changes(world, restorer, seed, 30)


@pytest.mark.slow
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


# What an attacker, an accident or bad luck would do.


def faults_of(world: World, **options: Any) -> str:
    report = world.verify(**options)
    assert not report.ok
    return "\n".join(f"{fault.place}: {fault.what}" for fault in report.faults)


def test_whoever_owns_all_files_and_tables_but_not_the_key_cannot_rewrite_history(
    world: World, restorer: Restorer
) -> None:
    """Entries, tiles, roots and frontiers are consistent among themselves again; only the signatures are not."""
    folder = world.home.ledger
    published = read_checkpoint_body(read_checkpoint(folder)).size
    entries = list(read_entries(folder, 0, published))
    entries[7] = entries[7].replace(b'"stage":"internal"', b'"stage":"internat"')
    signer = Signer(world.keyring.origin, Ed25519PrivateKey.generate())
    shutil.rmtree(folder / "tile")
    root = Frontier().append(map(leaf_hash, entries)).root()
    publish(folder, 0, entries, published, signer.sign_checkpoint(world.keyring.origin, published, root))
    for row in world.sql(select(heads)):
        if row.size <= published:
            frontier = Frontier().append(map(leaf_hash, entries[: row.size]))
            values = {"root": frontier.root().hex(), "frontier": frontier.to_bytes()}
            world.sql(heads.update().where(heads.c.size == row.size).values(values))
    said = faults_of(world)
    assert f"{folder}/checkpoint: not a checkpoint that this log signed" in said
    assert "heads checkpoint of size" in said


def test_an_erased_person_cannot_be_brought_back_nor_hidden(world: World, restorer: Restorer) -> None:
    backup = world.sql(select(subject_keys))
    row = world.sql(select(erased_keys))[0]
    world.sql(subject_keys.insert().values(dict(backup[0]._mapping) | {"key_id": row.key_id, "lookup": "0" * 64}))
    assert "subject_keys wrapped of " + row.key_id in faults_of(world)
    restorer.restore()
    world.sql(decisions.update().where(decisions.c.key_id == "erased").values(score=0.25))
    assert "decisions score of leaf" in faults_of(world)
    restorer.restore()
    other = backup[0].key_id
    world.sql(subject_keys.delete().where(subject_keys.c.key_id == other))
    assert f"row {other}: the key is missing, and no erasure destroyed it" in faults_of(world)
    world.sql(erased_keys.insert().values(key_id=other, event=row.event, at=row.at))
    assert "erased_keys" in faults_of(world)


def test_a_payload_of_an_erased_person_is_still_covered(world: World, restorer: Restorer) -> None:
    row = world.sql(select(decisions).where(decisions.c.key_id == "erased"))[0]
    path = world.home.ledger / row.segment
    content = bytearray(path.read_bytes())
    content[row.offset + row.length - 1] ^= 1
    path.write_bytes(content)
    assert f"{path}: its bytes are not those that the batch leaf commits to" in faults_of(world)


def test_a_consumed_frame_without_a_leaf_is_missed(world: World, restorer: Restorer) -> None:
    """As if the steward had skipped the last, unsealed frames: the position says consumed, no leaf came of them."""
    file = next(file for file in journal_files(world.home.journal) if file.name.startswith("alpha/0") and file.newest)
    frames = list(read_frames(file, world.keyring.steward))
    row = consumed.c.name == file.name
    assert world.sql(select(consumed.c.offset).where(row))[0].offset < frames[-1].end
    world.sql(consumed.update().where(row).values(offset=frames[-1].end, chain=frames[-1].chain.hex()))
    said = faults_of(world)
    assert (
        f"{file.path} at byte {frames[-1].offset}: this frame was consumed, but the ledger has no leaf for it" in said
    )


def test_a_changed_unsealed_frame_is_found_when_another_follows_it(world: World, restorer: Restorer) -> None:
    file = next(file for file in journal_files(world.home.journal) if file.name.startswith("alpha/0") and file.newest)
    frame = list(read_frames(file, world.keyring.steward))[-2]
    content = bytearray(file.path.read_bytes())
    content[frame.offset + 40] ^= 1
    file.path.write_bytes(content)
    assert str(file.path) in faults_of(world)


def test_a_journal_that_vanished_unsealed_is_missed(world: World, restorer: Restorer) -> None:
    file = next(file for file in journal_files(world.home.journal) if file.name.startswith("alpha/1") and file.newest)
    file.path.unlink()
    assert f"{file.path}: the file is missing" in faults_of(world)


def test_another_keyring_verifies_nothing_and_raises_nothing(world: World) -> None:
    said = faults_of(world, keyring=Keyring.create("example.org/ledger"))
    assert "the key is missing, and no erasure destroyed it" in said
    assert "not a checkpoint that this log signed" in said


def test_a_damaged_database_is_reported(world: World, restorer: Restorer) -> None:
    path = world.home.ledger_database
    content = bytearray(path.read_bytes())
    content[4096 * 3 : 4096 * 40] = bytes(4096 * 37)
    path.write_bytes(content)
    assert "ledger.db: " in faults_of(world)


def test_witnesses_see_every_event_and_add_their_faults(world: World) -> None:
    seen: list[ReadableEvent] = []

    def witness(events: Sequence[ReadableEvent]) -> list[LedgerFault]:
        seen.extend(events)
        return [LedgerFault(place="approvals row 7", what="no event speaks of it")]

    report = world.verify(witnesses=[witness])
    assert [fault.place for fault in report.faults] == ["approvals row 7"]
    assert not report.ok
    kinds = [event.event.kind for event in seen]
    assert (len(seen), kinds.count("approval.granted")) == (report.events, 12)
    granted = next(event for event in seen if event.event.kind == "approval.granted")
    assert granted.private == {"actor": "operator"}


def test_a_new_installation_and_one_that_never_sealed_are_whole(tmp_path: Path) -> None:
    world = found(tmp_path / "new")
    assert world.verify() == LedgerReport(ok=True, origin="example.org/ledger", root=EMPTY_ROOT.hex())

    async def write() -> None:
        journal = JournalWriter(world.home.journal / "n", worker=0, steward_key=world.keyring.steward_public)
        await journal.open()
        await write_decision(journal, 1)
        await journal.close()

    asyncio.run(write())
    report = world.verify()
    assert (report.ok, report.frames, report.size) == (True, 1, 0)


@pytest.mark.slow
def test_a_ledger_that_grows_meanwhile_is_whole_at_every_moment(tmp_path: Path) -> None:
    """No false alarm while the steward seals, publishes, deletes journals and erases beside the verification."""
    world = found(tmp_path / "live")
    steward = world.steward()
    assert steward.acquire()
    reports: list[LedgerReport] = []

    async def live() -> None:
        key = world.keyring.steward_public
        journal = JournalWriter(
            world.home.journal / "n", worker=0, steward_key=key, first_bytes=20_000, segment_bytes=20_000
        )
        await journal.open()
        stop = threading.Event()
        sealing = asyncio.create_task(asyncio.to_thread(steward.run, stop))
        verifying = asyncio.create_task(asyncio.to_thread(watch, stop))
        for n in range(500):
            await write_decision(journal, n)
            if n % 100 == 50:
                await write_stream(journal, n, ends=n % 200 == 50)
            if n == 300:
                await asyncio.to_thread(erase, "customer-3", "request", "the person", steward=steward)
        stop.set()
        await asyncio.gather(sealing, verifying)
        await journal.close()

    def watch(stop: threading.Event) -> None:
        engine = database.open_engine(database.url_of(world.home, "ledger"))
        while not stop.is_set():
            reports.append(verify_ledger(world.home, engine, world.keyring))
        engine.dispose()

    asyncio.run(live())
    world.control.dispose()
    assert [fault for report in reports for fault in report.faults][:3] == []
    assert len({report.size for report in reports}) > 3
    assert world.verify().ok


@pytest.mark.postgres
@pytest.mark.slow
def test_a_ledger_on_postgresql_is_verified_alike(tmp_path: Path, postgres_url: str) -> None:
    world = build(tmp_path, 60, postgres_url)
    report = world.verify()
    assert report.faults == ()
    assert report.erased > 2
    mutator = Mutator(world, 5)
    wrong: list[str] = []
    for table in mutator.tables:
        for column in table.columns:
            if (table, column.name) in OPERATIONAL:
                continue
            before = world.sql(select(table))
            change = mutator.edit_of(table, column)
            change.apply()
            report = world.verify()
            if not any(change.place in fault.place for fault in report.faults):
                wrong.append(change.name)
            world.sql(table.delete())
            world.sql(table.insert().values([dict(row._mapping) for row in before]))
    assert wrong == []
    assert world.verify().ok


def test_a_payload_under_another_persons_key_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or erasing the one would leave the other readable."""
    world = found(tmp_path)
    steward = world.steward()
    assert steward.acquire()

    async def write() -> None:
        journal = JournalWriter(world.home.journal / "n", worker=0, steward_key=world.keyring.steward_public)
        await journal.open()
        await write_decision(journal, 1)
        await write_decision(journal, 2)
        await journal.close()

    asyncio.run(write())
    gather = steward.cabinet.gather

    def mixed_up(*arguments: Any) -> Any:
        of_subjects, of_days = gather(*arguments)
        one = next(iter(of_subjects.values()))
        return {subject: one if n == 0 else replace(one, row=None) for n, subject in enumerate(of_subjects)}, of_days

    monkeypatch.setattr(steward.cabinet, "gather", mixed_up)
    steward.seal()
    world.control.dispose()
    assert "subject_keys lookup of" in faults_of(world)


def test_a_payload_that_is_sealed_well_but_is_not_the_one_committed_to_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It decrypts under its key, is the right person's and gives the row of the index: only the commitment tells."""
    world = found(tmp_path)
    steward = world.steward()
    assert steward.acquire()

    async def write() -> None:
        journal = JournalWriter(world.home.journal / "n", worker=0, steward_key=world.keyring.steward_public)
        await journal.open()
        await write_decision(journal, 1)
        await journal.close()

    asyncio.run(write())
    seal = DataKey.seal

    def other_salt(self: DataKey, id_: str, origin: str, secret: bytes, nonce: bytes) -> Any:
        return seal(self, id_, origin, bytes(32) + secret[32:], nonce)

    monkeypatch.setattr(DataKey, "seal", other_salt)
    steward.seal()
    world.control.dispose()
    assert "at byte" in faults_of(world)
