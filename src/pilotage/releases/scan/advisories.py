"""Advisories from files: an OSV export (JSON files, a folder of them, or their zip), or what pip-audit wrote.

Nothing is fetched. Format of OSV: https://ossf.github.io/osv-schema/ ; only its ecosystem PyPI is read.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from packaging.version import InvalidVersion, Version

from pilotage.errors import InputError, NotFound
from pilotage.releases.scan.model import Database, Finding, Severity
from pilotage.releases.scan.packages import Package
from pilotage.runtimes.environment import normal_name

__all__ = ["NO_DATABASE", "Advisories", "read_advisories"]

_MOST_FILES = 200_000
_MOST_BYTES = 64 * 1024 * 1024
_MOST_TOTAL = 4 * 1024 * 1024 * 1024
_WHOLE = 1_000
"""An export of PyPI names thousands of packages. Fewer than this are a selection, which proves nothing of others."""

_SEVERITIES: dict[str, Severity] = {
    "low": "low",
    "moderate": "medium",
    "medium": "medium",
    "high": "high",
    "critical": "critical",
}

NO_DATABASE = Database(source="", digest="", form="none", records=0, packages=0, as_of=0, whole=False)


@dataclass(kw_only=True)
class Advisories:
    """Advisories by package. `audited` are the packages that pip-audit looked at, with the version it saw."""

    database: Database = NO_DATABASE
    osv: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    audited: dict[Package, list[Finding]] = field(default_factory=dict)

    def judge(self, package: Package) -> tuple[str, list[Finding]]:
        """(why nothing is known of the package, or nothing; the advisories that it is in the range of)."""
        if self.database.form == "none":
            return "no database was given", []
        if self.database.form == "pip-audit":
            if package not in self.audited:
                return "the audit did not look at this version", []
            return "", self.audited[package]
        try:
            version = Version(package.version)
        except InvalidVersion:
            return "its version cannot be compared", []
        records = self.osv.get(package.name, [])
        if not records and not self.database.whole:
            return "the database does not cover it", []
        return "", [_finding(each, package.name) for each in records if _hits(each, package.name, version)]


def read_advisories(path: Path, progress: Callable[[int, int], None] | None = None) -> Advisories:
    """Read a file or a folder; `progress` is told of (files read, all of them).

    Raises NotFound, and InputError for what is no such database.
    """
    if not path.exists():
        raise NotFound("no such file or folder", got=path, mend="give an OSV export or the JSON of pip-audit")
    osv: dict[str, list[dict[str, Any]]] = {}
    audited: dict[Package, list[Finding]] = {}
    seen, newest, read, total = set(), 0, sha256(), 0
    for at, (name, content, files) in enumerate(_contents(path), 1):
        if progress is not None:
            progress(at, files)
        total += len(content)
        if total > _MOST_TOTAL:
            raise _refused(path, f"more than {_MOST_TOTAL} bytes")
        read.update(sha256(content).digest())
        document = _document(name, content)
        if isinstance(document, dict) and "dependencies" in document:
            audited |= _audited(document, name)
            continue
        for record in _records(document, name):
            if record["id"] in seen or record.get("withdrawn"):
                continue
            seen.add(record["id"])
            newest = max(newest, _moment(record.get("modified")))
            for package in _named(record):
                osv.setdefault(package, []).append(record)
    if osv and audited:
        raise _refused(path, "OSV records and a pip-audit result together")
    if not osv and not audited:
        raise _refused(path, "no advisory of PyPI")
    database = Database(
        source=path.name,
        digest=f"sha256:{read.hexdigest()}",
        form="osv" if osv else "pip-audit",
        records=len(seen) if osv else sum(len(each) for each in audited.values()),
        packages=len(osv) or len(audited),
        # The format of pip-audit has no time: that of the file is the best there is.
        as_of=newest if osv else int(path.stat().st_mtime * 1e6),
        whole=len(osv) >= _WHOLE,
    )
    return Advisories(database=database, osv=osv, audited=audited)


def _contents(path: Path) -> Iterator[tuple[str, bytes, int]]:
    """(name, content, how many there are) of every JSON file, in order of names."""
    if path.is_dir():
        files = sorted(each for each in path.rglob("*.json") if each.is_file())
        if len(files) > _MOST_FILES:
            raise _refused(path, f"{len(files)} files")
        for each in files:
            if each.stat().st_size > _MOST_BYTES:
                raise _refused(each, f"{each.stat().st_size} bytes")
            yield each.name, each.read_bytes(), len(files)
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            entries = sorted((each for each in archive.infolist() if each.filename.endswith(".json")), key=_name)
            if len(entries) > _MOST_FILES:
                raise _refused(path, f"{len(entries)} files")
            for entry in entries:
                if entry.file_size > _MOST_BYTES:
                    raise _refused(path, f"{entry.filename[:80]}: {entry.file_size} bytes")
                yield entry.filename, archive.read(entry), len(entries)
    else:
        if path.stat().st_size > _MOST_BYTES:
            raise _refused(path, f"{path.stat().st_size} bytes")
        yield path.name, path.read_bytes(), 1


def _name(entry: zipfile.ZipInfo) -> str:
    return entry.filename


def _refused(path: Path, got: object) -> InputError:
    return InputError(
        f"{path.name} is no database of advisories that can be read",
        got=got,
        expected=f"OSV JSON (files of at most {_MOST_BYTES} bytes, a folder or a zip), or the JSON of pip-audit",
        mend="export PyPI from osv.dev, or run pip-audit --format json",
    )


def _document(name: str, content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{name[:80]} is no JSON", got=str(error)[:200], expected="OSV JSON", mend="fetch it again"
        ) from None


def _records(document: Any, name: str) -> Iterator[dict[str, Any]]:
    """The OSV records of a document: one, a list, or `vulns` of an answer of osv.dev."""
    if isinstance(document, dict) and isinstance(document.get("vulns"), list):
        document = document["vulns"]
    for each in document if isinstance(document, list) else [document]:
        if not isinstance(each, dict) or not isinstance(each.get("id"), str):
            raise InputError(
                f"{name[:80]} holds what is no OSV record",
                got=str(each)[:80],
                expected="objects with an id and affected packages",
                mend="give an OSV export or the JSON of pip-audit",
            )
        yield each


def _affected(record: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for each in record.get("affected") or []:
        package = each.get("package") or {}
        if package.get("ecosystem") == "PyPI" and isinstance(package.get("name"), str):
            yield normal_name(package["name"]), each


def _named(record: dict[str, Any]) -> set[str]:
    return {name for name, _ in _affected(record)}


def _hits(record: dict[str, Any], name: str, version: Version) -> bool:
    """Whether a version is affected: listed, or in a range of its ecosystem (the schema's own algorithm)."""
    for package, each in _affected(record):
        if package != name:
            continue
        if any(_version(text) == version for text in each.get("versions") or []):
            return True
        for span in each.get("ranges") or []:
            if span.get("type") == "ECOSYSTEM" and _within(span.get("events") or [], version):
                return True
    return False


def _within(events: list[dict[str, str]], version: Version) -> bool:
    """Events in order of version, the later one decides; `introduced: 0` is before every version."""
    placed = []
    for event in events:
        for kind, text in event.items():
            at = Version("0.dev0") if kind == "introduced" and text == "0" else _version(text)
            if kind in ("introduced", "fixed", "last_affected") and at is not None:
                placed.append((at, kind))
    inside = False
    for at, kind in sorted(placed, key=lambda each: (each[0], each[1] == "introduced")):
        if kind == "introduced" and version >= at:
            inside = True
        elif (kind == "fixed" and version >= at) or (kind == "last_affected" and version > at):
            inside = False
    return inside


def _version(text: object) -> Version | None:
    try:
        return Version(str(text))
    except InvalidVersion:
        return None


def _finding(record: dict[str, Any], name: str) -> Finding:
    fixed = {
        event["fixed"]
        for package, each in _affected(record)
        if package == name
        for span in each.get("ranges") or []
        if span.get("type") == "ECOSYSTEM"
        for event in span.get("events") or []
        if "fixed" in event
    }
    said = str((record.get("database_specific") or {}).get("severity") or "").casefold()
    return Finding(
        id=record["id"],
        aliases=tuple(str(each) for each in record.get("aliases") or []),
        severity=_SEVERITIES.get(said, "unknown"),
        summary=str(record.get("summary") or record.get("details") or "").split("\n", 1)[0][:200],
        fixed_in=tuple(sorted(fixed)),
    )


def _audited(document: dict[str, Any], name: str) -> dict[Package, list[Finding]]:
    """What pip-audit says of each dependency; those that it skipped are left out."""
    found: dict[Package, list[Finding]] = {}
    for each in document["dependencies"]:
        if not isinstance(each, dict) or not isinstance(each.get("name"), str):
            raise InputError(
                f"{name[:80]} is no result of pip-audit",
                got=str(each)[:80],
                expected="name, version, vulns",
                mend="run it again",
            )
        if "version" not in each or "vulns" not in each:
            continue
        package = Package(name=normal_name(each["name"]), version=str(each["version"]))
        found[package] = [
            Finding(
                id=str(one["id"]),
                aliases=tuple(str(alias) for alias in one.get("aliases") or []),
                summary=str(one.get("description") or "").split("\n", 1)[0][:200],
                fixed_in=tuple(str(text) for text in one.get("fix_versions") or []),
            )
            for one in each["vulns"]
        ]
    return found


def _moment(text: object) -> int:
    try:
        return int(datetime.fromisoformat(str(text).replace("Z", "+00:00")).timestamp() * 1e6)
    except ValueError:
        return 0
