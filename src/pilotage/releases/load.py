"""Open a release: every byte is checked against the digest that names it before anything of it is used."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import msgspec
import yaml

from pilotage.contracts.model import DataContract
from pilotage.contracts.odcs import from_odcs
from pilotage.errors import IntegrityError, NotFound
from pilotage.evaluation.explainer import Explainer
from pilotage.evaluation.trees import TreeForm
from pilotage.kernel.digests import digest, file_digest
from pilotage.kernel.rows import Value
from pilotage.profiles.model import ReferenceProfile, decode_profile
from pilotage.releases.model import MANIFEST, Manifest, folder_name
from pilotage.releases.sealed_rows import ROWS, SEALED_ROWS, is_sealed, open_rows
from pilotage.releases.signature import SignatureFile, read_signature
from pilotage.runtimes.model import ServingSpec
from pilotage.systems.model import AISystem

__all__ = ["LoadedRelease", "open_folder", "open_release"]

T = TypeVar("T")
_MEND = "restore the release's folder from a backup, or build the release again"


@dataclass(frozen=True, kw_only=True)
class LoadedRelease:
    """A release whose files are what its digest says. Contract, profile and serving are decoded; the rest on demand.

    `signature` is unbroken where there is one; whether its key is to be believed, `verifying` says.
    """

    digest: str
    folder: Path
    manifest: Manifest
    contract: DataContract
    profile: ReferenceProfile
    serving: ServingSpec
    signature: SignatureFile | None = None

    @property
    def policy(self) -> str:
        """The digest of what turns a score into an answer."""
        return self.manifest.policy

    def explainer(self) -> Explainer:
        """How its answers are explained."""
        return _decoded(self.folder / "explainer.json", Explainer)

    def background(self, key: bytes | None = None) -> list[list[Value]]:
        """The pinned rows that answers are explained against, in contract order; none where only their means count.

        `key` is that of the installation's releases (`sealed_rows.rows_key`); a release built before rows were
        encrypted needs none. Raises NotFound without it, IntegrityError when the rows are not those of the release.
        """
        entry = self.manifest.files.get(ROWS)
        if entry is None:
            return []
        if (self.folder / ROWS).is_file():
            return _decoded(self.folder / ROWS, list[list[Value]])
        content = open_rows(key, (self.folder / SEALED_ROWS).read_bytes(), entry.digest)
        return msgspec.json.decode(content, type=list[list[Value]])

    def trees(self) -> TreeForm | None:
        """The model's trees, where its answers are explained by them."""
        return _decoded(self.folder / "trees.json", TreeForm) if "trees.json" in self.manifest.files else None

    def system(self) -> AISystem:
        """The declaration that it was built from."""
        document = yaml.safe_load((self.folder / "system.yaml").read_bytes())
        return msgspec.convert(document, AISystem)

    def file(self, name: str) -> bytes:
        """The bytes of one file of it, such as `card.md`. Raises NotFound, also for rows that are encrypted."""
        if (name not in self.manifest.files and name != MANIFEST) or not (self.folder / name).is_file():
            raise NotFound(
                "the release has no such file", got=name, expected=sorted(self.manifest.files), mend="see it"
            )
        return (self.folder / name).read_bytes()


def open_release(releases: Path, name: str) -> LoadedRelease:
    """The release with a digest, from the releases folder.

    Raises NotFound when it is not there, and IntegrityError, naming every file, when any byte is not what it was, also
    of its signature.
    """
    folder = releases / folder_name(name)
    loaded = open_folder(folder, name)
    return replace(loaded, signature=read_signature(releases, name, loaded.manifest))


def open_folder(folder: Path, name: str) -> LoadedRelease:
    """The same from any folder, its signature not looked at."""
    try:
        content = (folder / MANIFEST).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound("no such release here", got=name, expected=f"a folder in {folder.parent}", mend=_MEND) from None
    if digest(content) != name:
        raise IntegrityError(f"{folder / MANIFEST} was changed", got=digest(content), expected=name, mend=_MEND)
    manifest = msgspec.json.decode(content, type=Manifest)
    _check_files(folder, manifest)
    return LoadedRelease(
        digest=name,
        folder=folder,
        manifest=manifest,
        contract=from_odcs((folder / "contract.odcs.yaml").read_text(encoding="utf-8")),
        profile=decode_profile((folder / "profile.json").read_bytes()),
        serving=_decoded(folder / "serving.json", ServingSpec),
    )


def _check_files(folder: Path, manifest: Manifest) -> None:
    """Raise IntegrityError for every file that is missing, changed, a link, or not of this release."""
    faults = [_fault(MANIFEST, "is a link")] if (folder / MANIFEST).is_symlink() else []
    sealed = folder / SEALED_ROWS if ROWS in manifest.files and not (folder / ROWS).is_file() else None
    for name, entry in manifest.files.items():
        path = folder / name
        if sealed is not None and name == ROWS and sealed.is_file() and not sealed.is_symlink():
            if not is_sealed(sealed.read_bytes(), entry.bytes):
                faults.append(_fault(SEALED_ROWS, "these are no encrypted rows"))
            continue
        got = "a link" if path.is_symlink() else file_digest(path) if path.is_file() else "missing"
        if got != entry.digest:
            told = f"{got}, expected {entry.digest}"
            faults.append(_fault(name, told) | {"got": got, "expected": entry.digest})
    there = {path.name for path in folder.iterdir()}
    for name in sorted(there - set(manifest.files) - {MANIFEST, *((SEALED_ROWS,) if ROWS in manifest.files else ())}):
        faults.append(_fault(name, "is not of this release"))
    if faults:
        names = ", ".join(str(fault["path"]) for fault in faults)
        raise IntegrityError(f"files of the release in {folder} were changed: {names}", mend=_MEND, faults=faults)


def _fault(path: str, message: str) -> dict[str, object]:
    return {"path": path, "code": "integrity", "message": message}


def _decoded(path: Path, kind: type[T]) -> T:
    return msgspec.json.decode(path.read_bytes(), type=kind)
