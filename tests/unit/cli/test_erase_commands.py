"""`pilotage erase` and `pilotage hold`: no copy is left, holds and floors bind, a restored backup loses the key."""

from __future__ import annotations

import gc
import json
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from pilotage.ledger import store
from pilotage.ledger.erasure_list import apply_erasure_list, remember_erased
from pilotage.ledger.retention import Floor
from pilotage.ledger.tables import erased_keys, scheduled_erasures, subject_keys
from pilotage.storage.database import reading, writing
from pilotage.storage.home import Home
from pilotage.systems.model import Retention
from pilotage.systems.store import declare_system, find_system
from pilotage.wiring.erasing import floors_of
from pilotage.wiring.housekeeping import keep_house
from pilotage.wiring.installation import Installation, open_installation
from pilotage.wiring.settings import Settings
from tests.unit.cli.conftest import Call, Installed


@pytest.fixture
def home(installed: Installed, tmp_path: Path) -> Path:
    """A copy of the installation: people are erased here only."""
    gc.collect()  # a connection that is collected while files are copied takes its write-ahead log away
    return Path(shutil.copytree(installed.root, tmp_path / "home"))


@pytest.fixture
def do(call: Call, home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    monkeypatch.setenv("PILOTAGE_NODE", "node")

    def called(*words: str, role: str = "risk_officer", code: int = 0) -> Any:
        got, out, err = call(*words, *(("--json",) if words[:2] != ("hold", "release") else ()), role=role, home=home)
        assert got == code, err
        return json.loads(out) if got == 0 and out.startswith(("{", "[")) else err

    return called


@pytest.fixture
def opened(home: Path) -> Iterator[Installation]:
    installation = open_installation(Settings(home=Home(root=home), node="node"))
    yield installation
    installation.close()


def test_after_an_erasure_no_copy_is_left_in_the_journals(do: Callable[..., Any], home: Path) -> None:
    assert [path.name for path in (home / "journal" / "node").glob("*.log")] == ["0-1.log"]
    report = do("erase", "--subject", "customer-3", "--reason", "consent_withdrawn")
    assert (report["decisions"], report["unreadable"], report["journals"]) == (1, 1, [])
    # Nobody wrote for this worker any more: its file was succeeded and deleted all the same.
    assert [path.name for path in (home / "journal" / "node").glob("*.log")] == ["0-2.log"]
    again = do("erase", "--subject", "customer-4")
    assert again["journals"] == []
    assert do("audit", "verify", role="auditor")["ok"]


def test_a_hold_forbids_and_is_released(do: Callable[..., Any], home: Path) -> None:
    hold = do("hold", "place", "--subject", "customer-2", "--reason", "file 77/26, Mustermann")["id"]
    assert hold in do("erase", "--subject", "customer-2", code=1)
    [row] = do("hold", "list", role="auditor")
    assert (row["id"], row["on_subject"], row["reason"]) == (hold, True, "file 77/26, Mustermann")
    for name in ("control.db", "control.db-wal", "ledger.db"):
        content = (home / name).read_bytes() if (home / name).exists() else b""
        assert b"Mustermann" not in content and b"customer-2" not in content
    do("hold", "release", hold)
    assert do("erase", "--subject", "customer-2")["unreadable"] == 1


@pytest.mark.parametrize(
    ("words", "role", "said"),
    [
        (("erase", "--subject", "customer-1"), "ml_engineer", "forbidden"),
        (("hold", "place", "--all", "--reason", "x"), "auditor", "forbidden"),
        (("hold", "list"), "operator", "forbidden"),
        (("hold", "place", "--reason", "x"), "risk_officer", "what does the hold cover"),
        (("hold", "release", "nosuch"), "risk_officer", "not_found"),
        (("erase", "--subject", "customer-1", "--reason", "Jane Doe called"), "risk_officer", "reason is no code"),
        (("erase", "--subject", "nobody"), "risk_officer", "not_found"),
    ],
)
def test_what_is_refused(do: Callable[..., Any], words: tuple[str, ...], role: str, said: str) -> None:
    assert said in do(*words, role=role, code=1)


def declare(installation: Installation, *regimes: str) -> None:
    with writing(installation.control) as connection:
        example = find_system(connection, "example")
        credit = replace(example, id="credit", retention=Retention(regimes=list(regimes)))
        declare_system(connection, credit, by="tests")


def test_the_floor_of_a_declared_system_binds_and_the_steward_erases_when_it_ends(
    do: Callable[..., Any], opened: Installation
) -> None:
    declare(opened, "eu_ai_act_logs")
    assert tuple(floors_of(opened)("credit")) == ("eu_ai_act_logs",) and not tuple(floors_of(opened)("other"))
    report = do("erase", "--subject", "customer-5")
    assert report["restricted_until"] > 0 and report["unreadable"] == 0
    declare(opened)
    with writing(opened.ledger_engine) as connection:
        connection.execute(scheduled_erasures.update().values(due=1))
    steward, stop = opened.steward(holder="house"), threading.Event()
    steward.acquire(steal=True)
    house = threading.Thread(target=keep_house, args=(opened, steward, stop, 0.01))
    house.start()
    for _ in range(400):
        with reading(opened.ledger_engine) as connection:
            if not connection.execute(scheduled_erasures.select()).all():
                break
        stop.wait(0.02)
    stop.set()
    house.join(20)
    [erased] = opened.ledger().events(kind="subject.erased", limit=1)
    assert erased.facts == {"decisions": 1, "reason": "request"}


def test_retention_shows_first_and_deletes_only_when_told(
    do: Callable[..., Any], opened: Installation, home: Path
) -> None:
    before = do("retention", "show", role="auditor")["systems"]
    assert [(each["system"], each["due"], each["payloads"]) for each in before if each["system"] == "credit"] == [
        ("credit", 0, "without end")
    ]
    with writing(opened.control) as connection:
        example = find_system(connection, "example")
        short = Retention(payloads=Floor(days=1))
        declare_system(connection, replace(example, id="credit", retention=short), by="tests")
    [shown] = [each for each in do("retention", "show", role="auditor")["systems"] if each["system"] == "credit"]
    assert shown["due"] == 1 and shown["due_records"] == 7
    assert "forbidden" in do("retention", "enforce", role="auditor", code=1)
    assert [path.name for path in (home / "journal" / "node").glob("*.log")] == ["0-1.log"]
    done = do("retention", "enforce")
    assert [path.name for path in (home / "journal" / "node").glob("*.log")] == ["0-2.log"], "no copy is left"
    assert (done["segments"], done["records"]) == (shown["due"], shown["due_records"])
    assert do("retention", "enforce")["segments"] == 0
    assert do("audit", "verify", role="auditor")["ok"]


def test_a_restored_table_loses_the_key_again_before_anything_is_read(
    do: Callable[..., Any], home: Path, call: Call
) -> None:
    backup = home.parent / "backup.db"
    with sqlite3.connect(home / "ledger.db") as connection, sqlite3.connect(backup) as copy:
        connection.backup(copy)
    [row] = do("decisions", "list", "--subject", "customer-1", role="auditor")
    do("erase", "--subject", "customer-1")
    lines = (home / "erasures").read_text().splitlines()
    assert len(lines) == 1 and len(lines[0]) == 32
    with sqlite3.connect(home / "ledger.db") as connection:
        connection.execute("ATTACH ? AS old", (str(backup),))
        connection.execute("DELETE FROM subject_keys")
        connection.execute("INSERT INTO subject_keys SELECT * FROM old.subject_keys")
    shown = do("decisions", "show", row["id"], role="auditor")
    assert shown["payload"] is None
    with sqlite3.connect(home / "ledger.db") as connection:
        assert not connection.execute("SELECT 1 FROM subject_keys WHERE key_id = ?", (lines[0],)).fetchall()
    # The whole database from before, too: the list beside it is newer.
    for name in ("ledger.db-wal", "ledger.db-shm"):
        (home / name).unlink(missing_ok=True)
    shutil.copy(backup, home / "ledger.db")
    shown = do("decisions", "show", row["id"], role="auditor")
    assert shown["payload"] is None and shown["row"]["subject"] is None


def test_ten_thousand_erasures_cost_an_opening_little(opened: Installation) -> None:
    ids = [f"{n:032x}" for n in range(10_000)]
    with writing(opened.ledger_engine) as connection:
        store.add_rows(connection, erased_keys, [{"key_id": id_, "event": "e", "at": 1} for id_ in ids])
        store.add_rows(connection, subject_keys, [{"key_id": ids[77], "lookup": "l77", "wrapped": b"w", "created": 1}])
    remember_erased(opened.home, ids)
    assert apply_erasure_list(opened.home, opened.ledger_engine) == 1
    assert apply_erasure_list(opened.home, opened.ledger_engine) == 0


def test_a_period_is_set_on_record_and_a_floor_wins(do: Callable[..., Any], opened: Installation) -> None:
    words = ("retention", "set", "--system", "example", "--class", "payloads", "--reason", "policy 7")
    assert "forbidden" in do(*words, "--months", "12", role="auditor", code=1)
    assert "how long is it kept" in do(*words, code=1)
    assert do(*words, "--months", "12")["payloads"] == "12 months"
    [kept] = [each for each in do("retention", "show")["systems"] if each["system"] == "example"]
    assert (kept["payloads"], kept["payloads_set"] > 0) == ("12 months", True)
    with writing(opened.control) as connection:
        bound = replace(find_system(connection, "example"), retention=Retention(regimes=["sebi_cp"]))
        declare_system(connection, bound, by="tests")
    assert "retention_floor" in do(*words, "--months", "13", code=1)
    assert do(*words, "--as-declared")["payloads"] == "without end"
    assert do("audit", "verify", role="auditor")["ok"]
