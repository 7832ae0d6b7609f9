"""`pilotage.yaml` to an AI system: every fault of the file at once, each with its path and mend."""

from __future__ import annotations

import re
import typing
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from pilotage.errors import NotFound
from pilotage.kernel.documents import Fault, fault, read_document, read_struct, refuse
from pilotage.ledger.retention import retention_floors
from pilotage.systems.evaluating import evaluation_faults
from pilotage.systems.model import AISystem
from pilotage.systems.papers import paper_faults
from pilotage.systems.pipeline import pipeline_faults
from pilotage.systems.placeholders import UNNAMED, is_placeholder
from pilotage.systems.serving import serving_faults

__all__ = ["MOST_BACKGROUND", "load_system", "parse_system"]

MOST_BACKGROUND = 10_000
_FEWEST_BACKGROUND = 20
_MOST_REMOTE_BACKGROUND = 500
_MOST_CALLS = 1_000_000
_ID = re.compile(r"[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?")
_TEXTS = ("id", "name", "purpose", "owners.business", "owners.model", "owners.operations", "owners.risk")
_FILES = ("pilot.artefact", "pilot.data", "contract", "serving.rules")


def load_system(path: Path) -> AISystem:
    """The system that a file declares. Raises NotFound, or InputError with every fault, missing files included."""
    try:
        content = path.read_bytes()
    except (FileNotFoundError, IsADirectoryError):
        raise NotFound("no such file", got=path, expected="a pilotage.yaml", mend="name the file itself") from None
    system = parse_system(content, name=str(path))
    faults = [
        fault(field, f"there is no file {value}", got=value, mend="correct the path, relative to pilotage.yaml")
        for field in _FILES
        if (value := _at(system, field)) and not (path.parent / value).is_file()
    ]
    refuse(str(path), faults)
    return system


def parse_system(content: bytes, *, name: str = "pilotage.yaml", draft: bool = False) -> AISystem:
    """The system in the bytes of a `pilotage.yaml`, without a look at other files. Raises InputError, all faults.

    Only a `draft` may have placeholders where purpose and owners are to be.
    """
    document = read_document(content, name)
    faults: list[Fault] = []
    system = read_struct(AISystem, document, "", faults)
    if isinstance(system, AISystem):
        faults += _meaning(system)
        faults += [] if draft else _open(system)
    refuse(name, faults)
    return typing.cast(AISystem, system)


def _meaning(system: AISystem) -> list[Fault]:
    """What types cannot say."""
    pilot, answer = system.pilot, system.answer
    faults = [fault(path, "is empty", mend="fill it in") for path in _TEXTS if not str(_at(system, path)).strip()]
    if not _ID.fullmatch(system.id):
        faults.append(
            fault("id", "is not usable in addresses", got=system.id, mend="lower-case letters, digits, hyphens; ≤ 64")
        )
    faults += [_outside(path, value) for path in _FILES if (value := _at(system, path)) and _leaves(value)]
    for path, inside in (
        ("pilot.holdout", 0 < pilot.holdout < 1),
        ("answer.threshold", 0 <= answer.threshold <= 1),
        ("answer.tolerance", 0 <= answer.tolerance < 1),
        ("explanation.correlated", 0 < system.explanation.correlated <= 1),
        ("explanation.proxy", 0 < system.explanation.proxy <= 1),
    ):
        if not inside:
            faults.append(fault(path, "is out of range", got=_at(system, path), mend="a number between 0 and 1"))
    faults += [
        fault(f"{block}.{name}", "is out of range", got=limit, mend="a number between 0 and 1")
        for block, limits in (("fairness", system.fairness), ("messy", system.messy))
        for name, limit in msgspec.structs.asdict(limits).items()
        if limit is not None and not 0 <= limit <= 1
    ]
    known = retention_floors()
    faults += [
        fault(f"retention.regimes[{i}]", f"{name} is no known regime", got=name, mend=f"one of: {', '.join(known)}")
        for i, name in enumerate(system.retention.regimes)
        if name not in known
    ]
    if min(system.retention.payloads.months, system.retention.payloads.days) < 0:
        faults.append(fault("retention.payloads", "is negative", mend="write {months: 24} or {days: 400}"))
    if answer.adverse == answer.favourable:
        faults.append(
            fault("answer.favourable", "is the adverse label too", got=answer.adverse, mend="name two labels")
        )
    faults += [
        fault(f"data_use[{i}]", "is no purpose", got=name, mend="small letters, digits, hyphens; once each")
        for i, name in enumerate(system.data_use)
        if not _ID.fullmatch(name) or name in system.data_use[:i]
    ]
    rows = system.explanation.background
    if rows and not _FEWEST_BACKGROUND <= rows <= MOST_BACKGROUND:
        mend = f"{_FEWEST_BACKGROUND} to {MOST_BACKGROUND} rows, or 0 to let the build choose"
        faults.append(fault("explanation.background", "is out of range", got=rows, mend=mend))
    faults += [fault(path, what, got=got, mend=mend) for path, what, got, mend in serving_faults(system.serving)]
    faults += [
        fault(path, what, got=got, mend=mend) for path, what, got, mend in paper_faults(system.paper, system.packages)
    ]
    told = [*serving_faults(system.serving), *pipeline_faults(system.pipeline)]
    faults += [fault(path, what, got=got, mend=mend) for path, what, got, mend in told]
    faults += evaluation_faults(system.evaluation)
    return faults + _model(system) + _columns(system) + _protected(system)


