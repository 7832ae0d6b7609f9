"""Forms by regular expression: linear time, one meaning in every language, and a contract that shows what it takes."""

from __future__ import annotations

from time import process_time
from typing import Any

import msgspec
import pytest

from pilotage.contracts.accepts import differences
from pilotage.contracts.compile import compile_contract
from pilotage.contracts.model import TEXT_LENGTH, Column, DataContract
from pilotage.contracts.odcs import from_odcs, to_odcs
from pilotage.contracts.patterns import MOST_PATTERN, compile_pattern
from pilotage.errors import InputError
from pilotage.gateway.describe import example_row
from pilotage.gateway.openapi_schemas import row_schema
from pilotage.releases.hard_rows import messy_rows

IBAN = Column(name="iban", type="string", pattern=r"^[A-Z]{2}\d{2}[A-Z0-9]{11,30}$", example="NL91ABNA0417164300")


def _contract(*columns: Column) -> DataContract:
    return DataContract(name="c", version="1", columns=columns)


def _faults(contract: DataContract, value: Any) -> list[str]:
    (row,) = compile_contract(contract).check(msgspec.json.encode({"inputs": {contract.columns[0].name: value}})).rows
    assert (row.values is None) == bool(row.faults)
    return [fault.code for fault in row.faults]


def test_text_has_the_form_that_its_pattern_says() -> None:
    contract = _contract(IBAN)
    assert _faults(contract, "NL91ABNA0417164300") == []
    for wrong in ("nl91abna0417164300", "NL91", " NL91ABNA0417164300", "NL91ABNA0417164300\n", ""):
        assert _faults(contract, wrong) == ["wrong_format"], wrong
    assert _faults(contract, 7) == ["wrong_type"]
    assert compile_contract(contract).fits(b'{"inputs":{"iban":"nl"}}') is None
    assert _faults(_contract(msgspec.structs.replace(IBAN, nullable=True)), None) == []
    loose = Column(name="code", type="string", pattern="B[0-9]", example="B1")
    assert _faults(_contract(loose), "xxB7xx") == [], "found anywhere, as JSON Schema has it"


def test_a_pattern_that_is_exponential_elsewhere_takes_linear_time_here() -> None:
    contract = _contract(Column(name="x", type="string", pattern="^(a+)+$", example="a", max_length=100_000))
    started = process_time()
    assert _faults(contract, "a" * 99_999 + "b") == ["wrong_format"]
    assert process_time() - started < 1


@pytest.mark.parametrize(
    "pattern",
    [
        r"(?=x)", r"(?!x)", r"(?<=x)y", r"(a)\1", "(?i)x", "(?P<n>x)", "(?<n>x)", r"\Ax", r"x\z", r"\p{L}", r"\Qx\E",
        "[[:alpha:]]", "(", "[z-a]", "a{2,1}", "((a{100}){100}){100}", "x" * (MOST_PATTERN + 1), r"\x41", "\\",
    ],
)  # fmt: skip
def test_what_no_engine_matches_in_linear_time_or_languages_read_otherwise_is_refused(pattern: str) -> None:
    with pytest.raises(InputError) as found:
        compile_pattern(pattern)
    assert found.value.code == "invalid_pattern" and found.value.expected
    with pytest.raises(InputError) as whole:
        _contract(Column(name="x", type="string", pattern=pattern, example="x"))
    assert [fault["path"] for fault in whole.value.faults] == ["columns.x.pattern"]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"example": ""}, "no example shows"),
        ({"example": "no"}, "no example shows"),
        ({"impute": "no", "on_fault": {"any": "repair"}}, "no example shows"),
        ({"max_length": 3}, "no example shows"),
        ({"format": "date"}, "a format and a pattern"),
        ({"max_length": 2_000_000}, "longer than text may be"),
        ({"type": "number"}, "only text"),
        ({"categories": ("a",)}, "only text"),
    ],
)
def test_a_contract_says_what_is_wrong_with_its_forms(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as found:
        _contract(msgspec.structs.replace(IBAN, **changed))
    assert words in str(found.value)


def test_text_ends_somewhere() -> None:
    plain, short = _contract(Column(name="x", type="string")), _contract(Column(name="x", type="string", max_length=3))
    assert _faults(plain, "é" * TEXT_LENGTH) == [] and _faults(plain, "é" * (TEXT_LENGTH + 1)) == ["too_long"]
    assert _faults(short, "ééé") == [] and _faults(short, "abcd") == ["too_long"]
    reviewed = _contract(Column(name="x", type="string", max_length=3, on_fault={"too_long": "review"}))
    (row,) = compile_contract(reviewed).check(b'{"inputs":{"x":"abcd"}}').rows
    assert row.action == "review"
    assert [fault.message for fault in row.faults] == ["x is longer than the contract allows"]
    assert row.faults[0].expected == "text, at most 3 characters"


def test_patterns_and_lengths_go_to_odcs_and_json_schema_and_come_back() -> None:
    contract = _contract(msgspec.structs.replace(IBAN, max_length=40), Column(name="note", type="string"))
    text = to_odcs(contract)
    assert from_odcs(text) == contract and from_odcs(text).digest() == contract.digest()
    assert "maxLength: 40" in text and "pattern: ^[A-Z]" in text and "examples:" in text
    told = row_schema(contract)["properties"]
    assert told["iban"] == {"type": "string", "maxLength": 40, "pattern": IBAN.pattern}
    assert told["note"] == {"type": "string", "maxLength": TEXT_LENGTH}
    foreign = text.replace("^[A-Z]{2}", "^(?=[A-Z])[A-Z]{2}")
    with pytest.raises(InputError, match="not valid"):
        from_odcs(foreign)


def test_a_contract_without_such_rules_keeps_its_digest() -> None:
    told = _contract(Column(name="x", type="string")).as_dict()["columns"][0]
    assert not {"pattern", "max_length", "example"} & told.keys()


def test_the_example_of_a_contract_fits_it_and_a_build_sends_no_free_text_where_a_form_is() -> None:
    forms = ("date", "datetime", "email", "uuid")
    contract = _contract(IBAN, *(Column(name=form, type="string", format=form) for form in forms))  # type: ignore[arg-type]
    row = example_row(contract.columns)
    assert compile_contract(contract).check(msgspec.json.encode({"inputs": row})).rows[0].faults == ()
    assert messy_rows(contract.features, [tuple(row.values())]) == []


def test_a_contract_takes_all_of_another_only_if_its_forms_do() -> None:
    free, short = Column(name="iban", type="string"), Column(name="iban", type="string", max_length=20)
    assert differences(_contract(free), _contract(IBAN)) == []
    assert differences(_contract(IBAN), _contract(IBAN)) == []
    for wide, narrow in ((IBAN, free), (short, free), (short, IBAN)):
        assert len(differences(_contract(wide), _contract(narrow))) == 1
