"""Thousands of random changes to a home at rest: each is found, and the place that was changed is named.

`PILOTAGE_MUTATIONS` says how many (2,000 when it is not set), `PILOTAGE_MUTATIONS_SEED` which. Each mutation changes
one thing, the whole record is verified, and the thing is put back. What is consistent in itself is held against
receipts and checkpoints kept outside, and only that: a ledger put back whole to an earlier state; an unsealed journal
that is cut, or shifted so that no mark behind stands where it says: a power cut leaves such tails.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pilotage.ledger.cosignatures import WitnessKey
from pilotage.ledger.cosigned import COSIGNED, accept_cosignature
from pilotage.ledger.faults import LedgerFault
from pilotage.ledger.frames import FrameKind
from pilotage.ledger.journal_reader import journal_files, read_frames
from pilotage.ledger.merkle import leaf_hash
from pilotage.ledger.outside import Outside, OutsideAudit, Receipt
from pilotage.ledger.segments import intents
from pilotage.ledger.verify import LedgerReport, verify_ledger
from pilotage.storage.home import Home
from pilotage.wiring import audit
from pilotage.wiring.audit import verify
from pilotage.wiring.keys import verifier_keys
from tests.journeys import test_tamper as tamper
from tests.journeys.test_tamper import CONTROL_TABLES, LEDGER_TABLES, Kept, Row, added, kept_home, names_row, other
from tests.ledger_world import World, decision, make_world

COUNT = int(os.environ.get("PILOTAGE_MUTATIONS", "2000"))
SEED = int(os.environ.get("PILOTAGE_MUTATIONS_SEED", "11"))
WITNESS = WitnessKey("audit.example/w1", Ed25519PrivateKey.from_private_bytes(bytes(32)))


@dataclass(frozen=True, kw_only=True)
class Mutation:
    """One change that was made: `kind` for counting, `places` any of which a fault must name, and how to undo it."""

    kind: str
    what: str
    places: Sequence[str]
    undo: Callable[[], None]
    named: Callable[[Sequence[LedgerFault]], bool] | None = None
    outside: Outside | None = None


class NothingChangedError(Exception):
    """The change drawn would leave everything as it is, or the database refuses it."""


@dataclass
class Mutator:
    """Draws mutations of one home."""

    kept: Kept
    chance: random.Random
    receipts: Sequence[Receipt] = ()
    files: dict[str, dict[Path, int]] = field(default_factory=dict)
    rows: dict[tuple[str, str], list[Row]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        kinds = (tamper.entry_bundles, tamper.hash_tiles, tamper.checkpoint, tamper.segments, tamper.journals)
        self.files = {kind.__name__: kind(self.kept) for kind in kinds}
        ledger = self.kept.live.root / "ledger"
        committed = {row["path"] for row in self.kept.rows("ledger", "segments")}
        for name in {name for names in intents(ledger).values() for name in names} - committed:
            self.files["segments"].pop(ledger / name, None)  # of a batch that the killed steward never committed
        folder = ledger / COSIGNED
        self.files["cosigned"] = {path: path.stat().st_size for path in folder.glob("*.json")}
        for part, tables in (("ledger", LEDGER_TABLES), ("control", CONTROL_TABLES)):
            for table in tables:
                self.rows[part, table] = self.kept.rows(part, table)

    def draw(self) -> Mutation:
        """Make one change."""
        while True:
            with suppress(NothingChangedError, sqlite3.IntegrityError):
                if self.chance.random() < 0.55:
                    return self._file()
                return self._row()

    # Files.

    def _file(self) -> Mutation:
        name = self.chance.choice(sorted(kind for kind, files in self.files.items() if files))
        path = self.chance.choice(sorted(self.files[name]))
        act = self.chance.choice(
            [
                self._flip,
                self._swap,
                self._delete,
                self._repeat,
                self._reorder,
                self._truncate,
                self._remove,
                self._exchange,
            ]
        )
        return act(name, path)

    def _flip(self, name: str, path: Path) -> Mutation:
        content, size = self._read(name, path)
        at = self.chance.randrange(size)
        content[at] ^= 1 << self.chance.randrange(8)
        return self._written(name, path, content, f"a bit of byte {at}", "bit flipped")

    def _swap(self, name: str, path: Path) -> Mutation:
        content, size = self._read(name, path)
        at = self.chance.randrange(size - 1)
        content[at], content[at + 1] = content[at + 1], content[at]
        return self._written(name, path, content, f"bytes {at} and {at + 1}", "bytes swapped")

    def _delete(self, name: str, path: Path) -> Mutation:
        content, size = self._read(name, path)
        count = self.chance.randint(1, min(64, size - 1))
        at = self.chance.randrange(size - count)
        left = content[:at] + content[at + count :]
        if name == "journals":
            left += bytes(count)  # a journal's room is made ahead
        return self._written(name, path, left, f"{count} bytes at {at}", "bytes deleted", at=at)

    def _repeat(self, name: str, path: Path) -> Mutation:
        content, size = self._read(name, path)
        count = self.chance.randint(1, min(64, size - 1))
        at = self.chance.randrange(size - count)
        more = content[: at + count] + content[at : at + count] + content[at + count :]
        return self._written(name, path, more, f"{count} bytes at {at}", "bytes repeated", at=at + count)

    def _reorder(self, name: str, path: Path) -> Mutation:
        content, size = self._read(name, path)
        count = self.chance.choice([1, 4, 32, 100])
        if size < 2 * count:
            raise NothingChangedError
        first = self.chance.randrange(size - 2 * count + 1)
        second = self.chance.randrange(first + count, size - count + 1)
        a, b = content[first : first + count], content[second : second + count]
        content[first : first + count], content[second : second + count] = b, a
        return self._written(name, path, content, f"{count} bytes at {first} and {second}", "blocks reordered")

    def _truncate(self, name: str, path: Path) -> Mutation:
        content, size = self._read(name, path)
        end = self.chance.randrange(size)
        left = content[:end] + (bytes(len(content) - end) if name == "journals" else b"")
        return self._written(name, path, left, f"to {end} of {size} bytes", "cut", at=end)

    def _remove(self, name: str, path: Path) -> Mutation:
        if name in ("entry_bundles", "hash_tiles"):  # of a growing tile narrower files may lie about: the widest counts
            path = max(self._of_one_tile(name, path), key=lambda each: self.files[name][each])
        content = path.read_bytes()
        path.unlink()
        places = ["witness audit.example/w1"] if name == "cosigned" else self._places(name, path)
        return Mutation(
            kind=f"{name}: file removed", what=str(path), places=places, undo=lambda: self._put(path, content)
        )

    def _of_one_tile(self, name: str, path: Path) -> list[Path]:
        folder = path.parent if path.parent.name.endswith(".p") else path.with_name(path.name + ".p")
        return [each for each in self.files[name] if each.parent == folder or f"{each}.p" == str(folder)]

    def _exchange(self, name: str, path: Path) -> Mutation:
        """Two files of a kind change places, or a copy lies under a name of its own."""
        others = [each for each in sorted(self.files[name]) if each != path]
        if not others or self.chance.random() < 0.3:
            return self._copy(name, path)
        second = self.chance.choice(others)
        a, b = path.read_bytes(), second.read_bytes()
        if a == b:
            raise NothingChangedError
        path.write_bytes(b)
        second.write_bytes(a)

        def undo() -> None:
            path.write_bytes(a)
            second.write_bytes(b)

        places = [*self._places(name, path), *self._places(name, second)]
        return Mutation(kind=f"{name}: files exchanged", what=f"{path} and {second}", places=places, undo=undo)

    def _copy(self, name: str, path: Path) -> Mutation:
        names = {
            "entry_bundles": "009",
            "hash_tiles": "009",
            "segments": f"9{path.name}",
            "journals": "7-0.log",
            "cosigned": "00000000.json",
        }
        if name not in names:
            raise NothingChangedError
        target = path.with_name(names[name])
        if name in ("entry_bundles", "hash_tiles") and path.parent.name.endswith(".p"):
            target = path.parent.with_name("009")
        shutil.copyfile(path, target)
        return Mutation(
            kind=f"{name}: file copied",
            what=f"{path} to {target}",
            places=[str(target), target.stem],
            undo=target.unlink,
        )

    def _read(self, name: str, path: Path) -> tuple[bytearray, int]:
        return bytearray(path.read_bytes()), self.files[name][path]

    def _written(
        self, name: str, path: Path, content: bytes | bytearray, what: str, kind: str, at: int | None = None
    ) -> Mutation:
        """`at`: everything from this byte on lies elsewhere now, or is gone."""
        before = path.read_bytes()
        if bytes(content) == before:
            raise NothingChangedError
        places, outside = self._places(name, path), None
        if name == "journals" and at is not None:
            places, outside = [*places, "receipt "], Outside(receipts=self.receipts, witnesses=[WITNESS.vkey()])
            kind += ", with receipts held"
        path.write_bytes(content)
        return Mutation(
            kind=f"{name}: {kind}",
            what=f"{path}: {what}",
            places=places,
            undo=lambda: self._put(path, before),
            outside=outside,
        )

    def _put(self, path: Path, content: bytes) -> None:
        path.write_bytes(content)
        path.chmod(0o600)

    def _places(self, name: str, path: Path) -> list[str]:
        """The file; a journal by its name; of bundles and tiles also the leaf."""
        inside = "/".join(path.parts[-2:])
        known = [str(path), path.stem if name == "journals" else inside, inside.removesuffix(".log")]
        return [*known, "leaf "] if name in ("entry_bundles", "hash_tiles") else known

    # Rows.

    def _row(self) -> Mutation:
        part, table = self.chance.choice(sorted(key for key, rows in self.rows.items() if rows))
        act = self.chance.choice([self._update, self._update, self._exchange_values, self._drop, self._add])
        return act(part, table, self.chance.choice(self.rows[part, table]))

    def _update(self, part: str, table: str, row: Row) -> Mutation:
        column = self.chance.choice([name for name in row if name != "rowid_"])
        if (table, column, row.get("state")) == ("consumed", "identity", "deleted"):
            raise NothingChangedError  # of a journal that is gone nothing else tells it
        value = other(row[column], self.chance)
        self.kept.update(part, table, row, column, value)
        return self._changed(part, table, [row], "value changed", f"{column}: {row[column]!r:.60} to {value!r:.60}")

    def _exchange_values(self, part: str, table: str, row: Row) -> Mutation:
        second = self.chance.choice(self.rows[part, table])
        column = self.chance.choice([name for name in row if name != "rowid_"])
        if row[column] == second[column] or (table, column) == ("consumed", "identity"):
            raise NothingChangedError
        for target, value in ((row, second[column]), (second, row[column])):
            try:
                self.kept.update(part, table, target, column, value)
            except sqlite3.IntegrityError:
                self._restore(part)
                raise
        return self._changed(part, table, [row, second], "values exchanged", column)

    def _drop(self, part: str, table: str, row: Row) -> Mutation:
        if (table, row.get("state")) == ("consumed", "deleted"):
            raise NothingChangedError  # positions in journals that are gone are forgotten in time
        self.kept.delete(part, table, row)
        return self._changed(part, table, [row], "row deleted", "")

    def _add(self, part: str, table: str, _row: Row) -> Mutation:
        made = added(self.rows[part, table], table, self.kept)
        self.kept.insert(part, table, made)
        return self._changed(part, table, [made], "row added", "")

    def _changed(self, part: str, table: str, rows: Sequence[Row], kind: str, what: str) -> Mutation:
        return Mutation(
            kind=f"{part}.{table}: {kind}",
            what=f"{what} of {[{k: str(v)[:60] for k, v in row.items()} for row in rows]}"[:600],
            places=[],
            undo=lambda: self._restore(part),
            named=lambda faults: any(names_row(faults, table, row) for row in rows),
        )

    def _restore(self, part: str) -> None:
        self.kept.restore(self.kept.database(part))


@pytest.fixture
def mutator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mutator]:
    # Nothing runs here that control rows could be racing with.
    monkeypatch.setattr(audit.time, "sleep", lambda _seconds: None)
    with kept_home(tmp_path) as kept:
        cosign(kept)
        kept.chance = random.Random(SEED)
        yield Mutator(kept, random.Random(SEED), receipts_of(kept))


def cosign(kept: Kept) -> None:
    installation = kept.live.installation
    checkpoint = installation.ledger().checkpoint()
    at = int(time.time())
    accept_cosignature(
        installation.home.ledger,
        installation.ledger_engine,
        verifier_keys(installation),
        vkey=WITNESS.vkey(),
        note=checkpoint + WITNESS.cosign(checkpoint, at),
        now_s=at,
    )


def receipts_of(kept: Kept) -> list[Receipt]:
    """What the clients of the decisions that wait in journals were given."""
    found = []
    for file in journal_files(kept.live.root / "journal"):
        for frame in read_frames(file, kept.live.installation.keyring.steward):
            if frame.kind == FrameKind.decision:
                found.append(Receipt(id=id_of(frame.plain), leaf=leaf_hash(frame.plain).hex()))
    assert len(found) > 10
    return found


def test_every_random_change_is_found_and_named_quickly(tmp_path: Path) -> None:
    assert not put_back(tmp_path, random.Random(SEED), 30)


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_every_random_change_is_found_and_named(mutator: Mutator, tmp_path: Path) -> None:
    counts, missed, started = Counter[str](), list[str](), time.monotonic()
    backwards = COUNT // 20
    missed += put_back(tmp_path, random.Random(SEED), backwards)
    counts["the whole ledger put back below a receipt or checkpoint"] = backwards
    outside = Outside(witnesses=[WITNESS.vkey()])
    report = verify(
        mutator.kept.live.installation, outside=Outside(receipts=mutator.receipts, witnesses=outside.witnesses)
    )
    assert report.ok, report.faults
    for number in range(COUNT - backwards):
        made = mutator.draw()
        try:
            report = verify(mutator.kept.live.installation, outside=made.outside or outside)
        finally:
            made.undo()
        counts[made.kind] += 1
        if not found(report, made):
            shown = [(fault.place, fault.what) for fault in report.faults[:3]]
            missed.append(
                f"#{number} {made.kind}: {made.what}: {'named elsewhere ' + str(shown) if shown else 'NOT FOUND'}"
            )
    after = verify(mutator.kept.live.installation, outside=outside)
    print_table(counts, missed, time.monotonic() - started)
    assert after.ok, after.faults
    assert not missed, "\n".join(missed[:40])
    assert sum(counts.values()) == COUNT


@pytest.mark.slow
def test_facts_of_any_shape_stop_no_verification(mutator: Mutator) -> None:
    kept, outside = mutator.kept, Outside(witnesses=[WITNESS.vkey()])
    row = kept.rows("ledger", "events")[-1]
    for facts in ("7", "[]", "null", '{"rows": 7}', '{"rows": [{"table": "people", "key": "a"}]}', "no JSON"):
        kept.update("ledger", "events", row, "facts", facts)
        report = verify(kept.live.installation)
        assert not report.ok and names_row(report.faults, "events", row), (facts, report.faults)
        kept.update("ledger", "events", row, "kind", "key.rotated")
        assert not verify(kept.live.installation, outside=outside).ok, facts
        assert not verify(kept.live.installation, since=report.size - 1).ok, facts
        kept.restore(kept.database("ledger"))
    assert verify(kept.live.installation, outside=outside).ok


def found(report: LedgerReport, made: Mutation) -> bool:
    if report.ok:
        return False
    if made.named is not None:
        return made.named(report.faults)
    return any(place in fault.place for fault in report.faults for place in made.places)


def print_table(counts: Counter[str], missed: Sequence[str], seconds: float) -> None:
    """For whoever runs it with -s."""
    for kind, count in sorted(counts.items()):
        print(f"{count:6}  {kind}")
    total = sum(counts.values())
    print(f"{total:6}  mutations, {total - len(missed)} found and named, {seconds:.0f} s")
    for line in missed:
        print("MISSED", line)


def put_back(root: Path, chance: random.Random, count: int) -> list[str]:
    """Ledgers put back to each earlier state, whole: consistent, until held against what others keep. Those missed."""
    world, states, evidence = make_world(root / "grown"), list[World](), list[tuple[str, list[Receipt]]]()
    steward = world.steward()
    for batch in range(8):
        frames = [decision(f"p-{batch}-{n}") for n in range(3)]
        world.write(frames, worker=batch)
        steward.seal()
        receipts = [Receipt(id=id_of(frame[1]), leaf=leaf_hash(frame[1]).hex()) for frame in frames]
        evidence.append((world.queries.checkpoint(), receipts))
        states.append(copy_of(world, root / f"state-{batch}"))
    missed = []
    for _ in range(count):
        now = chance.randrange(len(states) - 1)
        later = chance.randrange(now + 1, len(states))
        held, receipts = evidence[later]
        receipt = chance.choice(receipts)
        told = Outside(checkpoints=[held]) if chance.random() < 0.5 else Outside(receipts=[receipt])
        place = f"receipt {receipt.id}" if told.receipts else "held checkpoint of size"
        state = states[now]
        audit_of = OutsideAudit(state.home, state.ledger, state.keyring, told)
        if not any(fault.place.startswith(place) for fault in audit_of.faults()):
            missed.append(f"put back from batch {later} to {now}: {place}")
        before = Outside(checkpoints=[evidence[now][0]], receipts=evidence[now][1])
        assert not list(OutsideAudit(state.home, state.ledger, state.keyring, before).faults())
    assert all(verify_ledger(state.home, state.ledger, state.keyring).ok for state in states), "each is sound in itself"
    return missed


def copy_of(world: World, root: Path) -> World:
    with world.ledger.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copytree(world.home.root, root)
    return World(home=Home(root=root))


def id_of(plain: bytes) -> str:
    """The decision's id in its plain part."""
    return str(json.loads(plain)["id"])
