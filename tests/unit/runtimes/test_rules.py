"""A rules file: the first rule that holds answers, and every fault of the file at once."""

from __future__ import annotations

import pytest

from pilotage.contracts.model import DataContract
from pilotage.errors import InputError
from pilotage.runtimes.rules import read_rules
from pilotage.testing.releases import COLUMNS

CONTRACT = DataContract(name="x", version="1", columns=COLUMNS, subject="customer")
LABELS = ("refer", "approve")


def test_the_first_rule_that_holds_answers_then_the_default_then_nobody() -> None:
    text = b"""
version: 3
rules:
  - {name: late, when: late_payments >= 6, answer: refer}
  - {name: late-too, when: late_payments >= 3, answer: approve, note: reviewed}
"""
    rules = read_rules(text, CONTRACT, LABELS)
    assert rules.version == "3"
    assert rules.answer((1.0, 7.0, "own", 30.0)) == ("refer", "late")
    assert rules.answer((1.0, 4.0, "own", 30.0)) == ("approve", "late-too")
    assert rules.answer((1.0, 1.0, "own", 30.0)) is None
    assert rules.answer((1.0, None, "own", 30.0)) is None, "unknown does not hold"
    assert read_rules(text + b"default: refer\n", CONTRACT, LABELS).answer((1.0, 1.0, "own", 30.0)) == (
        "refer",
        "default",
    )


def test_every_fault_of_a_file_at_once() -> None:
    text = b"""
version: "1"
rules:
  - {name: one, when: late_payments >= , answer: refer}
  - {name: one, when: customer == "c", answer: reject}
  - {name: default, when: late_payments == 1, answer: refer}
default: maybe
"""
    with pytest.raises(InputError, match="6 faults") as caught:
        read_rules(text, CONTRACT, LABELS, "fallback.yaml")
    assert [fault["path"] for fault in caught.value.faults] == [
        "default",
        "rules[0].when",
        "rules[1].name",
        "rules[1].answer",
        "rules[1].when",
        "rules[2].name",
    ]


@pytest.mark.parametrize(
    "text", [b"[]", b"version: 1\n", b'version: "1"\nrules: []\n', b"version: 1\nrules: &a\n - *a", b"\xff"]
)
def test_what_is_no_rules_file_is_refused(text: bytes) -> None:
    with pytest.raises(InputError):
        read_rules(text, CONTRACT, LABELS)
