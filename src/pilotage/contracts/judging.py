"""The check of a contract's columns as SQL expressions, so that DuckDB holds a table of any size to it.

The verdicts are those of the row check (`rows.py`), value by value; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import duckdb

from pilotage.contracts.expression import Expression, parse_expression
from pilotage.contracts.formats import DATED, FORMS, LONGEST
from pilotage.contracts.model import EXACT_INTEGER, Column, DataContract
from pilotage.contracts.rows import SUBJECT_LENGTH

__all__ = ["code_of", "define_functions", "first_code", "formatted", "quoted", "rule_of", "sent", "text_of"]

_INTEGERS = {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT"}
_NUMBERS = _INTEGERS | {"DOUBLE", "FLOAT"}


def quoted(name: str) -> str:
    """A name as SQL has it."""
    return '"' + name.replace('"', '""') + '"'


def text_of(value: str | float) -> str:
    """A literal: text, or a number that is exactly this float64."""
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return f"'{value!r}'::DOUBLE"


def sent(column: Column, kind: str, raw: str, value: str, *, typed: bool) -> tuple[str, str]:
    """What a column's `raw` value is as a request would carry it, and whether it is of the wrong type: two expressions.

    The second is over that `value`, so that it is computed once. `kind` is the file's type of the column. In a file
    without types (`typed` false, CSV) text that is a number is one.
    """
    if column.role == "subject":
        wrong = "false" if not typed or kind == "VARCHAR" or kind in _INTEGERS else f"{raw} IS NOT NULL"
        return f"{raw}::VARCHAR", wrong
    if column.numeric:
        if kind in _NUMBERS or kind.startswith("DECIMAL"):
            return f"{raw}::DOUBLE", "false"
        if typed and kind != "JSON":
            return "NULL::DOUBLE", f"{raw} IS NOT NULL"
        # DuckDB takes 1_000 for a number, which JSON does not.
        return (
            f"TRY_CAST({raw}::VARCHAR AS DOUBLE)",
            f"CASE WHEN {value} IS NULL THEN {raw} IS NOT NULL ELSE contains({raw}::VARCHAR, '_') END",
        )
    if column.type == "boolean":
        if kind == "BOOLEAN":
            return raw, "false"
        if typed:
            return "NULL::BOOLEAN", f"{raw} IS NOT NULL"
        lower = f"lower({raw}::VARCHAR)"
        return (
            f"CASE {lower} WHEN 'true' THEN true WHEN 'false' THEN false END",
            f"{value} IS NULL AND {raw} IS NOT NULL",
        )
    wrong = "false" if kind in ("VARCHAR", "DATE", "UUID") or kind.startswith("ENUM") else f"{raw} IS NOT NULL"
    return f"{raw}::VARCHAR", wrong if typed else "false"


def code_of(column: Column, value: str, wrong: str = "false") -> str:
    """The code of the fault of a value, NULL where it fits: an expression over those of its value and wrong type."""
    # Most values fit: one look that tells so for certain spares them the others.
    cases = [(wrong, "wrong_type")] if wrong != "false" else [(fits, "") for fits in _fits(column, value)]
    cases.append((f"{value} IS NULL", "null" if not column.nullable or column.role == "subject" else ""))
    if column.role == "subject":
        cases.append((f"trim({value}, e' \\t\\n\\r\\f\\v') = ''", "missing"))
        cases.append((f"length({value}) > {SUBJECT_LENGTH}", "wrong_type"))
    elif column.numeric:
        cases += _numeric(column, value)
    elif column.type == "string":
        cases += _text(column, value)
    told = " ".join(f"WHEN {when} THEN {text_of(code) if code else 'NULL'}" for when, code in cases)
    return f"CASE {told} END"


def _fits(column: Column, value: str) -> Iterator[str]:
    """True of most values without a fault and of no other, where there is such a short look."""
    low, high = _bounds(column)
    if column.role == "subject":
        yield f"(unicode({value}) > 32 AND length({value}) <= {SUBJECT_LENGTH})"
    elif column.categories is not None and column.type != "boolean":
        yield f"{value} IN ({_listed(column)})"
    elif column.numeric and low is not None and high is not None:
        whole = f" AND {value} = floor({value})" if column.type == "integer" else ""
        yield f"({value} BETWEEN {text_of(low)} AND {text_of(high)}{whole})"


def _bounds(column: Column) -> tuple[float | None, float | None]:
    """The least and the largest that a column takes; an integer is never beyond what float64 holds exactly."""
    low, high = column.minimum, column.maximum
    if column.type == "integer":
        low = -EXACT_INTEGER if low is None else max(low, -EXACT_INTEGER)
        high = EXACT_INTEGER if high is None else min(high, EXACT_INTEGER)
    return low, high


def _numeric(column: Column, value: str) -> list[tuple[str, str]]:
    cases = [(f"NOT isfinite({value})", "not_finite")]
    if column.categories is not None:
        return [*cases, (f"{value} NOT IN ({_listed(column)})", "unseen_category")]
    if column.type == "integer":
        cases.append((f"{value} <> floor({value})", "wrong_type"))
    low, high = _bounds(column)
    if low is not None:
        cases.append((f"{value} < {text_of(low)}", "below_minimum"))
    if high is not None:
        cases.append((f"{value} > {text_of(high)}", "above_maximum"))
    return cases


def _text(column: Column, value: str) -> list[tuple[str, str]]:
    if column.categories is not None:
        return [(f"{value} NOT IN ({_listed(column)})", "unseen_category")]
    cases = [(f"length({value}) > {column.longest}", "too_long")]
    if column.format:
        cases.append((f"NOT {formatted(column.format, value)}", "wrong_format"))
    if column.pattern:
        cases.append((f"NOT regexp_matches({value}, {text_of(column.pattern)})", "wrong_format"))
    return cases


def formatted(form: str, value: str) -> str:
    """Whether text has a form: an expression, by the pattern that the row check goes by."""
    day = f"substr({value}, 1, 10)"
    # DuckDB's calendar has a year 0, ISO's as Python reads it has not.
    dated = f" AND TRY_CAST({day} AS DATE) IS NOT NULL AND {day} >= '0001'" if form in DATED else ""
    return f"(length({value}) <= {LONGEST} AND regexp_full_match({value}, {text_of(FORMS[form])}){dated})"


def _listed(column: Column) -> str:
    return ", ".join(text_of(each) for each in column.categories or ())


def rule_of(contract: DataContract, number: int, values: dict[str, str]) -> str:
    """Whether a row breaks a rule of the contract: an expression over those of its columns' `values`."""
    condition = _condition(contract, number)
    if sql := condition.as_sql(values):
        return f"coalesce(NOT {sql}, false)"
    row = ", ".join(f"'v{at}': {values[name]}" for at, name in enumerate(condition.names))
    return f"rule_{number}({{{row}}})"


