"""The dynamic probes: the pilot's model and data are opened in a box, and what they do there is evidence."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from pilotage.assess.folder import Folder
from pilotage.sandbox.box import run_boxed
from pilotage.sandbox.model import BoxResult, Limits

__all__ = ["Probed", "guess_target", "probe"]

_LIMITS = Limits(cpu_s=90, wall_s=120.0, memory_mb=4096, output_mb=16, file_mb=64)
_NEEDED = ("sklearn", "pandas", "joblib")


@dataclass(frozen=True, kw_only=True)
class Probed:
    """`steps` are {criterion, level, summary, figures}; `skipped` says what stayed unknown, and why."""

    steps: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    isolation: dict[str, Any] = field(default_factory=dict)


def probe(folder: Folder, limits: Limits = _LIMITS) -> Probed:
    """Load the model, predict on its own sample, score it on held-out rows, in a box. Never raises for what it does."""
    absent = [name for name in _NEEDED if find_spec(name) is None]
    if absent:
        return Probed(skipped=[f"not probed: {', '.join(absent)} not installed; pip install 'pilotage[sklearn]'"])
    if not folder.artefact and not folder.table:
        return Probed(skipped=["not probed: neither a model nor data in the folder"])
    request = json.dumps(_request(folder)).encode()
    result = run_boxed("pilotage.assess.boxed_probe", readable=[folder.root], input=request, limits=limits)
    return _read(result)


def _request(folder: Folder) -> dict[str, Any]:
    pilot = folder.declared.pilot if folder.declared else None
    fixed: dict[str, Any] = {
        "root": str(folder.root),
        "artefact": str(folder.root / folder.artefact) if folder.artefact else "",
        "data": str(folder.root / folder.table) if folder.table else "",
        "declared": pilot is not None,
        "threshold": folder.declared.answer.threshold if folder.declared else 0.5,
    }
    if pilot is None:
        unknown: dict[str, Any] = {name: [] for name in ("ignore", "categorical", "slices", "protected")}
        guessed = {"target": guess_target(folder), "positive": "1", "subject": "", "holdout": 0.25, "seed": 2026}
        return fixed | unknown | guessed
    names = ("target", "positive", "subject", "ignore", "categorical", "slices", "protected", "holdout", "seed")
    return fixed | {name: getattr(pilot, name) for name in names}


def guess_target(folder: Folder) -> str:
    """The column that the pilot's code assigns to `y`, `target` or `labels`; empty when it does not say."""
    for name in _targets(folder):
        if name in folder.columns:
            return name
    return ""


def _targets(folder: Folder) -> Iterator[str]:
    for module in folder.modules:
        for node in ast.walk(module.tree):
            if not (isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name)):
                continue
            if node.targets[0].id.lower() in ("y", "target", "label", "labels", "outcome"):
                for part in ast.walk(node.value):
                    if isinstance(part, ast.Attribute):
                        yield part.attr
                    elif isinstance(part, ast.Constant) and isinstance(part.value, str):
                        yield part.value


def _read(result: BoxResult) -> Probed:
    steps: list[dict[str, Any]] = []
    skipped: list[str] = []
    done = ""
    for line in result.stdout.splitlines():
        try:
            entry = json.loads(line, parse_constant=lambda _: None)
        except ValueError:
            continue
        if "criterion" in entry:
            steps.append(entry)
        elif "unknown" in entry:
            skipped.append(f"not probed: {entry['unknown']}: {entry['why']}")
        done = entry.get("done", done)
    if not result.ok:
        why = result.killed_reason or f"status {result.returncode}"
        last = result.stderr.decode(errors="replace").strip().splitlines()[-1:]
        skipped.append(f"the probe ended early after {done or 'its start'} ({why}) {' '.join(last)}".strip())
    return Probed(steps=steps, skipped=skipped, isolation=result.isolation.as_dict())
