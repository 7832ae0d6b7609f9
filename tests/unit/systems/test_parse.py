"""`pilotage.yaml`: all faults at once, each with its path; nothing dangerous is expanded."""

from __future__ import annotations

from pathlib import Path

import pytest

from pilotage.errors import InputError, NotFound
from pilotage.systems.parse import load_system, parse_system

GOOD = """
id: credit-default
name: Credit default
purpose: Estimates the risk of default.
risk_tier: high
owners: {business: lending, model: data science, operations: platform, risk: model risk}
pilot: {artefact: model.joblib, data: data.csv, target: default, positive: 1, subject: customer, protected: [sex]}
answer: {threshold: 0.4, adverse: decline, favourable: approve}
reasons:
  - {code: R1, text: Recent late payments, features: [late_1, late_2]}
"""


def faults(text: str) -> dict[str, str]:
    with pytest.raises(InputError) as caught:
        parse_system(text.encode())
    assert all(fault["mend"] for fault in caught.value.faults)
    return {str(fault["path"]): str(fault["message"]) for fault in caught.value.faults}


def test_a_good_declaration_is_read_and_a_number_may_stand_for_text() -> None:
    system = parse_system(GOOD.encode())
    assert system.pilot.positive == "1"
    assert system.reasons[0].features == ["late_1", "late_2"]
    assert system.answer.threshold == 0.4


def test_every_fault_is_named_in_one_round() -> None:
    found = faults(
        """
id: Credit Default
name: ""
risk_tier: extreme
owners: {business: lending, model: ds, operations: [ops]}
pilot: {artefact: a, data: d, target: y, positive: yes, holdout: half, sise: 3}
reasons: [{code: R1, text: 5, features: late}]
"""
    )
    assert set(found) == {
        "purpose",
        "risk_tier",
        "owners.operations",
        "owners.risk",
        "pilot.positive",
        "pilot.holdout",
        "pilot.sise",
        "reasons[0].features",
    }


def test_what_types_cannot_say_is_checked_too() -> None:
    text = GOOD.replace("id: credit-default", "id: Credit_").replace("threshold: 0.4", "threshold: 4")
    text = text.replace("favourable: approve", "favourable: decline").replace("model.joblib", "../model.joblib")
    text = text.replace("[late_1, late_2]", "[sex, customer, default]")
    found = faults(text.replace("subject: customer", "subject: customer, holdout: 1.0, slices: [a, a]"))
    assert set(found) == {
        "id",
        "answer.threshold",
        "answer.favourable",
        "pilot.artefact",
        "pilot.holdout",
        "pilot.slices",
        "reasons[0].features",
    }


def test_rules_of_explanation_and_exceptions_are_checked() -> None:
    rules = "explanation: {correlated: 0, proxy: 1.5, proxies: maybe, background: 5}\n"
    found = faults(GOOD + rules)
    assert set(found) == {"explanation.proxies"}
    text = GOOD.replace(
        "protected: [sex]", "protected: [sex], prohibited: [hair, late_1], protected_inputs: {hair: x, sex: ' '}"
    )
    found = faults(text + rules.replace("maybe", "fail"))
    assert set(found) == {
        "explanation.correlated",
        "explanation.proxy",
        "explanation.background",
        "pilot.protected_inputs.hair",
        "pilot.protected_inputs.sex",
        "reasons[0].features",
    }
    good = parse_system((GOOD + "explanation: {background: 300, proxies: fail}\n").encode())
    assert good.explanation.background == 300
    assert set(faults(GOOD.replace("protected: [sex]", "protected_inputs: [sex]"))) == {"pilot.protected_inputs"}


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("a: &x [1]\nb: *x\n", "aliases"),
        (GOOD + "id: again\n", "once"),
        ("? [a, b]\n: 1\n", "plain text"),
        ("a: !!python/object/apply:os.system ['true']\n", "YAML"),
        ("a: [", "YAML"),
        ("- 1\n", "mapping"),
        ("", "mapping"),
        ("[" * 5000, "YAML"),
        ("a: '" + "x" * 300_000 + "'", "too long"),
        ("a: \x00", "YAML"),
    ],
)
def test_hostile_files_are_refused(text: str, word: str) -> None:
    with pytest.raises(InputError, match=word):
        parse_system(text.encode())


def test_files_that_are_named_must_exist(tmp_path: Path) -> None:
    path = tmp_path / "pilotage.yaml"
    path.write_text(GOOD + "contract: c.yaml\n")
    (tmp_path / "data.csv").touch()
    with pytest.raises(InputError) as caught:
        load_system(path)
    assert [fault["path"] for fault in caught.value.faults] == ["pilot.artefact", "contract"]
    (tmp_path / "model.joblib").touch()
    (tmp_path / "c.yaml").touch()
    assert load_system(path).contract == "c.yaml"
    with pytest.raises(NotFound):
        load_system(tmp_path)
