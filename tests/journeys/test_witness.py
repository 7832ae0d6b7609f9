"""A witness as a process of its own, without access to the home, against a real log whose keepers turn dishonest."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pilotage.ledger import tiles
from pilotage.ledger.merkle import Frontier, leaf_hash
from pilotage.ledger.notes import Signer, parse_checkpoint
from tests.journeys.live import LiveHome, Up, running
from tests.journeys.test_docs_run import blocks, run

ALARM = 4


@dataclass
class Outsider:
    """Somebody with a token, the log's key and a folder; never with the home."""

    folder: Path
    token: str
    vkey: str

    def command(self, up: Up, *options: str) -> list[str]:
        state = str(self.folder / "witness")
        words = ("audit", "follow", f"{up.console}/log", "--state", state, "--vkey", self.vkey, *options)
        return [sys.executable, "-m", "pilotage", *words]

    @property
    def environ(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PILOTAGE_")}
        return {**kept, "PILOTAGE_TOKEN": self.token}

    def once(self, up: Up) -> tuple[int, dict[str, Any], str]:
        """Exit code, the JSON said, and what was said aloud."""
        command = self.command(up, "--once", "--json", "--name", "audit.example/w1")
        done = subprocess.run(
            command, cwd=self.folder, env=self.environ, capture_output=True, text=True, timeout=60, check=False
        )
        return done.returncode, json.loads(done.stdout or "{}"), done.stderr

    @property
    def key(self) -> str:
        return (self.folder / "witness" / "witness.vkey").read_text().strip()


@pytest.fixture
def live(tmp_path: Path) -> Iterator[LiveHome]:
    made = LiveHome(root=tmp_path / "home")
    yield made
    made.close()


@pytest.fixture
def outsider(live: LiveHome, tmp_path: Path) -> Outsider:
    (tmp_path / "elsewhere").mkdir()
    return Outsider(tmp_path / "elsewhere", live.token("witness"), live.vkey)


def answered(up: Up, count: int) -> list[str]:
    """Receipts of so many answers, once they are all sealed and published."""
    receipts = [up.ask().headers["pilotage-receipt"] for _ in range(count)]
    end = time.monotonic() + 20
    while not {tuple(each.split()) for each in receipts} <= set(up.live.recorded()):
        assert time.monotonic() < end, "not sealed"
        time.sleep(0.1)
    return receipts


def rewrite(live: LiveHome, more: int) -> int:
    """What somebody with every key and the whole disk can do: another tree, consistent in itself and well signed."""
    folder, keyring = live.installation.home.ledger, live.installation.keyring
    size = parse_checkpoint(tiles.read_checkpoint(folder), [live.vkey]).size
    entries = list(tiles.read_entries(folder, 0, size))
    entries[3] = entries[3].replace(b'"stage"', b'"stagE"') if b'"stage"' in entries[3] else entries[3] + b" "
    entries += [b"{}"] * more
    root = Frontier().append(map(leaf_hash, entries)).root()
    signed = Signer(keyring.origin, keyring.signing).sign_checkpoint(keyring.origin, len(entries), root)
    shutil.rmtree(folder / "tile")
    tiles.publish(folder, 0, entries, len(entries), signed)
    return len(entries)


@pytest.mark.slow
def test_a_history_rewritten_by_who_holds_every_key_is_told_at_once(live: LiveHome, outsider: Outsider) -> None:
    with running(live) as up:
        up.wait_until_all_live()
        answered(up, 3)
        code, said, aloud = outsider.once(up)
        assert (code, said["ok"], said["sent"]) == (0, True, True), aloud
        assert (outsider.folder / "witness" / "witness.key").stat().st_mode & 0o777 == 0o600
        shown = json.loads(live.call("audit", "checkpoint", "--json").stdout)
        assert [(each["witness"], each["vkey"]) for each in shown["witnesses"]] == [("audit.example/w1", outsider.key)]
        auditor = live.token("auditor")
        verified = live.call("audit", "verify", "--witness", outsider.key, token=auditor)
        assert f"witnessed up to size {said['size']} by audit.example/w1" in verified.stdout
        prove(live, outsider)
        verify_what_is_new(up, outsider, auditor)
        run_the_page(up, outsider)

        os.kill(up.children()["steward"], signal.SIGSTOP)  # its next batch would cover the traces
        assert rewrite(live, more=0) >= said["size"]
        first = outsider.once(up)
        size = rewrite(live, more=40)
        second = outsider.once(up)
        os.kill(up.children()["steward"], signal.SIGCONT)
    for code, told, aloud in (first, second):
        assert code == ALARM and not told["ok"]
        assert f"ALARM [{told['alarm']['code']}]" in aloud and told["evidence"] in aloud
    assert first[1]["alarm"]["code"] in ("log_forked", "log_rewritten"), "a batch may have been sealed in between"
    assert second[1]["alarm"]["code"] == "log_rewritten"
    evidence = Path(second[1]["evidence"])
    held, shown_then = (
        parse_checkpoint((evidence / f"{name}-checkpoint.txt").read_text(), [live.vkey]) for name in ("held", "shown")
    )
    assert (held.size, shown_then.size) == (said["size"], size), "both signed by the log's own key"


def prove(live: LiveHome, outsider: Outsider) -> None:
    """A proof that the witness has confirmed is made and checked."""
    row = live.installation.ledger().decisions(limit=1)[0]
    file, record = outsider.folder / "x.tlog-proof", outsider.folder / "x.record"
    file.write_text(live.installation.ledger().prove(row.id))
    record.write_bytes(live.installation.ledger().entry(row.leaf))
    done = live.call(
        "audit", "verify-proof", str(file), str(record), "--vkey", live.vkey, "--witness", outsider.key, "--json"
    )
    assert json.loads(done.stdout)["witness"] == "audit.example/w1"
    script = Path(__file__).parents[2] / "docs" / "verify_proof.py"
    words = [sys.executable, str(script), str(file), str(record), live.vkey, outsider.key]
    alone = subprocess.run(words, capture_output=True, text=True, check=False)
    assert alone.returncode == 0 and "the witness has confirmed" in alone.stdout, alone.stdout


def verify_what_is_new(up: Up, outsider: Outsider, auditor: str) -> None:
    """An auditor's own file holds what was verified last; the next run reads only what came after, and renews it."""
    words = ("audit", "verify", "--json", "--state", str(outsider.folder / "verified"))
    first = json.loads(up.live.call(*words, token=auditor).stdout)
    answered(up, 2)
    second = json.loads(up.live.call(*words, token=auditor).stdout)
    assert first["since"] == 0 < second["since"] <= second["size"] and 2 <= second["decisions"] < first["decisions"] + 2
    until = json.loads(up.live.call("audit", "verify", "--json", "--since", str(second["since"]), token=auditor).stdout)
    assert until["since"] == second["since"] and until["ok"]
    kept = parse_checkpoint((outsider.folder / "verified").read_text(), [up.live.vkey])
    assert kept.size > second["since"]


def run_the_page(up: Up, outsider: Outsider) -> None:
    """The commands of the how-to page, as written."""
    page = Path(__file__).parents[2] / "docs" / "how-to" / "run-a-witness.md"
    script = blocks(page).replace("http://127.0.0.1:8701", up.console)
    live, folder = up.live, outsider.folder / "page"
    folder.mkdir()
    home = f"export PILOTAGE_HOME={live.root} PILOTAGE_TOKEN={live.token('admin')} AUDITOR={live.token('auditor')}\n"
    code, printed = run(home + script, folder)
    assert code == 0, printed
    assert "cosigned, root" in printed and "verified: " in printed
    assert "by audit.example/w1 at" in printed and (folder / "witness" / "checkpoint").exists()


@pytest.mark.slow
def test_a_ledger_put_back_to_an_old_backup_is_told(live: LiveHome, outsider: Outsider, tmp_path: Path) -> None:
    with running(live) as up:
        up.wait_until_all_live()
        answered(up, 3)
        assert outsider.once(up)[0] == 0
    old = tmp_path / "backup"
    shutil.copytree(live.root, old)
    with running(live) as up:
        up.wait_until_all_live()
        receipts = followed(up, outsider)
    live.close()
    shutil.rmtree(live.root)
    shutil.copytree(old, live.root)
    auditor = live.token("auditor")
    done = live.call("audit", "verify", "--json", "--held", str(outsider.folder / "witness" / "checkpoint"),
                     "--receipt", receipts[0].replace(" ", ":"), token=auditor, fine=(1,))  # fmt: skip
    places = {fault["place"].split()[0] for fault in json.loads(done.stdout)["faults"]}
    assert {"held", "receipt"} <= places
    with running(live) as up:
        up.wait_until_all_live()
        code, said, _ = outsider.once(up)
        assert (code, said["alarm"]["code"]) == (ALARM, "log_rolled_back")
        answered(up, 60)
        code, said, _ = outsider.once(up)
        assert (code, said["alarm"]["code"]) == (ALARM, "log_rewritten"), "it has grown past what was witnessed"


def followed(up: Up, outsider: Outsider) -> list[str]:
    """Receipts of answers that were given while the witness ran as a loop and followed each."""
    command = outsider.command(up, "--every", "1s", "--json")
    process = subprocess.Popen(
        command, cwd=outsider.folder, env=outsider.environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        receipts = answered(up, 5)
        size = parse_checkpoint(tiles.read_checkpoint(up.live.root / "ledger"), [up.live.vkey]).size
        assert process.stdout is not None
        grown = 0
        for line in process.stdout:
            said = json.loads(line)
            assert said["ok"], said
            grown += said["grown"]
            if said["size"] >= size:
                break
        assert grown > 0 and process.poll() is None
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        process.stdout.close()  # type: ignore[union-attr]
    return receipts
