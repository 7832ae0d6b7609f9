"""Reading ahead changes nothing of what is sealed, is used while a backlog waits, and may be killed at any time."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Connection, select

from pilotage.kernel.ids import uuid7
from pilotage.ledger import collecting, store
from pilotage.ledger.ahead import Asked, ReadAhead
from pilotage.ledger.erasure import erase
from pilotage.ledger.frames import FrameKind
from pilotage.ledger.intake import Position, Taken
from pilotage.ledger.items import Item, decision_item
from pilotage.ledger.keys import KeyCabinet, KeyRow
from pilotage.ledger.portions import Portion, holds, prepare
from pilotage.ledger.tables import decisions, events, subject_keys
from pilotage.ledger.verify import verify_ledger
from pilotage.storage.database import reading, writing
from tests.ledger_world import START, Frame, World, chunk, decision, event, frame_id, make_world, opened, rejected


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    made = make_world(tmp_path, request.getfixturevalue("postgres_url") if request.param == "postgresql" else "")
    yield made
    made.control.dispose()
    made.ledger.dispose()


def backlog(world: World) -> list[Frame]:
    """Files of two workers, of which some can be deleted while others are read; a stream; the leaves' frames."""
    stream = uuid7()
    frames: list[Frame] = []
    for number in range(6):
        more = [decision(f"s{n % 7}", score=n / 10) for n in range(9)] + [rejected("ann"), event(code="x")]
        if number == 1:
            more += [opened(stream, "bob"), chunk(stream, 0, "text")]
        if number == 4:
            more.append(decision("bob", kind=FrameKind.closed, id_=stream))
        world.write(more, worker=number % 2)
        frames += more
    return [frame for frame in frames if frame[0] not in (FrameKind.opened, FrameKind.chunk)]


def watch(monkeypatch: pytest.MonkeyPatch, then: Callable[[ReadAhead], None] = lambda reader: None) -> list[bool]:
    """Whether each batch was read ahead; `then` is called after each request."""
    used: list[bool] = []
    take, ask = ReadAhead.take, ReadAhead.ask

    def watched(self: ReadAhead, wanted: Asked) -> Taken | None:
        taken = take(self, wanted)
        used.append(taken is not None)
        return taken

    def asked(self: ReadAhead, what: Asked, now: int) -> None:
        ask(self, what, now)
        then(self)

    monkeypatch.setattr(ReadAhead, "take", watched)
    monkeypatch.setattr(ReadAhead, "ask", asked)
    monkeypatch.setattr(collecting, "_BACKLOG", 1)
    return used


def seal(world: World) -> None:
    steward = world.steward()
    while steward.seal(limit=8).more:
        pass
    steward.release()


