"""Columns that a source brings: what may be declared, what becomes of a row, and what is told of it to whom."""

from __future__ import annotations

import json

import msgspec
import pytest

from pilotage.contracts.accepts import differences
from pilotage.contracts.compile import AskingRow, compile_contract
from pilotage.contracts.enrichment import Drawn, Enrichment
from pilotage.contracts.model import Column, DataContract, RowRule
from pilotage.contracts.odcs import from_odcs, to_odcs
from pilotage.errors import InputError

DECLARED = Enrichment(
    source="bureau",
    key={"customer": "id"},
    columns={"score": "points", "band": "band"},
    table="risk.scores",
    time="at",
    max_age="1h",
)


def contract(declared=(DECLARED,), rules=(), **score):
    return DataContract(
        name="c",
        version="1",
        subject="customer",
        columns=(
            Column(name="customer", type="string", role="subject"),
            Column(name="amount", type="number", minimum=0, on_fault={"below_minimum": "review"}),
            Column(name="score", type="number", minimum=0, maximum=100, **score),
            Column(name="band", type="string", categories=("a", "b")),
        ),
        enrichment=tuple(declared),
        rules=tuple(rules),
    )


def asking(made, **sent):
    row = {"customer": "c-1", "amount": 5} | sent
    return compile_contract(made).check(json.dumps({"inputs": row}).encode()).rows[0]


def drawn(score=50.0, band="a", **facts):
    both = {"score": score, "band": band}
    facts = {"age_s": 60.0, "at": 1} | facts
    return {name: Drawn(column=name, source="bureau", value=value, **facts) for name, value in both.items()}


def whole(made, told, **sent):
    row = asking(made, **sent)
    assert isinstance(row, AskingRow)
    return compile_contract(made).complete(row, told)


def test_a_row_is_complete_in_the_order_of_the_contract_and_keeps_what_was_sent():
    row = asking(contract())
    assert row.keys == (("c-1",),) and row.values is None
    done = whole(contract(), drawn())
    assert done.values == (5.0, 50.0, "a") and json.loads(done.raw) == {"customer": "c-1", "amount": 5}
    assert [(each.column, each.value, each.fault) for each in done.drawn] == [("score", 50.0, ""), ("band", "a", "")]


@pytest.mark.parametrize(
    ("told", "codes"),
    [
        ({}, ["source_failed"] * 2),
        (drawn(status="timeout"), ["source_failed"] * 2),
        (drawn(status="not_found"), ["not_found"] * 2),
        (drawn(status="wrong_type"), ["wrong_type"] * 2),
        (drawn(age_s=3_600.1), ["stale"] * 2),
        (drawn(age_s=None), ["stale"] * 2),
        (drawn(age_s=float("nan")), ["stale"] * 2),
        (drawn(age_s=3_600.0), []),
        (drawn(score=float("nan")), ["not_finite"]),
        (drawn(score=101.0), ["above_maximum"]),
        (drawn(score="50"), ["wrong_type"]),
        (drawn(score=True), ["wrong_type"]),
        (drawn(score=None), ["null"]),
        (drawn(band="c"), ["unseen_category"]),
    ],
)
def test_what_a_source_says_is_held_to_the_same_contract(told, codes):
    done = whole(contract(), told)
    assert [fault.code for fault in done.faults] == codes
    assert (done.values is None) == bool(codes)
    assert [each.fault for each in done.drawn if each.fault] == codes
    assert all("101" not in fault.got and "bureau" in fault.got for fault in done.faults)


@pytest.mark.parametrize("code", ["stale", "not_found", "source_failed", "above_maximum"])
@pytest.mark.parametrize("action", ["reject", "repair", "review", "fallback"])
def test_each_fault_ends_by_the_contracts_own_word(code, action):
    told = {"stale": drawn(age_s=4_000.0), "not_found": drawn(status="not_found"), "source_failed": {}}
    told["above_maximum"] = drawn(score=900.0)
    made = contract([msgspec.structs.replace(DECLARED, columns={"score": "points"})], on_fault={code: action}, impute=7)
    found = {"score": told[code]["score"]} if told[code] else {}
    done = whole(made, found, band="b")
    if action == "repair":
        assert done.values == (5.0, 7.0, "b") and (done.repairs[0].code, done.repairs[0].used) == (code, 7.0)
    else:
        assert done.values is None and done.action == action
        assert done.known == ((5.0, None, "b") if action == "fallback" else None)
    assert done.drawn[0].fault == code


def test_rules_over_columns_see_the_whole_row_and_tell_nothing_of_a_source():
    made = contract(rules=[RowRule(name="low", check="score > amount", action="review")])
    assert whole(made, drawn()).values
    done = whole(made, drawn(score=4.0))
    assert done.action == "review" and done.faults[0].got == "score = a value of bureau, amount = 5.0"


