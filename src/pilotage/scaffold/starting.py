"""A new system from nothing but what people say of it, and perhaps rows to learn from."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from pilotage.assess.reading import read_bytes
from pilotage.contracts.guessing import Guessed, guess
from pilotage.contracts.infer import infer_contract
from pilotage.contracts.model import DataContract
from pilotage.contracts.written import to_file
from pilotage.errors import InputError
from pilotage.scaffold.example import EXAMPLE_ROWS, example_contract, example_rows
from pilotage.scaffold.model import ROLES, Files, NewSystem
from pilotage.scaffold.texts import WHAT, pinned, rendered, shared_files
from pilotage.systems.placeholders import UNNAMED, UNSTATED

__all__ = ["MOST_DATA", "drafted", "id_of", "known_columns", "new_system", "production_first", "told_of"]

MOST_DATA = 256 << 20
"""The most bytes of rows that are taken along."""
_MOST_SLICED = 20
_STEPS = ("steps/declared.py", "steps/ingest.py", "steps/train.py", "steps/evaluate.py", "tests/test_steps.py")


def id_of(name: str) -> str:
    """A name as an id: small letters, digits and hyphens. Raises InputError where nothing of it can be one."""
    made = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:64].strip("-")
    if not made:
        raise InputError("no id can be made of this name", got=name, expected="letters or digits", mend="give --name")
    return made


def new_system(
    name: str,
    *,
    purpose: str = "",
    risk_tier: str = "high",
    owners: Mapping[str, str] | None = None,
    target: str = "",
    positive: str = "1",
    subject: str = "",
) -> NewSystem:
    """A system by what people say of it; what they leave out is a placeholder. Raises InputError."""
    spoken = name.strip() if " " in name.strip() else re.sub(r"[-_]+", " ", name.strip()).capitalize()
    made = NewSystem(
        id=id_of(name),
        name=spoken,
        purpose=purpose.strip() or UNSTATED,
        risk_tier=risk_tier,  # type: ignore[arg-type]  # the command line takes no other
        owners={role: (owners or {}).get(role, UNNAMED) for role in ROLES},
        positive=positive,
        subject=subject,
    )
    return replace(made, target=target) if target else made


def drafted(data: Path, system: str, target: str, subject: str) -> Guessed:
    """The contract that rows suggest, with what a person must confirm. Protected columns are no features of it."""
    first = guess(data, infer_contract(data, name=system, target=target, subject=subject))
    hidden = [c.name for c in first.contract.columns if c.protected and c.role == "feature"]
    if not hidden:
        return first
    again = infer_contract(data, name=system, target=target, subject=subject, ignore=hidden, protected=hidden)
    found = guess(data, again)
    told = "CONFIRM protected and left out of the inputs; say so in pilot.protected_inputs if the law allows it."
    return Guessed(contract=found.contract, notes=found.notes | {name: [told] for name in hidden})


def known_columns(system: NewSystem, contract: DataContract) -> NewSystem:
    """The system with the marks of its contract's columns."""
    columns = contract.columns
    protected = tuple(c.name for c in columns if c.protected)
    few = {c.name for c in columns if c.categories is not None and len(c.categories) <= _MOST_SLICED}
    return replace(
        system,
        subject=contract.subject,
        ignore=tuple(c.name for c in columns if c.role == "ignored"),
        personal=tuple(c.name for c in columns if c.personal and c.role != "target"),
        protected=protected,
        slices=tuple(name for name in protected if name in few),
        categorical=tuple(c.name for c in contract.features if c.categories is not None and not c.numeric),
    )


def production_first(system: NewSystem, *, ci: str, example: bool = False, data: Path | None = None) -> Files:
    """Every file of a new system, by path; nothing is written.

    With `example` made-up rows come along, with `data` those of a CSV, from which the contract is drawn up. Without
    either the contract is an example to edit. Raises InputError when the rows cannot be read or have no such target.
    """
    if data is None:
        system = replace(
            system,
            subject="customer_id",
            ignore=("age_group",),
            personal=("customer_id", "age_group"),
            protected=("age_group",),
            slices=("age_group",),
            categorical=("employment",),
        )
        contract, rows = example_contract(system.id), example_rows() if example else b""
    else:
        rows = _rows(data)
        found = drafted(data, system.id, system.target, system.subject)
        system = known_columns(system, found.contract)
        contract = to_file(found.contract, found.notes, f"Made from {data.name}.")
    has_rules = data is None
    files: Files = {
        "pilotage.yaml": rendered("pilotage.yaml", system=system, rules=has_rules),
        "contract.odcs.yaml": contract.encode(),
        **pinned(),
        "data/README.md": rendered("data/README.md", example=example, rows=f"{EXAMPLE_ROWS:,}"),
        **{path: rendered(path) for path in _STEPS},
        **({"rules.yaml": rendered("rules.yaml", system=system)} if has_rules else {}),
        **({"data/raw.csv": rows} if rows else {}),
        **shared_files(
            system,
            ci=ci,
            raw="data/raw.csv",
            contract="contract.odcs.yaml",
            made=("model.joblib", "evaluation.json", "data/clean.csv"),
            hidden=not example,
        ),
    }
    files["README.md"] = rendered(
        "README.md",
        system=system,
        unnamed_in=system.open_fields,
        has_data=bool(rows),
        example=example,
        told=told_of(files),
    )
    return dict(sorted(files.items()))


def told_of(files: Files) -> list[tuple[str, str]]:
    """(path, what it is) of the files and folders that are there."""
    return [(path, what) for path, what in WHAT.items() if any(each == path or each.startswith(path) for each in files)]


def _rows(data: Path) -> bytes:
    """The bytes of a CSV with a header. Raises InputError."""
    if data.suffix.lower() != ".csv":
        raise InputError("the rows are no CSV", got=data.name, expected="a .csv file", mend="save them as CSV")
    try:
        content = read_bytes(data, MOST_DATA + 1)
    except OSError as error:
        raise InputError("the rows cannot be read", got=error, expected="a regular file", mend="name it") from error
    if len(content) > MOST_DATA:
        mend = "give a sample of them, and put the rest in data/raw.csv yourself"
        raise InputError("there are too many rows to take along", expected=f"{MOST_DATA >> 20} MiB", mend=mend)
    try:
        header = next(csv.reader(content.decode("utf-8-sig").splitlines()[:1]), [])
    except UnicodeDecodeError as error:
        raise InputError("the rows are not UTF-8", got=error, mend="save them as UTF-8") from error
    if len(header) < 2 or len({*header}) < len(header):
        raise InputError("the header is not usable", got=header[:20], expected="names, each once", mend="correct it")
    return content
