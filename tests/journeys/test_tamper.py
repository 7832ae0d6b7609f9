"""Whatever is at rest is changed, byte by byte and row by row: the audit fails each time and names the place.

The home is made by real traffic over `pilotage up`: answers, rejections, a promotion, a rollback, a stop, a revoked
key, an erased person, and journals that nobody has sealed yet.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pilotage.access.identities import link_person
from pilotage.access.issuers import Grant, Issuer
from pilotage.access.limits import Limit
from pilotage.gates.service import ATTESTED
from pilotage.ledger import tables as ledger_tables
from pilotage.ledger.faults import LedgerFault
from pilotage.ledger.journal_reader import journal_files, read_frames
from pilotage.ledger.verify import LedgerReport
from pilotage.storage.database import ledger as ledger_metadata
from pilotage.wiring.audit import verify
from tests.journeys.live import ROW, LiveHome, Load, Up, child_pids, command_line, running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

FLIPS = 120
OPERATIONAL = {ledger_tables.lease.name, ledger_tables.scheduled_erasures.name}
"""Tables of ledger.db that are no record (see `pilotage.ledger.verify`)."""
LEDGER_TABLES = sorted(table.name for table in ledger_metadata.sorted_tables if table.name not in OPERATIONAL)
CONTROL_TABLES = sorted(
    [*(table.name for table in ATTESTED), "deployment_answering", "deployments", "serving_plans", "retention_rules"]
)

Row = dict[str, Any]


@dataclass
class Kept:
    """The home under test, and a copy of it as it was."""

    live: LiveHome
    pristine: Path
    chance: random.Random = field(default_factory=lambda: random.Random(11))

    def verify(self) -> LedgerReport:
        return verify(self.live.installation)

    def restore(self, path: Path) -> None:
        before = self.pristine / path.relative_to(self.live.root)
        if path.suffix == ".db":
            with closing(sqlite3.connect(before)) as source, closing(sqlite3.connect(path, timeout=20)) as target:
                source.backup(target)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(before, path)

    def database(self, part: str) -> Path:
        return self.live.root / f"{part}.db"

    def rows(self, part: str, table: str) -> list[Row]:
        with closing(sqlite3.connect(self.database(part), timeout=20)) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(f"SELECT rowid AS rowid_, * FROM {table}")]

    def write(self, part: str, statement: str, values: Sequence[Any]) -> None:
        with closing(sqlite3.connect(self.database(part), timeout=20, isolation_level=None)) as connection:
            assert connection.execute(statement, values).rowcount == 1

    def update(self, part: str, table: str, row: Row, column: str, value: Any) -> None:
        self.write(part, f'UPDATE {table} SET "{column}" = ? WHERE rowid = ?', (value, row["rowid_"]))

    def delete(self, part: str, table: str, row: Row) -> None:
        self.write(part, f"DELETE FROM {table} WHERE rowid = ?", (row["rowid_"],))

    def insert(self, part: str, table: str, row: Row) -> None:
        names = [name for name in row if name != "rowid_"]
        columns, marks = ", ".join(f'"{name}"' for name in names), ", ".join("?" * len(names))
        self.write(part, f"INSERT INTO {table} ({columns}) VALUES ({marks})", [row[name] for name in names])


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    with kept_home(tmp_path_factory.mktemp("tamper")) as made:
        yield made


@contextmanager
def kept_home(root: Path) -> Iterator[Kept]:
    """A home with a history, at rest, and its copy."""
    live = LiveHome(root=root / "home")
    with running(live) as up:
        up.wait_until_all_live()
        make_history(live, up)
        leave_unsealed(up)
    for engine in (live.installation.control, live.installation.ledger_engine):
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
            connection.rollback()
        engine.dispose()
    shutil.copytree(live.root, root / "pristine")
    made = Kept(live, root / "pristine")
    report = made.verify()
    assert report.ok, report.faults
    assert report.decisions > 100 and report.erased > 0 and report.events > 20
    assert report.frames > 20, "frames that wait to be sealed"
    yield made
    live.close()


def make_history(live: LiveHome, up: Up) -> None:
    """Traffic, and every kind of act: a promotion, a rollback, a stop, a key, a person who leaves, an erasure."""
    rollout, people = live.installation.rollout, live.people
    traffic(up, 0.6)
    for _ in range(3):
        assert up.ask(ROW | {"customer": "the-erased"}).status == 200
    live.governed.promoted(0.4)
    traffic(up, 0.4)
    rollout.rollback(people["operator"], "example", "worse")
    rollout.stop(people["operator"], "example", "a complaint")
    rollout.start(people["operator"], "example")
    rollout.set_limit(people["operator"], Limit(scope="installation", unit="rows", per="day", amount=10_000_000))
    grant = Grant(claim="groups", value="desk", right="decide:example")
    facts = {"issuer": "https://issuer.example", "audiences": ("pilotage",), "grants": (grant,)}
    rollout.add_issuer(live.governed.admin, Issuer(name="corp", keys='{"keys": []}', **facts))
    link = {"issuer": "corp", "subject": "u-1"}
    link_person(live.installation.control, live.governed.admin, people["auditor"].id, **link)
    bound = {"networks": ["127.0.0.0/8"]}
    issued = rollout.issue_key(people["operator"], name="second", scopes=["decide:example"], **bound)
    rollout.name_certificate(people["operator"], issued.id, "DNS:shop.example")
    rollout.revoke_key(people["operator"], issued.id)
    live.call("people", "add", "another auditor", "--role", "auditor", token=live.token("admin"))
    live.call("people", "remove", "another auditor", token=live.token("admin"), fine=(0, 1))
    traffic(up, 0.4)
    say_more(live)
    for days in ("5000", "6000"):
        rule = ("--system", "example", "--class", "payloads", "--days", days, "--reason", "asked for")
        live.call("retention", "set", *rule, token=live.token("risk_officer"))
    erased = live.call("erase", "--subject", "the-erased", "--json", token=live.token("risk_officer"))
    assert json.loads(erased.stdout)["unreadable"] == 3
    assert up.ask().status == 200
    time.sleep(1.0)


def say_more(live: LiveHome) -> None:
    """Outcomes of some decisions, and another answer to one."""
    end, rows = time.monotonic() + 20, []
    while len(rows) < 6:
        assert time.monotonic() < end, "the decisions were not sealed"
        listed = live.call("decisions", "list", "--outcome", "answered", "--json", token=live.token("auditor"))
        rows = json.loads(listed.stdout)[:6]
    told = live.root / "outcomes.csv"
    told.write_text("decision,value\n" + "".join(f"{row['id']},{n % 2}\n" for n, row in enumerate(rows)))
    live.call("outcomes", "upload", str(told), "--system", "example", token=live.token("operator"))
    told.unlink()
    words = ("--answer", "favourable", "--reason", "asked for by the person")
    for row in rows[:2]:
        live.call("decisions", "override", row["id"], *words, token=live.token("reviewer"))


def leave_unsealed(up: Up) -> None:
    """End everything so that a journal is left that nobody has sealed; without a supervisor the workers drain."""
    os.kill(up.process.pid, signal.SIGSTOP)
    os.kill(up.children()["steward"], signal.SIGKILL)
    for n in range(30):
        assert up.ask(ROW | {"customer": f"late-{n}"}).status == 200
    pids = child_pids(up.process.pid)
    os.kill(up.process.pid, signal.SIGKILL)
    end = time.monotonic() + 20
    while any("pilotage" in command_line(pid) for pid in pids):
        assert time.monotonic() < end, "the workers did not drain"
        time.sleep(0.05)


def traffic(up: Up, seconds: float) -> None:
    load = Load(up.decide_url, up.live.key, clients=4, pause_s=0.03)

    async def ask() -> None:
        asking = asyncio.create_task(load.run())
        await asyncio.sleep(seconds)
        end = time.monotonic() + 30
        while load.statuses.total() < 45 and time.monotonic() < end:  # a busy machine takes longer
            await asyncio.sleep(0.05)
        load.stopping = True
        await asking

    asyncio.run(ask())
    assert load.statuses[200] and load.statuses[422], load.statuses


# Files, one byte each.


def entry_bundles(kept: Kept) -> dict[Path, int]:
    return _sizes((kept.live.root / "ledger" / "tile" / "entries").rglob("*"))


def hash_tiles(kept: Kept) -> dict[Path, int]:
    folder = kept.live.root / "ledger" / "tile"
    return _sizes(path for level in folder.iterdir() if level.name != "entries" for path in level.rglob("*"))


def checkpoint(kept: Kept) -> dict[Path, int]:
    return _sizes([kept.live.root / "ledger" / "checkpoint"])


def segments(kept: Kept) -> dict[Path, int]:
    return _sizes((kept.live.root / "ledger" / "segments").rglob("*.seg"))


def journals(kept: Kept) -> dict[Path, int]:
    """Up to where each file's frames end; behind is preallocated room."""
    steward = kept.live.installation.keyring.steward
    found = {}
    for file in journal_files(kept.live.root / "journal"):
        if ends := [frame.end for frame in read_frames(file, steward)]:
            found[file.path] = ends[-1]
    return found