def test_what_was_read_ahead_is_sealed_as_if_it_had_not_been(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = make_world(tmp_path)
    frames = backlog(world)
    used = watch(monkeypatch)
    seal(world)
    assert used.count(True) >= 5, used
    world.check(frames)
    report = verify_ledger(world.home, world.ledger, world.keyring)
    assert report.ok, report.faults


def test_what_is_said_of_decisions_that_were_made_ready_goes_under_their_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world(tmp_path)
    frames: list[Frame] = []
    for n in range(20):
        made = decision(f"s{n % 5}" if n % 3 else "", at=START + n)
        frames += [made, event("note.taken", decision=frame_id(made)), decision(f"s{n % 4}", at=START - n)]
    world.write(frames)
    used = watch(monkeypatch)
    seal(world)
    assert used.count(True) >= 4, used
    world.check(frames)
    with reading(world.ledger) as connection:
        of = {row.id: row.key_id for row in connection.execute(select(decisions.c.id, decisions.c.key_id))}
        about = connection.execute(select(events.c.about, events.c.key_id).where(events.c.about.is_not(None))).all()
        assert len(about) == 20 and all(row.key_id == of[row.about] for row in about)
        assert len(set(of.values())) == len(connection.execute(select(subject_keys)).all()) + 1, "one key for each"
    report = verify_ledger(world.home, world.ledger, world.keyring)
    assert report.ok, report.faults


def test_what_was_made_ready_is_not_taken_once_the_ledger_is_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world(tmp_path)
    frames = backlog(world)
    used, held = watch(monkeypatch), list[bool]()

    def every_other(portion: Portion, connection: Connection) -> bool:
        held.append(not held or not held[-1])
        return held[-1] and holds(portion, connection)

    monkeypatch.setattr(collecting, "holds", every_other)
    seal(world)
    assert used.count(True) >= 5 and held.count(False) >= 2
    world.check(frames)
    report = verify_ledger(world.home, world.ledger, world.keyring)
    assert report.ok, report.faults


def test_a_portion_holds_only_in_the_ledger_it_was_made_for(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    cabinet = KeyCabinet(world.keyring)
    world.write([decision("ann")])
    world.steward().seal()
    ann, bob, again = (decision_item(frame[1], frame[2], "n1/0-1") for frame in map(decision, ("ann", "bob", "ann")))

    def portion(*items: Item, made: Mapping[str, KeyRow] | None = None) -> Portion:
        return prepare(items, world.ledger, cabinet, START, made or {})

    def good(made: Portion) -> bool:
        with reading(world.ledger) as connection:
            return holds(made, connection)

    both = portion(ann, bob)
    of_bob = next(iter(both.subjects.made))
    assert good(both) and len(both.subjects.made) == 1 and len(both.subjects.found) == 1
    later = portion(again, made=both.made)
    assert portion(again, bob, made=both.made).subjects.found[of_bob.lookup] == of_bob.key_id
    assert good(later)
    with writing(world.ledger) as connection:
        store.add_values(connection, subject_keys, KeyRow._fields, [of_bob])
    assert good(portion(ann, bob)) and good(later)
    erase("ann", "request", "privacy officer", steward=world.steward("b"))
    assert not good(later) and good(portion(ann, bob))
    world.write([(FrameKind.decision, ann.entry, ann.secret)], worker=1)
    world.steward("c").seal()
    assert not good(portion(ann, bob)), "sealed already"


def test_a_key_that_somebody_else_made_meanwhile_is_used(either: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world = either
    frames = [decision(f"u{n}") for n in range(40)]
    world.write(frames)
    used, made = watch(monkeypatch), list[KeyRow]()

    def too_late(portion: Portion, connection: Connection) -> bool:
        found = holds(portion, connection)
        if portion.subjects.made and not made:
            row = KeyCabinet(world.keyring)._make(portion.subjects.made[0].lookup, START, named=True).row
            assert row is not None
            made.append(row)
            with writing(world.ledger) as other:
                store.add_values(other, subject_keys, KeyRow._fields, made)
        return found

    monkeypatch.setattr(collecting, "holds", too_late)
    seal(world)
    assert made and used.count(True) >= 2
    world.check(frames)
    with reading(world.ledger) as connection:
        assert connection.execute(select(decisions.c.id).where(decisions.c.key_id == made[0].key_id)).all()
    report = verify_ledger(world.home, world.ledger, world.keyring)
    assert report.ok, report.faults


def test_a_reader_that_is_killed_costs_nothing_but_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = make_world(tmp_path)
    frames = backlog(world)

    def kill(reader: ReadAhead) -> None:
        assert reader._process is not None
        reader._process.send_signal(signal.SIGKILL)
        reader._process.wait()

    used = watch(monkeypatch, kill)
    seal(world)
    assert not any(used)
    world.check(frames)


def test_an_answer_to_another_question_is_not_taken(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    world.write([decision("ann")])
    reader = ReadAhead(world.home.journal, world.ledger, world.keyring)
    start = Asked(positions={}, streams={}, limit=10)
    try:
        assert reader.take(start) is None, "nothing was asked"
        reader.ask(start, START)
        assert reader.take(replace(start, streams={"id": "n1/0-1"})) is None
        reader.ask(start, START)
        taken = reader.take(start)
        assert taken is not None
        assert (len(taken.items), len(taken.portion.values)) == (0, 1)
    finally:
        reader.close()


def test_files_that_are_gone_since_change_nothing() -> None:
    def asked(*places: Position) -> Asked:
        return Asked(positions={place.name: place for place in places}, streams={}, limit=1)

    whole = Position(name="n/0-1", offset=9, chain="aa", state="whole")
    reading = Position(name="n/0-2", offset=4, chain="bb")
    gone = replace(whole, state="deleted")
    assert asked(whole, reading).answers(asked(gone, reading))
    assert asked(whole, reading).answers(asked(reading)), "long forgotten"
    assert not asked(whole, reading).answers(asked(whole))
    assert not asked(whole, reading).answers(asked(whole, replace(reading, offset=5)))
    assert not asked(whole, reading).answers(asked(replace(gone, chain="cc"), reading))
