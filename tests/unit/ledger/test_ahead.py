"""Reading ahead changes nothing of what is sealed, is used while a backlog waits, and may be killed at any time."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pilotage.kernel.ids import uuid7
from pilotage.ledger import collecting
from pilotage.ledger.ahead import Asked, ReadAhead
from pilotage.ledger.frames import FrameKind
from pilotage.ledger.intake import Position, Taken
from pilotage.ledger.verify import verify_ledger
from tests.ledger_world import Frame, World, chunk, decision, event, make_world, opened, rejected


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

    def asked(self: ReadAhead, what: Asked) -> None:
        ask(self, what)
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
    reader = ReadAhead(world.home.journal, world.keyring.stewards, world.keyring.wrapping_secrets("held-frames"))
    start = Asked(positions={}, streams={}, limit=10)
    try:
        assert reader.take(start) is None, "nothing was asked"
        reader.ask(start)
        assert reader.take(replace(start, streams={"id": "n1/0-1"})) is None
        reader.ask(start)
        taken = reader.take(start)
        assert taken is not None
        assert len(taken.items) == 1
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