def first_code(contract: DataContract, values: dict[str, str]) -> str:
    """The code of a row's first fault, over the expressions of its features' values; NULL where the row fits."""
    codes = [code_of(column, values[column.name]) for column in contract.features]
    rules = [f"CASE WHEN {rule_of(contract, at, values)} THEN 'rule' END" for at in range(len(contract.rules))]
    return f"coalesce({', '.join([*codes, *rules, 'NULL'])})"


def define_functions(connection: duckdb.DuckDBPyConnection, contract: DataContract) -> None:
    """What the expressions call: rules that have no SQL, of which rows go one by one."""
    kinds = {"number": "DOUBLE", "text": "VARCHAR", "truth": "BOOLEAN"}
    for number, rule in enumerate(contract.rules):
        types, names = contract.value_types, _condition(contract, number).names
        condition = parse_expression(rule.check, types, names)
        if condition.as_sql(dict.fromkeys(names, "NULL")):
            continue
        fields = ", ".join(f"v{at} {kinds[types[name]]}" for at, name in enumerate(names))
        row = [duckdb.sqltype(f"STRUCT({fields})")]
        connection.create_function(f"rule_{number}", partial(_broken, condition), [*row], "boolean")


def _broken(condition: Expression, row: dict[str, float | str | bool | None]) -> bool:
    return condition.truth(tuple(row.values())) is False


def _condition(contract: DataContract, number: int) -> Expression:
    types = contract.value_types
    return parse_expression(contract.rules[number].check, types, list(types))
