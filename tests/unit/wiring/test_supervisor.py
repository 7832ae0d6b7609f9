"""The supervisor's own rules: restarts with a growing pause, one in a home, sockets, endpoints."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pilotage.errors import Conflict, Unavailable
from pilotage.storage.home import Home
from pilotage.wiring.endpoints import bind, endpoints, listener
from pilotage.wiring.settings import Settings
from pilotage.wiring.supervisor import Child, Supervisor


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=Home(root=tmp_path), gateway_port=0, console_port=0, workers=1)


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def supervisor(settings: Settings, said: list[str]) -> Iterator[Supervisor]:
    made = Supervisor(settings, said.append)
    yield made
    made.drain()


def ended(code: int = 1) -> subprocess.Popen[bytes]:
    """A process that has ended with a code."""
    process = subprocess.Popen([sys.executable, "-S", "-c", f"raise SystemExit({code})"])
    process.wait(20)
    return process


def child(**facts: Any) -> Child:
    return Child(name="console", arguments=["nothing"], **facts)


def test_the_pause_doubles_with_failures_in_a_row_up_to_five_seconds(supervisor: Supervisor, said: list[str]) -> None:
    dead = ended(3)
    one = child()
    supervisor.children.append(one)
    pauses = []
    for _ in range(8):
        one.process, one.started = dead, time.monotonic()
        before = time.monotonic()
        supervisor.watch()
        assert one.process is None
        pauses.append(one.restart_at - before)
    assert pauses == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0], abs=0.08)
    assert "console ended with 3; starting it again in 0.1 s" in said[0]
    one.process = dead  # for the drain


def test_a_process_that_ran_long_starts_from_the_short_pause_again(supervisor: Supervisor) -> None:
    one = child(failures=6, process=ended(), started=time.monotonic() - 31)
    supervisor.children.append(one)
    supervisor.watch()
    assert one.failures == 0
    assert one.restart_at - time.monotonic() < 0.2


def test_nothing_is_started_again_before_its_time_or_while_stopping(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    spawned: list[str] = []
    monkeypatch.setattr(supervisor, "_spawn", lambda each: spawned.append(each.name))
    waiting, due = child(restart_at=time.monotonic() + 60), child(restart_at=time.monotonic() - 1)
    supervisor.children += [waiting, due]
    supervisor.watch()
    assert (spawned, due.restarts, waiting.restarts) == (["console"], 1, 0)
    supervisor.stopping = True
    supervisor.watch()
    assert spawned == ["console"]


def test_one_supervisor_in_a_home(supervisor: Supervisor, settings: Settings) -> None:
    with pytest.raises(Conflict, match="already runs") as caught:
        Supervisor(settings, print)
    assert "--home" in caught.value.mend


def test_the_home_is_free_again_after_the_drain(settings: Settings, said: list[str]) -> None:
    Supervisor(settings, said.append).drain()
    Supervisor(settings, said.append).drain()
    assert said == ["draining", "stopped"] * 2


def test_a_taken_address_is_named(settings: Settings) -> None:
    with bind("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(Unavailable, match=f"127.0.0.1:{port}") as caught:
            bind("127.0.0.1", port)
    assert "--gateway-port" in caught.value.mend


def test_a_handed_over_socket_is_the_same_one() -> None:
    with bind("127.0.0.1", 0) as first:
        copy = listener(os.dup(first.fileno()), "0.0.0.0", 1)
        assert copy.getsockname() == first.getsockname()
        copy.close()


def test_endpoints_of_a_running_and_of_a_dead_supervisor(tmp_path: Path) -> None:
    path = tmp_path / "endpoints.json"
    with pytest.raises(Unavailable, match="nothing is running"):
        endpoints(tmp_path)
    path.write_text(json.dumps({"gateway": "g", "console": "c", "pid": str(os.getpid())}))
    assert endpoints(tmp_path)["console"] == "c"
    for content in (json.dumps({"console": "c", "pid": str(ended().pid)}), "{}", "no json"):
        path.write_text(content)
        with pytest.raises(Unavailable, match="pilotage up"):
            endpoints(tmp_path)


def test_children_end_when_their_supervisor_is_gone() -> None:
    """Killed outright, a supervisor runs no code: the pipe that its children hold tells them."""
    code = (
        "import os, signal, sys, time\n"
        "from pilotage.wiring.lifeline import watch_lifeline\n"
        "watch_lifeline()\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n"
        "print('ready', flush=True)\n"
        "time.sleep(30)\n"
    )
    read, write = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "PILOTAGE_LIFELINE": str(read)},
        pass_fds=(read,),
        stdout=subprocess.PIPE,
    )
    os.close(read)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    assert process.poll() is None
    os.close(write)
    assert process.wait(20) == 7
    process.stdout.close()
