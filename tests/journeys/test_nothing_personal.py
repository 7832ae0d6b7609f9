"""Nothing personal lies in clear: unique text wherever a client or officer can write, looked for in the whole home.

Names of staff are in `control.db` on purpose (people, keys, approvals); everything else must not show what was planted.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from pilotage.access.service import add_person
from pilotage.kernel.canonical import canonical_json
from pilotage.ledger.erasure import place_hold, release_hold
from pilotage.releases.sealed_rows import rows_key
from pilotage.testing.releases import make_release
from tests.journeys.live import ROW, LiveHome, Up, running

pytestmark = pytest.mark.slow

MARK = "zqxvjkq"
"""Long enough that no compressed or encrypted file shows it by chance: three letters did, in the kept code."""
_SEARCH = """
import pathlib, sys
home, mark = pathlib.Path(sys.argv[1]), sys.argv[2]
for path in home.rglob("*"):
    name = str(path.relative_to(home))
    if mark in name.lower() or (path.is_file() and mark.encode() in path.read_bytes().lower()):
        print(name)
"""


def planted(name: str) -> str:
    return f"{MARK}{name}9175"


def traces(home: Path) -> set[str]:
    """Every file of the home whose name or bytes, in any case, show something planted.

    Read by another process: one that opens and closes a database's file loses SQLite's locks on it.
    """
    done = subprocess.run([sys.executable, "-c", _SEARCH, str(home), MARK], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def ask(up: Up, path: str, body: object, **headers: str) -> int:
    request = urllib.request.Request(
        up.gateway + path,
        data=json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {up.live.key}", "Content-Type": "application/json", **headers},
        method="POST",
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def plant(up: Up) -> None:
    """In the subject, values, a field's name, headers, keys and addresses."""
    row = ROW | {"customer": planted("subject")}
    decide = up.decide_url.removeprefix(up.gateway)
    names = {name: planted(name.lower()) for name in ("User-Agent", "X-Request-Id", "Idempotency-Key", "Cookie")}
    assert ask(up, decide, {"inputs": row}, **names, tracestate=f"x={planted('state')}") == 200
    for bad in ({"home": planted("category")}, {planted("field"): planted("value")}, {"income": planted("text")}):
        assert ask(up, decide, {"inputs": row | bad}) == 422
    assert ask(up, f"/v1/systems/{planted('system')}/decide", {}) >= 400
    assert ask(up, decide, {"inputs": row}, Authorization=f"Bearer {planted('key')}") == 401


def rows_in_clear(live: LiveHome) -> set[str]:
    """Files that show a whole row of the reference data, of a release whose reasons need such rows."""
    release = make_release(live.installation.home, sampling=True)
    rows = [canonical_json(row)[1:-1] for row in release.background(rows_key(live.installation.keyring))]
    files = [
        path for part in ("releases", "objects", "run") for path in (live.root / part).rglob("*") if path.is_file()
    ]
    own = [path for path in files if path.parent == release.folder or path.parent.parent.name != "releases"]
    return {path.name for path in own if any(row in path.read_bytes() for row in rows)}


def test_nothing_planted_is_found_before_or_after_an_erasure(tmp_path: Path) -> None:
    live = LiveHome(root=tmp_path / "home")
    control, keyring = live.installation.control, live.installation.keyring
    with running(live) as up:
        up.wait_until_all_live()
        plant(up)
        hold = place_hold(control, keyring, planted("court file"), planted("counsel"), subject=planted("subject"))
        with urllib.request.urlopen(up.gateway + "/metrics", timeout=10) as response:
            assert MARK not in response.read().decode().lower()
        time.sleep(7)  # denials are written every five seconds
        assert traces(live.root) == set()
        release_hold(control, hold, planted("counsel"))
        done = json.loads(
            live.call("erase", "--subject", planted("subject"), "--json", token=live.token("risk_officer")).stdout
        )
        assert (done["decisions"], done["unreadable"], done["journals"]) == (4, 4, [])
        assert traces(live.root) == set()
        assert up.ask().status == 200
    assert traces(live.root) == set()
    assert live.call("audit", "verify", token=live.token("auditor")).returncode == 0
    assert rows_in_clear(live) == set()
    # The search does find what is in clear: a name of staff, which is meant to be there.
    add_person(control, live.people["admin"], name=planted("clerk"), roles=["operator"])
    assert {name.partition("-")[0] for name in traces(live.root)} == {"control.db"}
    live.close()
