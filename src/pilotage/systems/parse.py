"""`pilotage.yaml` to an AI system: every fault of the file at once, each with its path and mend."""

from __future__ import annotations

import re
import typing
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
import yaml

from pilotage.errors import InputError, NotFound
from pilotage.ledger.retention import retention_floors
from pilotage.systems.model import AISystem

__all__ = ["MOST_BACKGROUND", "load_system", "parse_system"]

MAX_BYTES = 262_144
MOST_BACKGROUND = 10_000
_FEWEST_BACKGROUND = 20
_ID = re.compile(r"[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?")
_TEXTS = ("id", "name", "purpose", "owners.business", "owners.model", "owners.operations", "owners.risk")
_FILES = ("pilot.artefact", "pilot.data", "contract")

Fault = dict[str, object]


def load_system(path: Path) -> AISystem:
    """The system that a file declares. Raises NotFound, or InputError with every fault, missing files included."""
    try:
        content = path.read_bytes()
    except (FileNotFoundError, IsADirectoryError):
        raise NotFound("no such file", got=path, expected="a pilotage.yaml", mend="name the file itself") from None
    system = parse_system(content, name=str(path))
    faults = [
        _fault(field, f"there is no file {value}", got=value, mend="correct the path, relative to pilotage.yaml")
        for field in _FILES
        if (value := _at(system, field)) and not (path.parent / value).is_file()
    ]
    _refuse(str(path), faults)
    return system


def parse_system(content: bytes, *, name: str = "pilotage.yaml") -> AISystem:
    """The system in the bytes of a `pilotage.yaml`, without a look at other files. Raises InputError, all faults."""
    document = _document(content, name)
    faults: list[Fault] = []
    system = _struct(AISystem, document, "", faults)
    if isinstance(system, AISystem):
        faults += _meaning(system)
    _refuse(name, faults)
    return typing.cast(AISystem, system)


