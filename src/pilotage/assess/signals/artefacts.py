"""The model file, from its bytes: what it would call, and which versions made it."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterator

from pilotage.assess.folder import Folder
from pilotage.assess.model import Finding
from pilotage.assess.reading import unpacked
from pilotage.assess.signals.pickles import PickleFacts, read_pickle, suspicious
from pilotage.assess.signals.seen import Seen
from pilotage.kernel.digests import digest

__all__ = ["artefact", "made_with"]

_PICKLES = (".joblib", ".pkl", ".pickle", ".sav")
_PACKAGES = {"_sklearn_version": "scikit-learn"}


def artefact(folder: Folder) -> Iterator[Seen]:
    """What the artefact calls, and whether its versions are the ones asked for and the ones at hand."""
    path = folder.artefact
    if not path.lower().endswith(_PICKLES):
        return
    content = folder.content(path)
    facts, proof = read_pickle(unpacked(content)), digest(content)
    yield from _safe(path, facts, proof)
    for key, made_with in facts.versions.items():
        if package := _PACKAGES.get(key):
            yield _environment(folder, path, package, made_with, proof)


def made_with(folder: Folder) -> dict[str, str]:
    """The versions of packages that the model file was made with, as its bytes say."""
    path = folder.artefact
    if not path.lower().endswith(_PICKLES):
        return {}
    facts = read_pickle(unpacked(folder.content(path)))
    return {_PACKAGES[key]: version for key, version in facts.versions.items() if key in _PACKAGES}


def _safe(path: str, facts: PickleFacts, proof: str) -> Iterator[Seen]:
    odd = suspicious(facts.names)
    if not facts.complete and not odd:
        return  # unread is unknown, not clean
    findings = [
        Finding(file=path, line=0, message=f"it calls {name}", mend="find out why a model needs it", digest=proof)
        for name in odd
    ]
    figures = {"names": len(facts.names), "arrays": facts.arrays, "digest": proof}
    good = f"its {len(facts.names)} names are all parts of models, read without opening it"
    yield Seen(
        criterion="governance.artefact_safe",
        level=0 if odd else 1,
        summary=f"it calls what no model needs: {', '.join(odd[:3])}" if odd else good,
        findings=findings,
        figures=figures,
    )


def _environment(folder: Folder, path: str, package: str, made_with: str, proof: str) -> Seen:
    """Compare with an exact pin if there is one, else with what is installed here."""
    pin = _pin(folder, package)
    here = pin or _installed(package)
    whose = "is pinned" if pin else "is installed here"
    same = here == made_with
    said = f"made with {package} {made_with}; {here or 'none'} {whose}"
    findings = (
        [] if same else [Finding(file=path, line=0, message=said, mend=f"pin {package}=={made_with}", digest=proof)]
    )
    level = (1.0 if pin else 0.5) if same else 0.0
    figures = {"package": package, "made_with": made_with, "here": here}
    return Seen(criterion="infrastructure.environment", level=level, summary=said, findings=findings, figures=figures)


def _pin(folder: Folder, package: str) -> str:
    for path in folder.files:
        if re.search(r"requirements[^/]*\.txt$", path) and (text := folder.text(path)):
            for line in text.lines:
                if found := re.match(rf"{package}\s*==\s*([\w.]+)", line.strip(), re.IGNORECASE):
                    return found[1]
    return ""


def _installed(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
