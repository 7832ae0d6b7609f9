"""Open the runtime that a release names."""

from __future__ import annotations

from pathlib import Path

from pilotage.runtimes.model import ServingSpec
from pilotage.runtimes.onnx import OnnxRuntime
from pilotage.runtimes.ports import Runtime
from pilotage.runtimes.process import ProcessRuntime

__all__ = ["open_runtime"]


def open_runtime(folder: Path, spec: ServingSpec, *, patience_s: float = 0.0) -> Runtime:
    """The runtime of a release folder; `await start()` before the first row. Raises MissingExtra, IntegrityError, and
    InputError when it names a remote model that may not be asked.

    The folder's digests must have been checked before (`releases.load.open_release`). A process that gives no answer in
    `patience_s` (0: ten seconds) is replaced; a call of a remote model ends then.
    """
    if spec.runtime == "onnx":
        return OnnxRuntime(folder / spec.artefact, spec)
    if spec.runtime == "remote":
        # Its client costs 0.1 s of every start, and few releases need it.
        from pilotage.runtimes.remote import RemoteRuntime

        return RemoteRuntime(spec, patience_s=patience_s)
    return ProcessRuntime(folder / spec.artefact, spec, patience_s=patience_s)
