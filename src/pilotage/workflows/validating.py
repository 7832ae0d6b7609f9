"""The step `validate`: does the data fit the contract, and if not, by which faults?"""

from __future__ import annotations

from pathlib import Path

from pilotage.contracts.infer import infer_contract
from pilotage.contracts.odcs import from_odcs
from pilotage.kernel.canonical import canonical_json
from pilotage.releases.data import read_rows
from pilotage.systems.model import AISystem

__all__ = ["validate"]


def validate(folder: Path, system: AISystem, faulty: float) -> tuple[bytes, str]:
    """(report as canonical JSON, what is wrong: empty if no more than the share `faulty` of rows breaks the contract).

    The contract is the declared one; without one it is inferred, and then says only that the data can be read.
    Raises InputError when it cannot be.
    """
    pilot = system.pilot
    hidden = list(dict.fromkeys([*pilot.protected, *pilot.prohibited]))
    if system.contract:
        contract = from_odcs((folder / system.contract).read_text(encoding="utf-8"))
    else:
        contract = infer_contract(
            folder / pilot.data,
            name=system.id,
            target=pilot.target,
            subject=pilot.subject,
            ignore=list(dict.fromkeys([*pilot.ignore, *pilot.prohibited])),
            personal=pilot.personal,
            protected=hidden,
            categorical=pilot.categorical,
        )
    rows = read_rows(
        folder / pilot.data,
        contract,
        target=pilot.target,
        positive=pilot.positive,
        slices=[],
        share=pilot.holdout,
        seed=pilot.seed,
    )
    good, refused = len(rows.rows), sum(rows.refused.values())
    report = {
        "contract": contract.digest(),
        "declared": bool(system.contract),
        "rows": good + refused,
        "refused": refused,
        "faults": dict(sorted(rows.refused.items())),
    }
    told = ", ".join(f"{code} {count:,}" for code, count in sorted(rows.refused.items()))
    wrong = f"{refused:,} of {good + refused:,} rows break the contract: {told}"
    return canonical_json(report), wrong if refused > faulty * (good + refused) else ""
