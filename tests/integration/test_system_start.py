"""What starts fast imports little: the heavy libraries come only with the command that needs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = (
    "numpy",
    "sqlalchemy",
    "duckdb",
    "onnxruntime",
    "starlette",
    "uvicorn",
    "alembic",
    "aiohttp",
    "sklearn",
    "pandas",
)

_PROBE = """
import contextlib, io, json, sys
before = set(sys.modules)
with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
    {code}
print(json.dumps({{"modules": sorted(set(sys.modules) - before), "said": out.getvalue()}}))
"""


_OPENS = """
import contextlib
from pilotage.runtimes.onnx import open_session
with contextlib.suppress(Exception):
    open_session(b"no model")
import onnxruntime
"""


def probe(code: str) -> tuple[set[str], str]:
    """(top-level modules that the code imports, what it prints)."""
    words = [sys.executable, "-c", _PROBE.format(code=code)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)
    told = json.loads(done.stdout)
    return {name.partition(".")[0] for name in told["modules"]}, told["said"]


@pytest.mark.parametrize(
    "code",
    [
        "import pilotage",
        "sys.argv = ['pilotage', '--help']; from pilotage.cli.main import main; main()",
        "sys.argv = ['pilotage', '--version']; from pilotage.cli.main import main; main()",
    ],
)
def test_no_heavy_library_is_imported(code: str) -> None:
    modules, _ = probe(code)
    assert "pilotage" in modules
    assert not modules.intersection(HEAVY)


def test_help_names_every_command_and_imports_none() -> None:
    code = "sys.argv = ['pilotage', '--help']; from pilotage.cli.main import main; main()"
    words = [sys.executable, "-c", _PROBE.format(code=code)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)
    told = json.loads(done.stdout)
    assert {"up", "demo", "gate", "audit", "erase"} <= set(told["said"].split())
    commands = {name for name in told["modules"] if name.startswith("pilotage.cli.")}
    assert commands == {"pilotage.cli.main"}


def test_a_gateway_worker_imports_no_library_of_builds_and_pages() -> None:
    modules, _ = probe("import pilotage.cli.gateway")
    assert not modules.intersection({"duckdb", "starlette", "alembic", "sklearn", "pandas", "onnx", "jinja2", "rich"})


def test_onnx_runtime_reports_to_nobody(tmp_path: Path) -> None:
    """Its builds report to their maker unless told not to before their import; then they leave a file like this."""
    environ = {name: value for name, value in os.environ.items() if name not in ("CI", "ORT_DISABLE_TELEMETRY")}
    for code, left in (("import onnxruntime", {".ses"}), (_OPENS, set())):
        folder = tmp_path / str(len(left))
        folder.mkdir()
        subprocess.run([sys.executable, "-c", code], env=environ | {"TMPDIR": str(folder)}, check=True, timeout=60)
        assert {path.name for path in folder.iterdir()} <= left


@pytest.mark.parametrize("module", ["pilotage.gateway.worker", "pilotage.web.console.app"])
def test_who_trusts_no_issuer_loads_no_library_of_tokens(module: str) -> None:
    modules, _ = probe(f"import {module}")
    assert "sqlalchemy" in modules
    assert "joserfc" not in modules
