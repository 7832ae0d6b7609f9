"""Which settings a pilot reads from its environment, and what the probe gives each: a decoy, an address, a number.

Read from the syntax tree; nothing runs. A setting that has a default keeps it, unless it is a secret.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from pilotage.assess.folder import Folder
from pilotage.assess.signals.python import literal, scripts
from pilotage.assess.source import Module, dotted

__all__ = ["Settings", "settings_of"]

_SECRET = re.compile(r"(?i)(key|token|secret|passw|pwd|credential)")
_NO_SECRET = re.compile(
    r"(?i)(max|num|limit|count|budget|length|per)_?tokens?|tokens(_|$)|key_?(word|id$|name|file|path)"
)
_ADDRESS = re.compile(r"(?i)(url|uri|base|endpoint|host)$")
_DATABASE = re.compile(r"(?i)database|db_|sql")
_NUMBER = re.compile(
    r"(?i)max|min|limit|size|timeout|temperature|top_|num|count|dim|ttl|days|seconds|retries|_k$|tokens"
)
_PATH = re.compile(r"(?i)(path|dir|folder|file)$")
_VERSION = re.compile(r"(?i)version$")
_PROVIDERS = ("OPENAI", "AZURE_OPENAI", "ANTHROPIC", "GROQ", "MISTRAL", "TOGETHER", "DEEPSEEK", "OPENROUTER")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{1,60}$")
_HEADER = re.compile(r"(?i)[a-z]+(-[a-z]+)*-?(key|token|auth\w*)$")
_MOST = 60


@dataclass(frozen=True, kw_only=True)
class Settings:
    """`env` is what is set, where `{twin}` stands for the twin's address; `decoys` are the secrets of it, by name.

    `headers` are names under which callers may have to show a key.
    """

    env: dict[str, str] = field(default_factory=dict)
    decoys: dict[str, str] = field(default_factory=dict)
    headers: list[str] = field(default_factory=list)


def settings_of(folder: Folder) -> Settings:
    """The settings of a pilot that asks a language model."""
    read = dict(sorted(_read(folder)))
    names = [*(f"{each}_API_KEY" for each in _PROVIDERS), *read][:_MOST]
    decoys = {name: _decoy(folder, name) for name in names if _secret(name)}
    env = {name: value for name, needed in read.items() if needed and (value := _value(name))}
    headers = dict.fromkeys(header for module in scripts(folder) for header in _headers(module))
    return Settings(env=env | decoys, decoys=decoys, headers=list(headers)[:5])


def _secret(name: str) -> bool:
    return bool(_SECRET.search(name)) and not _NO_SECRET.search(name)


def _decoy(folder: Folder, name: str) -> str:
    """A secret that opens nothing, the same in every run, and found wherever it turns up."""
    return "sk-decoy" + hashlib.sha256(f"{folder.subject} {name}".encode()).hexdigest()[:32]


def _value(name: str) -> str:
    """What a setting without a default gets; empty where nothing fits."""
    if _DATABASE.search(name):
        return "sqlite:///pilot.db" if _ADDRESS.search(name) else ""
    if _ADDRESS.search(name):
        return "{twin}/v1" if "AZURE" not in name.upper() else "{twin}"
    for pattern, value in ((_VERSION, "2024-06-01"), (_NUMBER, "5"), (_PATH, "")):
        if pattern.search(name):
            return value
    return "8000" if name.upper().endswith("PORT") else "gpt-4o-2024-08-06"


def _read(folder: Folder) -> Iterator[tuple[str, bool]]:
    """(name, whether it has no default) of each setting that the code reads."""
    found: dict[str, bool] = {}
    for module in scripts(folder):
        for name, needed in [*_of_environment(module), *_of_classes(module)]:
            if _NAME.match(name):
                found[name] = found.get(name, False) or needed
    yield from found.items()


def _of_environment(module: Module) -> Iterator[tuple[str, bool]]:
    for node in module.nodes:
        name: object = None
        needed = False
        if isinstance(node, ast.Subscript) and dotted(node.value).endswith("environ"):
            name, needed = literal(node.slice), isinstance(node.ctx, ast.Load)
        elif isinstance(node, ast.Call) and re.search(r"(environ\.get|getenv)$", dotted(node.func)) and node.args:
            name, needed = literal(node.args[0]), len(node.args) == 1 and not node.keywords
        if isinstance(name, str):
            yield name, needed


def _of_classes(module: Module) -> Iterator[tuple[str, bool]]:
    """Fields of a class of settings (pydantic)."""
    for node in module.nodes:
        if isinstance(node, ast.ClassDef) and any(dotted(base).endswith("BaseSettings") for base in node.bases):
            for each in node.body:
                if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name):
                    yield each.target.id.upper(), each.value is None


def _headers(module: Module) -> Iterator[str]:
    for node in module.nodes:
        value = literal(node)
        if isinstance(value, str) and "-" in value and _HEADER.fullmatch(value):
            yield value
        elif isinstance(node, ast.arg) and _HEADER.fullmatch(node.arg.replace("_", "-")) and "_" in node.arg:
            yield node.arg.replace("_", "-")
