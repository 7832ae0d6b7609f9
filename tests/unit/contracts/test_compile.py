"""The check of a row: what passes, what every fault says, and that no body crashes it."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pilotage.contracts.body import parse
from pilotage.contracts.compile import CheckedBody, CheckedRow, RowCheck, compile_contract
from pilotage.contracts.faults import MalformedBody, TooManyRows
from pilotage.contracts.model import Column, DataContract

CONTRACT = DataContract(
    name="loans",
    version="1",
    subject="ID",
    columns=(
        Column(name="ID", type="integer", role="subject", personal=True),
        Column(name="AGE", type="integer", minimum=18, maximum=100),
        Column(name="LIMIT", type="number", minimum=0),
        Column(name="SEX", type="integer", categories=(1, 2)),
        Column(name="CODE", type="integer", categories=(1, 2, 5), nullable=True),
        Column(name="HOME", type="string", categories=("own", "rent: shared")),
        Column(name="NOTE", type="string", nullable=True),
        Column(name="MEMBER", type="boolean"),
        Column(name="Default", type="integer", role="target"),
        Column(name="INTERNAL", type="string", role="ignored"),
    ),
)
GOOD = {"ID": 17, "AGE": 30, "LIMIT": 100.5, "SEX": 1, "CODE": 5, "HOME": "own", "NOTE": "x", "MEMBER": True}
VALUES = (30.0, 100.5, 1.0, 5.0, "own", "x", True)


@pytest.fixture(scope="module")
def check() -> RowCheck:
    return compile_contract(CONTRACT)


def one(check: RowCheck, **changes: object) -> CheckedRow:
    row = {name: value for name, value in {**GOOD, **changes}.items() if value is not ...}
    return check.check(json.dumps({"inputs": row}).encode()).rows[0]


def codes(row: CheckedRow) -> dict[str, str]:
    return {fault.path: fault.code for fault in row.faults}


def test_a_good_row_has_its_values_in_contract_order_and_its_subject(check: RowCheck) -> None:
    body = b'{"inputs": ' + json.dumps(dict(reversed(GOOD.items()))).encode() + b"}"
    checked = check.check(body)
    assert not checked.many
    (row,) = checked.rows
    assert row.values == VALUES
    assert [type(value) for value in row.values] == [float, float, float, float, str, str, bool]
    assert row.subject == "17"
    assert row.faults == ()
    assert row.raw == body[len(b'{"inputs": ') : -1]
    assert check.names == ("AGE", "LIMIT", "SEX", "CODE", "HOME", "NOTE", "MEMBER")


@pytest.mark.parametrize(
    ("changes", "path", "code"),
    [
        ({"AGE": ...}, "inputs.AGE", "missing"),
        ({"NOTE": ...}, "inputs.NOTE", "missing"),
        ({"AGE": None}, "inputs.AGE", "null"),
        ({"AGE": "30"}, "inputs.AGE", "wrong_type"),
        ({"AGE": True}, "inputs.AGE", "wrong_type"),
        ({"AGE": 30.5}, "inputs.AGE", "wrong_type"),
        ({"AGE": [1]}, "inputs.AGE", "wrong_type"),
        ({"AGE": 17}, "inputs.AGE", "below_minimum"),
        ({"AGE": 101}, "inputs.AGE", "above_maximum"),
        ({"LIMIT": math.nan}, "inputs.LIMIT", "not_finite"),
        ({"LIMIT": math.inf}, "inputs.LIMIT", "not_finite"),
        ({"LIMIT": -math.inf}, "inputs.LIMIT", "not_finite"),
        ({"LIMIT": 10**400}, "inputs.LIMIT", "not_finite"),
        ({"LIMIT": 10**399}, "inputs.LIMIT", "not_finite"),
        ({"SEX": 3}, "inputs.SEX", "unseen_category"),
        ({"SEX": 1.5}, "inputs.SEX", "unseen_category"),
        ({"CODE": 3}, "inputs.CODE", "unseen_category"),
        ({"HOME": "boat"}, "inputs.HOME", "unseen_category"),
        ({"HOME": 1}, "inputs.HOME", "wrong_type"),
        ({"MEMBER": 1}, "inputs.MEMBER", "wrong_type"),
        ({"NOTE": "\ud800"}, "inputs.NOTE", "wrong_type"),
        ({"Default": 1}, "inputs.Default", "unknown_field"),
        ({"INTERNAL": "x"}, "inputs.INTERNAL", "unknown_field"),
        ({"age": 1}, "inputs.age", "unknown_field"),
        ({"ID": ...}, "inputs.ID", "missing"),
        ({"ID": None}, "inputs.ID", "null"),
        ({"ID": ""}, "inputs.ID", "missing"),
        ({"ID": " \t"}, "inputs.ID", "missing"),
        ({"ID": 1.5}, "inputs.ID", "wrong_type"),
        ({"ID": True}, "inputs.ID", "wrong_type"),
        ({"ID": "x" * 257}, "inputs.ID", "wrong_type"),
        ({"ID": 10**300}, "inputs.ID", "wrong_type"),
    ],
)
def test_each_fault_is_named_at_its_path(check: RowCheck, changes: dict, path: str, code: str) -> None:
    row = one(check, **changes)
    assert codes(row) == {path: code}
    assert row.values is None
    (fault,) = row.faults
    assert fault.message and fault.got and fault.expected and fault.mend
    assert len(fault.got) < 80


@pytest.mark.parametrize(
    "changes",
    [
        {"AGE": 30.0},
        {"AGE": 18},
        {"AGE": 100},
        {"LIMIT": 0},
        {"SEX": 2.0},
        {"CODE": None},
        {"NOTE": None},
        {"NOTE": "a: b, c: d"},
        {"HOME": "rent: shared"},
        {"ID": "person 5"},
        {"ID": -(2**70)},
    ],
)
def test_what_fits_passes(check: RowCheck, changes: dict) -> None:
    row = one(check, **changes)
    assert row.faults == ()
    assert row.values is not None
    assert row.subject == str(changes.get("ID", 17))


def test_all_faults_of_a_row_come_at_once_in_contract_order(check: RowCheck) -> None:
    row = one(check, AGE="x", LIMIT=math.nan, SEX=9, HOME=..., extra=1, MEMBER=None)
    assert list(codes(row).items()) == [
        ("inputs.AGE", "wrong_type"),
        ("inputs.LIMIT", "not_finite"),
        ("inputs.SEX", "unseen_category"),
        ("inputs.HOME", "missing"),
        ("inputs.MEMBER", "null"),
        ("inputs.extra", "unknown_field"),
    ]
    assert row.subject == "17"


def test_faults_say_the_range_and_the_mend(check: RowCheck) -> None:
    (age,) = one(check, AGE="30").faults
    assert age.got == '"30"'
    assert age.expected == "an integer from 18 to 100"
    assert "quotes" in age.mend
    (case,) = one(check, age=3).faults
    assert "AGE" in case.mend
    (home,) = one(check, HOME="boat").faults
    assert home.expected == 'one of "own", "rent: shared"'


def test_good_rows_of_a_list_keep_their_values(check: RowCheck) -> None:
    rows = [GOOD, {**GOOD, "AGE": 3}, {**GOOD, "LIMIT": math.nan}, GOOD]
    checked = check.check(json.dumps({"inputs": rows}).encode())
    assert checked.many
    assert [row.values is not None for row in checked.rows] == [True, False, False, True]
    assert codes(checked.rows[1]) == {"inputs[1].AGE": "below_minimum"}
    assert codes(checked.rows[2]) == {"inputs[2].LIMIT": "not_finite"}
    assert [json.loads(row.raw)["AGE"] for row in checked.rows] == [30, 3, 30, 30]


def test_a_name_given_twice_is_a_fault(check: RowCheck) -> None:
    text = json.dumps(GOOD)[:-1] + ', "AGE": 31}'
    row = check.check(f'{{"inputs": {text}}}'.encode()).rows[0]
    assert codes(row) == {"inputs.AGE": "duplicate_field"}
    with pytest.raises(MalformedBody, match="once"):
        check.check(f'{{"inputs":{{}},"inputs":{json.dumps(GOOD)}}}'.encode())


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"{}",
        b'{"inputs": 3}',
        b'{"inputs": []}',
        b'{"inputs": [1]}',
        b'{"inputs": [{}, null]}',
        b'{"inputs": {}, "more": 1}',
        b'{"inputs": {"a": 01}}',
        b'{"inputs": {"a": 1,}}',
        b'{"inputs": {}} x',
        b'{"inputs": {"a": "\xff"}}',
        b'\xff{"inputs": {}}',
        b'{"inputs": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"inputs": {"AGE": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}}",
        b"[" * 200_000,
    ],
)
def test_a_body_of_another_shape_is_malformed(check: RowCheck, body: bytes) -> None:
    with pytest.raises(MalformedBody) as caught:
        check.check(body)
    assert caught.value.status == 400
    assert caught.value.code == "malformed_body"
    assert len(str(caught.value)) < 600


def test_rows_and_faults_are_bounded(check: RowCheck) -> None:
    for row in (GOOD, {"AGE": math.nan}):
        body = json.dumps({"inputs": [row] * 3}).encode()
        assert len(check.check(body, max_rows=3).rows) == 3
        with pytest.raises(TooManyRows):
            check.check(body, max_rows=2)
    wide = one(check, **{f"x{index}": 1 for index in range(5_000)})
    assert len(wide.faults) == 201
    assert wide.faults[-1].code == "more_faults"
    many = check.check(b'{"inputs":[' + b"{}," * 999 + b"{}]}")
    assert all(row.faults for row in many.rows)
    # Once a body has 2,000 faults, its later rows list five of theirs and a note.
    assert len(many.rows[0].faults) == 8
    assert [fault.code for fault in many.rows[-1].faults] == ["missing"] * 5 + ["more_faults"]


def test_integers_end_where_float64_stops_being_exact() -> None:
    check = compile_contract(DataContract(name="x", version="1", columns=(Column(name="n", type="integer"),)))
    body = b'{"inputs": [{"n": 9007199254740991}, {"n": 9007199254740992}, {"n": -9007199254740993}]}'
    rows = check.check(body).rows
    assert rows[0].values == (9007199254740991.0,)
    assert [codes(row) for row in rows[1:]] == [{"inputs[1].n": "above_maximum"}, {"inputs[2].n": "below_minimum"}]


def test_a_record_path_never_repeats_the_callers_words(check: RowCheck) -> None:
    row = one(check, **{"Mrs Smith\n" + "y" * 90: 1})
    (fault,) = row.faults
    assert "\n" not in fault.path and len(fault.path) < 80
    assert fault.recorded_path == "inputs.*"
    assert one(check, AGE=1).faults[0].recorded_path == "inputs.AGE"


patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

VALUE = st.one_of(
    st.integers(-3, 110),
    st.floats(),
    st.sampled_from([1, 2, 5, 18, 100, 2**53, 10**320, "own", "rent: shared", "", " ", "a:b", True, None, [], {}]),
    st.text('a:"\\é', max_size=4),
)


@patient
@given(st.dictionaries(st.sampled_from([*GOOD, "extra"]), VALUE, max_size=9))
def test_the_typed_decoder_and_the_inspection_agree(changes: dict) -> None:
    check = compile_contract(CONTRACT)
    raw = json.dumps({**GOOD, **changes}).encode()
    fast = check.check(b'{"inputs":' + raw + b"}").rows[0]
    values, subject, faults = check._inspection.inspect(parse(raw), "inputs", 200)
    assert (fast.values, fast.subject, fast.faults) == (values, subject, faults)


@patient
@given(
    st.binary(max_size=60)
    | st.text('"{}[]:,NaInf0e.-\\u d8', max_size=60).map(lambda text: ('{"inputs": {"AGE": ' + text).encode("utf-8"))
)
def test_no_body_crashes_it(body: bytes) -> None:
    try:
        compile_contract(CONTRACT).check(body)
    except MalformedBody:
        pass


@patient
@given(
    st.recursive(VALUE, lambda inner: st.lists(inner) | st.dictionaries(st.text("ab", max_size=3), inner), max_leaves=8)
)
def test_any_json_is_checked_or_malformed(value: object) -> None:
    for body in (value, {"inputs": value}, {"inputs": [value]}):
        try:
            checked = compile_contract(CONTRACT).check(json.dumps(body).encode())
        except MalformedBody:
            continue
        assert all((row.values is None) == bool(row.faults) for row in checked.rows)


BODIES = st.builds(
    lambda row, spaces, tail: f'{spaces}{{{spaces}"inputs":{spaces}{row}{spaces}}}{spaces}{tail}'.encode(),
    st.one_of(
        st.fixed_dictionaries({name: st.just(value) for name, value in GOOD.items()}).map(json.dumps),
        st.dictionaries(st.sampled_from([*GOOD, "extra"]), st.sampled_from([*GOOD.values(), None, "a}:{", 7])).map(
            lambda changes: json.dumps({**GOOD, **changes})
        ),
        st.sampled_from(["[]", "{}", "1", "null", json.dumps([GOOD]), json.dumps(GOOD)[:-1] + ', "AGE": 31}']),
    ),
    st.sampled_from(["", " ", "\n\t"]),
    st.sampled_from(["", "x", "{}"]),
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=BODIES)
def test_the_quick_look_agrees_with_the_check(check: RowCheck, body: bytes) -> None:
    """What it takes is what the check takes, byte for byte; what it leaves may be anything."""
    quick = check.fits(body)
    if quick is not None:
        assert check.check(body) == CheckedBody(rows=[quick], many=False)
        assert quick.faults == ()


def test_the_quick_look_takes_the_usual_body(check: RowCheck) -> None:
    for text in (json.dumps(GOOD), json.dumps(GOOD, separators=(",", ":")), json.dumps(GOOD, indent=2)):
        row = check.fits(b'{"inputs": ' + text.encode() + b" }\n")
        assert row is not None
        assert (row.raw, row.values, row.subject) == (text.encode(), VALUES, "17")
    assert check.fits(b'{"inputs":{},"inputs":' + json.dumps(GOOD).encode() + b"}") is None
