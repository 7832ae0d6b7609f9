"""A release: its manifest, whose digest is its name, and its row in the registry."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

__all__ = ["FORMAT", "MANIFEST", "FileEntry", "Manifest", "Origin", "Release", "folder_name"]

FORMAT = "pilotage-release/1"
MANIFEST = "manifest.json"


class FileEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file of a release: its digest and size in bytes."""

    digest: str
    bytes: int


class Origin(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a release was made from: digests of the pilot's artefact and data, and the environment of the build."""

    artefact: str
    data: str
    environment: dict[str, Any]
    builder: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`manifest.json` (RFC 8785). It holds no time and no name of a person: same inputs, same digest.

    `contract` is the digest of the data contract's content, `policy` that of `serving.json`: threshold and labels.
    """

    format: Literal["pilotage-release/1"] = "pilotage-release/1"
    system: str
    runtime: Literal["onnx", "process", "remote"]
    contract: str
    policy: str
    origin: Origin
    files: dict[str, FileEntry]


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the registry. `version` counts a system's releases from 1; `created` is Unix microseconds.

    `author` is who built it, and may not approve it.
    """

    digest: str
    system: str
    version: int
    created: int
    author: str
    runtime: str
    contract: str
    policy: str

    @property
    def name(self) -> str:
        """How people name it, such as `credit-default@2`."""
        return f"{self.system}@{self.version}"

    @property
    def folder(self) -> str:
        """Its folder, relative to the releases folder."""
        return folder_name(self.digest)


def folder_name(digest: str) -> str:
    """The folder of a release: the 64 hexadecimal digits of its digest."""
    return digest.removeprefix("sha256:")
