"""The language of conditions: what it means, what it refuses, and that no text or row breaks it."""

from __future__ import annotations

from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotage.contracts.expression import DEEPEST, LONGEST, Type, parse_expression
from pilotage.errors import InputError

COLUMNS: dict[str, Type] = {
    "paid": "number",
    "owed": "number",
    "home": "text",
    "member": "truth",
    "late days": "number",
}
ORDER = list(COLUMNS)
ROW = (50.0, 100.0, "own", True, 3.0)


def truth(text: str, row: tuple[object, ...] = ROW) -> bool | None:
    return parse_expression(text, COLUMNS, ORDER).truth(row)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("paid <= owed", True),
        ("paid * 2 == owed", True),
        ("paid + paid * 2 == 150", True),
        ("(paid + paid) * 2 == 200", True),
        ("100 - 10 - 5 == 85", True),
        ("8 / 4 / 2 == 1", True),
        ("-paid < 0 and - -paid > 0", True),
        ('home == "own"', True),
        ("home != 'own'", False),
        ('home in ["rent", "own"]', True),
        ('home not in ["rent", "own"]', False),
        ("paid in [-1, 50]", True),
        ("member", True),
        ("not member", False),
        ("member == true and not (paid > owed)", True),
        ("paid > owed or `late days` >= 3", True),
        ("paid > owed and member or true", True),
        ("paid is null", False),
        ("home is not null", True),
        ("paid / 0 > 1", None),
        ("1e300 * 1e300 > 0", None),
        ("paid / 0 > 1 and paid > owed", False),
        ("paid / 0 > 1 or paid < owed", True),
        ("not (paid / 0 > 1)", None),
    ],
)
def test_what_it_means(text: str, expected: bool | None) -> None:
    assert truth(text) is expected


@pytest.mark.parametrize(
    ("text", "row", "expected"),
    [
        ("paid <= owed", (None, 1.0, "own", True, 0.0), None),
        ("paid is null", (None, 1.0, "own", True, 0.0), True),
        ("paid <= owed or owed == 1", (None, 1.0, "own", True, 0.0), True),
        ("paid <= owed and owed == 2", (None, 1.0, "own", True, 0.0), False),
        ("home in ['own']", (1.0, 1.0, None, True, 0.0), None),
        ("not member", (1.0, 1.0, "own", None, 0.0), None),
    ],
)
def test_a_null_makes_unknown_what_it_decides(text: str, row: tuple[object, ...], expected: bool | None) -> None:
    assert truth(text, row) is expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("paid", "a condition should"),
        ("", "not expected"),
        ("paid <", "not expected"),
        ("paid < owed <", "not expected"),
        ("paid < owed owed", "not expected here"),
        ("paid < 'x'", "a number should"),
        ("home < 1", "text should"),
        ("home + 1 > 2", "a number should"),
        ("member < true", "no order"),
        ("not paid", "a condition should"),
        ("age > 3", "no column"),
        ("paid in [1, 'x']", "a number should"),
        ("paid in []", "not expected"),
        ("paid in [1", "']' should"),
        ("(paid < owed", "')' should"),
        ("paid.__class__ == 1", "no part of the language"),
        ("__import__('os')", "no column"),
        ("paid == null", "not expected"),
        ("1e999 > paid", "too large"),
        ("(" * (DEEPEST + 1) + "member" + ")" * (DEEPEST + 1), "nested too deeply"),
        ("not " * 5_000, "too long"),
        ("paid > " + "1" * LONGEST, "too long"),
    ],
)
def test_what_it_refuses_and_where(text: str, words: str) -> None:
    with pytest.raises(InputError, match="cannot be read") as caught:
        parse_expression(text, COLUMNS, ORDER)
    assert words in caught.value.what and "character" in str(caught.value.got)
    assert caught.value.code == "invalid_expression"


def test_the_columns_it_reads_are_named_once_in_order() -> None:
    assert parse_expression("owed > 1 and paid < owed", COLUMNS, ORDER).names == ("owed", "paid")


@given(
    st.text(max_size=80)
    | st.lists(st.sampled_from([*"()[]+-*/<>=!`'\",. ", "paid", "and", "not", "in", "1"])).map("".join)
)
def test_no_text_breaks_the_reader(text: str) -> None:
    try:
        parsed = parse_expression(text, COLUMNS, ORDER)
    except InputError:
        return
    assert parsed.truth(ROW) in (True, False, None)


numbers = st.none() | st.floats(allow_nan=False, allow_infinity=False)


@given(numbers, numbers, st.none() | st.booleans())
def test_it_means_what_python_means_where_all_is_known(
    paid: float | None, owed: float | None, member: bool | None
) -> None:
    row = (paid, owed, "own", member, 0.0)
    found = truth("paid < owed and member", row)
    if paid is None or owed is None or member is None:
        assert found is not True
    else:
        assert found is (paid < owed and member)
    assert truth("paid is null or owed is null or paid < owed or paid >= owed", row) is True


_PARTS = ["a", "b", "1.5", "0", "-2", "1e300", "a / b", "a * 1e300", "(a + b)", "1 / (a / b)", "-a", "b / (a - a)"]
_numbers = st.sampled_from(_PARTS) | st.tuples(
    st.sampled_from(_PARTS), st.sampled_from("+-*/"), st.sampled_from(_PARTS)
).map(lambda made: f"({' '.join(made)})")
_simple = st.one_of(
    st.tuples(_numbers, st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), _numbers).map(" ".join),
    _numbers.map(lambda made: f"{made} is null"),
    _numbers.map(lambda made: f"{made} not in [1, -2, 0]"),
    st.sampled_from(["t", "t == true", 's == "it\'s"', 's < "é"', "s in ['x', 'é']", "s is not null", "not t"]),
)
_conditions = st.recursive(
    _simple,
    lambda inner: st.one_of(
        inner.map(lambda made: f"not ({made})"),
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(lambda m: f"({m[0]}) {m[1]} ({m[2]})"),
    ),
    max_leaves=4,
)
_values = st.sampled_from([None, 0.0, -0.0, 1.0, 1.5, -2.0, 1e300, 1e-300])


@settings(max_examples=150, deadline=None)
@given(
    _conditions,
    st.lists(
        st.tuples(_values, _values, st.sampled_from([None, "x", "é", "it's"]), st.sampled_from([None, True, False])),
        min_size=1,
        max_size=6,
    ),
)
def test_its_sql_is_true_false_and_unknown_where_it_is(text: str, rows: list[tuple[Any, ...]]) -> None:
    types: dict[str, Type] = {"a": "number", "b": "number", "s": "text", "t": "truth"}
    condition = parse_expression(text, types, list(types))
    sql = condition.as_sql({name: name for name in types})
    assert sql
    with duckdb.connect(":memory:") as connection:
        connection.execute("CREATE TABLE made (n INTEGER, a DOUBLE, b DOUBLE, s VARCHAR, t BOOLEAN)")
        connection.executemany("INSERT INTO made VALUES (?, ?, ?, ?, ?)", [[n, *row] for n, row in enumerate(rows)])
        found = connection.execute(f"SELECT {sql} FROM made ORDER BY n").fetchall()
    assert [each for (each,) in found] == [condition.truth(row) for row in rows], sql


def test_sql_that_would_double_without_end_is_none() -> None:
    nested = "a"
    for _ in range(30):
        nested = f"1/({nested}+1)"
    condition = parse_expression(f"{nested} > 0", {"a": "number"}, ["a"])
    assert condition.as_sql({"a": "a"}) == "" and condition.truth((1.0,)) is True
