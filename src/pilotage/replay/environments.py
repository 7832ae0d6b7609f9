"""Serving environments that decisions name: what is kept of each, so that replay can rebuild it after an upgrade.

`environments/<digits>/kept.json` holds the environment's document, its lock, the digest of each distribution's files,
and an object with Pilotage's own code. A rebuilt one lies beside it in `venv`. Only wheels are installed, so that
nothing of a package runs before the digest of its files was found to be the one kept.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import importlib.metadata
import io
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Engine

from pilotage import __file__ as _package
from pilotage.errors import IntegrityError, NotFound, Unavailable
from pilotage.kernel.canonical import canonical_json
from pilotage.kernel.digests import digest
from pilotage.replay.interpreters import find_python, install, make_venv
from pilotage.runtimes.environment import (
    environment_digest,
    installed_distributions,
    kernel_variables,
    listed_files,
    normal_name,
    recorded_contents,
    serving_environment,
)
from pilotage.storage.database import writing
from pilotage.storage.home import Home
from pilotage.storage.objects import Objects, write_durably
from pilotage.storage.outbox import emit

__all__ = ["Environments", "Interpreter", "KeptEnvironment", "contents_of", "differences", "keep_environment"]

OWN = "pilotage"
_MACHINE = ("implementation", "os", "libc", "machine", "vector", "provider", "threads")
"""What no installation of packages can change."""


class KeptEnvironment(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a serving environment. `contents` are digests of each distribution's files by name; an empty
    one cannot be proven and so not be rebuilt. `code` is the object with Pilotage's own code, as a wheel."""

    environment: dict[str, Any]
    lock: str
    contents: dict[str, str]
    code: str


@dataclass(frozen=True, kw_only=True)
class Interpreter:
    """How to start an environment: its interpreter, and environment variables to set."""

    python: str
    env: dict[str, str]


