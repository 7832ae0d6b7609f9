"""Runs inside the box, in this installation's own environment: drafts the contract of the pilot's data.

Where the pilot has a contract of its own, its rows are held to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from pilotage.assess.probing.boxed_copy import Writer, begin
from pilotage.contracts.guessing import Guessed, guess
from pilotage.contracts.infer import infer_contract
from pilotage.contracts.model import DataContract
from pilotage.contracts.odcs import from_odcs
from pilotage.contracts.table import FaultCount, check_table
from pilotage.errors import PilotageError

__all__ = ["main"]

_FEW = 0.01


def _draft(request: dict[str, Any], writer: Writer) -> None:
    """The contract that the rows suggest; where nobody said whose rows they are, by the first column that is an id."""
    path, name, columns = Path(request["data"]), request["name"], request["columns"]
    wanted = columns["subject"] is None
    known = columns | ({"subject": ""} if wanted else {})
    found = guess(path, infer_contract(path, name=name, **known))
    subject = _subject(found.contract) if wanted else ""
    if subject:
        found = guess(path, infer_contract(path, name=name, **known | {"subject": subject}))
    writer.tell(draft=msgspec.to_builtins(_discreet(found, columns.get("categorical", ()))))


def _subject(contract: DataContract) -> str:
    """The first column that is unique and called an id; empty where there is none."""
    named = [c.name for c in contract.columns if c.unique and c.role == "feature" and c.type in ("integer", "string")]
    return next(iter(named), "")


def _discreet(found: Guessed, listed: Sequence[str]) -> Guessed:
    """The contract without the values of personal text, but of columns whose values were declared to be listed."""
    hidden = [
        c.name
        for c in found.contract.columns
        if c.personal and not c.protected and c.type == "string" and c.categories is not None and c.name not in listed
    ]
    columns = [msgspec.structs.replace(c, categories=None) if c.name in hidden else c for c in found.contract.columns]
    told = "CONFIRM its values are not listed here, since they are personal."
    notes = found.notes | {name: [*found.notes.get(name, []), told] for name in hidden}
    return Guessed(contract=msgspec.structs.replace(found.contract, columns=tuple(columns)), notes=notes)


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
