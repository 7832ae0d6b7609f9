"""What becomes of each file of a pilot: kept, moved aside, converted, or left behind; and why."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Literal

import msgspec

from pilotage.assess.folder import ARTEFACTS, TABLES, Folder
from pilotage.assess.model import Finding
from pilotage.assess.reading import decoded
from pilotage.assess.signals.personal import columns_of
from pilotage.assess.signals.secrets import without_secrets
from pilotage.assess.source import Module
from pilotage.contracts.personal import looks_personal
from pilotage.scaffold.converting import as_script
from pilotage.scaffold.entries import Training, personal_paths, servers
from pilotage.scaffold.model import Files

__all__ = ["ASIDE", "Chosen", "Fate", "choose"]

ASIDE = "before"
"""The folder of what the new system does not use: to be read, and deleted in the end. Nothing takes it for code."""

MOST_FILE, MOST_ALL, _MOST_TEXT = 64 << 20, 256 << 20, 1 << 20
_DATA = (
    *TABLES,
    ".json",
    ".db",
    ".sqlite",
    ".sqlite3",
    ".ndjson",
    ".feather",
    ".arrow",
    ".xls",
    ".dta",
    ".sav",
    ".npz",
)
_ENDINGS = (".md", ".txt", ".rst", ".yaml", ".yml", ".toml", ".cfg", ".ini", ".sql", ".sh", ".json", ".typed", ".j2")
_ASIDE = re.compile(
    r"(?i)(^|/)(dockerfile[^/]*|containerfile[^/]*|docker-compose[^/]*|makefile|procfile|jenkinsfile|readme[^/]*|"
    r"requirements[^/]*\.(txt|in)|pyproject\.toml|setup\.(py|cfg)|environment\.ya?ml|pipfile(\.lock)?|poetry\.lock|uv\.lock|"
    r"conftest\.py|tox\.ini|noxfile\.py)$"
)
_ADDRESS, _FEW = re.compile(r"[\w.+-]{1,64}@[\w-]{1,64}(?:\.[A-Za-z]{2,10})+"), 3
_OURS = {"roadmap.json", "scaffold.json", "migration.json"}


class Fate(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a file: `to` is its new path, empty where it was left out."""

    file: str
    fate: Literal["kept", "moved", "converted", "left out"]
    why: str
    to: str = ""


@dataclass(kw_only=True)
class Chosen:
    """Every file's fate, in the order of their paths, and the contents of those that come along."""

    fates: list[Fate] = field(default_factory=list)
    files: Files = field(default_factory=dict)


def choose(
    folder: Folder, found: Mapping[str, Sequence[Finding]], entry: Training | None, ours: Sequence[str]
) -> Chosen:
    """Decide on every file of the pilot. `found` are its findings by criterion, `ours` the paths that Pilotage writes.

    Nothing with a secret in it comes along, and no data with a column that looks or is declared personal.
    """
    return _Choosing(folder=folder, found=found, entry=entry, ours={*ours}).all()


