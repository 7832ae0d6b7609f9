"""Read YAML that people write by hand into structs: strict, bounded, and every fault at once with its path and mend."""

from __future__ import annotations

import typing
from typing import Any

import msgspec
import yaml

from pilotage.errors import InputError

__all__ = ["MAX_BYTES", "Fault", "fault", "read_document", "read_struct", "refuse"]

MAX_BYTES = 262_144

Fault = dict[str, object]


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


def read_document(content: bytes, name: str, start: str = "id: my-system") -> dict[str, Any]:
    """The mapping in YAML bytes, at most 256 KiB. `start` is how such a document begins. Raises InputError."""
    if len(content) > MAX_BYTES:
        raise InputError(f"{name} is too long", got=f"{len(content)} bytes", expected=MAX_BYTES, mend="shorten it")
    try:
        document = yaml.load(content, Loader=_StrictLoader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise InputError(f"{name} is not readable YAML", got=error, mend="correct it at the place named") from error
    if not isinstance(document, dict):
        raise InputError(f"{name} is no mapping", got=type(document).__name__, mend=f"start with `{start}`")
    return document


def read_struct(kind: type[msgspec.Struct], value: Any, path: str, faults: list[Fault]) -> msgspec.Struct | None:
    """One struct from a mapping, its fields converted one by one so that each fault is found."""
    if not isinstance(value, dict):
        faults.append(fault(path, "must be a mapping", got=type(value).__name__, mend="indent its fields below it"))
        return None
    types = typing.get_type_hints(kind)
    known = {field.name: field for field in msgspec.structs.fields(kind)}
    for key in value:
        if key not in known:
            faults.append(fault(_join(path, key), "is no known field", mend=f"use one of: {', '.join(known)}"))
    before, made = len(faults), {}
    for field in known.values():
        if field.name in value:
            made[field.name] = _value(types[field.name], value[field.name], _join(path, field.name), faults)
        elif field.required:
            faults.append(fault(_join(path, field.name), "is missing", mend=f"add `{field.name}:`"))
    return None if len(faults) > before else kind(**made)


def _value(kind: Any, value: Any, path: str, faults: list[Fault]) -> Any:
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return read_struct(kind, value, path, faults)
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
        faults.append(fault(path, str(error), got=value, mend=mend))
        return None


def refuse(name: str, faults: list[Fault]) -> None:
    """Raise InputError when there are faults."""
    if faults:
        count = "a fault" if len(faults) == 1 else f"{len(faults)} faults"
        raise InputError(f"{name} has {count}", mend="correct them all, then run it again", faults=faults)


def fault(path: str, message: str, *, mend: str, got: object = None) -> Fault:
    """One fault of a document; an empty path means the whole of it."""
    told: Fault = {"path": path or ".", "code": "declaration", "message": f"{path or 'the document'}: {message}"}
    return told | ({} if got is None else {"got": got}) | {"mend": mend}


def _join(path: str, name: object) -> str:
    return f"{path}.{name}" if path else str(name)


def _words(kind: Any) -> str:
    if typing.get_origin(kind) is typing.Literal:
        return "one of: " + ", ".join(typing.get_args(kind))
    names = {str: "text", float: "a number", int: "a whole number", bool: "true or false"}
    shapes = {list: "a list", dict: "a mapping of names to text"}
    return names.get(kind, shapes.get(typing.get_origin(kind), str(kind)))