def _open(system: AISystem) -> list[Fault]:
    """A placeholder is nobody, no purpose, and no column."""
    target = system.pilot.target
    column = [fault("pilot.target", "is not filled in yet", got=target, mend="name it")] if target == UNNAMED else []
    return column + [
        fault(path, "is not filled in yet", got=text, mend="name who is accountable" if "." in path else "state it")
        for path in _TEXTS
        if path != "id" and (text := str(_at(system, path))).strip() and is_placeholder(text)
    ]


def _model(system: AISystem) -> list[Fault]:
    """Either a file, or an address."""
    artefact, remote = system.pilot.artefact, system.pilot.remote
    if bool(artefact) == bool(remote.url):
        mend = "name the model's file as `pilot.artefact`, or where it answers as `pilot.remote`, not both"
        return [fault("pilot", "names no model" if not artefact else "names two models", mend=mend)]
    faults = []
    if remote.url:
        for name, low in (("calls", 100), ("explain", 0)):
            if not low <= (value := getattr(remote, name)) <= _MOST_CALLS:
                mend = f"a whole number from {low} to {_MOST_CALLS}"
                faults.append(fault(f"pilot.remote.{name}", "is out of range", got=value, mend=mend))
        if system.explanation.background > _MOST_REMOTE_BACKGROUND:
            mend = f"at most {_MOST_REMOTE_BACKGROUND} rows, each of which costs two calls a feature"
            faults.append(fault("explanation.background", "is too much for a remote model", mend=mend))
    return faults


def _protected(system: AISystem) -> list[Fault]:
    """What may and may not be an input."""
    pilot, faults = system.pilot, []
    for name, why in pilot.protected_inputs.items():
        path = f"pilot.protected_inputs.{name}"
        if name in pilot.prohibited:
            faults.append(fault(path, "is prohibited: nothing can allow it", mend="remove it here or there"))
        if not why.strip():
            faults.append(fault(path, "gives no reason", mend="say why the model may take it, and who decided that"))
    for name in pilot.prohibited:
        if name in (pilot.target, pilot.subject):
            faults.append(fault("pilot.prohibited", "names the target or the subject", got=name, mend="leave it out"))
    return faults


def _columns(system: AISystem) -> list[Fault]:
    pilot, faults = system.pilot, []
    several = ("ignore", "personal", "protected", "prohibited", "slices", "categorical")
    lists = {name: getattr(pilot, name) for name in several}
    for path, names in {
        **{f"pilot.{k}": v for k, v in lists.items()},
        "reasons": [r.code for r in system.reasons],
    }.items():
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            faults.append(fault(path, "names the same twice", got=", ".join(twice), mend="name each once"))
    if pilot.target == pilot.subject:
        faults.append(fault("pilot.subject", "is the target too", got=pilot.target, mend="name two columns"))
    reserved = {pilot.target: "the target", pilot.subject: "the subject"} | dict.fromkeys(pilot.ignore, "ignored")
    for i, reason in enumerate(system.reasons):
        if not reason.features:
            faults.append(fault(f"reasons[{i}].features", "is empty", mend="name the features it explains"))
        for feature in reason.features:
            if feature in reserved:
                what = f"{feature} is {reserved[feature]}, no feature"
                faults.append(fault(f"reasons[{i}].features", what, got=feature, mend="leave it out"))
            elif feature in (*pilot.protected, *pilot.prohibited):
                what = f"{feature} is protected and can be no reason"
                faults.append(fault(f"reasons[{i}].features", what, got=feature, mend="leave it out"))
    return faults


def _leaves(value: str) -> bool:
    return PurePosixPath(value).is_absolute() or ".." in PurePosixPath(value).parts


def _outside(path: str, value: str) -> Fault:
    return fault(path, "leaves the folder of pilotage.yaml", got=value, mend="move the file into the folder")


def _at(system: AISystem, path: str) -> Any:
    value: Any = system
    for part in path.split("."):
        value = getattr(value, part)
    return value
