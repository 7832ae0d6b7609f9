"""Vendored files are those that their manifests name: version, licence, SHA-256; nothing beside them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from pilotage.web.console import app

_SHIPPED = Path(app.__file__).parent / "static" / "vendor"
_FOR_TESTS = Path(__file__).parents[2] / "console" / "vendor"
_PINNED = {
    "htmx.org": "2.0.11",
    "idiomorph": "0.8.0",
    "@picocss/pico": "2.1.1",
    "htmx-ext-sse": "2.2.4",
    "uplot": "1.6.32",
}


@pytest.mark.parametrize("folder", [_SHIPPED, _FOR_TESTS], ids=["shipped", "for tests"])
def test_vendored_files_are_those_of_the_manifest(folder: Path) -> None:
    manifest = {entry["file"]: entry for entry in json.loads((folder / "MANIFEST.json").read_bytes())}
    present = {path.name for path in folder.iterdir()} - {"MANIFEST.json", "LICENSES.txt"}
    assert present == set(manifest)
    for name, entry in manifest.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == entry["sha256"], name
        assert entry["version"] and entry["licence"] in {"0BSD", "MIT", "MPL-2.0"}


def test_versions_are_the_pinned_ones_and_their_licences_are_shipped() -> None:
    manifest = json.loads((_SHIPPED / "MANIFEST.json").read_bytes())
    assert {entry["package"]: entry["version"] for entry in manifest} == _PINNED
    licences = (_SHIPPED / "LICENSES.txt").read_text(encoding="utf-8")
    assert all(entry["package"].split("/")[-1] in licences for entry in manifest)
