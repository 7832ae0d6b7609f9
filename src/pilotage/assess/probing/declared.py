"""Which packages and which Python a pilot asks for, as plain names and versions: nothing else of its files is obeyed.

A requirement file may name addresses, folders, other files and options of the installer. None of them reach it: what
is not a name with versions is left out and named.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from pilotage.assess.folder import Folder
from pilotage.assess.reading import shown, unpacked
from pilotage.assess.signals.packaging import requirements
from pilotage.assess.signals.pickles import PickleFacts, read_pickle

__all__ = ["Declared", "declared", "pickle_facts"]

_FOR_TESTS = re.compile(r"(?i)dev|test|ci\b")
_OTHER = re.compile(r"(?i)doc|lint|style|build")
_OPTIONS = re.compile(r"\s+--\S+.*$|\s*\\$")
_MAX = 300
_CONDA = re.compile(r"[A-Za-z0-9][\w.-]*(\s*[=<>!~]=?\s*[\w.*]+)?$")
_NOT_FROM_PYPI = {"python", "pip", "conda"}
_STATED = (
    (r"(^|/)(\.python-version|runtime\.txt)$", r"(3\.\d+)"),
    (r"(^|/)(Dockerfile|Containerfile)[^/]*$", r"^FROM\s+\S*python:(3\.\d+)"),
    (r"(^|/)environment\.ya?ml$", r"python\s*=+\s*(3\.\d+)"),
    (r"(^|/)Pipfile$", r"python_version\s*=\s*\"(3\.\d+)"),
)


@dataclass(frozen=True, kw_only=True)
class Declared:
    """`packages` are what it runs with, `for_tests` what its tests need besides. `python` such as "3.11", or empty.

    `left_out` names what cannot be installed from an index by name: addresses, folders, unreadable lines.
    """

    packages: list[Requirement] = field(default_factory=list)
    for_tests: list[Requirement] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    python: str = ""

    @property
    def names(self) -> set[str]:
        return {canonicalize_name(each.name) for each in self.packages}


def declared(folder: Folder) -> Declared:
    """What the requirement files nearest the root say, pyproject.toml and environment.yml among them."""
    found = Declared(python=_python(folder))
    lines = [*requirements(folder), *_conda(folder)][: 10 * _MAX]
    nearest: dict[bool, int] = {}
    for path, _, _ in lines:
        for_tests = bool(_FOR_TESTS.search(Path(path).name))
        nearest[for_tests] = min(nearest.get(for_tests, 99), path.count("/"))
    seen: set[str] = set()
    for path, number, line in lines:
        name = Path(path).name
        for_tests = bool(_FOR_TESTS.search(name))
        if (_OTHER.search(name) and not for_tests) or path.count("/") > nearest[for_tests]:
            continue
        text = _OPTIONS.sub("", line).strip()
        try:
            asked = Requirement(text)
        except InvalidRequirement:
            found.left_out.append(shown(f"{path}:{number}: {text[:80]}"))
            continue
        if asked.url is not None:
            found.left_out.append(shown(f"{path}:{number}: {text[:80]}"))
        elif str(asked) not in seen and len(seen) < _MAX:
            seen.add(str(asked))
            (found.for_tests if for_tests else found.packages).append(asked)
    return found


def _conda(folder: Folder) -> Iterator[tuple[str, int, str]]:
    """The packages of environment.yml: `a=1.2` of conda is `a==1.2.*` of an index."""
    for path in folder.named("environment.yml", "environment.yaml"):
        text = folder.text(path)
        try:
            document = yaml.safe_load("\n".join(text.lines)) if text and len(text.lines) < 2_000 else None
        except (yaml.YAMLError, RecursionError):
            continue
        listed = document.get("dependencies") if isinstance(document, dict) else None
        for each in listed if isinstance(listed, list) else []:
            if isinstance(each, dict) and isinstance(each.get("pip"), list):
                yield from ((path, 0, item) for item in each["pip"] if isinstance(item, str))
            elif isinstance(each, str) and _CONDA.match(each):
                name, _, version = (part.strip() for part in each.partition("="))
                if name.lower() not in _NOT_FROM_PYPI and "=" not in version:
                    yield path, 0, f"{name}=={version}.*" if version and "*" not in version else name


def _python(folder: Folder) -> str:
    for path in folder.files:
        for name, stated in _STATED:
            if re.search(name, path) and (text := folder.text(path)):
                for line in text.lines[:500]:
                    if found := re.search(stated, line):
                        return found[1]
    return ""


def pickle_facts(folder: Folder) -> PickleFacts:
    """What the model file names and was made with, read without opening it; empty for one that is no pickle."""
    path = folder.artefact
    if not path.lower().endswith((".joblib", ".pkl", ".pickle", ".sav")):
        return PickleFacts()
    return read_pickle(unpacked(folder.content(path)))
