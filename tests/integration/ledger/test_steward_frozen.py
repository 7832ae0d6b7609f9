"""Stop the steward (SIGSTOP) wherever it writes: another takes over, and the first, going on later, is fenced."""

from __future__ import annotations

import os
import signal
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from pilotage.errors import Conflict
from pilotage.ledger.sealing import Steward
from pilotage.ledger.verify import verify_ledger
from pilotage.storage.home import Home
from tests.integration.ledger.test_steward_killed import LIMIT, close, fill, frames_of_all_kinds, leaf_frames
from tests.ledger_world import World, make_world

TERM_US = 1_000_000
FENCED, LET_GO = 7, 0
STEPS = ("intent", "files", "written", "committed", "published", "pending_dropped", "outbox", "journal_deleted")


def steward_of(world: World, holder: str, step: Callable[[str], None] = lambda name: None) -> Steward:
    return Steward(
        home=world.home,
        control=world.control,
        ledger=world.ledger,
        keyring=world.keyring,
        holder=holder,
        term_us=TERM_US,
        step=step,
    )


def seal_and_freeze(home: Home, url: str, at: str) -> int:
    """In a child: seal, stop at a write point, and say what became of it once it goes on."""
    world = World(home=home, url=url)
    frozen: list[str] = []

    def step(name: str) -> None:
        if name.startswith(at) and not frozen:
            frozen.append(name)
            os.kill(os.getpid(), signal.SIGSTOP)

    try:
        steward = steward_of(world, "frozen", step)
        assert steward.acquire()
        while steward.seal(limit=LIMIT).more:
            pass
        steward.seal()
        steward.release()
    except Conflict as error:
        return FENCED if error.code == "lease_lost" else 1
    return LET_GO


def fork_frozen(home: Home, url: str, at: str) -> int:
    child = os.fork()
    if child == 0:
        status = 70
        try:
            status = seal_and_freeze(home, url, at)
        except BaseException:  # noqa: BLE001 - the child must not run the parent's code
            traceback.print_exc()
        finally:
            os._exit(status)
    assert os.WIFSTOPPED(os.waitpid(child, os.WUNTRACED)[1]), "it came to its write point"
    return child


def take_over_from_frozen(world: World, at: str) -> str:
    files = frames_of_all_kinds()
    emitted = fill(world, files)
    close(world)
    child = fork_frozen(world.home, world.url, at)
    standby = steward_of(world, "standby")
    started = time.monotonic()
    while not standby.acquire():
        assert time.monotonic() - started < 10, "no takeover"
        time.sleep(0.05)
    assert time.monotonic() - started < 10
    os.kill(child, signal.SIGCONT)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    standby.seal_all()
    world.check(leaf_frames(files), [emitted])
    verdict = verify_ledger(world.home, world.ledger, world.keyring)
    assert verdict.ok, verdict.faults
    close(world)
    return {FENCED: "fenced", -signal.SIGKILL: "killed"}[status]


QUICK = ("files", "committed", "outbox")


@pytest.mark.parametrize(
    "at", [each if each in QUICK else pytest.param(each, marks=pytest.mark.slow) for each in STEPS]
)
def test_frozen_on_sqlite(tmp_path: Path, at: str) -> None:
    # What holds a lock that nobody else can take away must be killed; what holds none is let live, and fenced.
    became = take_over_from_frozen(make_world(tmp_path), at)
    assert became == ("killed" if at in ("written", "published", "pending_dropped") else "fenced")


@pytest.mark.postgres
@pytest.mark.slow
@pytest.mark.parametrize("at", ("files", "written", "published"))
def test_frozen_on_postgresql(tmp_path: Path, postgres_url: str, at: str) -> None:
    assert take_over_from_frozen(make_world(tmp_path, postgres_url), at) in ("fenced", "killed")
