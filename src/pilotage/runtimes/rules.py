"""A rules file: what answers when no model can. Conditions over the contract's fields, the first that holds answers.

    version: "1"
    rules:
      - name: often-late
        when: late_payments >= 6
        answer: refer
    default: approve

It is read, checked against the contract and reviewed when a release is built, and is part of that release.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from pilotage.contracts.expression import Expression, parse_expression
from pilotage.contracts.model import DataContract
from pilotage.errors import InputError
from pilotage.kernel.documents import Fault, fault, read_document, read_struct, refuse
from pilotage.kernel.rows import Value

__all__ = ["MOST_RULES", "RULES", "RuleSet", "read_rules"]

RULES = "rules.yaml"
"""Its name in a release's folder."""
MOST_RULES = 200


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One rule: a name, a condition, and the label that it answers."""

    name: str
    when: str
    answer: str
    note: str = ""


class RulesFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file as written. Without a `default`, a row that no rule is for gets no answer."""

    version: str
    rules: list[Rule]
    default: str = ""
    note: str = ""


class RuleAnswer(NamedTuple):
    """The label, and the name of the rule that gave it (`default` for the default)."""

    label: str
    rule: str


class RuleSet:
    """The rules of a release, compiled. Safe to share."""

    def __init__(self, version: str, rules: Sequence[tuple[str, Expression, str]], default: str) -> None:
        self.version, self._rules, self._default = version, rules, default

    def answer(self, values: Sequence[Value]) -> RuleAnswer | None:
        """The answer for features in contract order; None when no rule is for them.

        A condition that is unknown, since a value is null, does not hold.
        """
        for name, condition, label in self._rules:
            if condition.truth(values):
                return RuleAnswer(label, name)
        return RuleAnswer(self._default, "default") if self._default else None


def read_rules(content: bytes, contract: DataContract, labels: Sequence[str], name: str = RULES) -> RuleSet:
    """The rules in a file's bytes, over the features of a contract. Raises InputError with every fault.

    `labels` are those that the system may answer.
    """
    document = read_document(content, name, 'version: "1"')
    faults: list[Fault] = []
    file = read_struct(RulesFile, document, "", faults)
    rules: list[tuple[str, Expression, str]] = []
    if isinstance(file, RulesFile):
        rules = _compiled(file, contract, labels, faults)
    refuse(name, faults)
    assert isinstance(file, RulesFile)  # noqa: S101 - there was a fault otherwise
    return RuleSet(file.version, rules, file.default)


def _compiled(
    file: RulesFile, contract: DataContract, labels: Sequence[str], faults: list[Fault]
) -> list[tuple[str, Expression, str]]:
    types, order = contract.value_types, list(contract.value_types)
    expected = f"one of: {', '.join(labels)}"
    if not file.rules or len(file.rules) > MOST_RULES:
        faults.append(fault("rules", "has too few or too many", got=len(file.rules), mend=f"1 to {MOST_RULES} rules"))
    if file.default and file.default not in labels:
        faults.append(fault("default", "is no label of the system", got=file.default, mend=expected))
    found, seen = [], {"default"}
    for at, rule in enumerate(file.rules):
        path = f"rules[{at}]"
        if not rule.name.strip() or rule.name in seen:
            faults.append(fault(f"{path}.name", "is empty, `default`, or there twice", got=rule.name, mend="rename it"))
        seen.add(rule.name)
        if rule.answer not in labels:
            faults.append(fault(f"{path}.answer", "is no label of the system", got=rule.answer, mend=expected))
        try:
            found.append((rule.name, parse_expression(rule.when, types, order), rule.answer))
        except InputError as error:
            faults.append(fault(f"{path}.when", error.what, got=error.got, mend=f"expected {error.expected}"))
    return found
