"""The step `validate`: does the data fit the contract, and if not, by which faults?"""

from __future__ import annotations

from pathlib import Path

from pilotage.contracts.table import TableCheck, check_table
from pilotage.kernel.canonical import canonical_json
from pilotage.kernel.clock import rfc3339
from pilotage.releases.declared import given_contract
from pilotage.systems.model import AISystem

__all__ = ["validate"]


def validate(folder: Path, system: AISystem, faulty: float, at: int) -> tuple[bytes, str]:
    """(report as canonical JSON, what is wrong: empty if the whole file holds but for the share `faulty` of its rows).

    The contract is the declared one; without one it is inferred, and then says only that the data can be read. How old
    the newest moment may be is judged at a time (Unix microseconds), and no part of the report: the same data gives
    the same one. Raises InputError when the data cannot be read.
    """
    contract = given_contract(folder, system)
    found = check_table(folder / system.pilot.data, contract, at=at)
    report = {
        "contract": contract.digest(),
        "declared": bool(system.contract),
        "rows": found.rows,
        "faulty": found.faulty,
        "duplicates": found.duplicates,
        "faults": [{"column": each.column, "code": each.code, "rows": each.rows} for each in found.faults],
        "missing": found.missing,
        "unknown": found.unknown,
        "twice": found.twice,
    }
    return canonical_json(report), "; ".join(_wrong(found, faulty))


def _wrong(found: TableCheck, faulty: float) -> list[str]:
    """What is wrong with the file, in words."""
    wrong = []
    if found.missing:
        wrong.append(f"columns are missing: {', '.join(found.missing)}")
    elif found.faulty > faulty * found.rows:
        told = ", ".join(f"{each.column} {each.code} {each.rows:,}" for each in found.faults[:12])
        wrong.append(f"{found.faulty:,} of {found.rows:,} rows break the contract: {told}")
    wrong += [f"{count:,} rows hold a {name} that was there before" for name, count in found.twice.items() if count]
    for name, newest in found.stale.items():
        wrong.append(f"{name} is too old: " + ("no moment in it" if newest is None else f"newest {rfc3339(newest)}"))
    return wrong
