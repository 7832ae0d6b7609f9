"""`pilotage keys`: rotations by command, cut off and taken up again, with the keyring in a file or elsewhere."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pilotage.access.model import Person
from pilotage.access.service import authenticate
from pilotage.errors import Conflict
from pilotage.ledger import rotation
from pilotage.ledger.keyring import ENVIRONMENT, Keyring
from pilotage.ledger.keyring_file import locked
from pilotage.ledger.keyring_source import KeyringSource
from pilotage.storage.home import Home
from pilotage.wiring.installation import Installation, open_installation
from pilotage.wiring.keys import KINDS, KeyKind, rotate
from pilotage.wiring.settings import Settings
from tests.ledger_world import in_killed_process
from tests.unit.cli.conftest import Call, Installed


@pytest.fixture
def home(installed: Installed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the installation: its keys change here only."""
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    return Path(shutil.copytree(installed.root, tmp_path / "home"))


@pytest.fixture
def keys(call: Call, home: Path) -> Callable[..., Any]:
    def called(*words: str, role: str = "admin") -> Any:
        code, out, err = call(*words, "--json", role=role, home=home)
        assert code == 0, err
        return json.loads(out)

    return called


def test_every_key_is_rotated_and_pruned_and_everything_old_still_holds(
    keys: Callable[..., Any], call: Call, home: Path, tmp_path: Path
) -> None:
    [first, *_] = keys("decisions", "list", role="auditor")
    proof, record, list_ = tmp_path / "old.tlog-proof", tmp_path / "old.json", tmp_path / "vkeys"
    proof.write_text(call("decisions", "prove", first["id"], home=home, role="auditor")[1])
    record.write_text(call("decisions", "prove", first["id"], "--record", home=home, role="auditor")[1])
    old = keys("audit", "vkey")["vkey"]
    shown = {kind: keys("keys", "rotate", f"--{kind}") for kind in KINDS}
    assert shown["master"]["moved"] > 0 and shown["steward"]["plan"] > 0
    assert (shown["signing"]["old"], shown["signing"]["new"]) == (old, keys("audit", "vkey")["vkey"])
    states = keys("keys", "show")["keys"]
    assert [state["state"] for state in states if state["state"] == "in use"] == ["in use"] * 3 and len(states) == 6
    assert "events wait" in keys("keys", "prune")["kept"][0]
    assert call("steward", "--once", home=home)[0] == 0
    states = {state["name"]: state for state in keys("keys", "show")["keys"]}
    assert states[shown["steward"]["old"]]["needed"]
    keys("keys", "rotate", "--master")
    assert call("steward", "--once", home=home)[0] == 0
    dropped = keys("keys", "prune")
    # The worker's newest journal file stays until it begins another: its key is kept.
    assert {kind: len(names) for kind, names in dropped["dropped"].items()} == {"master": 1, "steward": 0, "signing": 0}
    assert len(dropped["kept"]) == 1 and "1 journal files" in dropped["kept"][0]
    assert keys("keys", "prune")["dropped"] == {"master": [], "steward": [], "signing": []}
    assert call("steward", "--once", home=home)[0] == 0
    assert call("audit", "verify", home=home, role="auditor")[0] == 0
    kinds = {kind: json.loads(row) for kind, row in _events(home)}
    assert kinds.keys() >= {"key.rotated", "key.pruned"}
    periods = keys("audit", "vkey", "--all")["all"]
    assert [period["vkey"] for period in periods] == [old, shown["signing"]["new"]]
    list_.write_text(call("audit", "vkey", "--all", home=home, role="auditor")[1])
    for options in (("--vkey", old), ("--vkeys", str(list_)), ()):
        assert call("audit", "verify-proof", str(proof), str(record), *options, home=home)[0] == 0
    code, out, _ = call("decisions", "show", first["id"], "--json", home=home, role="auditor")
    assert code == 0 and json.loads(out)["payload"] is not None


def _events(home: Path) -> list[tuple[str, str]]:
    with sqlite3.connect(home / "ledger.db") as connection:
        return list(connection.execute("SELECT kind, facts FROM events"))


def test_nothing_secret_is_shown(call: Call, home: Path, keys: Callable[..., Any]) -> None:
    keys("keys", "rotate", "--master")
    written = json.loads((home / "keyring.json").read_text())
    secrets = [written["index"], *written["masters"], *written["stewards"], written["signings"][0]["private"]]
    for words in (("keys", "show"), ("keys", "show", "--json")):
        code, out, err = call(*words, role="auditor", home=home)
        assert code == 0 and not any(secret[:12] in out + err for secret in secrets)


@pytest.mark.parametrize("words", [("show",), ("rotate", "--master"), ("prune",)])
def test_who_may_not_is_refused(call: Call, home: Path, words: tuple[str, ...]) -> None:
    before = (home / "keyring.json").read_bytes()
    code, _, err = call("keys", *words, role="ml_engineer", home=home)
    assert code == 1 and "[forbidden]" in err and (home / "keyring.json").read_bytes() == before