def _sizes(paths: Any) -> dict[Path, int]:
    return {path: path.stat().st_size for path in paths if path.is_file()}


@pytest.mark.parametrize("kind", [entry_bundles, hash_tiles, checkpoint, segments, journals])
def test_a_flipped_byte_is_found(kept: Kept, kind: Any) -> None:
    files = kind(kept)
    assert files
    names = sorted(files)
    for _ in range(FLIPS):
        path = kept.chance.choice(names)
        content = bytearray(path.read_bytes())
        at = kept.chance.randrange(files[path])
        content[at] ^= kept.chance.choice([0x01, 0x20, 0x80, 0xFF])
        path.write_bytes(content)
        try:
            report = kept.verify()
        finally:
            kept.restore(path)
        assert not report.ok, f"byte {at} of {path} was flipped"
        assert names_file(report.faults, path, kind), f"byte {at} of {path}: {report.faults[:3]}"
    assert kept.verify().ok


def names_file(faults: Sequence[LedgerFault], path: Path, kind: Any) -> bool:
    """A fault's place is the file; of an entry it may be the leaf."""
    inside = str(path.relative_to(path.parents[2] if kind is journals else path.parent))
    places = [fault.place for fault in faults]
    return any(inside in place or path.stem in place for place in places) or (
        kind in (entry_bundles, hash_tiles) and any(place.startswith("leaf ") for place in places)
    )


