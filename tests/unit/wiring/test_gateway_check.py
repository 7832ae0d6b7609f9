"""`gateway check` names what keeps a system from answering, each with its mend and the next command."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import msgspec
import pytest

from pilotage.evidence.model import Evidence
from pilotage.evidence.store import record
from pilotage.gateway.plan import decode_plan
from pilotage.gateway.stops import ALL, stop_here
from pilotage.gateway.worker import WorkerState
from pilotage.kernel.clock import now_us
from pilotage.kernel.ids import uuid7
from pilotage.releases.store import list_releases
from pilotage.releases.together import CHECK as TOGETHER
from pilotage.releases.together import Judged
from pilotage.rollout.service import Rollout
from pilotage.runtimes.environment import environment_digest
from pilotage.storage.database import control, open_engine, reading, writing
from pilotage.testing.governance import GovernedHome
from pilotage.wiring import gateway_check
from pilotage.wiring.gateway_check import Finding, check_gateway
from pilotage.wiring.settings import Settings


class Ready(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def answering() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Ready)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def house(tmp_path: Path, answering: str) -> Iterator[GovernedHome]:
    root = tmp_path / "home"
    root.mkdir()
    engine = open_engine(f"sqlite:///{root}/control.db")
    control.create_all(engine)
    made = GovernedHome(root, engine)
    made.promoted()
    tell(made)
    (made.home.run / "endpoints.json").write_text(json.dumps({"gateway": answering, "pid": str(os.getpid())}))
    yield made
    engine.dispose()


def tell(house: GovernedHome, state: str = "ready", plan: int = 99, pid: int = 0) -> None:
    house.home.run.mkdir(exist_ok=True)
    told = WorkerState(pid=pid or os.getpid(), node="n1", worker=0, state=state, plan=plan, at=now_us())
    (house.home.run / "gateway-0.json").write_bytes(msgspec.json.encode(told))


def wrong(house: GovernedHome, system: str = "example", key: str = "") -> list[Finding]:
    return [each for each in check_gateway(Settings(home=house.home), system, key) if not each.fine]


def test_nothing_is_wrong(house: GovernedHome) -> None:
    found = check_gateway(Settings(home=house.home), "example")
    assert [each for each in found if not each.fine] == []
    assert {each.name for each in found} == {
        "plan", "release", "stop", "clock", "disk", "workers", "address",
    }  # fmt: skip


def test_the_plan_file_speaks_while_the_database_is_away(house: GovernedHome) -> None:
    house.control.dispose()
    house.home.control_database.unlink()
    assert wrong(house) == []
    house.home.plan_file.unlink()
    assert [(each.name, each.next) for each in wrong(house)] == [("plan", "pilotage up")]
    assert not house.home.control_database.exists(), "a look makes no database"


def alter(house: GovernedHome) -> None:
    model = next(house.home.releases.rglob("model.onnx"))
    model.chmod(0o600)
    model.write_bytes(b"x" + model.read_bytes()[1:])


def dead(house: GovernedHome) -> None:
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    process.wait(10)
    tell(house, pid=process.pid)


def stop_in_plan(house: GovernedHome) -> None:
    rollout: Rollout = house.rollout
    rollout.stop(house.people["operator"], "example", "prices")


FAULTS: list[tuple[Callable[[GovernedHome], object], str, str, str]] = [
    (lambda h: shutil.rmtree(h.home.releases), "release", "no such release", "pilotage release show"),
    (alter, "release", "model.onnx", "pilotage release show"),
    (stop_in_plan, "stop", "prices", "pilotage start --system example"),
    (lambda h: stop_here(h.home.stops, "example", "fire", 1), "stop", "fire", "pilotage start --here --system example"),
    (lambda h: stop_here(h.home.stops, ALL, "fire", 1), "stop", "fire", "pilotage start --here --all"),
    (lambda h: tell(h, state="failed"), "workers", "failed", "gateway-0.log"),
    (lambda h: tell(h, plan=0), "workers", "plan 0 of 1", "pilotage gateway restart"),
    (dead, "workers", "no worker lives", "gateway-0.log"),
    (lambda h: (h.home.run / "endpoints.json").unlink(), "processes", "nothing is running", "pilotage up"),
]


@pytest.mark.parametrize(("fault", "name", "said", "command"), FAULTS)
def test_each_fault_is_named_with_its_next_command(
    house: GovernedHome, fault: Callable[[GovernedHome], object], name: str, said: str, command: str
) -> None:
    fault(house)
    (found,) = wrong(house)
    assert found.name == name and said in found.what and command in found.next and found.mend


def proven(house: GovernedHome, environment: str, most: int = 64, declared: int = 32) -> int:
    """A proof that rows may share a call, made after the build, and the plan that follows; its number of rows."""
    with reading(house.control) as connection:
        release = list_releases(connection)[0].digest
    figures = Judged(most=most, environment=environment, declared=declared).as_facts()
    with writing(house.control) as connection:
        record(
            connection,
            Evidence(
                id=uuid7(), check=TOGETHER, subject=release, grade="E3", method="TEST", producer="tests",
                collected=now_us(), expires=0, passed=True, figures=figures,
            ),
        )  # fmt: skip
    return decode_plan(house.rollout.publish().body).routes[0].together.rows


def test_a_proof_of_company_counts_where_it_was_made_and_its_staleness_is_told(house: GovernedHome) -> None:
    assert proven(house, environment_digest()) == 32, "no more than the release declares"
    [told] = [each for each in check_gateway(Settings(home=house.home), "example") if each.name == "together"]
    assert told.fine and "32 rows" in told.what
    assert proven(house, "sha256:" + "0" * 64) == 32
    [found] = wrong(house)
    assert found.name == "together" and "one by one" in found.what
    assert found.next.startswith("pilotage evaluate ") and found.next.endswith(" --together")
    assert proven(house, environment_digest(), most=0) == 0, "a bit moved: row by row, and nothing is amiss"
    assert wrong(house) == []


def test_a_system_that_is_not_live(house: GovernedHome) -> None:
    (found,) = wrong(house, system="nosuch")
    assert (found.name, "example" in found.what) == ("route", True)
    assert found.next == "pilotage promote --system nosuch --to internal"


def test_an_address_that_does_not_answer(house: GovernedHome) -> None:
    gone = {"gateway": "http://127.0.0.1:9", "pid": str(os.getpid())}
    (house.home.run / "endpoints.json").write_text(json.dumps(gone))
    assert [(each.name, "curl" in each.next) for each in wrong(house)] == [("address", True)]


def test_a_full_disk_and_a_clock_that_is_behind(house: GovernedHome, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_check, "_FREE", 2**62)
    monkeypatch.setattr(gateway_check, "now_us", lambda: house.now - 3_600_000_000)
    assert [each.name for each in wrong(house)] == ["clock", "disk"]


def test_keys(house: GovernedHome) -> None:
    operator, rollout = house.people["operator"], house.rollout
    house.register(7, system="other")
    good = rollout.issue_key(operator, name="a", scopes=["decide:example"]).id
    other = rollout.issue_key(operator, name="b", scopes=["decide:other", "outcome:example"]).id
    short = rollout.issue_key(operator, name="c", scopes=["decide:*"], expires=house.now + 1_000).id
    assert wrong(house, key=good) == []
    assert "no scope decide:example" in wrong(house, key=other)[0].what
    assert wrong(house, key=other)[0].next == "pilotage key issue NAME --scope decide:example"
    assert "expired" in wrong(house, key=short)[0].what
    rollout.revoke_key(operator, good)
    assert "revoked" in wrong(house, key=good)[0].what