@pytest.mark.parametrize("words", [(), ("--master", "--steward")])
def test_one_kind_at_a_time(call: Call, home: Path, words: tuple[str, ...]) -> None:
    code, _, err = call("keys", "rotate", *words, role="admin", home=home)
    assert code == 1 and "name one secret" in err


@pytest.mark.parametrize("kind", KINDS)
def test_where_the_keyring_is_in_the_environment_the_operator_installs_it(
    call: Call, keys: Callable[..., Any], home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: KeyKind
) -> None:
    monkeypatch.setenv(ENVIRONMENT, Keyring.from_json((home / "keyring.json").read_bytes()).to_json().decode())
    (home / "keyring.json").unlink()
    code, _, err = call("keys", "rotate", f"--{kind}", role="admin", home=home)
    assert code == 1 and "[keyring_elsewhere]" in err
    output = tmp_path / "new.json"
    first = keys("keys", "rotate", f"--{kind}", "--output", str(output))
    assert first["output"] == str(output) and stat.S_IMODE(output.stat().st_mode) == 0o600
    assert call("steward", "--once", home=home)[0] == 0, "with the old keyring everything goes on"
    monkeypatch.setenv(ENVIRONMENT, output.read_text())
    assert "new: run" in keys("keys", "show")["keys"][KINDS.index(kind)]["state"]
    assert call("steward", "--once", home=home)[0] == 0, "with the new one too, before it is used"
    code, _, err = call("keys", "prune", "--output", str(tmp_path / "early.json"), role="admin", home=home)
    assert code == 1 and "not finished" in err
    done = keys("keys", "rotate", f"--{kind}")
    assert done["output"] == "" and done["new"] != done["old"] == first["old"]
    pruned = tmp_path / "pruned.json"
    result = keys("keys", "prune", "--output", str(pruned))
    if kind != "steward":
        assert len(result["dropped"][kind]) == 1 and result["output"] == str(pruned)
        monkeypatch.setenv(ENVIRONMENT, pruned.read_text())
    assert call("steward", "--once", home=home)[0] == 0
    assert call("audit", "verify", home=home, role="auditor")[0] == 0


class Killed:
    """Runs a rotation in a process that ends at one of its write points."""

    def __init__(self, installed: Installed, home: Path) -> None:
        self.installed, self.home = installed, home

    def open(self) -> tuple[Installation, Person]:
        installation = open_installation(Settings(home=Home(root=self.home)))
        return installation, authenticate(installation.control, self.installed.tokens["admin"])

    def run(self, kind: KeyKind, point: str) -> int:
        def call() -> None:
            end_at(point)
            rotate(*self.open(), kind)

        return in_killed_process(call)


def end_at(point: str) -> None:
    """In the child only: end without any clean-up before or after a step."""
    owner, name, when = {
        "before keep": (KeyringSource, "keep", "before"),
        "after keep": (KeyringSource, "keep", "after"),
        "after rewrap": (rotation, "rewrap", "after"),
        "after announce": (rotation, "announce_signing", "after"),
        "before announce": (rotation, "announce_signing", "before"),
    }[point]
    real = getattr(owner, name)

    def ending(*args: Any, **options: Any) -> Any:
        if when == "after":
            real(*args, **options)
        os._exit(9)

    setattr(owner, name, ending)


@pytest.mark.parametrize(
    ("kind", "point"),
    [
        ("master", "before keep"),
        ("master", "after keep"),
        ("master", "after rewrap"),
        ("steward", "after keep"),
        ("signing", "before announce"),
        ("signing", "after announce"),
    ],
)
def test_a_killed_rotation_is_taken_up(
    installed: Installed, home: Path, call: Call, keys: Callable[..., Any], kind: KeyKind, point: str
) -> None:
    killed = Killed(installed, home)
    assert killed.run(kind, point) == 9
    assert call("steward", "--once", home=home)[0] == 0
    assert call("audit", "verify", home=home, role="auditor")[0] == 0
    added = len(rotation.names(Keyring.create_or_open(home / "keyring.json", {}))[kind])
    assert added == (1 if point == "before keep" else 2)
    if point != "after announce":
        keys("keys", "rotate", f"--{kind}")
    assert len(rotation.names(Keyring.create_or_open(home / "keyring.json", {}))[kind]) == 2, "not a second new one"
    keys("keys", "prune")
    assert call("steward", "--once", home=home)[0] == 0
    assert call("audit", "verify", home=home, role="auditor")[0] == 0


def test_two_rotations_at_once_are_refused(installed: Installed, home: Path) -> None:
    installation, person = Killed(installed, home).open()
    with locked(home / "keyring.json"), pytest.raises(Conflict, match="another command"):
        rotate(installation, person, "master")
    installation.close()


def test_a_process_with_an_older_keyring_cannot_turn_gateways_back(
    installed: Installed, home: Path, keys: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    older = Keyring.create_or_open(home / "keyring.json", {}).to_json().decode()
    keys("keys", "rotate", "--steward")
    monkeypatch.setenv(ENVIRONMENT, older)
    installation, _ = Killed(installed, home).open()
    with pytest.raises(Conflict) as refused:
        installation.rollout.publish()
    assert refused.value.code == "keyring_outdated"
    installation.close()