def test_nobody_is_looked_up_for_a_row_that_nothing_can_save():
    assert not isinstance(asking(contract(), amount="5"), AskingRow)
    assert not isinstance(asking(contract(), customer=" "), AskingRow)
    assert not isinstance(asking(contract(), extra=1), AskingRow)
    brought = asking(contract(), score=5)
    assert not isinstance(brought, AskingRow) and brought.faults[0].code == "unknown_field"
    assert brought.faults[0].mend == "remove the field: the source bureau brings it"
    reviewed = asking(contract(), amount=-1)
    assert isinstance(reviewed, AskingRow), "a person will want to see the whole row"
    assert compile_contract(contract()).complete(reviewed, drawn()).action == "review"


def test_a_request_may_bring_a_column_where_that_is_declared():
    made = contract([msgspec.structs.replace(DECLARED, override="request")])
    assert [column.name for column in made.inputs] == ["customer", "amount"]
    assert [column.name for column in made.optional] == ["score", "band"]
    assert asking(made, score=9, band="b").keys == (None,), "there is nothing left to ask for"
    done = whole(made, drawn(), score=9)
    assert done.values == (5.0, 9.0, "a")
    assert [(each.source, each.value) for each in done.drawn] == [("request", 9.0), ("bureau", "a")]
    assert asking(made, score="9").faults[0].code == "wrong_type"


def test_a_record_is_judged_again_also_by_another_release():
    raw, told = b'{"customer":"c-1","amount":5}', drawn()
    assert compile_contract(contract()).again(raw, told).values == (5.0, 50.0, "a")
    stale = compile_contract(contract()).again(raw, drawn(age_s=4_000.0))
    assert [fault.code for fault in stale.faults] == ["stale", "stale"]
    sent = contract([])
    assert compile_contract(sent).again(raw, told, other=True).values == (5.0, 50.0, "a")
    full = b'{"customer":"c-1","amount":5,"score":50,"band":"a"}'
    assert compile_contract(contract()).again(full, {}, other=True).values == (5.0, 50.0, "a")
    assert compile_contract(contract()).again(full, {}).faults[0].code == "unknown_field"
    patient = contract([msgspec.structs.replace(DECLARED, max_age="2h")])
    assert compile_contract(patient).again(raw, drawn(age_s=4_000.0), other=True).values


def test_a_key_is_text_whatever_it_was_sent_as_and_never_a_truth():
    made = contract([msgspec.structs.replace(DECLARED, key={"customer": "id"})])
    assert asking(made, customer=5).keys == asking(made, customer="5").keys == (("5",),)
    assert not isinstance(asking(made, customer=True), AskingRow)


def test_odcs_keeps_it_and_digests_of_contracts_without_it_are_what_they_were():
    made = contract(
        [msgspec.structs.replace(DECLARED, cache="5m", override="request", timeout=0.2)], on_fault={"stale": "review"}
    )
    assert from_odcs(to_odcs(made)) == made
    assert "enrichment" not in contract([]).as_dict() and from_odcs(to_odcs(contract([]))) == contract([])
    assert made.digest() != contract([DECLARED]).digest() != contract([]).digest()


@pytest.mark.parametrize(
    "changes",
    [
        {"source": "Bureau"},
        {"source": "request"},
        {"source": "a_token"},
        {"source": "bureau;"},
        {"key": {}},
        {"key": {"amount": "id"}},
        {"key": {"band": "id"}},
        {"key": {"nobody": "id"}},
        {"columns": {}},
        {"columns": {"customer": "x"}},
        {"columns": {"nobody": "x"}},
        {"columns": {"score": "id"}},
        {"columns": {"score": 'a"b'}},
        {"table": "a.b.c"},
        {"time": ""},
        {"max_age": ""},
        {"max_age": "soon"},
        {"max_age": "0s"},
        {"cache": "2h"},
        {"cache": "30m", "max_age": "10m"},
        {"timeout": 0.0},
        {"timeout": float("nan")},
    ],
)
def test_what_may_not_be_declared(changes):
    with pytest.raises(InputError) as caught:
        contract([msgspec.structs.replace(DECLARED, **changes)])
    assert all(fault["path"].startswith("enrichment") and fault["mend"] for fault in caught.value.faults)


def test_faults_of_sources_are_for_columns_of_sources_and_keys_are_not_repaired():
    with pytest.raises(InputError, match="not valid"):
        contract([], on_fault={"stale": "review"})
    with pytest.raises(InputError, match="not valid"):
        contract([DECLARED, DECLARED])
    keyed = msgspec.structs.replace(DECLARED, key={"band": "id"}, columns={"score": "points"})
    assert contract([keyed]).asked
    with pytest.raises(InputError, match="not valid"):
        msgspec.structs.replace(
            contract([keyed]),
            columns=(
                *contract([keyed]).columns[:3],
                Column(name="band", type="string", on_fault={"any": "repair"}, impute="a"),
            ),
        )


def test_a_fallback_gets_what_was_drawn_and_nothing_else():
    made = contract()
    assert differences(made, made) == []
    assert differences(contract([]), made)[0]["code"] == "fallback_incompatible"
    assert differences(contract([msgspec.structs.replace(DECLARED, max_age="2h")]), made)
