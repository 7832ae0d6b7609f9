"""The bill of materials: CycloneDX 1.6 JSON with the model, its data, its files and every package it answers with.

Made as a mapping, because the libraries of the format lose `modelCard`; the strict schema of the format is the test.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

from pilotage import __version__
from pilotage.kernel.clock import rfc3339
from pilotage.papers.gather import Dossier
from pilotage.releases.scan.licences import licence_of
from pilotage.releases.scan.packages import Distribution, Package, installed, locked_files

__all__ = ["bill_of_materials"]

_METRICS = 200
"""The most slice figures told; a system may have thousands."""


def bill_of_materials(dossier: Dossier, known: dict[Package, Distribution] | None = None) -> dict[str, Any]:
    """The document. Its serial number is made of the release's digest, its time is that of the registration.

    `known` is what is installed here (read when None): a package of the lock that is not, in that very version, gets
    no licence rather than one of another version.
    """
    release, manifest = dossier.release, dossier.loaded.manifest
    packages = locked_files(dossier.loaded.file("environment.lock"))
    described = installed() if known is None else known
    model, data = f"model:{release.digest}", f"data:{manifest.origin.data}"
    libraries = [_library(each, described.get(each), files) for each, files in sorted(packages.items())]
    files = [
        {
            "type": "file",
            "bom-ref": f"file:{name}",
            "name": name,
            "hashes": _hashes(entry.digest),
            "properties": _properties({"pilotage:bytes": str(entry.bytes)}),
        }
        for name, entry in sorted(manifest.files.items())
    ]
    parts = [model, data, *(each["bom-ref"] for each in files), *(each["bom-ref"] for each in libraries)]
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, release.digest)}",
        "version": 1,
        "metadata": {
            "timestamp": rfc3339(release.created),
            "tools": {"components": [{"type": "application", "name": "pilotage", "version": __version__}]},
            "component": {
                "type": "application",
                "bom-ref": f"release:{release.digest}",
                "name": release.system,
                "version": str(release.version),
                "description": dossier.system.purpose.strip(),
                "hashes": _hashes(release.digest),
                "properties": _properties({"pilotage:risk_tier": dossier.system.risk_tier}),
            },
        },
        "components": [_model(dossier, model, data), _data(dossier, data), *files, *libraries],
        "dependencies": [
            {"ref": f"release:{release.digest}", "dependsOn": parts},
            {"ref": model, "dependsOn": [data]},
        ],
    }


def _hashes(digest: str) -> list[dict[str, str]]:
    return [{"alg": "SHA-256", "content": digest.removeprefix("sha256:")}]


def _properties(values: dict[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in values.items()]


def _library(package: Package, found: Distribution | None, files: str) -> dict[str, Any]:
    licence = licence_of(found)
    told: dict[str, Any] = {
        "type": "library",
        "bom-ref": package.purl,
        "name": package.name,
        "version": package.version,
        "purl": package.purl,
    }
    # Not `hashes`: those would be of the archive, which nobody keeps. This is of the files that came out of it.
    facts = {"pilotage:licence_source": licence.source, "pilotage:files_sha256": files[len("sha256:") :] or "unknown"}
    if licence.expression:
        told["licenses"] = [{"expression": licence.expression}]
    return told | {"properties": _properties(facts)}


def _data(dossier: Dossier, ref: str) -> dict[str, Any]:
    columns = dossier.loaded.contract.columns
    sensitive = [
        f"{name}: {', '.join(found)}" for name in ("personal", "protected") if (found := _marked(columns, name))
    ]
    return {
        "type": "data",
        "bom-ref": ref,
        "name": f"{dossier.release.system} pilot data",
        "hashes": _hashes(dossier.loaded.manifest.origin.data),
        "data": [
            {
                "type": "dataset",
                "name": dossier.system.pilot.data,
                "classification": "personal" if _marked(columns, "personal") else "not stated",
                "description": f"target {dossier.system.pilot.target}, split by hash",
                **({"sensitiveData": sensitive} if sensitive else {}),
            }
        ],
    }


def _marked(columns: Any, mark: str) -> list[str]:
    return [each.name for each in columns if getattr(each, mark)]


def _model(dossier: Dossier, ref: str, data: str) -> dict[str, Any]:
    serving, manifest = dossier.loaded.serving, dossier.loaded.manifest
    entry = manifest.files.get(serving.artefact)
    return {
        "type": "machine-learning-model",
        "bom-ref": ref,
        "name": dossier.system.name,
        "version": str(dossier.release.version),
        "description": dossier.system.purpose.strip(),
        "hashes": _hashes(manifest.origin.artefact if entry is None else entry.digest),
        "modelCard": {
            "bom-ref": f"card:{dossier.release.digest}",
            "modelParameters": {
                "approach": {"type": "supervised"},
                "task": "tabular-classification",
                "architectureFamily": str(dossier.sources.value("evaluation", "pilot", "kind") or "not stated"),
                "datasets": [{"ref": data}],
                "inputs": [{"format": f"{name}: {kind}"} for name, kind in _inputs(dossier)],
                "outputs": [
                    {"format": "score: number, 0 to 1"},
                    {"format": f"label: {serving.adverse} or {serving.favourable}"},
                ],
            },
            "quantitativeAnalysis": {"performanceMetrics": list(_metrics(dossier))},
            "considerations": _considerations(dossier),
            "properties": _properties(_evidence(dossier)),
        },
    }


def _inputs(dossier: Dossier) -> Iterator[tuple[str, str]]:
    return zip(dossier.loaded.serving.names, dossier.loaded.serving.kinds, strict=True)


def _metrics(dossier: Dossier) -> Iterator[dict[str, Any]]:
    sources = dossier.sources
    limits = sources.value("evaluation", "intervals_95") or {}
    for name, value in (sources.value("evaluation", "metrics") or {}).items():
        if value is None:
            continue
        told: dict[str, Any] = {"type": name, "value": repr(value), "slice": "held-out rows"}
        if limits.get(name):
            low, high = limits[name]
            told["confidenceInterval"] = {"lowerBound": repr(low), "upperBound": repr(high)}
        yield told
    for each in (sources.value("evaluation", "slices") or [])[:_METRICS]:
        if each["judged"] and each["auc"] is not None:
            yield {"type": "auc", "value": repr(each["auc"]), "slice": f"{each['column']}: {each['slice']}"}


def _considerations(dossier: Dossier) -> dict[str, Any]:
    system, paper = dossier.system, dossier.system.paper
    made: dict[str, Any] = {"useCases": [paper.intended_use.strip() or system.purpose.strip()]}
    if paper.limitations.strip():
        made["technicalLimitations"] = [paper.limitations.strip()]
    if paper.ethical_considerations.strip():
        made["ethicalConsiderations"] = [{"name": paper.ethical_considerations.strip()}]
    groups = []
    for block in dossier.sources.value("evaluation", "fairness") or []:
        own = block["disparities"].get("disparate_impact_ratio")
        if own is not None and " × " not in block["column"]:
            harm = f"answered {dossier.loaded.serving.favourable} {own['value']!r} times as often as {own['highest']}"
            groups.append({"groupAtRisk": f"{block['column']}: {own['lowest']}", "harms": harm})
    return made | ({"fairnessAssessments": groups} if groups else {})


def _evidence(dossier: Dossier) -> dict[str, str]:
    """Where each figure can be checked: the evaluation's digest, and the digest of each evidence."""
    sources = dossier.sources.known
    told = {"pilotage:evaluation": sources["evaluation"][0].digest}
    return told | {
        f"pilotage:evidence:{check}": f"{each.id} {sources[check][0].digest} {now}"
        for check, (each, now) in dossier.evidence.items()
    }
