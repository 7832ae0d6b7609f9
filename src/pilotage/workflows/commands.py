"""A step that is a command of the pilot's: boxed, in a fresh folder with only what it declared."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pilotage.kernel.clock import parse_duration
from pilotage.sandbox.box import run_boxed
from pilotage.sandbox.model import BoxResult, Limits
from pilotage.storage.objects import Objects
from pilotage.systems.pipeline import Step
from pilotage.workflows.environment import Interpreter
from pilotage.workflows.model import Made

__all__ = ["Ended", "run_command"]

_KEPT = 64 * 1024
_NAMED = 20
_PYTHONS = ("python", "python3")
_HIDDEN = "***"
_SHORTEST = 4


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a step ended: digests of its outputs by path, measurements, what it printed; `error` is empty if well."""

    outputs: dict[str, str]
    facts: dict[str, Any]
    log: bytes
    error: str = ""


def run_command(
    step: Step, made: Made, objects: Objects, interpreter: Interpreter, environ: Mapping[str, str]
) -> Ended:
    """Run it once. `environ` is where values of its `secrets` are. Never raises for what the command does."""
    missing = [name for name in step.secrets if name not in environ]
    if missing:
        said = f"the environment has no {', '.join(missing)}; set it where the pipeline is run"
        return Ended(outputs={}, facts={}, log=b"", error=said)
    with tempfile.TemporaryDirectory(prefix="step-") as name:
        work = Path(name).resolve() / "work"
        work.mkdir()
        for path, digest in made.inputs.items():
            objects.copy_to(digest, work / path, 0o700 if path == step.run[0].removeprefix("./") else 0o600)
        for path in step.outputs:
            # A declared output that is an input too starts as that; its folder is there to write into.
            (work / path).parent.mkdir(parents=True, exist_ok=True)
        result = run_boxed(
            _words(step, interpreter),
            work=work,
            readable=interpreter.readable,
            limits=_limits(step),
            network=step.network,
            env=_variables(step, made, environ),
        )
        log = _log(result, [environ[name] for name in step.secrets])
        outputs, faults = _keep(work, step, objects) if result.ok else ({}, [_failure(step, result)])
        undeclared = _undeclared(work, {*made.inputs, *step.outputs})
    facts = {
        "wall_s": round(result.wall_s, 3),
        "cpu_s": round(result.cpu_s, 3),
        "peak_mb": round(result.peak_mb, 1),
        "isolation": result.isolation.as_dict(),
        "undeclared": undeclared,
    }
    if faults and result.ok and undeclared:
        faults.append(f"it wrote instead: {', '.join(undeclared)}")
    return Ended(outputs=outputs, facts=facts, log=log, error="; ".join(faults))


def _words(step: Step, interpreter: Interpreter) -> list[str]:
    first, *rest = step.run
    return [str(interpreter.path) if first in _PYTHONS else first, *rest]


def _limits(step: Step) -> Limits:
    wall = parse_duration(step.timeout) / 1e6
    return Limits(cpu_s=0, wall_s=wall, memory_mb=step.memory_mb, output_mb=256, file_mb=16_384, files=1024)


def _variables(step: Step, made: Made, environ: Mapping[str, str]) -> dict[str, str]:
    fixed = {
        "PILOTAGE_SEED": str(made.seed),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": str(made.seed),
        "PYTHONPATH": "",
        "PYTHONUNBUFFERED": "1",
        "SOURCE_DATE_EPOCH": str(made.epoch),
    }
    return fixed | step.env | {name: environ[name] for name in step.secrets}


def _log(result: BoxResult, secrets: list[str]) -> bytes:
    """The end of what it printed, without the values of secrets."""
    parts = [result.stdout, result.stderr]
    for secret in sorted((each for each in secrets if len(each) >= _SHORTEST), key=len, reverse=True):
        parts = [part.replace(secret.encode(), _HIDDEN.encode()) for part in parts]
    return b"".join(part[-_KEPT:] for part in parts)


def _failure(step: Step, result: BoxResult) -> str:
    reasons = {
        "wall": f"it took longer than {step.timeout}",
        "memory": f"it took more than {step.memory_mb} MiB of memory",
        "output": "it printed more than 256 MiB",
    }
    if result.killed_reason:
        return reasons.get(result.killed_reason, f"it was ended by {result.killed_reason}")
    hint = " (no such program in the box?)" if result.returncode == 127 else ""
    return f"it ended with status {result.returncode}{hint}"


def _keep(work: Path, step: Step, objects: Objects) -> tuple[dict[str, str], list[str]]:
    """The digests of declared outputs, and what is wrong with them. A link is never followed."""
    kept, faults = {}, []
    for path in sorted(step.outputs):
        found = work / path
        linked = found.is_symlink() or found.parent.resolve() != found.parent
        if linked or not found.exists() or not stat.S_ISREG(found.lstat().st_mode):
            faults.append(f"{path} is no file" if linked or found.exists() else f"it did not write {path}")
        else:
            kept[path] = objects.put_file(found)
    return kept, faults


def _undeclared(work: Path, declared: set[str]) -> list[str]:
    """Files beside those declared, which are not kept: the first twenty, by name."""
    found = []
    for at, folders, names in os.walk(work):
        folders.sort()
        found += [path for name in sorted(names) if (path := os.path.relpath(Path(at) / name, work)) not in declared]
        if len(found) > _NAMED:
            break
    return [path.encode("utf-8", "backslashreplace").decode() for path in found[:_NAMED]]
