"""The serving environment: all that can move the last bit of a score, and its digest, which every decision names."""

from __future__ import annotations

import csv
import importlib.metadata
import os
import platform
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pilotage.kernel.canonical import canonical_json
from pilotage.kernel.digests import digest

__all__ = [
    "environment_digest",
    "installed_distributions",
    "kernel_variables",
    "listed_files",
    "locked_distributions",
    "normal_name",
    "recorded_contents",
    "serving_environment",
]

_OWN = "pilotage"

_VECTOR_FLAGS = ("sse4_2", "avx", "avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "asimd", "sve")
"""The instruction sets by which numeric libraries choose their kernels."""


_CHOOSING = {"OPENBLAS_CORETYPE": "openblas_coretype", "NPY_DISABLE_CPU_FEATURES": "numpy_disabled"}
"""Variables by which numeric libraries are told which kernels to use, and their names in the document."""


def kernel_variables(document: Mapping[str, Any] | None = None) -> dict[str, str]:
    """The variables that a process needs to compute with the kernels of an environment (this one's when None)."""
    if document is None:
        return {name: os.environ[name] for name in _CHOOSING if os.environ.get(name)}
    return {name: str(document.get(key, "")) for name, key in _CHOOSING.items()}


def normal_name(name: str) -> str:
    """A project's name as PEP 503 normalises it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def installed_distributions() -> str:
    """The environment lock: one `name==version` line for each installed distribution, sorted."""
    found = {(normal_name(name), version) for name, version in map(_named, importlib.metadata.distributions()) if name}
    return "".join(sorted(f"{name}=={version}\n" for name, version in found))


_FIELD = re.compile(r"^(Name|Version):[ \t]*(.*?)[ \t]*$", re.MULTILINE)


def _named(distribution: importlib.metadata.Distribution) -> tuple[str, str]:
    """Name and version: two fields of the head. Parsing all of it, as `metadata` does, takes 50 times as long."""
    text = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or distribution.read_text("") or ""
    found = dict(reversed(_FIELD.findall(text.partition("\n\n")[0])))
    return found.get("Name", ""), found.get("Version", "")


def locked_distributions() -> str:
    """The lock with a digest of each distribution's files behind its pin, `unknown` where its installer wrote none.

    A requirements file still: what stands behind `#` is a comment there. The digest is of the list of files that the
    wheel brought (PEP 376 RECORD), not of the archive, which nobody keeps.
    """
    found = {normal_name(_named(each)[0]): each for each in importlib.metadata.distributions()}
    lines = []
    for pin in installed_distributions().splitlines():
        name = pin.partition("==")[0]
        lines.append(f"{pin}  # files {'unknown' if name == _OWN else recorded_contents(found[name]) or 'unknown'}\n")
    return "".join(lines)


def listed_files(record: str) -> Iterator[tuple[str, str]]:
    """(path, hash) of the files that came with a wheel; what an installer adds of its own is left out."""
    for row in csv.reader(record.splitlines()):
        path = row[0] if row else ""
        inside = re.search(r"\.dist-info/(.+)$", path)
        if not path or path.startswith(("..", "/")) or path.endswith(".pyc"):
            continue
        if inside is None or inside[1] == "METADATA":
            yield path, row[1] if len(row) > 1 else ""


def recorded_contents(distribution: importlib.metadata.Distribution) -> str:
    """The digest of a distribution's files by the list that its wheel brought; empty where there is none."""
    listed = sorted(listed_files(distribution.read_text("RECORD") or ""))
    if not listed or not all(value for _, value in listed):
        return ""
    return digest("".join(f"{path},{value}\n" for path, value in listed).encode())


def _vector_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> list[str]:
    try:
        text = cpuinfo.read_text()
    except OSError:
        return []
    line = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    flags = set(line.group(1).split()) if line else set()
    return [flag for flag in _VECTOR_FLAGS if flag in flags]


def _blas() -> str:
    config: Any = np.show_config(mode="dicts")
    blas = config.get("Build Dependencies", {}).get("blas", {})
    return f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip()


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def serving_environment() -> dict[str, Any]:
    """What this process answers in: interpreter, system, instruction sets, numeric libraries, threads, lock digest."""
    return {
        "python": platform.python_version(),
        "implementation": sys.implementation.name,
        "os": platform.system(),
        "libc": "-".join(platform.libc_ver()),
        "machine": platform.machine(),
        "vector": _vector_flags(),
        "numpy": _version("numpy"),
        "blas": _blas(),
        "openblas_coretype": os.environ.get("OPENBLAS_CORETYPE", ""),
        "onnxruntime": _version("onnxruntime"),
        "scikit-learn": _version("scikit-learn"),
        "provider": "CPUExecutionProvider",
        "threads": 1,
        "lock": digest(installed_distributions().encode()),
        # Only where it is set: an environment that never was told so keeps its digest.
        **({"numpy_disabled": disabled} if (disabled := os.environ.get("NPY_DISABLE_CPU_FEATURES", "")) else {}),
    }


def environment_digest(environment: dict[str, Any] | None = None) -> str:
    """The digest of a serving environment (this process's when None): that of its RFC 8785 JSON."""
    return digest(canonical_json(serving_environment() if environment is None else environment))
