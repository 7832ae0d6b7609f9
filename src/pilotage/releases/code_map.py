"""The code map of a release: which features are one factor, what a person is told of it, and what may be a factor.

What is declared stands. Every other feature that may be a reason gets a generated entry, features that go together
sharing one: no principal factor is left out for want of a code, and the entry is marked as approved by nobody.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pilotage.contracts.model import DataContract
from pilotage.errors import InputError
from pilotage.evaluation.association import Columns, associations, connected
from pilotage.systems.model import AISystem, Reason

__all__ = ["CodeMap", "check_code_map", "check_inputs", "make_code_map", "proxies_of"]


@dataclass(frozen=True, kw_only=True)
class CodeMap:
    """Groups in order of declaration, then generated ones by name; the codes of the latter; what was measured.

    `across` are pairs of features that go together though the declaration has them in two groups.
    """

    groups: list[Reason]
    generated: list[str]
    across: list[dict[str, Any]]


def check_code_map(system: AISystem, contract: DataContract) -> None:
    """Refuse a code map with unknown features, features in two groups, or protected ones. Raises InputError, all."""
    columns = {column.name: column for column in contract.features}
    faults: list[dict[str, object]] = []
    seen: dict[str, str] = {}
    for reason in system.reasons:
        for feature in reason.features:
            path = f"reasons.{reason.code}"
            if feature not in columns:
                faults.append(_fault(path, f"{feature} is no feature of the data contract", "name a feature"))
            elif columns[feature].protected:
                why = f"{feature} is protected: it can never be a reason for a decision"
                faults.append(_fault(path, why, "remove it from the code map"))
            if feature in seen:
                faults.append(_fault(path, f"{feature} is in {seen[feature]} as well", "keep it in one group"))
            seen[feature] = reason.code
    if faults:
        raise InputError(
            "the code map of reasons cannot be used", mend="mend every fault listed", code="reasons", faults=faults
        )


def check_inputs(system: AISystem, contract: DataContract, used: Iterable[str]) -> None:
    """Refuse a model that takes what it may not. `used` are the features that its scores depend on.

    Raises InputError with every prohibited column that is a feature, and every protected one that is used without a
    reason in `pilot.protected_inputs`.
    """
    pilot = system.pilot
    depends = set(used)
    faults = [
        _fault("pilot.prohibited", f"{column.name} is prohibited and a feature of the contract", "ignore the column")
        for column in contract.features
        if column.name in pilot.prohibited
    ]
    faults += [
        _fault(
            "pilot.protected_inputs",
            f"the model's scores depend on {column.name}, which is protected",
            "fit the model without it, or say in pilot.protected_inputs why the law and the risk owner allow it",
        )
        for column in contract.features
        if column.protected and column.name in depends and column.name not in {*pilot.protected_inputs}
    ]
    if faults:
        raise InputError(
            "the model takes what decisions must not turn on",
            mend="mend every fault listed",
            code="prohibited_input",
            faults=faults,
        )


def proxies_of(
    system: AISystem, columns: Columns, used: Iterable[str], protected: Sequence[str]
) -> list[dict[str, Any]]:
    """Inputs that tell a protected column, strongest first: [{feature, protected, association}].

    Raises InputError for any when the declaration says that proxies fail.
    """
    open_to = [name for name in dict.fromkeys(used) if name not in protected]
    measured = associations(columns, [(name, each) for name in open_to for each in protected])
    rules = system.explanation
    found: list[dict[str, Any]] = [
        {"feature": name, "protected": each, "association": round(value, 4)}
        for (name, each), value in sorted(measured.items(), key=lambda item: (-item[1], item[0]))
        if value >= rules.proxy
    ]
    if found and rules.proxies == "fail":
        faults = [
            _fault(
                f"pilot.protected.{entry['protected']}",
                f"{entry['feature']} is its proxy: association {entry['association']}",
                "fit the model without it",
            )
            for entry in found
        ]
        raise InputError(
            "the model takes proxies of protected columns",
            got=", ".join(str(entry["feature"]) for entry in found),
            expected=f"associations below {rules.proxy:g}",
            mend="mend every fault listed, or declare `explanation.proxies: report`",
            code="prohibited_input",
            faults=faults,
        )
    return found


def make_code_map(system: AISystem, contract: DataContract, columns: Columns, used: Iterable[str]) -> CodeMap:
    """The declared groups, then generated ones for every other feature that scores depend on and that may be told."""
    declared = {feature: reason.code for reason in system.reasons for feature in reason.features}
    depends = set(used)
    rest = [c.name for c in contract.features if not c.protected and c.name not in declared and c.name in depends]
    measured = associations(columns, _pairs([*declared, *rest]))
    close = {pair: value for pair, value in measured.items() if value >= system.explanation.correlated}
    found = connected(rest, [pair for pair in close if pair[0] in rest and pair[1] in rest])
    taken = {reason.code for reason in system.reasons}
    groups = []
    for names in found:
        code = _code(names[0], taken)
        taken.add(code)
        groups.append(Reason(code=code, text=_text(contract, names), features=names))
    across = [
        {"features": list(pair), "association": round(value, 4)}
        for pair, value in sorted(close.items(), key=lambda item: (-item[1], item[0]))
        if pair[0] in declared and declared.get(pair[0]) != declared.get(pair[1])
    ]
    return CodeMap(groups=[*system.reasons, *groups], generated=[group.code for group in groups], across=across)


def _pairs(names: Sequence[str]) -> list[tuple[str, str]]:
    return [(one, other) for at, one in enumerate(names) for other in names[at + 1 :]]


def _code(name: str, taken: set[str]) -> str:
    """A code from a feature's name that no other group has."""
    plain = re.sub(r"[^A-Z0-9]+", "-", name.upper()).strip("-") or "FEATURE"
    code, number = plain, 2
    while code in taken:
        code, number = f"{plain}-{number}", number + 1
    return code


def _text(contract: DataContract, names: Sequence[str]) -> str:
    """What the contract says of the columns; marked personal columns have a description that is no name."""
    told = []
    for name in names:
        column = contract.column(name)
        said = column.description if column is not None and not column.description.startswith("Marked personal") else ""
        told.append(said or name.replace("_", " "))
    return ", ".join(told)


def _fault(path: str, message: str, mend: str) -> dict[str, object]:
    return {"path": path, "code": "reasons", "message": message, "mend": mend}