class _StrictLoader(yaml.SafeLoader):
    """YAML without aliases (they can expand without limit) and without a key twice (the first would vanish)."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.constructor.ConstructorError(None, None, "aliases are not allowed here", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.value in seen:
                what = "a key must be plain text, and be there once"
                raise yaml.constructor.ConstructorError(None, None, f"{what}: {key.value}", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _document(content: bytes, name: str) -> dict[str, Any]:
    if len(content) > MAX_BYTES:
        raise InputError(f"{name} is too long", got=f"{len(content)} bytes", expected=MAX_BYTES, mend="shorten it")
    try:
        document = yaml.load(content, Loader=_StrictLoader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise InputError(f"{name} is not readable YAML", got=error, mend="correct it at the place named") from error
    if not isinstance(document, dict):
        raise InputError(f"{name} is no mapping", got=type(document).__name__, mend="start with `id: my-system`")
    return document


def _struct(kind: type[msgspec.Struct], value: Any, path: str, faults: list[Fault]) -> msgspec.Struct | None:
    """One struct from a mapping, its fields converted one by one so that each fault is found."""
    if not isinstance(value, dict):
        faults.append(_fault(path, "must be a mapping", got=type(value).__name__, mend="indent its fields below it"))
        return None
    types = typing.get_type_hints(kind)
    known = {field.name: field for field in msgspec.structs.fields(kind)}
    for key in value:
        if key not in known:
            faults.append(_fault(_join(path, key), "is no known field", mend=f"use one of: {', '.join(known)}"))
    before, made = len(faults), {}
    for field in known.values():
        if field.name in value:
            made[field.name] = _value(types[field.name], value[field.name], _join(path, field.name), faults)
        elif field.required:
            faults.append(_fault(_join(path, field.name), "is missing", mend=f"add `{field.name}:`"))
    return None if len(faults) > before else kind(**made)


def _value(kind: Any, value: Any, path: str, faults: list[Fault]) -> Any:
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return _struct(kind, value, path, faults)
    if typing.get_origin(kind) is list and isinstance(value, list):
        item = typing.get_args(kind)[0]
        return [_value(item, entry, f"{path}[{i}]", faults) for i, entry in enumerate(value)]
    if kind is str and isinstance(value, int) and not isinstance(value, bool):
        return str(value)  # `positive: 1` is what people write
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        quote = kind is str and not isinstance(value, dict | list)
        mend = "put it in quotes" if quote else f"write {_words(kind)}"
        faults.append(_fault(path, str(error), got=value, mend=mend))
        return None


def _meaning(system: AISystem) -> list[Fault]:
    """What types cannot say."""
    pilot, answer = system.pilot, system.answer
    faults = [_fault(path, "is empty", mend="fill it in") for path in _TEXTS if not str(_at(system, path)).strip()]
    if not _ID.fullmatch(system.id):
        faults.append(
            _fault("id", "is not usable in addresses", got=system.id, mend="lower-case letters, digits, hyphens; ≤ 64")
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
            faults.append(_fault(path, "is out of range", got=_at(system, path), mend="a number between 0 and 1"))
    known = retention_floors()
    faults += [
        _fault(f"retention.regimes[{i}]", f"{name} is no known regime", got=name, mend=f"one of: {', '.join(known)}")
        for i, name in enumerate(system.retention.regimes)
        if name not in known
    ]
    if min(system.retention.payloads.months, system.retention.payloads.days) < 0:
        faults.append(_fault("retention.payloads", "is negative", mend="write {months: 24} or {days: 400}"))
    if answer.adverse == answer.favourable:
        faults.append(
            _fault("answer.favourable", "is the adverse label too", got=answer.adverse, mend="name two labels")
        )
    rows = system.explanation.background
    if rows and not _FEWEST_BACKGROUND <= rows <= MOST_BACKGROUND:
        mend = f"{_FEWEST_BACKGROUND} to {MOST_BACKGROUND} rows, or 0 to let the build choose"
        faults.append(_fault("explanation.background", "is out of range", got=rows, mend=mend))
    return faults + _columns(system) + _protected(system)


def _protected(system: AISystem) -> list[Fault]:
    """What may and may not be an input."""
    pilot, faults = system.pilot, []
    for name, why in pilot.protected_inputs.items():
        path = f"pilot.protected_inputs.{name}"
        if name in pilot.prohibited:
            faults.append(_fault(path, "is prohibited: nothing can allow it", mend="remove it here or there"))
        if not why.strip():
            faults.append(_fault(path, "gives no reason", mend="say why the model may take it, and who decided that"))
    for name in pilot.prohibited:
        if name in (pilot.target, pilot.subject):
            faults.append(_fault("pilot.prohibited", "names the target or the subject", got=name, mend="leave it out"))
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
            faults.append(_fault(path, "names the same twice", got=", ".join(twice), mend="name each once"))
    if pilot.target == pilot.subject:
        faults.append(_fault("pilot.subject", "is the target too", got=pilot.target, mend="name two columns"))
    reserved = {pilot.target: "the target", pilot.subject: "the subject"} | dict.fromkeys(pilot.ignore, "ignored")
    for i, reason in enumerate(system.reasons):
        if not reason.features:
            faults.append(_fault(f"reasons[{i}].features", "is empty", mend="name the features it explains"))
        for feature in reason.features:
            if feature in reserved:
                what = f"{feature} is {reserved[feature]}, no feature"
                faults.append(_fault(f"reasons[{i}].features", what, got=feature, mend="leave it out"))
            elif feature in (*pilot.protected, *pilot.prohibited):
                what = f"{feature} is protected and can be no reason"
                faults.append(_fault(f"reasons[{i}].features", what, got=feature, mend="leave it out"))
    return faults


def _leaves(value: str) -> bool:
    return PurePosixPath(value).is_absolute() or ".." in PurePosixPath(value).parts


def _outside(path: str, value: str) -> Fault:
    return _fault(path, "leaves the folder of pilotage.yaml", got=value, mend="move the file into the folder")


def _refuse(name: str, faults: list[Fault]) -> None:
    if faults:
        count = "a fault" if len(faults) == 1 else f"{len(faults)} faults"
        raise InputError(f"{name} has {count}", mend="correct them all, then run it again", faults=faults)


def _fault(path: str, message: str, *, mend: str, got: object = None) -> Fault:
    fault: Fault = {"path": path or ".", "code": "declaration", "message": f"{path or 'the document'}: {message}"}
    return fault | ({} if got is None else {"got": got}) | {"mend": mend}


def _at(system: AISystem, path: str) -> Any:
    value: Any = system
    for part in path.split("."):
        value = getattr(value, part)
    return value


def _join(path: str, name: object) -> str:
    return f"{path}.{name}" if path else str(name)


def _words(kind: Any) -> str:
    if typing.get_origin(kind) is typing.Literal:
        return "one of: " + ", ".join(typing.get_args(kind))
    names = {str: "text", float: "a number", int: "a whole number", bool: "true or false"}
    shapes = {list: "a list", dict: "a mapping of names to text"}
    return names.get(kind, shapes.get(typing.get_origin(kind), str(kind)))
