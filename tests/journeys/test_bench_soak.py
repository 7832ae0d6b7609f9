"""The soak runs, loses nothing, and holds no more memory at its end."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench" / "soak.py"


@pytest.mark.slow
def test_half_a_minute_at_a_third_of_capacity(tmp_path):
    """A third, since tests share their machine: what is held is that nothing fails and nothing grows, not the tail."""
    done = subprocess.run(
        [sys.executable, str(BENCH), "--minutes", "0.5", "--share", "0.33", "--dir", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["failed"] == 0
    assert figures["due"] > 1_000
    assert figures["rss_growth"] < 0.02
    assert figures["rss_mib"] < 200
