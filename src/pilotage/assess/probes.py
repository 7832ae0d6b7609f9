"""The dynamic probes: the pilot's model, data, tests and service run in boxes; what they do there is evidence."""

from __future__ import annotations

import ast
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from typing import Any

from pilotage.assess.folder import Folder
from pilotage.assess.probing.calling import calls, commands, debug_place, exposed, health_paths, places, serves
from pilotage.assess.probing.drafting import DRAFT_LIMITS, contract_text, draft_contract
from pilotage.assess.probing.environment import Environment, environment_for, ours
from pilotage.assess.probing.llm.asking import OF_LLM, asks_model, attack_request
from pilotage.assess.probing.llm.settings import settings_of
from pilotage.assess.probing.told import Step, Told, read_told
from pilotage.errors import Unavailable
from pilotage.sandbox.box import run_boxed
from pilotage.sandbox.model import BoxResult, Limits

__all__ = ["DEFAULT_RATE", "PROBE_TIME", "Probed", "guess_target", "has_tests", "probe"]

PROBE_TIME = 420.0
"""Seconds that all probes of one pilot may take, installing its packages included."""

DEFAULT_RATE = 10.0
"""Requests a second that a service is loaded with where nobody stated a target (a default of ours)."""

_LIMIT_MS = 500.0
_MODEL = Limits(cpu_s=90, wall_s=120.0, memory_mb=4096, total_mb=6144, output_mb=16, file_mb=64)
_TESTS = Limits(cpu_s=90, wall_s=120.0, memory_mb=3072, total_mb=6144, output_mb=16, file_mb=128, files=512)
_SERVICE = Limits(cpu_s=90, wall_s=120.0, memory_mb=3072, total_mb=6144, output_mb=16, file_mb=128, files=512)
_LABELS = ("y", "target", "label", "labels", "outcome")
_NEEDED = ("sklearn", "pandas", "joblib")
_LEAST_S, _INSTALL_S, _BOOT_S, _LOAD_S, _FASTEST = 5.0, 240.0, 40.0, 4.0, 200.0

_OF_MODEL = {
    *("data.present", "data.quality", "data.volume", "data.leakage", "model.loads", "model.predicts", "model.held_out"),
    *("model.beats_baseline", "model.simpler", "model.calibrated", "model.slices", "model.messy_input"),
    *("governance.bias", "governance.protected_inputs", "business.operating_point"),
}
_OF_SERVICE = {
    *("infrastructure.starts", "infrastructure.answers", "infrastructure.latency", "infrastructure.container"),
    *("infrastructure.server", "data.validated"),
}


@dataclass(frozen=True, kw_only=True)
class Probed:
    """`steps` are results by criterion; `skipped` says what stayed unknown, and why.

    `isolation` is what the boxes had in force, `environment` a sentence about whose packages they ran with. `draft` is
    the contract that the data suggests, as a file's text.
    """

    steps: list[Step] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    isolation: dict[str, Any] = field(default_factory=dict)
    environment: str = ""
    draft: str = ""


def probe(
    folder: Folder,
    limits: Limits = _MODEL,
    *,
    install: bool = False,
    rate: float | None = None,
    seconds: float = PROBE_TIME,
    progress: Callable[[str, float], None] = lambda _what, _share: None,
) -> Probed:
    """Run all of a pilot that can be run, each part in a box, within `seconds`. Never raises for what it does.

    `install` permits fetching the pilot's own packages; without it, they are used where they were fetched before.
    `rate` is the target in requests a second.
    """
    until = time.monotonic() + seconds
    parts: list[tuple[str, Callable[[Environment, float], Told]]] = []
    isolation: dict[str, Any] = {}
    if folder.artefact or folder.table:
        parts.append(("running the model", lambda own, left: _model(folder, own, _within(limits, left), isolation)))
    if folder.table:
        parts.append(("drafting its contract", lambda _own, left: _contract(folder, left, isolation)))
    if has_tests(folder):
        parts.append(("running its tests", lambda own, left: _tests(folder, own, _within(_TESTS, left), isolation)))
    if serves(folder):
        parts.append(
            ("starting its service", lambda own, left: _service(folder, own, _within(_SERVICE, left), isolation, rate))
        )
    if asks_model(folder):
        parts.append(
            (
                "attacking what it does with a model",
                lambda own, left: _attacked(folder, own, _within(_SERVICE, left), isolation),
            )
        )
    if not parts:
        return Probed(skipped=["not probed: neither a model, data, tests nor a service in the folder"])
    progress("looking at what it needs", 0.0)
    environment = environment_for(
        folder,
        install=install,
        seconds=min(_INSTALL_S, max(_LEAST_S, seconds / 2)),
        tell=lambda what: progress(what, 0.05),
    )
    steps, skipped = list(_installed(environment)), list(_told_of(environment))
    draft = ""
    for number, (what, part) in enumerate(parts):
        left = until - time.monotonic()
        if left < _LEAST_S and number:
            skipped.append(f"not probed: {what}: the time for probes ({seconds:.0f} s) was used up")
            continue
        progress(what, 0.3 + 0.7 * number / len(parts))
        told = part(environment, left)
        steps += told.steps
        skipped += [each for each in told.skipped if each not in skipped]
        draft = contract_text(told.draft, folder.table) if told.draft else draft
    return Probed(steps=steps, skipped=skipped, isolation=isolation, environment=environment.said, draft=draft)