@dataclass(kw_only=True)
class _Choosing:
    folder: Folder
    found: Mapping[str, Sequence[Finding]]
    entry: Training | None
    ours: set[str]

    def __post_init__(self) -> None:
        self.modules = {module.path: module for module in self.folder.modules}
        wanted = {root for m in self.folder.modules if not m.is_test for root in _imported(m)}
        self.servers = {m.path for m in servers(self.folder) if PurePosixPath(m.path).stem not in wanted}
        stems = {PurePosixPath(path).stem for path in self.servers}
        self.tests = {m.path for m in self.folder.modules if m.is_test and _imported(m) & stems}
        self.secret = {each.file: each for each in self.found.get("governance.secrets", ())}
        declared = self.folder.declared
        self.personal = {*declared.pilot.personal, declared.pilot.subject} - {""} if declared else set()
        self.room = MOST_ALL
        self.chosen = Chosen()

    def all(self) -> Chosen:
        for path in self.folder.files:
            content, fate = self._declared() if path == "pilotage.yaml" else self._one(path)
            if path == fate.to == "pilotage.yaml":
                self.chosen.fates.append(fate)
                continue
            if fate.fate != "moved" and (fate.to in self.ours or fate.to in self.chosen.files):
                fate = self._aside(path, "the new system has its own file there")
            if fate.to:
                self.room -= len(content)
                self.chosen.files[fate.to] = content
            self.chosen.fates.append(fate)
        return self.chosen

    def _declared(self) -> tuple[bytes, Fate]:
        if self.folder.declared is None:
            content = self.folder.content("pilotage.yaml", _MOST_TEXT)
            return content, self._aside("pilotage.yaml", "it has faults, so a new one was drafted")
        why = "kept word for word, with what it lacks below it"
        return b"", Fate(file="pilotage.yaml", fate="converted", why=why, to="pilotage.yaml")

    def _at(self, path: str) -> str:
        return self.entry.at if self.entry and self.entry.module.path == path else "."

    def _one(self, path: str) -> tuple[bytes, Fate]:
        """What comes along of a file, and its fate."""
        if why := self._unwanted(path):
            return b"", _left(path, why)
        module = self.modules.get(path)
        if path.endswith(".ipynb"):
            return self._notebook(path, module)
        content = self.folder.content(path, MOST_FILE)
        if path in self.secret:
            return self._with_secret(path, content)
        lower = path.lower()
        if self._is_input(path):
            return content, Fate(file=path, fate="kept", why="the model: no code was found that makes it", to=path)
        if lower.endswith(_DATA) and not (lower.endswith(".json") and self._is_settings(path)):
            return content, self._data(path)
        if path in self.servers or path in self.tests or _ASIDE.search(path):
            return content, self._aside(path, self._why_aside(path)) if content else _left(path, "it is empty")
        if path.endswith(".py"):
            return self._script(path, module, content)
        if not content and PurePosixPath(path).suffix:
            return content, Fate(file=path, fate="kept", why="empty", to=path)
        text = decoded(content, python=False) if len(content) <= _MOST_TEXT else None
        named = PurePosixPath(path).name.lower().startswith(("licen", "notice", "copying", "codeowners"))
        if text is not None and (shown := len({*_ADDRESS.findall(text)})) >= _FEW:
            return b"", _left(path, f"it holds {shown} e-mail addresses; bring it by hand if you may")
        if text is not None and (lower.endswith(_ENDINGS) or named):
            return content, Fate(file=path, fate="kept", why="text beside the code", to=path)
        return b"", _left(path, "neither code, data nor text that is needed; bring it by hand if it is")

    def _unwanted(self, path: str) -> str:
        parts, size = PurePosixPath(path).parts, self.folder.files[path]
        if not path.isprintable() or "\\" in path:
            return "its name cannot be typed safely; rename it first"
        if ".pilotage" in parts:
            return "state and keys of an installation"
        if path in _OURS:
            return "written anew"
        if any(part.startswith(".") for part in parts):
            return "settings of a tool, or of one person's machine; bring by hand what the team needs"
        if path.lower().endswith(tuple(ARTEFACTS)) and not self._is_input(path):
            return "an artefact: the pipeline makes it, from code and data that are on record"
        if size > MOST_FILE or size > self.room:
            return (
                f"larger than what is copied ({MOST_FILE >> 20} MiB a file, {MOST_ALL >> 20} in all); bring it by hand"
            )
        return ""

    def _is_input(self, path: str) -> bool:
        """Whether the model has to come along: there is no code that makes it, and no secret in it."""
        return self.entry is None and path == self.folder.artefact and path not in self.secret

    def _notebook(self, path: str, module: Module | None) -> tuple[bytes, Fate]:
        if module is None:
            return b"", _left(path, "it cannot be read as a notebook; convert it by hand, without its outputs")
        marks = [each for several in self.found.values() for each in several if each.file == path]
        ordered = sorted(marks, key=lambda each: (each.line, each.message))
        text = as_script(module, ordered, personal_paths(self.folder, module, self._at(path)))
        target = str(PurePosixPath(path).with_suffix(".py"))
        target = target if target not in self.folder.files else target.removesuffix(".py") + "_notebook.py"
        content = without_secrets(target, text.encode())
        if content is None or not _parses(content):
            return b"", _left(path, "its code cannot be taken without a secret, or does not parse; convert it by hand")
        why = "its code as a script, page order; what it showed is left out, since outputs may be about people"
        return content, Fate(file=path, fate="converted", why=why, to=target)

    def _with_secret(self, path: str, content: bytes) -> tuple[bytes, Fate]:
        place = self.secret[path]
        why = f"{place.message} lies in it, line {place.line}" if place.line else f"{place.message} lies in it"
        clean = without_secrets(path, content) if path.endswith(".py") else None
        if clean is None or path in self.servers or path in self.tests or _ASIDE.search(path):
            return b"", _left(path, why)
        return clean, Fate(file=path, fate="converted", why=f"{why}; it was taken out of the copy", to=path)

    def _is_settings(self, path: str) -> bool:
        return self.folder.files[path] <= _MOST_TEXT and not list(columns_of(self.folder, path))

    def _data(self, path: str) -> Fate:
        columns = list(columns_of(self.folder, path))
        if not columns:
            return _left(path, "what is in it cannot be read, and it may be about people; bring it by hand if you may")
        about = [name for name, sample, _ in columns if name in self.personal or looks_personal(name, sample)]
        if about:
            named = ", ".join(about[:5]) + (f" and {len(about) - 5} more" if len(about) > 5 else "")
            return _left(path, f"personal data: columns {named}; bring it by hand if you may")
        return Fate(file=path, fate="kept", why="data; by names and first rows, no column looks personal", to=path)

    def _aside(self, path: str, why: str) -> Fate:
        return Fate(file=path, fate="moved", why=why, to=f"{ASIDE}/{path}-as-found")

    def _why_aside(self, path: str) -> str:
        if path in self.servers:
            return "the gateway serves instead; what it does to inputs belongs in the model or the contract"
        return "it tests the server that was moved" if path in self.tests else "the new system has its own"

    def _script(self, path: str, module: Module | None, content: bytes) -> tuple[bytes, Fate]:
        replaced = personal_paths(self.folder, module, self._at(path)) if module else {}
        lines = content.splitlines(keepends=True)
        for row, (old, new) in replaced.items():
            lines[row - 1] = lines[row - 1].replace(old.encode(), new.encode())
        made = b"".join(lines)
        if made != content and _parses(made):
            why = f"paths of one person's machine now lead to files here, in {len(replaced)} lines"
            return made, Fate(file=path, fate="converted", why=why, to=path)
        return content, Fate(file=path, fate="kept", why="code" if module else "code that does not parse", to=path)


def _left(path: str, why: str) -> Fate:
    return Fate(file=path, fate="left out", why=why)


def _parses(content: bytes) -> bool:
    try:
        ast.parse(content)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _imported(module: Module) -> set[str]:
    """The first and last parts of what a module imports."""
    found: set[str] = set()
    for node in module.nodes:
        if isinstance(node, ast.Import):
            found |= {part for alias in node.names for part in (alias.name.split(".")[0], alias.name.split(".")[-1])}
        elif isinstance(node, ast.ImportFrom):
            found |= {part for part in (node.module or "").split(".") if part} | {alias.name for alias in node.names}
    return found
