"""Verification in several processes finds what one process finds, in the same order, whatever happens to a process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError as NotUnique

from pilotage.ledger import store, verify_batches, verify_workers
from pilotage.ledger.verify import LedgerReport
from pilotage.ledger.verify_found import ReadableEvent
from pilotage.ledger.verify_since import verify_since
from pilotage.storage.database import reading
from tests.unit.ledger.test_verify import Mutator, Restorer, World, build, emit


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build(tmp_path_factory.mktemp("world"))


@pytest.fixture
def restorer(world: World, tmp_path: Path) -> Iterator[Restorer]:
    made = Restorer.of(world, tmp_path)
    yield made
    made.restore()


@pytest.fixture(autouse=True)
def answered(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Small parts, so that there are many, and workers for any ledger; what workers have answered."""
    monkeypatch.setattr(verify_batches, "_TOGETHER", 30)
    monkeypatch.setattr(verify_workers, "_WORTH", 1)
    seen: list[object] = []
    ask = verify_workers._Worker.ask

    def listening(self: Any, question: object) -> Any:
        answer = ask(self, question)
        seen.append(answer)
        return answer

    monkeypatch.setattr(verify_workers._Worker, "ask", listening)
    return seen


def test_a_whole_ledger_is_whole_in_two_processes(world: World, answered: list[object]) -> None:
    events: list[list[ReadableEvent]] = [[], []]

    def seen(processes: int) -> LedgerReport:
        def witness(sealed: Any) -> list[Any]:
            events[processes - 1].extend(sealed)
            return []

        return world.verify(witnesses=[witness], processes=processes)

    told: list[tuple[int, int]] = []
    one, two = seen(1), seen(2)
    assert one.ok and one == two
    assert events[0] == events[1] != []
    assert len(answered) > 5 and all(answered)
    assert world.verify(processes=2, progress=lambda done, total: told.append((done, total))).ok
    assert told == sorted(told) and len(told) > 4 and told[-1] == (one.size, one.size)


def change_many(mutator: Mutator, count: int) -> None:
    """Apply so many changes at once, of those that the database does not refuse."""
    for _ in range(count):
        try:
            mutator.draw().apply()
        except (NotUnique, OSError):
            continue


def check_alike(world: World, restorer: Restorer, seed: int, count: int) -> int:
    change_many(Mutator(world, seed), count)
    one, two = world.verify(), world.verify(processes=2)
    restorer.restore()
    assert not one.ok
    assert [fault.place for fault in one.faults] == [fault.place for fault in two.faults]
    assert one == two
    return len(one.faults)


@pytest.mark.slow
def test_many_changes_at_once_are_named_alike_and_in_the_same_order(
    world: World, restorer: Restorer, answered: list[object]
) -> None:
    assert check_alike(world, restorer, 7, 30) > 20
    assert len(answered) > 5 and all(answered)


@pytest.mark.slow
def test_what_came_after_a_head_is_verified_alike(world: World, restorer: Restorer, answered: list[object]) -> None:
    with reading(world.ledger) as connection:
        sizes = [int(head.size) for head in store.all_heads(connection)]
    half = next(size for size in sizes if size > sizes[-1] // 2)

    def since(size: int, processes: int) -> LedgerReport:
        try:
            return verify_since(world.home, world.ledger, world.keyring, size, processes=processes)
        finally:
            world.ledger.dispose()

    for size in (0, half):
        one, two = since(size, 1), since(size, 2)
        assert one.ok and one == two
    assert len(answered) > 5 and all(answered)
    change_many(Mutator(world, 17), 30)
    one, two = since(0, 1), since(0, 2)
    restorer.restore()
    assert not one.ok and one == two


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(30))
def test_a_few_changes_are_named_alike(world: World, restorer: Restorer, seed: int) -> None:
    check_alike(world, restorer, 100 + seed, 1 + seed % 5)


@pytest.mark.slow
def test_what_a_killed_worker_leaves_is_checked_here(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    listening, asked = verify_workers._Worker.ask, []

    def dying(self: Any, question: object) -> Any:
        asked.append(question)
        if len(asked) == 3:
            self.end()
        return listening(self, question)

    monkeypatch.setattr(verify_workers._Worker, "ask", dying)
    report = world.verify(processes=2)
    assert len(asked) > 5
    assert report.ok and report == world.verify()


@pytest.mark.slow
def test_workers_see_the_moment_that_the_verification_began_with(tmp_path: Path, answered: list[object]) -> None:
    world = build(tmp_path, 120)
    steward, grown = world.steward(), []
    assert steward.acquire(steal=True)

    def seal_more(done: int, total: int) -> None:
        if not grown:
            emit(world.control, "approval.granted", 3)
            grown.append(steward.seal().size)

    before = world.verify(processes=2)
    report = world.verify(processes=2, progress=seal_more)
    assert report.ok and report.size == before.size < grown[0]
    assert len(answered) > 5 and all(answered)
    assert world.verify(processes=2).size == grown[0]
    world.control.dispose()


@pytest.mark.slow
def test_a_damaged_database_is_reported_alike(world: World, restorer: Restorer) -> None:
    path = world.home.ledger_database
    content = bytearray(path.read_bytes())
    content[4096 * 60 : 4096 * 62] = bytes(4096 * 2)
    path.write_bytes(content)
    one, two = world.verify(), world.verify(processes=2)
    assert not one.ok and one.faults == two.faults  # how far it got besides is by chance


@pytest.mark.slow
@pytest.mark.postgres
def test_workers_share_one_view_of_postgresql(tmp_path: Path, postgres_url: str, answered: list[object]) -> None:
    world = build(tmp_path, 60, postgres_url)
    one, two = world.verify(), world.verify(processes=2)
    assert one.ok and one == two
    assert len(answered) > 2 and all(answered)
    change_many(Mutator(world, 3), 12)
    one, two = world.verify(), world.verify(processes=2)
    assert not one.ok and one == two
