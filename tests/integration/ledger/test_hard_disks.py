"""Disks that fail and clocks that jump under steward and copies: each stops with a clear error, then goes on."""

from __future__ import annotations

import errno
import os
import resource
import signal
from itertools import count
from pathlib import Path

import pytest

from pilotage.ledger.verify import verify_ledger
from pilotage.storage import outbox
from pilotage.storage.database import writing
from pilotage.testing.disk_twin import FailingDisk, Operation
from tests.integration.ledger.test_steward_killed import check_resumed, close, fill, frames_of_all_kinds
from tests.integration.nodes.node_world import NodeHome, make_node
from tests.ledger_world import START, World, decision, in_killed_process, make_world


@pytest.mark.parametrize(
    "error", [errno.ENOSPC, *(pytest.param(other, marks=pytest.mark.slow) for other in (errno.EIO, errno.EROFS))]
)
def test_a_sync_that_fails_anywhere_stops_the_batch_and_the_next_goes_on(
    tmp_path: Path, error: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = frames_of_all_kinds()
    fsync, failed = os.fsync, 0
    for at in count(0, 7):
        world = make_world(tmp_path / str(at))
        emitted = fill(world, files)
        numbers = count()

        def failing(descriptor: int, numbers: object = numbers, at: int = at) -> None:
            if next(numbers) == at:  # type: ignore[call-overload]
                raise OSError(error, os.strerror(error))
            fsync(descriptor)

        steward = world.steward("a")
        monkeypatch.setattr(os, "fsync", failing)
        try:
            while steward.seal(limit=6).more:
                pass
        except OSError as raised:
            assert raised.errno == error
            failed += 1
        else:
            close(world)
            break
        finally:
            monkeypatch.setattr(os, "fsync", fsync)
        # The same process goes on, as its loop does.
        steward.seal_all()
        check_resumed(world, files, emitted, "")
        close(world)
    assert failed > 5


def test_a_full_disk_stops_the_steward_and_leaves_nothing_half(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    frames = [decision("ann", system=f"s{n % 3}") for n in range(60)]
    world.write(frames)
    close(world)

    def sealing(limit: int) -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        inner = World(home=world.home)
        steward = inner.steward("a")
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        with pytest.raises(Exception, match=r"File too large|disk"):
            steward.seal_all()

    for limit in (200, 3_000, 9_000):
        assert in_killed_process(lambda limit=limit: sealing(limit)) == 0
    world = World(home=world.home)
    assert world.steward("next").seal_all().decisions == 60
    world.check(frames)
    assert verify_ledger(world.home, world.ledger, world.keyring).ok
    close(world)


def test_clocks_that_go_backwards_reorder_and_lose_nothing(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    hours = [5, 2, 3, -4, 0, -9]
    frames = []
    now = [START]
    steward = world.steward("a", clock=lambda: now[0])
    for hour in hours:
        now[0] = START + hour * 3_600_000_000
        frames.append(decision("ann", at=now[0]))
        world.write(frames[-1:])
        with writing(world.control) as connection:
            outbox.emit(connection, "approval.granted", at=now[0])
        steward.seal_all()
    assert world.queries.stats("credit").decisions == len(hours)
    verdict = verify_ledger(world.home, world.ledger, world.keyring)
    assert verdict.ok, verdict.faults
    close(world)


@pytest.mark.parametrize("operation", ["create", "write", "sync", "rename", "sync_folder"])
def test_a_disk_that_fails_under_a_copy_loses_nothing(tmp_path: Path, operation: Operation) -> None:
    node: NodeHome = make_node(tmp_path)
    frames = [decision(f"{n}") for n in range(6)]
    node.write(frames[:3])
    node.serve()
    try:
        disk = FailingDisk()
        pull = node.pull()
        pull.copies.disk = disk
        disk.failing = frozenset({operation})
        with pytest.raises(OSError, match="Input/output"):
            pull.round()
        # As the thread does: begin anew from what is on the disk.
        again = node.pull()
        again.round()
        node.write(frames[3:])
        again.round()
        assert node.world.steward().seal_all().decisions == 6
        assert verify_ledger(node.world.home, node.world.ledger, node.world.keyring).ok
    finally:
        node.end()