def _within(limits: Limits, left: float) -> Limits:
    return replace(limits, wall_s=min(limits.wall_s, max(1.0, left)))


# ---- its environment


def _installed(environment: Environment) -> Iterator[Step]:
    if environment.own:
        figures = {"packages": environment.packages, "versions": environment.stamp}
        yield Step(criterion="infrastructure.installs", level=1, summary=environment.said, figures=figures)


def _told_of(environment: Environment) -> Iterator[str]:
    if environment.why and not environment.why.startswith("it names no packages"):
        yield f"not probed: its own environment: {environment.why}"


def _run(
    environment: Environment,
    module: str,
    folder: Folder,
    request: dict[str, Any],
    limits: Limits,
    isolation: dict[str, Any],
    *,
    loopback: bool = False,
) -> BoxResult:
    """Run one of our modules in a box, by the environment's interpreter."""
    result = run_boxed(
        [*environment.module, module],
        readable=[folder.root, *environment.readable],
        input=json.dumps(request).encode(),
        limits=limits,
        loopback=loopback,
        env=environment.env,
    )
    isolation.update(result.isolation.as_dict())
    return result


# ---- its model and data


def _model(folder: Folder, environment: Environment, limits: Limits, isolation: dict[str, Any]) -> Told:
    request = _model_request(folder)
    if environment.own:
        result = _run(environment, "pilotage.assess.boxed_probe", folder, request, limits, isolation)
        told = read_told(result, folder, _OF_MODEL, "the probe of the model")
        if told.done or result.killed_reason:
            return told
        told = _model_in_ours(folder, ours(folder), request, limits, isolation)
        last = result.stderr.decode(errors="replace").strip().splitlines()[-1:]
        why = f"not probed: the model with its own packages: {' '.join(last)[:200]}"
        return replace(told, skipped=[why, *told.skipped])
    return _model_in_ours(folder, environment, request, limits, isolation)


def _model_in_ours(
    folder: Folder, environment: Environment, request: dict[str, Any], limits: Limits, isolation: dict[str, Any]
) -> Told:
    """In this installation's own environment, the model only where its libraries agree."""
    absent = [name for name in _NEEDED if find_spec(name) is None]
    if absent:
        return Told(skipped=[f"not probed: {', '.join(absent)} not installed; pip install 'pilotage[sklearn]'"])
    skipped = []
    if environment.differs and request["artefact"]:
        skipped = [f"not probed: the model: {'; '.join(environment.differs)}"]
        request = request | {"artefact": ""}
        if not request["data"]:
            return Told(skipped=skipped)
    result = _run(environment, "pilotage.assess.boxed_probe", folder, request, limits, isolation)
    told = read_told(result, folder, _OF_MODEL, "the probe of the model")
    return replace(told, skipped=[*skipped, *told.skipped])


def _model_request(folder: Folder) -> dict[str, Any]:
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
            if not (isinstance(node, ast.Assign) and len(node.targets) == 1):
                continue
            for target, value in _assigned(node.targets[0], node.value):
                if isinstance(target, ast.Name) and target.id.lower() in _LABELS:
                    for part in ast.walk(value):
                        if isinstance(part, ast.Attribute):
                            yield part.attr
                        elif isinstance(part, ast.Constant) and isinstance(part.value, str):
                            yield part.value


def _assigned(target: ast.expr, value: ast.expr) -> Iterator[tuple[ast.expr, ast.expr]]:
    """Each target with its own value, also of `X, y = frame[names], frame["label"]`."""
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
        yield from zip(target.elts, value.elts, strict=True)
    else:
        yield target, value


# ---- its contract


