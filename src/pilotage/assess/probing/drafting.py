"""The draft of a pilot's data contract: its data are read in a box, by this installation's own packages."""

from __future__ import annotations

import json
import sys

from pilotage.assess.folder import Folder
from pilotage.assess.probing.told import Told, read_told
from pilotage.assess.reading import shown
from pilotage.contracts.guessing import Guessed
from pilotage.contracts.written import to_file
from pilotage.errors import Unavailable
from pilotage.sandbox.box import run_boxed
from pilotage.sandbox.model import Isolation, Limits

__all__ = ["DRAFT_LIMITS", "contract_text", "draft_contract"]

DRAFT_LIMITS = Limits(cpu_s=60, wall_s=60.0, memory_mb=4096, output_mb=16, file_mb=64)
"""What reading the data for a draft may take."""

_MODULE = "pilotage.assess.probing.boxed_contract"


def draft_contract(
    folder: Folder, data: str, *, name: str, target: str, held: str = "", limits: Limits = DRAFT_LIMITS
) -> tuple[Told, Isolation]:
    """What the rows of `data` suggest as a contract, and how far they keep to `held`, a contract in the folder.

    A pilot that declares its columns is taken at its word, else `target` is the column to be predicted. What could not
    be done is in `skipped`. Raises Unavailable where the box cannot be entered: the data are not read outside one.
    """
    pilot = folder.declared.pilot if folder.declared else None
    request = {"root": str(folder.root), "data": str(folder.root / data), "contract": held, "name": name}
    columns: dict[str, object] = {"target": target, "subject": None}
    if pilot is not None:
        columns = {each: getattr(pilot, each) for each in ("target", "subject", "personal", "categorical")}
        columns["ignore"] = list(dict.fromkeys([*pilot.ignore, *pilot.prohibited]))
        columns["protected"] = list(dict.fromkeys([*pilot.protected, *pilot.prohibited]))
    try:
        result = run_boxed(
            [sys.executable, "-P", "-s", "-B", "-m", _MODULE],
            readable=[folder.root],
            input=json.dumps(request | {"columns": columns}).encode(),
            limits=limits,
        )
    except OSError as error:
        raise _no_box(str(error)) from error
    if result.isolation == Isolation():
        last = result.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise _no_box(" ".join(last) or result.killed_reason)
    return read_told(result, folder, {"data.schema"}, "the draft of its contract"), result.isolation


def contract_text(found: Guessed, data: str) -> str:
    """The draft as a file to edit."""
    return to_file(found.contract, found.notes, f"Made from {data}.")


def _no_box(why: str) -> Unavailable:
    return Unavailable(
        "the box that reads the data could not be entered",
        got=shown(why),
        expected="a process of its own with limits; data are read nowhere else",
        mend="see that this machine has memory and processes to spare, then try again",
        code="box_failed",
    )