@pytest.mark.parametrize("kind", [entry_bundles, hash_tiles, checkpoint, segments])
def test_a_file_removed_is_found(kept: Kept, kind: Any) -> None:
    # Of a growing tile older, narrower files lie about that nothing needs: the widest counts.
    path = max(sorted(kind(kept)), key=lambda path: path.stat().st_size)
    path.unlink()
    try:
        report = kept.verify()
    finally:
        kept.restore(path)
    assert not report.ok and names_file(report.faults, path, kind), (path, report.faults[:3])


# Rows, edited in SQL.


def other(value: Any, chance: random.Random) -> Any:
    """Another value of the same kind; JSON stays JSON, null becomes text."""
    match value:
        case None:
            return "x"
        case int():
            return value + chance.choice([-1, 1, 1000])
        case float():
            return value + 0.25
        case bytes():
            at = chance.randrange(len(value))
            return value[:at] + bytes([value[at] ^ 1]) + value[at + 1 :]
        case str() if value[:1] in "[{" and value:
            changed = json.loads(value)
            return json.dumps([*changed, "admin"] if isinstance(changed, list) else {**changed, "added": 1})
        case str() if value:
            at = chance.randrange(len(value))
            return value[:at] + ("0" if value[at] != "0" else "1") + value[at + 1 :]
    return value + "x"


