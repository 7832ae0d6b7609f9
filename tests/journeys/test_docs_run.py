"""The commands of the README and of the tutorial, run as a reader would type them, in a fresh folder."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
_BLOCK = re.compile(r"^```sh\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)

_PILOT = """
import joblib
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
table = load_breast_cancer(as_frame=True).frame.rename(columns={"target": "label"})
table["size"] = ["large" if radius > 14 else "small" for radius in table.pop("mean radius")]
names = ["mean texture", "worst area", "worst concavity", "size"]
table = table[[*names, "label"]]
table.insert(0, "customer", range(100, 100 + len(table)))
table.to_csv("data.csv", index=False)
prepare = ColumnTransformer([("size", OneHotEncoder(handle_unknown="ignore"), ["size"])], remainder="passthrough")
joblib.dump(make_pipeline(prepare, GradientBoostingClassifier(random_state=0)).fit(table[names], table["label"]),
            "model.joblib")
"""


def blocks(page: Path) -> str:
    """The page's `sh` blocks as one script; blocks marked `sh no-test` are the reader's own surroundings."""
    return "\n".join(_BLOCK.findall(page.read_text(encoding="utf-8")))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run(script: str, folder: Path) -> tuple[int, str]:
    """Run a script as a reader's shell would, on free ports; (exit code, everything printed)."""
    gateway, console = free_port(), free_port()
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PILOTAGE_")}
    environ |= {
        "PATH": f"{Path(sys.executable).parent}:{environ['PATH']}",
        "PILOTAGE_GATEWAY_PORT": str(gateway),
        "PILOTAGE_CONSOLE_PORT": str(console),
    }
    script = "set -eo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT\n" + script.replace(
        "127.0.0.1:8700", f"127.0.0.1:{gateway}"
    )
    process = subprocess.Popen(
        ["bash", "-c", script],
        cwd=folder,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        printed, _ = process.communicate(timeout=280)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return process.returncode, printed


@pytest.mark.slow
def test_the_tutorial_runs_as_written(tmp_path: Path) -> None:
    code, printed = run(blocks(ROOT / "docs" / "tutorials" / "first-answer.md"), tmp_path)
    assert code == 0, printed[-4_000:]
    assert "closed, as it should be" in printed
    assert "refused, as it should be" in printed
    assert "pilotage-receipt: " in printed.lower()
    assert all(code in printed for code in ('"wrong_type"', '"missing"', '"below_minimum"'))
    assert "bit_exact" in printed
    assert len(re.findall(r"^verified: entry", printed, flags=re.MULTILINE)) == 2, "also after the erasure"
    assert len(re.findall(r"^verified: \d+ entries", printed, flags=re.MULTILINE)) == 2
    assert "payload: cannot be read" in printed


@pytest.mark.slow
def test_ten_minutes_with_the_readers_own_model_run_as_written(tmp_path: Path) -> None:
    script = blocks(ROOT / "README.md")
    assert "make demo" in script
    own = script[script.index("cat > pilotage.yaml") :]
    (tmp_path / "make.py").write_text(_PILOT)
    subprocess.run([sys.executable, "make.py"], cwd=tmp_path, check=True)
    code, printed = run(own, tmp_path)
    assert code == 0, printed[-4_000:]
    assert "NO-GO" in printed
    assert re.search(r"^GO", printed, flags=re.MULTILINE)
    assert "HTTP/1.1 200 OK" in printed
    assert '"code":"contract"' in printed
    assert "bit_exact" in printed
    assert "is back on" in printed
    assert re.search(r"^verified: \d+ entries", printed, flags=re.MULTILINE)
