"""A gateway node of another home answers by itself; the steward pulls, seals, and the node lets go."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.integration.nodes.node_world import free_port
from tests.journeys.live import ROW, SYSTEM, LiveHome, post, running


@pytest.mark.slow
def test_a_node_answers_and_its_decisions_are_sealed_at_the_steward(tmp_path: Path) -> None:
    live = LiveHome(root=tmp_path / "home")
    port = free_port()
    invitation = tmp_path / "branch.invite"
    words = ("node", "invite", "branch", "--address", f"https://127.0.0.1:{port}", "--to", str(invitation))
    live.call(*words, token=live.token("operator"))
    assert invitation.stat().st_mode & 0o777 == 0o600
    live.call(*words, token=live.token("operator"), fine=(1,))
    live.call("node", "invite", "x", "--to", str(tmp_path / "x"), token=live.token("auditor"), fine=(1,))

    node_root = tmp_path / "branch"
    command = [sys.executable, "-m", "pilotage", "--home", str(node_root)]
    subprocess.run([*command, "node", "join", str(invitation)], check=True, capture_output=True, timeout=30)
    (node_root / "releases").symlink_to(live.root / "releases")
    (node_root / "plan.json").write_bytes((live.root / "plan.json").read_bytes())
    up = [*command, "up", "--role", "gateway", "--gateway-port", "0", "--workers", "1", "--json"]
    wrong = subprocess.run([*up, "--node", "other"], capture_output=True, text=True, timeout=30, env=_environ())
    assert wrong.returncode == 1 and "another node" in wrong.stderr

    node = subprocess.Popen(
        [*up, "--node", "branch", "--journal-port", str(port)], stdout=subprocess.PIPE, text=True, env=_environ()
    )
    try:
        assert node.stdout is not None
        gateway = json.loads(node.stdout.readline())["gateway"]
        url = f"{gateway}/v1/systems/{SYSTEM}/decide"
        replies = [post(url, live.key, {"inputs": ROW | {"customer": f"c-{n}"}}) for n in range(20)]
        assert all(reply.status == 200 for reply in replies), replies[0]
        receipts = {tuple(reply.headers["pilotage-receipt"].split()) for reply in replies}
        with running(live):
            _wait(lambda: receipts <= live.recorded().keys())
            (row,) = json.loads(live.call("node", "list", "--json").stdout)
            assert row["name"] == "branch" and not row["fault"] and row["lag_s"] < 10
            more = post(url, live.key, {"inputs": ROW})
            _wait(lambda: tuple(more.headers["pilotage-receipt"].split()) in live.recorded())
    finally:
        node.terminate()
        assert node.wait(30) == 0
        if node.stdout is not None:
            node.stdout.close()
    assert not (node_root / "keyring.json").exists() and not (node_root / "nodes.json").exists()
    live.close()


def _environ() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PILOTAGE_")}


def _wait(done: object) -> None:
    for _ in range(300):
        if done():  # type: ignore[operator]
            return
        time.sleep(0.05)
    raise AssertionError("not in time")