def differences(then: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """What differs between two environment documents, in words; empty when nothing does."""
    return "; ".join(
        f"{name}: {then.get(name)} then, {here.get(name)} here"
        for name in sorted({*then, *here})
        if then.get(name) != here.get(name)
    )


class Environments:
    """The environments of one installation."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._objects = Objects(root=home.objects)

    def _folder(self, name: str) -> Path:
        digits = name.removeprefix("sha256:")
        if not re.fullmatch(r"[0-9a-f]{64}", digits):
            raise NotFound("not the digest of an environment", got=name[:80], mend="see the decision's record")
        return self._home.environments / digits

    def known(self) -> list[str]:
        """The digests of every kept environment."""
        return sorted(f"sha256:{path.parent.name}" for path in self._home.environments.glob("*/kept.json"))

    def keep_running(self) -> tuple[str, bool]:
        """Keep the running interpreter's environment; its digest, and whether it is new here. Takes up to a second."""
        environment = serving_environment()
        name = environment_digest(environment)
        path = self._folder(name) / "kept.json"
        if path.exists():
            return name, False
        found = {normal_name(each.metadata["Name"]): each for each in importlib.metadata.distributions()}
        kept = KeptEnvironment(
            environment=environment,
            lock=installed_distributions(),
            contents={each: recorded_contents(found[each]) for each in sorted(found) if each != OWN},
            code=self._objects.put(_own_wheel()),
        )
        write_durably(path, msgspec.json.encode(kept))
        return name, True

    def kept(self, name: str) -> KeptEnvironment:
        """What was kept of an environment. Raises NotFound, IntegrityError when it is not that environment."""
        path = self._folder(name) / "kept.json"
        try:
            found = msgspec.json.decode(path.read_bytes(), type=KeptEnvironment)
        except FileNotFoundError:
            raise NotFound(
                "nothing was kept of this environment",
                mend="replay where the decisions were served, or restore the folder `environments` from there",
            ) from None
        except msgspec.DecodeError as error:
            raise IntegrityError("what was kept of this environment cannot be read", got=error, mend=_MEND) from error
        is_named = digest(canonical_json(found.environment)) == name
        if not is_named or digest(found.lock.encode()) != found.environment.get("lock"):
            raise IntegrityError("what was kept of this environment was changed", got=str(path), mend=_MEND)
        return found

    def rebuild(self, name: str, here: Mapping[str, Any], *, checked: bool = False) -> Interpreter:
        """The environment as a virtual one of its own, built once. `here` is the running interpreter's document.

        `checked`: one that was built before is held to what was kept again, file by file, and else built anew.
        Raises NotFound when nothing was kept, Unavailable when this machine or its package index cannot give it,
        IntegrityError when what was installed is not what served.
        """
        kept = self.kept(name)
        machine = differences(*({each: doc.get(each) for each in _MACHINE} for doc in (kept.environment, here)))
        if machine:
            raise Unavailable("it was on another machine", got=machine, mend="replay on one like it")
        folder = self._folder(name)
        with _locked(folder / "lock"):
            if not (folder / "venv" / "proven").exists() or (checked and _changed(folder / "venv", kept)):
                self._build(kept, folder)
        env = {"PYTHONPATH": "", **kernel_variables(kept.environment)}
        return Interpreter(python=str(folder / "venv" / "bin" / "python"), env=env)

    def _build(self, kept: KeptEnvironment, folder: Path) -> None:
        unproven = sorted(each for each, contents in kept.contents.items() if not contents)
        if unproven:
            raise Unavailable(
                "distributions cannot be proven to be the same", got=", ".join(unproven), mend="install them as wheels"
            )
        venv = folder / "venv"
        python = find_python(str(kept.environment["python"]))
        site = make_venv(python, venv)
        pins = [line for line in kept.lock.splitlines() if not line.startswith(f"{OWN}==")]
        install(venv, pins, folder / "requirements.txt")
        wrong = _not_as_kept(site, kept.contents)
        if wrong:
            raise IntegrityError(
                "the package index gave other files than those that served", got=", ".join(wrong), mend=_MEND
            )
        with zipfile.ZipFile(io.BytesIO(self._objects.get(kept.code))) as wheel:
            wheel.extractall(site)
        (venv / "proven").write_text("the files of every distribution are those kept\n")


def keep_environment(home: Home, control: Engine) -> str:
    """Keep the running environment for later replays and proofs, on record; its digest."""
    name, new = Environments(home).keep_running()
    if new:
        with writing(control) as connection:
            emit(connection, "environment.kept", facts={"environment": name})
    return name


_MEND = "restore the folder `environments` from a backup"


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One builder at a time, over all processes."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def contents_of(site: Path, distribution: importlib.metadata.Distribution) -> str:
    """The same digest, from the bytes of the files that lie in `site`."""
    lines = []
    for path, _ in sorted(listed_files(distribution.read_text("RECORD") or "")):
        file = site / path
        found = hashlib.sha256(file.read_bytes()).digest() if file.is_file() else b""
        lines.append(f"{path},sha256={base64.urlsafe_b64encode(found).decode().rstrip('=')}\n")
    return digest("".join(lines).encode())


def _not_as_kept(site: Path, contents: Mapping[str, str]) -> list[str]:
    """The distributions in a folder that are missing, more, or other than those kept."""
    found = {normal_name(each.metadata["Name"]): each for each in importlib.metadata.distributions(path=[str(site)])}
    wrong = sorted({*found} ^ {*contents})
    return wrong + [each for each in sorted({*found} & {*contents}) if contents_of(site, found[each]) != contents[each]]


def _changed(venv: Path, kept: KeptEnvironment) -> bool:
    """Whether files of a virtual environment are no longer those that were kept."""
    [site] = venv.glob("lib/python*/site-packages")
    return bool(set(_not_as_kept(site, kept.contents)) - {OWN})


def _own_wheel() -> bytes:
    """Pilotage's own code as a wheel; the same code gives the same bytes."""
    root = Path(_package).resolve().parent
    own = importlib.metadata.distribution(OWN)
    info = f"{OWN}-{own.version}.dist-info"
    files = {f"{info}/METADATA": (own.read_text("METADATA") or "").encode()}
    for path in sorted(root.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            files[f"{OWN}/{path.relative_to(root)}"] = path.read_bytes()
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, body in files.items():
            wheel.writestr(zipfile.ZipInfo(name), body, zipfile.ZIP_DEFLATED)
    return content.getvalue()
