"""The packages of an environment lock, and what their installed metadata says of each."""

from __future__ import annotations

import importlib.metadata
import re

import msgspec

from pilotage.errors import InputError
from pilotage.kernel.digests import digest
from pilotage.runtimes.environment import normal_name

__all__ = ["Distribution", "Package", "installed", "locked_files", "locked_packages"]

_LINE = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;#\\]+)(?:\s+#\s*files\s+(sha256:[0-9a-f]{64}|unknown))?")
_MOST = 20_000
_SHORT = 200


class Package(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """One line of a lock."""

    name: str
    version: str

    @property
    def purl(self) -> str:
        """Its package URL (purl-spec, type pypi): the name normalised, `+` of a local version escaped."""
        return f"pkg:pypi/{self.name}@{self.version.replace('+', '%2B')}"


class Distribution(msgspec.Struct, frozen=True, kw_only=True):
    """What a distribution that is installed here says: licence fields, licence files, and the digest of its RECORD."""

    expression: str = ""
    licence: str = ""
    classifiers: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    record: str = ""


def locked_packages(lock: bytes) -> list[Package]:
    """The packages of an `environment.lock`, sorted. Raises InputError for a line that is no `name==version`."""
    return sorted(locked_files(lock))


def locked_files(lock: bytes) -> dict[Package, str]:
    """The same, each with the digest of its files that the lock has; empty where that is unknown."""
    lines = lock.decode("utf-8", "replace").splitlines()
    faults: list[dict[str, object]] = []
    found: dict[Package, str] = {}
    for number, line in enumerate(lines[:_MOST], 1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            faults.append({"path": f"line {number}", "code": "unreadable", "message": line[:80]})
        else:
            known = match[3] or ""
            found[Package(name=normal_name(match[1]), version=match[2])] = known.removeprefix("unknown")
    if faults or len(lines) > _MOST:
        raise InputError(
            "the environment lock cannot be read",
            got=f"{len(lines)} lines",
            expected=f"at most {_MOST} lines `name==version`",
            mend="build the release again",
            faults=faults[:20],
        )
    return found


def installed() -> dict[Package, Distribution]:
    """What is installed here, by name and version. Nothing is run or imported: only metadata is read."""
    found = {}
    for each in importlib.metadata.distributions():
        name = each.metadata["Name"]
        if name:
            found[Package(name=normal_name(name), version=each.version)] = _described(each)
    return found


def _described(each: importlib.metadata.Distribution) -> Distribution:
    fields = each.metadata.json
    record = each.read_text("RECORD")
    texts = []
    for name in _listed(fields.get("license_file"))[:5]:
        # Metadata 2.4 keeps them in `licenses/`, older tools beside METADATA.
        text = each.read_text(f"licenses/{name}") or each.read_text(str(name))
        if text:
            texts.append(text[:20_000])
    said = str(fields.get("license") or "")
    if len(said) > _SHORT:  # some put the whole text there, and those of what they bundle after it
        texts.append(said[:3_000])
    return Distribution(
        expression=str(fields.get("license_expression") or ""),
        licence="" if len(said) > _SHORT else said,
        classifiers=tuple(
            str(line).rsplit("::", 1)[-1].strip()
            for line in _listed(fields.get("classifier"))
            if str(line).startswith("License ::")
        ),
        files=tuple(texts),
        record="" if record is None else digest(record.encode()),
    )


def _listed(value: str | list[str] | None) -> list[str]:
    return [value] if isinstance(value, str) else value or []
