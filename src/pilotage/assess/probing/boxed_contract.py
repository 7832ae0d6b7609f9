"""Runs inside the box, in this installation's own environment: drafts the contract of the pilot's data.

Where the pilot has a contract of its own, its rows are held to it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pilotage.assess.probing.boxed_copy import Writer, begin
from pilotage.contracts.guessing import guess
from pilotage.contracts.infer import infer_contract
from pilotage.contracts.odcs import from_odcs
from pilotage.contracts.table import FaultCount, check_table
from pilotage.contracts.written import to_file
from pilotage.errors import PilotageError

__all__ = ["main"]

_FEW = 0.01


def _draft(request: dict[str, Any], writer: Writer) -> None:
    path = Path(request["data"])
    names = ("target", "subject", "ignore", "protected", "categorical")
    inferred = infer_contract(path, name=request["name"], **{name: request[name] for name in names})
    guessed = guess(path, inferred)
    writer.tell(draft=to_file(guessed.contract, guessed.notes, f"Drafted from {path.name}."))


def _held(request: dict[str, Any], writer: Writer) -> None:
    """Whether the rows keep to the contract that lies beside them."""
    file = request["contract"]
    contract = from_odcs((Path(request["root"]) / file).read_text(encoding="utf-8"))
    checked = check_table(Path(request["data"]), contract)
    share = checked.faulty / max(1, checked.rows)
    findings = [{"message": f"no column {name}", "file": file, "line": 0} for name in checked.missing]
    findings += [{"message": _told(each), "file": file, "line": 0} for each in checked.faults]
    level = 0.0 if checked.missing or share > 10 * _FEW else 1.0 if share <= _FEW else 0.5
    said = f"{checked.rows - checked.faulty} of {checked.rows} rows keep to {file}"
    figures = {"rows": checked.rows, "faulty": checked.faulty, "missing": checked.missing}
    writer.step("data.schema", level, said, findings=findings[:20], **figures)


def _told(fault: FaultCount) -> str:
    return f"{fault.column}: {fault.code} in {fault.rows} rows, expected {fault.expected}"


def main() -> None:
    """Read the request, draft and check; what cannot be done is told."""
    request, writer = begin()
    for what, step in (("the draft of its contract", _draft), ("data.schema by its contract", _held)):
        if step is _held and not request["contract"]:
            continue
        try:
            step(request, writer)
        except (PilotageError, OSError, UnicodeError) as error:
            writer.unknown(what, str(error).splitlines()[0])
        writer.tell(done=step.__name__.strip("_"))


if __name__ == "__main__":
    main()
