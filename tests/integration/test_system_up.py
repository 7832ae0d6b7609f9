"""`pilotage up`: it becomes ready, drains on a signal, says clearly why it cannot start, and outlives what may fail."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pilotage.rollout.model import RolledBack
from tests.journeys.live import SYSTEM, WORKERS, LiveHome, Load, Up, command_line, running

SOON_S = 1.0
"""What the architecture promises for revocation, stop and rollback."""
LEAST_S = 5.0
"""What a test waits for it: the machine may be busy. The figures are printed."""


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveHome]:
    made = LiveHome(root=tmp_path_factory.mktemp("live") / "home")
    yield made
    made.close()


@pytest.fixture(scope="module")
def up(live: LiveHome) -> Iterator[Up]:
    with running(live) as up:
        up.wait_until_all_live()
        yield up


def seconds_until(true: Callable[[], bool], limit_s: float = LEAST_S) -> float:
    """How long it took until something was true."""
    started = time.monotonic()
    while not true():
        assert time.monotonic() - started < limit_s, f"not within {limit_s} s"
        time.sleep(0.01)
    return time.monotonic() - started


def status_everywhere(up: Up, key: str = "", asks: int = 12) -> set[int]:
    """The statuses of fresh connections, which the kernel spreads over the workers."""
    return {up.ask(key=key).status for _ in range(asks)}


def test_ready_with_all_its_processes(live: LiveHome, up: Up) -> None:
    print(f"ready after {up.ready_s:.2f} s")
    assert sorted(up.children()) == ["console", *(f"gateway-{n}" for n in range(WORKERS)), "steward"]
    endpoints = json.loads((live.root / "run" / "endpoints.json").read_bytes())
    assert (endpoints["gateway"], endpoints["console"]) == (up.gateway, up.console)
    assert up.ask().status == 200


def test_a_second_up_on_the_same_home_is_refused(live: LiveHome, up: Up) -> None:
    done = live.call("up", "--gateway-port", "0", "--console-port", "0", fine=(1,))
    assert "already runs" in done.stderr and str(live.root) in done.stderr and "--home" in done.stderr
    assert "Traceback" not in done.stderr
    assert up.ask().status == 200


def test_a_revoked_key_is_refused(live: LiveHome, up: Up) -> None:
    rollout, operator = live.installation.rollout, live.people["operator"]
    issued = rollout.issue_key(operator, name="short-lived", scopes=[f"decide:{SYSTEM}"])
    known = seconds_until(lambda: status_everywhere(up, issued.text) == {200})
    rollout.revoke_key(operator, issued.id)
    gone = seconds_until(lambda: status_everywhere(up, issued.text) == {401})
    print(f"a key is known after {known:.2f} s, refused {gone:.2f} s after it was revoked")


def test_stop_and_start(live: LiveHome, up: Up) -> None:
    token = live.token("operator")
    live.call("stop", "--system", SYSTEM, "--reason", "a complaint", token=token)
    stopped = seconds_until(lambda: status_everywhere(up) == {503})
    refused = up.ask()
    assert refused.body["error"]["code"] == "system_stopped" and "pilotage-receipt" in refused.headers
    live.call("start", "--system", SYSTEM, token=token)
    started = seconds_until(lambda: status_everywhere(up) == {200})
    print(f"stopped {stopped:.2f} s and started {started:.2f} s after the command")


def test_a_rollback_is_seen_on_every_worker(live: LiveHome, up: Up) -> None:
    second = live.governed.promoted(0.3)
    seconds_until(lambda: {up.ask().body["release"] for _ in range(12)} == {second.digest}, 10)
    load, done = under_load(up, lambda: live.installation.rollout.rollback(live.people["operator"], SYSTEM, "worse"))
    assert set(load.statuses) <= {200, 422} and not load.broken, (load.statuses, load.broken)
    assert done.to_release == live.release.digest
    told = [json.loads((live.root / "run" / f"gateway-{n}.json").read_bytes()) for n in range(WORKERS)]
    assert {state["plan"] for state in told} == {done.plan_version}
    adopted_us = max(state["at"] for state in told)
    print(f"rollback on the last worker after {(adopted_us - done.committed) / 1_000:.0f} ms")
    assert adopted_us - done.committed < LEAST_S * 1_000_000
    assert {up.ask().body["release"] for _ in range(12)} == {live.release.digest}
    ledger = live.installation.ledger()
    seconds_until(
        lambda: len(newest(live, 12)) == 12 and {row.release for row in newest(live, 12)} == {done.to_release}
    )
    rows = {row.id: row for row in ledger.decisions(limit=10_000)}
    seconds_until(lambda: {id_ for id_, _ in load.receipts} <= {row.id for row in newest(live, 100_000)})
    late = [row for row in rows.values() if row.at > adopted_us and row.release != live.release.digest]
    assert not late, "a request received after the last worker had adopted the plan was answered by the other release"


def newest(live: LiveHome, limit: int) -> list:
    return live.installation.ledger().decisions(limit=limit)


def under_load(up: Up, act: Callable[[], RolledBack], seconds: float = 0.7) -> tuple[Load, RolledBack]:
    """Do something in the midst of requests."""
    load = Load(up.decide_url, up.live.key, clients=8, pause_s=0.02)
    thread = threading.Thread(target=lambda: asyncio.run(load.run()))
    thread.start()
    time.sleep(seconds)
    done = act()
    time.sleep(seconds)
    load.stopping = True
    thread.join(20)
    return load, done


def test_answers_go_on_without_the_database(live: LiveHome, up: Up, tmp_path: Path) -> None:
    files = sorted(live.root.glob("control.db*"))
    for path in files:
        path.rename(tmp_path / path.name)
    try:
        assert status_everywhere(up) == {200}
        before = up.children()["gateway-0"]
        os.kill(before, signal.SIGKILL)
        seconds_until(lambda: up.children().get("gateway-0", before) != before, 10)
        up.wait_until_all_live()
        assert status_everywhere(up, asks=30) == {200}
    finally:
        for path in live.root.glob("control.db*"):
            path.unlink()
        for path in files:
            shutil.move(tmp_path / path.name, path)
    live.installation.control.dispose()
    rollout, operator = live.installation.rollout, live.people["operator"]
    issued = rollout.issue_key(operator, name="after", scopes=[f"decide:{SYSTEM}"])
    seconds_until(lambda: status_everywhere(up, issued.text) == {200}, 10)
    asked = [up.ask() for _ in range(5)]
    receipts = {tuple(reply.headers["pilotage-receipt"].split()) for reply in asked}
    seconds_until(lambda: receipts <= live.recorded().keys(), 15)


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM])
def test_a_signal_drains(tmp_path: Path, number: int) -> None:
    live = LiveHome(root=tmp_path / "home")
    with running(live) as up:
        up.wait_until_all_live()
        load = Load(up.decide_url, live.key, clients=8, pause_s=0.01)

        async def drain_under_load() -> None:
            asking = asyncio.create_task(load.run())
            await asyncio.sleep(1.0)
            up.process.send_signal(number)
            await asyncio.sleep(0.7)
            load.stopping = True
            await asking

        asyncio.run(drain_under_load())
        pids = list(up.children().values())
        started = time.monotonic()
        assert up.process.wait(40) == 0, up.logs()
        print(f"drained {0.7 + time.monotonic() - started:.2f} s after the signal at the latest")
        assert not any("pilotage" in command_line(pid) for pid in pids)
    assert not (live.root / "run" / "endpoints.json").exists()
    assert load.statuses[200] and load.statuses[422] and set(load.statuses) <= {200, 422}, load.statuses
    recorded = live.recorded()
    assert set(load.receipts) <= recorded.keys() and set(recorded.values()) == {1}
    live.close()


def test_a_taken_port_is_named(live: LiveHome, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for option, another in (("--gateway-port", "--console-port"), ("--console-port", "--gateway-port")):
            other = LiveHome.__new__(LiveHome)
            other.root, other.database_url = tmp_path / option.strip("-"), None
            done = other.call("up", option, port, another, "0", fine=(1,))
            assert f"127.0.0.1:{port}" in done.stderr and option in done.stderr
            assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_without_its_supervisor_everything_ends_by_itself(tmp_path: Path) -> None:
    live = LiveHome(root=tmp_path / "home")
    with running(live) as up:
        up.wait_until_all_live()
        replies = [up.ask() for _ in range(10)]
        pids = list(up.children().values())
        up.process.kill()
        up.process.wait(5)
        ended = seconds_until(lambda: not any("pilotage" in command_line(pid) for pid in pids), 20)
        print(f"all ended {ended:.2f} s after their supervisor")
    receipts = {tuple(reply.headers["pilotage-receipt"].split()) for reply in replies}
    with running(live) as up:
        assert up.ask().status == 200
        assert up.end() == 0
    assert receipts <= live.recorded().keys()
    live.close()
