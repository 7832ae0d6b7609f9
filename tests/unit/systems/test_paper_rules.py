"""The `paper:` and `packages:` sections of a declaration: all faults, each with its path."""

from __future__ import annotations

import pytest

from pilotage.errors import InputError
from pilotage.systems.parse import parse_system

DECLARED = """
id: loans
name: Loans
purpose: Scores.
risk_tier: low
owners: {business: b, model: m, operations: o, risk: r}
pilot: {artefact: m.joblib, data: d.csv, target: y, positive: "1"}
"""


def test_words_and_rules_are_read() -> None:
    system = parse_system(
        (
            DECLARED + "paper: {intended_use: To refer.}\npackages: {denied: [MIT], accepted: {scipy: read it}}\n"
        ).encode()
    )
    assert system.paper.intended_use == "To refer." and system.paper.contact == ""
    assert system.packages.denied == ["MIT"] and system.packages.fail_from == "high"


def test_faults_are_told_at_once() -> None:
    text = f"""paper: {{limitations: {"x" * 6_000}}}
packages: {{days: 0, allowed: [MIT], denied: [MIT], accepted: {{scipy: " "}}}}
"""
    with pytest.raises(InputError) as raised:
        parse_system((DECLARED + text).encode())
    paths = {str(fault["path"]) for fault in raised.value.faults}
    assert paths == {"paper.limitations", "packages.days", "packages.denied", "packages.accepted.scipy"}
