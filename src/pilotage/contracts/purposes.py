"""What data may be used for: a column that says so is not used for anything else."""

from __future__ import annotations

from collections.abc import Collection

from pilotage.contracts.model import DataContract
from pilotage.errors import Refused

__all__ = ["against_purpose", "require_purpose"]


def against_purpose(contract: DataContract, declared: Collection[str]) -> list[dict[str, object]]:
    """The columns that a system uses against their purposes, one fault each; `declared` are the system's purposes.

    Features, subject and target are used, ignored columns are not. A column without purposes may be used for any.
    """
    return [
        {
            "path": f"columns.{column.name}",
            "code": "against_purpose",
            "message": f"{column.name} ({column.role}) may not be used for "
            + (", ".join(sorted(beyond)) or "a purpose that nobody declared"),
            "got": ", ".join(declared) or "no purpose",
            "expected": ", ".join(column.purposes),
            "mend": "leave the column out (role ignored), or have whoever owns the data allow the purpose",
        }
        for column in contract.columns
        if column.purposes and column.role != "ignored"
        if (beyond := set(declared) - set(column.purposes)) or not declared
    ]


def require_purpose(contract: DataContract, declared: Collection[str]) -> None:
    """Raise Refused (`against_purpose`) with every column that is used against its purpose."""
    if faults := against_purpose(contract, declared):
        raise Refused(
            "columns are used against the purposes that the data contract allows",
            got=", ".join(declared) or "no purpose: `data_use` of pilotage.yaml is empty",
            mend="leave them out, or declare in `data_use` what the system uses data for",
            code="against_purpose",
            faults=faults,
        )
