"""The interpreter of a pilot's commands, and the digest of all that is installed there."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pilotage.errors import InputError
from pilotage.kernel.canonical import canonical_json
from pilotage.kernel.digests import digest
from pilotage.runtimes.environment import environment_digest, installed_distributions, serving_environment
from pilotage.sandbox.box import run_boxed
from pilotage.sandbox.model import Limits

__all__ = ["Interpreter", "check_lock", "find_interpreter"]

_PIN = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?\s*==\s*([^\s;\\#]+)")
_ASK = """
import importlib.metadata, json, platform, sys
found = sorted({(d.metadata["Name"] or "", d.version or "") for d in importlib.metadata.distributions()})
print(json.dumps({"python": platform.python_version(), "implementation": sys.implementation.name,
  "base": sys.base_prefix, "installed": found}))
"""
_MOST_FAULTS = 20


@dataclass(frozen=True, kw_only=True)
class Interpreter:
    """A Python: its `path`, what must be `readable` for it to run, what is `installed` (versions by name), `digest`."""

    path: Path
    readable: tuple[Path, ...]
    installed: dict[str, str]
    digest: str


def find_interpreter(declared: str, folder: Path) -> Interpreter:
    """The interpreter that a pipeline declares, asked in a box; the one of this process when none is declared.

    Raises InputError when it does not answer.
    """
    if not declared:
        lines = (line.split("==") for line in installed_distributions().splitlines())
        installed = {name: version for name, version, *_ in lines}
        return Interpreter(path=Path(sys.executable), readable=(), installed=installed, digest=environment_digest())
    # Not resolved: a virtual environment's interpreter is a link, and where the link lies makes it that environment's.
    path = Path(declared) if Path(declared).is_absolute() else folder.resolve() / declared
    readable = [path.parent.parent, path.resolve().parent.parent]
    told = _ask(path, readable)
    installed = {_normal(name): version for name, version in told["installed"] if name}
    facts = {key: told[key] for key in ("python", "implementation", "installed")}
    facts |= {key: serving_environment()[key] for key in ("machine", "vector", "libc")}
    return Interpreter(
        path=path,
        readable=tuple(dict.fromkeys([*readable, Path(told["base"])])),
        installed=installed,
        digest=digest(canonical_json(facts)),
    )


def _ask(path: Path, readable: list[Path]) -> dict[str, Any]:
    if path.exists():
        shown = [folder for folder in readable if folder != Path("/")]
        answer = run_boxed([str(path), "-I", "-c", _ASK], readable=shown, limits=Limits(wall_s=60.0))
        try:
            found = json.loads(answer.stdout)
        except ValueError:
            found = None
        if answer.ok and isinstance(found, dict) and isinstance(found.get("installed"), list):
            return found
    raise InputError(
        "the interpreter of the pipeline gives no answer",
        got=path,
        expected="a Python that runs",
        code="pipeline_python",
        mend="make the environment, or correct `pipeline.python` in pilotage.yaml",
    )


def check_lock(content: str, interpreter: Interpreter) -> None:
    """Raise InputError, naming each package that is not installed as the lock pins it."""
    matches = (_PIN.match(line.strip()) for line in content.splitlines())
    pins = {_normal(found[1]): found[2] for found in matches if found}
    wrong = {name: version for name, version in pins.items() if interpreter.installed.get(name) != version}
    if wrong or not pins:
        faults: list[dict[str, object]] = [
            {
                "path": name,
                "code": "pipeline_environment",
                "message": f"{interpreter.installed.get(name) or 'not'} installed",
                "expected": version,
            }
            for name, version in sorted(wrong.items())[:_MOST_FAULTS]
        ]
        raise InputError(
            "the environment of the pipeline is not what its lock says" if pins else "the lock pins nothing",
            got=f"{len(wrong)} of {len(pins)} packages differ",
            expected="each package as it is pinned",
            code="pipeline_environment",
            mend=f"install the lock into {interpreter.path}, or renew it",
            faults=faults,
        )


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
