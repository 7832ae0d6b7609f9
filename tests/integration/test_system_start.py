"""What starts fast imports little: the heavy libraries come only with the command that needs them."""

from __future__ import annotations

import json
import subprocess
import sys

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
