"""Under which licence the code stands, and which dependencies bind the whole by theirs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from pilotage.assess.folder import Folder
from pilotage.assess.model import Finding
from pilotage.assess.signals.packaging import requirements
from pilotage.assess.signals.seen import Seen

__all__ = ["dependencies", "kind_of", "licence"]

_COPYLEFT = {
    "AGPL-3.0": "pymupdf pymupdf4llm ultralytics yolov5 ghostscript",
    "GPL": "pyqt5 pyqt6 unidecode igraph python-igraph leidenalg mysqlclient rpy2 cvxopt swiglpk levenshtein "
    "python-levenshtein gnureadline scikit-umfpack html2text",
}
_BY_NAME = {name: licence for licence, names in _COPYLEFT.items() for name in names.split()}
_KINDS = (
    ("AGPL", r"affero general public license"),
    ("LGPL", r"lesser general public license"),
    ("GPL", r"gnu general public license"),
    ("Apache-2.0", r"apache license"),
    ("MIT", r"permission is hereby granted, free of charge|mit license"),
    ("BSD", r"redistribution and use in source and binary forms|bsd (\d-clause )?license"),
    ("MPL", r"mozilla public license"),
)


def _licences(folder: Folder) -> list[str]:
    return [path for path in folder.files if re.match(r"(?i)(licen[cs]e|copying|notice)", Path(path).name)]


def kind_of(folder: Folder) -> tuple[str, str]:
    """(file, licence) of the code as its text says; empty texts where it is not known."""
    for path in _licences(folder):
        text = folder.text(path) if folder.files[path] <= 256 << 10 else None
        words = " ".join(" ".join(text.lines).split()).lower() if text else ""
        for kind, pattern in _KINDS:
            if re.search(pattern, words):
                return path, kind
    return "", ""


def licence(folder: Folder) -> Iterator[Seen]:
    """A licence that holds something."""
    if not folder.modules:
        return
    held = [path for path in _licences(folder) if folder.files[path] > 40]
    kind = kind_of(folder)[1]
    said = f"{held[0]} is there" + (f": {kind}" if kind else "") if held else "no licence"
    yield Seen(criterion="governance.licence", level=1 if held else 0, summary=said, figures={"kind": kind})


def dependencies(folder: Folder) -> Iterator[Seen]:
    """No asked package is known for a licence that binds what it is linked with. Unknown packages are not judged."""
    asked = list(requirements(folder))
    findings = [
        Finding(file=path, line=line, message=f"{name} is under {_BY_NAME[name]}")
        for path, line, each in asked
        if (name := re.split(r"[^A-Za-z0-9_.-]", each)[0].lower().replace("_", "-")) in _BY_NAME
    ]
    if asked:
        bad = f"{len(findings)} dependencies bind the whole by their licence"
        yield Seen.of(
            "governance.dependency_licences", findings, bad, f"none of {len(asked)} is known to bind the whole"
        )
