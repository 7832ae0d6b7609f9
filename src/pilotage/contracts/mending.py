"""What is done about the faults of a row by the contract's own word: repair, review, fallback; and its rules of rows.

Only contracts that declare such things are checked this way. A row of which one fault is to be rejected is rejected,
with every fault it has.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from pilotage.contracts.body import Repeated
from pilotage.contracts.expression import Expression, parse_expression
from pilotage.contracts.faults import Fault, Repair, shown
from pilotage.contracts.model import Action, Column, DataContract, RowRule
from pilotage.contracts.rows import fault_of, plain_value
from pilotage.kernel.rows import Value

__all__ = ["Mended", "Mending"]

_LONGEST_NUMBER = 40


class Mended(NamedTuple):
    """What became of a row: its values, or its faults and what is done about them; and what was repaired.

    With the action `fallback`, `known` are the values with None for those at fault.
    """

    values: tuple[Value, ...] | None
    faults: tuple[Fault, ...] = ()
    repairs: tuple[Repair, ...] = ()
    action: Action = "reject"
    known: tuple[Value, ...] | None = None


class Mending:
    """The policies and rules of one contract, compiled. `needed` says whether it has any."""

    def __init__(self, contract: DataContract) -> None:
        self._features = contract.features
        names = [column.name for column in contract.features]
        self._rules: list[tuple[RowRule, Expression]] = [
            (rule, parse_expression(rule.check, contract.value_types, names)) for rule in contract.rules
        ]
        self._places = {name: at for at, name in enumerate(names)}
        self._hidden = {name: f"a value of {each.source}" for name, each in contract.brought.items()}
        self._forms = [at for at, column in enumerate(contract.features) if column.format or column.pattern]
        self.needed = bool(self._rules or self._forms or any(column.on_fault for column in contract.features))

    def fits(self, values: tuple[Value, ...]) -> bool:
        """Whether values that fit by type and range fit in form and by the rules too."""
        for at in self._forms:
            if fault_of(self._features[at], values[at]) is not None:
                return False
        return all(condition.truth(values) is not False for _, condition in self._rules)

    def mend(
        self, row: dict[str, Any], path: str, values: tuple[Value, ...] | None, faults: tuple[Fault, ...]
    ) -> Mended:
        """What becomes of a row with its faults by column, or of one without whose rules have not been looked at."""
        if values is not None:
            broken = self._broken(values, path)
            return Mended(None, broken, action=self._action_of_rules(broken)) if broken else Mended(values)
        known, repairs, actions = self._known(row, path, faults)
        broken = self._broken(known, path)
        faults += broken
        actions += [self._action_of_rules((fault,)) for fault in broken]
        if all(action == "repair" for action in actions):
            return Mended(known, repairs=tuple(repairs))
        for action in ("reject", "review"):
            if action in actions:
                return Mended(None, faults, action="review" if action == "review" else "reject")
        return Mended(None, faults, action="fallback", known=known)

    def _known(
        self, row: dict[str, Any], path: str, faults: tuple[Fault, ...]
    ) -> tuple[tuple[Value, ...], list[Repair], list[Action]]:
        at_fault = {fault.path: fault for fault in faults}
        known: list[Value] = []
        repairs: list[Repair] = []
        actions: list[Action] = []
        repeated = row.names if isinstance(row, Repeated) else ()
        for column in self._features:
            fault = at_fault.pop(f"{path}.{column.name}", None)
            if fault is None:
                known.append(plain_value(row[column.name]) if column.name in row else None)
                continue
            action = "reject" if column.name in repeated else column.action(fault.code)
            used = _repaired(column, row.get(column.name)) if action == "repair" else None
            if action == "repair" and used is None:
                action = "reject"
            elif action == "repair":
                repairs.append(Repair(path=fault.path, code=fault.code, got=fault.got, used=used))
            known.append(used)
            actions.append(action)
        actions += ["reject"] * len(at_fault)  # unknown fields, the subject, more faults than are listed
        return tuple(known), repairs, actions

    def _broken(self, values: tuple[Value, ...], path: str) -> tuple[Fault, ...]:
        return tuple(
            Fault(
                path=path,
                code="rule",
                message=rule.message or f"the row breaks the rule {rule.name}",
                got=", ".join(f"{name} = {self._shown(name, values)}" for name in condition.names)[:200],
                expected=rule.check,
                mend="check these values together",
            )
            for rule, condition in self._rules
            if condition.truth(values) is False
        )

    def _shown(self, name: str, values: tuple[Value, ...]) -> str:
        return self._hidden.get(name) or shown(values[self._places[name]])

    def _action_of_rules(self, broken: tuple[Fault, ...]) -> Action:
        expected = {fault.expected for fault in broken}
        actions = {rule.action for rule, _ in self._rules if rule.check in expected}
        return "reject" if "reject" in actions else "review"


def _repaired(column: Column, value: Any) -> Value:
    """The value that is used for one at fault: the number in quotes where it is one, else the declared one."""
    if column.numeric and isinstance(value, str) and len(value) <= _LONGEST_NUMBER and value.isascii():
        try:
            number = float(value.replace("_", "x"))
        except ValueError:
            return column.impute
        if fault_of(column, number) is None:
            return number
    return column.impute
