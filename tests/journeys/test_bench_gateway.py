"""The benchmark runs, checks that recorded = answered, and ends with its figures."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench" / "gateway.py"
FIGURES = {
    "ratio_vs_fastapi_c64",
    "ratio_vs_fastapi_onnx_c64",
    "ratio_vs_ungoverned_c64",
    "ratio_vs_synced_c64",
    "governance_cpu_us",
    "governed_rss_mib",
    "governed_rps_c64",
    "governed_p99_ms_c64",
}


@pytest.mark.slow
def test_the_last_line_holds_the_figures(tmp_path):
    done = subprocess.run(
        [sys.executable, str(BENCH), "--quick", "--peers", "", "--dir", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert set(figures) >= FIGURES
    assert all(figures[name] > 0 for name in FIGURES)
    assert "recorded = answered" in done.stderr