def _contract(folder: Folder, left: float, isolation: dict[str, Any]) -> Told:
    """In this installation's own environment: the data is read, nothing of the pilot runs."""
    name, target = (folder.declared.id if folder.declared else "pilot"), guess_target(folder)
    held, limits = _own_contract(folder), _within(DRAFT_LIMITS, left)
    try:
        told, box = draft_contract(folder, folder.table, name=name, target=target, held=held, limits=limits)
    except Unavailable as error:
        return Told(skipped=[f"not probed: the draft of its contract: {error.what}"])
    isolation.update(box.as_dict())
    return told


def _own_contract(folder: Folder) -> str:
    """The data contract that the pilot has: the declared one, else one that is named so; empty without."""
    declared = folder.declared.contract if folder.declared else ""
    named = [path for path in folder.files if path.endswith((".odcs.yaml", ".odcs.yml", "datacontract.yaml"))]
    return next((path for path in (declared, *named) if path in folder.files), "")


# ---- its tests


def has_tests(folder: Folder) -> bool:
    """Whether some module of its tests holds a test."""
    return any(
        isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test")
        for module in folder.modules
        if module.is_test
        for node in module.nodes
    )


def _tests(folder: Folder, environment: Environment, limits: Limits, isolation: dict[str, Any]) -> Told:
    if not environment.own and find_spec("pytest") is None:
        return Told(skipped=["not probed: its tests: pytest is not installed here"])
    request = {"root": str(folder.root), "files": list(folder.files), "own": environment.own}
    request["seconds"] = 0.75 * limits.wall_s
    module = "pilotage.assess.probing.boxed_tests"
    result = _run(environment, module, folder, request, limits, isolation, loopback=True)
    return read_told(result, folder, {"infrastructure.tests_pass"}, "the run of its tests")


# ---- its service


def _service(
    folder: Folder, environment: Environment, limits: Limits, isolation: dict[str, Any], rate: float | None
) -> Told:
    request = _starting(folder, environment, limits) | {
        "rate": min(rate or DEFAULT_RATE, _FASTEST),
        "rate_stated": rate is not None and rate <= _FASTEST,
        "load_s": _LOAD_S,
        "limit_ms": _LIMIT_MS,
        "settings": settings_of(folder).env if asks_model(folder) else None,
    }
    module = "pilotage.assess.probing.boxed_service"
    result = _run(environment, module, folder, request, limits, isolation, loopback=True)
    return _without_network(result, "its service") or read_told(result, folder, _OF_SERVICE, "the probe of the service")


def _without_network(result: BoxResult, what: str) -> Told | None:
    """What is told where this machine gives a box no network of its own; else None."""
    if result.isolation.network == "loopback":
        return None
    notes = "; ".join(result.isolation.notes) or "the box could not be entered"
    return Told(skipped=[f"not probed: {what}: this machine gives a box no network of its own ({notes})"])


def _starting(folder: Folder, environment: Environment, limits: Limits) -> dict[str, Any]:
    """How its service is started and called."""
    row = _row(folder)
    target = folder.declared.pilot.target if folder.declared and folder.declared.pilot else guess_target(folder)
    left_out = {target, *((folder.declared.pilot.subject,) if folder.declared and folder.declared.pilot else ())}
    features = [name for name in row if name not in left_out]
    return {
        "root": str(folder.root),
        "files": list(folder.files),
        "own": environment.own,
        "commands": [each.as_dict() for each in commands(folder)],
        "calls": [each.as_dict() for each in calls(folder, row, features)],
        "places": places(folder),
        "debug_at": debug_place(folder),
        "health": health_paths(folder),
        "exposed": exposed(folder),
        "row": row,
        "boot_s": min(_BOOT_S, 0.4 * limits.wall_s),
    }


# ---- what it does with a language model


def _attacked(folder: Folder, environment: Environment, limits: Limits, isolation: dict[str, Any]) -> Told:
    request = _starting(folder, environment, limits) | attack_request(folder, 0.8 * limits.wall_s)
    if not request["commands"]:
        return Told(skipped=["not probed: its language model: neither a service nor a function that takes a text"])
    module = "pilotage.assess.probing.llm.boxed_llm"
    result = _run(environment, module, folder, request, limits, isolation, loopback=True)
    return _without_network(result, "its language model") or read_told(
        result, folder, OF_LLM, "the attack on what it does with a model"
    )


def _row(folder: Folder) -> dict[str, Any]:
    """The first whole row of its data, numbers as numbers."""
    names, rows = folder.columns, folder.sample[1:]
    whole: Sequence[str] = next((row for row in rows if len(row) == len(names) and all(row)), [])
    return {name: _value(text) for name, text in zip(names, whole, strict=False)}


def _value(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
