"""Deploys, restarts of workers and an outage of the database, under load: no failed request, none unrecorded."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from pilotage.wiring.workers import workers_of
from tests.journeys.live import SYSTEM, WORKERS, LiveHome, Load, Up, running
from tests.postgres import private_server, started_again, stop_server

OUTAGE_S = 60.0


class Clients(threading.Thread):
    """Load in a thread of its own until told to stop."""

    def __init__(self, up: Up) -> None:
        super().__init__()
        self.load = Load(up.decide_url, up.live.key, clients=8, pause_s=0.005)
        self.start()

    def run(self) -> None:
        asyncio.run(self.load.run())

    def answered(self) -> int:
        return self.load.statuses.total()

    def must_go_on(self, more: int = 50, seconds: float = 20.0) -> None:
        """Wait until that many more requests were answered."""
        wanted, end = self.answered() + more, time.monotonic() + seconds
        while self.answered() < wanted:
            assert time.monotonic() < end, (self.load.statuses, self.load.broken)
            time.sleep(0.02)


@pytest.fixture
def postgres() -> Iterator[str]:
    with private_server() as url:
        if url is None:
            pytest.skip("PostgreSQL is not installed")
        yield url


def restart_one(up: Up) -> None:
    """Tell one worker to end, and wait until it is back."""
    pid = up.children()["gateway-0"]
    os.kill(pid, signal.SIGTERM)
    end = time.monotonic() + 20
    home = up.live.installation.home
    while len({each.pid for each in workers_of(home) if each.state == "ready"} - {pid}) < WORKERS:
        assert time.monotonic() < end, up.logs()
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.postgres
def test_nothing_is_lost_in_deploys_restarts_and_an_outage_of_the_database(postgres: str, tmp_path: Path) -> None:
    live = LiveHome(root=tmp_path / "home", database_url=postgres)
    with running(live) as up, ExitStack() as stack:
        up.wait_until_all_live()
        clients = Clients(up)
        try:
            clients.must_go_on()
            live.governed.promoted(0.5)
            clients.must_go_on()
            live.call("rollback", "--system", SYSTEM, token=live.token("operator"))
            clients.must_go_on()
            assert "2 workers were restarted" in live.call("gateway", "restart").stdout
            clients.must_go_on()

            live.installation.close()
            stop_server(postgres)
            begun = time.monotonic()
            clients.must_go_on()
            restart_one(up)
            clients.must_go_on()
            live.call("stop", "--here", "--system", "elsewhere", "--reason", "a drill")
            while time.monotonic() - begun < OUTAGE_S:
                clients.must_go_on()
            stack.enter_context(started_again(postgres))

            key = live.installation.rollout.issue_key(live.people["operator"], name="new", scopes=["decide:*"])
            committed = time.monotonic()
            while up.ask(key=key.text).status != 200:
                assert time.monotonic() - committed < 15, "a plan made after the outage arrives"
                time.sleep(0.05)
            live.installation.rollout.revoke_key(live.people["operator"], key.id)
            committed = time.monotonic()
            while {up.ask(key=key.text).status for _ in range(6)} != {401}:
                assert time.monotonic() - committed < 1.0, "a revocation takes effect within a second"
            clients.must_go_on()
        finally:
            clients.load.stopping = True
            clients.join(30)
        assert dict(clients.load.broken) == {}, up.logs()
        assert set(clients.load.statuses) <= {200, 422}, clients.load.statuses
        assert up.end() == 0, up.logs()
        recorded = live.recorded()
        assert {*clients.load.receipts} <= set(recorded), "an answer is not on record"
        assert set(recorded.values()) == {1}
        live.close()