def names_row(faults: Sequence[LedgerFault], table: str, row: Row) -> bool:
    """A fault's place is the table and row, or the record that the row is of."""
    marks = [table, *(str(row[name]) for name in ("id", "path", "batch", "key_id", "key", "name") if row.get(name))]
    if "leaf" in row:
        marks.append(f"leaf {row['leaf']}")
    return any(mark in fault.place for fault in faults for mark in marks)


def changes(kept: Kept, part: str, table: str) -> Iterator[tuple[str, Row]]:
    """Make one change after another: (what was done, to which row). The caller restores in between."""
    rows = kept.rows(part, table)
    if table == "consumed":  # positions in journals that are consumed and gone are forgotten in time: no record
        rows = [row for row in rows if row["state"] != "deleted"]
    columns = [name for name in rows[0] if name != "rowid_"] if rows else []
    for column in columns:
        row = kept.chance.choice(rows)
        value = other(row[column], kept.chance)
        try:
            kept.update(part, table, row, column, value)
        except sqlite3.IntegrityError:
            continue  # the database itself refuses
        yield f"{table}.{column}: {row[column]!r:.80} became {value!r:.80}", row
    if rows:
        row = kept.chance.choice(rows)
        kept.delete(part, table, row)
        yield f"deleted {row!r:.200}", row
    row = added(rows, table, kept)
    kept.insert(part, table, row)
    yield f"added {row!r:.200}", row


def added(rows: list[Row], table: str, kept: Kept) -> Row:
    """A row like another one, under a key and an id of its own; for an empty table one made up."""
    if not rows:
        made = {
            "held_frames": {"position": 1, "id": "x", "origin": "n1/0-1", "opened": 1, "plain": b"{}", "secret": b"x"},
        }
        return made[table]
    row = dict(kept.chance.choice(rows))
    for name in ("leaf", "size", "version", "plan"):
        if isinstance(row.get(name), int):
            row[name] = max(each[name] for each in rows) + 1
    for name in ("id", "batch", "path", "key_id", "key", "lookup", "name", "digest", "sha256"):
        if isinstance(row.get(name), str):
            row[name] += "9"
    if table == "deployment_answering":
        row["deployment"] += "9"
    if table == "decision_sums":
        row["at"] = min(each["at"] for each in rows if each["span"] == row["span"]) - row["span"]
    if table == "consumed":
        row["name"] = "n1/9-9"
    return row


def check_changes(kept: Kept, part: str, table: str) -> None:
    missed, found = [], 0
    for what, row in changes(kept, part, table):
        try:
            report = kept.verify()
        finally:
            kept.restore(kept.database(part))
        if report.ok or not names_row(report.faults, table, row):
            missed.append((what, [(fault.place, fault.what) for fault in report.faults[:3]]))
        found += 1
    assert not missed, missed
    assert found >= (1 if table == "held_frames" else 2)
    assert kept.verify().ok


@pytest.mark.parametrize("table", LEDGER_TABLES)
def test_every_column_of_the_ledger_is_held(kept: Kept, table: str) -> None:
    check_changes(kept, "ledger", table)


@pytest.mark.parametrize("table", CONTROL_TABLES)
def test_every_column_of_the_control_plane_is_held(kept: Kept, table: str) -> None:
    check_changes(kept, "control", table)


def test_the_command_tells_and_ends_with_1(kept: Kept) -> None:
    token = kept.live.token("auditor")
    approval = kept.rows("control", "approvals")[0]
    try:
        kept.update("control", "approvals", approval, "role", "auditor")
        done = kept.live.call("audit", "verify", "--json", token=token, fine=(1,))
        report = json.loads(done.stdout)
        assert not report["ok"] and [fault["place"] for fault in report["faults"]] == [f"approvals {approval['id']}"]
        kept.update("control", "approvals", approval, "role", approval["role"])
        done = kept.live.call("audit", "verify", "--json", token=token)
        assert json.loads(done.stdout)["ok"]
    finally:
        kept.restore(kept.database("control"))
